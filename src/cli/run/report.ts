/** What a run came to: the summary for machines, and the same for people. docs/run.md describes the former. */

import { MILLPOND_VERSION } from "../args.ts";
import type { ExitCode } from "../exit.ts";
import { bytes, count, number, type Paint, printableLine, terminalWidth, wrap } from "../terminal.ts";
import type { SupplyReport } from "./frame-pools.ts";
import type { JournalSummary } from "./journal.ts";
import { addGc, type GcCount, type Meter, type ProcessUse, percentile } from "./meter.ts";
import type { SourceFacts } from "./source.ts";

/** Name and number of the summary's format; the number grows when a field changes its meaning. */
const SUMMARY_SCHEMA = "millpond.run/1";

/** The summary that `--json` prints, and that stands at the end of frames.json. */
export interface RunSummary {
  /** {@link SUMMARY_SCHEMA}. */
  readonly schema: typeof SUMMARY_SCHEMA;
  /** Version of millpond. */
  readonly version: string;
  /** False when something of the input is missing. */
  readonly complete: boolean;
  /** What is missing, as a sentence; null when nothing is. */
  readonly missing: string | null;
  /** Frames that the decoder had to make up in part, because their data is damaged. */
  readonly concealed: number;
  /** What the process exits with. */
  readonly exitCode: ExitCode;
  /** The input. */
  readonly source: SourceFacts & { readonly format: string | null; readonly frameBytes: number };
  /** What was measured. */
  readonly measures: JournalSummary;
  /** Where the bytes of frames were. */
  readonly supply: SupplyReport & { readonly waits: number };
  /** Times in milliseconds; rates in frames a second. */
  readonly timing: {
    readonly wallMs: number;
    readonly cpuMs: number;
    readonly decodeMs: number;
    readonly waitMs: number;
    readonly allocateMs: number;
    readonly copyMs: number;
    readonly handOffMs: number;
    readonly framesPerSecond: number;
    readonly stageFramesPerSecond: number;
  };
  /** Getting a buffer, in microseconds, where none had to be waited for. */
  readonly allocation: { readonly samples: number; readonly p50: number; readonly p99: number };
  /** Garbage collections while frames were streamed. */
  readonly gc: { readonly main: GcCount; readonly workers: GcCount };
  /** Memory as the system counts it. */
  readonly memory: Omit<ProcessUse, "cpuMs">;
  /** Worker threads. */
  readonly workers: number;
  /** Files that were written. */
  readonly outputs: {
    readonly contactSheet: string | null;
    readonly frames: string | null;
    readonly trace: string | null;
  };
}

/** The parts that {@link summarize} puts together. */
interface SummaryParts {
  /** The input. */
  readonly facts: SourceFacts;
  /** Pixel format of the frames; null without frames. */
  readonly format: string | null;
  /** Bytes of one frame. */
  readonly frameBytes: number;
  /** Frames that were decoded. */
  readonly frames: number;
  /** What was measured. */
  readonly measures: JournalSummary;
  /** What is missing. */
  readonly shortfall: string | undefined;
  /** Frames that were made up in part. */
  readonly concealed: number;
  /** Exit code. */
  readonly exitCode: ExitCode;
  /** Where the bytes of frames were. */
  readonly supply: SupplyReport;
  /** Times. */
  readonly meter: Meter;
  /** Milliseconds from the first frame asked for to the last one measured. */
  readonly wallMs: number;
  /** Collections of the main thread. */
  readonly gc: GcCount;
  /** Collections of each worker. */
  readonly workerGc: readonly GcCount[];
  /** What the process took meanwhile. */
  readonly use: ProcessUse;
  /** Worker threads. */
  readonly workers: number;
  /** Files that were written. */
  readonly outputs: RunSummary["outputs"];
}

