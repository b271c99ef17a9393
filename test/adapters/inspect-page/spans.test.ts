// Shares its realm with other files: nothing that it changes outlives it.
/** Leases over time: a ring that keeps the newest. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Spans } from "../../../src/adapters/inspect/page/spans.ts";

const listOf = (spans: Spans, from = Number.NEGATIVE_INFINITY): [number, number][] => {
  const list: [number, number][] = [];
  spans.each(from, (start, end) => list.push([start, end]));
  return list;
};

describe("spans", () => {
  test("begin and end, newest first, an open one without an end", () => {
    const spans = new Spans();
    expect([spans.isOpen, listOf(spans)]).toEqual([false, []]);
    spans.begin(10);
    spans.end(20);
    spans.begin(30);
    expect(listOf(spans)).toEqual([
      [30, Number.POSITIVE_INFINITY],
      [10, 20],
    ]);
    expect(listOf(spans, 21)).toEqual([[30, Number.POSITIVE_INFINITY]]);
  });

  test("an end that comes late, for a lease before the open one, changes nothing", () => {
    const spans = new Spans();
    spans.begin(10);
    spans.begin(30);
    expect(spans.end(20)).toBe(false);
    expect(listOf(spans)).toEqual([
      [30, Number.POSITIVE_INFINITY],
      [10, 30],
    ]);
    expect(spans.end(40)).toBe(true);
    expect(spans.end(50)).toBe(false);
  });

  test("leases of less than a pixel become one with what is beside them; two long ones stay two", () => {
    const spans = new Spans();
    for (let time = 0; time < 100; time += 0.5) {
      spans.begin(time);
      spans.end(time + 0.4);
    }
    expect(spans.length).toBe(1);
    expect(listOf(spans)[0]![0]).toBe(0);
    spans.begin(200);
    spans.end(250);
    spans.begin(250);
    spans.end(300);
    expect(listOf(spans, 200)).toEqual([
      [250, 300],
      [200, 250],
    ]);
  });

  test("keep a minute and no more than fits, whatever happens", () => {
    const spans = new Spans();
    for (let i = 0; i < 20_000; i++) {
      spans.begin(i * 4);
      spans.end(i * 4 + 2);
    }
    expect(spans.length).toBe(4096);
    expect(listOf(spans)[0]).toEqual([79_996, 79_998]);
    const slow = new Spans();
    // One a second: those of more than a minute ago are overwritten, and the ring stays small.
    for (let i = 0; i < 10_000; i++) {
      slow.begin(i * 1000);
      slow.end(i * 1000 + 500);
    }
    expect(slow.length).toBe(64);
    expect(listOf(slow).at(-1)![0]).toBeLessThan(9_999_000 - 60_000);
  });

  test("stay in order for every order of calls", () => {
    const calls = fc.array(fc.tuple(fc.boolean(), fc.double({ min: 0, max: 1e5, noNaN: true })), { maxLength: 200 });
    fc.assert(
      fc.property(calls, (list) => {
        const spans = new Spans();
        for (const [isBegin, time] of list) {
          if (isBegin) spans.begin(time);
          else spans.end(time);
        }
        let next = Number.POSITIVE_INFINITY;
        for (const [start, end] of listOf(spans)) {
          expect(start).toBeLessThanOrEqual(end);
          expect(end === Number.POSITIVE_INFINITY ? start : end).toBeLessThanOrEqual(next);
          next = start;
        }
      }),
      { seed: 7, numRuns: 500 },
    );
  });
});
