// Uploads to a server from a process of its own, 200 of 2 to 8 MB, four at a time; then the server is closed.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { fileURLToPath } from "node:url";

const self = fileURLToPath(import.meta.url);

export async function clients(server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const child = spawn(process.execPath, [self, String(server.address().port)], { stdio: "inherit" });
  await once(child, "exit");
  server.close();
}

async function upload(port, body) {
  const message = request({ port, host: "127.0.0.1", method: "POST", headers: { "content-length": body.length } });
  message.end(body);
  const [response] = await once(message, "response");
  response.resume();
  await once(response, "end");
}

if (process.argv[1] === self) {
  const bytes = Buffer.alloc(8e6, 7);
  let left = 200;
  const client = async () => {
    while (left-- > 0) await upload(process.argv[2], bytes.subarray(0, 2e6 + (left % 13) * 5e5));
  };
  await Promise.all([client(), client(), client(), client()]);
}
