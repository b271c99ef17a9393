/**
 * The audio example, run as a program: its callbacks allocate from the pool without a full collection, plain arrays
 * cause them.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { FULL } from "../../helpers/effort.ts";

const EXAMPLE = fileURLToPath(new URL("../../../examples/realtime-audio.ts", import.meta.url));

describe("the audio example", () => {
  // Collections follow from what was allocated. Whether a callback was late is the machine's affair too: the example
  // prints it, and this test does not judge it.
  it(
    "allocates in the callback without a full collection; plain arrays cause full ones under the same load",
    FULL,
    () => {
      const callbacks = 600;
      const { status, stdout, stderr } = spawnSync(process.execPath, [EXAMPLE, String(callbacks)], {
        encoding: "utf8",
      });
      expect([status, stderr]).toEqual([0, ""]);
      console.log(stdout.trim());
      const line = /^(\S.*?)\s*: \d+ of (\d+) callbacks missed.*; (\d+) collections, (\d+) of them full$/gm;
      const runs = [...stdout.matchAll(line)].map(([, name, called, collections, full]) => {
        return { name, called: Number(called), collections: Number(collections), full: Number(full) };
      });
      expect(runs).toMatchObject([
        { name: "RealtimePool", called: callbacks, full: 0 },
        { name: "new Float32Array", called: callbacks },
      ]);
      expect(runs[1]!.full).toBeGreaterThan(0);
      expect(runs[0]!.collections).toBeLessThan(runs[1]!.collections);
    },
  );
});
