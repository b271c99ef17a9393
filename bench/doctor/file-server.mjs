// A server in a process of its own, and 200 downloads of 4 MB from it, two at a time.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

const self = fileURLToPath(import.meta.url);

export async function fileServer(download) {
  const child = spawn(process.execPath, [self, "serve"], { stdio: ["pipe", "pipe", "inherit"] });
  const [line] = await once(child.stdout, "data");
  const url = `http://127.0.0.1:${Number(line)}/`;
  for (let n = 0; n < 100; n++) await Promise.all([download(url), download(url)]);
  child.kill();
  process.exit();
}

if (process.argv[1] === self) {
  const file = Buffer.alloc(4e6, 9);
  const server = createServer((_, response) => response.setHeader("content-length", file.length).end(file));
  server.listen(0, "127.0.0.1", () => process.stdout.write(String(server.address().port)));
}
