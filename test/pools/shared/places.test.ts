// Shares its realm with other files: nothing that it changes outlives it.
/** A member's number is its place, which the next one gets: who is meant is told by number and epoch. */
import { describe, expect, it } from "vitest";
import { LeaseRing } from "../../../src/pools/shared/lease-ring.ts";
import { adopt } from "../../../src/pools/shared/lineage.ts";
import { reclaimThread } from "../../../src/pools/shared/reclaim.ts";
import { SpscRing } from "../../../src/pools/shared/ring.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { code } from "../buffer/pools.ts";

/** A member whose thread is a worker of that one's. */
function connect(maker: SharedPool): SharedPool {
  const handle = maker.reserve();
  adopt(maker.core, handle.membership);
  return SharedPool.attach(handle);
}

describe("a thread that has ended", () => {
  it("ends the worker of its worker that got its number after it had left", () => {
    const pool = SharedPool.create({ size: 64, count: 2, members: 6 });
    const first = connect(pool);
    const second = connect(first);
    first.leave();
    const third = connect(second);
    expect(third.member).toBe(first.member);
    second.leave();
    for (let n = 0; n < 2; n++) third.tryAcquireId();
    expect(reclaimThread(pool.core, { member: first.member, status: first.core.status })).toBe(2);
    expect(pool.stats()).toMatchObject({ free: 2, members: [{ self: true }] });
  });

  it("is reclaimed by its handle by the one that has its number now, who stays", () => {
    const maker = SharedPool.create({ size: 64, count: 2, members: 4 });
    const handle = maker.reserve();
    const first = SharedPool.attach(handle);
    const worker = connect(first);
    for (let n = 0; n < 2; n++) worker.tryAcquireId();
    first.leave();
    const next = SharedPool.attach(maker.handle);
    expect(next.member).toBe(handle.membership.member);
    expect(next.reclaim(handle)).toBe(2);
    expect(next.tryAcquire()).toBeDefined();
  });

  it("is not reclaimed by its own handle in its own thread", () => {
    const handle = SharedPool.create({ size: 64, count: 2, members: 4 }).reserve();
    const own = SharedPool.attach(handle);
    expect(() => own.reclaim(handle)).toThrow("another thread than this one");
  });
});

it("a thread that has left the pool takes no lease out of its ring: the next one at that side gets it", () => {
  const pusher = SharedPool.create({ size: 64, count: 1, members: 4 });
  const left = SharedPool.attach(pusher.handle);
  const { memory } = SpscRing.create(4);
  const push = LeaseRing.attach(pusher, memory, "push");
  const old = LeaseRing.attach(left, memory, "pop");
  left.leave();
  const pop = LeaseRing.attach(SharedPool.attach(pusher.handle), memory, "pop");
  const id = pusher.tryAcquireId();
  expect(push.tryPush(id)).toBe(true);
  expect(code(() => old.tryPop())).toBe("ERR_POOL_DEAD");
  expect(pop.tryPop()).toBe(id);
});
