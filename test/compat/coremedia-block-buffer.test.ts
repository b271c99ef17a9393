// Shares its realm with other files: nothing that it changes outlives it.
/** CMBlockBuffer by the rules of its header, under its own names; every lease is back at the end of every path. */
import { afterEach, describe, expect, it } from "vitest";
import {
  CFAllocatorAllocate,
  CFAllocatorDeallocate,
  CFGetRetainCount,
  CFGetTypeID,
  CFRelease,
  CFRetain,
  CMBlockBuffer,
  CMBlockBufferAccessDataBytes,
  CMBlockBufferAppendBufferReference,
  CMBlockBufferAppendMemoryBlock,
  CMBlockBufferAssureBlockMemory,
  CMBlockBufferCopyDataBytes,
  CMBlockBufferCreateContiguous,
  CMBlockBufferCreateEmpty,
  CMBlockBufferCreateWithBufferReference,
  CMBlockBufferCreateWithMemoryBlock,
  type CMBlockBufferCustomBlockSource,
  CMBlockBufferFillDataBytes,
  CMBlockBufferGetDataLength,
  CMBlockBufferGetDataPointer,
  CMBlockBufferGetTypeID,
  CMBlockBufferIsEmpty,
  CMBlockBufferIsRangeContiguous,
  CMBlockBufferReplaceDataBytes,
  CMMemoryPoolCreate,
  CMMemoryPoolFlush,
  CMMemoryPoolGetAllocator,
  kCFAllocatorDefault,
  kCFAllocatorNull,
  kCMBlockBufferAlwaysCopyDataFlag,
  kCMBlockBufferAssureMemoryNowFlag,
  kCMBlockBufferBadCustomBlockSourceErr,
  kCMBlockBufferBadLengthParameterErr,
  kCMBlockBufferBadOffsetParameterErr,
  kCMBlockBufferBadPointerParameterErr,
  kCMBlockBufferBlockAllocationFailedErr,
  kCMBlockBufferDontOptimizeDepthFlag,
  kCMBlockBufferEmptyBBufErr,
  kCMBlockBufferPermitEmptyReferenceFlag,
  kCMBlockBufferStructureAllocationFailedErr,
  kCMBlockBufferUnallocatedBlockErr,
} from "../../src/compat/coremedia.ts";
import { systemAllocator } from "../../src/memory/allocator.ts";
import { thrownBy } from "./thrown-by.ts";

const pool = CMMemoryPoolCreate();
const allocator = CMMemoryPoolGetAllocator(pool);
const NOW = kCMBlockBufferAssureMemoryNowFlag;
const EMPTY_OK = kCMBlockBufferPermitEmptyReferenceFlag;

/** A buffer of `length` bytes of the pool, counting up from `first`. */
function made(length: number, first = 0): CMBlockBuffer {
  const buffer = CMBlockBufferCreateWithMemoryBlock(null, null, length, allocator, null, 0, length, NOW);
  CMBlockBufferReplaceDataBytes(counting(length, first), buffer, 0, length);
  return buffer;
}

function promised(length: number): CMBlockBuffer {
  return CMBlockBufferCreateWithMemoryBlock(null, null, length, allocator, null, 0, length);
}

function counting(length: number, first = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => first + i);
}

function bytesOf(buffer: CMBlockBuffer, offset = 0, length = CMBlockBufferGetDataLength(buffer) - offset): number[] {
  const bytes = new Uint8Array(length);
  CMBlockBufferCopyDataBytes(buffer, offset, length, bytes);
  return [...bytes];
}

function live(): number {
  return allocator.stats().liveMemories;
}

describe("a missing argument", () => {
  it("is refused where null is a value: undefined is a forgotten one", () => {
    const forgotten = undefined as never;
    for (const call of [
      () => CMBlockBufferGetDataLength(forgotten),
      () => CMBlockBufferIsEmpty(forgotten),
      () => CMBlockBufferIsRangeContiguous(forgotten, 0, 0),
      () => CMBlockBufferCreateWithBufferReference(forgotten, CMBlockBufferCreateEmpty(), 0, 0, 0),
    ])
      expect([String(call), thrownBy(call).code]).toEqual([String(call), "ERR_INVALID_ARG_TYPE"]);
    expect([CMBlockBufferGetDataLength(null), CMBlockBufferIsEmpty(null)]).toEqual([0, false]);
  });
});

afterEach(() => {
  expect(live()).toBe(0);
});

