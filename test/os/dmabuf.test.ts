/** A memfd is never passed off as a DMA buffer; where the devices are, they are used as the kernel documents them. */
import { describe, expect, it } from "vitest";
import { DmabufAllocator } from "../../src/native.ts";
import type { NativeFunction } from "../../src/os/koffi.ts";
import { linuxDma } from "../../src/os/linux.ts";
import { nativeOps } from "../../src/os/load.ts";
import type { DmaOps, NativeOps } from "../../src/os/native-ops.ts";
import { done, made, notDone } from "../../src/os/result.ts";
import { createSharedMemory } from "../../src/os/shared-memory.ts";
import { code } from "../pools/buffer/pools.ts";

const ops = nativeOps();
const NO_DEVICE = notDone("unsupported", "ENOENT", "no device");
const onLinux = describe.skipIf(process.platform !== "linux");

/** A kernel with the devices that the test says, and a journal of what was asked of them. */
function withDma(devices: Partial<DmaOps>, journal: string[]): NativeOps {
  const dma: DmaOps = {
    fromHeap: () => NO_DEVICE,
    fromShared: () => NO_DEVICE,
    map: (_, bytes) => ops.map(bytes),
    sync: (descriptor, phase, mode) => {
      journal.push(`${phase} ${mode} ${descriptor}`);
      return done(0);
    },
    ...devices,
  };
  const close = ops.shared.close;
  const shared = {
    ...ops.shared,
    close: (descriptor: number) => {
      journal.push(`close ${descriptor}`);
      return close(descriptor);
    },
  };
  return { ...ops, dma, shared };
}

onLinux("what is handed out (Linux)", () => {
  it("without a device it is a memfd, says so, and says what was tried", () => {
    const allocator = new DmabufAllocator({ ops: withDma({}, []) });
    const memory = allocator.allocate(100_000);
    const report = allocator.reportOf(memory);
    expect(report).toMatchObject({ kind: "memfd", refused: [NO_DEVICE, NO_DEVICE] });
    expect(ops.shared.inspect(report.descriptor)).toMatchObject({ ok: true, value: { sizeSealed: true } });
    const mapping = memory.map("readwrite");
    mapping.bytes.fill(3);
    mapping.unmap();
    memory.release();
    expect(code(() => allocator.reportOf(memory))).toBe("ERR_FOREIGN_RELEASE");
    expect(allocator.probe()).toMatchObject({ ok: true, value: { kind: "memfd" } });
  });

  it("where a DMA buffer is required, a memfd will not do", () => {
    const allocator = new DmabufAllocator({ ops: withDma({}, []), required: true });
    expect(code(() => allocator.allocate(100))).toBe("ERR_UNSUPPORTED");
    expect(allocator.probe()).toEqual(NO_DEVICE);
  });

  it("this machine's own kernel gives one of the three kinds, never silently", () => {
    const probe = new DmabufAllocator().probe();
    expect(probe).toMatchObject({ ok: true });
    if (probe.ok) expect(probe.value.refused.length > 0).toBe(probe.value.kind !== "dma-heap");
  });

  it("each access of a DMA buffer is bracketed, and the descriptor closed once", () => {
    const journal: string[] = [];
    const fromShared = (): ReturnType<DmaOps["fromShared"]> => made(98765);
    const allocator = new DmabufAllocator({ ops: withDma({ fromShared }, journal) });
    const memory = allocator.allocate(100);
    expect(allocator.reportOf(memory)).toMatchObject({ kind: "udmabuf", descriptor: 98765 });
    const write = memory.map("write");
    write.bytes[0] = 1;
    write.unmap();
    memory.map("read").unmap();
    memory.release();
    expect(journal.filter((line) => line.includes("98765"))).toEqual([
      "start write 98765",
      "end write 98765",
      "start read 98765",
      "end read 98765",
      "close 98765",
    ]);
  });

  it("a heap comes first; a device that refuses an access makes the memory not mappable", () => {
    const journal: string[] = [];
    const devices = { fromHeap: () => made(98766), sync: () => notDone("failed", "EIO", "device gone") };
    const allocator = new DmabufAllocator({ ops: withDma(devices, journal) });
    const memory = allocator.allocate(100);
    expect(allocator.reportOf(memory)).toMatchObject({ kind: "dma-heap", descriptor: 98766, refused: [] });
    expect(code(() => memory.map("read"))).toBe("ERR_NOT_MAPPABLE");
    memory.release();
    expect(journal).toEqual(["close 98766"]);
  });

  it("a heap whose buffer cannot be mapped is left for the next kind", () => {
    const journal: string[] = [];
    const devices = { fromHeap: () => made(98767), map: () => notDone("failed", "EINVAL", "not mappable") };
    const probe = new DmabufAllocator({ ops: withDma(devices, journal) }).probe();
    expect(probe).toMatchObject({ ok: true, value: { kind: "memfd", refused: [{ errno: "EINVAL" }, NO_DEVICE] } });
    expect(journal[0]).toBe("close 98767");
  });
});

