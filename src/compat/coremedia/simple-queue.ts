/**
 * CMSimpleQueue: first in, first out, one thread that enqueues and one that dequeues, without a lock, over the core's
 * ring of integers.
 *
 * In one thread an element may be anything but null. A queue whose {@link CMSimpleQueue.handle} was taken is between
 * threads, and then an element is a whole number from 0 to 2^31 - 1: an index, or a lease of a SharedPool. As in the
 * original, elements are not retained.
 *
 * ```ts
 * const queue = CMSimpleQueueCreate(100);              // worker.postMessage(queue.handle)
 * CMSimpleQueueEnqueue(queue, 7);                      // -12773: full
 * // there: const queue = CMSimpleQueueAttach(handle);
 * CMSimpleQueueDequeue(queue);                         // 7; null: empty
 * ```
 * The first thread that enqueues is the one that does, the first that dequeues likewise; a second one is refused. Every
 * call is O(1), but for a reset. The ring is larger than the queue, so that what its popping side has not published yet
 * never counts as full.
 */

import { SpscRing } from "../../pools/shared/ring.ts";
import { RingWord } from "../../pools/shared/ring-steps.ts";
import { MillpondError } from "../../util/errors.ts";
import { argumentCode, DoorError, inDoor, MAKE, messageOf, wants } from "../door-error.ts";
import { assertAlive, CFType, isFinalized } from "./cf-type.ts";

/** `status`: no memory for the queue. */
export const kCMSimpleQueueError_AllocationFailed = -12770;
/** `status`: the queue or the element is missing. */
export const kCMSimpleQueueError_RequiredParameterMissing = -12771;
/** `status`: a capacity or an element that cannot be, or a thread that may not make this call. */
export const kCMSimpleQueueError_ParameterOutOfRange = -12772;
/** `status`: the queue is full. */
export const kCMSimpleQueueError_QueueIsFull = -12773;

/** What another thread attaches to; it can be posted. */
export interface CMSimpleQueueHandle {
  /** The ring. */
  readonly memory: SharedArrayBuffer;
  /** Elements that fit in. */
  readonly capacity: number;
}

/** A ring has at most 2^20 places, and an eighth of them may wait to be published. */
const MOST = 2 ** 20 - 2 ** 17;

let makeQueue: (ring: SpscRing, capacity: number, isShared: boolean) => CMSimpleQueue;
let isQueue: (value: unknown) => value is CMSimpleQueue;
let enqueue: (queue: CMSimpleQueue, element: NonNullable<unknown>) => void;
let dequeue: (queue: CMSimpleQueue) => unknown;
let head: (queue: CMSimpleQueue) => unknown;
let reset: (queue: CMSimpleQueue) => void;
let count: (queue: CMSimpleQueue) => number;
let capacityOf: (queue: CMSimpleQueue) => number;

const KIND = {
  name: "CMSimpleQueue",
  maker: "CMSimpleQueueCreate()",
  // "CMSQ"
  typeID: 0x434d5351,
  status: kCMSimpleQueueError_RequiredParameterMissing,
  finalize: (queue: CMSimpleQueue): void => dropObjects(queue),
} as const;

let dropObjects: (queue: CMSimpleQueue) => void;

/** A queue, opaque; {@link CMSimpleQueueCreate} makes it. */
export class CMSimpleQueue extends CFType {
  readonly #ring: SpscRing;
  readonly #capacity: number;
  /** Elements that are not integers, by their place in the ring; only while the queue is in one thread. */
  #objects: unknown[] = [];
  #pushed = 0;
  #popped = 0;
  #isShared: boolean;
  #enqueues = false;
  #dequeues = false;

  private constructor(key: symbol, ring: SpscRing, capacity: number, isShared: boolean) {
    super(key, KIND);
    this.#ring = ring;
    this.#capacity = capacity;
    this.#isShared = isShared;
  }

