/** A lease object is over for good when its thread has given the lease up, also when the lease comes back. */
import { MessageChannel } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import type { Lease, LeasePool } from "../../../src/pools/common/lease.ts";
import type { Lane } from "../../../src/pools/lane/lane.ts";
import { receiveLane } from "../../../src/pools/lane/receive.ts";
import { TransferPool } from "../../../src/pools/lane/transfer-pool.ts";
import { LeaseRing } from "../../../src/pools/shared/lease-ring.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { code } from "../buffer/pools.ts";

interface Pair {
  readonly pool: SharedPool | TransferPool;
  readonly near: Lane<number>;
  readonly far: Lane<number>;
}

async function pair(Pool: typeof SharedPool | typeof TransferPool, count = 1): Promise<Pair> {
  const { port1, port2 } = new MessageChannel();
  const pool = Pool.create({ size: 8, count });
  const [near, far] = await Promise.all([pool.connect<number>(port2 as never), receiveLane<number>(port1 as never)]);
  return { pool, near, far };
}

/** What each call says of a lease object that is over; none of them changes anything. */
function uses(pool: LeasePool, lease: Lease, lane: Lane<number>): string[] {
  return [
    code(() => pool.bytes(lease)),
    code(() => pool.retain(lease)),
    code(() => lane.trySend(lease)),
    code(() => pool.release(lease)),
    code(() => lease.release()),
    code(() => lease[Symbol.dispose]()),
  ];
}

const OVER = [
  "ERR_USE_AFTER_RELEASE",
  "ERR_USE_AFTER_RELEASE",
  "ERR_USE_AFTER_RELEASE",
  "ERR_DOUBLE_RELEASE",
  "ERR_DOUBLE_RELEASE",
  "ok",
];

async function pass(from: Lane<number>, to: Lane<number>, lease: Lease): Promise<Lease> {
  await from.send(lease);
  return (await to.receive())!.lease;
}

describe.each([
  ["SharedPool", SharedPool],
  ["TransferPool", TransferPool],
] as const)("%s: a lease that was sent and has come back", (_name, Pool) => {
  it("is another object: the one that was sent is refused in every call, on either side, however often it comes", async () => {
    const { pool, near, far } = await pair(Pool);
    const sent: Lease[] = [];
    const echoed: Lease[] = [];
    let lease = pool.tryAcquire()!;
    for (let round = 0; round < 3; round++) {
      sent.push(lease);
      const there = await pass(near, far, lease);
      for (const old of echoed) expect(uses(far.pool, old, far)).toEqual(OVER);
      far.pool.bytes(there).fill(round);
      echoed.push(there);
      lease = await pass(far, near, there);
      expect(lease.id).toBe(sent[0]!.id);
      pool.bytes(lease).fill(7);
      for (const old of sent) expect(uses(pool, old, near)).toEqual(OVER);
      expect([...pool.bytes(lease)]).toEqual(new Array(8).fill(7));
    }
    lease.release();
    for (const old of [...sent, lease]) expect(uses(pool, old, near)).toEqual(OVER);
    expect(pool.stats().free).toBe(1);
    pool.validate();
    pool.close();
  });

  it("says so, and that the lease which was received has a release() of its own", async () => {
    const { pool, near, far } = await pair(Pool);
    const old = pool.tryAcquire()!;
    const lease = await pass(far, near, await pass(near, far, old));
    expect(() => pool.bytes(old)).toThrow(/come back since, as another lease object/);
    lease.release();
    pool.close();
  });

  it("was sent as data: the objects of before are over all the same, and data is good as a number is", async () => {
    const { pool, near, far } = await pair(Pool);
    const old = pool.tryAcquire()!;
    const data = structuredClone(old);
    await near.send(data);
    const back = await pass(far, near, (await far.receive())!.lease);
    expect(uses(pool, old, near)).toEqual(OVER);
    expect(pool.bytes(data)).toBe(pool.bytes(back));
    pool.release(data);
    expect([code(() => back.release()), pool.stats().free]).toEqual(["ERR_DOUBLE_RELEASE", 1]);
    pool.close();
  });

  it("a send that is refused leaves the object as it was", async () => {
    const { pool, near } = await pair(Pool);
    const lease = pool.tryAcquire()!;
    expect(code(() => near.trySend(lease, (() => {}) as never))).toBe("ERR_INVALID_ARG_VALUE");
    pool.bytes(lease)[0] = 1;
    pool.retain(lease);
    lease.release();
    lease.release();
    expect(pool.stats().free).toBe(1);
    pool.close();
  });
});

