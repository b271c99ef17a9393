// Shares its realm with other files: nothing that it changes outlives it.
/** MediaBuffer: what a copy takes along (reference table 4.9), and bad input to every method. */
import { describe, expect, it } from "vitest";
import { BufferFlags, CopyFlags } from "../../../src/media/buffer/flags.ts";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { SystemAllocator, wrapMemory } from "../../../src/memory/allocator.ts";
import { MemoryFlags } from "../../../src/memory/params.ts";
import { opaqueRegion, type Region } from "../../../src/memory/region.ts";
import { code } from "../../pools/buffer/pools.ts";

const allocator = new SystemAllocator("rules");

function source(): MediaBuffer {
  const buffer = MediaBuffer.wrap(new Uint8Array([1, 2, 3, 4]));
  buffer.append(wrapMemory(new Uint8Array([5, 6])));
  buffer.pts = 1n;
  buffer.dts = 2n;
  buffer.duration = 3n;
  buffer.offset = 4n;
  buffer.offsetEnd = 5n;
  buffer.flags = BufferFlags.DISCONT;
  return buffer;
}
const times = (buffer: MediaBuffer): unknown[] => [
  buffer.pts,
  buffer.dts,
  buffer.offset,
  buffer.duration,
  buffer.offsetEnd,
];
const bytes = (buffer: MediaBuffer): number[] => {
  const out = new Uint8Array(buffer.size);
  buffer.extract(0, out);
  return [...out];
};

describe("what a copy takes along (reference table 4.9)", () => {
  it("with FLAGS it takes the source's flags", () => {
    const target = new MediaBuffer();
    target.flags = BufferFlags.GAP;
    target.copyFrom(source(), CopyFlags.FLAGS);
    expect([target.flags, target.size, times(target)]).toEqual([BufferFlags.DISCONT, 0, Array(5).fill(undefined)]);
  });
  it("with TIMESTAMPS a whole copy takes all five", () => {
    const target = new MediaBuffer();
    target.copyFrom(source(), CopyFlags.TIMESTAMPS);
    expect(times(target)).toEqual([1n, 2n, 4n, 3n, 5n]);
  });
  it("with TIMESTAMPS a copy that stops early keeps the target's own duration and end", () => {
    const target = new MediaBuffer();
    target.duration = 9n;
    target.offsetEnd = 8n;
    target.copyFrom(source(), CopyFlags.TIMESTAMPS, 0, 3);
    expect(times(target)).toEqual([1n, 2n, 4n, 9n, 8n]);
  });
  it("with TIMESTAMPS a copy that starts later takes none", () => {
    const target = new MediaBuffer();
    target.duration = 9n;
    target.copyFrom(source(), CopyFlags.TIMESTAMPS, 1);
    expect(times(target)).toEqual(Array(5).fill(undefined));
  });
  it("with MEMORY it shares whole memories, takes parts as sub-memories, and copies those that are NO_SHARE", () => {
    const buffer = source();
    buffer.append(wrapMemory(new Uint8Array([7]), { flags: MemoryFlags.NO_SHARE }));
    const part = buffer.copyRange(1, 6, CopyFlags.MEMORY);
    const [clipped, whole, copied] = part.memories;
    expect([clipped!.parent, whole, copied === buffer.memoryAt(2), bytes(part)]).toEqual([
      buffer.memoryAt(0),
      buffer.memoryAt(1),
      false,
      [2, 3, 4, 5, 6, 7],
    ]);
  });
  it("with DEEP it shares no memory", () => {
    const buffer = source();
    const copy = buffer.copy({ deep: true });
    copy.memset(0, 9);
    expect([bytes(buffer)[0], buffer.memories.every((memory) => memory.owners === 1)]).toEqual([1, true]);
  });
  it("with MERGE the target's memories, old ones included, become one", () => {
    const target = MediaBuffer.wrap(new Uint8Array([0]));
    target.copyFrom(source(), CopyFlags.MEMORY | CopyFlags.MERGE);
    expect([target.memoryCount, bytes(target)]).toEqual([1, [0, 1, 2, 3, 4, 5, 6]]);
  });
  it("a range outside the source is refused, and the target is as it was; a buffer into itself is nothing", () => {
    const [buffer, target] = [source(), MediaBuffer.wrap(new Uint8Array([0]))];
    for (const [offset, size] of [
      [7, undefined],
      [0, 7],
      [3, 4],
      [-1, 1],
    ] as const) {
      expect(code(() => target.copyFrom(buffer, CopyFlags.ALL, offset, size))).toBe("ERR_OUT_OF_RANGE");
    }
    expect(bytes(target)).toEqual([0]);
    buffer.copyFrom(buffer);
    expect(buffer.memoryCount).toBe(2);
    target.retain();
    expect(code(() => target.copyFrom(buffer))).toBe("ERR_NOT_WRITABLE");
  });
  it("a memory that is mapped for writing only is copied, not shared, as one that is mapped read-write", () => {
    const buffer = source();
    const mapping = buffer.mapRange(1, 1, "write");
    const target = MediaBuffer.wrap(new Uint8Array([0]));
    target.copyFrom(buffer);
    const copy = buffer.copy();
    for (const [index, memory] of buffer.memories.entries()) {
      const shared = copy.memories.includes(memory) && target.memories.includes(memory);
      expect(shared).toBe(index !== 1);
    }
    expect([buffer.memoryAt(1).refCount, buffer.memoryAt(1).owners]).toEqual([1, 1]);
    mapping.unmap();
  });
});

