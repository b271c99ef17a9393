/**
 * TimedQueue: items that have times, in the order in which they came or in that of a comparison, with the sums and
 * extremes that a player or muxer steers by, and triggers on them. After Core Media's CMBufferQueue.
 *
 * ```ts
 * const queue = new TimedQueue<MediaBuffer>({ measure: timesOf, compare: byPts, limits: { bytes: 2 ** 20 } });
 * queue.addTrigger({ when: () => queue.duration < 1_000_000_000n }, () => wake());
 * queue.tryPush(buffer);                       // false: it does not fit
 * const next = queue.shift();                  // undefined: empty
 * ```
 * Life-cycle: open; ended by {@link TimedQueue.end}, when nothing more comes in; {@link TimedQueue.clear} opens it
 * again. Invariants: an item is measured once, when it comes in; the sums are those of the items in it; while a hook or
 * a trigger runs, nothing changes (`ERR_REENTRANT`), and everything may be asked. A push is O(1) at the end of the
 * order and O(items) before it, a shift O(1) amortized; first times are O(1), extremes O(items).
 */
import { MillpondError, reentrantError, throwLater } from "../../util/errors.ts";
import { callback, checkOptions, wholeNumber, wrongType } from "../../util/validate.ts";

/** What an item says of itself when it comes in. */
export interface ItemTimes {
  /** Presentation time in nanoseconds; absent: none. */
  readonly pts?: bigint | undefined;
  /** Decoding time in nanoseconds; absent: none. */
  readonly dts?: bigint | undefined;
  /** Duration in nanoseconds, 0 or more; absent: 0. */
  readonly duration?: bigint | undefined;
  /** Bytes; absent: 0. */
  readonly bytes?: number | undefined;
}

/** How a {@link TimedQueue} is made. */
export interface TimedQueueOptions<T> {
  /** Reads an item's times and size. */
  measure(item: T): ItemTimes;
  /** Less than 0: `a` comes out before `b`. Equal items come out as they came in. Absent: first in, first out. */
  compare?: ((a: T, b: T) => number) | undefined;
  /** Bounds; absent: none. */
  limits?: QueueLimits | undefined;
}

/** When a trigger fires: each time a condition becomes true, or each time a value is another one. */
export type TriggerCondition = { when(): boolean } | { changes(): unknown };

/** A trigger of a {@link TimedQueue}. */
export interface QueueTrigger {
  /** Whether the condition holds now; false for a change. */
  test(): boolean;
  /** Takes it away; false when it was already. */
  remove(): boolean;
}

interface Item<T> {
  readonly item: T;
  readonly pts: bigint | undefined;
  readonly dts: bigint | undefined;
  readonly time: bigint;
  readonly bytes: number;
}

/**
 * Items that have times, in the order in which they came or in that of a comparison, with the sums and extremes that a
 * player or muxer steers by, and triggers on them. An item is measured once, when it comes in. {@link TimedQueue.end}
 * says that nothing more comes; {@link TimedQueue.clear} opens the queue again. While a hook or a trigger runs,
 * nothing changes (`ERR_REENTRANT`). A push is O(1) at the end of the order and O(items) before it, a shift O(1).
 *
 * ```ts
 * const queue = new TimedQueue<MediaBuffer>({ measure: timesOf, compare: byPts, limits: { bytes: 2 ** 20 } });
 * queue.tryPush(buffer);                                // false: it does not fit
 * const next = queue.shift();                           // undefined: empty
 * ```
 */
export class TimedQueue<T> {
  readonly #measure: (item: T) => ItemTimes;
  readonly #compare: ((a: T, b: T) => number) | undefined;
  readonly #limits: QueueLimits;
  readonly #level = new QueueLevel();
  #items: Item<T>[] = [];
  /** Items in front that are out already. */
  #taken = 0;
  #ended = false;
  #clears = 0;
  #busy = false;
  readonly #triggers = new Set<Trigger>();

