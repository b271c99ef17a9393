/** millpond/webgpu: staging buffers of a GPU device as the memory of a pool. */
export { type StagingBuffer, type StagingDevice, WebGpuAllocator } from "./allocators/webgpu.ts";
