// Shares its realm with other files: nothing that it changes outlives it.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { judge } from "../../bench/lib/judge.ts";
import type { Report } from "../../bench/lib/print.ts";
import { parseFigures, QUICK } from "../../bench/lib/protocol.ts";
import { runSuite } from "../../bench/lib/run-suite.ts";
import { median, percentile } from "../../bench/lib/statistics.ts";
import type { Suite } from "../../bench/lib/suite.ts";
import { findSystemNode } from "../../scripts/lib/system-node.ts";
import { FULL } from "../helpers/effort.ts";
import { makeTree } from "./fixture.ts";

const BENCH = join(import.meta.dirname, "..", "..", "bench");

const subject = (body: string, rest = ""): string => `
  import { measure, sink } from ${JSON.stringify(join(BENCH, "lib/subject.ts"))};
  await measure({ loop(n) { for (let i = 0; i < n; i++) { ${body} } }${rest} });
`;

// 1 against 50 steps of the same work: no noise of a busy machine turns that round.
const TREE = {
  "suites/fixture.ts": `
    export const suite = {
      title: "Fixture", what: "steps", unit: "ns per step", anchor: "slow",
      subjects: [
        { name: "quick", kind: "ours", file: "subjects/quick.ts" },
        { name: "slow", kind: "peer", file: "subjects/slow.ts" },
        { name: "absent", kind: "peer", file: "subjects/absent.ts" },
        { name: "native", kind: "native", file: "native/x.c", packages: ["no-such-library-anywhere"] },
      ],
      goals: [
        { what: "quick beats slow", subject: "quick", against: "slow", maxRatio: 0.5 },
        { what: "slow beats quick", subject: "slow", against: "quick", maxRatio: 1 },
        { what: "beats absent", subject: "quick", against: "absent", maxRatio: 1 },
        { what: "slow leaves no garbage behind", subject: "slow", metric: "gc", atMost: 0 },
      ],
    };
  `,
  "native/x.c": "int main(void) { return 0; }\n",
  "subjects/quick.ts": subject("sink.value = i;"),
  "subjects/slow.ts": subject("for (let k = 0; k < 50; k++) sink.value = [k, new Array(20)];", ", garbage: true"),
};

function bench(root: string, ...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [join(BENCH, "run.ts"), ...args, "--root", root], { encoding: "utf8" });
}

