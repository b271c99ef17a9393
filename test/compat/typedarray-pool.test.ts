/**
 * The drop-in for `typedarray-pool`: the cases of that package's own tests, restated, against both; then what the
 * package does silently and the drop-in refuses; then ages and bounds.
 */
import { createRequire } from "node:module";
import { afterEach, describe, expect, it } from "vitest";
import { createTypedArrayPool, type TypedArrayPool } from "../../src/compat/typedarray-pool/pool.ts";
import * as door from "../../src/compat/typedarray-pool.ts";
import { FakeClock } from "../../src/util/clock.ts";
import type { MillpondError } from "../../src/util/errors.ts";
import { lateErrors } from "../helpers/late-errors.ts";
import { code } from "../pools/buffer/pools.ts";
import { thrownBy } from "./thrown-by.ts";

type Door = typeof door;
const original = createRequire(import.meta.url)("typedarray-pool") as Door;

/** The data types of the package, with the class of each and the call that makes it without a dispatch. */
const TYPES = [
  ["uint8", Uint8Array, "Uint8"],
  ["uint16", Uint16Array, "Uint16"],
  ["uint32", Uint32Array, "Uint32"],
  ["int8", Int8Array, "Int8"],
  ["int16", Int16Array, "Int16"],
  ["int32", Int32Array, "Int32"],
  ["float", Float32Array, "Float"],
  ["float32", Float32Array, "Float32"],
  ["double", Float64Array, "Double"],
  ["float64", Float64Array, "Float64"],
  ["uint8_clamped", Uint8ClampedArray, "Uint8Clamped"],
  ["bigint64", BigInt64Array, "BigInt64"],
  ["biguint64", BigUint64Array, "BigUint64"],
] as const;

type AnyArray = InstanceType<(typeof TYPES)[number][1]>;
type Call = (value: unknown) => unknown;

function calls(pool: Door): Readonly<Record<string, Call>> {
  return pool as unknown as Readonly<Record<string, Call>>;
}

const clocks: FakeClock[] = [];

/** A pool of its own on a clock that is moved by hand. */
function poolWith(options: door.TypedArrayPoolOptions = {}): { pool: TypedArrayPool; clock: FakeClock } {
  const pool = createTypedArrayPool();
  const clock = new FakeClock();
  clocks.push(clock);
  pool.configure({ clock, ...options });
  return { pool, clock };
}