  /**
   * Beyond the original: what another thread attaches to. From then on elements are whole numbers. Throws -12772 while
   * there is an element in the queue that is none.
   */
  get handle(): CMSimpleQueueHandle {
    assertAlive("CMSimpleQueue.handle", this);
    if (this.#objects.some((element) => element !== undefined)) {
      throw refused(
        "ERR_ACTIVE",
        `CMSimpleQueue.handle: ${this} has elements that are not whole numbers, and another thread cannot have them; dequeue them first`,
      );
    }
    this.#isShared = true;
    return { memory: this.#ring.memory, capacity: this.#capacity };
  }

  /** What this queue is and holds. */
  override toString(): string {
    if (isFinalized(this)) return "CMSimpleQueue (released)";
    const shared = this.#isShared ? ", between threads" : "";
    return `CMSimpleQueue of ${this.#capacity} elements (${this.#count()} in it${shared})`;
  }

  #count(): number {
    return Math.min(this.#ring.count, this.#capacity);
  }

  #enqueue(element: NonNullable<unknown>): void {
    if (!this.#enqueues) this.#enqueues = this.#claim(RingWord.PUSHER, "CMSimpleQueueEnqueue", "enqueues");
    const isInteger = typeof element === "number" && (element | 0) === element && element >= 0;
    if (!isInteger && this.#isShared) {
      const expected = "a whole number from 0 to 2^31 - 1, as the queue is between threads";
      throw refused(argumentCode(element), `CMSimpleQueueEnqueue(): ${wants("element", expected, element)}`);
    }
    const value = isInteger ? (element as number) : 0;
    if (this.#ring.count >= this.#capacity || !this.#ring.tryPush(value)) {
      const message = `CMSimpleQueueEnqueue(): the queue is full with ${this.#capacity} elements; dequeue some, or make it larger`;
      throw new DoorError(kCMSimpleQueueError_QueueIsFull, "ERR_POOL_FULL", message);
    }
    // -0 is a 0 in the ring, and comes back as it is here.
    const isPlain = isInteger && !Object.is(element, -0);
    if (!isPlain || this.#objects.length > 0)
      this.#objects[this.#pushed % this.#capacity] = isPlain ? undefined : element;
    this.#pushed++;
  }

  #dequeue(): unknown {
    this.#assertDequeues("CMSimpleQueueDequeue");
    const value = this.#pop();
    if (value < 0) return null;
    const place = this.#popped++ % this.#capacity;
    const object = this.#objects[place];
    if (object === undefined) return value;
    this.#objects[place] = undefined;
    return object;
  }

  #head(): unknown {
    this.#assertDequeues("CMSimpleQueueGetHead");
    const value = this.#peek();
    return value < 0 ? null : (this.#objects[this.#popped % this.#capacity] ?? value);
  }

  #pop(): number {
    try {
      return this.#ring.tryPop();
    } catch (error) {
      throw damaged("CMSimpleQueueDequeue", error);
    }
  }

  #peek(): number {
    try {
      return this.#ring.peek();
    } catch (error) {
      throw damaged("CMSimpleQueueGetHead", error);
    }
  }

  #reset(): void {
    this.#assertDequeues("CMSimpleQueueReset");
    // What was in it at the beginning: a thread that enqueues all the while must not hold this one.
    for (let left = this.#count(); left > 0 && this.#dequeue() !== null; left--);
  }

  #assertDequeues(call: string): void {
    if (!this.#dequeues) this.#dequeues = this.#claim(RingWord.POPPER, call, "dequeues");
  }

  /** One thread a side: two would take each other's elements. */
  #claim(word: number, call: string, does: string): true {
    const { i32 } = this.#ring.state;
    if (Atomics.compareExchange(i32, word, 0, 1) === 0) return true;
    const message = `${call}() refuses ${this}: another thread, or another handle, ${does} already, and only one may; make a queue a direction`;
    throw refused("ERR_ALREADY_EXISTS", message);
  }

  static {
    makeQueue = (ring, capacity, isShared) => new CMSimpleQueue(MAKE, ring, capacity, isShared);
    isQueue = (value): value is CMSimpleQueue => typeof value === "object" && value !== null && #capacity in value;
    enqueue = (queue, element) => queue.#enqueue(element);
    dequeue = (queue) => queue.#dequeue();
    head = (queue) => queue.#head();
    reset = (queue) => queue.#reset();
    count = (queue) => queue.#count();
    capacityOf = (queue) => queue.#capacity;
    dropObjects = (queue) => {
      queue.#objects = [];
    };
  }
}

/** A queue for so many elements. Throws a `DoorError`: -12772 for a capacity that cannot be, -12770. */
export function CMSimpleQueueCreate(capacity: number): CMSimpleQueue {
  if (typeof capacity !== "number" || !Number.isInteger(capacity) || capacity < 1 || capacity > MOST) {
    const expected = `a whole number from 1 to ${MOST}`;
    throw refused(argumentCode(capacity), `CMSimpleQueueCreate(): ${wants("capacity", expected, capacity)}`);
  }
  try {
    return makeQueue(SpscRing.create(placesFor(capacity)), capacity, false);
  } catch (cause) {
    const message = `CMSimpleQueueCreate() could not have memory for ${capacity} elements`;
    throw new DoorError(kCMSimpleQueueError_AllocationFailed, "ERR_ALLOCATION_FAILED", message, undefined, { cause });
  }
}

