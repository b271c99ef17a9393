/** @thi.ng/malloc: a first-fit heap in one ArrayBuffer. Its free() walks the list of live blocks. */
import { MemPool } from "@thi.ng/malloc";
import { measure, packageVersion, sink } from "../lib/subject.ts";
import { LIVE_OBJECTS, TRACE_LENGTH, trace } from "../lib/trace.ts";

const pool = new MemPool({ size: 4 * 1024 * 1024 });
const choices = trace(LIVE_OBJECTS);
const live = new Int32Array(LIVE_OBJECTS);
let at = 0;

const loops: Readonly<Record<string, (n: number) => void>> = {
  pair(n) {
    for (let i = 0; i < n; i++) {
      const pointer = pool.malloc(64);
      sink.value = pointer;
      pool.free(pointer);
    }
  },
  replace(n) {
    for (let i = 0; i < n; i++) {
      const k = choices[at++ & (TRACE_LENGTH - 1)]!;
      pool.free(live[k]!);
      live[k] = pool.malloc(64);
    }
  },
};

const which = process.argv[2] ?? "";
const loop = loops[which];
if (loop === undefined) throw new Error(`which one? ${Object.keys(loops).join(", ")}`);
if (which === "replace") for (let i = 0; i < LIVE_OBJECTS; i++) live[i] = pool.malloc(64);
await measure({ loop, library: packageVersion("@thi.ng/malloc") });