  /** An empty queue. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
  constructor(options: TimedQueueOptions<T>) {
    const given = checkOptions("options", options, ["measure", "compare", "limits"]);
    const { measure, compare, limits } = given;
    if (typeof measure !== "function") throw wrongType("options.measure", "a function", measure);
    this.#measure = (item) => measure.call(given, item);
    this.#compare = callback("options.compare", compare);
    this.#limits = checkLimits("options.limits", checkOptions("options.limits", limits, ["count", "time", "bytes"]));
  }

  /** Items in the queue. */
  get length(): number {
    return this.#level.count;
  }

  /** The sum of the durations, in nanoseconds. */
  get duration(): bigint {
    return this.#level.time;
  }

  /** The sum of the sizes. */
  get bytes(): number {
    return this.#level.bytes;
  }

  /** Whether {@link end} was called. */
  get hasEnd(): boolean {
    return this.#ended;
  }

  /** Whether {@link end} was called and nothing is left. */
  get isAtEnd(): boolean {
    return this.#ended && this.#level.count === 0;
  }

  /** How often {@link clear} was called. */
  get clears(): number {
    return this.#clears;
  }

  /** What comes out next, and stays in; undefined: the queue is empty. */
  get head(): T | undefined {
    return this.#items[this.#taken]?.item;
  }

  /** Presentation time of {@link head}. */
  get firstPts(): bigint | undefined {
    return this.#items[this.#taken]?.pts;
  }

  /** Decoding time of {@link head}. */
  get firstDts(): bigint | undefined {
    return this.#items[this.#taken]?.dts;
  }

  /** The earliest presentation time. O(items). */
  get minPts(): bigint | undefined {
    return this.#extreme(({ pts }) => pts, -1);
  }

  /** The latest presentation time. O(items). */
  get maxPts(): bigint | undefined {
    return this.#extreme(({ pts }) => pts, 1);
  }

  /** The earliest decoding time. O(items). */
  get minDts(): bigint | undefined {
    return this.#extreme(({ dts }) => dts, -1);
  }

  /** The latest end, presentation time and duration. O(items). */
  get endPts(): bigint | undefined {
    return this.#extreme(({ pts, time }) => (pts === undefined ? undefined : pts + time), 1);
  }

  /** The items, in order; a new array each time. */
  items(): T[] {
    return this.#items.slice(this.#taken).map(({ item }) => item);
  }

  /** Why nothing may change just now: a hook of this queue, or a trigger, is running. */
  get isBusy(): boolean {
    return this.#busy;
  }

