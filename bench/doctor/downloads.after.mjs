// The same by collect() of millpond/node.
import { request } from "undici";
import { PagePool } from "../../dist/index.js";
import { collect } from "../../dist/node.js";
import { fileServer } from "./file-server.mjs";
import { detect } from "./work.mjs";

const pages = PagePool.create({ name: "downloads", maxBytes: 64 * 2 ** 20 });
await fileServer(async (url) => {
  const { body, headers } = await request(url);
  const file = await collect(body, pages, { detach: true, expected: Number(headers["content-length"]) });
  detect(file.bytes);
  file.release();
});
