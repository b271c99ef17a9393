/**
 * CMBufferQueue: a queue of timed buffers with triggers, over the core's TimedQueue. A buffer is a MediaBuffer of the
 * core, or any object that CFRetain takes, with callbacks that know its times. Times are nanoseconds as a bigint;
 * `undefined` stands for kCMTimeInvalid.
 *
 * Life-cycle: counted by CFRetain and CFRelease; the last release releases the buffers in it. A buffer in the queue
 * holds one reference, which goes to the caller when the buffer is dequeued. While a trigger or another callback runs,
 * the queue may be asked and not changed (-12766).
 */

import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { type QueueTrigger, TimedQueue, type TriggerCondition } from "../../pools/common/timed-queue.ts";
import type { ErrorCode, MillpondError } from "../../util/errors.ts";
import { checkOptions } from "../../util/validate.ts";
import { argumentCode, assertMaker, DoorError, fromHook, inDoor, MAKE, messageOf, wants } from "../door-error.ts";
import {
  assertAlive,
  CFRetain,
  CFType,
  type CFTypeRef,
  dropReference,
  dropReferences,
  isCFType,
  isFinalized,
} from "./cf-type.ts";
import * as codes from "./codes.ts";

/** What tells a queue about its buffers; each gets the buffer and the refcon. */
export interface CMBufferCallbacks<T extends CFTypeRef = MediaBuffer> {
  /** 0 or 1; absent: 0. */
  readonly version?: number;
  /** Passed to all. */
  readonly refcon?: unknown;
  /** Decoding time; absent: none. Asked once, when the buffer is enqueued; so are the other times and the size. */
  readonly getDecodeTimeStamp?: ((buf: T, refcon: unknown) => bigint | undefined) | null;
  /** Presentation time; absent: none. */
  readonly getPresentationTimeStamp?: ((buf: T, refcon: unknown) => bigint | undefined) | null;
  /** Duration, 0 or more. */
  readonly getDuration: (buf: T, refcon: unknown) => bigint;
  /** Whether the buffer may be dequeued by {@link CMBufferQueueDequeueIfDataReadyAndRetain}; absent: always. */
  readonly isDataReady?: ((buf: T, refcon: unknown) => boolean) | null;
  /** Less than 0: the first comes out first. Absent: first in, first out. */
  readonly compare?: ((buf1: T, buf2: T, refcon: unknown) => number) | null;
  /** A name, or null; {@link CMBufferQueue.dataBecameReady} stands for the notification. */
  readonly dataBecameReadyNotification?: string | null;
  /** Bytes; absent: 0. */
  readonly getSize?: ((buf: T, refcon: unknown) => number) | null;
}

/** Called when a trigger's condition becomes true. */
export type CMBufferQueueTriggerCallback = (triggerRefcon: unknown, triggerToken: CMBufferQueueTriggerToken) => void;

/** Says whether a buffer may be enqueued: 0, or the status that refuses it. */
export type CMBufferValidationCallback<T extends CFTypeRef = MediaBuffer> = (
  queue: CMBufferQueue<T>,
  buf: T,
  validationRefCon: unknown,
) => number;

/** A misspelled callback would be one that is never called. */
const CALLBACK_KEYS = [
  "version",
  "refcon",
  "getDecodeTimeStamp",
  "getPresentationTimeStamp",
  "getDuration",
  "isDataReady",
  "compare",
  "dataBecameReadyNotification",
  "getSize",
] as const;

/** The callbacks, each read once. */
interface Hooks<T> {
  readonly isDataReady: (buf: T) => boolean;
}

let makeQueue: <T extends CFTypeRef>(queue: TimedQueue<T>, hooks: Hooks<T>, capacity: number) => CMBufferQueue<T>;
let isQueue: (value: unknown) => boolean;
let timed: <T extends CFTypeRef>(queue: CMBufferQueue<T>) => TimedQueue<T>;
let isReady: <T extends CFTypeRef>(queue: CMBufferQueue<T>) => boolean;
let validator: <T extends CFTypeRef>(queue: CMBufferQueue<T>, set?: (buf: T) => number) => ((buf: T) => number) | null;
let makeToken: (queue: object) => CMBufferQueueTriggerToken;
let isToken: (value: unknown) => value is CMBufferQueueTriggerToken;
let triggerOf: (token: CMBufferQueueTriggerToken, queue: object) => QueueTrigger | null;
let setTrigger: (token: CMBufferQueueTriggerToken, trigger: QueueTrigger | null) => void;

