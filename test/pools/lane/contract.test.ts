// Shares its realm with other files: nothing that it changes outlives it.
/** The contract that SharedPool and TransferPool have in common: what a lease is, and how a pool ends. */
import { describe, expect, it } from "vitest";
import { leasePool, SharedPool } from "../../../src/shared.ts";
import { code } from "../buffer/pools.ts";

for (const transport of ["shared", "transfer"] as const) {
  describe(`a ${transport} pool`, () => {
    const make = (): ReturnType<typeof leasePool> => leasePool({ size: 64, count: 2, transport });

    it("gives a lease back by the lease, by the pool, and by what postMessage makes of it", async () => {
      const pool = make();
      pool.tryAcquire()!.release();
      pool.release(await pool.acquire());
      pool.release(structuredClone(pool.tryAcquire()!));
      expect(pool.stats().free).toBe(2);
      pool.validate();
    });

    it("refuses a lease that was released before, however it is given back", () => {
      const pool = make();
      const lease = pool.tryAcquire()!;
      lease.release();
      expect(code(() => lease.release())).toBe("ERR_DOUBLE_RELEASE");
      expect(code(() => pool.release(lease))).toBe("ERR_DOUBLE_RELEASE");
      expect(code(() => pool.bytes(lease))).toBe("ERR_USE_AFTER_RELEASE");
    });

    it("gives a lease back at the end of its block", () => {
      const pool = make();
      pool.tryAcquire()![Symbol.dispose]();
      expect(pool.stats().free).toBe(2);
    });

    it("says who holds what", () => {
      const pool = make();
      expect(pool.holders()).toEqual([]);
      const lease = pool.tryAcquire()!;
      expect(pool.holders().map(({ slot }) => slot)).toEqual([lease.index]);
      lease.release();
      expect(pool.holders()).toEqual([]);
    });

    it("is not closed while a lease is out, and changes nothing then", () => {
      const pool = make();
      const lease = pool.tryAcquire()!;
      expect(code(() => pool.close())).toBe("ERR_IN_USE");
      pool.bytes(lease)[0] = 1;
      pool.tryAcquire()!.release();
      lease.release();
      pool.close();
      pool.close();
      expect(code(() => pool.tryAcquire())).toBe("ERR_POOL_DEAD");
    });

    it("is closed by force: leases are over, and who waits is told", async () => {
      const pool = make();
      const leases = [pool.tryAcquire()!, pool.tryAcquire()!];
      const waits = pool.acquire();
      pool.close({ force: true });
      await expect(waits).rejects.toMatchObject({ code: "ERR_POOL_DEAD" });
      for (const lease of leases) expect(code(() => lease.release())).toBe("ERR_POOL_DEAD");
      expect(code(() => pool.bytes(leases[0]!))).toBe("ERR_POOL_DEAD");
      pool.validate();
    });

    it("is closed at the end of the block of the thread that made it", () => {
      const pool = make();
      pool.tryAcquire();
      pool[Symbol.dispose]();
      expect(code(() => pool.tryAcquire())).toBe("ERR_POOL_DEAD");
    });

    it("retires with its last lease: nobody gets a slot from then on, and what is out stays good", async () => {
      const pool = make();
      const [a, b] = [pool.tryAcquire()!, pool.tryAcquire()!];
      const waits = pool.acquire();
      expect(pool.retire().map(({ slot }) => slot)).toEqual([a.index, b.index].sort());
      await expect(waits).rejects.toMatchObject({ code: "ERR_POOL_DEAD" });
      a.release();
      expect(code(() => pool.tryAcquire())).toBe("ERR_POOL_DEAD");
      pool.bytes(b).fill(1);
      pool.retain(b);
      b.release();
      b.release();
      expect(code(() => b.release())).toMatch(/ERR_DOUBLE_RELEASE|ERR_POOL_DEAD/);
      pool.close();
      pool.validate();
    });
  });
}

it("a member's block ends its own part of a shared pool, and not the pool", () => {
  const pool = SharedPool.create({ size: 64, count: 2 });
  const member = SharedPool.attach(pool.handle);
  member.tryAcquire();
  member[Symbol.dispose]();
  expect(code(() => member.tryAcquire())).toBe("ERR_POOL_DEAD");
  expect(pool.stats()).toMatchObject({ free: 2, held: 0 });
  pool.tryAcquire()!.release();
});
