import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { defineConfig, type ViteUserConfig, type ViteUserConfigFnObject } from "vitest/config";

const ALL = "test/**/*.test.ts";

/**
 * What runs, by vitest's `--mode`: the fast lane when none is given, `all` for everything at full length, `rest` for what the fast
 * lane left out or ran short. See test/helpers/effort.ts.
 */
const LANES: Readonly<Record<string, { include: string[]; tagsFilter: string[]; effort: "all" | "fast" }>> = {
  all: { include: [ALL], tagsFilter: [], effort: "all" },
  rest: { include: filesWithEffort(), tagsFilter: ["repeated || full"], effort: "all" },
  test: { include: [ALL], tagsFilter: ["!full"], effort: "fast" },
};

/** Only these can have a tag, of their own or of a table of runs: the others need not even be loaded for the rest. */
function filesWithEffort(): string[] {
  return testFiles().filter((file) => /helpers\/effort\.ts|\.\/hostile\.ts/.test(readFileSync(file, "utf8")));
}

function testFiles(): string[] {
  return readdirSync("test", { recursive: true, encoding: "utf8" })
    .map((file) => `test/${file.replaceAll("\\", "/")}`)
    .filter((file) => file.endsWith(".test.ts"));
}

/**
 * Files whose first line says so: nothing that they change outlives them, so that they need no process each, which
 * costs as much as many of them. test/repo/lanes.test.ts holds them to it.
 */
function filesOfOneRealm(): string[] {
  return testFiles().filter((file) => readFileSync(file, "utf8").startsWith("// Shares its realm"));
}

const config: ViteUserConfigFnObject = defineConfig(({ mode }) => {
  const lane = LANES[mode];
  if (lane === undefined) throw new Error(`no such lane: --mode ${mode}; there are ${Object.keys(LANES)}`);
  const { include, tagsFilter, effort } = lane;
  const test: ViteUserConfig["test"] & { tagsFilter: string[] } = {
    tags: [
      { name: "repeated", description: "runs short in the fast lane, at full length in test:all" },
      { name: "full", description: "runs in test:all only" },
    ],
    tagsFilter,
    // Children start in half the time when what Node compiled for the last one, types stripped, is kept.
    env: {
      MILLPOND_TESTS: effort,
      NODE_COMPILE_CACHE: join(import.meta.dirname, "node_modules/.cache/millpond-compile"),
    },
    // It ends what hangs. No verdict comes from it: the slowest test of the fast lane takes seconds, beside a busy machine ten times that.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Below the above, so that the error says what was waited for; vitest's own second is a busy machine's pause.
    expect: { poll: { timeout: 100_000 } },
    globalSetup: "./test/browser/chromium.ts",
    pool: "forks",
    // Two more than there are cores: tests that wait for children and clocks leave theirs idle for a third of the time.
    maxWorkers: availableParallelism() + 2,
    reporters: ["default", "./test/closing-line.ts"],
  };
  const together = filesOfOneRealm();
  const shared = mode === "rest" ? together.filter((file) => include.includes(file)) : together;
  return {
    test: {
      ...test,
      projects: [
        { extends: true, test: { name: "own", include, exclude: together } },
        { extends: true, test: { name: "shared", include: shared, isolate: false } },
      ],
    },
  };
});

export default config;
