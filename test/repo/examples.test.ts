// Shares its realm with other files: nothing that it changes outlives it.
/** Every example runs and ends well: what the docs point at must work. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { expect, it } from "vitest";
import { FULL, HANGS_MS } from "../helpers/effort.ts";

const folder = new URL("../../examples/", import.meta.url);

for (const file of readdirSync(folder).filter((name) => name.endsWith(".ts"))) {
  it(`examples/${file} runs to its end, says something, and warns of nothing`, FULL, () => {
    const run = spawnSync(process.execPath, [new URL(file, folder).pathname], {
      timeout: HANGS_MS,
      encoding: "utf8",
    });
    expect(run.stderr.replaceAll(/^\(node.*\n?/gm, "")).toBe("");
    expect([run.status, run.stdout.length > 0]).toEqual([0, true]);
  });
}
