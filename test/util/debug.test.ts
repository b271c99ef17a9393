/** Debug patterns: judged at the call that brings them, and never a burden for the pools that come later. */
import { describe, expect, it } from "vitest";
import { RealtimePool, setDebugLevel } from "../../src/index.ts";
import { debugLevel, debugLevelOf } from "../../src/util/debug.ts";
import { code } from "../pools/buffer/pools.ts";

describe("a debug pattern", () => {
  it("of hostile length or type is refused at the call, and later pools are made as before", () => {
    for (const pattern of ["x".repeat(1e5), "*".repeat(257), "(".repeat(1e6)]) {
      expect(code(() => setDebugLevel(1, pattern))).toBe("ERR_OUT_OF_RANGE");
    }
    for (const pattern of [Symbol("p"), {}, null, 1, Object.create(null)]) {
      expect(code(() => setDebugLevel(1, pattern as string))).toBe("ERR_INVALID_ARG_TYPE");
    }
    for (const level of [Number.NaN, -1, 0.5, 2 ** 53])
      expect(code(() => setDebugLevel(level, "x"))).toBe("ERR_OUT_OF_RANGE");
    RealtimePool.create({ totalSize: 64, name: "after" }).close();
  });

  it("of many stars costs no exponential time", () => {
    const stars = `${"*a".repeat(127)}*b`;
    setDebugLevel(1, stars);
    try {
      // Exponential time would not end before the test is ended.
      expect(debugLevelOf("a".repeat(5000))).toBe(debugLevel());
    } finally {
      setDebugLevel(0, stars);
    }
  });

  it("matches a name in which * stands for anything and all else for itself", () => {
    const matches = (pattern: string, name: string): boolean => {
      setDebugLevel(7, pattern);
      const hit = debugLevelOf(name) === 7;
      setDebugLevel(0, pattern);
      return hit;
    };
    for (const [pattern, name, want] of [
      ["mix*", "mixer", true],
      ["mix*", "mix", true],
      ["mix*", "remix", false],
      ["*er", "mixer", true],
      ["*", "", true],
      ["", "", true],
      ["", "a", false],
      ["a*b*c", "aXXbXbYc", true],
      ["a*b*c", "aXXbXbY", false],
      ["a.c", "abc", false],
      ["(a|b)[c]\\", "(a|b)[c]\\", true],
      ["a**b", "a\nb", true],
      ["*ab", "aab", true],
      ["ab", "abab", false],
    ] as const) {
      expect([pattern, name, matches(pattern, name)]).toEqual([pattern, name, want]);
    }
  });
});
