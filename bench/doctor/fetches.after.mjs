// The same by collect() of millpond/node.
import { PagePool } from "../../dist/index.js";
import { collect } from "../../dist/node.js";
import { fileServer } from "./file-server.mjs";
import { detect } from "./work.mjs";

const pages = PagePool.create({ name: "bodies", maxBytes: 46 * 2 ** 20, pageSize: 2 ** 19 });
await fileServer(async (url) => {
  const response = await fetch(url);
  const file = await collect(response.body, pages, {
    detach: true,
    expected: Number(response.headers.get("content-length")),
  });
  detect(file.bytes);
  file.release();
});
