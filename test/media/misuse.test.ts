/** MediaBuffer against careless callers and hostile hooks: what was found by trying to break it, each case once. */
import { describe, expect, it } from "vitest";
import { MediaBuffer } from "../../src/media/media-buffer.ts";
import { wrapMemory } from "../../src/memory/allocator.ts";
import { MemoryFlags } from "../../src/memory/params.ts";
import { code } from "../buffer-pool/pools.ts";

const wrap = (...values: number[]): MediaBuffer => MediaBuffer.wrap(new Uint8Array(values));

/** All bytes, without merging anything. */
function contents(buffer: MediaBuffer): number[] {
  const out = new Uint8Array(buffer.size);
  buffer.extract(0, out);
  return [...out];
}

describe("the bytes accessor never hands out bytes that may not be written", () => {
  it("of a region, also once its view was made by a read map: the source's bytes are not the region's", () => {
    const source = wrap(1, 2, 3, 4);
    const part = source.region(0, 2);
    part.map("read").unmap();
    expect(code(() => part.bytes)).toBe("ERR_NOT_WRITABLE");
    expect(contents(source)).toEqual([1, 2, 3, 4]);
  });

  it("of read-only memory, also once its view was made by a read map", () => {
    const buffer = MediaBuffer.wrap(new Uint8Array(4), { flags: MemoryFlags.READONLY });
    buffer.map("read").unmap();
    expect(code(() => buffer.bytes)).toBe("ERR_NOT_WRITABLE");
  });
});
