// Files from a server by fetch(), each body whole.
import { fileServer } from "./file-server.mjs";
import { detect } from "./work.mjs";

await fileServer(async (url) => {
  const response = await fetch(url);
  detect(new Uint8Array(await response.arrayBuffer()));
});
