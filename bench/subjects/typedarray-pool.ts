/** typedarray-pool: free lists of typed arrays by power-of-two size; no bound, no checks, no age. */
import pool from "typedarray-pool";
import { measure, packageVersion, sink } from "../lib/subject.ts";
import { FRAME_BYTES, LIVE_OBJECTS, PAGE_SIZES, TRACE_LENGTH, trace } from "../lib/trace.ts";

const which = process.argv[2] ?? "";
const choices = trace(which === "pages" ? PAGE_SIZES.length : LIVE_OBJECTS);
const live: Uint8Array[] = [];
let at = 0;

const loops: Readonly<Record<string, (n: number) => void>> = {
  pair(n) {
    for (let i = 0; i < n; i++) {
      const bytes = pool.mallocUint8(64);
      sink.value = bytes;
      pool.freeUint8(bytes);
    }
  },
  replace(n) {
    for (let i = 0; i < n; i++) {
      const k = choices[at++ & (TRACE_LENGTH - 1)]!;
      pool.freeUint8(live[k]!);
      live[k] = pool.mallocUint8(64);
    }
  },
  frame(n) {
    for (let i = 0; i < n; i++) {
      const bytes = pool.mallocUint8(FRAME_BYTES);
      sink.value = bytes;
      pool.freeUint8(bytes);
    }
  },
  pages(n) {
    for (let i = 0; i < n; i++) {
      const bytes = pool.mallocUint8(PAGE_SIZES[choices[at++ & (TRACE_LENGTH - 1)]!]!);
      sink.value = bytes;
      pool.freeUint8(bytes);
    }
  },
};

const loop = loops[which];
if (loop === undefined) throw new Error(`which one? ${Object.keys(loops).join(", ")}`);
if (which === "replace") for (let i = 0; i < LIVE_OBJECTS; i++) live.push(pool.mallocUint8(64));
// garbage: each call makes a fresh view over the recycled buffer.
await measure({ loop, garbage: true, library: packageVersion("typedarray-pool") });
