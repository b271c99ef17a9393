/**
 * `npm run test:native`: the native layer's tests on every runtime that can be had, with a last line that says where
 * they ran. Node 22 and 26, Deno and Bun are fetched into node_modules/.cache (some 150 MB) unless they are there
 * already, or `--no-fetch` is given. On macOS and Windows this is what turns "untested" in docs/native.md into a
 * report.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RUNTIMES, runtimes } from "../test/os/runtimes.ts";

const ROOT = join(import.meta.dirname, "..");
/** npm's own names of platforms in the packages that carry Node's binaries. */
const NODE_PLATFORM = `${process.platform === "win32" ? "win" : process.platform}-${process.arch}`;

function fetchRuntimes(): void {
  mkdirSync(RUNTIMES, { recursive: true });
  const manifest = join(RUNTIMES, "package.json");
  // A package of its own, so that npm leaves the project's lock alone.
  if (!existsSync(manifest)) writeFileSync(manifest, '{ "private": true }\n');
  for (const wanted of [`n22@npm:node-${NODE_PLATFORM}@22`, `n26@npm:node-${NODE_PLATFORM}@26`, "deno@2", "bun@1"]) {
    const folder = wanted.split("@")[0]!;
    if (existsSync(join(RUNTIMES, "node_modules", folder))) continue;
    // One at a time: what cannot be had for this platform must not keep the others away.
    const { status } = spawnSync("npm", ["install", "--no-audit", "--no-fund", "--ignore-scripts", wanted], {
      cwd: RUNTIMES,
      stdio: ["ignore", "ignore", "inherit"],
      shell: process.platform === "win32",
    });
    if (status !== 0) console.log(`${wanted} could not be fetched: its tests are skipped`);
  }
}

if (!process.argv.includes("--no-fetch")) fetchRuntimes();
for (const { name, command, reason } of runtimes()) console.log(`${name}: ${command?.[0] ?? reason}`);
const { status } = spawnSync(
  process.execPath,
  [join(ROOT, "node_modules", "vitest", "vitest.mjs"), "run", "--mode", "all", "test/os"],
  {
    cwd: ROOT,
    stdio: "inherit",
  },
);
console.log(`native tests ${status === 0 ? "passed" : "FAILED"} on ${process.platform} ${process.arch}`);
process.exit(status ?? 1);
