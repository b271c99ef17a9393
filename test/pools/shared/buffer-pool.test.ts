/** SharedBufferPool: buffers that other threads look at by a number, and whose slots nobody gets meanwhile. */
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { SystemAllocator } from "../../../src/memory/allocator.ts";
import { sendLease } from "../../../src/pools/lane/shared-transport.ts";
import { SharedBufferPool } from "../../../src/pools/shared/shared-buffer-pool.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { acceptTransfer, senderWord, TransferResult } from "../../../src/pools/shared/transfer.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { REPEATED, times } from "../../helpers/effort.ts";
import { lateErrors } from "../../helpers/late-errors.ts";
import { code } from "../buffer/pools.ts";

function open(threads = 2, max = 2): SharedBufferPool {
  const pool = new SharedBufferPool({ name: "frames", threads, clock: new FakeClock() });
  pool.configure({ size: 100, max, min: 1 });
  pool.activate();
  return pool;
}

describe("a buffer in a shared slot", () => {
  it("is a BufferPool's buffer, over memory that threads share", () => {
    const pool = open();
    const buffer = pool.tryAcquire()!;
    expect([buffer.size, buffer.bytes.buffer]).toEqual([100, pool.shared.memory]);
    buffer.bytes[0] = 7;
    const other = SharedPool.attach(pool.shared.reserve());
    const lease = pool.leaseOf(buffer);
    other.retainId(lease);
    expect(other.bytesOf(lease)[0]).toBe(7);
    other.releaseId(lease);
    buffer.release();
    pool.validate();
    pool.shared.validate();
    pool.close();
  });

  it("is lost with its pool to a thread that was reclaimed, which ends nothing of the others'", async () => {
    const pool = open();
    const other = SharedPool.attach(pool.shared.reserve());
    const lease = other.tryAcquire()!;
    const { shared } = pool;
    other.reclaim(shared.member);
    expect(code(() => shared.close({ force: true }))).toBe("ERR_POOL_DEAD");
    expect(await codeOf(pool.acquire())).toBe("ERR_POOL_DEAD");
    pool.close({ force: true });
    expect(other.bytes(lease)).toHaveLength(100);
    other.release(lease);
    other.close();
  });

  it("has another lease at each acquire, so that a late look finds the old one over", () => {
    const pool = open(1, 1);
    const other = SharedPool.attach(pool.shared.reserve());
    const leases = new Set<number>();
    for (let i = 0; i < 5; i++) {
      const buffer = pool.tryAcquire()!;
      leases.add(pool.leaseOf(buffer));
      buffer.release();
    }
    expect(leases.size).toBe(5);
    for (const lease of leases) expect(code(() => other.retainId(lease))).toMatch(/ERR_USE_AFTER_RELEASE/);
    expect(pool.stats()).toMatchObject({ misses: 0, discards: {} });
  });

  it("that a thread still looks at is not leased again; another slot serves, and the first comes free when it has done", () => {
    const pool = open(1, 1);
    const other = SharedPool.attach(pool.shared.reserve());
    const buffer = pool.tryAcquire()!;
    const lease = pool.leaseOf(buffer);
    other.retainId(lease);
    const seen = other.bytesOf(lease);
    buffer.bytes.fill(1);
    buffer.release();
    const next = pool.tryAcquire()!;
    expect(next.bytes.byteOffset).not.toBe(seen.byteOffset);
    next.bytes.fill(2);
    expect(seen.every((byte) => byte === 1)).toBe(true);
    expect(pool.stats().discards).toEqual({ hook: 1 });
    other.releaseId(lease);
    next.release();
    expect(pool.shared.stats().held).toBe(1);
    pool.shared.validate();
    pool.close();
  });

  it("with more lookers than threads it is an error of that acquire, and the pool goes on", () => {
    const pool = open(1, 1);
    const other = SharedPool.attach(pool.shared.reserve());
    const leases: number[] = [];
    for (let i = 0; i < 2; i++) {
      const buffer = pool.tryAcquire()!;
      leases.push(pool.leaseOf(buffer));
      other.retainId(leases.at(-1)!);
      buffer.release();
    }
    expect(code(() => pool.tryAcquire())).toBe("ERR_POOL_FULL");
    pool.validate();
    other.releaseId(leases[0]!);
    pool.tryAcquire()!.release();
    other.releaseId(leases[1]!);
    pool.close();
  });

  it("whose thread died is free again after reclaim", () => {
    const pool = open(1, 1);
    const membership = pool.shared.reserve();
    const other = SharedPool.attach(membership);
    const buffer = pool.tryAcquire()!;
    other.retainId(pool.leaseOf(buffer));
    buffer.release();
    expect(pool.shared.stats().held).toBe(1);
    expect(pool.shared.reclaim(membership)).toBe(1);
    expect(pool.shared.stats().held).toBe(0);
    pool.close();
  });

  it("copies keep the lease alive until the last of them is gone", () => {
    const pool = open();
    const buffer = pool.tryAcquire()!;
    const lease = pool.leaseOf(buffer);
    const copy = buffer.copy();
    buffer.release();
    expect(pool.shared.isHeld(lease)).toBe(true);
    copy.release();
    expect(pool.shared.isHeld(lease)).toBe(false);
    pool.close();
  });
});

