/** SlabPool: 64-byte elements as integers, every check on. */
import { SlabPool } from "../../src/pools/slab/slab-pool.ts";
import { measure, sink } from "../lib/subject.ts";
import { LIVE_OBJECTS, TRACE_LENGTH, trace } from "../lib/trace.ts";

const which = process.argv[2];
if (which !== "pair" && which !== "replace") throw new Error("which one? pair, replace");
const pool = SlabPool.create({ elementSize: 64 });
const choices = trace(LIVE_OBJECTS);
const live = new Int32Array(LIVE_OBJECTS);
if (which === "replace") for (let i = 0; i < LIVE_OBJECTS; i++) live[i] = pool.alloc();
let at = 0;

function pair(n: number): void {
  for (let i = 0; i < n; i++) {
    const pointer = pool.alloc();
    sink.value = pointer;
    pool.free(pointer);
  }
}

function replace(n: number): void {
  for (let i = 0; i < n; i++) {
    const k = choices[at++ & (TRACE_LENGTH - 1)]!;
    pool.free(live[k]!);
    live[k] = pool.alloc();
  }
}

await measure({ loop: which === "pair" ? pair : replace, library: "millpond" });