describe("a block", () => {
  it("comes from a memory pool's allocator, and its last release gives it back to be recycled", () => {
    const buffer = made(10_000);
    const { buffer: pages } = CMBlockBufferGetDataPointer(buffer, 0).dataPointer;
    CFRelease(buffer);
    expect(pool.pool.stats()).toMatchObject({ live: 0, idle: 1 });
    const again = made(10_000);
    expect(CMBlockBufferGetDataPointer(again, 0).dataPointer.buffer).toBe(pages);
    CFRelease(again);
    CMMemoryPoolFlush(pool);
  });

  it("a memory pool's allocator is refused as structure allocator by every creator, with -12700", () => {
    const source = made(8);
    for (const create of [
      () => CMBlockBufferCreateEmpty(allocator, 0, 0),
      () => CMBlockBufferCreateWithMemoryBlock(allocator, null, 8, null, null, 0, 8, 0),
      () => CMBlockBufferCreateWithBufferReference(allocator, source, 0, 0, 0),
      () => CMBlockBufferCreateContiguous(allocator, source, null, null, 0, 0, 0),
    ]) {
      const error = thrownBy(create);
      expect(error).toMatchObject({
        status: kCMBlockBufferStructureAllocationFailedErr,
        code: "ERR_INVALID_ARG_VALUE",
      });
      expect(error.message).toMatch(/pass it as blockAllocator/);
    }
    CFRelease(CMBlockBufferCreateEmpty(systemAllocator(), 0, 0));
    CFRelease(CMBlockBufferCreateEmpty(kCFAllocatorDefault, 0, 0));
    CFRelease(source);
  });

  it("is promised without AssureMemoryNow, counts as data, is not empty, and cannot be read: -12707", () => {
    const buffer = promised(100);
    expect([live(), CMBlockBufferGetDataLength(buffer), CMBlockBufferIsEmpty(buffer)]).toEqual([0, 100, false]);
    for (const read of [
      () => bytesOf(buffer),
      () => CMBlockBufferGetDataPointer(buffer, 0),
      () => buffer.toMediaBuffer(),
    ])
      expect(thrownBy(read)).toMatchObject({ status: kCMBlockBufferUnallocatedBlockErr, code: "ERR_NOT_MAPPABLE" });
    CMBlockBufferAssureBlockMemory(buffer);
    CMBlockBufferAssureBlockMemory(buffer);
    expect(live()).toBe(1);
    expect(CMBlockBufferGetDataPointer(buffer, 99)).toMatchObject({ lengthAtOffset: 1, totalLength: 100 });
    CFRelease(buffer);
  });

  it("that the caller brings is freed with the buffer by its allocator, and not by kCFAllocatorNull", () => {
    const memory = CFAllocatorAllocate(allocator, 64)!;
    CFRelease(CMBlockBufferCreateWithMemoryBlock(null, memory, 64, kCFAllocatorNull, null, 0, 64, 0));
    expect([memory.refCount, live()]).toEqual([1, 1]);
    for (const blockAllocator of [allocator, null]) {
      const block = CFAllocatorAllocate(allocator, 64)!;
      CFRelease(CMBlockBufferCreateWithMemoryBlock(null, block, 64, blockAllocator, null, 16, 32, 0));
      expect(block.refCount).toBe(0);
    }
    CFAllocatorDeallocate(allocator, memory);
  });

  it("may be plain bytes, which the buffer shows without a copy, from offsetToData on", () => {
    const bytes = counting(8);
    const buffer = CMBlockBufferCreateWithMemoryBlock(null, bytes, 8, kCFAllocatorNull, null, 2, 5, 0);
    const { dataPointer } = CMBlockBufferGetDataPointer(buffer, 1);
    expect([...dataPointer]).toEqual([3, 4, 5, 6]);
    dataPointer[0] = 99;
    expect(bytes[3]).toBe(99);
    CFRelease(buffer);
  });

  it("of another allocator than the one that is to free it is refused, and stays the caller's", () => {
    const memory = systemAllocator().allocate(8);
    for (const given of [memory, new Uint8Array(8)]) {
      const error = thrownBy(() => CMBlockBufferCreateWithMemoryBlock(null, given, 8, allocator, null, 0, 8, 0));
      expect(error).toMatchObject({ status: kCMBlockBufferBadPointerParameterErr, code: "ERR_FOREIGN_RELEASE" });
    }
    expect(memory.refCount).toBe(1);
    memory.release();
  });

  it("that cannot be allocated is -12701, and nothing is held", () => {
    for (const bad of [kCFAllocatorNull, allocator]) {
      const error = thrownBy(() => CMBlockBufferCreateWithMemoryBlock(null, null, 2 ** 52, bad, null, 0, 1, NOW));
      expect(error.status).toBe(kCMBlockBufferBlockAllocationFailedErr);
      expect(error.cause).toBeDefined();
    }
  });

  it("lengths and offsets that do not fit are -12703 and -12704; the block stays the caller's", () => {
    const block = CFAllocatorAllocate(allocator, 64)!;
    const create =
      (blockLength: number, offset: number, length: number): (() => unknown) =>
      () =>
        CMBlockBufferCreateWithMemoryBlock(null, block, blockLength, allocator, null, offset, length, 0);
    const cases: [() => unknown, number][] = [
      [create(0, 0, 0), kCMBlockBufferBadLengthParameterErr],
      [create(64, 65, 0), kCMBlockBufferBadOffsetParameterErr],
      [create(64, 60, 5), kCMBlockBufferBadLengthParameterErr],
      [create(64, -1, 5), kCMBlockBufferBadOffsetParameterErr],
      [create(1.5, 0, 0), kCMBlockBufferBadLengthParameterErr],
      [create(64, 0, Number.NaN), kCMBlockBufferBadLengthParameterErr],
      [create(65, 0, 65), kCMBlockBufferBadPointerParameterErr],
    ];
    for (const [call, status] of cases) expect(thrownBy(call)).toMatchObject({ status, code: "ERR_OUT_OF_RANGE" });
    expect(block.refCount).toBe(1);
    CFAllocatorDeallocate(allocator, block);
    const error = thrownBy(create(64, 0, 64));
    expect(error).toMatchObject({ status: kCMBlockBufferBadPointerParameterErr, code: "ERR_USE_AFTER_RELEASE" });
  });
});

