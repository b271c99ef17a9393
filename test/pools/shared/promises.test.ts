/** What a shared pool promises against hostile neighbors, reused memory, late hands and forged handles. */
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it } from "vitest";
import { receiveLease, SharedConnection, sendLease } from "../../../src/pools/lane/shared-transport.ts";
import type { SharedHandle } from "../../../src/pools/shared/attach.ts";
import { dropUndelivered, stateAt } from "../../../src/pools/shared/core.ts";
import {
  checkShape,
  Header,
  LINE,
  layoutOf,
  MemberState,
  MemberWord,
  PoolState,
} from "../../../src/pools/shared/layout.ts";
import { LeaseRing } from "../../../src/pools/shared/lease-ring.ts";
import type { Membership } from "../../../src/pools/shared/member-status.ts";
import { closePool, takeMemory } from "../../../src/pools/shared/pool-state.ts";
import { CLEAR_BYTES } from "../../../src/pools/shared/reclaim.ts";
import { SpscRing } from "../../../src/pools/shared/ring.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { atomicsWaiter, type SharedWaiter } from "../../../src/pools/shared/waiter.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { isMillpondError } from "../../../src/util/errors.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { generator } from "../../helpers/random.ts";
import { code } from "../buffer/pools.ts";
import { type Step, steps } from "./interleave.ts";
import { World } from "./world.ts";

const seed = seedOf("promises of a shared pool");
const next = generator(seed);

const workers: Worker[] = [];
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.terminate()));
});

function start(job: object): Worker {
  const worker = new Worker(new URL("./promises.worker.ts", import.meta.url), { workerData: job, execArgv: [] });
  workers.push(worker);
  return worker;
}

describe("clearing on release", () => {
  it("a thread that joins a lease in time never sees its bytes cleared, and loses no write", REPEATED, async () => {
    const size = 2 ** 20;
    const pool = SharedPool.create({ size, count: 2, zero: "release" });
    const words = new Int32Array(new SharedArrayBuffer(64));
    const lease = new Float64Array(words.buffer as SharedArrayBuffer, 8, 1);
    start({ job: "giver", handle: pool.handle, memory: words.buffer });
    let joined = 0;
    let torn = 0;
    // How often it is in time is the machine's affair, and no part of the verdict: every interleaving is in
    // interleavings.test.ts.
    const most = times(400, 10_000);
    for (let round = 0; joined < 100 && round < most; round++) {
      while (Atomics.load(words, 0) === 0) Atomics.wait(words, 0, 0, 100);
      const id = lease[0]!;
      Atomics.store(words, 0, 0);
      Atomics.notify(words, 0);
      // The giver gives it back now; sometimes a little later is just in time.
      for (let n = next(200); n > 0; n--) Atomics.load(words, 0);
      if (code(() => pool.retainId(id)) !== "ok") continue;
      joined++;
      const bytes = pool.bytesOf(id);
      bytes[0] = 7;
      for (let n = 0; n < 50; n++) if (bytes[next(size - 1) + 1] !== 1 || bytes[size - 1] !== 1) torn++;
      if (bytes[0] !== 7) torn++;
      pool.releaseId(id);
    }
    Atomics.store(words, 1, 1);
    Atomics.store(words, 0, 0);
    Atomics.notify(words, 0);
    console.log(`joined ${joined} leases in time`);
    expect(torn).toBe(0);
  });
});

describe("a memory that gets another pool", () => {
  const again = (
    first: object,
    second: object,
  ): { old: SharedPool; pool: SharedPool; lease: number; handle: SharedHandle } => {
    const memory = new SharedArrayBuffer(2 ** 20);
    const old = SharedPool.create({ size: 64, count: 4, zero: "fresh", memory, ...first });
    const lease = old.tryAcquireId();
    const { handle } = old;
    old.close({ force: true });
    return { old, handle, lease, pool: SharedPool.create({ size: 64, count: 4, zero: "fresh", memory, ...second }) };
  };

  it.each([
    [{}, {}],
    [{ count: 40 }, { count: 4 }],
    [{ members: 20 }, { members: 1 }],
    [{ zero: "release" }, { zero: "release" }],
  ])(
    "a lease, a handle and a member of the old one (%o, then %o) are refused, and change nothing of the new one's",
    async (first, second) => {
      const { old, pool, lease, handle } = again(first, second);
      const fresh = pool.tryAcquire()!;
      const before = new Int32Array(pool.memory).slice(0, pool.core.layout.slotsAt >>> 2);
      expect([
        code(() => old.releaseId(lease)),
        code(() => old.retainId(lease)),
        code(() => old.bytesOf(lease)),
        code(() => old.offsetOf(lease)),
        code(() => old.releaseId(fresh.id)),
        code(() => old.tryAcquireId()),
        code(() => old.acquireSync(5)),
        code(() => old.reserve()),
        code(() => old.reclaim(old.member + 1 < old.core.memberBits ? 1 : 0)),
        code(() => SharedPool.attach(handle)),
        await codeOf(old.acquire({ timeout: 50 })),
      ]).toEqual([...Array(9).fill("ERR_POOL_DEAD"), "ERR_BAD_DATA", "ERR_POOL_DEAD"]);
      expect(old.isHeld(lease)).toBe(false);
      old.leave({ force: true });
      old.close({ force: true });
      old.stats();
      const after = new Int32Array(pool.memory).slice(0, pool.core.layout.slotsAt >>> 2);
      expect(after).toEqual(before);
      pool.release(fresh);
      pool.validate();
    },
  );

  it("goes on with the generations where the shape is the same: a lease is never like one of the pool before", () => {
    const { pool, lease } = again({}, {});
    expect(pool.tryAcquireId()).toBeGreaterThan(lease);
  });

  it("a thread that waits in the old one is told", async () => {
    const clock = new FakeClock();
    const memory = new SharedArrayBuffer(2 ** 16);
    const old = SharedPool.create({
      size: 8,
      count: 1,
      memory,
      clock,
      waiter: { ...atomicsWaiter, waitAsync: undefined },
    });
    old.tryAcquireId();
    const waits = codeOf(old.acquire());
    const other = SharedPool.attach(old.handle);
    other.close({ force: true });
    expect(code(() => SharedPool.create({ size: 8, count: 1, memory }))).toBe("ERR_IN_USE");
    clock.advance(20);
    // It was told, so it is out of the way.
    const pool = SharedPool.create({ size: 8, count: 1, memory });
    expect([await waits, pool.stats().held]).toEqual(["ERR_POOL_DEAD", 0]);
  });
});

