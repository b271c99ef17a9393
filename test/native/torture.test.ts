/** Nothing that outlives its memory crashes a process or writes into another's bytes, on every runtime that is here. */
import { randomInt } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nativeOps } from "../../src/os/load.ts";
import { compiled } from "./build.ts";
import { answerOf, run } from "./child.ts";
import { runtimes } from "./runtimes.ts";

const CHILD = join(import.meta.dirname, "torture.child.mjs");
// 600 rounds: each step comes up some thirty times, in two to ten seconds.
const ROUNDS = process.env.MILLPOND_TORTURE_ROUNDS ?? "600";
const SEED: number = Number(process.env.MILLPOND_SEED ?? randomInt(2 ** 31));

let folder = "";
beforeAll(() => {
  folder = compiled();
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe(`torture, seed ${SEED}`, () => {
  for (const runtime of runtimes()) {
    it(`${runtime.name} ends with exit code 0`, async (context) => {
      if (runtime.command === undefined) return context.skip(runtime.reason);
      const { availability } = nativeOps();
      if (!availability.ok) return context.skip(availability.hint);
      const exit = await run([...runtime.command, CHILD, folder, String(SEED), ROUNDS]);
      expect({ signal: exit.signal, stderr: exit.code === 0 ? "" : exit.stderr }).toEqual({ signal: null, stderr: "" });
      expect(answerOf<{ ok: boolean }>(exit).ok).toBe(true);
    });
  }
});
