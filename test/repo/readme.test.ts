// Shares its realm with other files: nothing that it changes outlives it.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { BufferPool } from "../../src/index.ts";

/** A message without what differs from run to run: numbers, and the places of calls. */
function pattern(message: string): string {
  return message.replaceAll(/\([^)]*\)/g, "()").replaceAll(/\d+/g, "#");
}

test("the error of a lost buffer is what README shows", async () => {
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const shown = /^```\n(MillpondError: [\s\S]*?)\n```/m.exec(readme)![1]!.replaceAll("\n", " ");
  const pool = BufferPool.create({ name: "frames", size: 64, max: 8 });
  pool.trace = true;
  const makeThumbnail = (): unknown => pool.tryAcquire({ tag: "thumbnailer" });
  makeThumbnail();
  for (let i = 1; i < 8; i++) pool.tryAcquire();
  const error = await pool.acquire({ timeout: 1 }).catch(String);
  const [begin, end] = pattern(shown).split(" ... ");
  expect(pattern(error as string).slice(0, begin!.length)).toBe(begin);
  expect(error).toMatch(new RegExp(`\\${end}$`));
  pool.close({ force: true });
});