describe("a custom block source", () => {
  function counted(give: (size: number) => Uint8Array | null = (size) => new Uint8Array(size)) {
    const log: unknown[] = [];
    const source: CMBlockBufferCustomBlockSource = {
      version: 0,
      AllocateBlock: (refCon, size) => {
        log.push(["allocate", refCon, size]);
        return give(size);
      },
      FreeBlock: (refCon, block, size) => log.push(["free", refCon, block.constructor.name, size]),
      refCon: "mine",
    };
    return { log, source };
  }

  it("allocates once, when needed, and frees once, with the last holder", () => {
    const { log, source } = counted();
    const buffer = CMBlockBufferCreateWithMemoryBlock(null, null, 8, allocator, source, 0, 8, 0);
    const other = CMBlockBufferCreateWithBufferReference(null, buffer, 0, 4, 0);
    expect(log).toEqual([]);
    CMBlockBufferReplaceDataBytes(counting(8), buffer, 0, 8);
    CMBlockBufferAssureBlockMemory(other);
    CFRelease(buffer);
    expect([bytesOf(other), log]).toEqual([[0, 1, 2, 3], [["allocate", "mine", 8]]]);
    CFRelease(other);
    expect(log.slice(1)).toEqual([["free", "mine", "Uint8Array", 8]]);
  });

  it("is not asked to free what it never gave", () => {
    const { log, source } = counted();
    CFRelease(CMBlockBufferCreateWithMemoryBlock(null, null, 8, null, source, 0, 8, 0));
    expect(log).toEqual([]);
  });

  it("frees a block that the caller brought, and gets a Memory that it gave back as it was", () => {
    const { log, source } = counted();
    const brought = { FreeBlock: source.FreeBlock!, refCon: "mine" };
    const buffer = CMBlockBufferCreateWithMemoryBlock(null, counting(8), 8, null, brought, 2, 4, 0);
    expect([bytesOf(buffer), log]).toEqual([[2, 3, 4, 5], []]);
    CFRelease(buffer);
    expect(log).toEqual([["free", "mine", "Uint8Array", 8]]);

    const memory = CFAllocatorAllocate(allocator, 8)!;
    const gives = counted(() => memory as never);
    CFRelease(CMBlockBufferCreateWithMemoryBlock(null, null, 8, null, gives.source, 0, 8, NOW));
    expect([gives.log, memory.refCount]).toEqual([
      [
        ["allocate", "mine", 8],
        ["free", "mine", "Memory", 8],
      ],
      1,
    ]);
    CFAllocatorDeallocate(allocator, memory);
  });

  it("of another version, or without what is needed, is -12702", () => {
    const cases: unknown[] = [
      5,
      { version: 1, AllocateBlock: () => null },
      {},
      { AllocateBlock: 5 },
      { FreeBlock: "x" },
    ];
    for (const source of cases) {
      const error = thrownBy(() => CMBlockBufferCreateWithMemoryBlock(null, null, 8, null, source as never, 0, 8, 0));
      expect(error.status).toBe(kCMBlockBufferBadCustomBlockSourceErr);
    }
  });

  it("that has none is -12701; one that gives too few bytes, or no bytes, is -12702 and gets them back", () => {
    const none = counted(() => null);
    const create = (source: CMBlockBufferCustomBlockSource) => () =>
      CMBlockBufferCreateWithMemoryBlock(null, null, 8, null, source, 0, 8, NOW);
    expect(thrownBy(create(none.source)).status).toBe(kCMBlockBufferBlockAllocationFailedErr);
    expect(none.log).toHaveLength(1);
    for (const wrong of [new Uint8Array(7), "bytes" as never]) {
      const few = counted(() => wrong);
      expect(thrownBy(create(few.source)).status).toBe(kCMBlockBufferBadCustomBlockSourceErr);
      expect(few.log[1]).toEqual(["free", "mine", wrong.constructor.name, 8]);
    }
  });

  it("that throws: its error reaches the caller, and no block of the buffer was allocated", () => {
    const fails = counted(() => {
      throw new RangeError("mine");
    });
    const buffer = promised(16);
    CMBlockBufferAppendMemoryBlock(buffer, null, 8, null, fails.source, 0, 8, 0);
    for (const call of [
      () => CMBlockBufferAssureBlockMemory(buffer),
      () => CMBlockBufferFillDataBytes(1, buffer, 0, 4),
      () => CMBlockBufferAppendMemoryBlock(buffer, null, 8, null, fails.source, 0, 8, NOW),
    ]) {
      expect(call).toThrow(RangeError);
      expect([live(), CMBlockBufferGetDataLength(buffer)]).toEqual([0, 24]);
    }
    CFRelease(buffer);
    expect(fails.log.every((entry) => (entry as unknown[])[0] === "allocate")).toBe(true);
  });

  it("that releases the buffer, or asks it again, while it allocates: the call fails, and nothing is left", () => {
    let buffer: CMBlockBuffer;
    const releases = counted((size) => {
      CFRelease(buffer);
      return new Uint8Array(size);
    });
    buffer = promised(16);
    CMBlockBufferAppendMemoryBlock(buffer, null, 8, null, releases.source, 0, 8, 0);
    expect(thrownBy(() => CMBlockBufferAssureBlockMemory(buffer)).code).toBe("ERR_USE_AFTER_RELEASE");
    expect([live(), releases.log]).toEqual([
      0,
      [
        ["allocate", "mine", 8],
        ["free", "mine", "Uint8Array", 8],
      ],
    ]);
    const asks = counted(() => {
      CMBlockBufferAssureBlockMemory(buffer);
      return null;
    });
    buffer = CMBlockBufferCreateWithMemoryBlock(null, null, 8, null, asks.source, 0, 8, 0);
    expect(thrownBy(() => CMBlockBufferAssureBlockMemory(buffer)).code).toBe("ERR_REENTRANT");
    CFRelease(buffer);
  });
});