describe.each([
  ["the package itself", original],
  ["the drop-in", door],
] as const)("%s, as its own tests have it", (_name, pool) => {
  it("mallocs every data type by name and frees it by free()", () => {
    pool.clearCache();
    for (let n = 1; n < 100; n++) {
      for (const [dtype, type] of TYPES) {
        const array = pool.malloc(n, dtype) as AnyArray;
        expect(array).toBeInstanceOf(type);
        expect(Buffer.isBuffer(array)).toBe(false);
        expect([array.length, array.byteOffset]).toEqual([n, 0]);
        pool.free(array);
      }
      const buffer = pool.malloc(n, "buffer");
      expect(Buffer.isBuffer(buffer)).toBe(true);
      expect(buffer.length).toBeGreaterThanOrEqual(n);
      pool.free(buffer);
      for (const bytes of [pool.malloc(n), pool.malloc(n, "arraybuffer")]) {
        expect(bytes).toBeInstanceOf(ArrayBuffer);
        expect(bytes.byteLength).toBe(2 ** Math.ceil(Math.log2(n)));
        pool.free(bytes);
      }
      for (const dtype of ["data", "dataview"] as const) {
        const view = pool.malloc(n, dtype);
        expect(view).toBeInstanceOf(DataView);
        expect(view.byteLength).toBe(n);
        pool.free(view);
      }
    }
    expect(pool.malloc(4, "nothing")).toBeNull();
    pool.clearCache();
  });

  it("knows no data type null, as the package does not", () => {
    expect(pool.malloc(4, null as never)).toBeNull();
    expect(pool.malloc(4, undefined)).toBeInstanceOf(ArrayBuffer);
  });

  it("mallocs and frees every data type by the call of its own", () => {
    for (let n = 1; n < 100; n++) {
      for (const [, type, name] of TYPES) {
        const array = calls(pool)[`malloc${name}`]!(n) as AnyArray;
        expect(array).toBeInstanceOf(type);
        expect(array.length).toBe(n);
        calls(pool)[`free${name}`]!(array);
      }
      const buffer = pool.mallocBuffer(n);
      expect([Buffer.isBuffer(buffer), buffer.length]).toEqual([true, 2 ** Math.ceil(Math.log2(n))]);
      pool.freeBuffer(buffer);
      const bytes = pool.mallocArrayBuffer(n);
      expect(bytes.byteLength).toBeGreaterThanOrEqual(n);
      pool.freeArrayBuffer(bytes);
      const view = pool.mallocDataView(n);
      expect([view instanceof DataView, view.byteLength]).toEqual([true, n]);
      pool.freeDataView(view);
    }
    pool.clearCache();
  });

  it("keeps the bytes of what was freed, for any type of the same power of two, last in, first out", () => {
    pool.clearCache();
    const first = pool.mallocFloat(9);
    first[0] = 1.5;
    const second = pool.mallocUint8(64);
    const { buffer } = second;
    pool.free(first);
    pool.free(second);
    expect(pool.mallocDouble(5).buffer).toBe(buffer);
    const again = pool.mallocInt32(16);
    expect([again.buffer === first.buffer, new Float32Array(again.buffer)[0]]).toEqual([true, 1.5]);
    pool.free(again);
    pool.clearCache();
    expect(pool.mallocUint8(64).buffer).not.toBe(again.buffer);
  });

  it("takes a view of the same bytes, or their ArrayBuffer, for the array", () => {
    pool.clearCache();
    const array = pool.mallocFloat(16);
    pool.free(array.subarray(2, 4));
    const again = pool.mallocUint8(33);
    expect(again.buffer).toBe(array.buffer);
    pool.freeArrayBuffer(again.buffer);
    const third = pool.mallocInt16(20);
    expect(third.buffer).toBe(array.buffer);
    pool.freeUint8(third as never);
    pool.clearCache();
  });

  it("takes a view that the caller keeps for each lease of an ArrayBuffer", () => {
    pool.clearCache();
    const views = new Map<ArrayBuffer, Uint8Array>();
    for (let n = 0; n < 3; n++) {
      const buffer = pool.mallocArrayBuffer(64);
      const view = views.get(buffer) ?? new Uint8Array(buffer);
      views.set(buffer, view);
      pool.free(view);
    }
    expect(views.size).toBe(1);
    pool.clearCache();
  });

  it("gives no elements for 0, and whole elements for a fraction", () => {
    for (const n of [0, 0.5, 1.5, 7.9, 100.25]) {
      const array = pool.mallocDouble(n);
      expect([array.length, array.buffer.byteLength >= 8 * n]).toEqual([Math.floor(n), true]);
      pool.free(array);
    }
    expect(pool.mallocArrayBuffer(0).byteLength).toBe(1);
    pool.clearCache();
  });
});

describe("the package and the drop-in export", () => {
  it("the drop-in has the functions of the package, and two more", () => {
    const more = Object.keys(door).filter((name) => !(name in original));
    expect(more.sort()).toEqual(["configure", "stats"]);
    for (const name of Object.keys(original)) expect(typeof calls(door)[name]).toBe("function");
  });
});

