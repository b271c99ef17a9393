// A decoder as some bindings are: the memory of a frame is the C library's, the engine is not told of it, and it is freed
// when the frame's object is collected. Nobody closes a frame; each is copied into a new array.
import koffi from "koffi";
import { detect } from "./work.mjs";

const SIZE = 3_110_400;
const libc = koffi.load(process.platform === "darwin" ? "libSystem.dylib" : "libc.so.6");
const malloc = libc.func("void *malloc(size_t)");
const memset = libc.func("void *memset(void *, int, size_t)");
const memcpy = libc.func("void *memcpy(_Out_ uint8_t *, void *, size_t)");
const free = libc.func("void free(void *)");
const frames = new FinalizationRegistry(free);

async function decode(n) {
  const memory = malloc(SIZE);
  memset(memory, n, SIZE);
  const frame = { memory };
  frames.register(frame, memory);
  await new Promise(setImmediate);
  return frame;
}
const count = Number(process.argv[2] ?? 500);
for (let n = 0; n < count; n++) {
  const frame = await decode(n);
  const bytes = new Uint8Array(SIZE);
  memcpy(bytes, frame.memory, SIZE);
  detect(bytes);
}
