/** Work on one 8 MiB buffer leased from a pool: shallow copy, map, add a meta; each with its undoing. */
import { registerMeta } from "../../src/media/meta/meta.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { measure, sink } from "../lib/subject.ts";

const pool = new BufferPool({ name: "frames" });
pool.configure({ size: 8 << 20, max: 4 });
pool.activate();
const buffer = pool.tryAcquire()!;
const memory = buffer.memoryAt(0);
// The native subject's meta carries one number too.
const Gain = registerMeta<{ value: number }, number>({
  api: "bench-gain",
  init(meta, value) {
    meta.value = value;
  },
});

const loops: Record<string, (n: number) => void> = {
  copy(n) {
    for (let i = 0; i < n; i++) {
      const copy = buffer.copy();
      sink.value = copy;
      copy.release();
    }
  },
  "buffer-map"(n) {
    for (let i = 0; i < n; i++) {
      const mapping = buffer.map("read");
      sink.value = mapping;
      mapping.unmap();
    }
  },
  "buffer-lock"(n) {
    for (let i = 0; i < n; i++) {
      sink.value = buffer.lock("read");
      buffer.unlock("read");
    }
  },
  "memory-map"(n) {
    for (let i = 0; i < n; i++) {
      const mapping = memory.map("read");
      sink.value = mapping;
      mapping.unmap();
    }
  },
  meta(n) {
    for (let i = 0; i < n; i++) {
      const meta = buffer.addMeta(Gain, 3)!;
      sink.value = meta;
      buffer.removeMeta(meta);
    }
  },
};

const loop = loops[process.argv[2] ?? ""];
if (loop === undefined) throw new Error(`which one? ${Object.keys(loops).join(", ")}`);
await measure({ loop, garbage: process.argv[2] !== "buffer-lock", library: "millpond" });