describe("references to other buffers", () => {
  it("retain the buffer that they refer to, and release it with the last holder", () => {
    const target = made(8);
    const one = CMBlockBufferCreateWithBufferReference(null, target, 2, 4, 0);
    const two = CMBlockBufferCreateEmpty(null, 0, 0);
    CMBlockBufferAppendBufferReference(two, target, 6, 0, 0);
    CMBlockBufferAppendBufferReference(two, one, 0, 0, 0);
    expect([CFGetRetainCount(target), CFGetRetainCount(one)]).toEqual([4, 1]);
    CFRelease(target);
    CFRelease(one);
    expect([bytesOf(two), live()]).toEqual([[6, 7, 2, 3, 4, 5], 1]);
    CFRelease(two);
    expect([CFGetRetainCount(target), live()]).toEqual([0, 0]);
  });

  it("show what is written through either side", () => {
    const target = made(8);
    const view = CMBlockBufferCreateWithBufferReference(null, target, 4, 4, 0);
    CMBlockBufferReplaceDataBytes(counting(2, 100), view, 1, 2);
    expect(bytesOf(target)).toEqual([0, 1, 2, 3, 4, 100, 101, 7]);
    CFRelease(view);
    CFRelease(target);
  });

  it("with DontOptimizeDepth a reference to a reference retains that one, without it the buffer behind", () => {
    const target = made(8);
    const inner = CMBlockBufferCreateWithBufferReference(null, target, 2, 6, 0);
    const flat = CMBlockBufferCreateWithBufferReference(null, inner, 1, 3, 0);
    const deep = CMBlockBufferCreateWithBufferReference(null, inner, 1, 3, kCMBlockBufferDontOptimizeDepthFlag);
    expect([CFGetRetainCount(target), CFGetRetainCount(inner)]).toEqual([3, 2]);
    expect([bytesOf(flat), bytesOf(deep)]).toEqual([
      [3, 4, 5],
      [3, 4, 5],
    ]);
    for (const buffer of [target, inner, flat, deep]) CFRelease(buffer);
  });

  it("to an empty buffer are -12706, unless permitted; then the bytes are there once it has them", () => {
    const target = CMBlockBufferCreateEmpty(null, 0, 0);
    const buffer = CMBlockBufferCreateEmpty(null, 0, 0);
    const error = thrownBy(() => CMBlockBufferAppendBufferReference(buffer, target, 0, 0, 0));
    expect(error.status).toBe(kCMBlockBufferEmptyBBufErr);
    CMBlockBufferAppendBufferReference(buffer, target, 2, 4, EMPTY_OK);
    expect(CMBlockBufferGetDataLength(buffer)).toBe(4);
    expect(thrownBy(() => bytesOf(buffer)).status).toBe(kCMBlockBufferEmptyBBufErr);
    CMBlockBufferAppendMemoryBlock(target, counting(4), 4, null, null, 0, 4, 0);
    expect(thrownBy(() => bytesOf(buffer)).status).toBe(kCMBlockBufferBadLengthParameterErr);
    CMBlockBufferAppendMemoryBlock(target, counting(4, 4), 4, null, null, 0, 4, 0);
    expect(bytesOf(buffer)).toEqual([2, 3, 4, 5]);
    CFRelease(target);
    CFRelease(buffer);
  });

  it("to itself, or to a buffer that leads back to it, are refused: neither would ever be freed", () => {
    const [a, b] = [CMBlockBufferCreateEmpty(null, 0, 0), CMBlockBufferCreateEmpty(null, 0, 0)];
    CMBlockBufferAppendBufferReference(a, b, 0, 4, EMPTY_OK);
    for (const target of [a, b]) {
      const error = thrownBy(() => CMBlockBufferAppendBufferReference(b, target, 0, 4, EMPTY_OK));
      expect(error).toMatchObject({ status: kCMBlockBufferBadPointerParameterErr, code: "ERR_INVALID_ARG_VALUE" });
    }
    CFRelease(a);
    CFRelease(b);
    expect([CFGetRetainCount(a), CFGetRetainCount(b)]).toEqual([0, 0]);
  });

  it("20,000 deep are read and freed without overflowing the stack", () => {
    let buffer = made(2);
    for (let i = 0; i < 20_000; i++) {
      const next = CMBlockBufferCreateEmpty(null, 0, 0);
      CMBlockBufferAppendBufferReference(next, buffer, 0, 2, kCMBlockBufferDontOptimizeDepthFlag);
      CFRelease(buffer);
      buffer = next;
    }
    expect(bytesOf(buffer)).toEqual([0, 1]);
    CFRelease(buffer);
  });

  it("a length beyond 2^53 is -12704", () => {
    const big = CMBlockBufferCreateWithMemoryBlock(null, null, 2 ** 53 - 1, null, null, 0, 2 ** 53 - 1, 0);
    const buffer = made(2);
    const error = thrownBy(() => CMBlockBufferAppendBufferReference(buffer, big, 0, 0, 0));
    expect([error.status, CFGetRetainCount(big)]).toEqual([kCMBlockBufferBadLengthParameterErr, 1]);
    CFRelease(big);
    CFRelease(buffer);
  });
});

