/**
 * A peer that says what its side may not say: the lane ends with ERR_BAD_DATA, and what is in it goes back. And what a
 * peer can have this side keep is bounded.
 */
import { MessageChannel, receiveMessageOnPort } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { MessageType } from "../../../src/pools/lane/lane.ts";
import { receiveLane } from "../../../src/pools/lane/receive.ts";
import { TransferPool } from "../../../src/pools/lane/transfer-pool.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { code } from "../buffer/pools.ts";
import { settled, toOwner, toRemote } from "./peers.ts";

const SIZE = 8;

const CONTROL = MessageType.CONTROL;

describe("a message that its sender may not send", () => {
  it.each([
    ["that the pool was closed by force", [MessageType.POOL_CLOSED]],
    ["a grant", [CONTROL, ["grant", 1, 0, "bytes"]]],
    ["that the pool was retired", [CONTROL, ["retired"]]],
    ["that a request was refused", [CONTROL, ["refused", 1]]],
    ["nothing that there is", [CONTROL, 5]],
  ])("to the owner of a TransferPool, %s: the lane ends, and a lease that came back is free", async (_, message) => {
    const pool = TransferPool.create({ size: SIZE, count: 1 });
    const { lane, port, heard } = await toOwner(pool);
    expect(lane.trySend(pool.tryAcquire()!)).toBe(true);
    await settled();
    const [, payload] = heard[0] as [number, [number, ArrayBuffer]];
    port.postMessage([MessageType.LEASE, payload], [payload[1]]);
    port.postMessage(message);
    await settled();
    expect([lane.pending, lane.isOpen, await codeOf(lane.receive())]).toEqual([0, false, "ERR_BAD_DATA"]);
    expect(pool.stats()).toEqual({ count: 1, free: 1, held: 0, away: 0 });
    expect(pool.tryAcquire()).toBeDefined();
    pool.validate();
    await lane.close();
  });

  it.each([
    ["return", [CONTROL, ["return", 0, undefined]]],
    ["request", [CONTROL, ["request", 1]]],
    ["cancel", [CONTROL, ["cancel", 1]]],
  ])(
    "to who received a lane of a TransferPool, %s: the lane ends, and what waits there is told",
    async (_, message) => {
      const { lane, port } = await toRemote();
      const waits = [codeOf((lane.pool as TransferPool).acquire()), codeOf(lane.receive())];
      port.postMessage(message);
      expect(await Promise.all(waits)).toEqual(["ERR_POOL_DEAD", "ERR_BAD_DATA"]);
      await lane.close();
    },
  );

  it.each([
    ["that a pool was closed which is open", [MessageType.POOL_CLOSED]],
    ["a message of another transport", [CONTROL, ["request", 1]]],
  ])("over a SharedPool's lane, %s: the lane ends, and the pool goes on", async (_, message) => {
    const pool = SharedPool.create({ size: SIZE, count: 1 });
    const { lane, port } = await toOwner(pool);
    port.postMessage(message);
    expect(await codeOf(lane.receive())).toBe("ERR_BAD_DATA");
    expect(pool.tryAcquire()).toBeDefined();
  });

  it("the word of a member that closed a SharedPool by force counts", async () => {
    const pool = SharedPool.create({ size: SIZE, count: 1 });
    const other = SharedPool.attach(pool.handle);
    const { lane, port } = await toOwner(pool);
    other.close({ force: true });
    port.postMessage([MessageType.POOL_CLOSED]);
    expect(await codeOf(lane.receive())).toBe("ERR_POOL_DEAD");
  });

  it("the word of a TransferPool's owner that it closed the pool by force counts, and what had come is over", async () => {
    const { lane, port } = await toRemote();
    port.postMessage([MessageType.LEASE, [0, new ArrayBuffer(SIZE)]]);
    port.postMessage([MessageType.POOL_CLOSED]);
    await settled();
    expect([lane.pending, await codeOf(lane.receive())]).toEqual([0, "ERR_POOL_DEAD"]);
  });

  it("a lease behind the word that none comes any more: the lane ends, and the lease goes back", async () => {
    const pool = TransferPool.create({ size: SIZE, count: 1 });
    const { lane, port, heard } = await toOwner(pool);
    expect(lane.trySend(pool.tryAcquire()!)).toBe(true);
    await settled();
    const [, payload] = heard[0] as [number, [number, ArrayBuffer]];
    port.postMessage([MessageType.CLOSE]);
    port.postMessage([MessageType.LEASE, payload], [payload[1]]);
    expect(await codeOf(lane.receive())).toBe("ok");
    await settled();
    expect([lane.pending, await codeOf(lane.receive())]).toEqual([0, "ERR_BAD_DATA"]);
    expect(pool.stats()).toEqual({ count: 1, free: 1, held: 0, away: 0 });
  });
});

