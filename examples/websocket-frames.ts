/**
 * Binary frames over a WebSocket (ws), from the slots of a pool, without a copy: ws writes its header and then the
 * slot's own bytes. A lease is released in send()'s callback, when its bytes are out. So a client that stalls holds the
 * pool's slots and no more, and the loop waits for it; a frame that is under way is never written over.
 *
 *   npx node examples/websocket-frames.ts        needs: npm install ws
 */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocket, WebSocketServer } from "ws";
import { BufferPool, type MediaBuffer } from "../src/index.ts";

const SIZE = 2 ** 20;
const FRAMES = 60;
const pool = BufferPool.create({ name: "frames", size: SIZE, max: 4 });

/** Sends a frame and takes its lease over. The callback comes in every case, with an error when the client has gone. */
function send(socket: WebSocket, frame: MediaBuffer): void {
  // compress: false, or zlib would make a copy of each frame. A client's frames are masked, which is a copy, too.
  socket.send(frame.bytes, { binary: true, compress: false }, () => frame.release());
}

/** Answers how many frames the client let it send. */
async function serve(socket: WebSocket): Promise<number> {
  const gone = new AbortController();
  socket.once("close", () => gone.abort());
  for (let n = 0; n < FRAMES; n++) {
    const frame = await pool.acquire({ signal: gone.signal }).catch(() => undefined); // waits while four are under way
    if (frame === undefined || socket.readyState !== WebSocket.OPEN) {
      frame?.release();
      return n;
    }
    frame.bytes.fill(n); // stands for a decoder
    send(socket, frame);
  }
  socket.close();
  return FRAMES;
}

const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
const served: Promise<number>[] = [];
server.on("connection", (socket) => served.push(serve(socket)));
await once(server, "listening");
const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;

/** A client that stalls after its first frame, until every slot is waiting for it. */
async function slowClient(): Promise<{ readonly received: number; readonly torn: number }> {
  const client = new WebSocket(url, { perMessageDeflate: false, maxPayload: SIZE });
  let received = 0;
  let torn = 0;
  client.on("message", (bytes: Buffer) => {
    if (bytes.length !== SIZE || bytes.some((value) => value !== received)) torn++;
    received++;
    if (received !== 1) return;
    client.pause();
    // The kernel's buffers first, then the pool: all four slots are queued, and the server's loop waits.
    const look = setInterval(() => {
      if (pool.outstanding < 4) return;
      clearInterval(look);
      client.resume();
    }, 20);
  });
  await once(client, "close");
  return { received, torn };
}

/** A client that goes in the middle of a frame. */
async function rudeClient(): Promise<void> {
  const client = new WebSocket(url, { perMessageDeflate: false });
  await once(client, "message");
  client.terminate();
}

const { received, torn } = await slowClient();
console.log(`${received} frames of 1 MB to a client that stalled; ${torn} torn; ${pool.stats().misses} slots`);
await rudeClient();
const [all, some] = await Promise.all(served);
console.log(`${all} frames were sent to it, ${some! < FRAMES ? "fewer" : "as many"} to one that went`);
pool.retire();
await pool.drained(); // every lease comes back, those that were under way too
console.log(`leases left: ${pool.outstanding}`);
server.close();
if (received !== FRAMES || torn > 0) process.exitCode = 1;
