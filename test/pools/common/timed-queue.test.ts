/**
 * The core's timed queue: order, sums and extremes against a model, bounds, triggers once a crossing, hooks that call
 * back or throw.
 */
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type QueueTrigger, TimedQueue } from "../../../src/pools/common/timed-queue.ts";
import { code } from "../buffer/pools.ts";

interface Item {
  readonly pts?: bigint | undefined;
  readonly duration?: bigint | undefined;
  readonly bytes?: number;
  readonly n?: number;
}

const measure = (item: Item): Item => item;
const byPts = (a: Item, b: Item): number => Number((a.pts ?? 0n) - (b.pts ?? 0n));

afterEach(() => {
  vi.useRealTimers();
});

describe("a timed queue", () => {
  it("agrees with a sorted list about order, sums and extremes, whatever is pushed, shifted and cleared", () => {
    const item = fc.record({
      pts: fc.option(fc.bigInt({ min: -5n, max: 5n }), { nil: undefined }),
      duration: fc.bigInt({ min: 0n, max: 9n }),
      bytes: fc.nat(9),
    });
    const step = fc.oneof({ weight: 6, arbitrary: item }, fc.constantFrom("shift", "shift", "shift", "clear"));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.boolean(), (plan, sorted) => {
        const queue = new TimedQueue<Item>({ measure, compare: sorted ? byPts : undefined });
        let model: Item[] = [];
        let n = 0;
        for (const what of plan) {
          if (what === "shift") expect(queue.shift()).toBe(model.shift());
          else if (what === "clear") {
            expect(queue.clear()).toEqual(model);
            model = [];
          } else {
            const one = { ...(what as Item), n: n++ };
            queue.tryPush(one);
            const after = sorted ? model.findIndex((other) => byPts(one, other) < 0) : -1;
            model.splice(after < 0 ? model.length : lastPlace(model, one), 0, one);
          }
          const times = model.flatMap(({ pts }) => (pts === undefined ? [] : [pts])).sort((a, b) => Number(a - b));
          const ends = model.flatMap(({ pts, duration }) => (pts === undefined ? [] : [pts + duration!]));
          expect([queue.items(), queue.head, queue.length]).toEqual([model, model[0], model.length]);
          expect([queue.duration, queue.bytes]).toEqual([
            model.reduce((sum, { duration }) => sum + duration!, 0n),
            model.reduce((sum, { bytes }) => sum + bytes!, 0),
          ]);
          expect([queue.minPts, queue.maxPts, queue.firstPts]).toEqual([times[0], times.at(-1), model[0]?.pts]);
          expect(queue.endPts).toBe(ends.sort((a, b) => Number(a - b)).at(-1));
        }
      }),
    );
  });

  it("holds each bound, on count, time and bytes; an item alone may exceed those on time and bytes", () => {
    const queue = new TimedQueue<Item>({ measure, limits: { count: 3, time: 10n, bytes: 100 } });
    expect(queue.tryPush({ duration: 50n, bytes: 1000 })).toBe(true);
    expect(queue.tryPush({})).toBe(false);
    queue.shift();
    const fits = [{ duration: 6n }, { duration: 5n }, { bytes: 101 }, { duration: 4n, bytes: 100 }, {}, {}];
    expect(fits.map((item) => queue.tryPush(item))).toEqual([true, false, false, true, true, false]);
  });

  it("takes nothing after its end, until it is cleared", () => {
    const queue = new TimedQueue<Item>({ measure });
    queue.tryPush({});
    queue.end();
    queue.end();
    expect([queue.hasEnd, queue.isAtEnd, code(() => queue.tryPush({}))]).toEqual([true, false, "ERR_INACTIVE"]);
    queue.shift();
    expect(queue.isAtEnd).toBe(true);
    queue.clear();
    expect([queue.hasEnd, queue.isAtEnd, queue.tryPush({})]).toEqual([false, false, true]);
  });

  it("refuses what is not a time, no size, no hook and no bound, and has not changed then", () => {
    const queue = new TimedQueue<unknown>({ measure: (item) => item as Item });
    for (const item of [
      null,
      5,
      { pts: 5 },
      { dts: "1" },
      { duration: -1n },
      { duration: 5 },
      { bytes: -1 },
      { bytes: 1.5 },
    ])
      expect(code(() => queue.tryPush(item))).toBe("ERR_INVALID_ARG_TYPE");
    expect([queue.length, queue.duration]).toEqual([0, 0n]);
    for (const options of [
      null,
      {},
      { measure: 5 },
      { measure, compare: 5 },
      { measure, limits: { time: 5 } },
      { measure, limits: 7 },
    ])
      expect(code(() => new TimedQueue(options as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(() => new TimedQueue({ measure, limits: { count: 0 } }))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => new TimedQueue({ measure, limit: {} } as never))).toBe("ERR_INVALID_ARG_VALUE");
  });

  it("a hook that throws leaves it as it was; one that changes it gets ERR_REENTRANT", () => {
    const seen: string[] = [];
    const queue: TimedQueue<Item> = new TimedQueue<Item>({
      measure: (item) => {
        seen.push(code(() => queue.shift()));
        return item;
      },
      compare: (a, b) => {
        seen.push(code(() => queue.clear()));
        if (a.n === 9) throw new Error("mine");
        return byPts(a, b);
      },
    });
    queue.tryPush({ pts: 1n });
    queue.tryPush({ pts: 0n });
    expect(() => queue.tryPush({ n: 9 })).toThrow("mine");
    expect([queue.length, queue.firstPts, queue.tryPush({ pts: 2n })]).toEqual([2, 0n, true]);
    expect(new Set(seen)).toEqual(new Set(["ERR_REENTRANT"]));
  });
});

