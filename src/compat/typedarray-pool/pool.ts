/**
 * The pool behind `millpond/compat/typedarray-pool`: ArrayBuffers of 1 byte to 4 GiB by powers of two, which malloc
 * hands out as plain typed arrays and free takes back from any of them.
 *
 * The life-cycle of a block, an ArrayBuffer: fresh, out, idle in the list of its class (last in, first out), out again,
 * and so on; dropped to the garbage collector when it aged out, by clearCache(), above `maxIdleBytes`, or when it was
 * transferred away. The pool does not hold blocks that are out: one that is never freed is garbage like any other
 * object.
 *
 * How a plain array is known when it comes back. A private field on the ArrayBuffer (it is invisible, cannot be forged,
 * and costs 1 ns where a WeakMap costs 5 to 40) says that the block is this pool's, and whether it is out. The array
 * itself gets a mark when it is freed. So a second free of the same array is found also when its block is out again as
 * another array. What cannot be told apart is a second way to the same bytes: an ArrayBuffer, which is one object in
 * every lease of it, and views that the caller made; `revoke` ends those with the lease.
 *
 * Ages without a clock on the fast path: a free block carries the number of the current tick, a timer counts ticks, and
 * the lists are in the order of their ticks because they are stacks.
 *
 * malloc and free are O(1), a tick O(idle blocks), stats() O(1).
 */
import { endViews } from "../../memory/detach.ts";
import { type Clock, checkClock, systemClock, type TimerHandle } from "../../util/clock.ts";
import { MillpondError, throwLater } from "../../util/errors.ts";
import { bound, callback, flag, milliseconds, readOptions, show, wrongType } from "../../util/validate.ts";
import { argumentCode, wants } from "../door-error.ts";

/** Powers of two from 1 byte to 4 GiB. */
const CLASSES = 33;

/** The largest block. The original's arithmetic ends at 2 GiB, and gives an empty buffer for more. */
const MAX_BLOCK = 2 ** 32;

/** An age is measured in ticks: a block goes after 4 to 5 of them, so at most a quarter late. */
const TICKS = 4;

/** Half a minute: long enough for what is drawn again, short enough that a peak does not stay. */
const AGE_OUT = 30_000;

const MAX_IDLE_BYTES = 2 ** 30;

/** The states of blocks that are out: -1 - their class as an array, and so much less as an ArrayBuffer. */
const AS_BUFFER = 64;

/** `Buffer` where the platform has it, else the Uint8Array that it is. */
export type NodeBuffer = typeof globalThis extends { Buffer: { alloc(size: number): infer B } } ? B : Uint8Array;

interface BufferMaker {
  from(buffer: ArrayBuffer, offset: number, length: number): NodeBuffer;
}

/** What malloc makes, by the names of its data types. */
export type TypedArrayTypes = {
  arraybuffer: ArrayBuffer;
  uint8: Uint8Array<ArrayBuffer>;
  uint16: Uint16Array<ArrayBuffer>;
  uint32: Uint32Array<ArrayBuffer>;
  int8: Int8Array<ArrayBuffer>;
  int16: Int16Array<ArrayBuffer>;
  int32: Int32Array<ArrayBuffer>;
  float: Float32Array<ArrayBuffer>;
  float32: Float32Array<ArrayBuffer>;
  double: Float64Array<ArrayBuffer>;
  float64: Float64Array<ArrayBuffer>;
  uint8_clamped: Uint8ClampedArray<ArrayBuffer>;
  bigint64: BigInt64Array<ArrayBuffer>;
  biguint64: BigUint64Array<ArrayBuffer>;
  buffer: NodeBuffer;
  data: DataView<ArrayBuffer>;
  dataview: DataView<ArrayBuffer>;
};

/** What can be freed: an array that malloc gave, a view of the same bytes, or their ArrayBuffer. */
export type Freeable = ArrayBufferView | ArrayBufferLike;