describe("what the package corrupts", () => {
  it("two owners have the same bytes after a double free; the drop-in throws at the second free", () => {
    original.clearCache();
    const victim = original.mallocUint8(64);
    original.free(victim);
    original.free(victim);
    const [one, two] = [original.mallocUint8(64), original.mallocUint8(64)];
    one[0] = 42;
    expect([one.buffer === two.buffer, two[0]]).toEqual([true, 42]);
    original.clearCache();

    const { pool } = poolWith();
    const array = pool.mallocUint8(64);
    pool.free("freeUint8", array);
    const error = thrownBy(() => pool.free("freeUint8", array));
    expect(error.code).toBe("ERR_DOUBLE_RELEASE");
    expect(error.message).toMatch(/^freeUint8\(\): Uint8Array\(64\) was freed already/);
    expect(pool.mallocUint8(64).buffer).not.toBe(pool.mallocUint8(64).buffer);
  });

  it("a double free is found also when the bytes are another array's by now", () => {
    original.clearCache();
    const stale = original.mallocFloat(16);
    original.free(stale);
    const owner = original.mallocFloat(16);
    original.free(stale);
    expect(original.mallocFloat(16).buffer).toBe(owner.buffer);
    original.clearCache();

    for (const name of [...TYPES.map(([, , type]) => type), "DataView", "Buffer"]) {
      const malloc = (): ArrayBufferView => calls(door)[`malloc${name}`]!(16) as ArrayBufferView;
      door.clearCache();
      const before = malloc();
      door.free(before);
      const after = malloc();
      expect(after.buffer).toBe(before.buffer);
      expect(code(() => door.free(before))).toBe("ERR_DOUBLE_RELEASE");
      expect(malloc().buffer).not.toBe(after.buffer);
      door.free(after);
    }
  });

  it("the same for an array that takes no mark, because the caller made it non-extensible", () => {
    const { pool } = poolWith();
    const arrays = [pool.mallocUint8(8), pool.mallocFloat(1024)];
    for (const array of arrays) {
      pool.free("free", Object.preventExtensions(array));
      const after = pool.mallocUint8(array.byteLength);
      expect(after.buffer).toBe(array.buffer);
      expect(code(() => pool.free("free", array))).toBe("ERR_DOUBLE_RELEASE");
      pool.free("free", after);
    }
    expect(pool.stats()).toMatchObject({ live: 0, idle: 2, refused: 2, frees: 4 });
  });

  it("the same for an array that takes no mark and does not say so, as in code that is not strict", () => {
    const { pool } = poolWith();
    const array = pool.mallocUint8(64);
    Object.setPrototypeOf(array, new Proxy(Uint8Array.prototype, { set: () => true }));
    pool.free("free", array);
    const after = pool.mallocUint8(64);
    expect(after.buffer).toBe(array.buffer);
    expect(code(() => pool.free("free", array))).toBe("ERR_DOUBLE_RELEASE");
    expect(pool.mallocUint8(64).buffer).not.toBe(after.buffer);
  });

  it("a foreign array becomes the next malloc's bytes; the drop-in refuses it and takes nothing", () => {
    original.clearCache();
    const mine = new Uint8Array(64);
    original.free(mine);
    expect(original.mallocUint8(64).buffer).toBe(mine.buffer);
    original.clearCache();

    const { pool } = poolWith();
    const other = createTypedArrayPool();
    const foreign: readonly object[] = [
      mine,
      mine.buffer,
      Buffer.alloc(64),
      new SharedArrayBuffer(64),
      new Uint8Array(new SharedArrayBuffer(64)),
      new DataView(new ArrayBuffer(8)),
      other.mallocUint8(64),
      original.mallocUint8(64),
      new Proxy(pool.mallocUint8(64), {}),
      new Proxy(pool.mallocArrayBuffer(64), {}),
      { buffer: pool.mallocUint8(64).buffer, byteLength: 64 },
      [1, 2, 3],
      {},
      Object.defineProperty(new Uint8Array(8), "buffer", { value: 5 }),
      Object.create(Uint8Array.prototype),
    ];
    for (const array of foreign) {
      const error = thrownBy(() => pool.free("free", array as never));
      expect([error.code, error.message]).toEqual([
        "ERR_FOREIGN_RELEASE",
        expect.stringMatching(/^free\(\): .* is not from/),
      ]);
    }
    for (const none of [undefined, null, 5, "x", 5n, Symbol("x"), () => 0]) {
      expect(code(() => pool.free("free", none as never))).toBe("ERR_INVALID_ARG_TYPE");
    }
    expect(pool.stats()).toMatchObject({ idle: 0, frees: 0, refused: foreign.length + 7 });
  });

  it("an array that was transferred away comes back as no bytes; the drop-in says so", () => {
    original.clearCache();
    const sent = original.mallocUint8(64);
    structuredClone(sent, { transfer: [sent.buffer] });
    original.free(sent);
    expect(original.mallocArrayBuffer(1).byteLength).toBe(0);
    original.clearCache();

    const { pool } = poolWith();
    const makers = [pool.mallocUint8, pool.mallocDataView, pool.mallocBuffer, pool.mallocDouble] as const;
    for (const malloc of makers) {
      const array = malloc(64);
      structuredClone(array, { transfer: [array.buffer] });
      expect(thrownBy(() => pool.free("free", array)).code).toBe("ERR_DETACHED");
      // What is gone is gone: the second free is one too many.
      expect(thrownBy(() => pool.free("free", array)).code).toBe("ERR_DOUBLE_RELEASE");
    }
    const buffer = pool.mallocArrayBuffer(64);
    structuredClone(buffer, { transfer: [buffer] });
    expect(thrownBy(() => pool.free("freeArrayBuffer", buffer)).message).toMatch(
      /^freeArrayBuffer\(\): .*block of 64 bytes/,
    );
    expect(pool.stats()).toMatchObject({ live: 0, liveBytes: 0, idle: 0, detached: 5, mallocs: 5, frees: 0 });
  });

  it("idle bytes that someone transferred after the free are not given out", () => {
    const { pool } = poolWith();
    for (const malloc of [pool.mallocUint8, pool.mallocArrayBuffer, pool.mallocBuffer, pool.mallocDataView]) {
      const [one, two, three] = [malloc(64), malloc(64), malloc(64)];
      const bytesOf = (array: object): ArrayBuffer => ("buffer" in array ? array.buffer : array) as ArrayBuffer;
      for (const array of [one, two, three]) pool.free("free", array);
      structuredClone(0, { transfer: [bytesOf(three), bytesOf(two)] });
      expect(bytesOf(malloc(64))).toBe(bytesOf(one));
      expect(malloc(64).byteLength).toBe(64);
      pool.clearCache();
    }
    expect(pool.stats()).toMatchObject({ detached: 8, idle: 0, idleBytes: 0, hits: 4, misses: 16 });
  });

  it("a free that does nothing there, or pools the wrong thing, takes the array back here", () => {
    original.clearCache();
    const view = original.mallocUint8(64);
    original.freeArrayBuffer(view as never);
    expect(original.mallocArrayBuffer(64)).toBeInstanceOf(Uint8Array);
    const lost = original.mallocArrayBuffer(64);
    original.freeUint8(lost as never);
    expect(original.mallocArrayBuffer(64)).not.toBe(lost);
    original.clearCache();

    door.clearCache();
    const array = door.mallocUint8(64);
    door.freeArrayBuffer(array);
    const buffer = door.mallocArrayBuffer(64);
    expect(buffer).toBe(array.buffer);
    door.freeUint8(buffer);
    expect(door.mallocArrayBuffer(64)).toBe(buffer);
    door.freeArrayBuffer(buffer);
  });

  it("Buffers have the lists of all types, and each is an object of its own", () => {
    const { pool } = poolWith();
    const array = pool.mallocFloat(16);
    pool.free("free", array);
    const first = pool.mallocBuffer(50);
    expect([first.buffer === array.buffer, first.length, first.byteOffset]).toEqual([true, 64, 0]);
    pool.free("freeBuffer", first);
    const second = pool.mallocBuffer(50);
    expect([second.buffer === first.buffer, second === first]).toEqual([true, false]);
  });

  it("2 GiB and more give an empty buffer there; here they are made, or refused", () => {
    expect(original.mallocArrayBuffer(2 ** 31 + 1).byteLength).toBe(0);
    const { pool } = poolWith();
    for (const n of [2 ** 32 + 1, Infinity, -1, NaN, -Infinity]) {
      expect(thrownBy(() => pool.mallocArrayBuffer(n)).code).toBe("ERR_OUT_OF_RANGE");
    }
    const error = thrownBy(() => pool.mallocDouble(2 ** 29 + 1));
    expect(error.message).toMatch(/^mallocDouble\(\): n must be a number of elements from 0 to 536870912/);
    for (const n of [undefined, null, "16", 16n, {}, [16]]) {
      expect(thrownBy(() => pool.mallocUint16(n as never)).code).toBe("ERR_INVALID_ARG_TYPE");
    }
    expect(pool.stats()).toMatchObject({ mallocs: 0, live: 0 });
  });

  it("no memory is a typed error, after what is idle was let go", () => {
    const { pool } = poolWith();
    pool.free("free", pool.mallocUint8(64));
    const system = globalThis.ArrayBuffer;
    let tries = 0;
    const refusing = function refusing(): never {
      tries++;
      throw new RangeError("Array buffer allocation failed");
    };
    globalThis.ArrayBuffer = Object.assign(refusing, { isView: system.isView }) as never;
    let error: MillpondError;
    try {
      error = thrownBy(() => pool.mallocUint8(4096));
    } finally {
      globalThis.ArrayBuffer = system;
    }
    expect([error.code, tries, pool.stats().evicted]).toEqual(["ERR_ALLOCATION_FAILED", 2, 1]);
    expect(pool.mallocUint8(4096).length).toBe(4096);
  });
});