describe("a lease on its way to a thread that joins it besides", () => {
  const sent = (): { from: SharedPool; to: SharedPool; id: number; arrive: () => unknown } => {
    const from = SharedPool.create({ size: 64, count: 1, members: 3 });
    const to = SharedPool.attach(from.handle);
    const id = from.tryAcquireId();
    sendLease(from, id, { member: to.member, status: to.core.status }, () => {});
    const peer = { member: from.member, status: from.core.status };
    return { from, to, id, arrive: () => receiveLease(to, id, peer) };
  };
  const count = { retain: 1, release: -1 };

  it.each([
    ["retain", "release", "arrive", "release"],
    ["retain", "arrive", "release", "release"],
    ["arrive", "retain", "release", "release"],
    ["retain", "retain", "release", "release", "arrive", "release"],
    ["retain", "release", "retain", "release", "arrive", "retain", "release", "release"],
    ["retain", "retain", "release", "arrive", "release", "release"],
  ] as const)("%s, %s, %s, %s ...: each hold is one, and the slot is free with the last", (...doings) => {
    const { from, to, id, arrive } = sent();
    let holds = 0;
    let arrived = false;
    for (const doing of doings) {
      expect([from.stats().free, to.isHeld(id)]).toEqual([0, holds > 0]);
      if (holds === 0) expect(code(() => to.releaseId(id))).toMatch(/^ERR_(FOREIGN|DOUBLE)_RELEASE$/);
      if (doing === "arrive") {
        expect(arrive()).toMatchObject({ id });
        arrived = true;
        holds++;
        continue;
      }
      to[`${doing}Id`](id);
      holds += count[doing];
    }
    expect([arrived, holds, from.stats().free]).toEqual([true, 0, 1]);
    expect(code(() => to.releaseId(id))).toBe("ERR_DOUBLE_RELEASE");
    from.validate();
    to.validate();
  });

  it("sends its own hold on: the one on its way comes all the same", () => {
    const { from, to, id, arrive } = sent();
    const third = SharedPool.attach(from.handle);
    to.retainId(id);
    sendLease(to, id, { member: third.member, status: third.core.status }, () => {});
    expect(receiveLease(third, id, { member: to.member, status: to.core.status })).toMatchObject({ id });
    third.releaseId(id);
    expect([to.isHeld(id), arrive()]).toEqual([false, expect.objectContaining({ id })]);
    to.releaseId(id);
    expect(from.stats().free).toBe(1);
  });

  it("pops it from a ring", () => {
    const from = SharedPool.create({ size: 64, count: 1 });
    const to = SharedPool.attach(from.handle);
    const push = LeaseRing.create(from, 4, "push");
    const pop = LeaseRing.attach(to, push.memory, "pop");
    const id = from.tryAcquireId();
    push.tryPush(id);
    to.retainId(id);
    to.releaseId(id);
    expect([pop.tryPop(), to.isHeld(id)]).toEqual([id, true]);
    to.releaseId(id);
    expect(from.stats().free).toBe(1);
  });

  it("says so when it releases what has not come", () => {
    const { to, id } = sent();
    expect(() => to.releaseId(id)).toThrow(/it is on its way to this thread/);
  });

  it.each([0, 1, 2])("gives it back when its message is lost, and keeps %i holds of its own", (own) => {
    const { from, to, id } = sent();
    for (let i = 0; i < own; i++) to.retainId(id);
    expect([dropUndelivered(to.core, id), dropUndelivered(to.core, id)]).toEqual([true, false]);
    expect([to.isHeld(id), from.stats().free]).toEqual([own > 0, own > 0 ? 0 : 1]);
    for (let i = 0; i < own; i++) to.releaseId(id);
    expect(from.stats().free).toBe(1);
  });
});