describe("requests to the devices, as the kernel lays them out", () => {
  const calls: { number: unknown; bytes: Uint8Array }[] = [];
  const answers: number[] = [];
  const fake: Record<string, NativeFunction> = {
    open: (path) => (path === "/dev/absent" ? -1 : 7),
    close: () => 0,
    ioctl: (_, number, argument) => {
      const { buffer, byteOffset, byteLength } = argument as Uint8Array;
      const bytes = new Uint8Array(buffer, byteOffset, byteLength);
      calls.push({ number, bytes: bytes.slice() });
      if (number === 0xc0184800) new DataView(buffer, byteOffset).setUint32(8, 55, true);
      return answers.shift() ?? 0;
    },
  };
  let errno = "EIO";
  const memory = { pageSize: 4096, errno: () => errno, failed: (call: string) => notDone("failed", errno, call) };
  const dma = linuxDma({ func: (name: string) => fake[name]! }, memory as never);
  const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer);

  it("a heap is asked for whole pages and its descriptor read from the answer", () => {
    expect(dma.fromHeap(5000)).toEqual({ ok: true, value: 55 });
    const { bytes } = calls.pop()!;
    expect([view(bytes).getBigUint64(0, true), view(bytes).getUint32(12, true)]).toEqual([8192n, 0o2000002]);
  });

  it.each(["../null", "", ".", "a/b", "/etc"])("%j is refused as the name of a heap", (heap) => {
    expect(dma.fromHeap(4096, heap)).toMatchObject({ ok: false, errno: "BAD_HEAP" });
  });

  it("udmabuf is told the memfd and its size", () => {
    answers.push(66);
    expect(dma.fromShared(9, 8192)).toEqual({ ok: true, value: 66 });
    const { number, bytes } = calls.pop()!;
    expect(number).toBe(0x40187542);
    const fields = [view(bytes).getUint32(0, true), view(bytes).getUint32(4, true), view(bytes).getBigUint64(16, true)];
    expect(fields).toEqual([9, 1, 8192n]);
  });

  it("a sync that is interrupted is repeated, and one that never succeeds ends", () => {
    errno = "EINTR";
    answers.push(-1, -1, 0);
    calls.length = 0;
    expect(dma.sync(1, "end", "write")).toMatchObject({ ok: true });
    expect(calls.map(({ bytes }) => view(bytes).getBigUint64(0, true))).toEqual([6n, 6n, 6n]);
    answers.push(...new Array<number>(500).fill(-1));
    expect(dma.sync(1, "start", "read")).toMatchObject({ ok: false, errno: "EINTR" });
    answers.length = 0;
  });
});

onLinux("a shared block (Linux)", () => {
  it("is what udmabuf wants: whole pages, sealed against shrinking, not against writing", () => {
    const block = createSharedMemory(5000);
    if (!block.ok) throw new Error(block.hint);
    expect(block.value.size % ops.pageSize).toBe(0);
    block.value.bytes[0] = 1;
    block.value.retire();
  });
});