/** What {@link TypedArrayPool.configure} sets; what is absent stays as it is. */
export interface TypedArrayPoolOptions {
  /** Milliseconds after which an idle block goes: 0 at once, `Infinity` never. Default 30,000. */
  ageOut?: number;
  /** The most bytes that are kept idle; what is freed above that goes to the garbage collector. Default 2^30. */
  maxIdleBytes?: number;
  /**
   * Ends every view of a block when it is freed: they have no elements any more, and a use after free reads undefined.
   * A second free is found in every case. Detaching slows all typed-array loops of the program 1.3 to 2.4 times: for
   * tests. Default false.
   */
  revoke?: boolean;
  /**
   * Gets the error of a free that was refused, instead of the caller of free: a program that was not written for checks
   * goes on, and its log says what to mend. What was refused does not get into the pool either way. Default, and null:
   * thrown.
   */
  onMisuse?: ((error: MillpondError) => void) | null;
  /** Where the time for ages comes from. Default: the platform's clock. */
  clock?: Clock;
}

const OPTIONS: readonly (keyof TypedArrayPoolOptions)[] = ["ageOut", "maxIdleBytes", "revoke", "onMisuse", "clock"];

/** What {@link TypedArrayPool.stats} answers; bytes are those of whole blocks. */
export interface TypedArrayPoolStats {
  /** Calls of malloc that gave an array. */
  readonly mallocs: number;
  /** Calls of free that took one. */
  readonly frees: number;
  /** Of the mallocs: those that an idle block served. */
  readonly hits: number;
  /** Of the mallocs: those that needed fresh memory. */
  readonly misses: number;
  /** Blocks that are out; those that were forgotten without a free count too, so a number that only grows is a leak. */
  readonly live: number;
  /** Bytes of those. */
  readonly liveBytes: number;
  /** Blocks that are kept for the next malloc. */
  readonly idle: number;
  /** Bytes of those. */
  readonly idleBytes: number;
  /** The most bytes that were out and idle together. */
  readonly peakBytes: number;
  /** Blocks that went because of their age. */
  readonly agedOut: number;
  /**
   * Blocks that went because `maxIdleBytes` were idle, because fresh memory was short, or because their views could not
   * be ended.
   */
  readonly evicted: number;
  /** Blocks that were transferred away, as messages or by detaching them. */
  readonly detached: number;
  /** Frees that were refused. */
  readonly refused: number;
}

/** The calls of the package `typedarray-pool` and two more; none needs `this`. Aliases are the entry point's. */
export interface TypedArrayPool {
  malloc(n: number, dtype: string | undefined): TypedArrayTypes[keyof TypedArrayTypes] | null;
  mallocArrayBuffer(n: number): ArrayBuffer;
  mallocUint8(n: number): Uint8Array<ArrayBuffer>;
  mallocUint16(n: number): Uint16Array<ArrayBuffer>;
  mallocUint32(n: number): Uint32Array<ArrayBuffer>;
  mallocInt8(n: number): Int8Array<ArrayBuffer>;
  mallocInt16(n: number): Int16Array<ArrayBuffer>;
  mallocInt32(n: number): Int32Array<ArrayBuffer>;
  mallocFloat(n: number): Float32Array<ArrayBuffer>;
  mallocDouble(n: number): Float64Array<ArrayBuffer>;
  mallocUint8Clamped(n: number): Uint8ClampedArray<ArrayBuffer>;
  mallocBigInt64(n: number): BigInt64Array<ArrayBuffer>;
  mallocBigUint64(n: number): BigUint64Array<ArrayBuffer>;
  mallocDataView(n: number): DataView<ArrayBuffer>;
  mallocBuffer(n: number): NodeBuffer;
  /** Takes an array back under the name of the call that the user wrote. */
  free(call: string, array: Freeable): void;
  clearCache(): void;
  configure(options: TypedArrayPoolOptions): void;
  stats(): TypedArrayPoolStats;
}

/** Its constructor returns the object that it is given, so that a class that extends it adds its fields to that one. */
class Given {
  constructor(object: object) {
    // biome-ignore lint/correctness/noConstructorReturn: this puts a private field onto an object of another class.
    return object;
  }
}

/** Bytes of a block, by class. */
const SIZES: Float64Array = Float64Array.from({ length: CLASSES }, (_, index) => 2 ** index);

/** The class of a block that holds `bytes` bytes. A fraction is a part of an element, which nobody gets. */
function classOf(bytes: number): number {
  return bytes > 1 ? 32 - Math.clz32(bytes - 1) : 0;
}

