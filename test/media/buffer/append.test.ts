/** `append(buffer)`: it is done, or it has changed nothing; and what a read says of bytes that are being written. */
import { describe, expect, it } from "vitest";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { Allocator, wrapMemory } from "../../../src/memory/allocator.ts";
import type { Mapping } from "../../../src/memory/memory.ts";
import { MemoryFlags } from "../../../src/memory/params.ts";
import { Region } from "../../../src/memory/region.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { lateErrors } from "../../helpers/late-errors.ts";
import { code } from "../../pools/buffer/pools.ts";

class Grumpy extends BufferPool {
  protected override reset(): void {
    throw new Error("hook");
  }
}

function grumpy(): BufferPool {
  const pool = new Grumpy({ name: "grumpy" });
  pool.configure({ size: 4, max: 1 });
  pool.activate();
  return pool;
}

function bytesOf(buffer: MediaBuffer): number[] {
  const bytes = new Uint8Array(buffer.size);
  buffer.extract(0, bytes);
  return [...bytes];
}

/** Calls `look` whenever memory is asked for; what it gives cannot be shared, so an append copies it. */
class Looking extends Allocator {
  look: () => void = () => {};
  constructor() {
    super("looking");
  }
  protected override allocateRegion(size: number): Region {
    this.look();
    return new Region(new Uint8Array(size));
  }
  protected override freeRegion(): void {}
}

function leaseOf(allocator: Allocator): { pool: BufferPool; lease: MediaBuffer } {
  const pool = BufferPool.create({ size: 4, max: 1, allocator, flags: MemoryFlags.NO_SHARE });
  const lease = pool.tryAcquire()!;
  lease.fill(0, Uint8Array.of(5, 6, 7, 8));
  return { pool, lease };
}

describe("a call that ends a lease whose reset() throws is done, and the error comes later", () => {
  it.each(["removed", "replaced"])("append() of a lease whose memory was %s before", async (way) => {
    const pool = grumpy();
    const lease = pool.tryAcquire()!;
    lease.remove();
    if (way === "replaced") lease.append(wrapMemory(Uint8Array.of(3)));
    const buffer = MediaBuffer.wrap(Uint8Array.of(1, 2));
    expect(await lateErrors(() => buffer.append(lease))).toEqual(["hook"]);
    expect(bytesOf(buffer)).toEqual(way === "replaced" ? [1, 2, 3] : [1, 2]);
    expect([lease.isLive, pool.outstanding]).toEqual([false, 0]);
    buffer.release();
  });

  const ENDS: Readonly<Record<string, readonly [end: (buffer: MediaBuffer) => void, left: readonly number[]]>> = {
    "remove()": [(buffer) => buffer.remove(1, 1), [1, 2]],
    "replace()": [(buffer) => buffer.replace(1, 1, wrapMemory(Uint8Array.of(3))), [1, 2, 3]],
    "fill()": [(buffer) => void buffer.fill(2, Uint8Array.of(3, 4)), [1, 2, 3, 4]],
    "mapRange()": [(buffer) => buffer.mapRange(1, 1, "write").unmap(), [1, 2, 0, 0]],
    "map()": [(buffer) => buffer.map("read").unmap(), [1, 2, 0, 0]],
  };
  it.each(Object.entries(ENDS))("%s, which takes its last bytes out of a buffer", async (_, [end, left]) => {
    const pool = grumpy();
    const lease = pool.tryAcquire()!;
    const buffer = MediaBuffer.wrap(Uint8Array.of(1, 2));
    // A part is read-only, so a write replaces it.
    buffer.copyFrom(lease, undefined, 1, 2);
    lease.release();
    expect(pool.outstanding).toBe(1);
    expect(await lateErrors(() => end(buffer))).toEqual(["hook"]);
    expect([bytesOf(buffer), pool.outstanding]).toEqual([left, 0]);
    buffer.release();
  });

  it("but release() is the releaser's to hear: of the lease, and of the last copy", () => {
    const pool = grumpy();
    expect(code(() => pool.tryAcquire()!.release())).toMatch(/hook/);
    const lease = pool.tryAcquire()!;
    const copy = lease.copy();
    lease.release();
    expect(code(() => copy.release())).toMatch(/hook/);
    expect([copy.isLive, pool.outstanding]).toEqual([false, 0]);
  });
});

describe("append() while the hook of an allocator runs", () => {
  it("which closes the pool of the appended lease by force: ERR_POOL_DEAD, and nothing has changed", () => {
    const allocator = new Looking();
    const { pool, lease } = leaseOf(allocator);
    const buffer = MediaBuffer.wrap(Uint8Array.of(1, 2));
    allocator.look = () => pool.close({ force: true });
    expect(code(() => buffer.append(lease))).toBe("ERR_POOL_DEAD");
    expect([bytesOf(buffer), lease.isLive]).toEqual([[1, 2], false]);
    expect(allocator.stats().liveMemories).toBe(0);
  });

  it("which maps the appended lease: it is done, and the lease goes back with the map", async () => {
    const allocator = new Looking();
    const { pool, lease } = leaseOf(allocator);
    const buffer = MediaBuffer.wrap(Uint8Array.of(1, 2));
    let mapping: Mapping | undefined;
    allocator.look = () => {
      mapping = lease.map("read");
    };
    expect(await lateErrors(() => buffer.append(lease))).toEqual([]);
    expect(bytesOf(buffer)).toEqual([1, 2, 5, 6, 7, 8]);
    expect([lease.isLive, pool.outstanding, [...mapping!.bytes]]).toEqual([false, 1, [5, 6, 7, 8]]);
    mapping!.unmap();
    expect(pool.outstanding).toBe(0);
    pool.validate();
  });
});

describe("extract(), compare() and copy() while the buffer's own write map is live", () => {
  it("see what was written; as soon as there is a second reference, the refusal is that of a read: ERR_MAPPED", () => {
    const buffer = MediaBuffer.allocate(2);
    const mapping = buffer.map("write");
    mapping.bytes.set([7, 8]);
    expect(bytesOf(buffer)).toEqual([7, 8]);
    buffer.retain();
    const reads = [() => bytesOf(buffer), () => buffer.compare(0, Uint8Array.of(7)), () => buffer.map("read")];
    expect(reads.map((read) => code(read))).toEqual(["ERR_MAPPED", "ERR_MAPPED", "ERR_MAPPED"]);
    mapping.unmap();
    expect(bytesOf(buffer)).toEqual([7, 8]);
    buffer.release();
    buffer.release();
  });
});
