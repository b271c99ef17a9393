/**
 * Shows that no verdict of the tests depends on how busy the machine is: runs the fast lane again and again beside a
 * busy loop on each core. `node scripts/repeat-tests.ts [rounds] [arguments of vitest]`, after `npm run build`; 20
 * rounds by default, some two hours on two cores. Each round is one line; the whole output of a round that failed is
 * kept, and its failures are printed. Exits with 1 when any round failed.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";

const [given = "20", ...more] = process.argv.slice(2);
const rounds = Number(given);
if (!Number.isInteger(rounds) || rounds < 1)
  throw new Error(`the number of rounds is a whole number above 0, not ${given}`);

const root = join(import.meta.dirname, "..");
// It ends with its standard input, so that none outlives this script.
const LOOP = `process.stdin.on("end", () => process.exit()).resume();
  (function turn() { for (const end = Date.now() + 200; Date.now() < end; ); setImmediate(turn); })();`;
const busy = Array.from({ length: availableParallelism() }, () =>
  spawn(process.execPath, ["-e", LOOP], { stdio: ["pipe", "ignore", "ignore"] }),
);
let folder: string | undefined;
let passed = 0;
try {
  for (let round = 1; round <= rounds; round++) {
    const began = performance.now();
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [join(root, "node_modules/vitest/vitest.mjs"), "run", ...more],
      { cwd: root, encoding: "utf8", maxBuffer: 2 ** 28, env: { ...process.env, NO_COLOR: "1" } },
    );
    const seconds = Math.round((performance.now() - began) / 1000);
    const line = stdout.split("\n").findLast((text) => /^\d+ passed, /.test(text)) ?? "no closing line";
    if (status === 0) passed++;
    console.log(`round ${round} of ${rounds}: ${status === 0 ? "passed" : "FAILED"} in ${seconds} s: ${line}`);
    if (status === 0) continue;
    folder ??= mkdtempSync(join(tmpdir(), "millpond-repeat-"));
    const file = join(folder, `round-${round}.txt`);
    writeFileSync(file, stdout + stderr);
    const failures = new Set(stdout.split("\n").filter((text) => /^\s*FAIL |Error: /.test(text)));
    console.log(`${[...failures].slice(0, 40).join("\n")}\nwhole output: ${file}`);
  }
} finally {
  for (const child of busy) child.kill("SIGKILL");
}
console.log(`${passed} of ${rounds} rounds passed beside ${busy.length} busy loops`);
process.exitCode = passed === rounds ? 0 : 1;