describe("revoke", () => {
  it("ends every view of a freed array, so that no second way to its bytes is left", () => {
    const { pool } = poolWith({ revoke: true });
    const array = pool.mallocFloat(16);
    const own = array.subarray(0, 4);
    array[0] = 2.5;
    pool.free("free", array);
    expect([array.length, own.length, array[0]]).toEqual([0, 0, undefined]);
    const next = pool.mallocFloat(16);
    // The same memory, under an ArrayBuffer of its own.
    expect([next[0], next.buffer === own.buffer]).toEqual([2.5, false]);
    expect(code(() => pool.free("free", own))).toBe("ERR_DOUBLE_RELEASE");
    const buffer = pool.mallocArrayBuffer(8);
    pool.free("free", buffer);
    const other = pool.mallocArrayBuffer(8);
    expect(code(() => pool.free("free", buffer))).toBe("ERR_DOUBLE_RELEASE");
    expect([buffer.byteLength, other.byteLength]).toEqual([0, 8]);
    expect(pool.stats()).toMatchObject({ live: 2, hits: 2, misses: 2, detached: 0, refused: 2 });
  });

  it("off, an ArrayBuffer and views of the caller's own are what cannot be told apart", () => {
    const { pool } = poolWith();
    const array = pool.mallocFloat(16);
    const own = array.subarray(0, 4);
    pool.free("free", array);
    expect(code(() => pool.free("free", own))).toBe("ERR_DOUBLE_RELEASE");
    const next = pool.mallocFloat(16);
    expect(code(() => pool.free("free", own))).toBe("ok");
    expect(code(() => pool.free("free", next))).toBe("ERR_DOUBLE_RELEASE");
  });
});

