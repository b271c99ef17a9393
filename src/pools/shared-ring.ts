/**
 * HandleRing: a queue of small integers from one thread to one other, in shared memory. Each side writes one counter and
 * remembers the other's as it last saw it, so that it looks there only when the queue seems full or empty: one atomic store
 * for a push, less than one for a pop. After the single-producer queues of Lamport, and of FastForward and its kin for the remembering.
 */
import { powerOfTwo, wrongType } from "../observe/arguments.ts";
import { MillpondError } from "../observe/errors.ts";
import { isShared } from "./shared-handle.ts";
import { LINE } from "./shared-layout.ts";

/** "MPRG", and the version of what follows it. */
const MAGIC = 0x4d505247;
const VERSION = 1;

/** Words; each that changes has a line of its own. `PUSHER` and `POPPER` are for who uses the ring. */
export const RingWord = {
  MAGIC: 0,
  VERSION: 1,
  CAPACITY: 2,
  TAIL: 16,
  HEAD: 32,
  PUSHER: 48,
  POPPER: 64,
  ITEMS: 80,
} as const;

/**
 * From this capacity on, the popping side tells of room an eighth of the ring at a time, and when it finds the ring empty: a
 * full ring would else send the counter's line back and forth for every single place. A ring that is popped now and then
 * may seem full with an eighth of it free; small ones are exact.
 */
const TELL_EACH_BELOW = 32;

/**
 * Who finds the ring empty looks away for a third of a microsecond (8 pauses of the processor, 43 ns each on the machine that
 * this was measured on): a thread that looks again and again takes the counter's line from the pushing core each time, and
 * every push waits for it to come back (35 against 23 ns). Engines before Atomics.pause do without.
 */
const PAUSES = 8;
const pause: () => void = (Atomics as { pause?: () => void }).pause ?? (() => {});

/** Counters wrap here: small integers in every engine. Every capacity divides it. */
const WRAP: number = 2 ** 29 - 1;

/** A queue of integers between two threads; see the module text. */
export class HandleRing {
  /** Integers that fit in. */
  declare readonly capacity: number;
  /** The memory: post it to the other side. */
  declare readonly memory: SharedArrayBuffer;
  /** @internal */
  declare readonly i32: Int32Array;
  declare private readonly last: number;
  declare private tail: number;
  declare private head: number;
  declare private seenTail: number;
  declare private seenHead: number;
  declare private readonly batch: number;
  declare private told: number;

  private constructor(memory: SharedArrayBuffer, capacity: number) {
    this.memory = memory;
    this.capacity = capacity;
    this.i32 = new Int32Array(memory, 0, RingWord.ITEMS + capacity);
    this.last = capacity - 1;
    this.batch = capacity >= TELL_EACH_BELOW ? capacity >>> 3 : 1;
    // Who comes later begins where the other side is.
    this.tail = Atomics.load(this.i32, RingWord.TAIL) & WRAP;
    this.head = Atomics.load(this.i32, RingWord.HEAD) & WRAP;
    this.seenTail = this.tail;
    this.seenHead = this.head;
    this.told = this.head;
  }

  /** Makes a ring. `capacity` is a power of two, at most 2^20. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`. */
  static create(capacity: number): HandleRing {
    powerOfTwo("capacity", capacity, 2 ** 20);
    const memory = new SharedArrayBuffer(4 * (RingWord.ITEMS + Math.max(capacity, LINE)));
    const i32 = new Int32Array(memory);
    i32[RingWord.VERSION] = VERSION;
    i32[RingWord.CAPACITY] = capacity;
    Atomics.store(i32, RingWord.MAGIC, MAGIC);
    return new HandleRing(memory, capacity);
  }

  /** The other side of a ring. Throws `ERR_INVALID_ARG_TYPE`, `ERR_BAD_DATA` when there is no ring of this version in the memory. */
  static attach(memory: SharedArrayBuffer): HandleRing {
    if (!isShared(memory)) throw wrongType("memory", "the memory of a HandleRing", memory);
    const i32 = new Int32Array(memory, 0, Math.min(memory.byteLength >>> 2, RingWord.ITEMS));
    const capacity = i32[RingWord.CAPACITY] ?? 0;
    const fits = capacity > 0 && capacity <= 2 ** 20 && memory.byteLength >= 4 * (RingWord.ITEMS + capacity);
    if (!fits || Atomics.load(i32, RingWord.MAGIC) !== MAGIC || i32[RingWord.VERSION] !== VERSION) {
      throw new MillpondError("ERR_BAD_DATA", `there is no ring of layout version ${VERSION} in that memory`);
    }
    return new HandleRing(memory, powerOfTwo("capacity", capacity, 2 ** 20));
  }

  /** Appends an integer from 0 to 2^31 - 1; false when the ring is full. One thread pushes. @realtime Throws nothing: what is no such number is cut to one. */
  push(value: number): boolean {
    const { tail, i32 } = this;
    if (((tail - this.seenHead) & WRAP) > this.last && !this.hasRoom()) return false;
    i32[RingWord.ITEMS + (tail & this.last)] = value;
    this.tail = (tail + 1) & WRAP;
    Atomics.store(i32, RingWord.TAIL, this.tail);
    return true;
  }

  /** Takes the oldest integer out, or answers -1. One thread pops. @realtime */
  pop(): number {
    const { head, i32 } = this;
    if (head === this.seenTail && !this.hasItem()) return -1;
    const value = i32[RingWord.ITEMS + (head & this.last)]!;
    this.head = (head + 1) & WRAP;
    if (((this.head - this.told) & WRAP) >= this.batch) this.tell();
    return value;
  }

  /** The oldest integer, which stays in; or -1. @realtime */
  peek(): number {
    if (this.head === this.seenTail && !this.hasItem()) return -1;
    return this.i32[RingWord.ITEMS + (this.head & this.last)]!;
  }

  /** Integers in the ring as the pushing side sees it: up to an eighth of a large ring may have been popped. @realtime */
  get length(): number {
    return (Atomics.load(this.i32, RingWord.TAIL) - Atomics.load(this.i32, RingWord.HEAD)) & WRAP;
  }

  private hasRoom(): boolean {
    this.seenHead = Atomics.load(this.i32, RingWord.HEAD) & WRAP;
    return ((this.tail - this.seenHead) & WRAP) <= this.last;
  }

  /** Says how much room there is. */
  private tell(): void {
    this.told = this.head;
    Atomics.store(this.i32, RingWord.HEAD, this.head);
  }

  private hasItem(): boolean {
    const seen = Atomics.load(this.i32, RingWord.TAIL) & WRAP;
    // A damaged counter may not make items of what nobody pushed.
    if (((seen - this.head) & WRAP) > this.capacity) throw this.damaged(seen);
    this.seenTail = seen;
    if (this.head !== seen) return true;
    if (this.told !== this.head) this.tell();
    for (let i = 0; i < PAUSES; i++) pause();
    return false;
  }

  private damaged(seen: number): MillpondError {
    return new MillpondError(
      "ERR_CORRUPTED",
      `the ring's counters are damaged: ${seen} pushed, ${this.head} popped, and room for ${this.capacity}; two threads on one side do that`,
    );
  }
}
