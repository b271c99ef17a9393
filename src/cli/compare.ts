/**
 * The comparison: the same input, the same workers, the same bound on frames in flight, each subject in processes of
 * its own, in turns, so that neither the order nor what the machine does besides decides it. Losses are printed as wins
 * are.
 */
import { spawn } from "node:child_process";
import { availableParallelism, cpus, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import type { RunOptions, Variant } from "./args.ts";
import { Failure } from "./exit.ts";
import type { RunSummary } from "./run/report.ts";
import { bytes, micros, number, type Paint, type Progress, table, terminalWidth, wrap } from "./terminal.ts";

/** Medians over the rounds of one subject. */
interface SubjectResult {
  /** Frames in each round. */
  readonly frames: number;
  /** Frames a second, from the first asked for to the last measured. */
  readonly framesPerSecond: number;
  /** Milliseconds of processor time a frame, of all threads. */
  readonly cpuMsPerFrame: number;
  /**
   * Milliseconds a frame that the main thread waited for the decoder, which works beside it in a thread of its own: the
   * less the main thread does meanwhile, the longer it waits.
   */
  readonly decodeMsPerFrame: number;
  /** Milliseconds a frame that it waited for a buffer: for the workers. */
  readonly waitMsPerFrame: number;
  /** Frames a second in the copy and hand-off stage alone. */
  readonly stageFramesPerSecond: number;
  /** Microseconds to get a buffer, median. */
  readonly allocationP50: number;
  /** Microseconds to get a buffer, 99th percentile. */
  readonly allocationP99: number;
  /** Garbage collections, main thread and workers. */
  readonly gcs: number;
  /** Major ones among them. */
  readonly majorGcs: number;
  /** Milliseconds in collections. */
  readonly gcMs: number;
  /** Page faults while frames were streamed. */
  readonly minorFaults: number;
  /** Peak resident bytes of the process. */
  readonly peakRss: number;
}

/** What a comparison found. */
export interface Comparison {
  /** Rounds; the figures are medians over them. */
  readonly rounds: number;
  /** How often each round played the file in a row. */
  readonly passes: number;
  /** What it ran on. */
  readonly machine: { readonly node: string; readonly cpu: string; readonly cores: number; readonly memory: number };
  /** Slots of a pool over shared memory. */
  readonly pooled: SubjectResult;
  /** A new ArrayBuffer a frame, transferred to the worker. */
  readonly fresh: SubjectResult;
  /** Fixed slots without a pool: what remains when no buffer is ever allocated or checked. */
  readonly floor: SubjectResult;
  /** Every round as it was measured. */
  readonly raw: Readonly<Record<Variant, readonly SubjectResult[]>>;
}

// Enough frames that a pool's first touches, and a garbage collector's first thoughts, are a small part of the whole.
const TARGET_FRAMES = 300;

// From the source tree Node runs the TypeScript file, from the package the compiled one.
const MAIN_FILE = fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "./main.ts" : "./main.js", import.meta.url));

/** Runs the comparison for a file of `frames` frames. Throws {@link Failure} when a subject cannot finish. */
export async function compare(
  options: RunOptions,
  frames: number,
  signal: AbortSignal,
  progress: Progress,
): Promise<Comparison> {
  const passes = Math.max(1, Math.ceil(TARGET_FRAMES / frames));
  const raw: Record<Variant, SubjectResult[]> = { pooled: [], fresh: [], floor: [] };
  const subjects: Variant[] = ["floor", "fresh", "pooled"];
  let done = 0;
  for (let round = 0; round < options.rounds; round++) {
    // Each round begins with another subject.
    for (let turn = 0; turn < subjects.length; turn++) {
      const variant = subjects[(round + turn) % subjects.length]!;
      progress.update(() => ({
        done: done * frames * passes,
        expected: options.rounds * subjects.length * frames * passes,
        label: "comparing",
        showsRate: false,
        note: `round ${round + 1} of ${options.rounds}: ${variant}`,
      }));
      raw[variant].push(subjectOf(await runSubject(options, variant, passes, signal)));
      done++;
    }
  }
  return {
    rounds: options.rounds,
    passes,
    machine: {
      node: process.version,
      cpu: cpus()[0]?.model.trim() ?? "unknown",
      cores: availableParallelism(),
      memory: totalmem(),
    },
    pooled: medians(raw.pooled),
    fresh: medians(raw.fresh),
    floor: medians(raw.floor),
    raw,
  };
}

