// Pictures of two sizes, a large one after four small ones, each in a new array; three are in hand.
import { detect } from "./work.mjs";

const inHand = [];
function draw(n) {
  const pixels = new Uint8Array(n % 5 === 0 ? 8_294_400 : 230_400);
  pixels.fill(n);
  return pixels;
}
for (let n = 0; n < 3000; n++) {
  inHand.push(draw(n));
  if (inHand.length > 3) detect(inHand.shift());
  if (n % 8 === 0) await new Promise(setImmediate);
}
