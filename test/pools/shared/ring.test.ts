/** Rings of integers and of leases: order, bounds, damage, and two threads. */
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LeaseRing } from "../../../src/pools/shared/lease-ring.ts";
import { SpscRing } from "../../../src/pools/shared/ring.ts";
import { RingWord } from "../../../src/pools/shared/ring-steps.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { REPEATED, times } from "../../helpers/effort.ts";
import { code } from "../buffer/pools.ts";

function thrown(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return error;
  }
}

describe("SpscRing", () => {
  it("is a queue of its capacity, whatever the order of pushes, pops and looks", () => {
    const step = fc.constantFrom("push", "pop", "peek");
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), fc.constantFrom(1, 2, 8), (plan, capacity) => {
        const pusher = SpscRing.create(capacity);
        const popper = SpscRing.attach(pusher.memory);
        const model: number[] = [];
        let n = 0;
        for (const what of plan) {
          if (what === "push") {
            expect(pusher.tryPush(n)).toBe(model.length < capacity);
            if (model.length < capacity) model.push(n);
            n++;
          } else if (what === "pop") expect(popper.tryPop()).toBe(model.shift() ?? -1);
          else expect([popper.peek(), pusher.length]).toEqual([model[0] ?? -1, model.length]);
        }
      }),
    );
  });

  it("goes on past the point where its counters wrap", () => {
    const ring = SpscRing.create(4);
    new Int32Array(ring.memory).fill(2 ** 29 - 3, RingWord.TAIL, RingWord.TAIL + 1);
    new Int32Array(ring.memory).fill(2 ** 29 - 3, RingWord.HEAD, RingWord.HEAD + 1);
    const [pusher, popper] = [SpscRing.attach(ring.memory), SpscRing.attach(ring.memory)];
    for (let n = 0; n < 20; n++) {
      expect([pusher.tryPush(n), pusher.tryPush(n + 100), popper.tryPop(), popper.tryPop(), popper.tryPop()]).toEqual([
        true,
        true,
        n,
        n + 100,
        -1,
      ]);
    }
  });

  it("refuses what is not a ring, and counters that were damaged", () => {
    expect([
      code(() => SpscRing.create(3)),
      code(() => SpscRing.create(0)),
      code(() => SpscRing.attach(new ArrayBuffer(4096) as never)),
      code(() => SpscRing.attach(new SharedArrayBuffer(4096))),
      code(() => SpscRing.attach(new SharedArrayBuffer(0))),
    ]).toEqual([
      "ERR_INVALID_ARG_VALUE",
      "ERR_INVALID_ARG_VALUE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_BAD_DATA",
      "ERR_BAD_DATA",
    ]);
    const ring = SpscRing.create(4);
    Atomics.store(ring.state.i32, RingWord.TAIL, 1000);
    expect(code(() => ring.tryPop())).toBe("ERR_CORRUPTED");
  });

  it("a second thread on a side is found out: the first one's next look says that its counter has moved", () => {
    for (const capacity of [2, 64]) {
      const first = SpscRing.create(capacity);
      const second = SpscRing.attach(first.memory);
      expect([second.tryPush(1), second.tryPush(2)]).toEqual([true, true]);
      expect(thrown(() => first.tryPush(3))).toMatchObject({
        code: "ERR_CORRUPTED",
        message: expect.stringContaining(
          "counter of pushes has moved since this object's last push: one thread a side",
        ),
      });
      expect([first.tryPop(), first.tryPop(), first.tryPop()]).toEqual([1, 2, -1]);
      expect(code(() => second.tryPop())).toBe("ERR_CORRUPTED");
      expect([second.tryPush(4), first.tryPop()]).toEqual([true, 4]);
    }
  });

  it("brings numbers from another thread in order, a million at full length", REPEATED, async () => {
    const ring = SpscRing.create(64);
    const total = times(10_000, 1_000_000);
    const worker = new Worker(new URL("./ring.worker.ts", import.meta.url), {
      workerData: { memory: ring.memory, total },
      execArgv: [],
    });
    let expected = 0;
    let wrong = 0;
    while (expected < total) {
      const value = ring.tryPop();
      // Where a spinning side has taken the only core, the other one gets its turn here.
      if (value < 0) await new Promise((resolve) => setImmediate(resolve));
      else if (value !== expected++) wrong++;
    }
    expect(wrong).toBe(0);
    await worker.terminate();
  });
});