async function runSubject(
  options: RunOptions,
  variant: Variant,
  passes: number,
  signal: AbortSignal,
): Promise<RunSummary> {
  const args = ["run", options.input, "--json", "--quiet", "--variant", variant, "--passes", String(passes)];
  args.push("--workers", String(options.workers), "--buffers", String(options.buffers));
  args.push("--patience", String(options.patience / 1000));
  const child = spawn(process.execPath, [MAIN_FILE, ...args], { stdio: ["ignore", "pipe", "pipe"], signal });
  let output = "";
  let complaint = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", (error) => reject(signal.aborted ? signal.reason : error));
    child.on("close", resolve);
  });
  if (signal.aborted) throw signal.reason;
  // A file that is cut short compares as well as a whole one.
  if (code !== 0 && code !== 2) {
    throw new Failure(`the comparison broke off: the ${variant} run ended with ${code}. ${complaint.trim()}`);
  }
  return JSON.parse(output) as RunSummary;
}

function subjectOf(summary: RunSummary): SubjectResult {
  const { timing, allocation, gc, memory } = summary;
  const frames = Math.round((timing.framesPerSecond * timing.wallMs) / 1000);
  return {
    frames,
    framesPerSecond: timing.framesPerSecond,
    cpuMsPerFrame: timing.cpuMs / frames,
    decodeMsPerFrame: timing.decodeMs / frames,
    waitMsPerFrame: timing.waitMs / frames,
    stageFramesPerSecond: timing.stageFramesPerSecond,
    allocationP50: allocation.p50,
    allocationP99: allocation.p99,
    gcs: gc.main.all + gc.workers.all,
    majorGcs: gc.main.major + gc.workers.major,
    gcMs: gc.main.ms + gc.workers.ms,
    minorFaults: memory.minorFaults,
    peakRss: memory.peakRss,
  };
}

function medians(rounds: readonly SubjectResult[]): SubjectResult {
  const median = (read: (result: SubjectResult) => number): number => {
    const sorted = rounds.map(read).sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  };
  return {
    frames: median((result) => result.frames),
    framesPerSecond: median((result) => result.framesPerSecond),
    cpuMsPerFrame: median((result) => result.cpuMsPerFrame),
    decodeMsPerFrame: median((result) => result.decodeMsPerFrame),
    waitMsPerFrame: median((result) => result.waitMsPerFrame),
    stageFramesPerSecond: median((result) => result.stageFramesPerSecond),
    allocationP50: median((result) => result.allocationP50),
    allocationP99: median((result) => result.allocationP99),
    gcs: median((result) => result.gcs),
    majorGcs: median((result) => result.majorGcs),
    gcMs: median((result) => result.gcMs),
    minorFaults: median((result) => result.minorFaults),
    peakRss: median((result) => result.peakRss),
  };
}

/** The comparison for people: a table, and what it says in words. */
export function describeComparison(found: Comparison, paint: Paint): string {
  const { pooled, fresh, floor, rounds, passes } = found;
  const row = (
    name: string,
    read: (result: SubjectResult) => number,
    show: (value: number) => string,
    better: "more" | "less",
    hasFloor = true,
  ): string[] => {
    const [ours, theirs] = [read(pooled), read(fresh)];
    return [
      name,
      show(ours),
      show(theirs),
      ratio(ours, theirs, better, paint),
      hasFloor ? paint.dim(show(read(floor))) : "",
    ];
  };
  // Not better or worse: both are what is left of the time of a frame, and what one of them loses the other gains.
  const wait = (name: string, read: (result: SubjectResult) => number): string[] => {
    return [name, number(read(pooled)), number(read(fresh)), "", paint.dim(number(read(floor)))];
  };
  const waits = [
    wait("  waits for the decoder, ms a frame", (r) => r.decodeMsPerFrame),
    wait("  waits for a worker, ms a frame", (r) => r.waitMsPerFrame),
  ];
  const rows = [
    ["", paint.bold("pooled"), paint.bold("fresh"), "", paint.dim("floor")],
    row("frames/s, overall", (r) => r.framesPerSecond, number, "more"),
    row("  copy + hand-off, frames/s", (r) => r.stageFramesPerSecond, number, "more"),
    row("  processor time, ms a frame", (r) => r.cpuMsPerFrame, number, "less"),
    ...waits,
    row("getting a buffer, p50", (r) => r.allocationP50, micros, "less", false),
    row("getting a buffer, p99", (r) => r.allocationP99, micros, "less", false),
    row("GCs", (r) => r.gcs, number, "less"),
    row("  major", (r) => r.majorGcs, number, "less"),
    row("  ms in total", (r) => r.gcMs, number, "less"),
    row("page faults", (r) => r.minorFaults, number, "less"),
    row("peak RSS", (r) => r.peakRss, bytes, "less"),
  ];
  const head = paint.dim(
    `medians of ${rounds} ${rounds === 1 ? "round" : "rounds"} in turns, ${number(pooled.frames)} frames each` +
      `${passes > 1 ? ` (the file ${passes} times in a row)` : ""}, every run in its own process; Node ${found.machine.node}, ` +
      `${found.machine.cores} cores`,
  );
  const width = terminalWidth(process.stdout);
  const lines = [
    wrap(gains(found, paint), width, "  "),
    "",
    wrap(
      `${paint.bold("the whole")}: the pool, a new buffer for every frame ("fresh"), and fixed slots without a pool ("floor")`,
      width,
    ),
    wrap(head, width),
    "",
    indent(table(rows)),
    "",
    indent(wrap(verdict(found), width - 2)),
  ];
  return lines.join("\n");
}

