import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeTree } from "./fixture.ts";

const PROJECT = join(import.meta.dirname, "..", "..");

function runVitest(files: Record<string, string>): { status: number | null; stdout: string; line: string } {
  const root = makeTree({ ...files, "package.json": '{ "type": "module" }' });
  const { status, stdout } = spawnSync(
    process.execPath,
    [
      join(PROJECT, "node_modules/vitest/vitest.mjs"),
      "run",
      "--globals",
      "--root",
      root,
      "--reporter",
      join(PROJECT, "test/closing-line.ts"),
    ],
    { encoding: "utf8", env: { ...process.env, MILLPOND_CLOSING_LINE: join(root, "line"), NO_COLOR: "1" } },
  );
  return { status, stdout, line: readFileSync(join(root, "line"), "utf8") };
}

test("the closing line counts what passed, failed and was skipped, and prints why it was skipped", () => {
  const { status, stdout, line } = runVitest({
    "a.test.js": `
      test("one", () => {});
      test("two", () => {});
      test("three", () => { throw new Error("three"); });
      test("four", (context) => context.skip("no ffprobe here"));
    `,
  });
  expect(line).toBe("2 passed, 1 failed, 1 skipped\n");
  expect(stdout.split("\n")).toContain("2 passed, 1 failed, 1 skipped");
  expect(stdout).toContain("skipped: four: no ffprobe here");
  expect(status).not.toBe(0);
});

test("a file that cannot be loaded and an error outside every test count as failures", () => {
  const broken = runVitest({ "a.test.js": 'test("one", () => {});', "b.test.js": 'throw new Error("broken");' });
  expect(broken.line).toBe("1 passed, 1 failed, 0 skipped\n");
  const stray = runVitest({
    "a.test.js": 'test("one", async () => { Promise.reject(new Error("stray")); await new Promise(setImmediate); });',
  });
  expect(stray.line).toBe("1 passed, 1 failed, 0 skipped\n");
  expect(stray.status).not.toBe(0);
});
