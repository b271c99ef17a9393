/**
 * The long kills of pools between processes, run by hand: `node scripts/soak-processes.ts [seconds]`, by default 300
 * for each. Processes that hold leases, or push them into a ring, are killed (SIGKILL) at random moments and replaced.
 * Exit code 1 when a slot had two holders, showed another's bytes, or was lost. The seed is printed; MILLPOND_SEED
 * repeats it.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

const seconds = Number(process.argv[2] ?? 300);
if (!(seconds > 0)) throw new Error("how many seconds?");
const seed = process.env.MILLPOND_SEED ?? String(Math.floor(Math.random() * 2 ** 31));
console.log(`MILLPOND_SEED=${seed}`);

const root = join(import.meta.dirname, "..");
const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
let bad = 0;
for (const [file, test] of [
  ["test/pools/process/process-pool.test.ts", "at random moments, under load"],
  ["test/pools/process/process-lane.test.ts", "killed at random moments"],
  ["test/os/hostile.test.ts", "killed at any moment"],
] as const) {
  const { status } = spawnSync(process.execPath, [vitest, "run", "--mode", "all", file, "-t", test], {
    cwd: root,
    stdio: "inherit",
    env: {
      ...process.env,
      MILLPOND_SEED: seed,
      MILLPOND_SOAK_MS: String(seconds * 1000),
    },
  });
  if (status !== 0) bad++;
}
console.log(bad === 0 ? "no slot had two holders, none was lost" : `${bad} FAILURES`);
process.exit(bad === 0 ? 0 : 1);
