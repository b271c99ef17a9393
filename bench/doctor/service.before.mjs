// A service that takes uploads: each body in one buffer. Four clients at a time.
import { createServer } from "node:http";
import { clients } from "./clients.mjs";
import { detect } from "./work.mjs";

async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}
const server = createServer(async (request, response) => {
  const body = await bodyOf(request);
  response.end(String(detect(body)));
});
await clients(server);