  /**
   * Puts an item in its place; false when it does not fit inside the bounds. An item alone may exceed those on time and
   * bytes. Triggers fire before this returns. Throws `ERR_INACTIVE` after the end, `ERR_REENTRANT`,
   * `ERR_INVALID_ARG_TYPE` for what `measure` gave, and what the hooks throw; nothing has changed then.
   */
  tryPush(item: T): boolean {
    this.#assertIdle("push into");
    if (this.#ended) throw new MillpondError("ERR_INACTIVE", "the queue has ended; clear() it before the next stream");
    const entry = this.#hook(() => this.#measured(item));
    if (!this.#level.fits(this.#limits, entry)) return false;
    const index = this.#compare === undefined ? this.#items.length : this.#hook(() => this.#insertionIndex(item));
    this.#items.splice(index, 0, entry);
    this.#level.add(entry);
    this.#checkTriggers();
    return true;
  }

  /**
   * Takes the next item out; undefined: the queue is empty. Triggers fire before this returns. Throws `ERR_REENTRANT`.
   */
  shift(): T | undefined {
    this.#assertIdle("take an item out of");
    const entry = this.#items[this.#taken];
    if (entry === undefined) return undefined;
    this.#level.remove(entry);
    this.#taken++;
    // Half of the array is behind: each item is moved once at most for each that goes.
    if (this.#taken * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#taken);
      this.#taken = 0;
    }
    this.#checkTriggers();
    return entry.item;
  }

  /** Says that nothing more comes. A second time nothing happens. Throws `ERR_REENTRANT`. */
  end(): void {
    this.#assertIdle("end");
    this.#ended = true;
    this.#checkTriggers();
  }

  /**
   * Empties the queue, opens it again, and answers what was in it, for the caller to release. Throws `ERR_REENTRANT`.
   */
  clear(): T[] {
    this.#assertIdle("clear");
    const items = this.items();
    this.#items = [];
    this.#taken = 0;
    this.#level.clear();
    this.#ended = false;
    this.#clears++;
    this.#checkTriggers();
    return items;
  }

  /** Looks at the triggers again: something that a condition asks for has changed outside. Throws `ERR_REENTRANT`. */
  update(): void {
    this.#assertIdle("update");
    this.#checkTriggers();
  }

  /** Runs code of the caller's that may ask the queue everything and change nothing. */
  during<R>(run: () => R): R {
    this.#assertIdle("run code on");
    if (typeof run !== "function") throw wrongType("run", "a function", run);
    return this.#hook(run);
  }

  /**
   * Installs a trigger. It fires once each time its condition becomes true, or its value changes, after the call that
   * made it so, in the order of installation; where the condition holds already, at once. What the callback or the
   * condition throws surfaces as an uncaught error in a later turn. Throws `ERR_INVALID_ARG_TYPE`, `ERR_REENTRANT`.
   */
  addTrigger(condition: TriggerCondition, fired: ((trigger: QueueTrigger) => void) | null): QueueTrigger {
    this.#assertIdle("add a trigger to");
    if (condition === null || typeof condition !== "object")
      throw wrongType("condition", "a TriggerCondition", condition);
    const { when, changes } = condition as { when?: () => boolean; changes?: () => unknown };
    if (typeof when !== "function" && typeof changes !== "function")
      throw wrongType("condition", "an object with a function `when` or `changes`", condition);
    if (fired !== null && typeof fired !== "function") throw wrongType("fired", "a function or null", fired);
    const trigger: Trigger = {
      look: typeof when === "function" ? () => when.call(condition) === true : () => changes?.call(condition),
      isChange: typeof when !== "function",
      seen: undefined,
      fired,
      handle: {
        test: () => !trigger.isChange && this.#evaluate(trigger) === true,
        remove: () => this.#triggers.delete(trigger),
      },
    };
    trigger.seen = trigger.isChange ? this.#evaluate(trigger) : false;
    this.#triggers.add(trigger);
    this.#check(trigger);
    return trigger.handle;
  }

  /** Takes all triggers away. */
  removeTriggers(): void {
    this.#triggers.clear();
  }

  #measured(item: T): Item<T> {
    const times = this.#measure(item);
    if (times === null || typeof times !== "object") throw wrongType("what measure() returned", "ItemTimes", times);
    const { pts, dts, duration: time = 0n, bytes = 0 } = times;
    for (const [name, value] of [["pts", pts] as const, ["dts", dts] as const])
      if (value !== undefined && typeof value !== "bigint") throw wrongType(name, "a bigint or undefined", value);
    if (typeof time !== "bigint" || time < 0n) throw wrongType("duration", "a bigint, 0n or more", time);
    if (typeof bytes !== "number" || !Number.isSafeInteger(bytes) || bytes < 0)
      throw wrongType("bytes", "a whole number, 0 or more", bytes);
    return { item, pts, dts, time, bytes };
  }

  /** From the end: what comes is most often the latest. */
  #insertionIndex(item: T): number {
    let index = this.#items.length;
    while (index > this.#taken && this.#compare!(item, this.#items[index - 1]!.item) < 0) index--;
    return index;
  }

  #extreme(timeOf: (entry: Item<T>) => bigint | undefined, sign: -1 | 1): bigint | undefined {
    let best: bigint | undefined;
    for (let i = this.#taken; i < this.#items.length; i++) {
      const time = timeOf(this.#items[i]!);
      if (time !== undefined && (best === undefined || (sign < 0 ? time < best : time > best))) best = time;
    }
    return best;
  }

  #assertIdle(verb: string): void {
    if (this.#busy) throw reentrantError("the queue", verb);
  }

  #hook<R>(run: () => R): R {
    this.#busy = true;
    try {
      return run();
    } finally {
      this.#busy = false;
    }
  }