const KIND = {
  name: "CMBufferQueue",
  maker: "CMBufferQueueCreate()",
  // "CMBQ"
  typeID: 0x434d4251,
  status: codes.kCMBufferQueueError_RequiredParameterMissing,
  check: (queue: CMBufferQueue<CFTypeRef>): void => assertChangeable("CFRelease", queue),
  isBusy: (queue: CMBufferQueue<CFTypeRef>): boolean => timed(queue).isBusy,
  finalize(queue: CMBufferQueue<CFTypeRef>): void {
    const items = timed(queue);
    items.removeTriggers();
    dropReferences(items.clear());
  },
} as const;

/** A queue, opaque; {@link CMBufferQueueCreate} makes it. */
export class CMBufferQueue<T extends CFTypeRef = MediaBuffer> extends CFType {
  readonly #queue: TimedQueue<T>;
  readonly #hooks: Hooks<T>;
  readonly #capacity: number;
  #validate: ((buf: T) => number) | null = null;

  private constructor(key: symbol, queue: TimedQueue<T>, hooks: Hooks<T>, capacity: number) {
    super(key, KIND);
    this.#queue = queue;
    this.#hooks = hooks;
    this.#capacity = capacity;
  }

  /**
   * Stands for the notification of a buffer whose data became ready: triggers on that look again. Throws a `DoorError`:
   * -12761, -12766.
   */
  dataBecameReady(): void {
    const queue = changeable("CMBufferQueue.dataBecameReady", this);
    queue.update();
  }

  /** What this queue is and holds. */
  override toString(): string {
    if (isFinalized(this)) return "CMBufferQueue (released)";
    const { length, duration, hasEnd } = this.#queue;
    const bound = this.#capacity === 0 ? "any number of" : `${this.#capacity}`;
    return `CMBufferQueue of ${bound} buffers (${length} in it, ${duration} ns${hasEnd ? ", marked with the end of data" : ""})`;
  }

  static {
    makeQueue = (queue, hooks, capacity) => new CMBufferQueue(MAKE, queue, hooks, capacity);
    isQueue = (value) => typeof value === "object" && value !== null && #capacity in value;
    timed = (queue) => queue.#queue;
    isReady = (queue) => {
      const { head } = queue.#queue;
      return head !== undefined && queue.#hooks.isDataReady(head);
    };
    validator = (queue, set) => {
      if (set !== undefined) queue.#validate = set;
      return queue.#validate;
    };
  }
}

/** A trigger on a queue, opaque; {@link CMBufferQueueInstallTrigger} makes it. Not counted, as in the original. */
export class CMBufferQueueTriggerToken {
  readonly #queue: object;
  #trigger: QueueTrigger | null = null;

  private constructor(key: symbol, queue: object) {
    const status = codes.kCMBufferQueueError_InvalidTriggerToken;
    assertMaker(key, "CMBufferQueueTriggerToken", "CMBufferQueueInstallTrigger()", status);
    this.#queue = queue;
  }

  /** What this token is. */
  toString(): string {
    return `CMBufferQueueTriggerToken (${this.#trigger === null ? "removed" : "installed"})`;
  }