describe("a lease that a peer announces", () => {
  const members = (): { here: SharedPool; liar: SharedPool; other: SharedPool } => {
    const here = SharedPool.create({ size: 64, count: 2, members: 4 });
    return { here, liar: SharedPool.attach(here.handle), other: SharedPool.attach(here.handle) };
  };
  const who = ({ member, core }: SharedPool): Membership => ({ member, status: core.status });
  const send = (from: SharedPool, to: SharedPool, id: number): void => sendLease(from, id, who(to), () => {});
  const receive = (to: SharedPool, from: SharedPool, id: number): unknown => receiveLease(to, id, who(from), true);

  it("and that this thread took itself, received before, or joined, is given to it no second time", () => {
    const { here, liar } = members();
    const own = here.tryAcquireId();
    expect(receive(here, liar, own)).toBeUndefined();
    const id = liar.tryAcquireId();
    send(liar, here, id);
    expect([receive(here, liar, id), receive(here, liar, id)]).toMatchObject([{ id }, undefined]);
    here.releaseId(id);
    const joined = liar.tryAcquireId();
    here.retainId(joined);
    expect(receive(here, liar, joined)).toBeUndefined();
    here.retainId(joined);
    expect(receive(here, liar, joined)).toBeUndefined();
    liar.releaseId(joined);
    for (const each of [own, joined, joined]) here.releaseId(each);
    expect([here.stats().free, here.isHeld(own), here.isHeld(joined)]).toEqual([2, false, false]);
    here.validate();
  });

  it("and that another one has sent comes from that one alone, also where it was joined besides", () => {
    for (const joins of [false, true]) {
      const { here, liar, other } = members();
      const id = other.tryAcquireId();
      send(other, here, id);
      if (joins) here.retainId(id);
      expect([receive(here, liar, id), receive(here, other, id), receive(here, liar, id)]).toMatchObject([
        undefined,
        { id },
        undefined,
      ]);
      for (let left = joins ? 2 : 1; left > 0; left--) here.releaseId(id);
      expect([here.stats().free, here.isHeld(id)]).toEqual([2, false]);
    }
  });

  it("comes neither from a ring where a lane brings it, nor from a lane where it lies in a ring", () => {
    const { here, liar, other } = members();
    const push = LeaseRing.create(liar, 4, "push");
    const pop = LeaseRing.attach(here, push.memory, "pop");
    const [sent, pushed] = [other.tryAcquireId(), liar.tryAcquireId()];
    send(other, here, sent);
    expect(push.tryPush(pushed)).toBe(true);
    SpscRing.attach(push.memory).tryPush(sent & 0x3fffffff);
    expect([receive(here, liar, pushed), pop.tryPop(), pop.tryPop()]).toEqual([undefined, pushed, -1]);
    expect(receive(here, other, sent)).toMatchObject({ id: sent });
    for (const id of [sent, pushed]) here.releaseId(id);
    expect(here.stats().free).toBe(2);
  });

  it("as one that could not be read ends no hold that another one has sent", () => {
    const { here, liar, other } = members();
    const [id, unread] = [other.tryAcquireId(), liar.tryAcquireId()];
    send(other, here, id);
    send(liar, here, unread);
    const carrier = new SharedConnection(here, who(liar)).carrier(false, () => {});
    carrier.unreadable(id);
    expect(here.stats().held).toBe(2);
    carrier.unreadable(unread);
    expect([here.stats().held, receive(here, other, id)]).toMatchObject([1, { id }]);
    here.releaseId(id);
    expect(here.stats().free).toBe(2);
  });
});

describe("zero: acquire", () => {
  const idle = { wait() {}, notify() {}, waitAsync: undefined } as unknown as SharedWaiter;
  /** Somebody waits in `pool`, the only slot was `9`, and it is free: the next look takes it. */
  const waits = (): { other: SharedPool; pool: SharedPool; clock: FakeClock; got: Promise<string> } => {
    const clock = new FakeClock();
    const other = SharedPool.create({ size: 64, count: 1, zero: "acquire" });
    const pool = SharedPool.attach(other.handle, { clock, waiter: idle });
    const lease = other.tryAcquire()!;
    other.bytes(lease).fill(9);
    const got = codeOf(pool.acquire());
    other.release(lease);
    return { other, pool, clock, got };
  };

  it("one that waited has cleared the slot when it has it: who joins reads no byte of the former holder, and is not wiped", async () => {
    const { other, clock, got } = waits();
    clock.advance(20);
    const { id } = other.holders()[0]!;
    other.retainId(id);
    expect(other.bytesOf(id).every((byte) => byte === 0)).toBe(true);
    other.bytesOf(id).fill(5);
    await got;
    expect(other.bytesOf(id).every((byte) => byte === 5)).toBe(true);
  });

  it("one that left in the same turn as it got a slot clears nothing later: another has it by then", async () => {
    const { other, pool, clock, got } = waits();
    clock.advance(20);
    pool.leave({ force: true });
    const id = other.tryAcquireId();
    other.bytesOf(id).fill(7);
    await got;
    expect(other.bytesOf(id).every((byte) => byte === 7)).toBe(true);
  });

  it.each(["acquire", "release"] as const)(
    "zero: %s. While a slot is cleared it has no lease: holders() says -1, the next identity is refused, create() too",
    (zero) => {
      const pool = SharedPool.create({ size: 64, count: 1, zero });
      const other = SharedPool.attach(pool.handle);
      let looked = 0;
      const { clear } = pool.core;
      const look = (index: number, from: number, to: number): void => {
        const next = other.currentLease(0);
        expect([other.holders(), other.stats().held]).toEqual([[{ slot: 0, id: -1, members: [pool.member] }], 1]);
        expect(code(() => other.retainId(next))).toMatch(/^ERR_/);
        expect(code(() => other.retainId(-1))).toBe("ERR_FOREIGN_RELEASE");
        expect(other.tryAcquireId()).toBe(-1);
        clear(index, from, to);
        looked++;
      };
      Object.assign(pool.core, { clear: look });
      const lease = pool.tryAcquire()!;
      pool.release(lease);
      expect([looked, pool.stats().free]).toEqual([1, 1]);
      pool.validate();
    },
  );

  it("a pool that is closed while a slot is cleared hands out nothing, and its memory gets no other pool before", () => {
    const options = { size: 64, count: 1, zero: "acquire" } as const;
    const memory = new SharedArrayBuffer(SharedPool.bytesNeeded(options));
    const pool = SharedPool.create({ ...options, memory });
    const other = SharedPool.attach(pool.handle);
    const clear = (): void => {
      other.close({ force: true });
      expect(code(() => SharedPool.create({ ...options, memory }))).toBe("ERR_IN_USE");
    };
    Object.assign(pool.core, { clear });
    expect(code(() => pool.tryAcquireId())).toBe("ERR_POOL_DEAD");
    expect(code(() => SharedPool.create({ ...options, memory }))).toBe("ok");
  });
});

