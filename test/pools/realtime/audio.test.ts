/** The audio example, run as a program: its callbacks meet their deadline with the pool, and plain arrays miss theirs. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const EXAMPLE = fileURLToPath(new URL("../../../examples/realtime-audio.ts", import.meta.url));

describe("the audio example", () => {
  // The collections of the plain arrays take as long as a busy machine makes them.
  it("allocates in the callback without a collection or a miss of its own; plain arrays miss under the same load", {
    timeout: 300_000,
  }, () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [EXAMPLE, "600"], { encoding: "utf8" });
    expect([status, stderr]).toEqual([0, ""]);
    console.log(stdout.trim());
    const line =
      /^(\S.*?)\s*: (\d+) of 600 callbacks missed, (\d+) by their own work.*; (\d+) collections, (\d+) of them full$/gm;
    const runs = [...stdout.matchAll(line)].map(([, name, missed, own, collections, full]) => {
      return { name, missed: Number(missed), own: Number(own), collections: Number(collections), full: Number(full) };
    });
    expect(runs.map(({ name }) => name)).toEqual(["RealtimePool", "new Float32Array"]);
    const [pool, plain] = runs as [(typeof runs)[0], (typeof runs)[0]];
    expect(pool.full).toBe(0);
    expect(plain.full).toBeGreaterThan(0);
    expect(plain.own).toBeGreaterThan(0);
    // The pool's are those that are late in each of its rounds: what a hypervisor steals counts as work, but never at the same callback.
    expect(pool.own).toBe(0);
  });
});
