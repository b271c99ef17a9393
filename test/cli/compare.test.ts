// Shares its realm with other files: nothing that it changes outlives it.
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { type Comparison, describeComparison } from "../../src/cli/compare.ts";
import type { RunSummary } from "../../src/cli/run/report.ts";
import { paintFor } from "../../src/cli/terminal.ts";
import { FULL } from "../helpers/effort.ts";
import { CLIP, millpond, scratchFolder } from "./command.ts";

describe("millpond run --compare", () => {
  it("plays the same frames in every subject, and counts what only fresh buffers allocate", FULL, async () => {
    const { code, stdout } = await millpond(["run", CLIP, "--compare", "--rounds", "1", "--json"]);
    expect(code).toBe(0);
    const { comparison } = JSON.parse(stdout) as RunSummary & { comparison: Comparison };
    const { pooled, fresh, floor, passes, raw } = comparison;
    expect(passes).toBe(4);
    for (const subject of [pooled, fresh, floor]) {
      expect(subject.frames).toBe(300);
      expect(subject.stageFramesPerSecond).toBeGreaterThan(0);
    }
    expect(Object.values(raw).map((rounds) => rounds.length)).toEqual([1, 1, 1]);
    // 300 new buffers of 1.4 MB against 6: first touches of their pages, whatever else the machine does meanwhile.
    expect(fresh.minorFaults).toBeGreaterThan(pooled.minorFaults);
    expect(fresh.peakRss).toBeGreaterThan(pooled.peakRss);
    expect(fresh.allocationP50).toBeGreaterThan(pooled.allocationP50);
  });

  it("plays a few frames in every subject, which is told in JSON", async () => {
    const scratch = scratchFolder();
    onTestFinished(scratch.remove);
    const small = join(scratch.path, "small.mp4");
    await millpond(["run", `pattern width=64 height=48 frames=60 ! encode ${small}`, "--quiet"]);
    const args = ["run", small, "--compare", "--rounds", "1", "--workers", "1", "--json"];
    const { code, stdout, stderr } = await millpond(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const { pooled, fresh, floor, passes } = (JSON.parse(stdout) as { comparison: Comparison }).comparison;
    expect([pooled, fresh, floor].map(({ frames }) => frames)).toEqual([60 * passes, 60 * passes, 60 * passes]);
  });

  it("prints a loss as plainly as a win", () => {
    const subject = {
      frames: 100,
      framesPerSecond: 200,
      cpuMsPerFrame: 6,
      decodeMsPerFrame: 3,
      waitMsPerFrame: 1,
      stageFramesPerSecond: 1000,
      allocationP50: 1,
      allocationP99: 2,
      gcs: 5,
      majorGcs: 2,
      gcMs: 9,
      minorFaults: 1000,
      peakRss: 100e6,
    };
    const worse = { ...subject, decodeMsPerFrame: 5, stageFramesPerSecond: 500, peakRss: 200e6, majorGcs: 4 };
    const found: Comparison = {
      rounds: 1,
      passes: 1,
      machine: { node: "v24", cpu: "x", cores: 2, memory: 1 },
      pooled: worse,
      fresh: subject,
      floor: subject,
      raw: { pooled: [worse], fresh: [subject], floor: [subject] },
    };
    const text = describeComparison(found, paintFor({ isTTY: false } as NodeJS.WriteStream)).replace(/\s+/g, " ");
    expect(text).toContain("0.50 x, worse");
    // A wait is no loss: the other one is as much shorter.
    expect(text).toContain("waits for the decoder, ms a frame 5 3 3 ");
    expect(text).toContain("waits for a worker, ms a frame 1 1 1 ");
    expect(text).toContain("processor time, ms a frame 6 6 same 6 ");
    expect(text).toContain("slower with the pool here (0.50 x), but takes MORE memory");
    expect(text).toContain("Beyond those: pool +2, fresh none");
  });
});