describe("LeaseRing", () => {
  const two = (count = 4): [SharedPool, SharedPool] => {
    const pool = SharedPool.create({ size: 8, count });
    return [pool, SharedPool.attach(pool.handle)];
  };

  it("pushing gives a lease up, popping is holding it; nothing is pushed to nobody, nor beyond the capacity", () => {
    const [a, b] = two();
    const ring = LeaseRing.create(a, 2, "push");
    const ids = [a.tryAcquireId(), a.tryAcquireId(), a.tryAcquireId()];
    expect([ring.isMet, ring.tryPush(ids[0]!)]).toEqual([false, false]);
    const far = LeaseRing.attach(b, ring.memory, "pop");
    expect([ring.tryPush(ids[0]!), ring.tryPush(ids[1]!), ring.tryPush(ids[2]!), ring.length]).toEqual([
      true,
      true,
      false,
      2,
    ]);
    expect([code(() => a.releaseId(ids[0]!)), code(() => ring.tryPush(ids[0]!)), a.isHeld(ids[2]!)]).toEqual([
      "ERR_DOUBLE_RELEASE",
      "ERR_USE_AFTER_RELEASE",
      true,
    ]);
    for (const bad of [-1, 1.5, Number.NaN, 2 ** 53 - 1])
      expect(code(() => ring.tryPush(bad))).toBe("ERR_FOREIGN_RELEASE");
    expect([far.tryPop(), far.tryPop(), far.tryPop(), b.isHeld(ids[0]!)]).toEqual([ids[0], ids[1], -1, true]);
    for (const id of ids.slice(0, 2)) b.releaseId(id);
    a.releaseId(ids[2]!);
    expect(a.stats().free).toBe(4);
    for (const pool of [a, b]) pool.validate();
  });

  it("what is under way when one side dies comes free, and the other side says so", () => {
    const [a, b] = two();
    const ring = LeaseRing.create(a, 4, "push");
    const far = LeaseRing.attach(b, ring.memory, "pop");
    ring.tryPush(a.tryAcquireId());
    ring.tryPush(a.tryAcquireId());
    expect(a.reclaim(b.member)).toBe(2);
    const id = a.tryAcquireId();
    expect([code(() => ring.tryPush(id)), a.isHeld(id), ring.isMet, code(() => far.tryPop())]).toEqual([
      "ERR_INACTIVE",
      true,
      false,
      "ERR_POOL_DEAD",
    ]);
    a.releaseId(id);
    expect(a.stats().free).toBe(4);
  });

  it.each(["close", "leave"] as const)("no side is taken after %s()", (end) => {
    const [a, b] = two();
    const { memory } = LeaseRing.create(a, 4, "push");
    b[end]();
    expect([code(() => LeaseRing.create(b, 4, "push")), code(() => LeaseRing.attach(b, memory, "pop"))]).toEqual([
      "ERR_POOL_DEAD",
      "ERR_POOL_DEAD",
    ]);
  });

  it("another thread takes the place of one that ended, on either side", () => {
    const [a, b] = two(8);
    const ring = LeaseRing.create(a, 4, "push");
    const far = LeaseRing.attach(b, ring.memory, "pop");
    ring.tryPush(a.tryAcquireId());
    expect(far.tryPop()).toBeGreaterThanOrEqual(0);
    // The popping side: what it had under way came free with it, what comes now is the next one's.
    a.reclaim(b.member);
    const c = SharedPool.attach(a.handle);
    const next = LeaseRing.attach(c, ring.memory, "pop");
    const id = a.tryAcquireId();
    expect([ring.tryPush(id), ring.isMet, next.tryPop(), c.isHeld(id)]).toEqual([true, true, id, true]);
    // The pushing side: the membership is taken by yet another one first, so that it sits elsewhere.
    SharedPool.attach(a.handle);
    const d = SharedPool.attach(a.handle);
    c.reclaim(a.member);
    const pusher = LeaseRing.attach(d, ring.memory, "push");
    const other = d.tryAcquireId();
    expect([pusher.tryPush(other), next.tryPop(), c.isHeld(other)]).toEqual([true, other, true]);
  });

  it("a side belongs to one thread while that lives: another one is refused it, nothing changes, and both sides go on", () => {
    const [a, b] = two(8);
    const ring = LeaseRing.create(a, 4, "push");
    const far = LeaseRing.attach(b, ring.memory, "pop");
    ring.tryPush(a.tryAcquireId());
    const c = SharedPool.attach(a.handle);
    const words = new Int32Array(ring.memory).slice();
    for (const side of ["push", "pop"] as const) {
      const holder = side === "push" ? a.member : b.member;
      expect(thrown(() => LeaseRing.attach(c, ring.memory, side))).toMatchObject({
        code: "ERR_ALREADY_EXISTS",
        details: { member: holder, side },
        message: expect.stringContaining(`member ${holder} of shared pool "shared" has the ${side} side`),
      });
    }
    expect(new Int32Array(ring.memory)).toEqual(words);
    const id = a.tryAcquireId();
    expect([ring.tryPush(id), b.isHeld(far.tryPop()), far.tryPop(), far.tryPop()]).toEqual([true, true, id, -1]);
    // That thread leaves, and the side is free.
    a.leave();
    expect(LeaseRing.attach(c, ring.memory, "push").tryPush(c.tryAcquireId())).toBe(true);
  });

  it("both sides attach to memory that neither of them made", () => {
    const [a, b] = two();
    const { memory } = SpscRing.create(4);
    const ring = LeaseRing.attach(a, memory, "push");
    const far = LeaseRing.attach(b, memory, "pop");
    const id = a.tryAcquireId();
    expect([ring.tryPush(id), far.tryPop()]).toEqual([true, id]);
  });

  it("an object whose side a later one of its thread has used says so instead of being full forever; the lease stays", () => {
    const [a, b] = two();
    const first = LeaseRing.create(a, 4, "push");
    const far = LeaseRing.attach(b, first.memory, "pop");
    const second = LeaseRing.attach(a, first.memory, "push");
    const ids = [a.tryAcquireId(), a.tryAcquireId()] as const;
    expect(second.tryPush(ids[0])).toBe(true);
    expect([code(() => first.tryPush(ids[1])), a.isHeld(ids[1])]).toEqual(["ERR_ALREADY_EXISTS", true]);
    expect([second.tryPush(ids[1]), far.tryPop(), far.tryPop(), far.tryPop()]).toEqual([true, ...ids, -1]);
  });

  it("a push on the popping side and a pop on the pushing side are refused, in every form", async () => {
    const [a, b] = two();
    const push = LeaseRing.create(a, 4, "push");
    const pop = LeaseRing.attach(b, push.memory, "pop");
    const id = b.tryAcquireId();
    expect([
      code(() => pop.tryPush(id)),
      code(() => pop.pushSync(id, 0)),
      await codeOf(pop.push(id, { timeout: 1 })),
      code(() => push.tryPop()),
      code(() => push.popSync(0)),
      await codeOf(push.pop({ timeout: 1 })),
      b.isHeld(id),
    ]).toEqual([...Array(6).fill("ERR_UNSUPPORTED"), true]);
    expect(thrown(() => push.tryPop())).toMatchObject({
      message: expect.stringContaining("this thread has the push side of the ring, and another one pops"),
    });
  });

  it("a wait that nobody came to the other side for names the call that is missing there", async () => {
    const [a] = two();
    const push = LeaseRing.create(a, 4, "push");
    const pop = LeaseRing.create(a, 4, "pop");
    const id = a.tryAcquireId();
    const missing = (side: string) => ({
      code: "ERR_STARVED",
      message: expect.stringMatching(
        new RegExp(`nobody took the ${side} side .*LeaseRing.attach\\(pool, memory, "${side}"\\) there`),
      ),
    });
    expect(thrown(() => push.pushSync(id, 0))).toMatchObject(missing("pop"));
    expect(thrown(() => pop.popSync(0))).toMatchObject(missing("push"));
    await expect(push.push(id, { timeout: 0 })).rejects.toMatchObject(missing("pop"));
    await expect(pop.pop({ timeout: 0 })).rejects.toMatchObject(missing("push"));
  });

  it("a lease in the place of its number is answered with the number's name", async () => {
    const [a] = two();
    const ring = LeaseRing.create(a, 4, "push");
    expect(thrown(() => ring.tryPush(a.tryAcquire() as never))).toMatchObject({
      code: "ERR_INVALID_ARG_TYPE",
      message: expect.stringContaining("lease.id"),
    });
  });

  it("skips what no lease is: shared memory may say anything", () => {
    const [a, b] = two();
    const ring = LeaseRing.create(a, 4, "push");
    const far = LeaseRing.attach(b, ring.memory, "pop");
    const raw = SpscRing.attach(ring.memory);
    for (const bad of [2 ** 31 - 1, 77, 3]) raw.tryPush(bad);
    expect([far.tryPop(), far.length]).toEqual([-1, 0]);
  });

  it("goes on behind a negative number that somebody wrote over a place: only what lay there is lost", async () => {
    const pool = SharedPool.create({ size: 8, count: 8 });
    const far = SharedPool.attach(pool.handle);
    const push = LeaseRing.create(pool, 4, "push");
    const pop = LeaseRing.attach(far, push.memory, "pop");
    push.tryPush(pool.tryAcquireId());
    new Int32Array(push.memory)[RingWord.ITEMS] = -5;
    const ids = [1, 2, 3].map(() => pool.tryAcquireId());
    for (const id of ids) push.tryPush(id);
    expect([await pop.pop(), pop.popSync(), pop.tryPop(), pop.tryPop()]).toEqual([...ids, -1]);
    expect(push.tryPush(pool.tryAcquireId())).toBe(true);
  });

  it("gives a number out for a negative one that somebody wrote over a place of a ring of integers", async () => {
    const ring = SpscRing.create(4);
    for (const word of [0, 1, 2, 3]) {
      ring.tryPush(word);
      new Int32Array(ring.memory)[RingWord.ITEMS + word] = -1;
    }
    expect([ring.peek(), await ring.pop(), ring.popSync(), ring.tryPop(), ring.count]).toEqual([
      ...Array(4).fill(2 ** 31 - 1),
      1,
    ]);
  });

  it("skips a bounded number of what no lease is in one call, and comes to the lease behind it", async () => {
    const pool = SharedPool.create({ size: 8, count: 1 });
    const far = SharedPool.attach(pool.handle);
    const push = LeaseRing.create(pool, 2 ** 14, "push");
    const pop = LeaseRing.attach(far, push.memory, "pop");
    const raw = SpscRing.attach(push.memory);
    for (let n = 0; n < 2 ** 14 - 1; n++) raw.tryPush(7);
    LeaseRing.attach(pool, push.memory, "push").tryPush(pool.tryAcquireId());
    const words = new Int32Array(push.memory);
    expect([words[RingWord.POPPED], pop.tryPop(), words[RingWord.POPPED]]).toEqual([0, -1, 1024]);
    expect(far.isHeld(await pop.pop())).toBe(true);
  });

  it("brings leases from another thread with their bytes", REPEATED, async () => {
    const pool = SharedPool.create({ size: 64, count: 4 });
    const handle = pool.reserve();
    const ring = LeaseRing.create(pool, 8, "pop");
    const total = times(500, 20_000);
    const worker = new Worker(new URL("./ring.worker.ts", import.meta.url), {
      workerData: { memory: ring.memory, handle, total },
      execArgv: [],
    });
    let wrong = 0;
    for (let n = 0; n < total; ) {
      const id = ring.tryPop();
      if (id < 0) {
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      const bytes = pool.bytesOf(id);
      if (bytes[0] !== (n & 255) || bytes[63] !== (n & 255)) wrong++;
      pool.releaseId(id);
      n++;
    }
    expect(wrong).toBe(0);
    await worker.terminate();
    pool.reclaim(handle);
    expect(pool.stats().free).toBe(4);
  });
});

it("a LeaseRing that its popping side has closed and emptied takes no lease any more: each stays with the pusher", () => {
  const pool = SharedPool.create({ size: 64, count: 8 });
  const other = SharedPool.attach(pool.handle);
  const push = LeaseRing.create(pool, 8, "push");
  const pop = LeaseRing.attach(other, push.memory, "pop");
  push.tryPush(pool.tryAcquireId());
  pop.close();
  other.releaseId(pop.tryPop());
  for (let n = 0; n < 8; n++) {
    const id = pool.tryAcquireId();
    expect([push.tryPush(id), pool.isHeld(id)]).toEqual([false, true]);
    pool.releaseId(id);
  }
  expect(pool.stats().held).toBe(0);
});

it("a ring whose memory says a capacity that is no power of two is ERR_BAD_DATA", () => {
  const { memory } = SpscRing.create(8);
  for (const capacity of [0, 3, 6, 7, -8, 2 ** 21, 16]) {
    new Int32Array(memory)[RingWord.CAPACITY] = capacity;
    // 16 places are there for every small capacity.
    expect(
      code(() => SpscRing.attach(memory)),
      String(capacity),
    ).toBe(capacity === 16 ? "ok" : "ERR_BAD_DATA");
  }
});

describe("a side that its own thread attaches to once more", () => {
  it.each([8, 32, 64])("pops on where the older object was, at %i places, and that one is over", (capacity) => {
    const pool = SharedPool.create({ size: 64, count: 40 });
    const other = SharedPool.attach(pool.handle);
    const push = LeaseRing.create(pool, capacity, "push");
    const pop = LeaseRing.attach(other, push.memory, "pop");
    const ids = Array.from({ length: 7 }, () => pool.tryAcquireId());
    for (const id of ids) expect(push.tryPush(id)).toBe(true);
    const first = [pop.tryPop(), pop.tryPop(), pop.tryPop()];
    const again = LeaseRing.attach(other, push.memory, "pop");
    const then = [again.tryPop(), again.tryPop(), again.tryPop(), again.tryPop(), again.tryPop()];
    expect([...first, ...then]).toEqual([...ids, -1]);
    expect(code(() => pop.tryPop())).toBe("ERR_ALREADY_EXISTS");
    for (const id of ids) other.releaseId(id);
    expect(pool.stats().free).toBe(40);
    pool.close();
  });

  it("pushes by the newer object alone: no lease is written over", () => {
    const pool = SharedPool.create({ size: 64, count: 8 });
    const other = SharedPool.attach(pool.handle);
    const older = LeaseRing.create(pool, 8, "push");
    const pop = LeaseRing.attach(other, older.memory, "pop");
    const ids = Array.from({ length: 3 }, () => pool.tryAcquireId());
    expect(older.tryPush(ids[0]!)).toBe(true);
    const newer = LeaseRing.attach(pool, older.memory, "push");
    expect(newer.tryPush(ids[1]!)).toBe(true);
    expect(code(() => older.tryPush(ids[2]!))).toBe("ERR_ALREADY_EXISTS");
    pool.releaseId(ids[2]!);
    expect([pop.tryPop(), pop.tryPop(), pop.tryPop()]).toEqual([ids[0], ids[1], -1]);
    pool.close({ force: true });
  });

  it.each([8, 32, 1024])("takes each number out once, whoever of several objects pops, at %i places", (capacity) => {
    const ring = SpscRing.create(capacity);
    const got: number[] = [];
    let pushed = 0;
    for (let n = 0; n < 300; n++) {
      for (let i = 0; i < n % 7; i++) if (ring.tryPush(pushed)) pushed++;
      const popper = SpscRing.attach(ring.memory);
      for (let i = 0; i < n % 5; i++) {
        const value = popper.tryPop();
        if (value >= 0) got.push(value);
      }
    }
    const last = SpscRing.attach(ring.memory);
    for (let value = last.tryPop(); value >= 0; value = last.tryPop()) got.push(value);
    expect(got).toEqual(Array.from({ length: pushed }, (_, n) => n));
  });
});
