/**
 * Keeps an object in its thread: a value that structured clone refuses, for a property of the object or of one that it
 * refers to. Without it `postMessage(frame)` would send a copy of the pool's insides, bytes included, that nothing
 * works with. A symbol, because engines put its text into their DataCloneError; a string-keyed property, because clones
 * pass over the others. Pools and allocators have it; what they give refers to one of them.
 */
export const UNCLONEABLE: symbol = /* @__PURE__ */ Symbol("millpond: post bytes, or the handle of a SharedPool");
