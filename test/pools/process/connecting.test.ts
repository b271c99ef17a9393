/**
 * What the other side of a connection sends before this side knows that it has joined, over each way to connect: it
 * arrives, or is given back where this side has given up; nobody takes it for lost.
 */
import { EventEmitter } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MessageChannel } from "node:worker_threads";
import { afterEach, describe, expect, it, vi } from "vitest";
import { connectProcess, connectToPool, ProcessPool, receiveProcess, serveProcesses } from "../../../src/native.ts";
import { nativeOps } from "../../../src/os/load.ts";
import { Lane, type LanePort } from "../../../src/pools/lane/lane.ts";
import { receiveLane } from "../../../src/pools/lane/receive.ts";
import { SharedConnection } from "../../../src/pools/lane/shared-transport.ts";
import { giveBackFrom, refusalText, tellFailure } from "../../../src/pools/process/connect.ts";
import type { SharedPool } from "../../../src/pools/shared/shared-pool.ts";

const WAYS = ["connectProcess", "serveProcesses", "connect"] as const;
type Way = (typeof WAYS)[number];

const ends: (() => void)[] = [];
afterEach(() => {
  vi.useRealTimers();
  for (const end of ends.splice(0).reverse()) end();
});

/** One end of a channel whose both ends are here; what is sent comes in a later turn, as JSON. */
class End extends EventEmitter {
  connected = true;
  other: End = this;
  isHeld = false;
  readonly #held: string[] = [];

  send(message: never, callback: (error: Error | null) => void): boolean {
    const text = JSON.stringify(message);
    setImmediate(() => {
      this.#come(text);
      callback(null);
    });
    return true;
  }

  #come(text: string): void {
    if (this.isHeld) this.#held.push(text);
    else this.other.emit("message", JSON.parse(text));
  }

  /** What it has sent comes from now on. */
  letGo(): void {
    this.isHeld = false;
    for (const text of this.#held.splice(0)) this.#come(text);
  }
}

interface Met {
  readonly pool: ProcessPool;
  /** This side's end, when it is there. */
  readonly near: Promise<Lane<string>>;
  readonly far: Lane<string>;
  readonly farPool: SharedPool;
  readonly child: End;
}

/** The other side has joined, and this one has not heard so. */
async function meet(way: Way, signal?: AbortSignal): Promise<Met> {
  const pool = ProcessPool.create({ size: 64, count: 2 });
  ends.push(() => pool.close({ force: true }));
  const options = signal === undefined ? {} : { signal };
  const [child, parent] = [new End(), new End()];
  child.other = parent;
  parent.other = child;
  if (way === "connectProcess") {
    const near = connectProcess<string>(pool, parent as never, options);
    const { lane, pool: farPool } = await receiveProcess<string>({ source: child as never });
    return { pool, near, far: lane, farPool, child };
  }
  if (way === "connect") {
    const { port1, port2 } = new MessageChannel();
    ends.push(() => port1.close());
    const near = pool.connect<string>(port1 as never, options);
    const far = await receiveLane<string>(port2 as never);
    return { pool, near, far, farPool: far.pool as SharedPool, child };
  }
  const folder = mkdtempSync(join(tmpdir(), "millpond-connecting-"));
  ends.push(() => rmSync(folder, { recursive: true }));
  const server = await serveProcesses<string>(pool, join(folder, "pool"));
  ends.push(() => server.close());
  const near = server[Symbol.asyncIterator]()
    .next()
    .then(({ value }) => value as Lane<string>);
  const { lane, pool: farPool } = await connectToPool<string>(server.path);
  return { pool, near, far: lane, farPool, child };
}

