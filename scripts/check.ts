/** `npm run check`: every check of the repository, all of them even when one fails, and a verdict for each. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..");
const BIN = join(ROOT, "node_modules", ".bin");

// `build` stands before those that look at what it leaves.
const CHECKS: readonly (readonly [name: string, command: string, ...args: string[]])[] = [
  ["typecheck", join(BIN, "tsc"), "-p", "tsconfig.json"],
  ["typecheck of the page", join(BIN, "tsc"), "-p", "tsconfig.page.json"],
  ["lint", join(BIN, "biome"), "check", "--error-on-warnings", "."],
  ["layers", process.execPath, "scripts/check-layers.ts"],
  ["docblocks", process.execPath, "scripts/check-docblocks.ts"],
  ["cycles", process.execPath, "scripts/check-cycles.ts"],
  ["exports", process.execPath, "scripts/check-exports.ts"],
  ["sizes", process.execPath, "scripts/check-sizes.ts"],
  ["clean", process.execPath, "scripts/check-clean.ts"],
  ["docs", process.execPath, "scripts/check-docs.ts"],
  ["build", process.execPath, "scripts/build.ts"],
  ["types", process.execPath, "scripts/check-types.ts"],
  ["api", process.execPath, "scripts/check-api.ts"],
  ["samples", process.execPath, "scripts/check-samples.ts"],
  ["bundle", process.execPath, "scripts/check-bundle.ts"],
  ["package", process.execPath, "scripts/check-package.ts"],
];

const failed: string[] = [];
for (const [name, command, ...args] of CHECKS) {
  const started = performance.now();
  const { status, error } = spawnSync(command, args, { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] });
  if (error !== undefined) console.error(error.message);
  if (status !== 0) failed.push(name);
  console.log(`${status === 0 ? "ok  " : "FAIL"} ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
}
if (failed.length > 0) {
  console.error(`check: ${failed.join(", ")} failed`);
  process.exit(1);
}
