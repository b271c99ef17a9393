// A server that sends 1500 frames of 1 MB to a client in a process of its own.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { WebSocket, WebSocketServer } from "ws";

const self = fileURLToPath(import.meta.url);

export async function serve(send) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  const child = spawn(process.execPath, [self, String(server.address().port)], { stdio: "inherit" });
  const [socket] = await once(server, "connection");
  for (let n = 0; n < 1500; n++) await send(socket, n);
  socket.close();
  await once(child, "exit");
  server.close();
}

if (process.argv[1] === self) {
  const client = new WebSocket(`ws://127.0.0.1:${process.argv[2]}`, { perMessageDeflate: false });
  client.on("message", () => {});
}
