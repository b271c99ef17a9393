/** What the doctor's preload works with: saved at load, and none of it a way into the program. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  framesBelow,
  getterOf,
  list,
  ownProperty,
  SafeMap,
  SafeSet,
  sorted,
  textOf,
  valueInNewContext,
} from "../../../src/adapters/node/profile/originals.ts";

type Place = readonly [holder: object, name: PropertyKey, property: PropertyDescriptor];

/** What comes of some work while something else is in those places. Nothing may be awaited, or tested, meanwhile. */
function having<T>(places: readonly Place[], work: () => T): T {
  const before = places.map(([holder, name]) => Object.getOwnPropertyDescriptor(holder, name));
  // By index: iterators may be among the places.
  for (let n = 0; n < places.length; n++) {
    const [holder, name, property] = [places[n]![0], places[n]![1], places[n]![2]];
    Reflect.defineProperty(holder, name, { configurable: true, ...property });
  }
  try {
    return work();
  } finally {
    for (let n = places.length - 1; n >= 0; n--) {
      const property = before[n];
      if (property === undefined) Reflect.deleteProperty(places[n]![0], places[n]![1]);
      else Reflect.defineProperty(places[n]![0], places[n]![1], property);
    }
  }
}

describe("the preload's own tools", () => {
  it("write the JSON that JSON.stringify writes, of data", () => {
    fc.assert(
      fc.property(fc.jsonValue({ depthSize: "small" }), (value) => {
        expect(JSON.parse(textOf(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
    expect(textOf({ a: undefined, b: [Number.NaN, undefined, Number.POSITIVE_INFINITY, () => 1] })).toBe(
      '{"b":[null,null,null,null]}',
    );
  });

  it("ask a context of its own, which has nothing of the program's Object.prototype", () => {
    let calls = 0;
    const get = (): void => void calls++;
    const options = [
      "name",
      "origin",
      "contextName",
      "microtaskMode",
      "importModuleDynamically",
      "filename",
      "timeout",
    ];
    const places = ["gc", ...options].map((name): Place => [Object.prototype, name, { get }]);
    expect(having(places, () => valueInNewContext("typeof globalThis.gc + typeof globalThis.name"))).toMatch(
      /^(undefined|function)undefined$/,
    );
    expect(calls).toBe(0);
  });

  it("call no toJSON, no setter and no iterator of the program's", () => {
    const refuse = (): never => {
      throw new Error("called");
    };
    const places: Place[] = [
      [Array.prototype, "0", { set: refuse, get: refuse }],
      [Object.prototype, "toJSON", { value: refuse }],
      [Array.prototype, "toJSON", { value: refuse }],
      [Map.prototype, "get", { value: refuse }],
      [Map.prototype, "forEach", { value: refuse }],
      [Set.prototype, "add", { value: refuse }],
    ];
    const found = { text: "", lowest: 0, got: 0, sum: 0, has: false };
    having(places, () => {
      const numbers = list<number>();
      numbers[0] = 2;
      numbers[1] = 1;
      const map = new SafeMap<string, number>();
      map.set("a", 1);
      map.forEach((value) => {
        found.sum += value;
      });
      const set = new SafeSet<number>();
      set.add(1);
      found.text = textOf({ numbers, more: { a: 1 } });
      found.lowest = sorted(numbers, 2)[0]!;
      found.got = map.get("a")!;
      found.has = set.has(1);
    });
    expect(found).toEqual({ text: '{"numbers":[2,1],"more":{"a":1}}', lowest: 1, got: 1, sum: 1, has: true });
  });

  it("ask the engine for a stack past what the program has put on Error, and leave that as it was", () => {
    let calls = 0;
    const count = (): undefined => {
      calls++;
      return undefined;
    };
    const names = ["prepareStackTrace", "stackTraceLimit"];
    const property = { get: count, set: count };
    const places = names.map((name): Place => [Error, name, property]);
    function below(): readonly NodeJS.CallSite[] {
      return framesBelow(below, 8);
    }
    const [frames, after] = having(places, () => {
      const found = below();
      return [found, names.map((name) => Object.getOwnPropertyDescriptor(Error, name))] as const;
    });
    expect([calls, after]).toMatchObject([0, [property, property]]);
    expect(frames.length).toBeGreaterThan(0);
    expect(frames[0]!.getFileName()).toContain("profile.test.ts");
  });

  it("find getters also where a subclass stands in the place of a class", () => {
    class Mine extends Uint8Array {}
    expect(getterOf<number>(Mine.prototype, "byteLength")(new Uint8Array(7))).toBe(7);
    expect(() => getterOf(Mine.prototype, "nothing")).toThrow("no getter");
    const accessor = Object.defineProperty({}, "x", { get: () => 2 });
    const value = having(
      [[Object.prototype, "value", { value: 1 }]],
      () => ownProperty(accessor, "x")?.value as unknown,
    );
    expect(value).toBeUndefined();
  });
});
