/**
 * What every object of this door is: counted by `CFRetain` and `CFRelease`, as Core Foundation's objects are. The last
 * release finalizes it and gives back all that it holds; a call with it after that is refused.
 */
import { isMediaBuffer, type MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { type MillpondError, saysGone } from "../../util/errors.ts";
import { assertMaker, DoorError, inDoor, messageOf, wants } from "../door-error.ts";

/** @internal What all objects of one type have in common. */
interface CFKind<T> {
  /** The type's name. */
  readonly name: string;
  /** The calls that make one, for messages. */
  readonly maker: string;
  /** What `CFGetTypeID` answers. */
  readonly typeID: number;
  /** The status of a call with something that is not such an object, or was one. */
  readonly status: number;
  /** Throws when the last release has to be refused; nothing has changed then. */
  check?(object: T): void;
  /** Whether its own callback runs, so that it cannot end just now. */
  isBusy?(object: T): boolean;
  /** Gives back what the object holds. */
  finalize(object: T): void;
}

/** `status` of `CFRetain` and `CFRelease` for what is not an object: as `kCMMemoryPoolError_InvalidParameter`. */
const INVALID_PARAMETER = -15491;

let isObject: (value: unknown) => value is CFType;
let kindOf: (object: CFType) => CFKind<CFType>;
let count: (object: CFType, delta: number) => number;

/** An object that `CFRetain` and `CFRelease` count; nobody else can make one. */
export abstract class CFType {
  #references = 1;
  readonly #kind: CFKind<CFType>;

  /** @internal */
  protected constructor(key: symbol, kind: CFKind<never>) {
    assertMaker(key, kind.name, kind.maker, kind.status);
    this.#kind = kind as CFKind<unknown>;
  }

  /** What the object is and holds. */
  abstract toString(): string;

  static {
    isObject = (value): value is CFType => typeof value === "object" && value !== null && #references in value;
    kindOf = (object) => object.#kind;
    count = (object, delta) => {
      object.#references += delta;
      return object.#references;
    };
  }
}

/**
 * What `CFRetain` and `CFRelease` take: an object of this door, or a buffer of the core in a queue of timed buffers.
 */
export type CFTypeRef = CFType | MediaBuffer;

/** Adds a reference, to be given back by {@link CFRelease}; returns the object. Throws a `DoorError`. @realtime */
export function CFRetain<T extends CFTypeRef>(cf: T): T {
  if (isMediaBuffer(cf)) inDoor(() => cf.retain(), refused("CFRetain", cf));
  else {
    checkLive(cf, "CFRetain");
    count(cf, 1);
  }
  return cf;
}

/**
 * Gives a reference back; the last one finalizes the object, which releases all that it holds. Throws a `DoorError` for
 * an object that is released already, and where its own bytes are mapped; nothing has changed then. Of what it holds,
 * bytes that are mapped go back with the last unmap().
 */
export function CFRelease(cf: CFTypeRef): void {
  if (isMediaBuffer(cf)) {
    inDoor(() => cf.release(), refused("CFRelease", cf));
    return;
  }
  checkLive(cf, "CFRelease");
  const kind = kindOf(cf);
  if (count(cf, 0) === 1) kind.check?.(cf);
  if (count(cf, -1) === 0) finalizeAll(cf);
}

/**
 * @internal {@link CFRelease}, by an object that ends and cannot try again: bytes that are mapped go back with the last
 * unmap(), and a queue whose callback runs ends when the present call stack is done.
 */
export function dropReference(cf: CFTypeRef): void {
  if (isMediaBuffer(cf)) {
    inDoor(() => cf.releaseWhenUnmapped(), refused("CFRelease", cf));
    return;
  }
  checkLive(cf, "CFRelease");
  if (count(cf, 0) === 1 && kindOf(cf).isBusy?.(cf)) queueMicrotask(() => dropLater(cf));
  else if (count(cf, -1) === 0) finalizeAll(cf);
}

/** In a later turn nobody hears of what went with its pool. */
function dropLater(cf: CFType): void {
  try {
    dropReference(cf);
  } catch (error) {
    if (!saysGone(error)) throw error;
  }
}

/** @internal Drops a reference of each, and throws the first error when all are dropped. */
export function dropReferences(objects: readonly CFTypeRef[]): void {
  let failure: { error: unknown } | undefined;
  for (const object of objects) {
    try {
      dropReference(object);
    } catch (error) {
      failure ??= { error };
    }
  }
  if (failure !== undefined) throw failure.error;
}

/** References of an object; 0 once it is finalized. Throws a `DoorError` for what is none. @realtime */
export function CFGetRetainCount(cf: CFTypeRef): number {
  if (isMediaBuffer(cf)) return inDoor(() => cf.refCount, refused("CFGetRetainCount", cf));
  if (!isObject(cf)) throw noObject("CFGetRetainCount", cf);
  return count(cf, 0);
}

/** "CMMB": buffers of the core are one type, too. */
const BUFFER_TYPE_ID = 0x434d4d42;

/** The number of an object's type. Throws a `DoorError` for what is none. @realtime */
export function CFGetTypeID(cf: CFTypeRef): number {
  if (isMediaBuffer(cf)) return BUFFER_TYPE_ID;
  if (!isObject(cf)) throw noObject("CFGetTypeID", cf);
  return kindOf(cf).typeID;
}

/** @internal Refuses an object that is finalized. */
export function assertAlive(call: string, object: CFType): void {
  if (count(object, 0) > 0) return;
  throw new DoorError(
    kindOf(object).status,
    "ERR_USE_AFTER_RELEASE",
    `${call}() refuses ${object}: CFRelease() gave its last reference back; CFRetain() it once for each that uses it`,
  );
}

/** @internal Whether a value can be retained and released. */
export function isCFType(value: unknown): value is CFTypeRef {
  return isMediaBuffer(value) || isObject(value);
}

/** @internal Whether an object is finalized. */
export function isFinalized(object: CFType): boolean {
  return count(object, 0) === 0;
}

/** Objects to finalize, while one is; null while none is. */
let waiting: CFType[] | null = null;

/** One after the other: an object that holds another one, and so on, would overflow the stack after some thousand. */
function finalizeAll(first: CFType): void {
  if (waiting !== null) {
    waiting.push(first);
    return;
  }
  const objects = [first];
  waiting = objects;
  let failure: { error: unknown } | undefined;
  try {
    for (let i = 0; i < objects.length; i++) {
      try {
        kindOf(objects[i]!).finalize(objects[i]!);
      } catch (error) {
        failure ??= { error };
      }
    }
  } finally {
    waiting = null;
  }
  if (failure !== undefined) throw failure.error;
}

function checkLive(cf: CFType, call: "CFRetain" | "CFRelease"): void {
  if (!isObject(cf)) throw noObject(call, cf);
  if (count(cf, 0) > 0) return;
  throw new DoorError(
    kindOf(cf).status,
    call === "CFRelease" ? "ERR_DOUBLE_RELEASE" : "ERR_USE_AFTER_RELEASE",
    `${call}() refuses ${cf}: its last reference is given back already; find the first CFRelease() of it`,
  );
}

function noObject(call: string, value: unknown): DoorError {
  return new DoorError(INVALID_PARAMETER, "ERR_INVALID_ARG_TYPE", `${call}(): ${wants("cf", "an object", value)}`);
}

/** What the core refuses about a buffer, in this door's words. */
function refused(call: string, buffer: MediaBuffer): (cause: MillpondError) => DoorError {
  const why: Partial<Record<string, string>> = {
    ERR_DOUBLE_RELEASE: "its last reference is given back already; find the first CFRelease() of it",
    ERR_USE_AFTER_RELEASE: "its last reference is given back already; CFRetain() it once for each that uses it",
  };
  return (cause) =>
    new DoorError(
      INVALID_PARAMETER,
      cause.code,
      `${call}() refuses ${buffer}: ${why[cause.code] ?? messageOf(cause)}`,
      undefined,
      { cause },
    );
}