describe("onMisuse", () => {
  it("gets the error instead of the caller, and what was refused is not pooled", () => {
    const seen: string[] = [];
    const { pool } = poolWith({ onMisuse: (error) => seen.push(error.code) });
    const array = pool.mallocUint8(8);
    pool.free("free", array);
    pool.free("free", array);
    pool.free("free", new Uint8Array(8));
    pool.free("free", undefined as never);
    expect(seen).toEqual(["ERR_DOUBLE_RELEASE", "ERR_FOREIGN_RELEASE", "ERR_INVALID_ARG_TYPE"]);
    expect(pool.stats()).toMatchObject({ idle: 1, frees: 1, refused: 3 });
    pool.configure({ onMisuse: undefined });
    pool.free("free", array);
    expect(seen).toHaveLength(4);
    pool.configure({ onMisuse: null });
    expect(code(() => pool.free("free", array))).toBe("ERR_DOUBLE_RELEASE");
  });

  it("may call back into the pool, and may throw", () => {
    const { pool } = poolWith();
    const array = pool.mallocUint8(8);
    pool.configure({
      onMisuse(error) {
        pool.free("free", pool.mallocUint8(8));
        pool.clearCache();
        throw error;
      },
    });
    pool.free("free", array);
    expect(code(() => pool.free("free", array))).toBe("ERR_DOUBLE_RELEASE");
    expect(pool.stats()).toMatchObject({ live: 0, idle: 0, idleBytes: 0, liveBytes: 0 });
  });
});