/** The class of a block that is out. */
function indexOf(state: number): number {
  return state < -CLASSES ? -1 - AS_BUFFER - state : -1 - state;
}

/** Makes a pool of its own; a program has one, see the entry point. */
export function createTypedArrayPool(): TypedArrayPool {
  let stateOf!: (buffer: unknown) => number | undefined;
  let setState!: (buffer: ArrayBuffer, state: number) => void;

  /**
   * The field on each ArrayBuffer of this pool: below 0 while it is out ({@link AS_BUFFER}), then the tick of its free.
   */
  class Block extends Given {
    #state: number;

    constructor(buffer: ArrayBuffer, state: number) {
      super(buffer);
      this.#state = state;
    }

    static {
      stateOf = (buffer) =>
        typeof buffer === "object" && buffer !== null && #state in buffer ? buffer.#state : undefined;
      setState = (buffer, state) => {
        (buffer as unknown as Block).#state = state;
      };
    }
  }

  /** On an array that was freed. */
  const FREED: unique symbol = Symbol("freed");
  interface Marked {
    [FREED]?: true;
  }
  /** Freed arrays that take no mark, because the caller made them non-extensible. */
  let unmarked: WeakSet<object> | undefined;

  /** Idle blocks by class, the one that was freed last at the end. */
  const lists: ArrayBuffer[][] = Array.from({ length: CLASSES }, () => []);
  /** Blocks that are out or idle, by class. */
  const existing: Uint32Array = new Uint32Array(CLASSES);
  /** What changes at each call; numbers above 2^30 would be garbage in a variable. */
  const sums: { idleBytes: number; hits: number } = { idleBytes: 0, hits: 0 };

  let ageOut = AGE_OUT;
  let maxIdleBytes = MAX_IDLE_BYTES;
  let revoke = false;
  let onMisuse: ((error: MillpondError) => void) | undefined;
  let clock: Clock = systemClock;

  let tick = 0;
  let timer: { handle: TimerHandle } | undefined;
  /** Whether a free has more to do than to put a block into its list. */
  let isSlow = true;

  let bytes = 0;
  let peakBytes = 0;
  let misses = 0;
  let agedOut = 0;
  let evicted = 0;
  let detachedIdle = 0;
  let detachedOut = 0;
  let refused = 0;

  function updateFastPath(): void {
    isSlow = revoke || unmarked !== undefined || ageOut === 0 || (timer === undefined && ageOut !== Infinity);
  }

  /** An array of n elements of `size` bytes; the fast path of every malloc. */
  function make<T>(
    call: string,
    type: new (block: ArrayBuffer, at: number, n: number) => T,
    n: number,
    size: number,
  ): T {
    const block = take(call, n, size);
    try {
      return new type(block, 0, n);
    } catch {
      return new type(replaced(call, block, n, size), 0, n);
    }
  }

  function take(call: string, n: number, size: number): ArrayBuffer {
    if (typeof n !== "number" || !(n >= 0 && n * size <= MAX_BLOCK)) throw countError(call, n, size);
    const index = classOf(n * size);
    const block = lists[index]!.pop();
    if (block === undefined) return freshBlock(call, index);
    sums.idleBytes -= SIZES[index]!;
    sums.hits++;
    setState(block, -1 - index);
    return block;
  }

  /** What is given out instead of a block that was transferred away by someone who had freed it. */
  function replaced(call: string, taken: ArrayBuffer, n: number, size: number): ArrayBuffer {
    const index = classOf(n * size);
    let block = taken;
    while (block.byteLength === 0) {
      setState(block, tick);
      forget(index);
      detachedIdle++;
      sums.hits--;
      block = take(call, n, size);
    }
    return block;
  }

  function freshBlock(call: string, index: number): ArrayBuffer {
    const block = allocate(call, SIZES[index]!);
    new Block(block, -1 - index);
    misses++;
    existing[index]!++;
    bytes += SIZES[index]!;
    peakBytes = Math.max(peakBytes, bytes);
    return block;
  }

  function allocate(call: string, size: number): ArrayBuffer {
    try {
      return new ArrayBuffer(size);
    } catch {
      // What is idle may be what is missing.
      evicted += dropIdle();
    }
    try {
      return new ArrayBuffer(size);
    } catch (cause) {
      const text = `${call}(): no memory for a block of ${size} bytes, and none is idle; free more, or ask for less`;
      throw new MillpondError("ERR_ALLOCATION_FAILED", text, { call, size }, { cause });
    }
  }

  function free(call: string, array: Freeable): void {
    if (!isSlow) {
      if (!ArrayBuffer.isView(array)) {
        const state = stateOf(array);
        if (state !== undefined && state < 0 && array.byteLength > 0 && keepFast(array, indexOf(state))) return;
        // Of no length are also views that were detached, and a DataView has none.
      } else if ((array as Uint8Array).length > 0 && (array as Marked)[FREED] === undefined) {
        const { buffer } = array;
        const state = stateOf(buffer);
        // Views of an ArrayBuffer are the caller's own, and he may keep one for its next lease.
        if (state !== undefined && state < 0 && state >= -CLASSES && keepFast(buffer, -1 - state)) {
          mark(array);
          return;
        }
      }
    }
    freeSlow(call, array);
  }

  function keepFast(block: ArrayBufferLike, index: number): boolean {
    const idleBytes = sums.idleBytes + SIZES[index]!;
    if (idleBytes > maxIdleBytes) return false;
    sums.idleBytes = idleBytes;
    setState(block as ArrayBuffer, tick);
    lists[index]!.push(block as ArrayBuffer);
    return true;
  }

  function freeSlow(call: string, array: unknown): void {
    const view = ArrayBuffer.isView(array) ? array : undefined;
    const buffer = view === undefined ? array : view.buffer;
    const state = stateOf(buffer);
    const error = misuse(call, array, view, buffer, state);
    if (error !== undefined) {
      refused++;
      if (onMisuse === undefined) throw error;
      onMisuse(error);
      return;
    }
    if (view !== undefined && state! >= -CLASSES) mark(view);
    setState(buffer as ArrayBuffer, tick);
    let block = buffer as ArrayBuffer;
    if (revoke) {
      const moved = endViews(block);
      if (moved === undefined) {
        // Its views cannot be ended, so no later array may have the bytes: they are the garbage collector's.
        forget(indexOf(state!));
        evicted++;
        return;
      }
      block = moved;
      new Block(block, tick);
    }
    keep(block, indexOf(state!));
  }

  /** Why an array cannot be freed. A block that was transferred away is let go here. */
  function misuse(
    call: string,
    array: unknown,
    view: object | undefined,
    buffer: unknown,
    state: number | undefined,
  ): MillpondError | undefined {
    if (state === undefined) return foreignError(call, array);
    if (state >= 0 || (view !== undefined && isMarked(view))) return doubleError(call, array);
    if ((buffer as ArrayBuffer).byteLength !== 0) return undefined;
    setState(buffer as ArrayBuffer, tick);
    forget(indexOf(state));
    detachedOut++;
    return detachedError(call, array, SIZES[indexOf(state)]!);
  }

  function mark(view: object): void {
    try {
      (view as Marked)[FREED] = true;
      // What is read here is what the next free reads: code that is not strict is not told that an array took no mark.
      if ((view as Marked)[FREED] === true) return;
    } catch {
      // It is non-extensible.
    }
    unmarked ??= new WeakSet();
    unmarked.add(view);
    updateFastPath();
  }

  function isMarked(view: object): boolean {
    return (view as Marked)[FREED] !== undefined || unmarked?.has(view) === true;
  }

  function keep(block: ArrayBuffer, index: number): void {
    const size = SIZES[index]!;
    if (ageOut === 0 || size > maxIdleBytes) {
      if (ageOut === 0) agedOut++;
      else evicted++;
      forget(index);
      return;
    }
    evictTo(maxIdleBytes - size);
    sums.idleBytes += size;
    lists[index]!.push(block);
    startTimer();
  }

  /** The block is no longer the pool's. */
  function forget(index: number): void {
    existing[index]!--;
    bytes -= SIZES[index]!;
  }

  /** Lets the first `count` blocks of a list go: those that were freed first. */
  function drop(index: number, count: number): number {
    if (count === 0) return 0;
    lists[index]!.splice(0, count);
    existing[index]! -= count;
    sums.idleBytes -= count * SIZES[index]!;
    bytes -= count * SIZES[index]!;
    return count;
  }

  function dropIdle(): number {
    return lists.reduce((sum, { length }, index) => sum + drop(index, length), 0);
  }

  /** Lets idle blocks go, the oldest first, until at most `limit` bytes are idle. */
  function evictTo(limit: number): void {
    while (sums.idleBytes > limit) {
      let oldest = -1;
      let least = Infinity;
      for (let index = 0; index < CLASSES; index++) {
        const [first] = lists[index]!;
        const freedAt = first === undefined ? Infinity : stateOf(first)!;
        if (freedAt < least) [oldest, least] = [index, freedAt];
      }
      evicted += drop(oldest, 1);
    }
  }

  function startTimer(): void {
    if (timer !== undefined || ageOut === Infinity || sums.idleBytes === 0) return;
    // A thread of audio has no timers, and keeps its blocks.
    if (clock === systemClock && typeof setTimeout !== "function") return;
    const started: { handle: TimerHandle } = { handle: undefined };
    timer = started;
    try {
      // A timer that was cleared, or that a clock calls twice, is over.
      started.handle = clock.setTimer(() => timer === started && onTick(), ageOut / TICKS, true);
    } catch (error) {
      // The array is freed either way; the next free tries again.
      if (timer === started) timer = undefined;
      throwLater(error);
    }
    updateFastPath();
  }

  function stopTimer(): void {
    if (timer !== undefined) clock.clearTimer(timer.handle);
    timer = undefined;
  }

  function onTick(): void {
    timer = undefined;
    tick++;
    for (let index = 0; index < CLASSES; index++) {
      const list = lists[index]!;
      let count = 0;
      while (count < list.length && tick - stateOf(list[count]!)! > TICKS) count++;
      agedOut += drop(index, count);
    }
    startTimer();
    updateFastPath();
  }

  function configure(options: TypedArrayPoolOptions): void {
    if (options === undefined) throw wrongType("options", "a plain object", options);
    const given = readOptions("options", options, OPTIONS);
    const next = {
      ageOut: given.ageOut === undefined ? ageOut : milliseconds("options.ageOut", given.ageOut),
      maxIdleBytes: given.maxIdleBytes === undefined ? maxIdleBytes : bound("options.maxIdleBytes", given.maxIdleBytes),
      revoke: flag("options.revoke", given.revoke, revoke),
      onMisuse: given.onMisuse === null ? undefined : (callback("options.onMisuse", given.onMisuse) ?? onMisuse),
      clock: given.clock === undefined ? clock : checkClock("options.clock", given.clock),
    };
    stopTimer();
    ({ ageOut, maxIdleBytes, revoke, onMisuse, clock } = next);
    if (ageOut === 0) agedOut += dropIdle();
    evictTo(maxIdleBytes);
    startTimer();
    updateFastPath();
  }

  function stats(): TypedArrayPoolStats {
    const idle = lists.reduce((sum, { length }) => sum + length, 0);
    const live = existing.reduce((sum, count) => sum + count, 0) - idle;
    const mallocs = sums.hits + misses;
    return {
      mallocs,
      frees: mallocs - live - detachedOut,
      hits: sums.hits,
      misses,
      live,
      liveBytes: bytes - sums.idleBytes,
      idle,
      idleBytes: sums.idleBytes,
      peakBytes,
      agedOut,
      evicted,
      detached: detachedIdle + detachedOut,
      refused,
    };
  }

  const pool: TypedArrayPool = {
    malloc: (n, dtype) => makers.get(dtype === undefined ? "arraybuffer" : dtype)?.(n) ?? null,
    mallocArrayBuffer(n) {
      const block = replaced("mallocArrayBuffer", take("mallocArrayBuffer", n, 1), n, 1);
      setState(block, -1 - AS_BUFFER - classOf(n));
      return block;
    },
    mallocUint8: (n) => make("mallocUint8", Uint8Array, n, 1),
    mallocUint16: (n) => make("mallocUint16", Uint16Array, n, 2),
    mallocUint32: (n) => make("mallocUint32", Uint32Array, n, 4),
    mallocInt8: (n) => make("mallocInt8", Int8Array, n, 1),
    mallocInt16: (n) => make("mallocInt16", Int16Array, n, 2),
    mallocInt32: (n) => make("mallocInt32", Int32Array, n, 4),
    mallocFloat: (n) => make("mallocFloat", Float32Array, n, 4),
    mallocDouble: (n) => make("mallocDouble", Float64Array, n, 8),
    mallocUint8Clamped: (n) => make("mallocUint8Clamped", Uint8ClampedArray, n, 1),
    mallocBigInt64: (n) => make("mallocBigInt64", BigInt64Array, n, 8),
    mallocBigUint64: (n) => make("mallocBigUint64", BigUint64Array, n, 8),
    mallocDataView: (n) => make("mallocDataView", DataView, n, 1),
    mallocBuffer(n) {
      const { Buffer: maker } = globalThis as { readonly Buffer?: BufferMaker };
      if (maker === undefined) throw noBufferError();
      const block = replaced("mallocBuffer", take("mallocBuffer", n, 1), n, 1);
      return maker.from(block, 0, block.byteLength);
    },
    free,
    clearCache() {
      dropIdle();
      stopTimer();
      updateFastPath();
    },
    configure,
    stats,
  };
  const makers: ReadonlyMap<string, (n: number) => TypedArrayTypes[keyof TypedArrayTypes]> = new Map(
    Object.entries({
      arraybuffer: pool.mallocArrayBuffer,
      uint8: pool.mallocUint8,
      uint16: pool.mallocUint16,
      uint32: pool.mallocUint32,
      int8: pool.mallocInt8,
      int16: pool.mallocInt16,
      int32: pool.mallocInt32,
      float: pool.mallocFloat,
      float32: pool.mallocFloat,
      double: pool.mallocDouble,
      float64: pool.mallocDouble,
      uint8_clamped: pool.mallocUint8Clamped,
      bigint64: pool.mallocBigInt64,
      biguint64: pool.mallocBigUint64,
      buffer: pool.mallocBuffer,
      data: pool.mallocDataView,
      dataview: pool.mallocDataView,
    } satisfies Record<keyof TypedArrayTypes, unknown>),
  );
  return pool;
}