describe("stats() and holders()", () => {
  it("count each member that was reclaimed once, and none that left or never came", () => {
    const pool = SharedPool.create({ size: 8, count: 1, members: 8 });
    const reclaimed: number[] = [];
    const note = (step: () => unknown): void => {
      step();
      reclaimed.push(pool.stats().reclaimed);
    };
    note(() => [5, 5, 5].map((member) => pool.reclaim(member)));
    const handle = pool.reserve();
    const other = SharedPool.attach(handle);
    note(() => [0, 1, 2].map(() => pool.reclaim(handle)));
    const left = pool.reserve();
    note(() => SharedPool.attach(left).leave());
    note(() => pool.reclaim(left));
    note(() => pool.reclaim(pool.reserve()));
    expect([reclaimed, code(() => other.tryAcquireId())]).toEqual([[0, 1, 1, 1, 2], "ERR_POOL_DEAD"]);
  });

  it.each([{}, { size: 4096, count: 1, members: 1 }])(
    "of a pool that has ended tell nothing of the one in its memory, %o",
    (shape) => {
      const memory = new SharedArrayBuffer(2 ** 14);
      const options = { size: 64, count: 4, members: 4, memory } as const;
      const old = SharedPool.create(options);
      const { bytes } = old.stats();
      old.close();
      const pool = SharedPool.create({ ...options, ...shape });
      pool.bytesOf(pool.tryAcquireId()).fill(3);
      old.validate();
      expect(old.holders()).toEqual([]);
      expect(old.stats()).toEqual({
        count: 4,
        free: 0,
        held: 0,
        heldByMany: 0,
        bytes,
        wastedBytes: bytes - 256,
        reclaimed: 0,
        members: [],
      });
    },
  );

  it("of one that left tell of the pool, and call nobody in it this thread", () => {
    const pool = SharedPool.create({ size: 8, count: 1, members: 2 });
    const other = SharedPool.attach(pool.handle);
    other.leave();
    const next = SharedPool.attach(pool.handle);
    expect(next.member).toBe(other.member);
    expect(other.stats().members.map(({ self }) => self)).toEqual([false, false]);
  });
});

describe("a memory in which a closed pool still has members", () => {
  const options = { size: 8, count: 2, members: 3 } as const;
  const closed = (): { pool: SharedPool; other: SharedPool; memory: SharedArrayBuffer; remake: () => string } => {
    const memory = new SharedArrayBuffer(2 ** 16);
    const pool = SharedPool.create({ ...options, memory });
    const other = SharedPool.attach(pool.handle);
    pool.close({ force: true });
    const remake = (): string => code(() => SharedPool.create({ size: 64, count: 1, members: 1, memory }).close());
    return { pool, other, memory, remake };
  };

  it("gets no other pool, of the same shape or not: the error names a member and what to do; nothing has changed", () => {
    const { other, memory, remake } = closed();
    const before = new Int32Array(memory).slice();
    expect(() => SharedPool.create({ ...options, memory })).toThrow(
      expect.objectContaining({
        code: "ERR_IN_USE",
        message: expect.stringMatching(/member 1 .* leave\(\) in its thread.* reclaim\(1\)/),
        details: { member: 1 },
      }),
    );
    expect([remake(), new Int32Array(memory)]).toEqual(["ERR_IN_USE", before]);
    other.leave();
    expect(remake()).toBe("ok");
  });

  it.each<[string, (other: SharedPool, pool: SharedPool) => unknown]>([
    ["leaves", (other) => other.leave()],
    ["closes it too", (other) => other.close()],
    ["is told by a take", (other) => other.tryAcquireId()],
    ["is told by a release", (other) => other.releaseId(1)],
    ["is told by a wait", (other) => other.acquireSync(0)],
    ["ended, says the one that closed it", (other, pool) => pool.reclaim(other.member)],
  ])("gets one once the last member %s", (_, ends) => {
    const { pool, other, remake } = closed();
    expect(remake()).toBe("ERR_IN_USE");
    code(() => ends(other, pool));
    expect(remake()).toBe("ok");
    expect(code(() => pool.reclaim(other.member))).toBe("ERR_POOL_DEAD");
  });

  it("is not kept by a membership that was reserved and never taken up", () => {
    const memory = new SharedArrayBuffer(2 ** 16);
    const pool = SharedPool.create({ ...options, memory });
    const handle = pool.reserve();
    pool.close();
    const next = SharedPool.create({ ...options, memory });
    expect([code(() => SharedPool.attach(handle)), next.stats().members.length]).toEqual(["ERR_BAD_DATA", 1]);
  });

  it("is left by one to whom a ring or a message then names a lease of the next pool: it gets none", () => {
    const memory = new SharedArrayBuffer(2 ** 16);
    const pool = SharedPool.create({ ...options, memory });
    const other = SharedPool.attach(pool.handle);
    const ring = LeaseRing.create(other, 4, "pop");
    LeaseRing.attach(pool, ring.memory, "push");
    const from = { member: pool.member, status: pool.core.status };
    pool.close();
    other.leave();
    const next = SharedPool.create({ ...options, memory });
    // On the same place as the old member.
    const heir = SharedPool.attach(next.handle);
    const id = heir.tryAcquireId();
    SpscRing.attach(ring.memory).tryPush(id & 0x3fffffff);
    expect([heir.member, ring.tryPop(), receiveLease(other, id, from)]).toEqual([other.member, -1, undefined]);
    heir.releaseId(id);
  });

  it("is closed by one that had left it when it has attached anew; late steps of the first touch no later pool", () => {
    const memory = new SharedArrayBuffer(2 ** 16);
    const pool = SharedPool.create({ ...options, memory });
    pool.leave();
    expect(code(() => pool.close())).toBe("ERR_POOL_DEAD");
    SharedPool.attach(pool.handle).close();
    const next = SharedPool.create({ ...options, memory });
    pool.close({ force: true });
    expect(next.tryAcquireId()).toBeGreaterThan(0);
  });

  it("a getter in what is sent that closes the pool and makes another there changes nothing of that one", async () => {
    const memory = new SharedArrayBuffer(2 ** 16);
    const pool = SharedPool.create({ ...options, memory });
    const peer = SharedPool.attach(pool.handle);
    const id = pool.tryAcquireId();
    let before: Int32Array | undefined;
    const post = (): void => {
      pool.close({ force: true });
      peer.leave();
      SharedPool.create({ size: 64, count: 1, members: 1, memory });
      new Int32Array(memory).fill(7, Header.END + 64);
      before = new Int32Array(memory).slice();
    };
    const to = { member: peer.member, status: peer.core.status };
    expect(code(() => sendLease(pool, id, to, post))).toBe("ERR_POOL_DEAD");
    expect(new Int32Array(memory)).toEqual(before);
  });
});