describe("ages and bounds", () => {
  it("an idle block goes when it is as old as ageOut, and at most a quarter later", () => {
    const { pool, clock } = poolWith({ ageOut: 1000 });
    const [one, two] = [pool.mallocUint8(64), pool.mallocFloat(1000)];
    expect(clock.pending).toBe(0);
    pool.free("free", one);
    clock.advance(600);
    pool.free("free", two);
    clock.advance(399);
    expect(pool.stats()).toMatchObject({ idle: 2, agedOut: 0 });
    clock.advance(251);
    expect(pool.stats()).toMatchObject({ idle: 1, idleBytes: 4096, agedOut: 1 });
    clock.advance(349);
    expect(pool.stats().idle).toBe(1);
    clock.advance(251);
    expect(pool.stats()).toMatchObject({ idle: 0, idleBytes: 0, liveBytes: 0, agedOut: 2 });
    // No timer while nothing is idle: an idle program has nothing to do.
    expect(clock.pending).toBe(0);
    expect(code(() => pool.free("free", one))).toBe("ERR_DOUBLE_RELEASE");
  });

  it("what is in use again in time is young again, and the oldest of a list go first", () => {
    const { pool, clock } = poolWith({ ageOut: 1000 });
    const arrays = Array.from({ length: 4 }, () => pool.mallocUint8(64));
    for (const array of arrays) pool.free("free", array);
    for (let time = 0; time < 5000; time += 250) {
      clock.advance(250);
      pool.free("free", pool.mallocUint8(64));
    }
    expect(pool.stats()).toMatchObject({ idle: 1, agedOut: 3, misses: 4 });
  });

  it("0 keeps nothing, Infinity everything, without a timer", () => {
    const none = poolWith({ ageOut: 0 });
    none.pool.free("free", none.pool.mallocUint8(64));
    expect([none.pool.stats().idle, none.pool.stats().agedOut, none.clock.pending]).toEqual([0, 1, 0]);
    const all = poolWith({ ageOut: Infinity });
    all.pool.free("free", all.pool.mallocUint8(64));
    all.clock.advance(1e9);
    expect([all.pool.stats().idle, all.clock.pending]).toEqual([1, 0]);
    all.pool.configure({ ageOut: 100 });
    all.clock.advance(125);
    expect([all.pool.stats().idle, all.clock.pending]).toEqual([0, 0]);
    all.pool.free("free", all.pool.mallocUint8(64));
    all.pool.configure({ ageOut: 0 });
    expect([all.pool.stats().idle, all.clock.pending]).toEqual([0, 0]);
  });

  it("never keeps more than maxIdleBytes; the oldest make room", () => {
    const { pool, clock } = poolWith({ maxIdleBytes: 4096, ageOut: 1e6 });
    const [old, small, large] = [pool.mallocUint8(2048), pool.mallocUint8(1024), pool.mallocUint8(4096)];
    pool.free("free", old);
    clock.advance(250_000);
    pool.free("free", small);
    expect(pool.stats().idleBytes).toBe(3072);
    pool.free("free", pool.mallocUint8(2000));
    clock.advance(250_000);
    pool.free("free", large);
    expect(pool.stats()).toMatchObject({ idle: 1, idleBytes: 4096, evicted: 2 });
    pool.free("free", pool.mallocUint8(8192));
    expect(pool.stats()).toMatchObject({ idle: 1, idleBytes: 4096, evicted: 3, liveBytes: 0 });
    pool.configure({ maxIdleBytes: 0 });
    expect(pool.stats()).toMatchObject({ idle: 0, idleBytes: 0, evicted: 4 });
    pool.free("free", pool.mallocUint8(1));
    expect(pool.stats().idle).toBe(0);
    expect(clock.pending).toBeLessThan(2);
  });

  it("stats() adds up after any order of calls", () => {
    const { pool, clock } = poolWith({ ageOut: 100, maxIdleBytes: 1 << 14 });
    const live: ArrayBufferView[] = [];
    let frees = 0;
    for (let step = 0; step < 4000; step++) {
      const choice = (step * 7919) % 11;
      if (choice < 6) live.push(pool.mallocFloat((step * 104729) % 3000));
      else if (choice < 10 && live.length > 0) {
        pool.free("free", live.splice((step * 31) % live.length, 1)[0]!);
        frees++;
      } else clock.advance(10);
      const stats = pool.stats();
      expect([stats.live, stats.frees, stats.hits + stats.misses]).toEqual([live.length, frees, stats.mallocs]);
      expect(stats.idleBytes).toBeLessThanOrEqual(1 << 14);
      expect(stats.misses).toBe(stats.live + stats.idle + stats.agedOut + stats.evicted);
      expect(stats.peakBytes).toBeGreaterThanOrEqual(stats.liveBytes + stats.idleBytes);
    }
    expect(new Set(live.map(({ buffer }) => buffer)).size).toBe(live.length);
  });

  it("refuses options that it does not know or that cannot be, and keeps those it has", () => {
    const { pool } = poolWith({ ageOut: 1000 });
    for (const [options, expected] of [
      [{ ageout: 5 }, "ERR_INVALID_ARG_VALUE"],
      [{ ageOut: -1 }, "ERR_OUT_OF_RANGE"],
      [{ ageOut: 5, maxIdleBytes: NaN }, "ERR_OUT_OF_RANGE"],
      [{ ageOut: 5, revoke: 1 }, "ERR_INVALID_ARG_TYPE"],
      [{ ageOut: 5, onMisuse: 1 }, "ERR_INVALID_ARG_TYPE"],
      [{ ageOut: 5, clock: {} }, "ERR_INVALID_ARG_TYPE"],
      [5, "ERR_INVALID_ARG_TYPE"],
      [undefined, "ERR_INVALID_ARG_TYPE"],
    ] as const) {
      expect(code(() => pool.configure(options as never))).toBe(expected);
    }
    const { clock } = poolWith();
    pool.configure({ clock });
    pool.free("free", pool.mallocUint8(8));
    clock.advance(500);
    expect(pool.stats().idle).toBe(1);
  });

  it("a clock that calls back, twice, or after it was told not to, ages nothing sooner", () => {
    const timers: (() => void)[] = [];
    const pool = createTypedArrayPool();
    const spare = pool.mallocUint8(64);
    let frees = 0;
    pool.configure({
      ageOut: 1000,
      clock: {
        now: () => 0,
        setTimer(fn) {
          if (frees++ === 0) pool.free("free", spare);
          return timers.push(fn);
        },
        clearTimer: () => undefined,
      },
    });
    pool.free("free", pool.mallocUint8(8));
    expect([timers.length, pool.stats().idle]).toEqual([1, 2]);
    const [first] = timers;
    for (let n = 0; n < 10; n++) first!();
    expect([timers.length, pool.stats().idle]).toEqual([2, 2]);
    pool.clearCache();
    pool.free("free", pool.mallocUint8(8));
    for (const fn of timers.slice(0, 2)) fn();
    expect([timers.length, pool.stats().idle]).toEqual([3, 1]);
  });

  it("a clock that throws loses no array: the error surfaces later, and the next free asks again", async () => {
    const clock = new FakeClock();
    let isBroken = true;
    const pool = createTypedArrayPool();
    pool.configure({
      clock: {
        now: () => clock.now(),
        setTimer(fn, ms, background) {
          if (isBroken) throw new Error("no timers left");
          return clock.setTimer(fn, ms, background);
        },
        clearTimer: (handle) => clock.clearTimer(handle),
      },
    });
    const array = pool.mallocUint8(8);
    expect(await lateErrors(() => pool.free("free", array))).toEqual(["no timers left"]);
    expect(pool.stats()).toMatchObject({ idle: 1, live: 0 });
    isBroken = false;
    pool.free("free", pool.mallocUint8(8));
    expect(clock.pending).toBe(1);
  });
});

describe("one pool in a realm", () => {
  it("serves a second copy of the module", async () => {
    const copy = (await import(`../../src/compat/typedarray-pool.ts?copy=${"2"}`)) as Door;
    const array = copy.mallocUint8(8);
    door.free(array);
    expect(code(() => copy.free(array))).toBe("ERR_DOUBLE_RELEASE");
  });

  it("has no Buffer where the platform has none", () => {
    const system = globalThis.Buffer;
    try {
      Reflect.deleteProperty(globalThis, "Buffer");
      expect(code(() => door.mallocBuffer(8))).toBe("ERR_UNSUPPORTED");
    } finally {
      globalThis.Buffer = system;
    }
    expect(door.mallocBuffer(8).length).toBe(8);
  });
});

afterEach(() => {
  // No test leaves more than one timer on a clock.
  for (const clock of clocks.splice(0)) expect(clock.pending).toBeLessThan(2);
});
