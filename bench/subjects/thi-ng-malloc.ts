/** @thi.ng/malloc: a first-fit heap in one ArrayBuffer. Its free() walks the list of live blocks. */
import { MemPool } from "@thi.ng/malloc";
import { measure, packageVersion, sink } from "../lib/subject.ts";
import { LIVE_OBJECTS, SETTLE, TRACE_LENGTH, trace, traceSizes } from "../lib/trace.ts";

const which = process.argv[2] ?? "";
const pool = new MemPool({ size: (which === "mixed" ? 256 : 4) * 1024 * 1024 });
const sizes = traceSizes();
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
  mixed(n) {
    for (let i = 0; i < n; i++) {
      const j = at++ & (TRACE_LENGTH - 1);
      const k = choices[j]!;
      pool.free(live[k]!);
      live[k] = pool.malloc(sizes[j]!);
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

const loop = loops[which];
if (loop === undefined) throw new Error(`which one? ${Object.keys(loops).join(", ")}`);
if (which === "replace") for (let i = 0; i < LIVE_OBJECTS; i++) live[i] = pool.malloc(64);
if (which === "mixed") {
  for (let i = 0; i < LIVE_OBJECTS; i++) live[i] = pool.malloc(sizes[i]!);
  loop(SETTLE);
}
await measure({ loop, library: packageVersion("@thi.ng/malloc") });
