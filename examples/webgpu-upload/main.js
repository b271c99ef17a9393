/**
 * Frames into a texture through pooled staging buffers: three GPU buffers in all, where writeTexture() has the browser
 * make one for each frame. A lease is released when the GPU has done with its bytes: so three frames are under way at a
 * time, and the loop waits for the GPU. Released at once it would be safe too, because mapAsync() waits then, but the
 * pool gives the slot that came back last, and one frame at a time would be under way. In a bundle, the imports are from
 * "millpond" and "millpond/webgpu".
 */
import { BufferPool } from "../../dist/index.js";
import { WebGpuAllocator } from "../../dist/webgpu.js";

/** Rows in a copy to a texture begin at multiples of 256 bytes. */
const ROW = 256;

/** Uploads frames of one color each; answers what the texture was after the last, and what it took. */
export async function upload({ frames = 60, width = 320, height = 180, slots = 3 } = {}) {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) return undefined;
  const device = await adapter.requestDevice();
  const bytesPerRow = Math.ceil((width * 4) / ROW) * ROW;
  const size = bytesPerRow * height;
  const allocator = new WebGpuAllocator(device, "write");
  const staging = BufferPool.create({ name: "staging", size, max: slots, allocator });
  const texture = device.createTexture({
    size: [width, height],
    format: "rgba8unorm",
    usage: GPUTextureUsage.COPY_DST | GPUTextureUsage.COPY_SRC | GPUTextureUsage.TEXTURE_BINDING,
  });
  for (let n = 0; n < frames; n++) {
    const lease = await staging.acquire(); // waits while the GPU has all three
    try {
      const [memory] = lease.memories;
      const mapping = await memory.mapAsync("write");
      mapping.bytes.fill(n); // stands for frame.copyTo(mapping.bytes, { layout: [{ offset: 0, stride: bytesPerRow }] })
      mapping.unmap();
      const encoder = device.createCommandEncoder();
      const source = { buffer: WebGpuAllocator.bufferOf(memory), bytesPerRow };
      encoder.copyBufferToTexture(source, { texture }, [width, height]);
      device.queue.submit([encoder.finish()]);
      // Also when the device is lost.
      device.queue.onSubmittedWorkDone().finally(() => lease.release());
    } catch (error) {
      lease.release();
      throw error;
    }
  }
  const told = {
    pixel: await firstPixel(device, texture),
    buffers: staging.stats().misses,
    leases: staging.outstanding,
  };
  staging.close();
  texture.destroy();
  device.destroy();
  return told;
}

async function firstPixel(device, texture) {
  const memory = new WebGpuAllocator(device, "read").allocate(ROW);
  const encoder = device.createCommandEncoder();
  encoder.copyTextureToBuffer({ texture }, { buffer: WebGpuAllocator.bufferOf(memory), bytesPerRow: ROW }, [1, 1]);
  device.queue.submit([encoder.finish()]);
  const mapping = await memory.mapAsync("read");
  const pixel = [...mapping.bytes.subarray(0, 4)];
  mapping.unmap();
  memory.release();
  return pixel;
}
