/** Nothing that outlives its memory crashes a process or writes into another's bytes, on every runtime that is here. */
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { nativeOps } from "../../src/os/load.ts";
import { answerOf, run } from "../helpers/child.ts";
import { FULL, REPEATED, seedOf, times } from "../helpers/effort.ts";
import { compiled } from "./build.ts";
import { runtimes } from "./runtimes.ts";

const CHILD = join(import.meta.dirname, "torture.child.mjs");
// 600 rounds: each step comes up some thirty times, in two to ten seconds.
const ROUNDS = String(times(40, 600, "MILLPOND_TORTURE_ROUNDS"));
const SEED: number = seedOf("torture");

let folder = "";
beforeAll(() => {
  folder = compiled();
});

describe("torture", () => {
  for (const runtime of runtimes()) {
    it(`${runtime.name} ends with exit code 0`, runtime.name === "project node" ? REPEATED : FULL, async (context) => {
      if (runtime.command === undefined) return context.skip(runtime.reason);
      const { availability } = nativeOps();
      if (!availability.ok) return context.skip(availability.hint);
      const exit = await run([...runtime.command, CHILD, folder, String(SEED), ROUNDS]);
      expect({ signal: exit.signal, stderr: exit.code === 0 ? "" : exit.stderr }).toEqual({ signal: null, stderr: "" });
      expect(answerOf<{ ok: boolean }>(exit).ok).toBe(true);
    });
  }
});
