// Shares its realm with other files: nothing that it changes outlives it.
/** `millpond run --trace FILE`: what is in it, and when it is written. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { RunSummary } from "../../src/cli/run/report.ts";
import type { Trace, TraceEvent } from "../../src/observe/trace.ts";
import { REPEATED } from "../helpers/effort.ts";
import { traceProblems } from "../observe/trace-schema.ts";
import { filesIn, millpond, scratchFolder, start, untilListening } from "./command.ts";

const FRAMES = 60;
const scratch = scratchFolder();
afterAll(() => scratch.remove());

/** Small frames: the shipped clip takes a second of the processor, and no picture matters here. */
const SMALL = join(scratch.path, "small.mp4");
beforeAll(async () => {
  const text = `pattern width=64 height=48 frames=${FRAMES} ! encode ${SMALL}`;
  expect((await millpond(["run", text, "--quiet"])).stderr).toBe("");
});

let count = 0;
let folder = "";
let file = "";
beforeEach(() => {
  folder = join(scratch.path, String(++count));
  mkdirSync(folder);
  file = join(folder, "trace.json");
});

function read(path: string): readonly TraceEvent[] {
  const json = readFileSync(path, "utf8");
  expect(traceProblems(json)).toEqual([]);
  return (JSON.parse(json) as Trace).traceEvents;
}

/** Spans of a process whose name begins so, by the name of the track without its row. */
function spansOf(events: readonly TraceEvent[], process: RegExp, track: RegExp): TraceEvent[] {
  const named = (kind: string, pattern: RegExp): TraceEvent[] =>
    events.filter(({ name, args }) => name === kind && pattern.test(String(args!.name)));
  const pids = new Set(named("process_name", process).map(({ pid }) => pid));
  const tids = new Set(named("thread_name", track).map(({ tid }) => tid));
  return events.filter(({ ph, pid, tid }) => ph === "X" && pids.has(pid) && tids.has(tid));
}

describe("millpond run FILE --trace", REPEATED, () => {
  it("writes what pools, stages and threads did", async () => {
    const { code, stdout } = await millpond(["run", SMALL, "--workers", "2", "--json", "--trace", file]);
    expect(code).toBe(0);
    const summary = JSON.parse(stdout) as RunSummary;
    expect(summary.measures.frames).toBe(FRAMES);
    expect(summary.outputs).toEqual({ contactSheet: null, frames: null, trace: file });
    const events = read(file);
    const leases = spansOf(events, /^BufferPool frames/, /^slot/);
    expect(leases).toHaveLength(FRAMES);
    expect(leases.filter(({ args }) => args?.open === true)).toEqual([]);
    const shared = spansOf(events, /^SharedPool frames$/, /^slot/);
    expect(shared.filter(({ args }) => args?.thread === "main").length).toBeGreaterThanOrEqual(FRAMES);
    // Each frame was joined by one of the two threads, which both recorded.
    const joined = shared.filter(({ args }) => /^workers [12]$/.test(String(args?.thread)));
    expect(joined).toHaveLength(FRAMES);
    const works = spansOf(events, /^thread workers [12]$/, /^workers/);
    expect(works.map(({ name }) => Number(name.replace("frame ", ""))).sort((a, b) => a - b)).toEqual(
      Array.from({ length: FRAMES }, (_, n) => n),
    );
    const fills = spansOf(events, /^thread main$/, /^frames/).filter(({ name }) => name === "fill");
    expect(fills).toHaveLength(FRAMES);
    expect(filesIn(folder)).toEqual(["trace.json"]);
  });

  it("is refused before the run when it cannot be written", async () => {
    const nowhere = join(folder, "missing", "trace.json");
    const out = join(folder, "out");
    const refused = async (path: string, says: RegExp): Promise<void> => {
      const { code, stderr } = await millpond(["run", SMALL, "--out", out, "--trace", path]);
      expect([code, existsSync(out)]).toEqual([1, false]);
      expect(stderr).toMatch(says);
    };
    await refused(nowhere, /the trace of --trace could not be written: .*missing.*does not exist/s);
    await refused(folder, /is a folder/);
    await refused("-", /--trace needs the name of a file/);
    await refused(join(out, "frames.json"), /--trace/);
  });

  it("does not go over the input, also without --out", async () => {
    const input = join(folder, "film.mp4");
    writeFileSync(input, readFileSync(SMALL));
    const { code, stderr } = await millpond(["run", input, "--trace", input]);
    expect(code).toBe(1);
    expect(stderr).toContain("--trace");
    expect(readFileSync(input).equals(readFileSync(SMALL))).toBe(true);
  });

  it("fails with the disk: no result is left behind then", async (context) => {
    if (!existsSync("/dev/full")) context.skip("no /dev/full here");
    const out = join(folder, "out");
    const { code, stderr } = await millpond(["run", SMALL, "--out", out, "--trace", "/dev/full"]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/the trace of --trace could not be written/);
    expect(existsSync(out)).toBe(false);
  });

  it("is kept of a run that fails, which leaves nothing else", async () => {
    writeFileSync(file, "older");
    const out = join(folder, "out");
    const { code } = await millpond(["run", SMALL, "--out", out, "--trace", file], { fault: "throw:30" });
    expect(code).toBe(1);
    expect(spansOf(read(file), /^BufferPool frames/, /^slot/).length).toBeGreaterThanOrEqual(30);
    expect(filesIn(folder)).toEqual(["trace.json"]);
  });

  it("is not written when a signal ends the run", async () => {
    writeFileSync(file, "older");
    const running = start(["run", SMALL, "--trace", file], { fault: "hang:10" });
    await untilListening(running.child);
    running.child.kill("SIGINT");
    expect((await running.done).code).toBe(130);
    expect(readFileSync(file, "utf8")).toBe("older");
    expect(filesIn(folder)).toEqual(["trace.json"]);
  });
});

describe('millpond run "<pipeline>" --trace', REPEATED, () => {
  it("writes what the stages did, of a run that fails, too", async () => {
    const good = await millpond(["run", "pattern frames=20 ! queue ! null", "--quiet", "--trace", file]);
    expect([good.stderr, good.code]).toEqual(["", 0]);
    expect(spansOf(read(file), /^thread main$/, /^null/).length).toBe(20);
    const bad = join(folder, "bad.json");
    const module = join(folder, "fails.mjs");
    writeFileSync(module, "export default () => { throw new Error('it fails'); };");
    const { code } = await millpond(["run", `pattern frames=20 ! workers n=1 ${module} ! null`, "--trace", bad]);
    expect(code).toBe(1);
    expect(spansOf(read(bad), /^thread main$/, /^pattern/).length).toBeGreaterThan(0);
  });

  it("is refused where nothing runs", async () => {
    const { code, stderr } = await millpond(["run", "pattern ! null", "--dry-run", "--trace", file]);
    expect(code).toBe(1);
    expect(stderr).toContain("--dry-run");
    expect(filesIn(folder)).toEqual([]);
  });
});