describe("bytes", () => {
  function parts(): CMBlockBuffer {
    const buffer = made(4);
    const rest = made(4, 4);
    CMBlockBufferAppendBufferReference(buffer, rest, 0, 0, 0);
    CFRelease(rest);
    return buffer;
  }

  it("are copied, replaced and filled across parts", () => {
    const buffer = parts();
    expect(bytesOf(buffer, 2, 4)).toEqual([2, 3, 4, 5]);
    CMBlockBufferReplaceDataBytes(counting(4, 50), buffer, 2, 4);
    CMBlockBufferFillDataBytes(-1, buffer, 5, 0);
    expect(bytesOf(buffer)).toEqual([0, 1, 50, 51, 52, 255, 255, 255]);
    CFRelease(buffer);
  });

  it("in one run are told from those in several; two parts of one block that follow each other are one run", () => {
    const buffer = parts();
    const contiguous = (offset: number, length: number): boolean =>
      CMBlockBufferIsRangeContiguous(buffer, offset, length);
    expect([
      contiguous(0, 4),
      contiguous(4, 0),
      contiguous(3, 2),
      contiguous(0, 0),
      contiguous(8, 0),
      contiguous(5, 4),
    ]).toEqual([true, true, false, false, false, false]);
    expect(CMBlockBufferGetDataPointer(buffer, 1)).toMatchObject({ lengthAtOffset: 3, totalLength: 8 });
    const halves = CMBlockBufferCreateEmpty(null, 0, 0);
    CMBlockBufferAppendBufferReference(halves, buffer, 0, 2, 0);
    CMBlockBufferAppendBufferReference(halves, buffer, 2, 2, 0);
    expect(CMBlockBufferIsRangeContiguous(halves, 0, 0)).toBe(true);
    CFRelease(halves);
    CFRelease(buffer);
  });

  it("are accessed in place where they are in one run, else in the temporary block", () => {
    const buffer = parts();
    const temporary = new Uint8Array(8);
    const direct = CMBlockBufferAccessDataBytes(buffer, 4, 4, temporary);
    expect([...direct, direct.buffer === temporary.buffer]).toEqual([4, 5, 6, 7, false]);
    const joined = CMBlockBufferAccessDataBytes(buffer, 2, 4, temporary);
    expect([...joined, joined.buffer === temporary.buffer]).toEqual([2, 3, 4, 5, true]);
    CFRelease(buffer);
  });

  it("CreateContiguous refers where it can and copies where it must, or is told to", () => {
    const buffer = parts();
    const same = CMBlockBufferCreateContiguous(null, buffer, allocator, null, 0, 4, 0);
    expect([CFGetRetainCount(buffer), live()]).toEqual([2, 2]);
    const copy = CMBlockBufferCreateContiguous(null, buffer, allocator, null, 2, 0, 0);
    const forced = CMBlockBufferCreateContiguous(null, buffer, allocator, null, 0, 4, kCMBlockBufferAlwaysCopyDataFlag);
    expect([CFGetRetainCount(buffer), live(), bytesOf(copy), bytesOf(forced)]).toEqual([
      2,
      4,
      [2, 3, 4, 5, 6, 7],
      [0, 1, 2, 3],
    ]);
    expect(CMBlockBufferIsRangeContiguous(copy, 0, 0)).toBe(true);
    for (const one of [same, copy, forced, buffer]) CFRelease(one);
  });

  it("CreateContiguous of what is promised, or with a source that fails, leaves nothing behind", () => {
    const buffer = parts();
    CMBlockBufferAppendMemoryBlock(buffer, null, 4, allocator, null, 0, 4, 0);
    let asked = 0;
    const fails = {
      AllocateBlock: () => {
        asked++;
        throw new Error("mine");
      },
    };
    const unallocated = thrownBy(() => CMBlockBufferCreateContiguous(null, buffer, null, fails, 0, 0, 0));
    expect([unallocated.status, asked]).toEqual([kCMBlockBufferUnallocatedBlockErr, 0]);
    expect(() => CMBlockBufferCreateContiguous(null, buffer, null, fails, 0, 8, 0)).toThrow("mine");
    expect([CFGetRetainCount(buffer), live(), asked]).toEqual([1, 2, 1]);
    CFRelease(buffer);
  });

  it("ranges that are not inside are -12703 and -12704, an empty buffer is -12706; nothing is copied", () => {
    const buffer = parts();
    const empty = CMBlockBufferCreateEmpty(null, 0, 0);
    const into = new Uint8Array(8);
    const cases: [() => unknown, number][] = [
      [() => CMBlockBufferCopyDataBytes(buffer, 8, 1, into), kCMBlockBufferBadOffsetParameterErr],
      [() => CMBlockBufferCopyDataBytes(buffer, 7, 2, into), kCMBlockBufferBadLengthParameterErr],
      [() => CMBlockBufferCopyDataBytes(buffer, 0, 0, into), kCMBlockBufferBadLengthParameterErr],
      [() => CMBlockBufferCopyDataBytes(buffer, 0, 8, into.subarray(1)), kCMBlockBufferBadLengthParameterErr],
      [() => CMBlockBufferReplaceDataBytes(into, buffer, 9, 1), kCMBlockBufferBadOffsetParameterErr],
      [() => CMBlockBufferFillDataBytes(0, buffer, 0, 9), kCMBlockBufferBadLengthParameterErr],
      [() => CMBlockBufferGetDataPointer(buffer, 8), kCMBlockBufferBadOffsetParameterErr],
      [() => CMBlockBufferGetDataPointer(empty, 0), kCMBlockBufferEmptyBBufErr],
      [() => CMBlockBufferAssureBlockMemory(empty), kCMBlockBufferEmptyBBufErr],
      [() => CMBlockBufferCreateContiguous(null, empty, null, null, 0, 0, 0), kCMBlockBufferEmptyBBufErr],
      [() => CMBlockBufferCreateWithBufferReference(null, buffer, 6, 3, 0), kCMBlockBufferBadLengthParameterErr],
    ];
    for (const [call, status] of cases) expect(thrownBy(call).status).toBe(status);
    expect([...into]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    CFRelease(buffer);
    CFRelease(empty);
  });

  it("a buffer of the core shares them, and holds them after the last release; what is written to it goes to a copy", () => {
    const buffer = parts();
    const frame = buffer.toMediaBuffer();
    const other = buffer.toMediaBuffer();
    other.fill(0, Uint8Array.of(99));
    other.release();
    expect(bytesOf(buffer)[0]).toBe(0);
    const third = buffer.toMediaBuffer();
    expect([...CMBlockBufferGetDataPointer(buffer, 4).dataPointer]).toEqual([4, 5, 6, 7]);
    third.release();
    CFRelease(buffer);
    const bytes = new Uint8Array(8);
    frame.extract(0, bytes);
    expect([...bytes, frame.memoryCount, live()]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 2, 4]);
    frame.release();
  });
});

