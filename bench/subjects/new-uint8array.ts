/** What most programs do: a fresh Uint8Array each time, left to the garbage collector. */
import { measure, sink } from "../lib/subject.ts";
import { FRAME_BYTES, PAGE_SIZES, TRACE_LENGTH, trace } from "../lib/trace.ts";

const choices = trace(PAGE_SIZES.length);
let at = 0;

const loops: Readonly<Record<string, (n: number) => void>> = {
  pair(n) {
    for (let i = 0; i < n; i++) sink.value = new Uint8Array(64);
  },
  frame(n) {
    for (let i = 0; i < n; i++) sink.value = new Uint8Array(FRAME_BYTES);
  },
  pages(n) {
    for (let i = 0; i < n; i++) {
      sink.value = new Uint8Array(PAGE_SIZES[choices[at++ & (TRACE_LENGTH - 1)]!]!);
    }
  },
};

const loop = loops[process.argv[2] ?? ""];
if (loop === undefined) throw new Error(`which one? ${Object.keys(loops).join(", ")}`);
await measure({ loop, garbage: true });