describe("a second lease of a slot that is held", () => {
  it.each([
    ["the same one", 1],
    ["of another generation", 65537],
  ])("%s is refused: the lane ends, and the first stays a good object until it is released", async (_, id) => {
    const { lane, port } = await toRemote(3);
    port.postMessage([MessageType.LEASE, [1, new ArrayBuffer(SIZE)]]);
    const { lease } = (await lane.receive())!;
    port.postMessage([MessageType.LEASE, [id, new ArrayBuffer(SIZE)]]);
    expect(await codeOf(lane.receive())).toBe("ERR_BAD_DATA");
    expect([lane.pending, lane.pool.bytes(lease).length]).toEqual([0, SIZE]);
    lease.release();
    expect(code(() => lease.release())).toBe("ERR_DOUBLE_RELEASE");
  });

  it("in answer to a request is refused too, and who asked is told", async () => {
    const { lane, port } = await toRemote(3);
    port.postMessage([MessageType.LEASE, [1, new ArrayBuffer(SIZE)]]);
    const { lease } = (await lane.receive())!;
    const waits = codeOf((lane.pool as TransferPool).acquire());
    port.postMessage([CONTROL, ["grant", 1, 65537, new ArrayBuffer(SIZE)]]);
    expect([await waits, await codeOf(lane.receive())]).toEqual(["ERR_POOL_DEAD", "ERR_BAD_DATA"]);
    lease.release();
  });
});

describe("requests of the other side", () => {
  it("more than a pool takes at once end the lane, and none of them waits any more", async () => {
    const pool = TransferPool.create({ size: SIZE, count: 1 });
    const lease = pool.tryAcquire()!;
    const { lane, port } = await toOwner(pool);
    for (let n = 0; n < 1024; n++) port.postMessage([CONTROL, ["request", n]]);
    while (receiveMessageOnPort(port) !== undefined);
    await settled();
    expect(lane.isOpen).toBe(true);
    port.postMessage([CONTROL, ["request", 1024]]);
    expect(await codeOf(lane.receive())).toBe("ERR_BAD_DATA");
    lease.release();
    expect(pool.tryAcquire()).toBeDefined();
  });

  it("that are canceled make room for others", async () => {
    const pool = TransferPool.create({ size: SIZE, count: 1 });
    pool.tryAcquire();
    const { lane, port } = await toOwner(pool);
    for (let n = 0; n < 3000; n++) {
      port.postMessage([CONTROL, ["request", n % 1500]]);
      port.postMessage([CONTROL, ["cancel", n % 1500]]);
    }
    await settled();
    expect(lane.isOpen).toBe(true);
    pool.close({ force: true });
  });

  it("no more than it takes are posted, and all that wait are served", async () => {
    const { port1, port2 } = new MessageChannel();
    const pool = TransferPool.create({ size: SIZE, count: 2 });
    const [near, far] = await Promise.all([pool.connect(port2 as never), receiveLane(port1 as never)]);
    const remote = far.pool as TransferPool;
    const gone = new AbortController();
    let given = 0;
    const waits = Array.from({ length: 3000 }, async (_, n) => {
      const lease = await remote.acquire(n % 3 === 1 ? { signal: gone.signal } : {});
      given++;
      lease.release();
    });
    gone.abort(new Error("enough"));
    const ended = await Promise.allSettled(waits);
    expect([given, ended.filter(({ status }) => status === "rejected").length, near.isOpen]).toEqual([
      2000,
      1000,
      true,
    ]);
    await settled();
    expect(pool.stats().free).toBe(2);
    await Promise.all([near.close(), far.close()]);
    pool.validate();
  });
});

describe("a holder that defines properties on the view that it got", () => {
  it.each(["near", "far"])("own byteLength and buffer mislead nobody: %s", async (side) => {
    const { port1, port2 } = new MessageChannel();
    const pool = TransferPool.create({ size: SIZE, count: 1 });
    const [near, far] = await Promise.all([pool.connect(port2 as never), receiveLane(port1 as never)]);
    const [lane, mine, there] = side === "near" ? [near, pool, far] : [far, far.pool as TransferPool, near];
    const lease = await mine.acquire();
    const bytes = mine.bytes(lease).fill(3);
    Object.defineProperty(bytes, "byteLength", { value: 1, configurable: true });
    Object.defineProperty(bytes, "buffer", { value: new ArrayBuffer(SIZE) });
    expect(mine.bytes(lease)).toBe(bytes);
    await lane.send(lease, { n: 1 });
    const { lease: got } = (await there.receive())!;
    expect([...there.pool.bytes(got)]).toEqual(new Array(SIZE).fill(3));
    // Without its bytes, it says that it has them.
    const next = there.pool.bytes(got);
    const { buffer } = next;
    Object.defineProperty(next, "byteLength", { value: SIZE });
    structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
    expect([code(() => there.pool.bytes(got)), code(() => there.trySend(got)), code(() => got.release())]).toEqual([
      "ERR_DETACHED",
      "ERR_DETACHED",
      "ERR_DETACHED",
    ]);
    await settled();
    expect(pool.bytes(pool.tryAcquire()!).length).toBe(SIZE);
    pool.validate();
  });
});
