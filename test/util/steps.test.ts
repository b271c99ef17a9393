// Shares its realm with other files: nothing that it changes outlives it.
import fc from "fast-check";
import { expect, it } from "vitest";
import { finish, sortSteps } from "../../src/util/steps.ts";

it("an array that is sorted in steps is as the engine sorts it, equal ones in the order that they had", () => {
  const item = fc.record({ key: fc.integer({ min: 0, max: 50 }), at: fc.nat() });
  const compare = (a: { key: number }, b: { key: number }): number => a.key - b.key;
  fc.assert(
    fc.property(fc.array(item, { maxLength: 300 }), fc.integer({ min: 1, max: 60 }), (list, repeat) => {
      const long = Array.from({ length: repeat }, () => list)
        .flat()
        .map(({ key }, at) => ({ key, at }));
      expect(finish(sortSteps([...long], compare))).toEqual([...long].sort(compare));
    }),
    { numRuns: 60 },
  );
});

it("it is done a bounded part at a time", () => {
  const list = Array.from({ length: 50_000 }, (_, i) => (i * 7919) % 50_000);
  let calls = 0;
  let most = 0;
  const steps = sortSteps(list, (a, b) => {
    calls++;
    return a - b;
  });
  for (const _ of steps) {
    most = Math.max(most, calls);
    calls = 0;
  }
  expect(most).toBeLessThan(65_536);
  expect(list).toEqual(Array.from({ length: 50_000 }, (_, i) => i));
});
