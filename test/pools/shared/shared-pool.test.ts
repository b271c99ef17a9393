/**
 * SharedPool as its users see it: leases, misuse, memberships, waiting, the end. Several attached views stand for
 * several threads.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { SharedHandle, SharedPoolOptions } from "../../../src/pools/shared/attach.ts";
import { createCore, release, releaseSlow, tryAcquire } from "../../../src/pools/shared/core.ts";
import {
  checkShape,
  generationStart,
  Header,
  layoutOf,
  MemberState,
  writePool,
} from "../../../src/pools/shared/layout.ts";
import { LeaseRing } from "../../../src/pools/shared/lease-ring.ts";
import { claimMembership } from "../../../src/pools/shared/membership.ts";
import { limitSharedMemory, sharedMemoryBudget } from "../../../src/pools/shared/memory-budget.ts";
import { CLEAR_BYTES } from "../../../src/pools/shared/reclaim.ts";
import { SpscRing } from "../../../src/pools/shared/ring.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { atomicsWaiter, type SharedWaiter, slicedWaiter } from "../../../src/pools/shared/waiter.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { code } from "../buffer/pools.ts";

const two = (options: Partial<SharedPoolOptions> = {}): [SharedPool, SharedPool] => {
  const pool = SharedPool.create({ size: 100, count: 4, ...options });
  return [pool, SharedPool.attach(structuredClone(pool.handle))];
};

describe("leases", () => {
  it("hands out every slot once, in all attached threads together, with bytes of its own", () => {
    const [a, b] = two({ count: 33, align: 256 });
    const slots = Array.from({ length: 33 }, (_, i) => (i % 2 === 0 ? a : b).tryAcquire()!);
    expect(new Set(slots.map((lease) => lease.index)).size).toBe(33);
    expect([a.tryAcquire(), b.tryAcquire(), a.tryAcquireId()]).toEqual([undefined, undefined, -1]);
    slots.forEach((lease, i) => {
      const bytes = (i % 2 === 0 ? a : b).bytes(lease);
      expect([bytes.length, bytes.byteOffset % 256]).toEqual([100, 0]);
      bytes.fill(i);
    });
    slots.forEach((lease, i) => {
      expect(new Set((i % 2 === 0 ? a : b).bytes(lease))).toEqual(new Set([i]));
    });
    slots.forEach((lease, i) => {
      (i % 2 === 0 ? a : b).release(lease);
    });
    expect(a.stats()).toMatchObject({ free: 33, held: 0 });
    for (const pool of [a, b]) pool.validate();
  });

  it("gives the same view each time, the slot that was freed last first, and leaves its bytes as they are", () => {
    const [pool] = two();
    const lease = pool.tryAcquire()!;
    const bytes = pool.bytes(lease);
    bytes[0] = 7;
    pool.release(lease);
    const again = pool.tryAcquire()!;
    expect([again.index, pool.bytes(again) === bytes, bytes[0]]).toEqual([lease.index, true, 7]);
    expect(pool.offsetOf(again.id)).toBe(pool.slotOffset(again.index));
  });

  it("finds slots that are in another thread's magazine: nothing free is out of reach", () => {
    for (const count of [4, 300]) {
      const [a, b] = two({ count, size: 1 });
      const ids = Array.from({ length: count }, () => a.tryAcquireId());
      for (const id of ids) a.releaseId(id);
      const taken = Array.from({ length: count }, () => b.tryAcquireId());
      expect([Math.min(...taken) >= 0, b.tryAcquireId(), a.tryAcquireId()]).toEqual([true, -1, -1]);
    }
  });

  it("several holds, by one thread and by several: the last release frees the slot", () => {
    const [a, b] = two({ count: 1 });
    const lease = a.tryAcquire()!;
    a.retain(lease);
    b.retain(lease);
    expect(a.stats()).toMatchObject({ held: 1, heldByMany: 1 });
    a.release(lease);
    a.release(lease);
    expect([code(() => a.release(lease)), code(() => a.bytes(lease)), b.bytes(lease).length]).toEqual([
      "ERR_DOUBLE_RELEASE",
      "ERR_USE_AFTER_RELEASE",
      100,
    ]);
    expect(a.tryAcquire()).toBeUndefined();
    b.release(lease);
    expect([code(() => b.retain(lease)), a.tryAcquire()?.index]).toEqual(["ERR_USE_AFTER_RELEASE", 0]);
    a.validate();
  });

  it.each([
    ["never", 9],
    ["fresh", 9],
    ["acquire", 0],
    ["release", 0],
  ] as const)("zero policy %s: who comes next sees %i", (zero, seen) => {
    const [a, b] = two({ count: 1, zero });
    const id = a.tryAcquireId();
    a.bytesOf(id)[99] = 9;
    a.retainId(id);
    a.releaseId(id);
    expect(a.bytesOf(id)[99]).toBe(9);
    a.releaseId(id);
    expect(b.bytesOf(b.tryAcquireId())[99]).toBe(seen);
  });

  it("no lease of a slot is like an earlier one, also with 20 members", () => {
    const pool = SharedPool.create({ size: 1, count: 1, members: 20 });
    const seen = new Set<number>();
    for (let i = 0; i < 3000; i++) {
      const id = pool.tryAcquireId();
      seen.add(id);
      pool.releaseId(id);
    }
    expect([seen.size, Math.max(...seen) < 2 ** 53, pool.tryAcquireId() >= 0]).toEqual([3000, true, true]);
    pool.validate();
  });
});

describe("misuse", () => {
  it("double release, use after release, a lease of another thread, of another pool, and what is not a lease", () => {
    const [a, b] = two();
    const [other] = two();
    const lease = a.tryAcquire()!;
    expect([code(() => b.release(lease)), code(() => b.bytes(lease)), code(() => other.release(lease))]).toEqual([
      "ERR_FOREIGN_RELEASE",
      "ERR_FOREIGN_RELEASE",
      "ERR_FOREIGN_RELEASE",
    ]);
    a.release(lease);
    expect([
      code(() => a.release(lease)),
      code(() => a.bytes(lease)),
      code(() => a.offsetOf(lease.id)),
      code(() => a.retain(lease)),
    ]).toEqual(["ERR_DOUBLE_RELEASE", "ERR_USE_AFTER_RELEASE", "ERR_USE_AFTER_RELEASE", "ERR_USE_AFTER_RELEASE"]);
    const again = a.tryAcquire()!;
    expect(again.index).toBe(lease.index);
    expect([code(() => a.release(lease)), a.bytes(again).length]).toEqual(["ERR_DOUBLE_RELEASE", 100]);
    for (const bad of [-1, 1.5, Number.NaN, 2 ** 53, 2 ** 53 - 1, "0", null, undefined, {}]) {
      expect(code(() => a.releaseId(bad as never))).toBe("ERR_FOREIGN_RELEASE");
      expect(code(() => a.retainId(bad as never))).toBe("ERR_FOREIGN_RELEASE");
      expect(code(() => a.bytesOf(bad as never))).toBe("ERR_FOREIGN_RELEASE");
    }
    for (const bad of [null, undefined, 3]) expect(code(() => a.release(bad as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(a.stats().held).toBe(1);
    a.validate();
  });

  it("an identity of another fresh pool of the same shape is refused, and the holder there keeps its lease", () => {
    for (const members of [1, 12, 20]) {
      const [a, b] = [1, 2].map(() => SharedPool.create({ size: 8, count: 2, members }));
      const [foreign, own] = [a!.tryAcquireId(), b!.tryAcquireId()];
      expect(b!.isHeld(foreign)).toBe(false);
      for (const call of [() => b!.bytesOf(foreign), () => b!.retainId(foreign), () => b!.offsetOf(foreign)]) {
        expect(code(call)).toMatch(/^ERR_(FOREIGN_RELEASE|USE_AFTER_RELEASE)$/);
      }
      expect(code(() => b!.releaseId(foreign))).toMatch(/^ERR_(FOREIGN|DOUBLE)_RELEASE$/);
      expect([b!.bytesOf(own).length, b!.stats().held, b!.isHeld(own)]).toEqual([8, 1, true]);
      b!.releaseId(own);
    }
  });

  it("an identity of a closed pool is refused by another pool in its memory, of the same shape or not", () => {
    const old = SharedPool.create({ size: 8, count: 2 });
    const id = old.tryAcquireId();
    old.close({ force: true });
    for (const zero of ["release", "never", "never"] as const) {
      const pool = SharedPool.create({ memory: old.memory, size: 8, count: 2, zero });
      const own = pool.tryAcquireId();
      expect([code(() => pool.bytesOf(id)), code(() => pool.releaseId(id))]).toEqual([
        expect.stringMatching(/^ERR_(FOREIGN|USE_AFTER)_RELEASE$/),
        expect.stringMatching(/^ERR_(FOREIGN|DOUBLE)_RELEASE$/),
      ]);
      expect([pool.bytesOf(own).length, pool.stats().held]).toEqual([8, 1]);
      pool.close({ force: true });
    }
  });

  it("a pool's generations begin where chance puts them, its first identities are below 2^30, and each use is another", () => {
    for (const chance of [0, 1, -1, 0xffff_ffff, 0x8000_0000, 0x1fff_ffff]) {
      for (const [count, members] of [
        [1, 20],
        [2, 12],
        [2 ** 20, 1],
      ] as const) {
        const layout = layoutOf(checkShape({ size: 1, count, members }, "fresh"));
        const start = generationStart(layout, chance);
        const bits = layout.generationBits + layout.highBits;
        const generation = start.high * 2 ** layout.generationBits + start.low;
        expect([bits >= 33, generation >= 0, generation < 2 ** (bits - 1)]).toEqual([true, true, true]);
        expect((generation + 1) * 2 ** layout.indexBits).toBeLessThanOrEqual(2 ** 29);
        if (count > 2) continue;
        const i32 = new Int32Array(layout.slotsAt >>> 2);
        writePool(i32, layout, 1, start);
        const { status } = claimMembership(i32, layout, MemberState.LIVE)!;
        const core = createCore(
          i32,
          layout,
          0,
          status,
          () => {},
          () => 0,
        );
        const seen = [1, 2, 3].map(() => {
          const id = tryAcquire(core);
          expect(release(core, id) || releaseSlow(core, id)).toBe(true);
          return id;
        });
        expect([new Set(seen).size, seen.every((id) => id > 0 && Number.isSafeInteger(id))]).toEqual([3, true]);
      }
    }
  });

  it("the message names the lease, the holder, and the way out", () => {
    const [a, b] = two({ name: "frames" });
    const lease = a.tryAcquire()!;
    expect(() => b.release(lease)).toThrow(
      /lease \d+ of slot \d+ of shared pool "frames".*held by member 0; retain\(\) it/,
    );
  });

  it("an identity where a lease is asked for, or a lease for an identity: the message names the other call", () => {
    const [a] = two();
    const id = a.tryAcquireId();
    for (const [call, other] of [
      ["bytes", "bytesOf"],
      ["retain", "retainId"],
      ["release", "releaseId"],
    ] as const) {
      expect(() => a[call](id as never)).toThrow(
        `lease must be a Lease of this pool (${other}(id) takes an identity), but`,
      );
      expect(() => a[other](a.lease(id) as never)).toThrow(/by its number, lease\.id/);
    }
    expect(a.isHeld(id)).toBe(true);
    a.releaseId(id);
  });

  it("a dead pool refuses to release, use, take, attach and wait", async () => {
    const [a, b] = two();
    const lease = a.tryAcquire()!;
    expect(code(() => b.close())).toBe("ERR_IN_USE");
    expect(a.bytes(lease).length).toBe(100);
    b.close({ force: true });
    b.close();
    expect([
      code(() => a.release(lease)),
      code(() => a.bytes(lease)),
      code(() => a.tryAcquire()),
      code(() => a.acquireSync(1)),
      code(() => SharedPool.attach(a.handle)),
      code(() => a.reserve()),
      await codeOf(a.acquire()),
    ]).toEqual(Array(7).fill("ERR_POOL_DEAD"));
  });

  it.each([
    [{ size: 0, count: 1 }, "ERR_OUT_OF_RANGE"],
    [{ size: 1, count: 0 }, "ERR_OUT_OF_RANGE"],
    [{ size: 1, count: 2 ** 21 }, "ERR_OUT_OF_RANGE"],
    [{ size: 2 ** 30, count: 2 ** 10 }, "ERR_OUT_OF_RANGE"],
    [{ size: "1", count: 1 }, "ERR_INVALID_ARG_TYPE"],
    [{ size: 1, count: 1, align: 3 }, "ERR_INVALID_ARG_VALUE"],
    [{ size: 1, count: 1, members: 21 }, "ERR_OUT_OF_RANGE"],
    [{ size: 1, count: 1, zero: "maybe" }, "ERR_INVALID_ARG_VALUE"],
    [{ size: 1, count: 1, name: 3 }, "ERR_INVALID_ARG_TYPE"],
    [{ size: 1, count: 1, memory: new ArrayBuffer(9999) }, "ERR_INVALID_ARG_TYPE"],
    [{ size: 1, count: 1, memory: new SharedArrayBuffer(64) }, "ERR_INVALID_ARG_VALUE"],
    [null, "ERR_INVALID_ARG_TYPE"],
  ])("create(%o) is refused: %s", (options, expected) => {
    const before = sharedMemoryBudget();
    expect(code(() => SharedPool.create(options as never))).toBe(expected);
    expect(sharedMemoryBudget()).toEqual(before);
  });

  it("handles that lie are refused: another version, shape, pool, a memory without a pool, or too small", () => {
    const [pool] = two();
    const { handle } = pool;
    const attach = (change: Partial<SharedHandle> | null): string =>
      code(() => SharedPool.attach(change === null ? (null as never) : { ...handle, ...change }));
    expect([
      attach(null),
      attach({ kind: "x" as never }),
      attach({ version: handle.version + 1 }),
      attach({ count: 5 }),
      attach({ size: 99 }),
      attach({ pool: handle.pool + 1 }),
      attach({ zero: "release" }),
      attach({ memory: new SharedArrayBuffer(handle.memory!.byteLength) }),
      attach({ memory: new SharedArrayBuffer(64) }),
      attach({ memory: new ArrayBuffer(9999) as never }),
      attach({ membership: { member: 99, status: 9 } }),
      attach({ membership: { member: 3, status: 9 } }),
      attach({}),
    ]).toEqual([
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_UNSUPPORTED",
      "ERR_BAD_DATA",
      "ERR_BAD_DATA",
      "ERR_BAD_DATA",
      "ERR_BAD_DATA",
      "ERR_BAD_DATA",
      "ERR_BAD_DATA",
      "ERR_INVALID_ARG_TYPE",
      "ERR_OUT_OF_RANGE",
      "ERR_POOL_DEAD",
      "ok",
    ]);
    expect(pool.stats().members.length).toBe(3);
  });

  it("a damaged header, bitmap or reclaimer word moves no access out of the pool", () => {
    const [a, b] = two({ count: 5 });
    const i32 = new Int32Array(a.memory);
    i32[Header.COUNT] = 2 ** 30;
    i32[Header.RECLAIMERS] = -77;
    // Bits for slots that do not exist.
    for (let i = a.core.bitmapAt; i < a.core.statesAt; i++) i32[i] = -1;
    const ids = Array.from({ length: 9 }, () => b.tryAcquireId());
    expect(ids.filter((id) => id >= 0).map((id) => id & 7)).toEqual(expect.arrayContaining([0, 1, 2, 3, 4]));
    expect(ids.filter((id) => id >= 0).length).toBe(5);
    expect([code(() => SharedPool.attach(a.handle)), a.reclaim(b.member)]).toEqual(["ERR_BAD_DATA", 5]);
  });
});

describe("a slot that takes more than one pass to clear", () => {
  it("is cleared in parts, by the next one that comes, and is free when all of it is zero", () => {
    const pool = SharedPool.create({ size: 2 * CLEAR_BYTES + 4096, count: 1, zero: "release" });
    const dead = SharedPool.attach(pool.handle);
    const other = SharedPool.attach(pool.handle);
    const bytes = dead.bytesOf(dead.tryAcquireId());
    for (let at = 0; at < bytes.length; at += 4096) bytes[at] = 7;
    bytes[bytes.length - 1] = 7;
    expect([pool.reclaim(dead.member), bytes[CLEAR_BYTES - 4096], bytes[CLEAR_BYTES]]).toEqual([0, 0, 7]);
    expect([other.tryAcquireId(), bytes[2 * CLEAR_BYTES - 4096], bytes[2 * CLEAR_BYTES]]).toEqual([-1, 0, 7]);
    const id = pool.tryAcquireId();
    expect(pool.isHeld(id)).toBe(true);
    expect(new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4).every((word) => word === 0)).toBe(true);
    pool.releaseId(id);
    expect(pool.stats().members.map(({ member }) => member)).toEqual([pool.member, other.member]);
  });
});

it("an object that says it is shared memory is none", () => {
  const pool = SharedPool.create({ size: 64, count: 1 });
  const memory = { byteLength: 1e9, [Symbol.toStringTag]: "SharedArrayBuffer" } as never;
  expect([
    code(() => SharedPool.attach({ ...pool.handle, memory })),
    code(() => SharedPool.create({ size: 64, count: 1, memory })),
    code(() => SpscRing.attach(memory)),
    ...[undefined, null, 5, {}].map((none) => code(() => LeaseRing.create(none as never, 8, "push"))),
  ]).toEqual(Array(7).fill("ERR_INVALID_ARG_TYPE"));
});

describe("memberships", () => {
  it("are bounded, come free by detach and reclaim, and a reserved one waits for its thread", () => {
    const pool = SharedPool.create({ size: 1, count: 4, members: 3 });
    const reserved = pool.reserve();
    const third = SharedPool.attach(pool.handle);
    expect([code(() => SharedPool.attach(pool.handle)), code(() => pool.reserve())]).toEqual([
      "ERR_POOL_FULL",
      "ERR_POOL_FULL",
    ]);
    third.leave();
    const fourth = SharedPool.attach(pool.handle);
    expect(pool.reclaim(reserved)).toBe(0);
    expect(code(() => SharedPool.attach(reserved))).toBe("ERR_POOL_DEAD");
    const fifth = SharedPool.attach(pool.reserve());
    expect([fourth.member, fifth.member]).toEqual([2, 1]);
    expect(code(() => SharedPool.attach(reserved))).toBe("ERR_POOL_DEAD");
  });

  it("reclaim frees what only the dead held; the others' holds stay; its own late hands find nothing", () => {
    const [a, b] = two({ count: 3 });
    const alone = [b.tryAcquire()!, b.tryAcquire()!];
    const both = b.tryAcquire()!;
    a.retain(both);
    expect(a.reclaim(b.member)).toBe(2);
    expect(a.stats()).toMatchObject({ free: 2, held: 1, heldByMany: 0, reclaimed: 1 });
    const next = SharedPool.attach(a.handle);
    expect(next.member).toBe(b.member);
    const taken = [next.tryAcquire()!, next.tryAcquire()!];
    expect(taken.map((lease) => lease.index).sort()).toEqual(alone.map((lease) => lease.index).sort());
    expect(alone.map((lease) => code(() => b.release(lease)))).toEqual(["ERR_POOL_DEAD", "ERR_POOL_DEAD"]);
    expect([code(() => b.tryAcquire()), code(() => b.bytes(both)), code(() => b.retain(both))]).toEqual(
      Array(3).fill("ERR_POOL_DEAD"),
    );
    for (const lease of taken) expect(next.bytes(lease).length).toBe(100);
    a.release(both);
    for (const lease of taken) next.release(lease);
    for (const pool of [a, next]) pool.validate();
    // Somebody else sits there now: the handle of the dead one means nobody any more.
    expect([code(() => a.reclaim(a.member)), code(() => a.reclaim(99)), code(() => a.reclaim({} as never))]).toEqual([
      "ERR_INVALID_ARG_VALUE",
      "ERR_OUT_OF_RANGE",
      "ERR_INVALID_ARG_TYPE",
    ]);
  });

  it("who has left takes nothing, not even what its magazine still knows", () => {
    const [a, b] = two({ count: 4 });
    b.releaseId(b.tryAcquireId());
    b.leave();
    expect(code(() => b.tryAcquireId())).toBe("ERR_POOL_DEAD");
    expect(a.stats().free).toBe(4);
  });

  it("detach refuses while slots are held, with force it frees them", () => {
    const [a, b] = two({ count: 1 });
    const lease = b.tryAcquire()!;
    expect(code(() => b.leave())).toBe("ERR_IN_USE");
    expect(b.bytes(lease).length).toBe(100);
    b.leave({ force: true });
    b.leave();
    expect([code(() => b.release(lease)), a.tryAcquire()?.index]).toEqual(["ERR_POOL_DEAD", 0]);
    expect(a.stats().members.map((member) => member.member)).toEqual([a.member]);
  });
});

describe("waiting", () => {
  it("acquire waits for a release in another thread; first come, first served; nothing overtakes", async () => {
    const [a, b] = two({ count: 1 });
    const held = b.tryAcquire()!;
    const order: number[] = [];
    const waits = [1, 2, 3].map(async (n) => {
      const lease = await a.acquire();
      order.push(n);
      a.release(lease);
    });
    expect([a.tryAcquire(), a.stats().members[0]!.waiting]).toEqual([undefined, true]);
    b.release(held);
    await Promise.all(waits);
    expect([order, a.stats().members[0]]).toEqual([[1, 2, 3], expect.objectContaining({ waiting: false, waits: 3 })]);
  });

  it("ends by timeout with who holds what, by signal with its reason, by close and by leave", async () => {
    const clock = new FakeClock();
    const pool = SharedPool.create({ size: 1, count: 1, clock });
    pool.tryAcquire();
    const late = pool.acquire({ timeout: 50 });
    const stopped = new AbortController();
    const aborted = pool.acquire({ signal: stopped.signal });
    const left = pool.acquire();
    clock.advance(50);
    await expect(late).rejects.toThrow(/within 50 ms; held: slot 0 \(member 0: this thread\)/);
    stopped.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    await expect(pool.acquire({ signal: AbortSignal.abort(new Error("already")) })).rejects.toThrow("already");
    expect(await codeOf(pool.acquire({ timeout: -1 }))).toBe("ERR_OUT_OF_RANGE");
    expect(await codeOf(pool.acquire(null as never))).toBe("ERR_INVALID_ARG_TYPE");
    pool.leave({ force: true });
    expect(await codeOf(left)).toBe("ERR_POOL_DEAD");
    expect(clock.pending).toBe(0);
    const [a, b] = two({ count: 1 });
    b.tryAcquire();
    const ended = a.acquire();
    b.close({ force: true });
    expect(await codeOf(ended)).toBe("ERR_POOL_DEAD");
  });

  it("a wait that was given up passes its wake-up on", async () => {
    const pool = SharedPool.create({ size: 1, count: 1 });
    const [a, b] = [SharedPool.attach(pool.handle), SharedPool.attach(pool.handle)];
    const lease = pool.tryAcquire()!;
    const stopped = new AbortController();
    const gaveUp = codeOf(a.acquire({ signal: stopped.signal }));
    const patient = b.acquire();
    stopped.abort(new Error("no more"));
    expect(await gaveUp).toBe("Error: no more");
    pool.release(lease);
    b.release(await patient);
    pool.validate();
  });

  it("polls where nothing wakes, and sleeps between the looks", async () => {
    const clock = new FakeClock();
    const waiter: SharedWaiter = { ...atomicsWaiter, waitAsync: undefined };
    const pool = SharedPool.create({ size: 1, count: 1, clock, waiter });
    const other = SharedPool.attach(pool.handle);
    const lease = other.tryAcquire()!;
    let got = false;
    const wait = pool.acquire({ timeout: 1000 }).then((taken) => {
      got = true;
      pool.release(taken);
    });
    for (let i = 0; i < 10; i++) clock.advance(10);
    await sleep(0);
    expect(got).toBe(false);
    other.release(lease);
    clock.advance(16);
    await wait;
    expect([got, clock.pending]).toEqual([true, 0]);
  });

  it("sleeps in slices where the system must wake it, and can be stopped between them", () => {
    const slept: number[] = [];
    let stopAfter = 3;
    const futex = {
      wait: (_i32: Int32Array, _index: number, _value: number, ms: number) => slept.push(ms),
      wake: () => {},
    };
    const waiter = slicedWaiter(futex as never, () => stopAfter-- === 0);
    const pool = SharedPool.create({ size: 1, count: 1, waiter });
    pool.tryAcquireId();
    expect(code(() => pool.acquireSync())).toBe("ERR_INACTIVE");
    expect([slept, pool.stats().members[0]!.waiting]).toEqual([[50, 50, 50], false]);
  });

  it("acquireSync ends in time, and says so where a thread must not block", () => {
    const [a, b] = two({ count: 1 });
    b.tryAcquire();
    const start = performance.now();
    expect(code(() => a.acquireSync(30))).toBe("ERR_STARVED");
    expect(performance.now() - start).toBeGreaterThanOrEqual(29);
    expect(code(() => a.acquireSync(Number.NaN))).toBe("ERR_OUT_OF_RANGE");
    const waiter: SharedWaiter = {
      ...atomicsWaiter,
      wait() {
        throw new TypeError("Atomics.wait cannot be called in this context");
      },
    };
    const page = SharedPool.attach(a.handle, { waiter });
    expect([code(() => page.acquireSync(30)), page.stats().members.some((member) => member.waiting)]).toEqual([
      "ERR_UNSUPPORTED",
      false,
    ]);
  });
});

describe("memory", () => {
  it("any SharedArrayBuffer can be the memory: cleared on release by default, and not twice the same one", () => {
    const options = { size: 64, count: 3 };
    const memory = new SharedArrayBuffer(SharedPool.bytesNeeded(options));
    new Uint8Array(memory).fill(255);
    const pool = SharedPool.create({ ...options, memory });
    const lease = pool.tryAcquire()!;
    expect([pool.handle.zero, code(() => SharedPool.create({ ...options, memory }))]).toEqual([
      "release",
      "ERR_ALREADY_EXISTS",
    ]);
    // As JSON to another process, which laid its own shared memory over the same pages.
    const { memory: _, ...plain } = pool.handle;
    const far = SharedPool.attach(JSON.parse(JSON.stringify(plain)) as SharedHandle, { memory });
    far.retain(lease);
    far.bytes(lease)[0] = 1;
    pool.release(lease);
    far.release(lease);
    expect(pool.viewOf(lease.index)[0]).toBe(0);
    pool.close();
    far.leave();
    expect(SharedPool.create({ ...options, memory }).stats().free).toBe(3);
  });

  it("who has left, or was reclaimed, closes it for nobody: ERR_POOL_DEAD, and `using` in its maker does nothing", () => {
    const pool = SharedPool.create({ size: 8, count: 2 });
    const [left, gone, last] = [1, 2, 3].map(() => SharedPool.attach(pool.handle));
    const lease = last!.tryAcquire()!;
    left!.leave();
    last!.reclaim(gone!.member);
    pool.leave();
    for (const one of [left!, gone!, pool]) {
      expect(code(() => one.close({ force: true }))).toBe("ERR_POOL_DEAD");
      expect(code(() => one.close())).toBe("ERR_POOL_DEAD");
      one.disposeByForce();
    }
    last!.release(lease);
    last!.close();
    for (const one of [left!, gone!, pool]) one.close({ force: true });
  });

  it("a wait without a slot names 1024 holders at most, and says how many more there are", () => {
    const pool = SharedPool.create({ size: 1, count: 1030 });
    while (pool.tryAcquire() !== undefined);
    const first = pool.holders().slice(0, 1024);
    expect(() => pool.acquireSync(0)).toThrow(
      expect.objectContaining({
        code: "ERR_STARVED",
        message: expect.stringContaining("and 1022 more."),
        details: expect.objectContaining({ holders: first }),
      }),
    );
    expect(pool.holders()).toHaveLength(1030);
    pool.close({ force: true });
  });

  it("a memory counts no more once its pool has ended, also by its last lease or by another thread", () => {
    const before = sharedMemoryBudget();
    const options = { size: 1000, count: 1 };
    try {
      limitSharedMemory(before.bytes + SharedPool.bytesNeeded(options));
      for (let round = 0; round < 3; round++) {
        const pool = SharedPool.create(options);
        const other = SharedPool.attach(pool.handle);
        const lease = (round === 1 ? other : pool).tryAcquire()!;
        expect(code(() => SharedPool.create(options))).toBe("ERR_POOL_FULL");
        if (round < 2) {
          pool.retire();
          expect(sharedMemoryBudget().memories).toBe(before.memories + 1);
          lease.release();
        } else other.close({ force: true });
        if (round > 0) expect(sharedMemoryBudget()).toMatchObject({ memories: before.memories, bytes: before.bytes });
        // Without a look at the budget before: what is made next finds the room.
        SharedPool.create(options).close();
        pool.close();
        expect(sharedMemoryBudget()).toMatchObject({ memories: before.memories, bytes: before.bytes });
      }
    } finally {
      limitSharedMemory(before.limit);
    }
  });

  it("shared memories are counted and bounded: engines do not see their bytes", () => {
    const before = sharedMemoryBudget();
    try {
      limitSharedMemory(before.bytes + SharedPool.bytesNeeded({ size: 1500, count: 1 }));
      const pool = SharedPool.create({ size: 1000, count: 1 });
      expect(sharedMemoryBudget()).toMatchObject({
        memories: before.memories + 1,
        bytes: before.bytes + pool.stats().bytes,
      });
      expect(code(() => SharedPool.create({ size: 2000, count: 1 }))).toBe("ERR_POOL_FULL");
      pool.close();
      expect(sharedMemoryBudget().bytes).toBe(before.bytes);
      SharedPool.create({ size: 1500, count: 1 }).close();
    } finally {
      limitSharedMemory(before.limit);
    }
  });
});
