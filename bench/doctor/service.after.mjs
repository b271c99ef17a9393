// The same by collect(), as the doctor says.
import { createServer } from "node:http";
import { PagePool } from "../../dist/index.js";
import { collect } from "../../dist/node.js";
import { clients } from "./clients.mjs";
import { detect } from "./work.mjs";

const pages = PagePool.create({ name: "bodyOf", maxBytes: 153 * 2 ** 20 });
const server = createServer(async (request, response) => {
  const body = await collect(request, pages, { detach: true });
  response.end(String(detect(body.bytes)));
  body.release();
});
await clients(server);