describe("a memory in which a thread of a closed pool still clears a slot", () => {
  it("gets no other pool: ERR_IN_USE names the member, nothing has changed, and later it does", () => {
    const options = { size: 64, count: 2, members: 3, zero: "release" } as const;
    const { memory, core } = SharedPool.create(options);
    closePool(core);
    const at = Header.CLEARING + 2 * LINE;
    core.i32[at] = core.status;
    const before = core.i32.slice();
    for (const members of [1, 3]) {
      expect(() => SharedPool.create({ ...options, members, memory })).toThrow(
        expect.objectContaining({ code: "ERR_IN_USE", details: expect.objectContaining({ member: 2 }) }),
      );
    }
    expect(core.i32).toEqual(before);
    core.i32[at] = 0;
    const next = SharedPool.create({ ...options, memory });
    next.release(next.tryAcquire()!);
    expect(core.i32[at]).toBe(0);
    next.close();
  });

  it("gets none either while another thread makes its first one; if that has died there, once it is zeros", () => {
    const memory = new SharedArrayBuffer(2 ** 16);
    const i32 = new Int32Array(memory);
    expect(takeMemory(i32, i32.length)).toBeLessThan(0);
    const before = i32.slice();
    expect(() => SharedPool.create({ size: 64, count: 2, memory })).toThrow(
      expect.objectContaining({ code: "ERR_IN_USE", message: expect.stringContaining("with zeros") }),
    );
    expect(i32).toEqual(before);
    i32.fill(0);
    SharedPool.create({ size: 64, count: 2, memory }).close();
  });

  it("is not asked for such a thread where no pool was in it", () => {
    const options = { size: 64, count: 2 };
    const memory = new SharedArrayBuffer(SharedPool.bytesNeeded(options));
    new Int32Array(memory).fill(1);
    const pool = SharedPool.create({ ...options, memory });
    pool.validate();
    expect(pool.stats().free).toBe(2);
  });
});

describe("generations", () => {
  it("2^30 uses of a slot at least before one comes again, for any number of members and slots, in a number that is exact", () => {
    for (let members = 1; members <= 20; members++) {
      for (const count of [1, 2, 3, 16, 1000, 1025, 2 ** 20]) {
        const { indexBits, generationBits, highBits } = layoutOf(checkShape({ size: 1, count, members }, "fresh"));
        const uses = (2 ** generationBits - 1) * (2 ** highBits - 1);
        expect([uses >= 2 ** 30, indexBits + generationBits + highBits <= 53, generationBits + members <= 30]).toEqual([
          true,
          true,
          true,
        ]);
      }
    }
  });

  it.each(["never", "release"] as const)(
    "20 members: a lease of 1024 uses ago, and each between, is refused (zero: %s)",
    (zero) => {
      const pool = SharedPool.create({ size: 1, count: 1, members: 20, zero });
      const first = pool.tryAcquire()!;
      pool.release(first);
      for (let use = 1; use < 5000; use++) {
        const slot = pool.tryAcquire()!;
        if (pool.isHeld(first.id) || code(() => pool.release(first)) !== "ERR_DOUBLE_RELEASE")
          throw new Error(`use ${use}`);
        pool.release(slot);
      }
      pool.validate();
    },
  );

  /** As if its slots had been used 2^40 times. */
  const old = (options: object): SharedPool => {
    const pool = SharedPool.create({ size: 8, count: 4, members: 20, ...options });
    for (let index = 0; index < 4; index++) pool.core.i32[stateAt(pool.core, index) + 1] = 2 ** 23 + 5;
    return pool;
  };

  it("after very many uses: leases are held, joined, sent, pushed and given back as ever, and old ones refused", () => {
    for (const zero of ["never", "release"] as const) {
      const pool = old({ zero });
      const far = SharedPool.attach(structuredClone(pool.handle));
      const slot = pool.tryAcquire()!;
      expect([slot.id > 2 ** 34, pool.indexOf(slot.id), pool.isHeld(slot.id)]).toEqual([true, slot.index, true]);
      far.retain(structuredClone(slot));
      far.release(slot);
      // The same low bits in another round.
      const stale = slot.id - pool.core.highUnit;
      expect([
        code(() => pool.releaseId(stale)),
        code(() => far.retainId(stale)),
        code(() => far.retainId(slot.id + pool.core.highUnit)),
        code(() => pool.bytesOf(stale)),
      ]).toEqual(
        ["ERR_DOUBLE_RELEASE", "ERR_USE_AFTER_RELEASE", "ERR_FOREIGN_RELEASE", "ERR_USE_AFTER_RELEASE"].map(
          (what, i) => (i === 0 || i === 3 ? expect.stringMatching(/ERR_(DOUBLE|FOREIGN|USE_AFTER)_RELEASE/) : what),
        ),
      );
      let posted: unknown;
      sendLease(pool, slot.id, { member: far.member, status: far.core.status }, () => {
        posted = structuredClone(slot.id);
      });
      expect(receiveLease(far, posted, { member: pool.member, status: pool.core.status })).toEqual(slot);
      const ring = LeaseRing.create(far, 4, "push");
      const there = LeaseRing.attach(pool, ring.memory, "pop");
      expect([ring.tryPush(slot.id), there.tryPop(), there.tryPop()]).toEqual([true, slot.id, -1]);
      // What was sent has come back, as another lease object.
      expect(code(() => pool.release(slot))).toBe("ERR_DOUBLE_RELEASE");
      pool.releaseId(slot.id);
      for (const each of [pool, far]) each.validate();
      expect(pool.stats().free).toBe(4);
    }
  });

  it("a dead member's slot in its last generation before a carry comes free in a later one", () => {
    const pool = SharedPool.create({ size: 1, count: 1, members: 20 });
    const far = SharedPool.attach(pool.handle);
    for (let n = 0; n < 1021; n++) far.releaseId(far.tryAcquireId());
    const last = far.tryAcquireId();
    expect(pool.reclaim(far.member)).toBe(1);
    expect(pool.tryAcquireId()).toBeGreaterThan(last);
    pool.validate();
  });
});

