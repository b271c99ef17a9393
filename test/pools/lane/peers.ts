/** Peers of a lane that say whatever they like. */
import { MessageChannel, type MessagePort } from "node:worker_threads";
import type { Lane } from "../../../src/pools/lane/lane.ts";
import { receiveLane } from "../../../src/pools/lane/receive.ts";
import type { TransferPool } from "../../../src/pools/lane/transfer-pool.ts";
import type { SharedPool } from "../../../src/pools/shared/shared-pool.ts";

/** This side's lane, the port of the peer, and what the peer was told, message by message. */
export interface Peer {
  readonly lane: Lane;
  readonly port: MessagePort;
  readonly heard: unknown[][];
}

/** A lane of the pool's owner. */
export async function toOwner(pool: TransferPool | SharedPool): Promise<Peer> {
  const { port1, port2 } = new MessageChannel();
  const heard: unknown[][] = [];
  let port: MessagePort | undefined;
  port2.on("message", (request: { port: MessagePort; offer: { transport: string } }) => {
    port = request.port;
    const ready = { kind: "millpond.ready", holds: false };
    port.on("message", (said) => {
      if (said?.kind === "millpond.go") port!.postMessage(ready);
      else if (Array.isArray(said)) heard.push(said);
    });
    port.postMessage(request.offer.transport === "shared" ? ready : { kind: "millpond.hello" });
  });
  const lane = await pool.connect(port1 as never);
  port2.close();
  return { lane, port: port!, heard };
}

/** A lane of who receives a TransferPool of `count` slots of 8 bytes, whose owner the peer is. */
export async function toRemote(count = 1): Promise<Peer> {
  const { port1, port2 } = new MessageChannel();
  const inner = new MessageChannel();
  const receives = receiveLane(port2 as never);
  const heard: unknown[][] = [];
  const port = inner.port1;
  port.on("message", (said) => {
    if (said?.kind === "millpond.hello") port.postMessage({ kind: "millpond.go" });
    else if (Array.isArray(said)) heard.push(said);
  });
  const offer = { transport: "transfer", name: "odd", pool: 5, size: 8, count };
  port1.postMessage({ kind: "millpond.lane", port: inner.port2, offer, lock: undefined }, [inner.port2]);
  const lane = await receives;
  port1.close();
  return { lane, port, heard };
}

/** All turns of the event loop that messages of both ports can take. */
export async function settled(): Promise<void> {
  for (let n = 0; n < 20; n++) await new Promise((resolve) => setImmediate(resolve));
}
