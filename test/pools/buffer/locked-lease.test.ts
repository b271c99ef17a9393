// Shares its realm with other files: nothing that it changes outlives it.
/** What a lease has locked with lock() cannot be released: with the lease goes the only handle that could unlock it. */
import { describe, expect, it } from "vitest";
import { BufferPool, MediaBuffer, PagePool } from "../../../src/index.ts";
import { SharedBufferPool } from "../../../src/shared.ts";
import { code } from "./pools.ts";

const KINDS = {
  "a BufferPool": () => {
    const pool = BufferPool.create({ size: 64, max: 1 });
    return { lease: pool.tryAcquire()!, out: () => pool.outstanding };
  },
  "a SharedBufferPool": () => {
    const pool = new SharedBufferPool();
    pool.configure({ size: 64, max: 1 });
    pool.activate();
    return { lease: pool.tryAcquire()!, out: () => pool.outstanding };
  },
  "no pool, over pages": () => {
    const pages = PagePool.create({ timer: false, max: 1 });
    const lease = MediaBuffer.allocate(64, { allocator: pages.allocator });
    return { lease, out: () => pages.stats().live };
  },
};

const HOLDS: Record<string, (lease: MediaBuffer) => (() => void) | undefined> = {
  "a copied range": (lease) => {
    const copy = lease.copyRange(0, 10);
    return () => copy.release();
  },
  "a copy": (lease) => {
    const copy = lease.copy();
    return () => copy.release();
  },
  "a part of the memory": (lease) => {
    const part = lease.memoryAt(0).share(0, 10);
    return () => part.release();
  },
  "a retained memory": (lease) => {
    const memory = lease.memoryAt(0).retain();
    return () => memory.release();
  },
  "the buffer itself, twice": (lease) => void lease.append(lease.copy()),
};

describe("a lease that is locked", () => {
  for (const [kind, make] of Object.entries(KINDS))
    for (const [name, hold] of Object.entries(HOLDS))
      it(`of ${kind}, held by ${name} too, refuses its last release until it is unlocked`, () => {
        const { lease, out } = make();
        lease.lock("read");
        lease.lock("read");
        const letGo = hold(lease);
        for (let locks = 2; locks > 0; locks--) {
          expect([code(() => lease.release()), lease.isLive]).toEqual(["ERR_MAPPED", true]);
          lease.unlock("read");
        }
        lease.release();
        letGo?.();
        expect(out()).toBe(0);
      });

  it("cannot be appended to a packet, and stays as it was", () => {
    const { lease, out } = KINDS["a BufferPool"]();
    const packet = new MediaBuffer();
    lease.lock("read");
    const copy = lease.copy();
    expect([code(() => packet.append(lease)), packet.memoryCount, lease.isLive]).toEqual(["ERR_MAPPED", 0, true]);
    lease.unlock("read");
    packet.append(lease);
    packet.release();
    copy.release();
    expect(out()).toBe(0);
  });

  it("does not keep a copy of it from its release, nor does the copy's lock keep the lease", () => {
    const { lease, out } = KINDS["a BufferPool"]();
    const copy = lease.copy();
    lease.lock("read");
    copy.release();
    const other = lease.copy();
    lease.unlock("read");
    other.lock("read");
    lease.release();
    expect(code(() => other.release())).toBe("ERR_MAPPED");
    other.unlock("read");
    other.release();
    expect(out()).toBe(0);
  });

  it("is unlocked where it was locked, also when another memory is in its place", () => {
    const lease = MediaBuffer.allocate(8);
    lease.lock("read");
    const copy = lease.copy();
    const other = MediaBuffer.allocate(8);
    lease.replace(0, 1, other.memoryAt(0).retain());
    expect(code(() => lease.lock("read"))).toBe("ERR_MAPPED");
    expect(code(() => lease.release())).toBe("ERR_MAPPED");
    lease.unlock("read");
    lease.release();
    copy.release();
    other.release();
  });

  it("loses its locks when it is ended by force, so that its pages go back", () => {
    for (const mode of ["read", "write", "readwrite"] as const) {
      const pages = PagePool.create({ timer: false });
      const pool = BufferPool.create({ size: 64, max: 1, allocator: pages.allocator });
      const lease = pool.tryAcquire()!;
      lease.lock(mode);
      lease.lock(mode);
      pool.close({ force: true });
      expect([code(() => lease.unlock(mode)), pages.stats().live]).toEqual(["ERR_POOL_DEAD", 0]);
      pages.close();
    }
  });
});