describe("forged memberships and identities", () => {
  it("attach() takes only a membership that was reserved", () => {
    const pool = SharedPool.create({ size: 1, count: 2, members: 4 });
    const member = SharedPool.attach(pool.handle);
    const free = pool.core.i32[pool.core.layout.membersAt + 3 * 16]!;
    const forge = (membership: unknown): string =>
      code(() => SharedPool.attach({ ...pool.handle, membership } as never));
    expect([
      forge({ member: member.member, status: member.core.status }),
      forge({ member: pool.member, status: pool.core.status }),
      forge({ member: 3, status: free }),
      forge({ member: 3, status: 0 }),
      forge({ member: 3, status: free | MemberState.RESERVED }),
      forge({ member: 3, status: -0 }),
      forge({ member: 1.5, status: 9 }),
      forge(null),
      forge("membership"),
    ]).toEqual([
      "ERR_POOL_DEAD",
      "ERR_POOL_DEAD",
      "ERR_POOL_DEAD",
      "ERR_POOL_DEAD",
      "ERR_POOL_DEAD",
      "ERR_POOL_DEAD",
      "ERR_OUT_OF_RANGE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_TYPE",
    ]);
    expect(pool.stats().members.map((member) => member.member)).toEqual([0, 1]);
  });

  it("reclaim() takes only a handle of this pool with a membership that was reserved", () => {
    const pool = SharedPool.create({ size: 1, count: 2, members: 4 });
    const member = SharedPool.attach(pool.handle);
    const foreign = SharedPool.create({ size: 1, count: 2, members: 4 }).reserve();
    const membership = { member: member.member, status: member.core.status };
    expect([
      code(() => pool.reclaim({ ...pool.handle, membership })),
      code(() => pool.reclaim({ ...pool.handle, membership: { member: member.member, status: 0 } })),
      code(() => pool.reclaim(foreign)),
      code(() => pool.reclaim(null as never)),
      code(() => pool.reclaim({ ...pool.handle, membership: null } as never)),
    ]).toEqual([
      "ERR_INVALID_ARG_VALUE",
      "ERR_OUT_OF_RANGE",
      "ERR_INVALID_ARG_VALUE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_TYPE",
    ]);
    expect(member.tryAcquireId()).toBeGreaterThan(0);
  });

  it("garbage in the transfer word of an empty membership keeps no membership empty, nor its own", () => {
    const pool = SharedPool.create({ size: 8, count: 2, members: 4 });
    const { i32, layout } = pool.core;
    for (const [member, to] of [
      [1, 2],
      [2, 2],
      [3, 1],
    ] as const) {
      const own = layout.membersAt + member * LINE;
      i32[own + MemberWord.TRANSFER] = 77;
      i32[own + MemberWord.TRANSFER_TO] = to;
    }
    const joined = [1, 2, 3].map(() => SharedPool.attach(pool.handle));
    expect(joined.map(({ member }) => member)).toEqual([1, 2, 3]);
    for (const one of joined) one.leave();
    expect(SharedPool.attach(pool.handle).member).toBe(1);
  });

  it("-0 is no lease, and no lease is 0", () => {
    const pool = SharedPool.create({ size: 1, count: 2 });
    const ids = [pool.tryAcquireId(), pool.tryAcquireId()];
    for (const bad of [-0, 0]) {
      expect([
        code(() => pool.releaseId(bad)),
        code(() => pool.retainId(bad)),
        code(() => pool.bytesOf(bad)),
        pool.isHeld(bad),
      ]).toEqual(["ERR_FOREIGN_RELEASE", "ERR_FOREIGN_RELEASE", "ERR_FOREIGN_RELEASE", false]);
    }
    for (const bad of [Symbol("x"), 1n, {}, [1]])
      expect(code(() => pool.releaseId(bad as never))).toBe("ERR_FOREIGN_RELEASE");
    for (const id of ids) pool.releaseId(id);
    pool.validate();
  });

  it("handles that were torn on their way: a typed error or a whole member, and nothing else changed", () => {
    const pool = SharedPool.create({ size: 8, count: 3, members: 20 });
    const nasty = [
      undefined,
      null,
      -1,
      -0,
      0.5,
      Number.NaN,
      2 ** 31,
      2 ** 53,
      "x",
      Symbol("x"),
      1n,
      {},
      [],
      () => 1,
      new ArrayBuffer(8),
      true,
    ];
    const keys = [
      "kind",
      "version",
      "name",
      "pool",
      "size",
      "count",
      "align",
      "members",
      "zero",
      "memory",
      "membership",
    ] as const;
    for (let round = 0; round < 2000; round++) {
      const torn: Record<string, unknown> = {
        ...(next(2) === 0 ? pool.handle : { ...pool.handle, membership: { member: next(20), status: next(2 ** 30) } }),
      };
      for (let n = 1 + next(3); n > 0; n--) {
        const key = keys[next(keys.length)]!;
        if (next(3) === 0) delete torn[key];
        else torn[key] = nasty[next(nasty.length)];
      }
      let member: SharedPool | undefined;
      try {
        member = SharedPool.attach(torn as never);
      } catch (error) {
        if (!isMillpondError(error))
          throw new Error(`seed ${seed}, round ${round}: ${String(error)}`, { cause: error });
      }
      member?.leave();
      expect(pool.stats().members.length).toBe(1);
    }
  });
});

