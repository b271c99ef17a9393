/** Every example runs and ends well: what the docs point at must work. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { expect, it } from "vitest";
import { HANGS_MS, isFullLength, REPEATED } from "../helpers/effort.ts";

/** What an example is told that plays for as long as it is told to; at full length it runs as it is. */
const SHORT: Readonly<Record<string, string[]>> = { "realtime-audio.ts": ["60"] };

const folder = new URL("../../examples/", import.meta.url);

for (const file of readdirSync(folder).filter((name) => name.endsWith(".ts"))) {
  it(`examples/${file} runs`, file in SHORT ? REPEATED : {}, () => {
    const args = isFullLength ? [] : (SHORT[file] ?? []);
    const run = spawnSync(process.execPath, [new URL(file, folder).pathname, ...args], {
      timeout: HANGS_MS,
      encoding: "utf8",
    });
    expect(run.stderr.replaceAll(/^\(node.*\n?/gm, "")).toBe("");
    expect([run.status, run.stdout.length > 0]).toEqual([0, true]);
  });
}
