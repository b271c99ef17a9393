/**
 * The soak of SharedPool, run by hand: `node scripts/soak-shared.ts [operations]`, by default 10^8 (some minutes), in
 * 2, 4 and 8 workers that are killed at random. Exit code 1 when a slot was with two of them, or was lost. The seed is
 * printed; MILLPOND_SEED repeats it.
 */
import { stress } from "../test/pools/shared/stress.ts";

const operations = Number(process.argv[2] ?? 1e8);
if (!(operations > 0)) throw new Error("how many operations?");
const seed = Number(process.env.MILLPOND_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`MILLPOND_SEED=${seed}`);

// Few slots are fought for, many are cached in magazines: both, with both kinds of bitmap.
const plans = [
  { workers: 2, count: 1, killEvery: 100 },
  { workers: 2, count: 8, killEvery: 100 },
  { workers: 4, count: 32, killEvery: 60 },
  { workers: 4, count: 4096, killEvery: 100 },
  { workers: 8, count: 256, killEvery: 60 },
];
let bad = 0;
for (const plan of plans) {
  const result = await stress({ ...plan, seed, operations: Math.ceil(operations / plans.length) });
  bad += result.violations + result.lost;
  console.log(JSON.stringify({ ...plan, ...result }));
}
console.log(bad === 0 ? "no slot was with two workers, none was lost" : `${bad} FAILURES`);
process.exit(bad === 0 ? 0 : 1);
