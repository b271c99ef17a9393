// Packets of 200 kB to 1 MB, each in a buffer of its own size; six wait for a writer.
import { detect } from "./work.mjs";

const waiting = [];
function encode(n) {
  const packet = Buffer.allocUnsafe(200_000 + ((n * 7919) % 800_000));
  packet.fill(n);
  return packet;
}
for (let n = 0; n < 4000; n++) {
  waiting.push(encode(n));
  if (waiting.length > 6) detect(waiting.shift());
  if (n % 8 === 0) await new Promise(setImmediate);
}
