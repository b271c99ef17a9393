/**
 * The short version of the soak (scripts/soak-shared.ts): 10^7 operations in all. The seed is printed and can be given
 * again.
 */
import { expect, it } from "vitest";
import { REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { stress } from "./stress.ts";

const seed = seedOf("stress");

it.each([
  { workers: 2, count: 4, killEvery: 40, operations: 1_500_000 },
  { workers: 2, count: 1, killEvery: 40, operations: 500_000 },
  { workers: 4, count: 32, killEvery: 30, operations: 3_000_000 },
  { workers: 8, count: 1024, killEvery: 40, operations: 5_000_000 },
])("%o: no slot with two workers, none lost, whichever is killed", REPEATED, async ({ operations, ...options }) => {
  const least = times(Math.round(operations / 50), operations);
  const result = await stress({ ...options, operations: least, seed });
  console.log(JSON.stringify({ ...options, ...result }));
  expect(result).toMatchObject({ violations: 0, lost: 0 });
  expect([result.operations >= least, result.kills > 0]).toEqual([true, true]);
});