/** Another lane of the pool, which ends while it is not known what could not be read. */
function endUnanswered(pool: ProcessPool): void {
  const port: LanePort = { postMessage() {}, onmessage: null, onmessageerror: null, addEventListener() {}, close() {} };
  const { connection } = SharedConnection.offer(pool);
  const lane = new Lane(
    port,
    connection.carrier(true, () => {}),
  );
  port.onmessageerror!({} as never);
  lane.lost();
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

describe.runIf(nativeOps().availability.ok)("the other side has joined, and has sent before this side knows", () => {
  it.each(WAYS)("%s: it arrives, though a lane of the pool ends with a question unanswered", async (way) => {
    const { pool, near, far, farPool } = await meet(way);
    expect(far.trySend(farPool.tryAcquire()!, "hello")).toBe(true);
    endUnanswered(pool);
    const { lease, data } = (await (await near).receive())!;
    expect(data).toBe("hello");
    pool.release(lease);
    pool.validate();
    farPool.leave({ force: true });
  });

  it("it arrives, however late, though this side looks for leases whose messages are lost", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { pool, near, far, farPool, child } = await meet("connectProcess");
    child.isHeld = true;
    expect(far.trySend(farPool.tryAcquire()!, "hello")).toBe(true);
    // Another member's lane is lost, and that one lives.
    const other = pool.reserve();
    const given = giveBackFrom(pool, other.membership);
    await vi.advanceTimersByTimeAsync(60_000);
    child.letGo();
    const { lease, data } = (await (await near).receive())!;
    await vi.advanceTimersByTimeAsync(60_000);
    await until(() => far.pending === 0);
    expect(data).toBe("hello");
    pool.release(lease);
    vi.useRealTimers();
    void given;
    farPool.leave({ force: true });
  });

  it.each(["connectProcess", "connect"] as const)(
    "%s: it is given back where the other side has left the pool, and this side gives up then",
    async (way) => {
      const gone = new AbortController();
      const { pool, near, far, farPool } = await meet(way, gone.signal);
      near.catch(() => {});
      expect(far.trySend(farPool.tryAcquire()!, "hello")).toBe(true);
      farPool.leave();
      gone.abort(new Error("enough"));
      await expect(near).rejects.toThrow("enough");
      await until(() => pool.stats().free === 2);
      pool.validate();
    },
  );

  it.each(["connectProcess", "connect"] as const)(
    "%s: it is given back where this side has given up, and the other side's iteration ends in good order",
    async (way) => {
      const gone = new AbortController();
      const { pool, near, far, farPool } = await meet(way, gone.signal);
      near.catch(() => {});
      expect(far.trySend(farPool.tryAcquire()!, "hello")).toBe(true);
      gone.abort(new Error("enough"));
      await expect(near).rejects.toThrow("enough");
      expect(await far.receive()).toBeUndefined();
      await until(() => pool.stats().free === 2);
      pool.validate();
      farPool.leave();
    },
  );
});

describe("what one process tells another of its failure", () => {
  it("is short, whatever the other one said, so that it can be told on", () => {
    expect(refusalText({ failed: "x".repeat(2 ** 20 - 60) }).length).toBe(500);
    expect(refusalText({ failed: 2n ** 8_000_000n }).length).toBeLessThan(100);
    const told: unknown[] = [];
    const port = { postMessage: (message: unknown) => told.push(message) } as never;
    tellFailure(port, new Error("x".repeat(2 ** 20)));
    tellFailure(port, null);
    expect(told.map((message) => JSON.stringify(message).length)).toEqual([500 + '{"failed":""}'.length]);
  });

  it.runIf(nativeOps().availability.ok)(
    "a pool's name of a megabyte does not keep a process from joining it",
    async () => {
      const folder = mkdtempSync(join(tmpdir(), "millpond-connecting-"));
      const pool = ProcessPool.create({ size: 64, count: 1, name: "x".repeat(2 ** 20) });
      const server = await serveProcesses(pool, join(folder, "pool"));
      ends.push(() => {
        server.close();
        pool.close({ force: true });
        rmSync(folder, { recursive: true });
      });
      const { pool: far } = await connectToPool(server.path);
      expect(far.name.length).toBe(1000);
      far.leave({ force: true });
    },
  );
});
