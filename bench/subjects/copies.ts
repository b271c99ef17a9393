/** 1080p frames (I420, 3.1 MB) copied in, four of them in use at a time: fresh memory each, or slots of a pool. */
import { BufferPool, type MediaBuffer } from "../../src/index.ts";
import { measure, sink } from "../lib/subject.ts";

const BYTES = (1920 * 1080 * 3) / 2;
const IN_FLIGHT = 4;
/** What a decoder or a socket has. */
const sources = [new Uint8Array(BYTES).fill(1), new Uint8Array(BYTES).fill(2)];
let at = 0;

function fresh(make: () => Uint8Array): (n: number) => void {
  const inFlight: (Uint8Array | undefined)[] = new Array<undefined>(IN_FLIGHT).fill(undefined);
  return (n) => {
    for (let i = 0; i < n; i++) {
      const frame = make();
      frame.set(sources[at & 1]!);
      sink.value = frame[BYTES - 1];
      inFlight[at++ % IN_FLIGHT] = frame;
    }
  };
}

function pooled(): (n: number) => void {
  const pool = BufferPool.create({ name: "frames", size: BYTES, max: IN_FLIGHT + 1 });
  const inFlight: (MediaBuffer | undefined)[] = new Array<undefined>(IN_FLIGHT).fill(undefined);
  return (n) => {
    for (let i = 0; i < n; i++) {
      const frame = pool.tryAcquire()!;
      const { bytes } = frame;
      bytes.set(sources[at & 1]!);
      sink.value = bytes[BYTES - 1];
      inFlight[at % IN_FLIGHT]?.release();
      inFlight[at++ % IN_FLIGHT] = frame;
    }
  };
}

/** Five arrays that take turns: what a careful program writes by hand, without a single check. */
function byHand(): (n: number) => void {
  const slots = Array.from({ length: IN_FLIGHT + 1 }, () => new Uint8Array(BYTES));
  return (n) => {
    for (let i = 0; i < n; i++) {
      const frame = slots[at % slots.length]!;
      frame.set(sources[at++ & 1]!);
      sink.value = frame[BYTES - 1];
    }
  };
}

const ways: Readonly<Record<string, () => (n: number) => void>> = {
  pool: pooled,
  hand: byHand,
  uint8array: () => fresh(() => new Uint8Array(BYTES)),
  unsafe: () => fresh(() => Buffer.allocUnsafeSlow(BYTES)),
};
const way = ways[process.argv[2] ?? ""];
if (way === undefined) throw new Error(`which one? ${Object.keys(ways).join(", ")}`);
// The mean over all, with the collections that the garbage causes; also for those that leave none.
await measure({ loop: way(), garbage: true });
