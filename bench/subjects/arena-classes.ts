/** SizeClassArena: mixed sizes without a bound on time, every check on, in 1.8 times the bytes that are live. */
import { SizeClassArena } from "../../src/arena/size-class/size-class-arena.ts";
import { measure, sink } from "../lib/subject.ts";
import { LIVE_OBJECTS, SETTLE, TRACE_LENGTH, trace, traceSizes } from "../lib/trace.ts";

const which = process.argv[2];
if (which !== "pair" && which !== "mixed") throw new Error("which one? pair, mixed");
// 1.8 times the live bytes of the mixed trace: an arena that needed more would fail, and the subject with it.
const bytes = new Uint8Array(1.8 * 8190 * LIVE_OBJECTS);
for (let at = 0; at < bytes.length; at += 4096) bytes[at] = 1;
const heap = SizeClassArena.create({ source: bytes });
const choices = trace(LIVE_OBJECTS);
const sizes = traceSizes();
const live = new Int32Array(LIVE_OBJECTS);
if (which === "mixed") for (let i = 0; i < LIVE_OBJECTS; i++) live[i] = heap.alloc(sizes[i]!);
let at = 0;

function pair(n: number): void {
  for (let i = 0; i < n; i++) {
    const pointer = heap.alloc(64);
    sink.value = pointer;
    heap.free(pointer);
  }
}

/** A failed request answers 0, and the next free() of it throws: nothing is measured of a heap that is full. */
function mixed(n: number): void {
  for (let i = 0; i < n; i++) {
    const j = at++ & (TRACE_LENGTH - 1);
    const k = choices[j]!;
    heap.free(live[k]!);
    live[k] = heap.alloc(sizes[j]!);
  }
}

// Every heap is measured as it is after a while, not as its first blocks left it.
if (which === "mixed") mixed(SETTLE);
await measure({ loop: which === "pair" ? pair : mixed, library: "millpond" });
