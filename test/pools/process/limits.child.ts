/** Makes pools until the process may open no more descriptors, and says what became of it and of the pools before. */
import { ProcessPool } from "../../../src/native.ts";
import { isMillpondError } from "../../../src/util/errors.ts";

const pools: ProcessPool[] = [];
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
pools[0]?.leave();
const again = ProcessPool.create({ size: 64, count: 1 }).stats().free === 1;
const { code, errno } = isMillpondError(refused)
  ? { code: refused.code, errno: (refused.details as { errno?: unknown }).errno }
  : { code: String(refused), errno: undefined };
console.log(JSON.stringify({ made: pools.length, code, errno, works, again }));
process.exit(0);
