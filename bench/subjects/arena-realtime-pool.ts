/** RealtimePool by integers: TlsfArena behind the one comparison that debugging and closing cost while they are off. */
import { RealtimePool } from "../../src/pools/realtime/realtime-pool.ts";
import { measure, sink } from "../lib/subject.ts";
import { LIVE_OBJECTS, SETTLE, TRACE_LENGTH, trace, traceSizes } from "../lib/trace.ts";

const which = process.argv[2];
if (which !== "pair" && which !== "mixed") throw new Error("which one? pair, mixed");
const heap = RealtimePool.create({ totalSize: 255 << 20 });
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
