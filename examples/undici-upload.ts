/**
 * Uploads with undici from pooled memory, collected by the server into pooled memory: a file is read into a block, the
 * block is the request's body, and the server has the body in one block too, however it came. The client's lease ends
 * with the response, or with the error: until then undici may still be sending.
 *
 *   npx node examples/undici-upload.ts        needs: npm install undici
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, request } from "undici";
import { isMillpondError, PagePool } from "../src/index.ts";
import { collect, readFile } from "../src/node.ts";

const MB = 2 ** 20;
const pages = PagePool.create({ name: "files", maxBytes: 64 * MB });
const bodies = PagePool.create({ name: "bodies", maxBytes: 64 * MB });
const digest = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

const server = createServer(async (req, res) => {
  try {
    const body = await collect(req, bodies, { maxBytes: 16 * MB });
    res.end(digest(body.bytes));
    body.release();
  } catch (error) {
    if (!isMillpondError(error, "ERR_TOO_LARGE")) return; // the client went
    res.writeHead(413, { connection: "close" }).end();
  }
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const dispatcher = new Agent();

/** Sends a file; answers the status, and whether the server has the same bytes. */
async function upload(path: string, signal?: AbortSignal): Promise<string> {
  const file = await readFile(path, pages);
  try {
    const response = await request(url, { method: "POST", body: file.bytes, dispatcher, ...(signal && { signal }) });
    const text = await response.body.text();
    return `${response.statusCode}${text === digest(file.bytes) ? ", the same bytes" : ""}`;
  } finally {
    file.release();
  }
}

const folder = mkdtempSync(join(tmpdir(), "millpond-upload-"));
try {
  const [small, large] = [join(folder, "small"), join(folder, "large")];
  writeFileSync(small, Buffer.alloc(8 * MB, "frame"));
  writeFileSync(large, Buffer.alloc(24 * MB, "movie"));
  for (let n = 0; n < 4; n++) console.log(`8 MB: ${await upload(small)}`);
  console.log(`24 MB, the limit is 16: ${await upload(large).catch((error: { code?: string }) => error.code)}`);
  const aborted = await upload(small, AbortSignal.abort()).catch((error: Error) => error.name);
  console.log(`aborted: ${aborted}`);
} finally {
  await dispatcher.close();
  server.close();
  await once(server, "close");
  rmSync(folder, { recursive: true });
}
const [file, body] = [pages.stats(), bodies.stats()];
console.log(`blocks made: ${file.misses} for files, ${body.misses} for bodies; leases left: ${file.live + body.live}`);
if (file.live + body.live > 0) process.exitCode = 1;
