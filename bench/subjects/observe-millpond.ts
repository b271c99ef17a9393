/**
 * An acquire and a release of a kind of pool: as it is, listed by `pools()` and watched by nobody, and recorded. What a
 * mode does not need is not loaded.
 */
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { SharedPool } from "../../src/pools/shared/shared-pool.ts";
import { SlabPool } from "../../src/pools/slab/slab-pool.ts";
import { measure, sink } from "../lib/subject.ts";

const [, , kind = "", mode = ""] = process.argv;

const loops: Readonly<Record<string, () => (n: number) => void>> = {
  BufferPool() {
    const pool = BufferPool.create({ name: "frames", size: 8 << 20, max: 4 });
    return (n) => {
      for (let i = 0; i < n; i++) {
        const lease = pool.tryAcquire()!;
        sink.value = lease;
        lease.release();
      }
    };
  },
  SlabPool() {
    const pool = SlabPool.create({ name: "nodes", elementSize: 64 });
    return (n) => {
      for (let i = 0; i < n; i++) {
        const pointer = pool.alloc();
        sink.value = pointer;
        pool.free(pointer);
      }
    };
  },
  SharedPool() {
    const pool = SharedPool.create({ name: "slots", size: 64, count: 1024 });
    return (n) => {
      for (let i = 0; i < n; i++) {
        const id = pool.tryAcquireId();
        sink.value = id;
        pool.releaseId(id);
      }
    };
  },
};

const make = loops[kind];
if (make === undefined) throw new Error(`which kind? ${Object.keys(loops).join(", ")}`);
const loop = make();
if (mode === "registered") {
  const { pools } = await import("../../src/observe/pools.ts");
  if (pools()[0]?.counts().leased !== 0) throw new Error("the pool is not listed");
} else if (mode === "recording") {
  const { record } = await import("../../src/observe/recorder.ts");
  const recorder = record();
  loop(1);
  if (recorder.length < 2) throw new Error("the pool is not recorded");
} else if (mode !== "off") throw new Error("which mode? off, registered, recording");
await measure({ loop, library: "millpond" });
