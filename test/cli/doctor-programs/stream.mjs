// argv: frames, held at a time, share kept for good, turns of the event loop (1 or 0)
import { setImmediate as turn } from "node:timers/promises";

const [frames, held, keptEvery, turns] = process.argv.slice(2).map(Number);
const SIZE = 1_000_000;
const inHand = [];
const kept = [];

function decode(n) {
  const frame = new Uint8Array(SIZE);
  if (keptEvery > 0 && n % keptEvery === 0) kept.push(frame);
  return frame;
}

for (let n = 0; n < frames; n++) {
  inHand.push(decode(n));
  if (inHand.length > held) inHand.shift();
  if (turns === 1) await turn();
}
