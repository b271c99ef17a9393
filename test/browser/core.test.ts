// Shares its realm with other files: nothing that it changes outlives it.
/** The built core in a real browser: pools and misuse, shared memory, and WebGPU staging memory on a real device. */
import { describe, expect, it } from "vitest";
import { chromium, runInChromium } from "./chromium.ts";

if (chromium === undefined)
  console.log("browser tests are skipped: no Chromium here (Debian: apt-get install chromium, or set CHROMIUM)");

describe.skipIf(chromium === undefined)("in Chromium", () => {
  it("the core runs: lease, misuse, revocation, shared memory, a wait under a timeout", async () => {
    const result = await runInChromium(`
      const { BufferPool, allocators, isMillpondError } = await import("/dist/index.js");
      const code = (fn) => { try { fn(); return "ok"; } catch (error) { return isMillpondError(error) ? error.code : String(error); } };
      const pool = BufferPool.create({ name: "page", size: 64, max: 1, revoke: true });
      const buffer = await pool.acquire();
      const view = buffer.bytes;
      const starved = await pool.acquire({ timeout: 10 }).catch((error) => error.code);
      buffer.release();
      const shared = allocators.find("shared").allocate(8);
      send({ twice: code(() => buffer.release()), after: code(() => buffer.bytes), revoked: view.length, starved,
        shared: shared.map("read").bytes.buffer instanceof SharedArrayBuffer, dispose: typeof buffer[Symbol.dispose] });`);
    expect(result).toEqual({
      twice: "ERR_DOUBLE_RELEASE",
      after: "ERR_USE_AFTER_RELEASE",
      revoked: 0,
      starved: "ERR_STARVED",
      shared: true,
      dispose: "function",
    });
  });

  it("WebGPU staging memory: written, copied by the device, read back; views die at unmap", async (context) => {
    const result = (await runInChromium(`
      const { WebGpuAllocator } = await import("/dist/webgpu.js");
      const adapter = await navigator.gpu?.requestAdapter();
      if (!adapter) send({ adapter: null });
      else {
        const device = await adapter.requestDevice();
        const upload = new WebGpuAllocator(device, "write").allocate(10);
        const download = new WebGpuAllocator(device, "read").allocate(10);
        const sink = await upload.mapAsync("write");
        const view = sink.bytes;
        view.set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        sink.unmap();
        const encoder = device.createCommandEncoder();
        encoder.copyBufferToBuffer(WebGpuAllocator.bufferOf(upload), 0, WebGpuAllocator.bufferOf(download.region), 0, 12);
        device.queue.submit([encoder.finish()]);
        const source = await download.mapAsync("read");
        const read = [...source.bytes];
        source.unmap();
        upload.release(); download.release();
        send({ adapter: adapter.info?.vendor ?? "yes", read, dead: view.length });
      }`)) as { adapter: string | null };
    if (result.adapter === null) {
      console.log(
        "WebGPU is skipped: this Chromium has no adapter; the strict fake in test/memory/webgpu.test.ts stands in",
      );
      context.skip();
    }
    expect(result).toMatchObject({ read: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], dead: 0 });
  });
});
