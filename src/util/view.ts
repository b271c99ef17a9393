/**
 * What a view says of itself, whatever its holder defined on the object: an own `byteLength` or `buffer` is not read.
 */
type Getter<T> = (this: ArrayBufferView) => T;

/** What all typed arrays inherit from, also where a program has put a subclass in the place of one of them. */
function typedPrototype(): object {
  let at: object = Uint8Array.prototype;
  while (!Object.hasOwn(at, "byteLength")) at = Object.getPrototypeOf(at) as object;
  return at;
}

/** What all typed arrays inherit from. */
export const TYPED: object = typedPrototype();
const length = Object.getOwnPropertyDescriptor(TYPED, "byteLength")!.get as Getter<number>;
const buffer = Object.getOwnPropertyDescriptor(TYPED, "buffer")!.get as Getter<ArrayBuffer>;

/** Bytes of a view; 0 where its buffer is detached. */
export function lengthOf(view: Uint8Array): number {
  return length.call(view);
}

/** The buffer of a view. */
export function bufferOf(view: Uint8Array<ArrayBuffer>): ArrayBuffer {
  return buffer.call(view);
}
