/** What a hostile or careless program passes where something else is expected. Each call makes its value anew. */

function detached(): Uint8Array {
  const bytes = new Uint8Array(64);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
}

function shrunk(): Uint8Array {
  const buffer = new ArrayBuffer(64, { maxByteLength: 128 });
  const bytes = new Uint8Array(buffer, 32, 32);
  buffer.resize(16);
  return bytes;
}

/** Throws at whatever is done with it. */
function thrower(): object {
  const fail = (): never => {
    throw new HostileError();
  };
  return new Proxy(
    {},
    {
      get: fail,
      has: fail,
      ownKeys: fail,
      getOwnPropertyDescriptor: fail,
      getPrototypeOf: fail,
      set: fail,
      defineProperty: fail,
    },
  );
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

/** What a caller's own getter throws: it may come out as it is, nobody may swallow it half way. */
export class HostileError extends Error {
  override name = "HostileError";
}

/** Names of numbers that are a size for some machines: what takes one may really allocate that much. */
export const LARGE: readonly string[] = ["2^31", "2^32"];

/** Name of the value, and what makes it. */
export const HOSTILE: readonly (readonly [name: string, make: () => unknown])[] = [
  ["undefined", () => undefined],
  ["null", () => null],
  ["NaN", () => Number.NaN],
  ["-1", () => -1],
  ["-0", () => -0],
  ["0", () => 0],
  ["0.5", () => 0.5],
  ["2^31", () => 2 ** 31],
  ["2^32", () => 2 ** 32],
  ["2^53", () => 2 ** 53],
  ["-2^53", () => -(2 ** 53)],
  ["1e308", () => 1e308],
  ["Infinity", () => Number.POSITIVE_INFINITY],
  ["-Infinity", () => Number.NEGATIVE_INFINITY],
  ["true", () => true],
  ["false", () => false],
  ["an empty string", () => ""],
  ["a string", () => "x"],
  ["a numeric string", () => "8"],
  ["a long string", () => "x".repeat(100_000)],
  ["__proto__", () => "__proto__"],
  ["a symbol", () => Symbol("hostile")],
  ["a bigint", () => 8n],
  ["a negative bigint", () => -(2n ** 70n)],
  ["an object", () => ({})],
  ["an object without prototype", () => Object.create(null) as unknown],
  ["an array", () => []],
  ["an array with a hole", () => Object.assign([], { length: 2, 1: 1 })],
  ["an array of symbols", () => [Symbol("hostile")]],
  ["a sparse array", () => Object.assign([], { length: 2 ** 32 - 1 })],
  ["a function", () => () => undefined],
  [
    "a function that throws",
    () => () => {
      throw new HostileError();
    },
  ],
  ["a class", () => class Hostile {}],
  ["a proxy that throws", thrower],
  ["a revoked proxy", revoked],
  ["a date", () => new Date(Number.NaN)],
  ["a map", () => new Map()],
  ["a promise", () => Promise.resolve(8)],
  [
    "a thenable that throws",
    () =>
      // biome-ignore lint/suspicious/noThenProperty: that is the hostility
      Object.defineProperty({}, "then", {
        get() {
          throw new HostileError();
        },
      }),
  ],
  [
    "an object whose toString throws",
    () => ({
      toString() {
        throw new HostileError();
      },
      valueOf() {
        throw new HostileError();
      },
    }),
  ],
  ["no bytes", () => new Uint8Array(0)],
  ["detached bytes", detached],
  ["a detached buffer", () => detached().buffer],
  ["bytes out of bounds", shrunk],
  ["a resizable buffer", () => new ArrayBuffer(8, { maxByteLength: 64 })],
  ["shared bytes", () => new Uint8Array(new SharedArrayBuffer(64))],
  ["a shared buffer", () => new SharedArrayBuffer(64)],
  ["odd bytes", () => new Uint8Array(new ArrayBuffer(64), 3, 7)],
  ["a DataView", () => new DataView(new ArrayBuffer(8))],
  ["a float array", () => new Float64Array([Number.NaN])],
  ["a frozen object", () => Object.freeze({ size: 8 })],
  ["an aborted signal", () => AbortSignal.abort(new HostileError())],
  ["a false signal", () => ({ aborted: false, reason: undefined })],
];
