/**
 * Data that the sender can write and the receiver cannot read, and data that cannot be sent: what becomes of leases.
 */
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import type { Lane, LanePort } from "../../../src/pools/lane/lane.ts";
import { leasePool, receiveLane } from "../../../src/pools/lane/receive.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { code } from "../buffer/pools.ts";

/** As the port, but for messages with the data "unreadable", of which the engine only says that there was one. */
function withUnreadable(port: MessagePort): LanePort {
  const inner = port as unknown as LanePort;
  const wrapped: LanePort = {
    postMessage: (message, transfer) => inner.postMessage(message, transfer),
    get onmessage() {
      return inner.onmessage;
    },
    set onmessage(listener) {
      inner.onmessage =
        listener &&
        ((event) => {
          if (Array.isArray(event.data) && event.data[2] === "unreadable") wrapped.onmessageerror?.({} as never);
          else listener(event);
        });
    },
    onmessageerror: null,
    addEventListener: (type, listener) => inner.addEventListener(type, listener),
    close: () => inner.close(),
  };
  return wrapped;
}

const RealChannel = globalThis.MessageChannel;
afterEach(() => {
  globalThis.MessageChannel = RealChannel;
});

/** Two ends in this thread; neither can read the data "unreadable". */
async function pair(pool: ReturnType<typeof leasePool>, window: number): Promise<{ near: Lane; far: Lane }> {
  const source = new EventTarget();
  const receiving = receiveLane(source as never);
  globalThis.MessageChannel = class {
    readonly port1: unknown;
    readonly port2: unknown;
    constructor() {
      const { port1, port2 } = new MessageChannel();
      this.port1 = withUnreadable(port1 as never);
      this.port2 = port2;
    }
  } as never;
  const target = {
    postMessage(request: { port: MessagePort }) {
      const data = { ...request, port: withUnreadable(request.port) };
      source.dispatchEvent(Object.assign(new Event("message"), { data }));
    },
  };
  const near = await pool.connect(target as never, { window });
  return { near, far: await receiving };
}

describe.each(["shared", "transfer"] as const)("over %s memory", (transport) => {
  const open = () => leasePool({ size: 64, count: 3, transport, name: "frames" });

  it("a lease whose data the other side cannot read is told of once, in its place, and is free again", async () => {
    const pool = open();
    const { near, far } = await pair(pool, 2);
    for (let n = 0; n < 5; n++) {
      await near.send(await pool.acquire(), "unreadable");
      await near.send(await pool.acquire(), "good");
      expect(await codeOf(far.receive())).toBe("ERR_BAD_DATA");
      const got = (await far.receive())!;
      expect(got.data).toBe("good");
      far.pool.release(got.lease);
    }
    await Promise.all([near.close(), far.close()]);
    expect(pool.stats().free).toBe(3);
    pool.validate();
  });

  it("and so is one that this side cannot read; sending goes on", async () => {
    const pool = open();
    const { near, far } = await pair(pool, 2);
    for (let n = 0; n < 5; n++) {
      await far.send(await far.pool.acquire(), "unreadable");
      expect(await codeOf(near.receive())).toBe("ERR_BAD_DATA");
      await far.send(await far.pool.acquire(), "good");
      const got = (await near.receive())!;
      expect(got.data).toBe("good");
      pool.release(got.lease);
    }
    await Promise.all([near.close(), far.close()]);
    expect(pool.stats().free).toBe(3);
    pool.validate();
  });

  it("the sender closes behind it: the lease is free, and then the iteration ends", async () => {
    const pool = open();
    const { near, far } = await pair(pool, 2);
    await near.send(await pool.acquire(), "unreadable");
    const closed = near.close();
    expect(await codeOf(far.receive())).toBe("ERR_BAD_DATA");
    expect(await far.receive()).toBeUndefined();
    await closed;
    await far.close();
    expect(pool.stats().free).toBe(3);
  });

  it("both sides close at once behind it, and the other side has another lane: the lease is free", async () => {
    const pool = open();
    const { near, far } = await pair(pool, 2);
    const other = await pair(pool, 2);
    await far.send(await far.pool.acquire(), "unreadable");
    await Promise.all([far.close(), near.close()]);
    expect(pool.stats().free).toBe(3);
    pool.validate();
    await Promise.all([other.near.close(), other.far.close()]);
  });

  it("the other side ends before it has told which lease it was, beside another lane: the lease is free", async () => {
    const pool = open();
    const { near, far } = await pair(pool, 2);
    const other = await pair(pool, 2);
    await far.send(await far.pool.acquire(), "unreadable");
    expect(await codeOf(near.receive())).toBe("ERR_BAD_DATA");
    // In this turn: the answer to what was asked has not come.
    near.lost();
    expect(pool.stats().free).toBe(3);
    pool.validate();
    await other.far.send(await other.far.pool.acquire(), "good");
    pool.release((await other.near.receive())!.lease);
    await Promise.all([other.near.close(), other.far.close()]);
  });

  it("the other side names messages that were never sent, or that were long ago: nothing happens", async () => {
    const pool = open();
    let port: MessagePort | undefined;
    const near = await pool.connect({
      postMessage(request: { port: MessagePort }) {
        port = request.port;
        port.postMessage({ kind: "millpond.ready", holds: false });
      },
    } as never);
    const lease = await pool.acquire();
    for (const number of [0, -1, 1, 0.5, Number.NaN, 2 ** 40, "0", null, {}]) port!.postMessage([6, number]);
    port!.postMessage([2]);
    expect(await near.receive()).toBeUndefined();
    pool.release(lease);
    expect(pool.stats().free).toBe(3);
    port!.close();
  });

  it("data that no engine can send is ERR_INVALID_ARG_VALUE, whatever the engine calls it, and the lease stays", async () => {
    const pool = open();
    const { near } = await pair(pool, 2);
    const lease = await pool.acquire();
    let deep: unknown[] = [];
    for (let n = 0; n < 200_000; n++) deep = [deep];
    const before = [pool.stats(), near.credit];
    for (const data of [deep, new MessageChannel().port1, new ReadableStream(), { stream: new WritableStream() }]) {
      expect(code(() => near.trySend(lease, data))).toBe("ERR_INVALID_ARG_VALUE");
      expect(await codeOf(near.send(lease, data))).toBe("ERR_INVALID_ARG_VALUE");
    }
    expect([pool.stats(), near.credit]).toEqual(before);
    const mine = new RangeError("mine");
    const thrower = {
      get x() {
        throw mine;
      },
    };
    expect(() => near.trySend(lease, thrower)).toThrow(mine);
    pool.release(lease);
  });
});
