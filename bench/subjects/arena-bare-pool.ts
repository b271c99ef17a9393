/**
 * What RealtimePool would be if it could neither be debugged nor closed: the same methods without the comparison that
 * both need. What it costs while it is off is the difference.
 */
import { TlsfArena } from "../../src/arena/tlsf/tlsf-arena.ts";
import { RealtimePool } from "../../src/pools/realtime/realtime-pool.ts";
import { measure, sink } from "../lib/subject.ts";
import { LIVE_OBJECTS, SETTLE, TRACE_LENGTH, trace, traceSizes } from "../lib/trace.ts";

const which = process.argv[2];
if (which !== "pair" && which !== "mixed") throw new Error("which one? pair, mixed");
class Bare {
  declare readonly arena: TlsfArena;
  constructor(arena: TlsfArena) {
    this.arena = arena;
  }
  alloc(size: number): number {
    const pointer = this.arena.alloc(size);
    return pointer === 0 ? this.full(size) : pointer;
  }
  free(block: number | object): void {
    if (typeof block === "number") this.arena.free(block);
    else this.full(0);
  }
  full(size: number): number {
    throw new Error(`no room for ${size} bytes`);
  }
}

const pool = RealtimePool.create({ totalSize: 255 << 20 });
const heap = new Bare(TlsfArena.attach({ source: pool.buffer, byteOffset: pool.byteOffset }));
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
