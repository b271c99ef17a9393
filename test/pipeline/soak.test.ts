// Shares its realm with other files: nothing that it changes outlives it.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { FULL } from "../helpers/effort.ts";

const script = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

test("eight minutes of 1080p frames leave memory flat, over changes of size and seeks", FULL, () => {
  const text = execFileSync(process.execPath, [script("scripts/soak-pipeline.ts"), "12000"], { encoding: "utf8" });
  expect(text).toMatch(/12000 frames .* 0 buffers out/);
});

test("the pipeline of the examples runs", () => {
  const text = execFileSync(process.execPath, [script("examples/pipeline.ts")], { encoding: "utf8" });
  expect(text).toContain("25 frames");
  expect(text).toContain("6 = 1 half (being filled) + 2 loop (retained) + 3 queue (2 in line, 1 on its way out)");
});