describe("memory that cannot be mapped", () => {
  it("is a typed error for every byte helper, and nothing changes (Q16, Q17)", () => {
    class Opaque extends SystemAllocator {
      protected override allocateRegion(size: number): Region {
        return opaqueRegion(size, undefined);
      }
    }
    const buffer = MediaBuffer.wrap(new Uint8Array([1, 2]));
    buffer.append(new Opaque("opaque").allocate(4));
    const memory = buffer.memoryAt(1);
    for (const use of [
      () => buffer.map("read"),
      () => buffer.fill(2, new Uint8Array(2)),
      () => buffer.memset(2, 1),
      () => buffer.extract(2, new Uint8Array(2)),
      () => buffer.compare(2, new Uint8Array(2)),
      () => buffer.copy({ deep: true }),
    ]) {
      expect(code(use), String(use)).toBe("ERR_NOT_MAPPABLE");
    }
    expect([buffer.memoryCount, buffer.memoryAt(1), memory.isMapped, buffer.copy().memoryAt(1)]).toEqual([
      2,
      memory,
      false,
      memory,
    ]);
  });
});

describe("the bytes accessor", () => {
  it("is for one owner of one memory; everybody else maps", () => {
    const buffer = source();
    expect([code(() => buffer.bytes), code(() => new MediaBuffer().bytes)]).toEqual([
      "ERR_NOT_MAPPABLE",
      "ERR_NOT_MAPPABLE",
    ]);
    const one = MediaBuffer.allocate(4, { allocator });
    const view = one.bytes;
    expect(one.bytes).toBe(view);
    const copy = one.copy();
    expect([code(() => one.bytes), code(() => copy.bytes)]).toEqual(["ERR_NOT_WRITABLE", "ERR_NOT_WRITABLE"]);
    copy.release();
    one.retain();
    expect(code(() => one.bytes)).toBe("ERR_NOT_WRITABLE");
    one.release();
    one.resize(1);
    expect(one.bytes.length).toBe(3);
    one.release();
  });
});

