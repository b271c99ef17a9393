// Files from a server by undici, each body whole.
import { request } from "undici";
import { fileServer } from "./file-server.mjs";
import { detect } from "./work.mjs";

await fileServer(async (url) => {
  const { body } = await request(url);
  detect(new Uint8Array(await body.arrayBuffer()));
});