describe("a SharedPool's lease objects", () => {
  const two = (): [SharedPool, SharedPool] => {
    const pool = SharedPool.create({ size: 8, count: 2, members: 3 });
    return [pool, SharedPool.attach(pool.handle)];
  };

  it("are over when the lease was pushed by its number, also when it is popped again", () => {
    const [a, b] = two();
    const there = LeaseRing.create(a, 4, "push");
    const here = LeaseRing.attach(b, there.memory, "pop");
    const push = LeaseRing.create(b, 4, "push");
    const pop = LeaseRing.attach(a, push.memory, "pop");
    const old = a.tryAcquire()!;
    expect(there.tryPush(old.id)).toBe(true);
    expect(push.tryPush(here.tryPop())).toBe(true);
    expect(pop.tryPop()).toBe(old.id);
    expect([code(() => a.bytes(old)), code(() => old.release())]).toEqual([
      "ERR_USE_AFTER_RELEASE",
      "ERR_DOUBLE_RELEASE",
    ]);
    // A number stays one: it is good while the thread holds the lease.
    expect([a.bytesOf(old.id).length, a.bytes(a.lease(old.id)).length]).toEqual([8, 8]);
    a.releaseId(old.id);
    a.validate();
  });

  it("are over when the lease was released while another thread held it, also when it is joined again", () => {
    const [a, b] = two();
    const old = a.tryAcquire()!;
    b.retainId(old.id);
    old.release();
    expect(code(() => a.retain(old))).toBe("ERR_USE_AFTER_RELEASE");
    a.retainId(old.id);
    expect([code(() => a.bytes(old)), code(() => old.release())]).toEqual([
      "ERR_USE_AFTER_RELEASE",
      "ERR_DOUBLE_RELEASE",
    ]);
    const again = a.lease(old.id);
    again.release();
    expect(code(() => again.release())).toBe("ERR_DOUBLE_RELEASE");
    b.releaseId(old.id);
    expect(a.stats().free).toBe(2);
    a.validate();
  });

  it("are good for as long as their thread has a hold: one of two was sent, and the other is given back by the object", async () => {
    const { pool, near, far } = await pair(SharedPool);
    const lease = pool.tryAcquire()!;
    pool.retain(lease);
    const there = await pass(near, far, lease);
    expect(pool.bytes(lease).length).toBe(8);
    lease.release();
    const back = await pass(far, near, there);
    expect(code(() => pool.bytes(lease))).toBe("ERR_USE_AFTER_RELEASE");
    back.release();
    expect(pool.stats().free).toBe(1);
    pool.close();
  });

  it("made by a number before the thread had joined the lease, are good once it has, and over afterwards", () => {
    const [a, b] = two();
    const id = a.tryAcquireId();
    const early = b.lease(id);
    b.retain(early);
    expect(b.bytes(early).length).toBe(8);
    early.release();
    b.retainId(id);
    expect(code(() => early.release())).toBe("ERR_DOUBLE_RELEASE");
    b.releaseId(id);
    a.releaseId(id);
    a.validate();
  });

  it("of another view of the pool are data: what that view holds counts", () => {
    const [a, b] = two();
    const lease = a.tryAcquire()!;
    b.retain(lease);
    lease.release();
    expect(b.bytes(lease).length).toBe(8);
    b.release(lease);
    expect(a.stats().free).toBe(2);
  });
});
