/**
 * Long soaks, run by hand: the model-based suites with a hundred times the commands. `node scripts/soak.ts [walks]`;
 * the default of 100,000 walks is 10^7 commands of the pool and takes some minutes. The seed is printed; MILLPOND_SEED
 * repeats it.
 */
import { spawnSync } from "node:child_process";

const walks = process.argv[2] ?? "100000";
const { status } = spawnSync(
  "npx",
  [
    "vitest",
    "run",
    "--mode",
    "all",
    "test/pools/buffer/model.test.ts",
    "test/media/buffer/model.test.ts",
    "test/pools/page/model.test.ts",
    "test/pools/slab/model.test.ts",
    "test/pools/shared/model.test.ts",
    "test/arena/model.test.ts",
    "test/pools/realtime/model.test.ts",
  ],
  {
    stdio: "inherit",
    // Two hours: ten times what the default takes on a slow machine.
    env: { ...process.env, MILLPOND_WALKS: walks, MILLPOND_TIMEOUT: String(2 * 3600 * 1000) },
  },
);
process.exit(status ?? 1);