describe("the bench harness", () => {
  test("runs the subjects of another checkout beside ours and judges each pair", FULL, () => {
    const earlier = makeTree({ "bench/subjects/quick.ts": TREE["subjects/slow.ts"] });
    const { status, stdout } = bench(makeTree(TREE), "fixture", "--quick", "--against", earlier, "--strict");
    expect(stdout).toMatch(/goal met: not slower than it was: [\d.]+ <= 1.05 \(quick \/ quick, earlier\)/);
    expect(stdout).not.toContain("slow beats quick");
    expect(status).toBe(0);
  });

  test("runs each subject in its own process, in rounds, and states every goal, missed ones as loudly", FULL, () => {
    const root = makeTree(TREE);
    const json = join(root, "out", "fixture.json");
    const { status, stdout, stderr } = bench(root, "fixture", "--quick", "--rounds", "3", "--json", json);
    expect(stderr).toBe("");
    expect(status).toBe(0);

    const report = JSON.parse(readFileSync(json, "utf8")) as Report;
    expect(report.results.map(({ name, runs }) => [name, runs.length])).toEqual([
      ["quick", 3],
      ["slow", 3],
    ]);
    const [quick, slow] = report.results;
    expect(quick!.ns).toBe(median(quick!.runs.map(({ ns }) => ns)));
    expect(quick!.ns).toBeLessThan(slow!.ns);
    // Garbage was made, so collections must have been seen; memory was used, so it must have been counted.
    expect(slow!.gc).toBeGreaterThan(0);
    expect(slow!.rss).toBeGreaterThan(10 * 2 ** 20);
    expect(report.machine.cores).toBeGreaterThan(0);
    expect(report.skipped.map(({ name, why }) => `${name}: ${why}`)).toEqual([
      "absent: subjects/absent.ts is not written yet",
      expect.stringMatching(/^native: /),
    ]);
    expect(report.goals.map(({ state }) => state)).toEqual(["met", "missed", "open", "missed"]);

    expect(stdout).toMatch(/goal met: quick beats slow: 0\.\d+ <= 0\.5 \(quick \/ slow\)/);
    expect(stdout).toMatch(/goal MISSED: slow beats quick: [\d.,]+ > 1 \(slow \/ quick\)/);
    expect(stdout).toMatch(/goal open: beats absent/);
    expect(stdout).toContain("skipped: native");
    expect(stdout).toContain("2 of 4 goals MISSED");
    // What is committed must not say where it was made.
    expect(readFileSync(json, "utf8")).not.toContain(root);
  });

  test("keeps a quick run out of the committed results, and fails under --strict when a goal is missed", FULL, () => {
    const root = makeTree(TREE);
    const { status } = bench(root, "fixture", "--quick", "--rounds", "1", "--strict");
    expect(status).toBe(1);
    expect(existsSync(join(root, "results", "fixture.json"))).toBe(false);
  });

  test("stops with the subject's own words when one fails", FULL, () => {
    const root = makeTree({ ...TREE, "subjects/slow.ts": 'throw new Error("no such pool");' });
    const { status, stderr } = bench(root, "fixture", "--quick", "--rounds", "1");
    expect(status).toBe(1);
    expect(stderr).toContain("slow: ended with status 1");
    expect(stderr).toContain("no such pool");
  });

  test("runs the same subject on the Node that a user may have, and says which Node is missing", FULL, async () => {
    const system = findSystemNode();
    const file = "subjects/new-uint8array.ts";
    const suite: Suite = {
      title: "t",
      what: "w",
      unit: "ns",
      anchor: "own",
      goals: [],
      subjects: [
        { name: "own", kind: "peer", file, args: ["pair"] },
        { name: "system", kind: "peer", file, args: ["pair"], runtime: `node${system?.major ?? 0}` },
        { name: "ancient", kind: "peer", file, runtime: "node1" },
      ],
    };
    const run = await runSuite("s", suite, { rounds: 1, effort: QUICK, benchRoot: BENCH, idleWaitMs: 0 });
    const runtimes = run.results.map(({ runtime }) => runtime);
    expect(runtimes).toEqual([`node ${process.version}`, ...(system === undefined ? [] : [`node ${system.version}`])]);
    expect(run.skipped.at(-1)).toMatchObject({
      name: "ancient",
      why: expect.stringMatching(/^needs Node 1; here are/),
    });
  });

  test("writes the committed results between the markers of the performance page, and nowhere else", FULL, () => {
    const page = (body: string): string =>
      `# Before\n<!-- results: npm run bench -- report -->\n\n${body}\n\n<!-- end of results -->\nafter\n`;
    const moved = Object.fromEntries(Object.entries(TREE).map(([path, text]) => [`bench/${path}`, text]));
    const root = makeTree({ ...moved, "docs/performance.md": page("old") });
    const json = join(root, "bench/results/fixture.json");
    bench(join(root, "bench"), "fixture", "--quick", "--rounds", "1", "--json", json);
    expect(bench(join(root, "bench"), "report")).toMatchObject({ status: 0, stderr: "" });
    const text = readFileSync(join(root, "docs/performance.md"), "utf8");
    expect(text).toMatch(
      /^# Before\n<!-- results.*### Fixture.*\| \*\*quick\*\* \|.*<!-- end of results -->\nafter\n$/s,
    );
    expect(text).toContain("goal MISSED: slow beats quick");
    expect(text).not.toContain("old");
  });

  test("says which suites there are when it knows no such name", () => {
    const { status, stdout } = bench(makeTree(TREE), "nonsense");
    expect(status).toBe(2);
    expect(stdout).toContain("suites: fixture");
  });
});

describe("the figures", () => {
  test("percentile is a value that was measured, and median the middle", () => {
    expect(percentile([5, 1, 4, 2, 3], 0.2)).toBe(1);
    expect(percentile([5, 1, 4, 2, 3], 0.999)).toBe(5);
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(() => median([])).toThrow(RangeError);
  });

  test.each([
    ["no JSON", "hello"],
    ["a figure missing", '{"ns":1}'],
    ["a figure that is no number", '{"ns":null,"ops":1,"faultsMinor":0,"faultsMajor":0,"rss":1}'],
    ["work that was optimized away", '{"ns":0,"ops":1,"faultsMinor":0,"faultsMajor":0,"rss":1}'],
  ])("refuses a line with %s", (_, line) => {
    expect(() => parseFigures(line)).toThrow();
  });

  test("a goal about a figure that was not taken stays open", () => {
    const goal = { what: "w", subject: "nobody", metric: "p999", atMost: 1 } as const;
    expect(judge([goal], { results: [], skipped: [] })).toMatchObject([
      { state: "open", reason: "nobody has no p999" },
    ]);
  });
});