/** The summary of a run. */
export function summarize(parts: SummaryParts): RunSummary {
  const { meter, frames, facts, wallMs } = parts;
  const { decode, wait, allocate, copy, handOff } = meter.stages;
  const stageMs = allocate + copy + handOff;
  return {
    schema: SUMMARY_SCHEMA,
    version: MILLPOND_VERSION,
    complete: parts.shortfall === undefined,
    missing: parts.shortfall ?? null,
    concealed: parts.concealed,
    exitCode: parts.exitCode,
    source: { ...facts, format: parts.format, frameBytes: parts.frameBytes },
    measures: parts.measures,
    supply: { ...parts.supply, waits: meter.waits },
    timing: {
      wallMs: round(wallMs),
      cpuMs: round(parts.use.cpuMs),
      decodeMs: round(decode),
      waitMs: round(wait),
      allocateMs: round(allocate),
      copyMs: round(copy),
      handOffMs: round(handOff),
      framesPerSecond: rate(frames, wallMs),
      stageFramesPerSecond: rate(frames, stageMs),
    },
    allocation: {
      samples: meter.allocations.length,
      p50: round(percentile(meter.allocations, 0.5)),
      p99: round(percentile(meter.allocations, 0.99)),
    },
    gc: { main: roundGc(parts.gc), workers: roundGc(addGc(parts.workerGc)) },
    memory: { minorFaults: parts.use.minorFaults, peakRss: parts.use.peakRss },
    workers: parts.workers,
    outputs: parts.outputs,
  };
}

/** The summary for people: a few lines that line up. */
export function describeRun(summary: RunSummary, paint: Paint): string {
  const { source, measures, supply, timing, outputs } = summary;
  const lines: [string, string][] = [];
  const shown =
    source.displayWidth !== source.width || source.displayHeight !== source.height
      ? `, shown ${source.displayWidth}x${source.displayHeight}${source.rotation === 0 ? "" : ` (rotated by ${source.rotation} degrees)`}`
      : "";
  const what = source.codec === null ? source.kind : `${source.container}, ${source.codec}`;
  lines.push(["input", `${printableLine(what)}, ${source.width}x${source.height} ${source.format ?? ""}${shown}`]);
  const span =
    measures.firstTime === null || measures.endTime === null
      ? ""
      : `, ${(measures.endTime - measures.firstTime).toFixed(2)} s of video`;
  lines.push([
    "frames",
    `${count(measures.frames, "frame")}${span}, in ${number(timing.wallMs / 1000)} s ` +
      `(${number(timing.framesPerSecond)}/s) with ${count(summary.workers, "worker")}`,
  ]);
  if (summary.concealed > 0) lines.push(["damage", paint.warn(`concealed: ${summary.concealed}`)]);
  lines.push([
    "pool",
    `${count(supply.buffers, "buffer")} of ${bytes(supply.bufferBytes)}, ${supply.allocated} allocated for ` +
      `${count(measures.frames, "frame")}; ${supply.outstanding === 0 ? paint.good("all back") : paint.bad(`${supply.outstanding} missing`)}; ` +
      `${supply.waits === 0 ? "never waited" : `waited ${count(supply.waits, "time")}`} for a worker`,
  ]);
  lines.push(["stage", `copy and hand-off alone: ${number(timing.stageFramesPerSecond)} frames/s`]);
  if (measures.frames > 0) {
    const cuts = measures.cuts.map((cut) => (cut.time === null ? `frame ${cut.frame}` : `${cut.time.toFixed(2)} s`));
    const listed = cuts.length > 8 ? `${cuts.slice(0, 8).join(", ")} and ${cuts.length - 8} more` : cuts.join(", ");
    lines.push(["cuts", cuts.length === 0 ? "none" : `${cuts.length}, at ${listed}`]);
  }
  const written = [outputs.contactSheet, outputs.frames, outputs.trace].filter((path) => path !== null);
  if (written.length > 0) lines.push(["wrote", written.map(printableLine).join(", ")]);
  const title = paint.bold(printableLine(source.name));
  // Below a name stands only its text.
  const width = terminalWidth(process.stdout) - 10;
  return `${title}\n${lines.map(([name, text]) => `  ${paint.dim(name.padEnd(7))} ${wrap(text, width, " ".repeat(10))}`).join("\n")}`;
}

/** What is said of frames that the decoder made up in part. */
export function concealedText(concealed: number): string {
  return `${count(concealed, "frame")} ${concealed === 1 ? "is" : "are"} damaged, and the decoder concealed it`;
}

function rate(frames: number, ms: number): number {
  return ms > 0 ? round((frames * 1000) / ms) : 0;
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function roundGc(gc: GcCount): GcCount {
  return { ...gc, ms: round(gc.ms) };
}
