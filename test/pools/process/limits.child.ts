/**
 * Makes pools until the process may open no more descriptors, and says what became of it, of the pools before, and of
 * the names of the first one.
 */
import { closeSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ProcessPool } from "../../../src/native.ts";
import { isMillpondError } from "../../../src/util/errors.ts";

const pools: ProcessPool[] = [ProcessPool.create({ size: 64, count: 1, watch: Number.POSITIVE_INFINITY })];
const names = ["one", "two"].map((name) => pools[0]!.publish(name));
let refused: unknown;
for (let n = 0; n < 100 && refused === undefined; n++) {
  try {
    pools.push(ProcessPool.create({ size: 64, count: 1, watch: Number.POSITIVE_INFINITY }));
  } catch (error) {
    refused = error;
  }
}
const works = pools.every((pool) => {
  pool.release(pool.tryAcquire()!);
  return pool.stats().free === 1;
});
const held: number[] = [];
try {
  for (;;) held.push(openSync("/dev/null", "r"));
} catch {
  // There is none left.
}
const [first] = names;
if (first?.ok === true) first.value.withdraw();
pools[0]!.leave();
for (const number of held) closeSync(number);
const left = readdirSync(join(process.env.XDG_RUNTIME_DIR!, "millpond"));
const again = ProcessPool.create({ size: 64, count: 1 }).stats().free === 1;
const { code, errno } = isMillpondError(refused)
  ? { code: refused.code, errno: (refused.details as { errno?: unknown }).errno }
  : { code: String(refused), errno: undefined };
console.log(JSON.stringify({ made: pools.length, code, errno, works, again, names: names.map(({ ok }) => ok), left }));
process.exit(0);