describe("one that writes control words without end", () => {
  /** Runs a step while `write` changes shared memory before each of its accesses; answers how many it made. */
  const against = (step: Step<unknown>, write: (n: number) => void, most: number): number => {
    for (let n = 0; n < most; n++) {
      write(n);
      if (step.next().done) return n;
    }
    throw new Error(`still not done after ${most} accesses to shared memory`);
  };
  const count = 100;
  const full = (zero: "fresh" | "release" = "fresh"): World => {
    const world = new World({ count, threads: 3, zero });
    for (let n = 0; n < count; n++) world.i32[stateAt(world.cores[0]!, n)]! |= world.cores[0]!.me;
    return world;
  };

  it("sets every bit of the bitmap again and again: taking a slot looks at each slot a few times and ends", () => {
    const world = full();
    const { bitmapAt, words } = world.layout;
    const write = (): void => {
      for (let word = 0; word < words; word++) world.i32[bitmapAt + word * 16] = -1;
    };
    expect(against(steps.acquireSlow(world.cores[1]!), write, 10 * count)).toBeGreaterThan(count);
  });

  it("sets those bits again that a look has just cleared: a look at 10,000 slots tries a few hundred hints", () => {
    const many = 10_000;
    for (const batch of [false, true]) {
      const world = new World({ count: many, threads: 3, batch });
      const { bitmapAt, words } = world.layout;
      for (let n = 0; n < many; n++) world.i32[stateAt(world.cores[0]!, n)]! |= world.cores[0]!.me;
      const core = world.cores[1]!;
      const write = (): void => {
        for (let n = -1; n < 3; n++) world.i32[bitmapAt + ((core.word + n + words) % words) * 16] = 0xffff;
      };
      for (let word = 0; word < words; word++) world.i32[bitmapAt + word * 16] = 0xffff;
      // Each state once, each word once, and then hints: two steps at the word, and one at each slot that it names.
      expect(against(steps.acquireSlow(core), write, 20 * many)).toBeLessThan(
        many + words + 256 * (batch ? 18 : 3) + 10,
      );
    }
  });

  it("moves the wake counter while many slots are looked at: a wait looks at 2^18 of them a turn, or once", async () => {
    for (const [count, most] of [
      [2 ** 18, 1],
      [2 ** 17, 2],
      [64, 4],
    ] as const) {
      const clock = new FakeClock();
      let looks = 0;
      const waiter: SharedWaiter = { ...atomicsWaiter, waitAsync: () => void looks++ as undefined };
      const pool = SharedPool.create({ size: 1, align: 1, count, members: 1, clock, waiter });
      for (let n = 0; n < count; n++) pool.tryAcquireId();
      const late = codeOf(pool.acquire({ timeout: 30 }));
      expect(looks).toBe(most);
      clock.advance(30);
      expect(await late).toBe("ERR_STARVED");
    }
  });

  it("declares members dead again and again: reclaim passes over the slots a few times, and a later call goes on", () => {
    const world = full();
    const at = world.layout.membersAt + world.cores[0]!.member * 16;
    const reclaiming = (world.cores[0]!.status & ~MemberState.MASK) | MemberState.RECLAIMING;
    const write = (): void => {
      world.i32[at] = reclaiming;
      world.i32[stateAt(world.cores[0]!, 3)] = world.cores[0]!.me;
    };
    against(steps.reclaim(world.cores[1]!, world.cores[0]!.member, 0), write, 60 * count);
    expect(world.i32[Header.UNRECLAIMED]).toBe(1);
    against(steps.resumeReclaim(world.cores[1]!), () => {}, 10 * count);
    expect([world.i32[Header.UNRECLAIMED], world.i32[at]! & MemberState.MASK]).toEqual([0, MemberState.FREE]);
  });

  it("changes a slot's holders under the hands of one that gives it back, joins it or sends it: each step ends", () => {
    for (const what of ["give", "keep", "send", "renew"] as const) {
      const world = new World({ count: 1, threads: 3 });
      const [a, b, c] = world.cores as [World["cores"][0], World["cores"][0], World["cores"][0]];
      const id = what === "keep" ? 3 << a.indexBits : 1 << a.indexBits;
      const at = stateAt(a, 0);
      const own = what === "keep" ? c.me : a.me;
      a.localLease[0] = what === "keep" ? Number.NEGATIVE_INFINITY : id;
      const generation = (id >>> a.indexBits) << a.memberBits;
      const write = (n: number): void => {
        world.i32[at] = generation | own | (n % 2 === 0 ? b.me : 0);
      };
      write(0);
      const step: Record<typeof what, () => Step<unknown>> = {
        give: () => steps.releaseSlow(a, id),
        keep: () => steps.retain(a, id),
        send: () => steps.commitTransfer(a, id, c.member, c.status, 0),
        renew: () => steps.renewLease(a, id),
      };
      expect(against(step[what](), write, 20_000)).toBeGreaterThan(1);
    }
  });

  it("moves the wake counter again and again: a wait looks a few times a turn, and its timeout comes", async () => {
    const clock = new FakeClock();
    let looks = 0;
    const waiter: SharedWaiter = {
      ...atomicsWaiter,
      waitAsync() {
        if (++looks > 1000) throw new Error("looks without end");
        return undefined;
      },
    };
    const pool = SharedPool.create({ size: 1, count: 1, clock, waiter });
    pool.tryAcquireId();
    const late = codeOf(pool.acquire({ timeout: 30 }));
    expect(looks).toBeLessThan(10);
    clock.advance(30);
    expect(await late).toBe("ERR_STARVED");
  });

  it("a slot whose state will not hold still is reported as damage, not as a double release", () => {
    const pool = SharedPool.create({ size: 1, count: 1 });
    const id = pool.tryAcquireId();
    const at = stateAt(pool.core, 0);
    const original = Atomics.compareExchange;
    try {
      // A neighbor that is always faster: no exchange ever finds what was read.
      (Atomics as { compareExchange: unknown }).compareExchange = (
        array: Int32Array,
        index: number,
        from: number,
        to: number,
      ) => (array === pool.core.i32 && index === at ? ~from : original(array, index, from, to));
      expect(code(() => pool.releaseId(id))).toBe("ERR_CORRUPTED");
    } finally {
      (Atomics as { compareExchange: unknown }).compareExchange = original;
    }
    pool.releaseId(id);
    pool.validate();
  });

  it("bits of the last bitmap word that stand for no slot hand out none, in pools that take whole words", () => {
    const pool = SharedPool.create({ size: 1, count: 300 });
    const { bitmapAt, words } = pool.core.layout;
    for (let round = 0; round < 20; round++) {
      for (let word = 0; word < words; word++) pool.core.i32[bitmapAt + word * 16] = -1;
      const ids = Array.from({ length: 301 }, () => pool.tryAcquireId());
      expect(
        ids
          .filter((id) => id >= 0)
          .map((id) => pool.indexOf(id))
          .every((index) => index < 300),
      ).toBe(true);
      for (const id of ids) if (id >= 0) pool.releaseId(id);
    }
    pool.validate();
  });

  it("reclaim clears a bounded number of bytes a call; a thread that finds no slot goes on with it", () => {
    const size = CLEAR_BYTES / 2;
    const pool = SharedPool.create({ size, count: 4, zero: "release" });
    const far = SharedPool.attach(pool.handle);
    for (let n = 0; n < 4; n++) far.bytesOf(far.tryAcquireId())[7] = 1;
    expect([pool.reclaim(far.member), pool.stats().free]).toEqual([2, 2]);
    const ids = Array.from({ length: 5 }, () => pool.tryAcquireId());
    expect(ids.filter((id) => id >= 0).map((id) => pool.bytesOf(id)[7])).toEqual([0, 0, 0, 0]);
    expect(pool.stats().members.length).toBe(1);
  });

  it(
    "a thread that writes anything anywhere into 100,000 slots' words: each call ends, and throws nothing but typed errors",
    REPEATED,
    async () => {
      const pool = SharedPool.create({ size: 16, count: 100_000, members: 12, zero: "release" });
      const words = pool.core.i32;
      const stop = new Int32Array(new SharedArrayBuffer(8));
      start({ job: "scribbler", memory: pool.memory, words: words.length, stop: stop.buffer, seed: next(2 ** 30) });
      while (Atomics.load(stop, 1) === 0) Atomics.wait(stop, 1, 0, 100);
      const held: number[] = [];
      const typed = (name: string, run: () => void): void => {
        words[Header.STATE] = PoolState.LIVE;
        words[Header.POOL] = pool.core.pool;
        words[pool.core.statusAt] = pool.core.status;
        try {
          run();
        } catch (error) {
          if (!isMillpondError(error))
            throw new Error(`seed ${seed}: ${name} threw ${String(error)}`, { cause: error });
        }
      };
      const rounds = times(8, 1_000);
      for (let round = 0; round < rounds; round++) {
        typed("tryAcquireId", () => {
          const id = pool.tryAcquireId();
          if (id >= 0) held.push(id);
          if (id >= 0 && pool.indexOf(id) >= 100_000) throw new Error("a slot that there is not");
        });
        const id = held[next(held.length + 1)] ?? 1;
        typed("keep", () => pool.retainId(id));
        typed("give", () => pool.releaseId(id));
        typed("bytesOf", () => expect(pool.bytesOf(id).length).toBe(16));
        typed("reclaim", () => pool.reclaim(1 + next(11)));
        typed("stats", () => pool.stats());
        typed("acquire", () => void pool.acquire({ timeout: 1 }).catch(() => {}));
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
      Atomics.store(stop, 0, 1);
      pool.close({ force: true });
    },
  );
});
