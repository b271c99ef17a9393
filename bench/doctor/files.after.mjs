// The same by readBlocks() with slots for the largest file, as the doctor says.
import { BufferPool } from "../../dist/index.js";
import { readBlocks } from "../../dist/node.js";
import { photos } from "./paths.mjs";
import { detect } from "./work.mjs";

const paths = photos();
const pool = BufferPool.create({ name: "load", size: 8_500_000, max: 3 });
async function load(n) {
  for await (const file of readBlocks(paths[n % paths.length], pool)) {
    detect(file.bytes);
    file.release();
  }
}
for (let n = 0; n < 300; n += 2) await Promise.all([load(n), load(n + 1)]);
