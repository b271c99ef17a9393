/** TlsfArena: any size in constant time, every check on. */
import { TlsfArena } from "../../src/arena/tlsf/tlsf-arena.ts";
import { measure, sink } from "../lib/subject.ts";
import { LIVE_OBJECTS, SETTLE, TRACE_LENGTH, trace, traceSizes } from "../lib/trace.ts";

const which = process.argv[2];
if (which !== "pair" && which !== "mixed") throw new Error("which one? pair, mixed");
const bytes = new Uint8Array(256 << 20);
// Every page is there before the first request, as with the C one and in a RealtimePool.
for (let at = 0; at < bytes.length; at += 4096) bytes[at] = 1;
const heap = TlsfArena.create({ source: bytes });
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
