/**
 * The short version of the soak (scripts/soak-shared.ts): 10^7 operations in all. The seed is printed and can be given
 * again.
 */
import { expect, it } from "vitest";
import { FULL, REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { stress } from "./stress.ts";

const seed = seedOf("stress");

for (const { operations, isFast, ...options } of [
  { workers: 2, count: 4, killEvery: 40, operations: 1_500_000, isFast: true },
  { workers: 2, count: 1, killEvery: 40, operations: 500_000, isFast: false },
  { workers: 4, count: 32, killEvery: 30, operations: 3_000_000, isFast: true },
  { workers: 8, count: 1024, killEvery: 40, operations: 5_000_000, isFast: false },
]) {
  const least = times(Math.round(operations / 100), operations);
  const name = `${JSON.stringify(options)}: no slot with two workers, none lost, whichever is killed`;
  it(name, isFast ? REPEATED : FULL, async () => {
    const result = await stress({ ...options, operations: least, seed });
    console.log(JSON.stringify({ ...options, ...result }));
    expect(result).toMatchObject({ violations: 0, lost: 0 });
    expect([result.operations >= least, result.kills > 0]).toEqual([true, true]);
  });
}
