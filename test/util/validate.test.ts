/** Objects of options: an unknown key is refused in any kind of object, and only keys of its own are looked at. */
import { describe, expect, it } from "vitest";
import { checkOptions, nearest, show } from "../../src/util/validate.ts";
import { code } from "../pools/buffer/pools.ts";

const KNOWN = ["zero", "revoke"] as const;
const check = (value: unknown): object => checkOptions<object>("options", value as object, KNOWN);

class Options {
  zero = 1;
}
class Wrong extends Options {
  zeros = 1;
}

describe("an unknown key", () => {
  it.each<[string, () => object]>([
    ["a plain object", () => ({ zero: 1, zeros: 2 })],
    ["an object without prototype", () => Object.assign(Object.create(null) as object, { zeros: 2 })],
    ["an instance of a class", () => new Wrong()],
    ["an object with a prototype of its own", () => Object.assign(Object.create({ zero: 1 }) as object, { zeros: 2 })],
    ["an object that says what its constructor is", () => ({ constructor: Object, zero: 1 })],
    ["a proxy of a plain object", () => new Proxy({ zeros: 2 }, {})],
    ["a frozen object", () => Object.freeze({ zeros: 2 })],
    ["an object whose key hides one of every object", () => ({ toString: 1 })],
    ["an object with a number for a key", () => ({ 0: 1 })],
  ])("of %s is refused", (_, make) => {
    expect(code(() => check(make()))).toBe("ERR_INVALID_ARG_VALUE");
  });

  it.each<[string, () => object]>([
    ["inherited from an object", () => Object.create({ zeros: 2 }) as object],
    ["not enumerable", () => Object.defineProperty({ zero: 1 }, "zeros", { value: 2 })],
    ["a symbol", () => ({ [Symbol("zeros")]: 2 })],
  ])("that is %s is not looked at", (_, make) => {
    const given = make();
    expect(check(given)).toBe(given);
  });

  it("that a program adds to every object is nobody's option", () => {
    Object.defineProperty(Object.prototype, "polluted", {
      value: 1,
      enumerable: true,
      configurable: true,
      writable: true,
    });
    try {
      const given = { zero: 1 };
      expect(check(given)).toBe(given);
      expect(code(() => check({ zeros: 1 }))).toBe("ERR_INVALID_ARG_VALUE");
    } finally {
      Reflect.deleteProperty(Object.prototype, "polluted");
    }
  });

  it("of what is not an object of options is not asked for: bytes and arrays, whatever they call their constructor", () => {
    for (const one of [new Uint8Array(8), [], new DataView(new ArrayBuffer(1))]) {
      Object.defineProperty(one, "constructor", { value: Object });
      expect(code(() => check(one))).toBe("ERR_INVALID_ARG_TYPE");
    }
  });
});

describe("the word that a mistyped one is nearest to", () => {
  it.each([
    ["topp", ["run", "top"], "top"],
    ["zeros", KNOWN, "zero"],
    ["maxBytez", ["max", "maxBytes"], "maxBytes"],
    ["maxBuffers", ["max", "maxBytes"], "max"],
    ["numberOfChannels", ["format", "channels"], "channels"],
    ["count", ["size", "max"], "max"],
    ["max", ["size", "count"], "count"],
    ["max", ["size", "count", "maxx"], "count"],
    ["mode", ["size", "count"], undefined],
    ["within", ["in"], undefined],
    ["x".repeat(1_000_000), ["max", "count"], undefined],
  ] as const)("of %s is the one that it is nearest to, begins or ends with, or stands for", (word, known, meant) => {
    expect(nearest(word, known)).toBe(meant);
  });
});

describe("a value in a message", () => {
  it.each<[string, unknown]>([
    ["a bigint of a megabyte", 2n ** 8_000_000n],
    ["one below zero", -(2n ** 8_000_000n)],
    ["a string of a megabyte", "x".repeat(2 ** 20)],
    ["a function with a name of a megabyte", Object.defineProperty(() => {}, "name", { value: "x".repeat(2 ** 20) })],
    ["an object of a class with such a name", { constructor: { name: "x".repeat(2 ** 20) } }],
    ["an object of a class whose name is a large bigint", { constructor: { name: 2n ** 8_000_000n } }],
  ])("is short: %s", (_, value) => {
    expect(show(value).length).toBeLessThan(100);
  });

  it("is itself where it is small", () => {
    expect([5n, -(10n ** 20n), "a", -0, null, [], {}, class A {}].map(show)).toEqual([
      ...["5n", "-100000000000000000000n", '"a"', "-0", "null", "an array", "an object of Object", "function A"],
    ]);
  });
});
