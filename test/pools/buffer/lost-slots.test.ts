/** What a BufferPool does with slots whose bytes went meanwhile, and with what can never be there. */
import { describe, expect, it } from "vitest";
import type { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import type { ActualPoolConfig } from "../../../src/pools/buffer/config.ts";
import { RealtimePool } from "../../../src/pools/realtime/realtime-pool.ts";
import { lateErrors } from "../../helpers/late-errors.ts";
import { code } from "./pools.ts";

function transferAway(bytes: Uint8Array): void {
  structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] });
}

describe("a free slot whose bytes a kept view transferred away", () => {
  it('goes when it is taken with zero: "acquire": the lease has other bytes, and nothing is lost or thrown', () => {
    const pool = BufferPool.create({ size: 64, max: 1, zero: "acquire" });
    const heard: unknown[] = [];
    pool.on("discard", (event) => heard.push(event));
    const first = pool.tryAcquire()!;
    const kept = first.bytes;
    first.release();
    transferAway(kept);
    const next = pool.tryAcquire()!;
    expect(next.bytes).toEqual(new Uint8Array(64));
    expect(heard).toEqual([{ slot: 0, reason: "detached" }]);
    next.release();
    expect(pool.stats()).toMatchObject({ count: 1, outstanding: 0, acquires: 2, discards: { detached: 1 } });
    pool.validate();
    pool.close();
  });

  it("is not what a tagged acquire gets either, and dispose() hears of it", () => {
    const disposed: number[] = [];
    class Watched extends BufferPool {
      protected override dispose(buffer: MediaBuffer): void {
        disposed.push(buffer.slot.index);
      }
    }
    const pool = Watched.create({ size: 64, max: 2, min: 2 });
    const [a, b] = [pool.tryAcquire()!, pool.tryAcquire()!];
    const kept = b.bytes;
    a.release();
    b.release();
    transferAway(kept);
    const next = pool.tryAcquire({ tag: "reader" })!;
    expect(next.bytes.length).toBe(64);
    expect(disposed).toHaveLength(1);
    next.release();
    pool.close();
  });
});

describe("a slot with several memories", () => {
  it("gets every memory back as it was made, also where sizes moved between them", () => {
    class Two extends BufferPool {
      protected override populate(buffer: MediaBuffer, { allocator }: ActualPoolConfig): void {
        buffer.append(allocator.allocate(10, { prefix: 2, padding: 10 }));
        buffer.append(allocator.allocate(10, { padding: 10 }));
      }
    }
    const pool = Two.create({ size: 20, max: 1 });
    const extents = (buffer: MediaBuffer) => buffer.memories.map(({ offset, size }) => [offset, size]);
    const first = pool.tryAcquire()!;
    const fresh = extents(first);
    first.resize(0, 12, 0, 1);
    first.resize(0, 8, 1, 1);
    first.release();
    const second = pool.tryAcquire()!;
    expect(extents(second)).toEqual(fresh);
    second.resize(2, 7, 0, 1);
    second.release();
    const third = pool.tryAcquire()!;
    expect(extents(third)).toEqual(fresh);
    third.release();
    expect(pool.stats()).toMatchObject({ misses: 1, discards: {} });
    pool.close();
  });
});

describe("bounds that not one buffer fits into", () => {
  it("are refused, because an acquire would wait without end", () => {
    expect(code(() => BufferPool.create({ size: 100, max: 2, maxBytes: 50 }))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => BufferPool.create({ size: 100, max: 2, maxBytes: 100, padding: 1 }))).toBe("ERR_OUT_OF_RANGE");
    const pool = new BufferPool();
    expect(code(() => pool.configure({ size: 100, max: 2, maxBytes: 50 }))).toBe("ERR_OUT_OF_RANGE");
    expect(pool.config).toBeNull();
    BufferPool.create({ size: 100, max: 2, maxBytes: 100 }).close();
    // Nothing is to be held: the step of negotiation that says so.
    pool.configure({ size: 0, max: 0, maxBytes: 0 });
  });
});

describe("a pool whose bytes' own pool was closed by force", () => {
  it("is deactivated and closed without an error that nobody catches", async () => {
    const arena = RealtimePool.create({ totalSize: 65_536, lock: "off" });
    const pool = BufferPool.create({ size: 256, max: 4, min: 2, allocator: arena.allocator });
    const lease = pool.tryAcquire()!;
    arena.close({ force: true });
    expect(
      await lateErrors(() => {
        lease.release();
        pool.deactivate();
        pool.close({ force: true });
      }),
    ).toEqual([]);
    expect(pool.outstanding).toBe(0);
  });
});