  #checkTriggers(): void {
    if (this.#triggers.size === 0) return;
    for (const trigger of [...this.#triggers]) if (this.#triggers.has(trigger)) this.#check(trigger);
  }

  #check(trigger: Trigger): void {
    const { seen } = trigger;
    const now = this.#evaluate(trigger);
    trigger.seen = now;
    if (trigger.isChange ? now === seen : now !== true || seen === true) return;
    const { fired, handle } = trigger;
    if (fired !== null) this.#guarded(() => fired(handle));
  }

  #evaluate(trigger: Trigger): unknown {
    return this.#guarded(trigger.look);
  }

  /** A call that has changed the queue must not fail for what a trigger throws. */
  #guarded(run: () => unknown): unknown {
    const wasBusy = this.#busy;
    this.#busy = true;
    try {
      return run();
    } catch (error) {
      throwLater(error);
      return undefined;
    } finally {
      this.#busy = wasBusy;
    }
  }
}

interface Trigger {
  readonly look: () => unknown;
  readonly isChange: boolean;
  seen: unknown;
  readonly fired: ((trigger: QueueTrigger) => void) | null;
  readonly handle: QueueTrigger;
}

/* How much is in a queue, by count, time and bytes, and whether something more fits under bounds on all three. */

/** What one item adds to a queue. */
export interface ItemMeasure {
  /** Nanoseconds, 0 or more. */
  readonly time: bigint;
  /** Bytes. */
  readonly bytes: number;
}

/** The bounds of a queue; what is absent is unbounded. */
export interface QueueLimits {
  /** Most items. */
  count?: number | undefined;
  /** Most nanoseconds. */
  time?: bigint | undefined;
  /** Most bytes. */
  bytes?: number | undefined;
}

/** What is in a queue. Invariant: the sums of what was added and not removed. Every call is O(1). */
export class QueueLevel {
  /** Items. */
  count = 0;
  /** Nanoseconds. */
  time = 0n;
  /** Bytes. */
  bytes = 0;

  /** An item came in. */
  add(item: ItemMeasure): void {
    this.count++;
    this.time += item.time;
    this.bytes += item.bytes;
  }

  /** An item that was added went out. */
  remove(item: ItemMeasure): void {
    this.count--;
    this.time -= item.time;
    this.bytes -= item.bytes;
  }

  /** Everything went out. */
  clear(): void {
    this.count = 0;
    this.time = 0n;
    this.bytes = 0;
  }

  /**
   * Whether one item more stays inside. The only one may exceed bounds on time and bytes: it would never get in
   * otherwise.
   */
  fits(limits: QueueLimits, item: ItemMeasure): boolean {
    if (limits.count !== undefined && this.count >= limits.count) return false;
    if (this.count === 0) return true;
    if (limits.time !== undefined && this.time + item.time > limits.time) return false;
    return limits.bytes === undefined || this.bytes + item.bytes <= limits.bytes;
  }
}

/** Checks bounds. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. */
function checkLimits(name: string, limits: QueueLimits): QueueLimits {
  const { count, time, bytes } = limits;
  if (count !== undefined) wholeNumber(`${name}.count`, count, 1);
  if (bytes !== undefined) wholeNumber(`${name}.bytes`, bytes, 1);
  if (time !== undefined && (typeof time !== "bigint" || time < 1n))
    throw wrongType(`${name}.time`, "nanoseconds as a bigint, 1n or more", time);
  return { count, time, bytes };
}
