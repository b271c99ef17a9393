/**
 * What a view really is. The length, offset and buffer that an object says it has may be those of a subclass, or of
 * anybody who defined a property; a native call that believed them would reach pages that belong to others. So each is
 * asked of the engine.
 */
import { wrongType } from "../util/validate.ts";
import { TYPED } from "../util/view.ts";

type Getter<T> = (this: unknown) => T;

function getterOf<T>(prototype: object, name: string): Getter<T> {
  return Object.getOwnPropertyDescriptor(prototype, name)!.get as Getter<T>;
}

const kindOf = getterOf<string | undefined>(TYPED, Symbol.toStringTag as never);
const typed = {
  buffer: getterOf<ArrayBufferLike>(TYPED, "buffer"),
  offset: getterOf<number>(TYPED, "byteOffset"),
  length: getterOf<number>(TYPED, "byteLength"),
};
const isResizableOf = (
  Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, "resizable") as { get?: Getter<boolean> } | undefined
)?.get;

/** A plain view of the same bytes; an empty one of a detached buffer. Throws `ERR_INVALID_ARG_TYPE`. */
export function plainBytes(name: string, value: Uint8Array): Uint8Array {
  // Of a Proxy and of an object that only has the prototype: undefined.
  if (kindOf.call(value) !== "Uint8Array") throw wrongType(name, "a Uint8Array", value);
  const length = typed.length.call(value);
  return length === 0 ? new Uint8Array(0) : new Uint8Array(typed.buffer.call(value), typed.offset.call(value), length);
}

/** Whether the engine may take pages of a buffer back while it is in use. */
export function isResizable(buffer: ArrayBufferLike): boolean {
  try {
    return isResizableOf?.call(buffer) === true;
  } catch {
    // Shared memory, which only grows.
    return false;
  }
}
