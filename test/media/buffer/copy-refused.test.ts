// Shares its realm with other files: nothing that it changes outlives it.
/** A copy into a buffer that is refused on the way leaves both buffers as they were, whichever allocation fails. */
import { expect, it } from "vitest";
import { allocators } from "../../../src/allocators/registry.ts";
import { CopyFlags } from "../../../src/media/buffer/flags.ts";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { Allocator, systemAllocator } from "../../../src/memory/allocator.ts";
import { Region } from "../../../src/memory/region.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { MillpondError } from "../../../src/util/errors.ts";

/** Fails at one of its allocations, and calls `look` at each. */
class Failing extends Allocator {
  calls = 0;
  readonly #failAt: number;
  readonly #look: () => void;
  constructor(failAt: number, look: () => void = () => {}) {
    super("failing");
    this.#failAt = failAt;
    this.#look = look;
  }
  protected override allocateRegion(size: number): Region | undefined {
    this.#look();
    return ++this.calls === this.#failAt ? undefined : new Region(new Uint8Array(size));
  }
  protected override freeRegion(): void {}
}

function numbered(count: number, first: number): MediaBuffer {
  const buffer = new MediaBuffer();
  for (let i = 0; i < count; i++) {
    const memory = systemAllocator().allocate(3);
    const mapping = memory.map("write");
    mapping.bytes.fill(first + i);
    mapping.unmap();
    buffer.append(memory);
  }
  return buffer;
}

function bytesOf(buffer: MediaBuffer): number[] {
  const bytes = new Uint8Array(buffer.size);
  buffer.extract(0, bytes);
  return [...bytes];
}

function state(buffer: MediaBuffer): unknown {
  const memories = buffer.memories.map(({ id, refCount, owners }) => [id, refCount, owners]);
  return [memories, buffer.pts, buffer.flags, buffer.isWritable, bytesOf(buffer)];
}

function withDefault<T>(allocator: Allocator, work: () => T): T {
  const before = allocators.default;
  allocators.default = allocator;
  try {
    return work();
  } finally {
    allocators.default = before;
  }
}

const { ALL, DEEP, MEMORY, MERGE } = CopyFlags;
const KINDS: Record<string, CopyFlags> = {
  shared: MEMORY,
  merged: MEMORY | MERGE,
  deep: ALL | DEEP,
  "deep and merged": ALL | DEEP | MERGE,
};

it("a copyFrom() that is refused at any allocation leaves target and source as they were", () => {
  let refused = 0;
  for (const [name, flags] of Object.entries(KINDS))
    for (const have of [0, 1, 2, 15, 16])
      for (const more of [1, 2, 3, 16])
        for (const failAt of [1, 2, 3]) {
          const [target, source] = [numbered(have, 1), numbered(more, 100)];
          source.pts = 5n;
          const before = [state(target), state(source)];
          const wanted = [...bytesOf(target), ...bytesOf(source)];
          const allocator = new Failing(failAt);
          const where = `${have} and ${more} memories, ${name}, allocation ${failAt}`;
          let error: unknown;
          withDefault(allocator, () => {
            try {
              target.copyFrom(source, flags);
            } catch (thrown) {
              error = thrown;
            }
          });
          if (error === undefined) {
            expect(bytesOf(target), where).toEqual(wanted);
            expect(target.memoryCount, where).toBeLessThanOrEqual((flags & MERGE) !== 0 ? 1 : 16);
          } else {
            refused++;
            expect((error as MillpondError).code, where).toBe("ERR_ALLOCATION_FAILED");
            expect([state(target), state(source)], where).toEqual(before);
          }
          target.release();
          source.release();
        }
  expect(refused).toBeGreaterThan(50);
});

it("a hook in the middle of a copyFrom() sees the target's list as it was before", () => {
  for (const flags of Object.values(KINDS)) {
    const [target, source] = [numbered(2, 1), numbered(16, 100)];
    const seen: number[] = [];
    withDefault(new Failing(0, () => seen.push(target.memoryCount)), () => target.copyFrom(source, flags));
    expect(new Set(seen)).toEqual(new Set([2]));
    expect(target.memoryCount).toBe((flags & MERGE) !== 0 ? 1 : 16);
  }
});

it("a pool keeps the slot of a lease that a refused copyFrom() went into", () => {
  const pool = BufferPool.create({ size: 64, max: 1 });
  for (const flags of [MEMORY | MERGE, ALL | DEEP | MERGE]) {
    const [lease, source] = [pool.tryAcquire()!, numbered(16, 1)];
    withDefault(new Failing(1), () => expect(() => lease.copyFrom(source, flags)).toThrow(MillpondError));
    lease.release();
    source.release();
    expect(pool.stats()).toMatchObject({ discards: {}, free: 1 });
  }
  pool.validate();
});
