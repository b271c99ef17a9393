// The same in pages, as the doctor says.
import { PagePool } from "../../dist/index.js";
import { detect } from "./work.mjs";

const inHand = [];
const pages = PagePool.create({ name: "draw", maxBytes: 88 * 2 ** 20 });
async function draw(n) {
  const block = await pages.acquire(n % 5 === 0 ? 8_294_400 : 230_400);
  const mapping = block.map("readwrite");
  mapping.bytes.fill(n);
  return { block, mapping };
}
for (let n = 0; n < 3000; n++) {
  inHand.push(await draw(n));
  if (inHand.length > 3) {
    const { block, mapping } = inHand.shift();
    detect(mapping.bytes);
    mapping.unmap();
    block.release();
  }
  if (n % 8 === 0) await new Promise(setImmediate);
}
