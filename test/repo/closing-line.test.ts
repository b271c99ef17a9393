import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { closingLine, readLine, together } from "../closing-line.ts";
import { FULL } from "../helpers/effort.ts";
import { makeTree } from "./fixture.ts";

const PROJECT = join(import.meta.dirname, "..", "..");

function runVitest(
  files: Record<string, string>,
  { mode = "test", before }: { readonly mode?: string; readonly before?: string } = {},
): { status: number | null; stdout: string; line: string; failures: string[] } {
  const root = makeTree({ ...files, "package.json": '{ "type": "module" }' });
  if (before !== undefined) writeFileSync(join(root, "line"), before);
  const { status, stdout } = spawnSync(
    process.execPath,
    [
      join(PROJECT, "node_modules/vitest/vitest.mjs"),
      "run",
      "--globals",
      "--root",
      root,
      "--mode",
      mode,
      "--reporter",
      join(PROJECT, "test/closing-line.ts"),
    ],
    { encoding: "utf8", env: { ...process.env, MILLPOND_CLOSING_LINE: join(root, "line"), NO_COLOR: "1" } },
  );
  const failures = join(root, "line.failures");
  return {
    status,
    stdout,
    line: readFileSync(join(root, "line"), "utf8"),
    failures: existsSync(failures) ? readFileSync(failures, "utf8").trim().split("\n") : [],
  };
}

test(
  "the closing line counts what passed, failed and was skipped, files that cannot be loaded and stray errors",
  FULL,
  () => {
    const { status, stdout, line, failures } = runVitest({
      "a.test.js": `
      test("one", () => {});
      test("two", () => {});
      test("three", () => { throw new Error("three"); });
      test("four", (context) => context.skip("no ffprobe here"));
    `,
      "b.test.js": 'throw new Error("broken");',
      "c.test.js": 'test("one", async () => { Promise.reject(new Error("stray")); await new Promise(setImmediate); });',
    });
    // The failed test, the broken file, and the error outside every test.
    expect(line).toBe("3 passed, 3 failed, 1 skipped\n");
    expect(stdout.split("\n")).toContain("3 passed, 3 failed, 1 skipped");
    expect(stdout).toContain("skipped: four: no ffprobe here");
    expect(status).not.toBe(0);
    expect(failures.sort()).toEqual([
      expect.stringMatching(/^failed outside every test: stray \(.*c\.test\.js:1\)$/),
      expect.stringMatching(/^failed: a\.test\.js > three: three \(.*a\.test\.js:4\)$/),
      expect.stringMatching(/^failed: b\.test\.js: broken \(.*b\.test\.js:1\)$/),
    ]);
  },
);

test("an error outside every test alone is a failure", FULL, () => {
  const stray = runVitest({
    "a.test.js": 'test("one", async () => { Promise.reject(new Error("stray")); await new Promise(setImmediate); });',
  });
  expect(stray.line).toBe("1 passed, 1 failed, 0 skipped\n");
  expect(stray.status).not.toBe(0);
});

test(
  "what ran short or was left out is told, and the run of the rest adds itself to the line without counting it twice",
  FULL,
  () => {
    const files = {
      "a.test.js": `
      test("one", () => {});
      test("two", { tags: ["repeated"] }, () => {});
      test("three", { tags: ["full"] }, () => {});
      test("four", (context) => context.skip("no ffprobe here"));
    `,
      "vitest.config.js": `
      const LANES = { test: { tagsFilter: ["!full"], env: { MILLPOND_TESTS: "fast" } }, rest: { tagsFilter: ["repeated || full"] } };
      export default ({ mode }) => ({ test: { ...LANES[mode], tags: [{ name: "repeated" }, { name: "full" }] } });
    `,
    };
    const fast = runVitest(files);
    expect(fast.line).toBe("2 passed, 0 failed, 1 skipped; 1 ran short, 1 left out: npm run test:all\n");
    expect(fast.stdout).not.toContain("skipped: three");
    const rest = runVitest(files, { mode: "rest", before: fast.line });
    expect(rest.line).toBe("3 passed, 0 failed, 1 skipped\n");
    expect(rest.failures).toEqual([]);
  },
);

test("a failure of either run stays in the line of both", () => {
  const fast = { passed: 10, failed: 1, skipped: 2, short: 3, left: 4 };
  expect(readLine(`${closingLine(fast)}\n`)).toEqual(fast);
  expect(closingLine(together(fast, { passed: 6, failed: 1, skipped: 0, short: 0, left: 0 }))).toBe(
    "13 passed, 2 failed, 2 skipped",
  );
  expect(readLine("something else")).toBeUndefined();
});