describe("a trigger", () => {
  it("fires once for each crossing, and at once where its condition holds already", () => {
    const queue = new TimedQueue<Item>({ measure });
    const fired: string[] = [];
    queue.addTrigger({ when: () => queue.length < 2 }, () => fired.push(`low at ${queue.length}`));
    queue.addTrigger({ when: () => queue.duration >= 10n }, () => fired.push(`long at ${queue.duration}`));
    for (let i = 0; i < 3; i++) queue.tryPush({ duration: 4n });
    queue.tryPush({ duration: 4n });
    for (let i = 0; i < 4; i++) queue.shift();
    queue.tryPush({ duration: 10n });
    expect(fired).toEqual(["low at 0", "long at 12", "low at 1", "long at 10"]);
  });

  it("on a value fires for each change of it; tested, it is false", () => {
    const queue = new TimedQueue<Item>({ measure });
    const seen: (bigint | undefined)[] = [];
    const trigger = queue.addTrigger({ changes: () => queue.minPts }, () => seen.push(queue.minPts));
    for (const pts of [5n, 7n, 3n, 3n]) queue.tryPush({ pts });
    queue.clear();
    expect([seen, trigger.test()]).toEqual([[5n, 3n, undefined], false]);
  });

  it("may ask the queue everything, and change nothing", () => {
    const queue = new TimedQueue<Item>({ measure });
    const codes: string[] = [];
    queue.addTrigger({ when: () => queue.length > 0 }, () => {
      expect([queue.length, queue.head, queue.minPts, queue.items().length]).toEqual([1, { pts: 1n }, 1n, 1]);
      for (const change of [
        () => queue.tryPush({}),
        () => queue.shift(),
        () => queue.end(),
        () => queue.clear(),
        () => queue.update(),
        () => queue.during(() => {}),
        () => queue.addTrigger({ when: () => true }, null),
      ])
        codes.push(code(change));
    });
    queue.tryPush({ pts: 1n });
    expect(codes).toEqual(Array(7).fill("ERR_REENTRANT"));
    expect(queue.length).toBe(1);
  });

  it("may take itself and others away while it runs", () => {
    const queue = new TimedQueue<Item>({ measure });
    let fired = 0;
    const all: QueueTrigger[] = [];
    const condition = { when: (): boolean => queue.length > 0 };
    for (let i = 0; i < 3; i++)
      all.push(queue.addTrigger(condition, () => fired++ === 0 && all.map((one) => one.remove())));
    queue.tryPush({});
    expect([fired, all.map((one) => one.remove())]).toEqual([1, [false, false, false]]);
  });

  it("that throws does not cost the caller an item: the error surfaces in a later turn", async () => {
    const thrown: unknown[] = [];
    const queue = new TimedQueue<Item>({ measure });
    queue.tryPush({ n: 1 });
    queue.addTrigger({ when: () => queue.length === 0 }, () => {
      throw new Error("mine");
    });
    process.once("uncaughtException", (error) => thrown.push(error.message));
    expect(queue.shift()).toEqual({ n: 1 });
    await expect.poll(() => thrown).toEqual(["mine"]);
    expect(queue.tryPush({})).toBe(true);
  });

  it("looks again when told that something changed outside", () => {
    const queue = new TimedQueue<Item>({ measure });
    let ready = false;
    let fired = 0;
    queue.addTrigger({ when: () => ready }, () => fired++);
    ready = true;
    expect(fired).toBe(0);
    queue.update();
    queue.update();
    expect(fired).toBe(1);
  });

  it("without a condition, or with a callback that is none, is refused", () => {
    const queue = new TimedQueue<Item>({ measure });
    for (const condition of [null, 5, {}, { when: 5 }])
      expect(code(() => queue.addTrigger(condition as never, null))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(() => queue.addTrigger({ when: () => true }, 5 as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(() => queue.during(5 as never))).toBe("ERR_INVALID_ARG_TYPE");
  });
});

/** Behind the last one that is not later: equal ones come out as they came in. */
function lastPlace(model: readonly Item[], one: Item): number {
  let place = model.length;
  while (place > 0 && byPts(one, model[place - 1]!) < 0) place--;
  return place;
}
