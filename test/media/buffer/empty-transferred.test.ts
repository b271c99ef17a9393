// Shares its realm with other files: nothing that it changes outlives it.
/** A memory of 0 bytes whose ArrayBuffer was transferred away: it has lost nothing, so nothing about it fails. */
import { describe, expect, it } from "vitest";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { Allocator } from "../../../src/memory/allocator.ts";
import { Region } from "../../../src/memory/region.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";

/** Gives 0 bytes in an ArrayBuffer that has some, as arenas do. */
class Roomy extends Allocator {
  last: ArrayBuffer = new ArrayBuffer(0);
  constructor() {
    super("roomy");
  }
  protected override allocateRegion(size: number): Region {
    this.last = new ArrayBuffer(8);
    return new Region(new Uint8Array(this.last, 0, size));
  }
  protected override freeRegion(): void {}
}

/** The deep copy of a lease that was cut to 0 bytes; its ArrayBuffer is gone. */
function emptyCopy(zero: "never" | "release"): { copy: MediaBuffer; allocator: Roomy } {
  const allocator = new Roomy();
  const pool = BufferPool.create({ size: 8, max: 1, allocator, zero });
  const lease = pool.tryAcquire()!;
  lease.resize(0, 0);
  const copy = lease.copy({ deep: true });
  structuredClone(allocator.last, { transfer: [allocator.last] });
  lease.release();
  pool.close();
  return { copy, allocator };
}

const CALLS: Readonly<Record<string, (buffer: MediaBuffer) => void>> = {
  "release()": () => {},
  "a deep copy()": (buffer) => buffer.copy({ deep: true }).release(),
  "a write to a shared one": (buffer) => {
    const copy = buffer.copy();
    copy.map("write").unmap();
    copy.release();
  },
  "a merge": (buffer) => {
    buffer.append(MediaBuffer.wrap(Uint8Array.of(1, 2)));
    const mapping = buffer.map("read");
    expect([...mapping.bytes]).toEqual([1, 2]);
    mapping.unmap();
  },
  "append()": (buffer) => {
    const other = MediaBuffer.wrap(Uint8Array.of(1, 2));
    other.append(buffer.retain());
    other.map("readwrite").unmap();
    other.release();
  },
};

describe("a memory of 0 bytes whose ArrayBuffer was transferred away", () => {
  for (const zero of ["never", "release"] as const) {
    it.each(Object.entries(CALLS))(`%s works, with zero: "${zero}"`, (_, call) => {
      const { copy, allocator } = emptyCopy(zero);
      call(copy);
      copy.release();
      expect([copy.isLive, allocator.stats().liveMemories]).toEqual([false, 0]);
    });
  }
});
