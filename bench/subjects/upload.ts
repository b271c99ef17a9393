/** Bodies of 64 MiB, from a process of its own, until each is one run of bytes: collected, or as programs do it. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { createServer, type IncomingMessage, request } from "node:http";
import type { AddressInfo } from "node:net";
import { PagePool } from "../../src/index.ts";
import { collect } from "../../src/node.ts";
import { effortFromEnvironment, FULL } from "../lib/protocol.ts";
import { median } from "../lib/statistics.ts";
import { emit, openWindow, sink } from "../lib/subject.ts";

const MIB = 2 ** 20;
const BODY_MIB = 64;
const which = process.argv[2];

/** Sends bodies to a port for as long as it is asked to. */
function send(port: number, isChunked: boolean): void {
  const piece = new Uint8Array(MIB).fill(1);
  const headers = isChunked ? {} : { "content-length": String(BODY_MIB * MIB) };
  const one = async (): Promise<void> => {
    const req = request({ port, host: "127.0.0.1", method: "POST", headers });
    const answered = once(req, "response") as Promise<[IncomingMessage]>;
    for (let i = 0; i < BODY_MIB; i++) if (!req.write(piece)) await once(req, "drain");
    req.end();
    const [res] = await answered;
    res.resume();
    await once(res, "end");
    process.send!("sent");
  };
  process.on("message", () => void one());
}

/** What a server does with a request until it has the body; what it holds of it is given back afterwards. */
function bodyReader(): (req: IncomingMessage) => Promise<void> {
  const pages = PagePool.create();
  if (which!.startsWith("collect")) {
    return async (req) => {
      const body = await collect(req, pages, { maxBytes: 128 * MIB, detach: which === "collect-detach" });
      sink.value = body.bytes[body.size - 1];
      body.release();
    };
  }
  if (which === "hand") {
    return async (req) => {
      const body = Buffer.allocUnsafeSlow(Number(req.headers["content-length"]));
      let at = 0;
      req.on("data", (chunk: Buffer) => {
        body.set(chunk, at);
        at += chunk.length;
      });
      await once(req, "end");
      sink.value = body[at - 1];
    };
  }
  return async (req) => {
    const chunks: Buffer[] = [];
    req.on("data", (chunk: Buffer) => chunks.push(chunk));
    await once(req, "end");
    const body = Buffer.concat(chunks);
    sink.value = body[body.length - 1];
  };
}

async function serve(): Promise<void> {
  if (!["collect", "collect-detach", "collect-chunked", "concat", "concat-chunked", "hand"].includes(which!)) {
    throw new Error("which one? collect, collect-detach, collect-chunked, concat, concat-chunked, hand");
  }
  const read = bodyReader();
  const server = createServer((req, res) => void read(req).then(() => res.end()));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const sender = fork(import.meta.filename, ["send", String(port), which!.endsWith("chunked") ? "chunked" : "length"]);
  const one = async (): Promise<void> => {
    const sent = once(sender, "message");
    sender.send("one");
    await sent;
  };
  const effort = effortFromEnvironment();
  const isFull = effort.repetitions >= FULL.repetitions;
  for (let i = 0; i < (isFull ? 5 : 2); i++) await one();
  const window = openWindow();
  const times: number[] = [];
  const started = performance.now();
  for (let i = 0; i < (isFull ? 25 : 5); i++) {
    const before = process.cpuUsage();
    await one();
    const { user, system } = process.cpuUsage(before);
    times.push(((user + system) * 1000) / BODY_MIB);
  }
  const wall = ((performance.now() - started) * 1e6) / times.length / BODY_MIB;
  const counted = await window.close();
  emit({
    // Collections of one body's garbage fall into the next: the mean over all has them all.
    ns: times.reduce((sum, time) => sum + time, 0) / times.length,
    p999: null,
    ops: times.length * BODY_MIB,
    ...counted,
    library: which!.startsWith("collect") ? "millpond" : "node",
    extra: { wallNs: Math.round(wall), medianNs: Math.round(median(times)) },
  });
  sender.kill();
  server.close();
  server.closeAllConnections();
}

if (which === "send") send(Number(process.argv[3]), process.argv[4] === "chunked");
else await serve();
