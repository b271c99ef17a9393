/**
 * The same frames by hand: a new Uint8Array for each, through three functions to a fourth. "touched": every byte is
 * written.
 */

import { measureRuns } from "../lib/runs.ts";
import { sink } from "../lib/subject.ts";

const kind = process.argv[2];
if (kind !== "chain" && kind !== "touched") throw new Error("which one? chain, touched");

const BYTES = (1920 * 1080 * 3) / 2;

interface Frame {
  readonly bytes: Uint8Array;
  readonly pts: number;
}

const one = (frame: Frame): Frame => frame;
const two = (frame: Frame): Frame => frame;
const three = (frame: Frame): Frame => frame;
let count = 0;
const take = (frame: Frame): void => {
  count++;
  sink.value = frame;
};

await measureRuns(async (n) => {
  for (let i = 0; i < n; i++) {
    const bytes = new Uint8Array(BYTES);
    // A new array is zero by contract, but only a write makes its pages exist.
    if (kind === "touched") bytes.fill(0);
    take(three(two(one({ bytes, pts: i }))));
    // Without a turn now and then, memory that is already garbage is not given back.
    if ((i & 15) === 15) await new Promise((resolve) => setImmediate(resolve));
  }
  if (count === 0) throw new Error("nothing arrived");
}, `Node ${process.version}`);