/** Beyond the original: the same queue in another thread. Throws a `DoorError`: -12772. */
export function CMSimpleQueueAttach(handle: CMSimpleQueueHandle): CMSimpleQueue {
  const call = "CMSimpleQueueAttach";
  if (typeof handle !== "object" || handle === null)
    throw refused("ERR_INVALID_ARG_TYPE", `${call}(): ${wants("handle", "a CMSimpleQueue's handle", handle)}`);
  const { memory, capacity } = handle;
  const ring = inDoor(
    () => SpscRing.attach(memory),
    (cause) => refused(cause.code, `${call}(): ${messageOf(cause)}`, { cause }),
  );
  const fits = typeof capacity === "number" && Number.isInteger(capacity) && capacity > 0 && capacity <= MOST;
  if (!fits || placesFor(capacity) !== ring.capacity) {
    const expected = `the one that its ring of ${ring.capacity} places was made for`;
    throw refused("ERR_BAD_DATA", `${call}(): ${wants("handle.capacity", expected, capacity)}`);
  }
  return makeQueue(ring, capacity, true);
}

/**
 * Puts an element in. Throws a `DoorError`: -12773 when the queue is full, -12771 without an element, -12772. @realtime
 */
export function CMSimpleQueueEnqueue(queue: CMSimpleQueue, element: NonNullable<unknown>): void {
  checkQueue("CMSimpleQueueEnqueue", queue);
  if (element === null || element === undefined) {
    const message = `CMSimpleQueueEnqueue(): ${wants("element", "anything but null", element)}`;
    throw new DoorError(kCMSimpleQueueError_RequiredParameterMissing, "ERR_INVALID_ARG_TYPE", message);
  }
  enqueue(queue, element);
}

/** Takes the oldest element out; null: the queue is empty. Throws a `DoorError`: -12771, -12772. @realtime */
export function CMSimpleQueueDequeue(queue: CMSimpleQueue): unknown {
  checkQueue("CMSimpleQueueDequeue", queue);
  return dequeue(queue);
}

/** The oldest element, which stays in; null: the queue is empty. Throws a `DoorError`: -12771, -12772. @realtime */
export function CMSimpleQueueGetHead(queue: CMSimpleQueue): unknown {
  checkQueue("CMSimpleQueueGetHead", queue);
  return head(queue);
}

/** Empties the queue, in the thread that dequeues. Throws a `DoorError`: -12771, -12772. O(elements). */
export function CMSimpleQueueReset(queue: CMSimpleQueue): void {
  checkQueue("CMSimpleQueueReset", queue);
  reset(queue);
}

/** Elements that fit in. Throws a `DoorError`: -12771. @realtime */
export function CMSimpleQueueGetCapacity(queue: CMSimpleQueue): number {
  checkQueue("CMSimpleQueueGetCapacity", queue);
  return capacityOf(queue);
}

/** Elements that are in. Throws a `DoorError`: -12771. @realtime */
export function CMSimpleQueueGetCount(queue: CMSimpleQueue): number {
  checkQueue("CMSimpleQueueGetCount", queue);
  return count(queue);
}

/** How full the queue is, from 0 to 1. Throws a `DoorError`: -12771. @realtime */
export function CMSimpleQueueGetFullness(queue: CMSimpleQueue): number {
  checkQueue("CMSimpleQueueGetFullness", queue);
  return count(queue) / capacityOf(queue);
}

/** The number of this kind of object; the same at every call, never 0. @realtime */
export function CMSimpleQueueGetTypeID(): number {
  return KIND.typeID;
}

/** A power of two, an eighth of which is room to spare: small rings publish each pop, and need none. */
function placesFor(capacity: number): number {
  const places = 2 ** Math.ceil(Math.log2(capacity));
  return places < 32 || places - places / 8 >= capacity ? places : 2 * places;
}

/** What the ring throws is about its counters only. */
function damaged(call: string, error: unknown): unknown {
  return error instanceof MillpondError
    ? refused(error.code, `${call}(): ${messageOf(error)}`, { cause: error })
    : error;
}

function checkQueue(call: string, queue: CMSimpleQueue): void {
  if (!isQueue(queue)) {
    const message = `${call}(): ${wants("queue", "a CMSimpleQueue", queue)}`;
    throw new DoorError(kCMSimpleQueueError_RequiredParameterMissing, "ERR_INVALID_ARG_TYPE", message);
  }
  assertAlive(call, queue);
}

function refused(code: DoorError["code"], message: string, options?: ErrorOptions): DoorError {
  return new DoorError(kCMSimpleQueueError_ParameterOutOfRange, code, message, undefined, options);
}
