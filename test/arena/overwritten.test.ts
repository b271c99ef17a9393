// Shares its realm with other files: nothing that it changes outlives it.
/**
 * Words of an arena that something wrote over: every walk ends, and says `ERR_CORRUPTED` or answers. What has no bound
 * would run into the time that ends a test that hangs.
 */
import { describe, expect, test } from "vitest";
import { SizeClassArena } from "../../src/arena/size-class/size-class-arena.ts";
import { TlsfArena } from "../../src/arena/tlsf/tlsf-arena.ts";
import { isMillpondError } from "../../src/util/errors.ts";

const BYTES = 65_536;
const VALUES = [-1, 0, 1, 4, 4096, 30_000_000, 0x4000_0000, 0x7fff_ffff, -0x8000_0000];

/** The bytes of an arena with objects of two classes, some free, and a large block. */
function image(make: (source: ArrayBuffer) => SizeClassArena | TlsfArena): ArrayBuffer {
  const source = new ArrayBuffer(BYTES);
  const arena = make(source);
  const pointers = Array.from({ length: 12 }, (_, i) => arena.alloc(i % 3 === 0 ? 300 : 64));
  arena.alloc(20_000);
  for (const i of [1, 4, 6, 7]) arena.free(pointers[i]!);
  return source;
}

const CALLS: Record<string, (arena: SizeClassArena | TlsfArena) => unknown> = {
  validate: (arena) => arena.validate(),
  stats: (arena) => arena.stats(),
  holders: (arena) => arena.holders(),
  trim: (arena) => (arena instanceof SizeClassArena ? arena.trim() : 0),
  "free of a pointer inside": (arena) => arena.free(24),
  "alloc of more than there is": (arena) => arena.alloc(60_000),
  close: (arena) => arena.close(),
  "close by force": (arena) => arena.close({ force: true }),
};

describe.each([
  [
    "SizeClassArena",
    (source: ArrayBuffer) => SizeClassArena.create({ source }),
    (s: ArrayBuffer) => SizeClassArena.attach({ source: s }),
  ],
  [
    "TlsfArena",
    (source: ArrayBuffer) => TlsfArena.create({ source }),
    (s: ArrayBuffer) => TlsfArena.attach({ source: s }),
  ],
] as const)("%s", (_name, create, attach) => {
  test.each(Object.keys(CALLS))("%s ends, whichever word was written over, with what", (call) => {
    const good = new Int32Array(image(create));
    const source = new ArrayBuffer(BYTES);
    const words = new Int32Array(source);
    for (let at = 0; at < good.length; at++) {
      // Words that hold something, and those beside them: the rest are objects' own bytes.
      if (good[at] === 0 && good[at - 1] === 0 && good[at + 1] === 0) continue;
      for (const value of VALUES) {
        words.set(good);
        let arena: SizeClassArena | TlsfArena;
        try {
          arena = attach(source);
          words[at] = value;
          CALLS[call]!(arena);
        } catch (error) {
          if (!isMillpondError(error)) throw new Error(`word ${at} = ${value}`, { cause: error });
        }
      }
    }
  });
});

test("validate() and trim() of a size class whose record was written over say so, and trim() has changed nothing", () => {
  for (const value of [30_000_000, 300_000_000]) {
    const source = new ArrayBuffer(BYTES);
    const arena = SizeClassArena.create({ source });
    const pointers = [1, 2, 3, 4, 5].map(() => arena.alloc(64));
    for (const pointer of pointers) arena.free(pointer);
    const words = new Int32Array(source);
    const good = words.slice();
    // Every word that leads to the same class, one after the other.
    let refused = 0;
    for (let at = 0; at < 1024; at++) {
      words.set(good);
      words[at] = value;
      const before = words.slice();
      try {
        arena.validate();
      } catch (error) {
        expect(error).toMatchObject({ code: "ERR_CORRUPTED" });
        refused++;
      } finally {
        expect(Buffer.compare(Buffer.from(words.buffer), Buffer.from(before.buffer))).toBe(0);
      }
    }
    expect(refused).toBeGreaterThan(10);
    words.set(good);
    arena.validate();
    expect(arena.trim()).toBeGreaterThan(0);
    arena.validate();
  }
});