it.each(["never", "fresh", "acquire", "release"] as const)(
  "zero: %s. The bytes that a thread still looks at stay as they are, whatever becomes of the buffer",
  async (zero) => {
    for (const ends of ["comes back", "is discarded", "comes back to a pool that drains"]) {
      const pool = SharedBufferPool.create({ size: 64, max: 2, threads: 1, zero });
      const other = SharedPool.attach(pool.shared.handle);
      const buffer = await pool.acquire();
      buffer.bytes.fill(7);
      const lease = pool.leaseOf(buffer);
      other.retainId(lease);
      if (ends === "is discarded") buffer.memoryAt(0).retain().release();
      if (ends === "comes back to a pool that drains") pool.deactivate();
      buffer.release();
      expect([other.isHeld(lease), new Set(other.bytesOf(lease))], ends).toEqual([true, new Set([7])]);
      const slot = lease & other.core.indexMask;
      other.releaseId(lease);
      const after = zero === "release" ? 0 : 7;
      expect(new Set(other.viewOf(slot)), ends).toEqual(new Set([after]));
    }
  },
);

it("zero: release. A close by force leaves no bytes behind, also of a slot that a thread looks at", async () => {
  const pool = SharedBufferPool.create({ size: 64, max: 2, threads: 1, zero: "release" });
  const other = SharedPool.attach(pool.shared.handle);
  for (const looks of [true, false]) {
    const buffer = await pool.acquire();
    buffer.bytes.fill(7);
    if (looks) other.retainId(pool.leaseOf(buffer));
  }
  pool.close({ force: true });
  for (let slot = 0; slot < other.count; slot++) expect(new Set(other.viewOf(slot))).toEqual(new Set([0]));
});

describe("what is refused", () => {
  it("no bound, foreign buffers, replaced memory, a pool that was never active", () => {
    const pool = new SharedBufferPool();
    expect(code(() => pool.configure({ size: 1, max: Infinity }))).toBe("ERR_CONFIG_ADJUSTED");
    expect(code(() => pool.shared)).toBe("ERR_INACTIVE");
    expect(code(() => new SharedBufferPool({ threads: 20 }))).toBe("ERR_OUT_OF_RANGE");
    const [one, two] = [open(), open()];
    const buffer = one.tryAcquire()!;
    expect(code(() => two.leaseOf(buffer))).toBe("ERR_FOREIGN_RELEASE");
    buffer.append(new SystemAllocator().allocate(1));
    expect(code(() => one.leaseOf(buffer))).toBe("ERR_INVALID_ARG_VALUE");
    buffer.release();
    expect(code(() => one.leaseOf(buffer))).toBe("ERR_USE_AFTER_RELEASE");
    one.close();
    two.close();
  });

  it("lives again after a deactivation, with slots of another size", () => {
    const pool = open();
    const first = pool.shared;
    pool.deactivate();
    pool.configure({ size: 5000, max: 3 });
    pool.activate();
    expect([pool.shared === first, pool.tryAcquire()!.size, pool.shared.size]).toEqual([false, 5000, 5000]);
    pool.close({ force: true });
  });
});

