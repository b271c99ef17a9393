/**
 * A mirror: downloads a body, hashes it on the way, and uploads it again, all of it through at most four slots of 64 KiB. The
 * upload's pace reaches the download; nothing else of the body is ever in the program's memory. Two servers of its own
 * stand for the origin and the mirror.
 *
 *   npx node examples/mirror.ts
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { BufferPool, type MediaBuffer } from "../src/index.ts";
import { readInto, toReadable } from "../src/web-streams.ts";

const body = Buffer.alloc(20_000_000, "what an origin has ");
const origin = createServer((_request, response) => response.end(body));
const mirror = createServer(async (request, response) => {
  const hash = createHash("sha256");
  for await (const chunk of request) hash.update(chunk);
  response.end(hash.digest("hex"));
});

async function address(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const pool = BufferPool.create({ name: "mirror", size: 65_536, max: 4 });
const hash = createHash("sha256");

async function* hashed(blocks: AsyncIterable<MediaBuffer>): AsyncGenerator<MediaBuffer> {
  for await (const block of blocks) {
    hash.update(block.bytes);
    yield block; // the upload releases it
  }
}

const [from, to] = [await address(origin), await address(mirror)];
const download = await fetch(from);
const upload = await fetch(to, {
  method: "POST",
  body: toReadable(hashed(readInto(download.body!, pool))),
  duplex: "half",
});
const answer = await upload.text();

const { acquires, count, outstanding } = pool.stats();
console.log(`${acquires} blocks went through ${count} of 4 slots; ${outstanding} are out`);
console.log(`the mirror has ${answer === hash.digest("hex") ? "the same bytes" : "OTHER BYTES"}`);
origin.close();
mirror.close();