  static {
    makeToken = (queue) => new CMBufferQueueTriggerToken(MAKE, queue);
    isToken = (value): value is CMBufferQueueTriggerToken =>
      typeof value === "object" && value !== null && #queue in value;
    triggerOf = (token, queue) => (token.#queue === queue ? token.#trigger : null);
    setTrigger = (token, trigger) => {
      token.#trigger = trigger;
    };
  }
}

const UNSORTED: CMBufferCallbacks = Object.freeze({
  version: 1,
  refcon: null,
  getDecodeTimeStamp: (buf: MediaBuffer) => buf.dts,
  getPresentationTimeStamp: (buf: MediaBuffer) => buf.pts,
  getDuration: (buf: MediaBuffer) => buf.duration ?? 0n,
  getSize: (buf: MediaBuffer) => buf.size,
});

const BY_OUTPUT_PTS: CMBufferCallbacks = Object.freeze({
  ...UNSORTED,
  compare: (a: MediaBuffer, b: MediaBuffer) => {
    const [first, second] = [a.pts, b.pts];
    // A buffer without a time stays where it came.
    if (first === undefined || second === undefined || first === second) return 0;
    return first < second ? -1 : 1;
  },
});

/** Callbacks for buffers of the core, in the order in which they come. @realtime */
export function CMBufferQueueGetCallbacksForUnsortedSampleBuffers(): CMBufferCallbacks {
  return UNSORTED;
}

/** Callbacks for buffers of the core, by presentation time. @realtime */
export function CMBufferQueueGetCallbacksForSampleBuffersSortedByOutputPTS(): CMBufferCallbacks {
  return BY_OUTPUT_PTS;
}

/**
 * A queue.
 * @param capacity most buffers; 0: any number
 * @param callbacks what tells it about its buffers; copied
 * Throws a `DoorError`: -12761, -12762.
 */
export function CMBufferQueueCreate<T extends CFTypeRef = MediaBuffer>(
  capacity: number,
  callbacks: CMBufferCallbacks<T>,
): CMBufferQueue<T> {
  const call = "CMBufferQueueCreate";
  if (typeof capacity !== "number" || !Number.isSafeInteger(capacity) || capacity < 0)
    throw missing(`${call}(): ${wants("capacity", "a whole number, 0 or more", capacity)}`, argumentCode(capacity));
  if (callbacks === null || typeof callbacks !== "object")
    throw missing(`${call}(): ${wants("callbacks", "CMBufferCallbacks", callbacks)}`, "ERR_INVALID_ARG_TYPE");
  inDoor(
    () => checkOptions("callbacks", callbacks, CALLBACK_KEYS),
    (cause) =>
      new DoorError(
        codes.kCMBufferQueueError_InvalidCMBufferCallbacksStruct,
        cause.code as ErrorCode,
        `${call}(): ${messageOf(cause)}`,
        undefined,
        { cause },
      ),
  );
  const { version = 0, refcon = null, dataBecameReadyNotification: name = null, getDuration } = callbacks;
  const bad = (field: string, expected: string, value: unknown, code: ErrorCode = "ERR_INVALID_ARG_TYPE"): DoorError =>
    new DoorError(
      codes.kCMBufferQueueError_InvalidCMBufferCallbacksStruct,
      code,
      `${call}(): ${wants(`callbacks.${field}`, expected, value)}`,
    );
  if (version !== 0 && version !== 1) throw bad("version", "0 or 1", version, argumentCode(version));
  if (name !== null && typeof name !== "string") throw bad("dataBecameReadyNotification", "a string or null", name);
  if (typeof getDuration !== "function") throw bad("getDuration", "a function", getDuration);
  const { getDecodeTimeStamp, getPresentationTimeStamp, isDataReady, compare, getSize } = callbacks;
  const optional = { getDecodeTimeStamp, getPresentationTimeStamp, isDataReady, compare, getSize };
  for (const [field, value] of Object.entries(optional))
    if (value !== undefined && value !== null && typeof value !== "function")
      throw bad(field, "a function or null", value);
  const queue = new TimedQueue<T>({
    measure: (buf) => ({
      pts: fromHook(() => getPresentationTimeStamp?.(buf, refcon)),
      dts: fromHook(() => getDecodeTimeStamp?.(buf, refcon)),
      // Not left out: a duration is due.
      duration: fromHook(() => getDuration(buf, refcon)) ?? (null as unknown as bigint),
      bytes: fromHook(() => getSize?.(buf, refcon)),
    }),
    compare: typeof compare === "function" ? (a, b) => fromHook(() => compare(a, b, refcon)) : undefined,
    limits: capacity === 0 ? {} : { count: capacity },
  });
  const hooks: Hooks<T> = { isDataReady: (buf) => (isDataReady ? Boolean(isDataReady(buf, refcon)) : true) };
  return makeQueue(queue, hooks, capacity);
}

/**
 * Puts a buffer in its place and retains it. Throws a `DoorError`: -12761, -12763, -12764, -12766, -12769, what the
 * validation callback answered, and what the callbacks throw; the buffer is not retained then.
 */
export function CMBufferQueueEnqueue<T extends CFTypeRef>(queue: CMBufferQueue<T>, buf: T): void {
  const call = "CMBufferQueueEnqueue";
  const items = changeable(call, queue);
  if (!isCFType(buf)) {
    const expected = "a MediaBuffer, or an object that CFRetain() takes";
    throw missing(`${call}(): ${wants("buf", expected, buf)}`, "ERR_INVALID_ARG_TYPE");
  }
  if (items.hasEnd) {
    const message = `${call}(): ${queue} takes no more; CMBufferQueueReset() it before the next stream`;
    throw new DoorError(codes.kCMBufferQueueError_EnqueueAfterEndOfData, "ERR_INACTIVE", message);
  }
  try {
    CFRetain(buf);
  } catch (error) {
    if (!(error instanceof DoorError)) throw error;
    throw invalidBuffer(error.code, `${call}(): ${messageOf(error)}`, error);
  }
  let isIn = false;
  try {
    validate(call, queue, items, buf);
    isIn = inDoor(
      () => items.tryPush(buf),
      (cause) => invalidBuffer(cause.code, `${call}() refuses ${buf}: ${messageOf(cause)}`, cause),
    );
  } finally {
    if (!isIn) dropReference(buf);
  }
  if (isIn) return;
  const message = `${call}(): ${queue} is full; dequeue some, or make it larger`;
  throw new DoorError(codes.kCMBufferQueueError_QueueIsFull, "ERR_POOL_FULL", message);
}

/**
 * Takes the next buffer out; its reference is the caller's. Null: the queue is empty. Throws a `DoorError`: -12761,
 * -12766.
 */
export function CMBufferQueueDequeueAndRetain<T extends CFTypeRef>(queue: CMBufferQueue<T>): T | null {
  return changeable("CMBufferQueueDequeueAndRetain", queue).shift() ?? null;
}

/**
 * As {@link CMBufferQueueDequeueAndRetain}; null also when the next buffer is not ready. What isDataReady throws
 * passes; the buffer stays.
 */
export function CMBufferQueueDequeueIfDataReadyAndRetain<T extends CFTypeRef>(queue: CMBufferQueue<T>): T | null {
  const items = changeable("CMBufferQueueDequeueIfDataReadyAndRetain", queue);
  return items.during(() => isReady(queue)) ? (items.shift() ?? null) : null;
}

/** The next buffer, which stays in, not retained; null: the queue is empty. Throws a `DoorError`: -12761. */
export function CMBufferQueueGetHead<T extends CFTypeRef>(queue: CMBufferQueue<T>): T | null {
  return live("CMBufferQueueGetHead", queue).head ?? null;
}

/** As {@link CMBufferQueueGetHead}, retained for the caller. */
export function CMBufferQueueCopyHead<T extends CFTypeRef>(queue: CMBufferQueue<T>): T | null {
  const { head } = live("CMBufferQueueCopyHead", queue);
  return head === undefined ? null : CFRetain(head);
}

/** Whether nothing is in; true for null. Throws a `DoorError`: -12761. */
export function CMBufferQueueIsEmpty<T extends CFTypeRef>(queue: CMBufferQueue<T> | null): boolean {
  return queue === null || live("CMBufferQueueIsEmpty", queue).length === 0;
}

/** Says that no buffer comes any more, until a reset. Throws a `DoorError`: -12761, -12766. */
export function CMBufferQueueMarkEndOfData<T extends CFTypeRef>(queue: CMBufferQueue<T>): void {
  changeable("CMBufferQueueMarkEndOfData", queue).end();
}

/** Whether the queue was marked with the end of data; true for null. Throws a `DoorError`: -12761. */
export function CMBufferQueueContainsEndOfData<T extends CFTypeRef>(queue: CMBufferQueue<T> | null): boolean {
  return queue === null || live("CMBufferQueueContainsEndOfData", queue).hasEnd;
}

/** Whether the queue was marked and is empty now; true for null. Throws a `DoorError`: -12761. */
export function CMBufferQueueIsAtEndOfData<T extends CFTypeRef>(queue: CMBufferQueue<T> | null): boolean {
  return queue === null || live("CMBufferQueueIsAtEndOfData", queue).isAtEnd;
}

/**
 * Releases all buffers and takes the mark away; triggers stay. Bytes that are mapped go back with the last unmap().
 * Throws a `DoorError`: -12761, -12766.
 */
export function CMBufferQueueReset<T extends CFTypeRef>(queue: CMBufferQueue<T>): void {
  dropReferences(changeable("CMBufferQueueReset", queue).clear());
}

/**
 * Calls back for each buffer, in order, then resets. What the callback throws passes, and nothing is reset then. Throws
 * as {@link CMBufferQueueReset}.
 */
export function CMBufferQueueResetWithCallback<T extends CFTypeRef>(
  queue: CMBufferQueue<T>,
  callback: (buffer: T, refcon: unknown) => void,
  refcon?: unknown,
): void {
  const call = "CMBufferQueueResetWithCallback";
  const items = changeable(call, queue);
  checkFunction(call, "callback", callback);
  items.during(() => {
    for (const item of items.items()) callback(item, refcon);
  });
  CMBufferQueueReset(queue);
}

/** Buffers in the queue. Throws a `DoorError`: -12761. */
export function CMBufferQueueGetBufferCount<T extends CFTypeRef>(queue: CMBufferQueue<T>): number {
  return live("CMBufferQueueGetBufferCount", queue).length;
}

/** The sum of the durations; 0n for an empty queue. Throws a `DoorError`: -12761. */
export function CMBufferQueueGetDuration<T extends CFTypeRef>(queue: CMBufferQueue<T>): bigint {
  return live("CMBufferQueueGetDuration", queue).duration;
}

/** The sum of the sizes. Throws a `DoorError`: -12761. */
export function CMBufferQueueGetTotalSize<T extends CFTypeRef>(queue: CMBufferQueue<T>): number {
  return live("CMBufferQueueGetTotalSize", queue).bytes;
}

/** The earliest decoding time; undefined: none. Throws a `DoorError`: -12761. O(buffers). */
export function CMBufferQueueGetMinDecodeTimeStamp<T extends CFTypeRef>(queue: CMBufferQueue<T>): bigint | undefined {
  return live("CMBufferQueueGetMinDecodeTimeStamp", queue).minDts;
}

/** The next buffer's decoding time; undefined: none. Throws a `DoorError`: -12761. */
export function CMBufferQueueGetFirstDecodeTimeStamp<T extends CFTypeRef>(queue: CMBufferQueue<T>): bigint | undefined {
  return live("CMBufferQueueGetFirstDecodeTimeStamp", queue).firstDts;
}

/** The earliest presentation time; undefined: none. Throws a `DoorError`: -12761. O(buffers). */
export function CMBufferQueueGetMinPresentationTimeStamp<T extends CFTypeRef>(
  queue: CMBufferQueue<T>,
): bigint | undefined {
  return live("CMBufferQueueGetMinPresentationTimeStamp", queue).minPts;
}

/** The next buffer's presentation time; undefined: none. Throws a `DoorError`: -12761. */
export function CMBufferQueueGetFirstPresentationTimeStamp<T extends CFTypeRef>(
  queue: CMBufferQueue<T>,
): bigint | undefined {
  return live("CMBufferQueueGetFirstPresentationTimeStamp", queue).firstPts;
}

/** The latest presentation time; undefined: none. Throws a `DoorError`: -12761. O(buffers). */
export function CMBufferQueueGetMaxPresentationTimeStamp<T extends CFTypeRef>(
  queue: CMBufferQueue<T>,
): bigint | undefined {
  return live("CMBufferQueueGetMaxPresentationTimeStamp", queue).maxPts;
}

/** The latest end, presentation time and duration; undefined: none. Throws a `DoorError`: -12761. O(buffers). */
export function CMBufferQueueGetEndPresentationTimeStamp<T extends CFTypeRef>(
  queue: CMBufferQueue<T>,
): bigint | undefined {
  return live("CMBufferQueueGetEndPresentationTimeStamp", queue).endPts;
}

/**
 * Installs a trigger: the callback runs each time the condition becomes true, inside the call that made it so, and at
 * once where it is true already. It may ask the queue and not change it. What it throws surfaces as an uncaught error
 * in a later turn.
 * @param triggerCallback null: the trigger is only there to be tested
 * @param triggerCondition one of `kCMBufferQueueTrigger_`, but for those on the number of buffers
 * @param triggerTime nanoseconds, for conditions on the duration
 * Throws a `DoorError`: -12761, -12765, -12766, -12767.
 */
export function CMBufferQueueInstallTrigger<T extends CFTypeRef>(
  queue: CMBufferQueue<T>,
  triggerCallback: CMBufferQueueTriggerCallback | null,
  triggerRefcon: unknown,
  triggerCondition: number,
  triggerTime?: bigint,
): CMBufferQueueTriggerToken {
  const call = "CMBufferQueueInstallTrigger";
  const items = changeable(call, queue);
  const condition = timeCondition(call, queue, items, triggerCondition, triggerTime);
  return install(call, queue, items, triggerCallback, triggerRefcon, condition);
}

/** As {@link CMBufferQueueInstallTrigger}, for the conditions on the number of buffers. */
export function CMBufferQueueInstallTriggerWithIntegerThreshold<T extends CFTypeRef>(
  queue: CMBufferQueue<T>,
  triggerCallback: CMBufferQueueTriggerCallback | null,
  triggerRefcon: unknown,
  triggerCondition: number,
  triggerThreshold: number,
): CMBufferQueueTriggerToken {
  const call = "CMBufferQueueInstallTriggerWithIntegerThreshold";
  const items = changeable(call, queue);
  const isLess = triggerCondition === codes.kCMBufferQueueTrigger_WhenBufferCountBecomesLessThan;
  if (!isLess && triggerCondition !== codes.kCMBufferQueueTrigger_WhenBufferCountBecomesGreaterThan)
    throw badCondition(call, "one on the number of buffers, 10 or 11", triggerCondition);
  if (typeof triggerThreshold !== "number" || !Number.isSafeInteger(triggerThreshold))
    throw badDuration(call, "triggerThreshold", "a whole number", triggerThreshold, argumentCode(triggerThreshold));
  const when = isLess ? () => items.length < triggerThreshold : () => items.length > triggerThreshold;
  return install(call, queue, items, triggerCallback, triggerRefcon, { when });
}

/** Takes a trigger away. Throws a `DoorError`: -12761, -12768. */
export function CMBufferQueueRemoveTrigger<T extends CFTypeRef>(
  queue: CMBufferQueue<T>,
  triggerToken: CMBufferQueueTriggerToken,
): void {
  const trigger = triggerFor("CMBufferQueueRemoveTrigger", queue, triggerToken);
  setTrigger(triggerToken, null);
  trigger.remove();
}

/** Whether a trigger's condition holds now; false for changes and resets. Throws a `DoorError`: -12761, -12768. */
export function CMBufferQueueTestTrigger<T extends CFTypeRef>(
  queue: CMBufferQueue<T>,
  triggerToken: CMBufferQueueTriggerToken,
): boolean {
  return triggerFor("CMBufferQueueTestTrigger", queue, triggerToken).test();
}

/**
 * Calls back for each buffer, in order, until it answers something but 0, and answers that. What it throws passes.
 * Throws a `DoorError`: -12761, -12766.
 */
export function CMBufferQueueCallForEachBuffer<T extends CFTypeRef>(
  queue: CMBufferQueue<T>,
  callback: (buffer: T, refcon: unknown) => number | undefined,
  refcon?: unknown,
): number {
  const call = "CMBufferQueueCallForEachBuffer";
  const items = changeable(call, queue);
  checkFunction(call, "callback", callback);
  return items.during(() => {
    for (const item of items.items()) {
      const status = callback(item, refcon) ?? 0;
      if (status !== 0) return status;
    }
    return 0;
  });
}

/**
 * Sets what {@link CMBufferQueueEnqueue} asks about each buffer; null: nothing. Throws a `DoorError`: -12761, -12766.
 */
export function CMBufferQueueSetValidationCallback<T extends CFTypeRef>(
  queue: CMBufferQueue<T>,
  validationCallback: CMBufferValidationCallback<T> | null,
  validationRefCon?: unknown,
): void {
  const call = "CMBufferQueueSetValidationCallback";
  changeable(call, queue);
  checkCallback(call, "validationCallback", validationCallback);
  validator(queue, (buf) => validationCallback?.(queue, buf, validationRefCon) ?? 0);
}

/** The number of this kind of object; the same at every call, never 0. @realtime */
export function CMBufferQueueGetTypeID(): number {
  return KIND.typeID;
}

function validate<T extends CFTypeRef>(call: string, queue: CMBufferQueue<T>, items: TimedQueue<T>, buf: T): void {
  const ask = validator(queue);
  if (ask === null) return;
  const status: unknown = items.during(() => ask(buf));
  if (status === 0) return;
  const isStatus = typeof status === "number" && Number.isSafeInteger(status);
  throw new DoorError(
    isStatus ? status : codes.kCMBufferQueueError_InvalidBuffer,
    "ERR_BAD_DATA",
    isStatus
      ? `${call}(): the validation callback refused ${buf} with ${status}`
      : `${call}(): ${wants("what the validation callback returned", "a status", status)}`,
  );
}

function timeCondition<T extends CFTypeRef>(
  call: string,
  queue: CMBufferQueue<T>,
  items: TimedQueue<T>,
  condition: number,
  time: bigint | undefined,
): TriggerCondition {
  const found = conditionOf(queue, items, condition, time);
  if (found === undefined) throw badCondition(call, "one from 1 to 9", condition);
  // A condition without a duration ignores a time, as in C; something that is not a time is a mistake all the same.
  const isMissing =
    time === undefined && condition <= codes.kCMBufferQueueTrigger_WhenDurationBecomesGreaterThanOrEqualTo;
  if (isMissing || (time !== undefined && typeof time !== "bigint"))
    throw badDuration(call, "triggerTime", "nanoseconds as a bigint", time, "ERR_INVALID_ARG_TYPE");
  return found;
}

function conditionOf<T extends CFTypeRef>(
  queue: CMBufferQueue<T>,
  items: TimedQueue<T>,
  condition: number,
  time: bigint | undefined,
): TriggerCondition | undefined {
  switch (condition) {
    case codes.kCMBufferQueueTrigger_WhenMinPresentationTimeStampChanges:
      return { changes: () => items.minPts };
    case codes.kCMBufferQueueTrigger_WhenMaxPresentationTimeStampChanges:
      return { changes: () => items.maxPts };
    case codes.kCMBufferQueueTrigger_WhenDataBecomesReady:
      return { when: () => isReady(queue) };
    case codes.kCMBufferQueueTrigger_WhenEndOfDataReached:
      return { when: () => items.isAtEnd };
    case codes.kCMBufferQueueTrigger_WhenReset:
      return { changes: () => items.clears };
    case codes.kCMBufferQueueTrigger_WhenDurationBecomesLessThan:
      return { when: () => items.duration < time! };
    case codes.kCMBufferQueueTrigger_WhenDurationBecomesLessThanOrEqualTo:
      return { when: () => items.duration <= time! };
    case codes.kCMBufferQueueTrigger_WhenDurationBecomesGreaterThan:
      return { when: () => items.duration > time! };
    case codes.kCMBufferQueueTrigger_WhenDurationBecomesGreaterThanOrEqualTo:
      return { when: () => items.duration >= time! };
  }
  return undefined;
}

function install<T extends CFTypeRef>(
  call: string,
  queue: CMBufferQueue<T>,
  items: TimedQueue<T>,
  callback: CMBufferQueueTriggerCallback | null,
  refcon: unknown,
  condition: TriggerCondition,
): CMBufferQueueTriggerToken {
  checkCallback(call, "triggerCallback", callback);
  const token = makeToken(queue);
  // Before it is installed: the first call may come at once, and gets the token.
  let isRemoved = false;
  setTrigger(token, {
    test: () => true,
    remove: () => {
      isRemoved = true;
      return true;
    },
  });
  const trigger = items.addTrigger(condition, callback === null ? null : () => callback(refcon, token));
  if (isRemoved) trigger.remove();
  else setTrigger(token, trigger);
  return token;
}

function triggerFor<T extends CFTypeRef>(
  call: string,
  queue: CMBufferQueue<T>,
  token: CMBufferQueueTriggerToken,
): QueueTrigger {
  live(call, queue);
  const trigger = isToken(token) ? triggerOf(token, queue) : null;
  if (trigger !== null) return trigger;
  throw new DoorError(
    codes.kCMBufferQueueError_InvalidTriggerToken,
    isToken(token) ? "ERR_INVALID_ARG_VALUE" : "ERR_INVALID_ARG_TYPE",
    `${call}(): ${wants("triggerToken", "of a trigger that is installed on this queue", token)}`,
  );
}

/** The queue underneath, of one that is alive. */
function live<T extends CFTypeRef>(call: string, queue: CMBufferQueue<T>): TimedQueue<T> {
  if (!isQueue(queue)) throw missing(`${call}(): ${wants("queue", "a CMBufferQueue", queue)}`, "ERR_INVALID_ARG_TYPE");
  assertAlive(call, queue);
  return timed(queue);
}

/** The queue underneath, of one that may change now. */
function changeable<T extends CFTypeRef>(call: string, queue: CMBufferQueue<T>): TimedQueue<T> {
  const items = live(call, queue);
  assertChangeable(call, queue);
  return items;
}

function assertChangeable<T extends CFTypeRef>(call: string, queue: CMBufferQueue<T>): void {
  if (!timed(queue).isBusy) return;
  throw new DoorError(
    codes.kCMBufferQueueError_CannotModifyQueueFromTriggerCallback,
    "ERR_REENTRANT",
    `${call}() was called from a trigger or another callback of ${queue}, which may ask it and not change it; do it after that has returned`,
  );
}

function checkFunction(call: string, name: string, value: unknown): void {
  if (typeof value !== "function")
    throw missing(`${call}(): ${wants(name, "a function", value)}`, "ERR_INVALID_ARG_TYPE");
}

/** As {@link checkFunction}, where null says that there is none; undefined is a forgotten one. */
function checkCallback(call: string, name: string, value: unknown): void {
  if (value !== null && typeof value !== "function")
    throw missing(`${call}(): ${wants(name, "a function or null", value)}`, "ERR_INVALID_ARG_TYPE");
}

function missing(message: string, code: ErrorCode): DoorError {
  return new DoorError(codes.kCMBufferQueueError_RequiredParameterMissing, code, message);
}

function invalidBuffer(code: DoorError["code"], message: string, cause: MillpondError): DoorError {
  return new DoorError(codes.kCMBufferQueueError_InvalidBuffer, code, message, undefined, { cause });
}

function badCondition(call: string, expected: string, value: unknown): DoorError {
  const message = `${call}(): ${wants("triggerCondition", expected, value)}`;
  return new DoorError(codes.kCMBufferQueueError_InvalidTriggerCondition, argumentCode(value), message);
}

function badDuration(call: string, name: string, expected: string, value: unknown, code: ErrorCode): DoorError {
  return new DoorError(
    codes.kCMBufferQueueError_BadTriggerDuration,
    code,
    `${call}(): ${wants(name, expected, value)}`,
  );
}