it(
  "a worker joins each lease while it looks, and ten thousand frames at full length pass unharmed",
  REPEATED,
  async () => {
    const pool = open(1, 3);
    const script = `
    import { parentPort, workerData } from "node:worker_threads";
    import { SharedPool } from ${JSON.stringify(new URL("../../../src/shared.ts", import.meta.url).href)};
    const slots = SharedPool.attach(workerData);
    parentPort.on("message", ([lease, mark]) => {
      slots.retainId(lease);
      const bytes = slots.bytesOf(lease);
      let ok = true;
      for (const byte of bytes) ok &&= byte === mark;
      slots.releaseId(lease);
      parentPort.postMessage([lease, ok]);
    });
  `;
    const membership = pool.shared.reserve();
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(script)}`), {
      workerData: membership,
    });
    const waiting = new Map<number, () => void>();
    let bad = 0;
    worker.on("message", ([lease, ok]: [number, boolean]) => {
      if (!ok) bad++;
      waiting.get(lease)!();
    });
    const FRAMES = times(1_000, 10_000);
    for (let frame = 0; frame < FRAMES; frame++) {
      const buffer = await pool.acquire();
      buffer.bytes.fill(frame & 0xff);
      const lease = pool.leaseOf(buffer);
      waiting.set(lease, () => {
        waiting.delete(lease);
        buffer.release();
      });
      worker.postMessage([lease, frame & 0xff]);
    }
    while (pool.outstanding > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    await worker.terminate();
    pool.shared.reclaim(membership);
    expect([bad, pool.stats().outstanding]).toEqual([0, 0]);
    pool.shared.validate();
    pool.close();
  },
);

describe("the hold of a buffer", () => {
  const looker = (pool: SharedBufferPool): SharedPool => SharedPool.attach(pool.shared.reserve());

  it("is ended by the buffer alone: no number and no lease gives its slot to a second owner", () => {
    const pool = open(1, 2);
    const { shared } = pool;
    const buffer = pool.tryAcquire()!;
    const id = pool.leaseOf(buffer);
    for (const give of [() => shared.releaseId(id), () => shared.lease(id).release()])
      expect(code(give)).toBe("ERR_FOREIGN_RELEASE");
    expect(() => shared.releaseId(id)).toThrow(/held by a buffer/);
    for (let lease = shared.tryAcquireId(); lease !== -1; lease = shared.tryAcquireId()) {
      expect(shared.indexOf(lease)).not.toBe(shared.indexOf(id));
    }
    pool.validate();
    shared.validate();
    expect(pool.leaseOf(buffer)).toBe(id);
    buffer.release();
    expect(code(() => shared.retainId(id))).toBe("ERR_USE_AFTER_RELEASE");
    pool.close({ force: true });
  });

  it("stands beside those that this thread retains, in whatever order they end", () => {
    const pool = open(1, 1);
    const { shared } = pool;
    for (const order of ["buffer first", "buffer last"]) {
      const buffer = pool.tryAcquire()!;
      const id = pool.leaseOf(buffer);
      shared.retainId(id);
      shared.retainId(id);
      shared.releaseId(id);
      if (order === "buffer first") {
        buffer.release();
        expect(shared.bytesOf(id).length).toBe(100);
        shared.releaseId(id);
        expect(code(() => shared.releaseId(id))).toBe("ERR_DOUBLE_RELEASE");
      } else {
        shared.releaseId(id);
        expect(code(() => shared.releaseId(id))).toBe("ERR_FOREIGN_RELEASE");
        buffer.release();
      }
      shared.validate();
      pool.validate();
    }
    pool.close();
  });

  it("cannot be sent to another thread; a further hold can", () => {
    const pool = open(1, 1);
    const other = looker(pool);
    const buffer = pool.tryAcquire()!;
    const { core } = pool.shared;
    const id = pool.leaseOf(buffer);
    const send = (): void => sendLease(pool.shared, id, { member: other.member, status: other.core.status }, () => {});
    expect(code(send)).toBe("ERR_FOREIGN_RELEASE");
    pool.shared.retainId(id);
    send();
    expect(acceptTransfer(other.core, id, core.member, senderWord(core))).toBe(TransferResult.DONE);
    expect(code(send)).toBe("ERR_FOREIGN_RELEASE");
    other.releaseId(id);
    buffer.release();
    pool.close();
  });

  it("that was lost to another member's close is a typed error of the release, and no uncaught one", async () => {
    const late = await lateErrors(() => {
      const pool = open(1, 1);
      const other = looker(pool);
      const buffer = pool.tryAcquire()!;
      other.close({ force: true });
      expect(code(() => buffer.release())).toBe("ERR_POOL_DEAD");
      expect(code(() => pool.tryAcquire())).toBe("ERR_POOL_DEAD");
      pool.validate();
      pool.close({ force: true });
    });
    expect(late).toEqual([]);
  });

  it.each<[string, (pool: SharedBufferPool) => Promise<string>]>([
    ["tryAcquire()", async (pool) => code(() => pool.tryAcquire())],
    ["tryAcquire({ tag })", async (pool) => code(() => pool.tryAcquire({ tag: "a" }))],
    ["acquire()", (pool) => codeOf(pool.acquire())],
    ["acquire({ tag })", (pool) => codeOf(pool.acquire({ tag: "a", timeout: 5 }))],
  ])(
    "of which another member closes the slots hands out none by %s, and its memory is another pool's only then",
    async (_, take) => {
      const pool = open(3, 3);
      const buffer = pool.tryAcquire()!;
      const { shared } = pool;
      const { size, count, members } = shared.handle;
      SharedPool.attach(shared.handle).close({ force: true });
      const remake = (): string => code(() => SharedPool.create({ memory: shared.memory, size, count, members }));
      // A buffer is out, over bytes in that memory.
      expect([code(() => shared.tryAcquire()), remake()]).toEqual(["ERR_POOL_DEAD", "ERR_IN_USE"]);
      expect(await take(pool)).toBe("ERR_POOL_DEAD");
      expect([code(() => buffer.bytes), code(() => buffer.release())]).toEqual(["ERR_POOL_DEAD", "ERR_POOL_DEAD"]);
      expect([pool.stats().outstanding, remake()]).toEqual([0, "ok"]);
      pool.close();
    },
  );

  it("of which another member closes the slots rejects who waits for a buffer when one comes back", async () => {
    const pool = open(1, 1);
    const buffer = pool.tryAcquire()!;
    const waits = codeOf(pool.acquire());
    SharedPool.attach(pool.shared.handle).close({ force: true });
    expect(code(() => buffer.release())).toBe("ERR_POOL_DEAD");
    expect(await waits).toBe("ERR_POOL_DEAD");
  });

  it.each(["close", "leave"] as const)("ends by shared.%s({ force: true }), and the buffer says so", async (how) => {
    const late = await lateErrors(() => {
      const pool = open(1, 2);
      const buffer = pool.tryAcquire()!;
      const { shared } = pool;
      expect(code(() => shared[how]())).toBe("ERR_IN_USE");
      expect(buffer.bytes.length).toBe(100);
      shared[how]({ force: true });
      expect(code(() => buffer.bytes)).toBe("ERR_POOL_DEAD");
      expect(code(() => buffer.release())).toBe("ERR_POOL_DEAD");
      expect(code(() => pool.tryAcquire())).toBe("ERR_POOL_DEAD");
      expect(code(() => shared.tryAcquire())).toBe("ERR_POOL_DEAD");
      pool.validate();
      pool.close();
      shared[how]({ force: true });
    });
    expect(late).toEqual([]);
  });
});

describe("a pool under a thread that still looks", () => {
  it.each(["another member", "this thread"])(
    "is not closed without force while %s does, and nothing changes",
    (who) => {
      const pool = open(1, 1);
      const other = who === "this thread" ? pool.shared : SharedPool.attach(pool.shared.reserve());
      const buffer = pool.tryAcquire()!;
      const id = pool.leaseOf(buffer);
      other.retainId(id);
      buffer.release();
      const before = pool.stats();
      expect(code(() => pool.close())).toBe("ERR_IN_USE");
      expect(pool.stats()).toEqual(before);
      expect(other.bytesOf(id).length).toBe(100);
      pool.tryAcquire()!.release();
      other.releaseId(id);
      expect(pool.close()).toEqual([]);
    },
  );

  it.each(["retire", "deactivate"] as const)("leaves its lease good by %s(), until it gives it back", async (how) => {
    const pool = open(1, 1);
    const other = SharedPool.attach(pool.shared.reserve());
    const buffer = pool.tryAcquire()!;
    const id = pool.leaseOf(buffer);
    other.retainId(id);
    pool[how]();
    expect(other.bytesOf(id).length).toBe(100);
    buffer.release();
    await pool.drained();
    expect(other.bytesOf(id).length).toBe(100);
    other.releaseId(id);
    expect(code(() => other.tryAcquire())).toBe("ERR_POOL_DEAD");
  });

  it("is closed by what the first look at options.force says, whatever a second one would", () => {
    const pool = open(1, 1);
    const buffer = pool.tryAcquire()!;
    for (const close of [
      (options: object) => pool.close(options),
      (options: object) => pool.shared.close(options),
      (options: object) => pool.shared.leave(options),
    ]) {
      let looks = 0;
      const options = {
        get force() {
          return ++looks > 1;
        },
      };
      expect([code(() => close(options)), looks, buffer.bytes.length]).toEqual(["ERR_IN_USE", 1, 100]);
      expect(code(() => close(null as never))).toBe("ERR_INVALID_ARG_TYPE");
    }
    buffer.release();
    pool.close();
  });

  it("loses its lease by force", () => {
    const pool = open(1, 1);
    const other = SharedPool.attach(pool.shared.reserve());
    const buffer = pool.tryAcquire()!;
    const id = pool.leaseOf(buffer);
    other.retainId(id);
    buffer.release();
    pool.close({ force: true });
    expect(code(() => other.bytesOf(id))).toBe("ERR_POOL_DEAD");
  });
});
