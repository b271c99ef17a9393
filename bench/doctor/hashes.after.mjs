// The same by readBlocks().
import { createHash } from "node:crypto";
import { BufferPool } from "../../dist/index.js";
import { readBlocks } from "../../dist/node.js";
import { photos } from "./paths.mjs";

const blocks = BufferPool.create({ name: "blocks", size: 262_144, max: 4 });
for (let pass = 0; pass < 4; pass++) {
  for (const path of photos()) {
    const hash = createHash("md5");
    for await (const block of readBlocks(path, blocks)) {
      hash.update(block.bytes);
      block.release();
    }
    hash.digest();
  }
}