function countError(call: string, n: unknown, size: number): MillpondError {
  const expected = `a number of elements from 0 to ${MAX_BLOCK / size}`;
  return new MillpondError(argumentCode(n), `${call}(): ${wants("n", expected, n)}`, { call, name: "n", value: n });
}

function noBufferError(): MillpondError {
  return new MillpondError(
    "ERR_UNSUPPORTED",
    "mallocBuffer(): this platform has no Buffer; use mallocUint8(), or set globalThis.Buffer to a polyfill",
    { call: "mallocBuffer" },
  );
}

function foreignError(call: string, array: unknown): MillpondError {
  if (typeof array !== "object" || array === null) {
    const text = `${call}(): ${wants("array", "an array that malloc() gave", array)}`;
    return new MillpondError("ERR_INVALID_ARG_TYPE", text, { call, name: "array", value: array });
  }
  const text = `${shown(array)} is not from this pool; free only what malloc() gave, and leave the rest to the garbage collector`;
  return new MillpondError("ERR_FOREIGN_RELEASE", `${call}(): ${text}`, { call });
}

function doubleError(call: string, array: unknown): MillpondError {
  const text = `${shown(array)} was freed already, and its bytes may be another array's by now; find the first free of it`;
  return new MillpondError("ERR_DOUBLE_RELEASE", `${call}(): ${text}`, { call });
}

function detachedError(call: string, array: unknown, size: number): MillpondError {
  const text = `${shown(array)} was transferred away (a message with a transfer list?), and its block of ${size} bytes with it; do not free what you transfer`;
  return new MillpondError("ERR_DETACHED", `${call}(): ${text}`, { call, size });
}

/** What was passed, without its content: `Uint8Array(64)`. */
function shown(array: unknown): string {
  try {
    const { constructor: type, byteLength, length = byteLength } = array as Uint8Array;
    if (ArrayBuffer.isView(array) || array instanceof ArrayBuffer) return `${type.name}(${Number(length)})`;
  } catch {
    // A getter or a proxy of the caller's threw.
  }
  return show(array);
}
