// Shares its realm with other files: nothing that it changes outlives it.
/** Texts of hostile programs, and numbers for people. */
import { describe, expect, test } from "vitest";
import {
  cut,
  cutFront,
  formatBytes,
  formatCount,
  formatDuration,
  formatRate,
  formatTime,
  nameOf,
  plural,
  shortPlace,
  visible,
} from "../../../src/adapters/inspect/page/text.ts";

describe("a text of the program", () => {
  test("shows controls, direction marks and what cannot be seen as escapes", () => {
    expect(visible("a\nb\tc\r\u0000\u001b[31m\u007f\u0085")).toBe("a\\nb\\tc\\r\\u{0}\\u{1b}[31m\\u{7f}\\u{85}");
    expect(visible("\u202egnp.exe\u2066\u200f\u200b\ufeff\u2028")).toBe(
      "\\u{202e}gnp.exe\\u{2066}\\u{200f}\\u{200b}\\u{feff}\\u{2028}",
    );
    expect(visible("\u{e0041}\u00ad\u3164")).toBe("\\u{e0041}\\u{ad}\\u{3164}");
    expect(visible("\ud800x\udc00")).toBe("\\u{d800}x\\u{dc00}");
  });

  test("leaves letters of all languages and pictures as they are", () => {
    for (const text of ["frames", "Кадры", "קבצים", "画像", "e\u0301", "👩‍👩‍👧", "<b>&amp;"])
      expect(visible(text)).toBe(text);
  });

  test("has an end, however long it is, and takes what is no text", () => {
    expect(visible("\u0000".repeat(1_000_000)).length).toBeLessThanOrEqual(2000 * 6);
    expect(visible(null)).toBe("null");
    expect(visible(12)).toBe("12");
  });

  test("is cut between characters, at the end or in front", () => {
    expect(cut("abcdef", 6)).toBe("abcdef");
    expect(cut("abcdefg", 6)).toBe("abcde\u2026");
    expect(cut("👍👍👍👍", 3)).toBe("👍👍\u2026");
    expect(cut("👍👍👍", 3)).toBe("👍👍👍");
    expect(cutFront("/app/src/main.js:12", 10)).toBe("\u2026ain.js:12");
    expect(cutFront("short", 10)).toBe("short");
    expect(Array.from(cutFront("👍👍👍👍", 3))).toHaveLength(3);
  });

  test("of a place in a file loses the folders in front, and nothing else", () => {
    expect(shortPlace("at file:///app/src/main.js:3:14")).toBe("src/main.js:3:14");
    expect(shortPlace("decode (file:///app/src/main.js:3:14)")).toBe("decode (src/main.js:3:14)");
    expect(shortPlace("new Foo (C:\\app\\src\\main.js:3:14)")).toBe("new Foo (src\\main.js:3:14)");
    expect(shortPlace("https://example.com/a/b.js:1:2")).toBe("a/b.js:1:2");
    expect(shortPlace("main.js:3 and/or more")).toBe("main.js:3 and/or more");
    expect(shortPlace("/".repeat(100_000))).toHaveLength(500);
  });

  test("stands for a pool that has no name", () => {
    expect(nameOf({ name: "" })).toBe("(no name)");
    expect(nameOf({ name: " " })).toBe(" ");
  });
});

describe("a number", () => {
  test("of bytes, of a time, of a rate, of things", () => {
    expect([0, 999, 1000, 3_110_400, 99_900_000, 5e9, 7e15, Number.NaN].map(formatBytes)).toEqual([
      "0 B",
      "999 B",
      "1.0 kB",
      "3.1 MB",
      "100 MB",
      "5.0 GB",
      "7,000 TB",
      "\u2013",
    ]);
    expect(
      [-1, 0.04, 9.94, 9.96, 999.4, 999.6, 99_940, 99_960, 3_599_400, 3_600_000, 7_500_000, null].map(formatDuration),
    ).toEqual([
      "0 ms",
      "0.0 ms",
      "9.9 ms",
      "10 ms",
      "999 ms",
      "1.0 s",
      "99.9 s",
      "1 min 40 s",
      "59 min 59 s",
      "1 h 0 min",
      "2 h 5 min",
      "\u2013",
    ]);
    expect([0, 0.04, 4.26, 99.4, 99.6, 123_456, Number.POSITIVE_INFINITY].map(formatRate)).toEqual([
      "0",
      "0",
      "4.3",
      "99.4",
      "100",
      "123,456",
      "\u2013",
    ]);
    expect([null, 0, 12_345, Number.NaN].map(formatCount)).toEqual(["\u2013", "0", "12,345", "\u2013"]);
    expect([plural(0, "slot"), plural(1, "slot"), plural(2, "slot")]).toEqual(["0 slots", "1 slot", "2 slots"]);
  });

  test("of a time that is none", () => {
    expect(formatTime(Number.NaN)).toBe("\u2013");
    expect(formatTime(1_700_000_000_123)).toMatch(/^\d\d:\d\d:20\.1$/);
  });
});