test("a list of segments that runs in a circle ends every call that walks it", () => {
  const make = (): { words: Int32Array; arena: TlsfArena } => {
    const source = new ArrayBuffer(BYTES);
    const arena = TlsfArena.create({ source, initial: 16_384 });
    arena.addSegment(32_768, 8192);
    const words = new Int32Array(source);
    words[32_768 / 4] = 32_768 / 4;
    return { words, arena };
  };
  for (const call of [
    (arena: TlsfArena) => arena.validate(),
    (arena: TlsfArena) => arena.stats(),
    (arena: TlsfArena) => arena.holders(),
    (arena: TlsfArena) => arena.free(50_000),
    (arena: TlsfArena) => arena.removeSegment(8),
    (arena: TlsfArena) => arena.addSegment(49_152, 8192),
  ]) {
    expect(() => call(make().arena)).toThrow(expect.objectContaining({ code: "ERR_CORRUPTED" }));
  }
  // Nothing is live, so nothing is walked.
  make().arena.close();
});

test.each([
  ["no object that does not lie in a shared arena", new SharedArrayBuffer(BYTES), 300],
  ["no pointer outside an arena", new ArrayBuffer(BYTES), 1],
])("alloc() of a SizeClassArena gives %s, whichever word was written over", (_, source, most) => {
  const good = new Int32Array(image((made) => SizeClassArena.create({ source: made })));
  const words = new Int32Array(source);
  const outside: string[] = [];
  let refused = 0;
  for (let at = 0; at < good.length; at++) {
    if (good[at] === 0 && good[at - 1] === 0 && good[at + 1] === 0) continue;
    for (const value of [...VALUES, BYTES - 16, BYTES]) {
      words.set(good);
      let arena: SizeClassArena;
      try {
        arena = SizeClassArena.attach({ source });
        words[at] = value;
        // The objects that wait on the stacks, then fresh ones, then those of a new span.
        for (let i = 0; i < 90; i++) {
          const size = i % 2 === 0 ? 64 : 300;
          const pointer = arena.alloc(size);
          if (pointer + Math.min(size, most) > BYTES) outside.push(`word ${at} = ${value}: ${pointer}`);
        }
      } catch (error) {
        if (!isMillpondError(error)) throw new Error(`word ${at} = ${value}`, { cause: error });
        if (error.code === "ERR_CORRUPTED") refused++;
      }
    }
  }
  expect(outside).toEqual([]);
  expect(refused).toBeGreaterThan(10);
});

test("alloc() that refuses a stack or a fresh object has changed nothing", () => {
  for (const waiting of [true, false]) {
    const source = new SharedArrayBuffer(2 * 1024 * 1024);
    const arena = SizeClassArena.create({ source });
    const first = arena.alloc(64);
    if (waiting) arena.free(first);
    const words = new Int32Array(source);
    const good = words.slice();
    let refused = 0;
    for (let at = 0; at < 8192; at++) {
      if (good[at] !== (waiting ? first : first + 64)) continue;
      for (const value of [-16, 0x7fff_fff0, source.byteLength, source.byteLength - 16]) {
        words.set(good);
        words[at] = value;
        const before = words.slice();
        try {
          arena.alloc(64);
        } catch (error) {
          expect(error).toMatchObject({ code: "ERR_CORRUPTED" });
          expect(Buffer.compare(Buffer.from(words.buffer), Buffer.from(before.buffer))).toBe(0);
          refused++;
        }
      }
    }
    expect(refused).toBeGreaterThanOrEqual(4);
    words.set(good);
    arena.validate();
  }
});
