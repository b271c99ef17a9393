// Shares its realm with other files: nothing that it changes outlives it.
/**
 * A write over several shared memories whose copy on write is refused leaves the buffer, and its copy, as they were.
 */
import { describe, expect, it } from "vitest";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { Allocator } from "../../../src/memory/allocator.ts";
import { Region } from "../../../src/memory/region.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { code } from "../../pools/buffer/pools.ts";

class Bounded extends Allocator {
  left = Number.POSITIVE_INFINITY;

  constructor() {
    super("bounded");
  }

  override allocateRegion(size: number): Region {
    if (this.left-- <= 0) throw new Error("full");
    return new Region(new Uint8Array(size));
  }

  override freeRegion(): void {}
}

const WRITES: Record<string, (buffer: MediaBuffer) => unknown> = {
  fill: (buffer) => buffer.fill(0, new Uint8Array(16).fill(9)),
  memset: (buffer) => buffer.memset(0, 9),
};

describe("a write that is refused", () => {
  for (const [name, write] of Object.entries(WRITES))
    for (const pooled of [false, true])
      it(`${name} of ${pooled ? "a pool's buffer" : "a buffer"}: the third copy is refused, and no memory was replaced`, () => {
        const allocator = new Bounded();
        const four = (buffer: MediaBuffer): MediaBuffer => {
          for (let i = 0; i < 4; i++) buffer.append(allocator.allocate(4));
          return buffer;
        };
        class Pool extends BufferPool {
          protected override populate(buffer: MediaBuffer): void {
            four(buffer);
          }
        }
        const pool = pooled ? Pool.create({ size: 16, max: 1, allocator }) : undefined;
        const buffer = pool?.tryAcquire() ?? four(new MediaBuffer());
        buffer.memset(0, 1);
        const copy = buffer.copy();
        const state = (): unknown => [
          buffer.memories.map(({ id, owners }) => [id, owners]),
          copy.memories.map(({ id }) => id),
        ];
        const before = state();
        allocator.left = 2;
        expect(code(() => write(buffer))).toBe("ERR_ALLOCATION_FAILED");
        allocator.left = Number.POSITIVE_INFINITY;
        expect(state()).toEqual(before);
        write(buffer);
        const bytes = [new Uint8Array(16), new Uint8Array(16)] as const;
        buffer.extract(0, bytes[0]);
        copy.extract(0, bytes[1]);
        expect(bytes).toEqual([new Uint8Array(16).fill(9), new Uint8Array(16).fill(1)]);
        copy.release();
        buffer.release();
        expect(allocator.stats().liveMemories).toBe(0);
      });

  it("a range within the second and third memory copies these two alone", () => {
    const allocator = new Bounded();
    const buffer = new MediaBuffer();
    for (let i = 0; i < 4; i++) buffer.append(allocator.allocate(4));
    const copy = buffer.copy();
    expect(buffer.memset(4, 7, 8)).toBe(8);
    expect(buffer.memories.map(({ owners }) => owners)).toEqual([2, 1, 1, 2]);
    const bytes = new Uint8Array(16);
    buffer.extract(0, bytes);
    expect([...bytes]).toEqual([0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0, 0]);
    copy.release();
    buffer.release();
  });
});
