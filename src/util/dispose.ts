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
  define(target, (target.prototype as Record<string, unknown>)[method]);
}

/**
 * Makes `using lease = ...` call a function at the end of the block. It gives back what is still held, and does nothing
 * when the lease is over: an error there would hide the block's own in a SuppressedError.
 */
export function disposeWith<T extends object>(target: { readonly prototype: T }, dispose: (this: T) => void): void {
  define(target, dispose);
}

/**
 * Makes `await using x = ...` call `method` at the end of the block, where the platform knows `Symbol.asyncDispose`.
 *
 * @param target the class
 * @param method the name of its plain method, which returns a promise
 */
export function disposeAsyncBy(target: DisposableClass, method: string): void {
  if (typeof Symbol.asyncDispose !== "symbol") return;
  const value = (target.prototype as Record<string, unknown>)[method];
  Object.defineProperty(target.prototype, Symbol.asyncDispose, { configurable: true, writable: true, value });
}

/**
 * Makes `using pool = ...` close a pool by force at the end of the block: leases that are still out then are taken
 * back.
 *
 * @param target a class with `close({ force })`
 */
export function disposeByForce(target: { readonly prototype: Closable }): void {
  define(target, function (this: Closable): void {
    this.close({ force: true });
  });
}

interface Closable {
  close(options: { force: boolean }): unknown;
}

function define(target: DisposableClass, value: unknown): void {
  if (typeof Symbol.dispose !== "symbol") return;
  Object.defineProperty(target.prototype, Symbol.dispose, { configurable: true, writable: true, value });
}
