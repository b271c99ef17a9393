/**
 * `using` support without patching globals: the method exists where the platform has the symbol, and nowhere else.
 * Every disposable of the library also has a plain method that does the same.
 */

interface DisposableClass {
  readonly prototype: object;
}

/**
 * Makes `using x = ...` call `method` at the end of the block, where the platform knows `Symbol.dispose`.
 *
 * @param target the class
 * @param method the name of its plain method (`release`, `unmap`, `close`)
 */
export function disposeBy(target: DisposableClass, method: string): void {
  if (typeof Symbol.dispose !== "symbol") return;
  Object.defineProperty(target.prototype, Symbol.dispose, {
    configurable: true,
    writable: true,
    value: (target.prototype as Record<string, unknown>)[method],
  });
}