describe("the handle", () => {
  it("is made by the creators only, and nothing else passes for one", () => {
    // @ts-expect-error the constructor is private
    expect(thrownBy(() => new CMBlockBuffer())).toMatchObject({
      status: kCMBlockBufferBadPointerParameterErr,
      code: "ERR_UNSUPPORTED",
    });
    // @ts-expect-error an object of the same shape is not a buffer
    thrownBy(() => CMBlockBufferAssureBlockMemory({ toMediaBuffer: () => null }));
    for (const forged of [Object.create(CMBlockBuffer.prototype), {}, 5, "b", Symbol("b"), () => {}] as never[])
      for (const call of [
        () => CMBlockBufferGetDataLength(forged),
        () => CMBlockBufferIsEmpty(forged),
        () => CMBlockBufferIsRangeContiguous(forged, 0, 0),
        () => CMBlockBufferGetDataPointer(forged, 0),
        () => CMBlockBufferAppendBufferReference(forged, forged, 0, 0, 0),
      ])
        expect(thrownBy(call)).toMatchObject({
          status: kCMBlockBufferBadPointerParameterErr,
          code: "ERR_INVALID_ARG_TYPE",
        });
    for (const forged of [Object.create(CMBlockBuffer.prototype), {}, 5, null, undefined] as never[])
      for (const call of [CFRetain, CFRelease, CFGetRetainCount, CFGetTypeID])
        expect(thrownBy(() => call(forged))).toMatchObject({ status: -15491, code: "ERR_INVALID_ARG_TYPE" });
  });

  it("null has no bytes, is not contiguous and not empty, as the header says", () => {
    expect([
      CMBlockBufferGetDataLength(null),
      CMBlockBufferIsRangeContiguous(null, 0, 0),
      CMBlockBufferIsEmpty(null),
    ]).toEqual([0, false, false]);
  });

  it("says what it is, has a type, and is refused after its last release, twice too", () => {
    const buffer = made(4);
    expect([String(buffer), CFGetTypeID(buffer)]).toEqual([
      "CMBlockBuffer of 4 bytes (1 part)",
      CMBlockBufferGetTypeID(),
    ]);
    CFRelease(CFRetain(buffer));
    CFRelease(buffer);
    expect(thrownBy(() => CMBlockBufferGetDataLength(buffer))).toMatchObject({
      status: kCMBlockBufferBadPointerParameterErr,
      code: "ERR_USE_AFTER_RELEASE",
    });
    expect(thrownBy(() => CFRelease(buffer)).code).toBe("ERR_DOUBLE_RELEASE");
    expect(thrownBy(() => CFRetain(buffer)).code).toBe("ERR_USE_AFTER_RELEASE");
    expect(String(buffer)).toBe("CMBlockBuffer (released)");
    expect(thrownBy(() => CFRelease(buffer)).message).not.toMatch(/release\(\)|retain\(\)/);
  });

  it("cannot be released while its bytes are mapped; afterwards it can", () => {
    const memory = CFAllocatorAllocate(allocator, 8)!;
    const buffer = CMBlockBufferCreateWithMemoryBlock(null, memory, 8, allocator, null, 0, 8, 0);
    const mapping = memory.map("write");
    expect(thrownBy(() => CFRelease(buffer))).toMatchObject({ status: -12705, code: "ERR_MAPPED" });
    expect(thrownBy(() => bytesOf(buffer))).toMatchObject({ status: -12705, code: "ERR_MAPPED" });
    expect(CFGetRetainCount(buffer)).toBe(1);
    mapping.unmap();
    CFRelease(buffer);
  });

  it("a block that the caller deallocates although the buffer owns it is told so", () => {
    const memory = CFAllocatorAllocate(allocator, 8)!;
    const buffer = CMBlockBufferCreateWithMemoryBlock(null, memory, 8, allocator, null, 0, 8, 0);
    CFAllocatorDeallocate(allocator, memory);
    for (const call of [() => bytesOf(buffer), () => CFRelease(buffer)])
      expect(thrownBy(call).message).toMatch(/this block buffer owned it/);
    expect(CFGetRetainCount(buffer)).toBe(0);
  });

  it("hostile values in place of allocators, bytes, flags and numbers are told what was due", () => {
    const buffer = made(4);
    const x = new Uint8Array(4);
    const hostile = [5, "x", {}, [], Symbol("x"), () => {}, 1n, Number.NaN, true] as never[];
    for (const value of hostile) {
      const cases: [() => unknown, number][] = [
        [() => CMBlockBufferCreateEmpty(value, 0, 0), -12705],
        [() => CMBlockBufferCreateWithMemoryBlock(null, value, 4, null, null, 0, 4, 0), -12705],
        [() => CMBlockBufferCreateWithMemoryBlock(null, null, 4, value, null, 0, 4, NOW), -12705],
        [() => CMBlockBufferCopyDataBytes(buffer, 0, 4, value), -12705],
        [() => CMBlockBufferReplaceDataBytes(value, buffer, 0, 4), -12705],
        [() => CMBlockBufferAccessDataBytes(buffer, 0, 4, value), -12705],
      ];
      for (const [call, status] of cases)
        expect(thrownBy(call)).toMatchObject({ status, code: "ERR_INVALID_ARG_TYPE" });
      if (typeof value === "number" && Number.isInteger(value)) continue;
      expect(thrownBy(() => CMBlockBufferCopyDataBytes(buffer, value, 4, x)).status).toBe(-12703);
      expect(thrownBy(() => CMBlockBufferCopyDataBytes(buffer, 0, value, x)).status).toBe(-12704);
      expect(thrownBy(() => CMBlockBufferIsRangeContiguous(buffer, value, 0)).status).toBe(-12703);
      expect(thrownBy(() => CMBlockBufferFillDataBytes(value, buffer, 0, 4)).status).toBe(-12705);
      expect(thrownBy(() => CMBlockBufferCreateEmpty(null, 0, value)).status).toBe(-12705);
    }
    expect(thrownBy(() => CMBlockBufferFillDataBytes(256, buffer, 0, 4)).message).toMatch(/but it is 256/);
    CFRelease(buffer);
  });
});

describe("a memory pool", () => {
  it("is invalidated by its last release (R7); its allocator lives on", () => {
    const own = CMMemoryPoolCreate();
    const its = CMMemoryPoolGetAllocator(own);
    CFRetain(own);
    CFRelease(own);
    CFAllocatorDeallocate(its, CFAllocatorAllocate(its, 8));
    expect(own.pool.stats().idle).toBe(1);
    CFRelease(own);
    expect(own.pool.stats().idle).toBe(0);
    const block = CFAllocatorAllocate(its, 8)!;
    CFAllocatorDeallocate(its, block);
    expect(own.pool.stats().idle).toBe(0);
    expect(thrownBy(() => CMMemoryPoolFlush(own))).toMatchObject({ status: -15491, code: "ERR_USE_AFTER_RELEASE" });
  });
});
