/** typedarray-pool and its drop-in: the same loops over the functions that a program gets by require(). */
import original from "typedarray-pool";
import * as door from "../../src/compat/typedarray-pool.ts";
import { measure, packageVersion, sink } from "../lib/subject.ts";
import { FRAME_BYTES, LIVE_OBJECTS, PAGE_SIZES, TRACE_LENGTH, trace } from "../lib/trace.ts";

const [, , which = "", whose = ""] = process.argv;
if (whose !== "package" && whose !== "millpond") throw new Error("whose? package, millpond");
// An object of functions each, as require() gives.
const pool = { ...(whose === "package" ? (original as unknown as typeof door) : door) };

const LIVE: Readonly<Record<string, number>> = { live: 100, many: LIVE_OBJECTS };
const choices = trace(which === "pages" ? PAGE_SIZES.length : (LIVE[which] ?? 1));
const live = Array.from({ length: LIVE[which] ?? 0 }, () => pool.mallocUint8(64));
let at = 0;

function replace(n: number): void {
  for (let i = 0; i < n; i++) {
    const k = choices[at++ & (TRACE_LENGTH - 1)]!;
    pool.freeUint8(live[k]!);
    live[k] = pool.mallocUint8(64);
  }
}

const loops: Readonly<Record<string, (n: number) => void>> = {
  pair(n) {
    for (let i = 0; i < n; i++) {
      const bytes = pool.mallocUint8(64);
      sink.value = bytes;
      pool.freeUint8(bytes);
    }
  },
  live: replace,
  many: replace,
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
  // What a mesh takes: positions, normals, indices, a scratch array, in the generic calls.
  mesh(n) {
    for (let i = 0; i < n; i++) {
      const positions = pool.malloc(300, "float");
      const normals = pool.malloc(300, "double");
      const indices = pool.malloc(600, "uint16");
      const scratch = pool.malloc(100, "uint8");
      sink.value = scratch;
      pool.free(scratch);
      pool.free(indices);
      pool.free(normals);
      pool.free(positions);
    }
  },
  arraybuffer(n) {
    for (let i = 0; i < n; i++) {
      const bytes = pool.mallocArrayBuffer(4096);
      sink.value = bytes;
      pool.freeArrayBuffer(bytes);
    }
  },
  buffer(n) {
    for (let i = 0; i < n; i++) {
      const bytes = pool.mallocBuffer(4096);
      sink.value = bytes;
      pool.freeBuffer(bytes);
    }
  },
};

const loop = loops[which];
if (loop === undefined) throw new Error(`which one? ${Object.keys(loops).join(", ")}`);
const library = whose === "package" ? packageVersion("typedarray-pool") : "millpond";
// garbage: each call makes a fresh view over the recycled buffer.
await measure({ loop, garbage: true, library });
