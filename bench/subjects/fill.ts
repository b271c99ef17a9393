/** 8 MB filled: memory that is there already, fresh each time, or a slot of a pool. */
import { BufferPool } from "../../src/index.ts";
import { measure, sink } from "../lib/subject.ts";
import { FRAME_BYTES } from "../lib/trace.ts";

const ways: Readonly<Record<string, () => (n: number) => void>> = {
  memset() {
    const bytes = new Uint8Array(FRAME_BYTES);
    return (n) => {
      for (let i = 0; i < n; i++) sink.value = bytes.fill(i & 255);
    };
  },
  fresh() {
    return (n) => {
      for (let i = 0; i < n; i++) sink.value = new Uint8Array(FRAME_BYTES).fill(i & 255);
    };
  },
  pool() {
    const pool = BufferPool.create({ name: "frames", size: FRAME_BYTES, max: 4 });
    return (n) => {
      for (let i = 0; i < n; i++) {
        const frame = pool.tryAcquire()!;
        sink.value = frame.bytes.fill(i & 255);
        frame.release();
      }
    };
  },
};
const way = ways[process.argv[2] ?? ""];
if (way === undefined) throw new Error(`which one? ${Object.keys(ways).join(", ")}`);
await measure({ loop: way(), garbage: true });