/** The first line: what the pool gives where it serves, or takes; each with its figure. */
function gains({ pooled, fresh }: Comparison, paint: Paint): string {
  const stage = pooled.stageFramesPerSecond / fresh.stageFramesPerSecond;
  const speed = stage >= 1 ? `${stage.toFixed(1)} x as fast` : `slower (${stage.toFixed(2)} x)`;
  const faults = percent(pooled.minorFaults, fresh.minorFaults, "page faults");
  const memory = percent(pooled.peakRss, fresh.peakRss, "memory");
  const tint = stage >= 1 ? paint.good : paint.bad;
  return `${paint.bold("with the pool")}: copying and handing over a frame is ${tint(speed)}, with ${faults} and ${memory} at the peak`;
}

function percent(ours: number, theirs: number, what: string): string {
  const change = Math.round(100 * (ours / theirs - 1));
  if (!Number.isFinite(change) || change === 0) return `as many ${what}`.replace("many memory", "much memory");
  return change < 0 ? `${-change} % ${what === "memory" ? "less" : "fewer"} ${what}` : `${change} % MORE ${what}`;
}

function verdict({ pooled, fresh, floor }: Comparison): string {
  const stage = pooled.stageFramesPerSecond / fresh.stageFramesPerSecond;
  const speed =
    stage >= 1
      ? `Copy and hand-off is ${stage.toFixed(1)} x as fast with the pool`
      : `Copy and hand-off is slower with the pool here (${stage.toFixed(2)} x)`;
  const memory = pooled.peakRss <= fresh.peakRss ? "with no more memory" : "but takes MORE memory";
  const added = (result: SubjectResult): string => {
    const difference = result.majorGcs - floor.majorGcs;
    return difference === 0 ? "none" : `${difference > 0 ? "+" : ""}${number(difference)}`;
  };
  const reading =
    floor.majorGcs === 0
      ? "it has no major GCs. The others"
      : `its major GCs (${number(floor.majorGcs)}) come from reading the input. Beyond those`;
  return (
    `${speed}, ${memory}. Overall the run goes ${(pooled.framesPerSecond / fresh.framesPerSecond).toFixed(2)} x as fast: decoding and ` +
    `measuring take most of the time. The floor shows what the work costs at least; ${reading}: pool ${added(pooled)}, fresh ${added(fresh)}.`
  );
}

function ratio(ours: number, theirs: number, better: "more" | "less", paint: Paint): string {
  if (ours === theirs) return paint.dim("same");
  const gain = better === "more" ? ours / theirs : theirs / ours;
  if (!Number.isFinite(gain)) return better === "less" ? paint.good("none left") : "";
  const text = `${gain >= 100 ? Math.round(gain) : gain.toFixed(gain >= 10 ? 1 : 2)} x`;
  if (gain >= 1.05) return paint.good(`${text} better`);
  if (gain <= 0.95) return paint.bad(`${text}, worse`);
  return paint.dim("about the same");
}

function indent(text: string): string {
  return text
    .split("\n")
    .map((line) => `  ${line}`)
    .join("\n");
}