describe("bad input to every method is a typed error, and nothing changes", () => {
  const numbers: unknown[] = [Number.NaN, -1, 1.5, 2 ** 53, "1", null, {}, Infinity];
  const others: unknown[] = [null, undefined, 3, "x", {}, []];
  const methods: [string, readonly unknown[], (buffer: MediaBuffer, bad: never) => unknown][] = [
    ["insert index", numbers, (b, bad) => b.insert(bad, allocator.allocate(1))],
    ["insert memory", others, (b, bad) => b.insert(0, bad)],
    ["append", others, (b, bad) => b.append(bad)],
    ["replace index", numbers, (b, bad) => b.replace(bad, 1, allocator.allocate(1))],
    ["replace length", [...numbers, 0], (b, bad) => b.replace(0, bad, allocator.allocate(1))],
    ["remove index", numbers, (b, bad) => b.remove(bad)],
    ["remove length", numbers, (b, bad) => b.remove(0, bad)],
    ["memoryAt", numbers, (b, bad) => b.memoryAt(bad)],
    ["find", numbers, (b, bad) => b.find(bad)],
    ["find size", numbers, (b, bad) => b.find(0, bad)],
    ["getSizes", numbers, (b, bad) => b.getSizes(bad)],
    ["resize delta", [Number.NaN, 1.5, 2 ** 53, -(2 ** 53), "1", null, -1, 7], (b, bad) => b.resize(bad)],
    ["resize size", numbers, (b, bad) => b.resize(0, bad)],
    ["map mode", [...others, "rw", "READ"], (b, bad) => b.map(bad)],
    ["mapRange index", numbers, (b, bad) => b.mapRange(bad, 1, "read")],
    ["mapRange length", [...numbers, 0], (b, bad) => b.mapRange(0, bad, "read")],
    ["fill offset", numbers, (b, bad) => b.fill(bad, new Uint8Array(1))],
    ["fill source", others, (b, bad) => b.fill(0, bad)],
    ["memset offset", numbers, (b, bad) => b.memset(bad, 0)],
    ["memset value", [...numbers, 256], (b, bad) => b.memset(0, bad)],
    ["memset size", numbers, (b, bad) => b.memset(0, 0, bad)],
    ["extract offset", numbers, (b, bad) => b.extract(bad, new Uint8Array(1))],
    ["extract target", others, (b, bad) => b.extract(0, bad)],
    ["compare offset", numbers, (b, bad) => b.compare(bad, new Uint8Array(1))],
    ["compare other", others, (b, bad) => b.compare(0, bad)],
    ["copyRange offset", numbers, (b, bad) => b.copyRange(bad)],
    ["copyRange size", numbers, (b, bad) => b.copyRange(0, bad)],
    ["copyFrom source", others, (b, bad) => b.copyFrom(bad)],
    [
      "pts",
      [1, "1", null, Number.NaN],
      (b, bad) => {
        b.pts = bad;
      },
    ],
    [
      "duration",
      [1, "1", null],
      (b, bad) => {
        b.duration = bad;
      },
    ],
    [
      "offset",
      [1, "1", null],
      (b, bad) => {
        b.offset = bad;
      },
    ],
    [
      "flags",
      numbers,
      (b, bad) => {
        b.flags = bad;
      },
    ],
    ["allocate", numbers, (_b, bad) => MediaBuffer.allocate(bad)],
    ["wrap", others, (_b, bad) => MediaBuffer.wrap(bad)],
  ];
  it.each(methods)("a wrong %s is refused, and the buffer is as it was", (_name, values, call) => {
    const buffer = source();
    const look = (): unknown => [
      bytes(buffer),
      times(buffer),
      buffer.flags,
      buffer.memoryCount,
      buffer.refCount,
      buffer.getSizes(),
      buffer.memories.map((m) => [m.refCount, m.owners, m.isMapped]),
    ];
    const before = look();
    for (const bad of values) {
      expect(
        code(() => call(buffer, bad as never)),
        String(bad),
      ).toMatch(/^ERR_(INVALID_ARG_TYPE|INVALID_ARG_VALUE|OUT_OF_RANGE)$/);
      expect(look()).toEqual(before);
    }
  });
});
