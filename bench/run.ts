/**
 * npm run bench -- NAME [--rounds N] [--quick] [--json FILE] [--strict]
 * npm run bench -- NAME --against CHECKOUT [--limit 1.05]    our subjects beside those of another checkout, in one run
 * npm run bench            lists the suites
 * npm run bench -- report  (or npm run figures) writes the committed results into README.md and docs/
 */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { suiteAgainst } from "./lib/against.ts";
import { writeFigures } from "./lib/figures.ts";
import { judge } from "./lib/judge.ts";
import { formatText, type Report } from "./lib/print.ts";
import { FULL, QUICK } from "./lib/protocol.ts";
import { runSuite } from "./lib/run-suite.ts";
import type { Suite } from "./lib/suite.ts";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string" },
    quick: { type: "boolean", default: false },
    json: { type: "string" },
    strict: { type: "boolean", default: false },
    // The folder of another checkout, such as a git worktree of the commit before.
    against: { type: "string" },
    limit: { type: "string", default: "1.05" },
    // Another bench folder than this one, with suites/ and subjects/ of its own: the harness's test uses it.
    root: { type: "string", default: import.meta.dirname },
  },
});
const root = options.root;
const [name] = positionals;
if (name === undefined) listSuites();
else if (name === "report") writeFigures(resolve(root, ".."));
else await bench(name);

async function bench(name: string): Promise<void> {
  const file = join(root, "suites", `${name}.ts`);
  if (!existsSync(file)) {
    console.error(`bench: there is no suite "${name}"`);
    listSuites();
    process.exitCode = 2;
    return;
  }
  const rounds = options.rounds === undefined ? (options.quick ? 2 : 5) : Number(options.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) {
    console.error(`bench: --rounds takes a whole number of at least 1, not "${options.rounds}"`);
    process.exitCode = 2;
    return;
  }
  const { suite: whole } = (await import(pathToFileURL(file).href)) as { suite: Suite };
  const limit = Number(options.limit);
  if (!(limit > 0)) {
    console.error(`bench: --limit takes a ratio above 0, not "${options.limit}"`);
    process.exitCode = 2;
    return;
  }
  const suite =
    options.against === undefined ? whole : suiteAgainst(whole, join(resolve(options.against), "bench"), limit);
  const run = await runSuite(name, suite, {
    rounds,
    effort: options.quick ? QUICK : FULL,
    benchRoot: root,
    idleWaitMs: options.quick ? 0 : 5_000,
    onRun: (subject, round) => {
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Kround ${round} of ${rounds}: ${subject}`);
    },
  });
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  const report: Report = { ...run, goals: judge(suite.goals, run) };
  console.log(formatText(report));

  // A quick run is no result: it must be asked for by name before it may stand where the real figures stand.
  // Nor is a comparison of two commits.
  const scratch = options.quick || options.against !== undefined;
  const json = options.json ?? (scratch ? undefined : join(root, "results", `${name}.json`));
  if (json !== undefined) {
    mkdirSync(dirname(json), { recursive: true });
    writeFileSync(json, `${JSON.stringify(report, null, 1)}\n`);
  }
  const missed = report.goals.filter(({ state }) => state === "missed").length;
  if (missed > 0) console.log(`${missed} of ${report.goals.length} goals MISSED`);
  if (options.strict && missed > 0) process.exitCode = 1;
}

function listSuites(): void {
  const names = readdirSync(join(root, "suites")).filter((file) => file.endsWith(".ts"));
  console.log(`suites: ${names.map((file) => file.slice(0, -3)).join(", ")}`);
  console.log("npm run bench -- NAME [--rounds N] [--quick] [--json FILE] [--strict] [--against CHECKOUT]");
}
