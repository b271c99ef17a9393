/** Bytes of a process of its own over loopback, as fast as they come: into slots, by data events, and by hand. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { BufferPool } from "../../src/index.ts";
import { connectSocket } from "../../src/node.ts";
import { effortFromEnvironment, FULL } from "../lib/protocol.ts";
import { emit, openWindow, sink } from "../lib/subject.ts";

const MIB = 2 ** 20;
const SLOT = 2 ** 18;
const which = process.argv[2];

/** Sends `total` bytes to each client that connects. */
async function send(total: number): Promise<void> {
  const piece = new Uint8Array(MIB).fill(1);
  const server = createServer(async (peer) => {
    for (let sent = 0; sent < total; sent += MIB) if (!peer.write(piece)) await once(peer, "drain");
    peer.end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  process.send!((server.address() as AddressInfo).port);
}

/** Reads one connection to its end; returns how many bytes there were. */
type Receiver = (port: number) => Promise<number>;

function inSlots(fill: "any" | "full"): Receiver {
  const pool = BufferPool.create({ size: SLOT, max: 8 });
  return async (port) => {
    let total = 0;
    for await (const lease of connectSocket({ port, host: "127.0.0.1" }, pool, { fill })) {
      sink.value = lease.bytes[0];
      total += lease.size;
      lease.release();
    }
    return total;
  };
}

async function byEvents(port: number): Promise<number> {
  let total = 0;
  const socket = connect({ port, host: "127.0.0.1" });
  socket.on("data", (chunk) => {
    sink.value = chunk[0];
    total += chunk.length;
  });
  await once(socket, "end");
  return total;
}

async function byIterating(port: number): Promise<number> {
  let total = 0;
  for await (const chunk of connect({ port, host: "127.0.0.1" }) as AsyncIterable<Buffer>) {
    sink.value = chunk[0];
    total += chunk.length;
  }
  return total;
}

async function byHand(port: number): Promise<number> {
  let total = 0;
  const buffer = new Uint8Array(SLOT);
  const callback = (count: number): boolean => {
    sink.value = buffer[0];
    total += count;
    return true;
  };
  const socket = connect({ port, host: "127.0.0.1", onread: { buffer, callback } });
  await once(socket, "end");
  return total;
}

const receivers: Record<string, () => Receiver> = {
  any: () => inSlots("any"),
  full: () => inSlots("full"),
  data: () => byEvents,
  iterate: () => byIterating,
  hand: () => byHand,
};

async function receive(): Promise<void> {
  const receiver = receivers[which ?? ""]?.();
  if (receiver === undefined) throw new Error(`which one? ${Object.keys(receivers).join(", ")}`);
  const isFull = effortFromEnvironment().repetitions >= FULL.repetitions;
  const total = (isFull ? 4096 : 256) * MIB;
  const sender = fork(import.meta.filename, ["send", String(total)]);
  const [port] = (await once(sender, "message")) as [number];
  await receiver(port);
  const window = openWindow();
  const before = process.cpuUsage();
  const started = performance.now();
  const got = await receiver(port);
  const elapsed = (performance.now() - started) * 1e6;
  const { user, system } = process.cpuUsage(before);
  if (got !== total) throw new Error(`${got} bytes arrived, not ${total}`);
  const counted = await window.close();
  emit({
    ns: ((user + system) * 1000) / (total / MIB),
    p999: null,
    ops: total / MIB,
    ...counted,
    library: which === "any" || which === "full" ? "millpond" : "node",
    extra: { wallNs: Math.round(elapsed / (total / MIB)) },
  });
  sender.kill();
}

if (which === "send") await send(Number(process.argv[3]));
else await receive();
