// Shares its realm with other files: nothing that it changes outlives it.
/** SizeClassArena: classes, spans, misuse, memory, and a naive model with validation at each step. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CLASSES, classOf, MAX_CLASS_SIZE, sizeOfClass } from "../../src/arena/size-class/class-table.ts";
import { SizeClassArena } from "../../src/arena/size-class/size-class-arena.ts";
import { TlsfArena } from "../../src/arena/tlsf/tlsf-arena.ts";
import { REPEATED, seedOf, times } from "../helpers/effort.ts";
import { code } from "../pools/buffer/pools.ts";

const KIB = 1024;

function heapOf(bytes = 512 * KIB): SizeClassArena {
  return SizeClassArena.create({ source: new ArrayBuffer(bytes) });
}

describe("size classes", () => {
  it("every size gets the smallest class that holds it", () => {
    for (let size = 1; size <= MAX_CLASS_SIZE; size++) {
      const index = classOf(size);
      if (sizeOfClass(index) < size || (index > 0 && sizeOfClass(index - 1) >= size)) throw new Error(`size ${size}`);
    }
    expect([classOf(MAX_CLASS_SIZE), sizeOfClass(CLASSES - 1)]).toEqual([CLASSES - 1, MAX_CLASS_SIZE]);
  });

  it("at most a fifth of a block above 128 bytes is slack", () => {
    for (let index = 8; index < CLASSES; index++) {
      expect(sizeOfClass(index) / (sizeOfClass(index - 1) + 1)).toBeLessThanOrEqual(1.25);
    }
  });

  it("gives blocks aligned to 16 that hold what they say, and hands the one freed last out first", () => {
    const heap = heapOf();
    const a = heap.alloc(100);
    const b = heap.alloc(112);
    expect([a % 16, b % 16, heap.sizeOf(a), heap.sizeOf(b)]).toEqual([0, 0, 112, 112]);
    heap.free(a);
    heap.free(b);
    expect([heap.alloc(97), heap.alloc(112)]).toEqual([b, a]);
    heap.validate();
  });

  it("takes large blocks from the arena itself", () => {
    const heap = heapOf();
    const large = heap.alloc(MAX_CLASS_SIZE + 1);
    expect(heap.sizeOf(large)).toBeGreaterThan(MAX_CLASS_SIZE);
    expect(heap.arena.isLive(large)).toBe(true);
    heap.free(large);
    expect(heap.arena.isLive(large)).toBe(false);
    heap.validate();
  });

  it("gives empty spans back when another class, or a large block, needs the room", () => {
    const heap = heapOf(256 * KIB);
    const small: number[] = [];
    for (let pointer = heap.alloc(64); pointer !== 0; pointer = heap.alloc(64)) small.push(pointer);
    expect(heap.alloc(100 * KIB)).toBe(0);
    for (const pointer of small) heap.free(pointer);
    expect(heap.alloc(100 * KIB)).toBeGreaterThan(0);
    expect(heap.alloc(3000)).toBeGreaterThan(0);
    heap.validate();
  });

  it("goes on after the WebAssembly.Memory that it lies in has grown", () => {
    const { Memory } = (
      globalThis as unknown as {
        WebAssembly: { Memory: new (limits: object) => { buffer: ArrayBuffer; grow(pages: number): number } };
      }
    ).WebAssembly;
    const memory = new Memory({ initial: 4, maximum: 8 });
    const heap = SizeClassArena.create({ source: memory });
    const a = heap.alloc(100);
    memory.grow(1);
    expect(code(() => heap.alloc(8))).toBe("ERR_DETACHED");
    heap.refresh();
    heap.free(a);
    expect(heap.alloc(100)).toBe(a);
    heap.validate();
  });

  it("is found again by a second view, with everything that is live", () => {
    const shared = new SharedArrayBuffer(512 * KIB);
    const one = SizeClassArena.create({ source: shared });
    const a = one.alloc(100);
    const two = SizeClassArena.attach({ source: shared });
    expect(two.sizeOf(a)).toBe(112);
    two.free(a);
    expect(one.alloc(100)).toBe(a);
    expect(
      code(() => SizeClassArena.attach({ source: TlsfArena.create({ source: new ArrayBuffer(64 * KIB) }).buffer })),
    ).toBe("ERR_BAD_DATA");
    one.validate();
  });

  it("stays within 1.8 times the live bytes with 10,000 blocks of 16 bytes to 64 KiB", () => {
    const heap = SizeClassArena.create({ source: new ArrayBuffer(160 << 20) });
    let state = 77;
    const random = (): number => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) / 2 ** 32;
    };
    const sizes: number[] = [];
    const live = Array.from({ length: 10_000 }, () => {
      const size = Math.floor(2 ** (4 + 12 * random()));
      sizes.push(size);
      return heap.alloc(size);
    });
    for (let i = 0; i < 1_000_000; i++) {
      const k = Math.floor(random() * live.length);
      heap.free(live[k]!);
      sizes[k] = Math.floor(2 ** (4 + 12 * random()));
      live[k] = heap.alloc(sizes[k]!);
    }
    const asked = sizes.reduce((sum, size) => sum + size, 0);
    const ratio = heap.stats().peak / asked;
    console.log(`size classes: ${ratio.toFixed(2)} times the live bytes at the peak`);
    expect(ratio).toBeLessThanOrEqual(1.8);
    heap.validate();
  });
});

describe("misuse of size classes", () => {
  it("finds double free, interior and foreign pointers, and changes nothing", () => {
    const heap = heapOf();
    const a = heap.alloc(100);
    heap.alloc(100);
    const span = heap.alloc(5000);
    heap.free(a);
    const before = heap.stats();
    expect(code(() => heap.free(a))).toBe("ERR_DOUBLE_RELEASE");
    expect(code(() => heap.sizeOf(a))).toBe("ERR_USE_AFTER_RELEASE");
    for (const pointer of [a + 16, span + 16, 16, 8, 0, -16, 1.5, Number.NaN, 2 ** 31, 2 ** 33]) {
      expect(code(() => heap.free(pointer))).toBe("ERR_FOREIGN_RELEASE");
    }
    expect(code(() => heap.free("16" as unknown as number))).toBe("ERR_INVALID_ARG_TYPE");
    expect(heap.stats()).toEqual(before);
    heap.validate();
  });

  it("refuses to free its own tables", () => {
    const heap = heapOf();
    heap.alloc(100);
    for (const { pointer, free } of [...heap.arena.blocks()]) {
      if (!free) expect(code(() => heap.free(pointer))).toBe("ERR_FOREIGN_RELEASE");
    }
    heap.validate();
  });

  it.each([0, -1, 1.5, Number.NaN])("refuses a size of %d", (size) => {
    expect(code(() => heapOf().alloc(size))).toBe("ERR_OUT_OF_RANGE");
  });

  it("says so when its buffer was transferred away", () => {
    const heap = heapOf();
    const a = heap.alloc(8);
    structuredClone(heap.bytes.buffer, { transfer: [heap.bytes.buffer as ArrayBuffer] });
    expect([code(() => heap.alloc(8)), code(() => heap.free(a)), code(() => heap.alloc(100_000))]).toEqual([
      "ERR_DETACHED",
      "ERR_DETACHED",
      "ERR_DETACHED",
    ]);
  });
});

describe("size classes against a naive model", () => {
  it("walks of mixed calls leave every block where and what it was", REPEATED, () => {
    const step = fc.record({
      kind: fc.constantFrom("allocate", "allocate", "allocate", "free", "free", "reallocate", "trim", "wrong"),
      size: fc.oneof(
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 9000 }),
        fc.integer({ min: 60_000, max: 90_000 }),
      ),
      pick: fc.nat(1_000_000),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const heap = heapOf(192 * KIB);
        const live: { pointer: number; size: number; mark: number }[] = [];
        let mark = 1;
        const enter = (pointer: number, size: number): void => {
          for (const other of live) {
            if (pointer < other.pointer + other.size && other.pointer < pointer + size) throw new Error("overlap");
          }
          mark = (mark % 250) + 1;
          heap.bytes.fill(mark, pointer, pointer + size);
          live.push({ pointer, size, mark });
        };
        const read = ({ pointer, mark: expected }: { pointer: number; mark: number }, length: number): void => {
          if (heap.bytes.subarray(pointer, pointer + length).some((byte) => byte !== expected)) throw new Error("lost");
        };
        for (const { kind, size, pick } of steps) {
          const k = live.length === 0 ? -1 : pick % live.length;
          if (kind === "allocate") {
            const pointer = heap.alloc(size);
            if (pointer !== 0) enter(pointer, size);
          } else if (kind === "trim") heap.trim();
          else if (kind === "wrong") {
            const pointer = pick % (192 * KIB);
            if (!live.some((entry) => entry.pointer === pointer)) expect(() => heap.free(pointer)).toThrow();
          } else if (k >= 0) {
            const entry = live[k]!;
            read(entry, entry.size);
            if (kind === "free") heap.free(entry.pointer);
            const moved = kind === "reallocate" ? heap.realloc(entry.pointer, size) : 0;
            if (kind === "reallocate" && moved === 0) continue;
            live.splice(k, 1);
            if (moved !== 0) {
              read({ pointer: moved, mark: entry.mark }, Math.min(entry.size, size));
              enter(moved, size);
            }
          }
          heap.validate();
          for (const entry of live) read(entry, entry.size);
        }
        for (const { pointer } of live) heap.free(pointer);
        heap.trim();
        heap.validate();
        expect(heap.stats()).toMatchObject({ classes: [], liveBytes: 0 });
      }),
      { numRuns: times(25, 150, "MILLPOND_WALKS"), seed: seedOf("size classes") },
    );
  });
});

describe("the end of a heap of size classes", () => {
  it("is refused while objects or large blocks are live, names them, and changes nothing", () => {
    const heap = SizeClassArena.create({ source: new ArrayBuffer(1 << 20) });
    const small = [heap.alloc(100), heap.alloc(100), heap.alloc(1000)];
    const large = heap.alloc(100_000);
    heap.free(small[1]!);
    const sizes = [small[0]!, small[2]!, large]
      .map((pointer) => ({ pointer, size: heap.sizeOf(pointer) }))
      .sort((a, b) => a.pointer - b.pointer);
    expect(heap.holders()).toEqual(sizes);
    expect(() => heap.close()).toThrow(
      expect.objectContaining({
        code: "ERR_IN_USE",
        details: { live: 3, pointers: sizes.map(({ pointer }) => pointer) },
      }),
    );
    heap.validate();
    for (const { pointer } of sizes) heap.free(pointer);
    expect(heap.holders()).toEqual([]);
    heap.close();
    heap.close();
  });

  it("by force, or with using, takes live blocks back: every call is ERR_POOL_DEAD", () => {
    const buffer = new ArrayBuffer(1 << 20);
    const heap = SizeClassArena.create({ source: buffer });
    const [small, large] = [heap.alloc(100), heap.alloc(100_000)];
    heap.close({ force: true });
    const calls: (() => unknown)[] = [
      () => heap.alloc(8),
      () => heap.alloc(100_000),
      () => heap.free(small),
      () => heap.free(large),
      () => heap.sizeOf(small),
      () => heap.realloc(small, 8),
      () => heap.trim(),
      () => heap.refresh(),
    ];
    for (const call of calls) expect([String(call), code(call)]).toEqual([String(call), "ERR_POOL_DEAD"]);
    expect(code(() => SizeClassArena.attach({ source: buffer }))).toBe("ERR_BAD_DATA");
    {
      using other = SizeClassArena.create({ source: buffer });
      other.alloc(8);
    }
    expect(code(() => SizeClassArena.attach({ source: buffer }))).toBe("ERR_BAD_DATA");
  });

  it("ends every other view of the bytes too, also where the arena below was closed; stats, holders and validate answer", () => {
    for (const below of [false, true]) {
      const buffer = new ArrayBuffer(1 << 20);
      const heap = SizeClassArena.create({ source: buffer });
      const view = SizeClassArena.attach({ source: buffer });
      const [small, freed, large] = [heap.alloc(100), heap.alloc(100), heap.alloc(100_000)];
      heap.free(freed);
      (below ? heap.arena : heap).close({ force: true });
      const before = new Uint8Array(buffer.slice(0));
      for (const one of [view, heap]) {
        const calls: (() => unknown)[] = [
          () => one.alloc(100),
          () => one.alloc(8),
          () => one.alloc(100_000),
          () => one.free(small),
          () => one.free(freed),
          () => one.free(large),
          () => one.sizeOf(small),
          () => one.realloc(small, 8),
          () => one.trim(),
        ];
        for (const call of calls) expect([String(call), code(call)]).toEqual([String(call), "ERR_POOL_DEAD"]);
        one.validate();
        expect([one.holders(), one.stats()]).toEqual([[], { classes: [], liveBytes: 0, used: 0, peak: 0 }]);
      }
      expect(new Uint8Array(buffer)).toEqual(before);
    }
  });

  it("a view that is kept over it stays dead when another arena is made of the bytes, and touches nothing of that", () => {
    for (const make of [
      (source: ArrayBuffer) => SizeClassArena.create({ source }),
      (source: ArrayBuffer) => SizeClassArena.create({ source, byteLength: 1 << 17 }),
      (source: ArrayBuffer) => TlsfArena.create({ source }),
      (source: ArrayBuffer) => TlsfArena.create({ source, byteLength: 1 << 17 }),
    ]) {
      for (const fill of [0, 1, 0x11, 0xff]) {
        const buffer = new ArrayBuffer(1 << 18);
        const heap = SizeClassArena.create({ source: buffer });
        const view = SizeClassArena.attach({ source: buffer });
        const [small, freed, large] = [view.alloc(16), view.alloc(100), view.alloc(70_000)];
        view.free(freed);
        heap.close({ force: true });
        const next = make(buffer);
        const blocks = Array.from({ length: 8 }, () => next.alloc(4096));
        for (const block of blocks) next.bytes.fill(fill, block, block + 4096);
        const before = new Uint8Array(buffer.slice(0));
        const calls: (() => unknown)[] = [
          () => view.alloc(16),
          () => view.alloc(4000),
          () => view.alloc(70_000),
          () => view.free(small),
          () => view.free(freed),
          () => view.free(large),
          () => view.free(blocks[0]!),
          () => view.sizeOf(blocks[0]!),
          () => view.realloc(small, 8),
          () => view.trim(),
        ];
        for (const call of calls)
          expect([fill, String(call), code(call)]).toEqual([fill, String(call), "ERR_POOL_DEAD"]);
        expect([view.isLive(small), view.isLive(blocks[0]!)]).toEqual([false, false]);
        view.validate();
        expect([view.holders(), view.stats()]).toEqual([[], { classes: [], liveBytes: 0, used: 0, peak: 0 }]);
        view.close();
        expect(new Uint8Array(buffer)).toEqual(before);
        next.validate();
      }
    }
  });

  it("a heap over a live one is refused; one that does not fit leaves no arena behind", () => {
    const buffer = new ArrayBuffer(1 << 20);
    const heap = SizeClassArena.create({ source: buffer });
    const pointer = heap.alloc(100);
    expect(code(() => SizeClassArena.create({ source: buffer }))).toBe("ERR_ALREADY_EXISTS");
    expect(heap.sizeOf(pointer)).toBe(112);
    heap.validate();
    heap.close({ force: true });
    for (let i = 0; i < 2; i++) {
      expect(code(() => SizeClassArena.create({ source: buffer, initial: 4096 }))).toBe("ERR_OUT_OF_RANGE");
    }
    SizeClassArena.create({ source: buffer }).close();
  });

  it("a span or table that is freed on the arena below is refused in words of the heap", () => {
    const heap = SizeClassArena.create({ source: new ArrayBuffer(1 << 20) });
    heap.alloc(16);
    const tagged = [...heap.arena.blocks()].filter((block) => block.tagged);
    expect(tagged.length).toBeGreaterThan(1);
    for (const { pointer } of tagged) {
      expect(() => heap.arena.free(pointer)).toThrow(
        expect.objectContaining({
          code: "ERR_FOREIGN_RELEASE",
          message: expect.stringMatching(/objects or tables of a SizeClassArena; free\(\) the objects there/),
        }),
      );
    }
    heap.validate();
  });
});
