// Hashes of files, by a stream of 64 KiB chunks.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { photos } from "./paths.mjs";

for (let pass = 0; pass < 4; pass++) {
  for (const path of photos()) {
    const hash = createHash("md5");
    for await (const chunk of createReadStream(path)) hash.update(chunk);
    hash.digest();
  }
}
