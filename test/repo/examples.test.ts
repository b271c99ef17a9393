/** Every example runs and ends well: what the docs point at must work. */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { expect, it } from "vitest";

const folder = new URL("../../examples/", import.meta.url);

it.each(readdirSync(folder).filter((file) => file.endsWith(".ts")))("examples/%s runs", (file) => {
  const run = spawnSync(process.execPath, [new URL(file, folder).pathname], { encoding: "utf8" });
  expect(run.stderr.replaceAll(/^\(node.*\n?/gm, "")).toBe("");
  expect([run.status, run.stdout.length > 0]).toEqual([0, true]);
});
