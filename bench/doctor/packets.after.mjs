// The same in slots for the largest, as the doctor says.
import { BufferPool } from "../../dist/index.js";
import { detect } from "./work.mjs";

const waiting = [];
const pool = BufferPool.create({ name: "encode", size: 999_999, max: 12 });
async function encode(n) {
  const block = await pool.acquire();
  const packet = block.bytes.subarray(0, 200_000 + ((n * 7919) % 800_000));
  packet.fill(n);
  return { block, packet };
}
for (let n = 0; n < 4000; n++) {
  waiting.push(await encode(n));
  if (waiting.length > 6) {
    const { block, packet } = waiting.shift();
    detect(packet);
    block.release();
  }
  if (n % 8 === 0) await new Promise(setImmediate);
}
