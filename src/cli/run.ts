/**
 * `millpond run FILE`: plays the input once, from the first frame to the last buffer back, reports, compares if asked,
 * and ends with a code that means something. Source, pool, workers and results are opened here and closed here, in
 * every way that it can end.
 */
import type { RunOptions } from "./args.ts";
import { compare, describeComparison } from "./compare.ts";
import { ExitCode, explain, Failure, Interruption, listenForSignals, print, withResults } from "./exit.ts";
import { FramePools, type SupplyReport } from "./run/frame-pools.ts";
import type { WorkerFault } from "./run/frame-results.ts";
import { Journal, type JournalSummary } from "./run/journal.ts";
import { countGc, createMeter, type GcCount, type GcCounter, type ProcessUse, processUse } from "./run/meter.ts";
import { concealedText, describeRun, type RunSummary, summarize } from "./run/report.ts";
import { Results } from "./run/results.ts";
import { type OpenSource, openSource } from "./run/source.ts";
import { playStages, type StageParts, type StagesResult } from "./run/stages.ts";
import { TraceFile } from "./run/trace-file.ts";
import { complain, count, createProgress, type Progress, paintFor } from "./terminal.ts";

// Lines of frames.json are written in batches: a system call a frame would be most of the work.
const FLUSH_EVERY = 32;

/** Runs the command; resolves with the exit code. Throws {@link Failure} for an end that has only a message. */
export async function run(options: RunOptions): Promise<ExitCode> {
  const stop = new AbortController();
  const forget = listenForSignals(stop);
  const progress = createProgress(process.stderr, options.quiet || options.json);
  try {
    const summary = await play(options, stop.signal, progress);
    progress.clear();
    try {
      await report(options, summary, stop.signal, progress);
    } catch (error) {
      throw summary.outputs.frames === null ? error : withResults(error);
    }
    return summary.exitCode;
  } finally {
    progress.clear();
    forget();
  }
}

/** Prints how it went, and compares if asked. The results have their names by then. */
async function report(
  options: RunOptions,
  summary: RunSummary,
  signal: AbortSignal,
  progress: Progress,
): Promise<void> {
  const isForPeople = !options.json && !options.quiet;
  const paint = paintFor(process.stdout);
  if (isForPeople) await print(`${describeRun(summary, paint)}\n`);
  if (summary.missing !== null) complain(`partial result: ${summary.missing}`);
  const comparison = options.compare
    ? await compare(options, summary.measures.frames, signal, progress).catch(interruptedComparison)
    : undefined;
  progress.clear();
  if (isForPeople && comparison !== undefined) await print(`\n${describeComparison(comparison, paint)}\n`);
  if (options.json) {
    await print(`${JSON.stringify(comparison === undefined ? summary : { ...summary, comparison })}\n`);
  }
}

function interruptedComparison(error: unknown): never {
  if (error instanceof Interruption) error.message += " while comparing; the results of the run before it stay";
  throw error;
}

/**
 * Plays the input once, and writes what was asked for. Throws {@link Failure}; no result file is left behind then, and
 * every buffer is back in its pool, or the failure says which is not.
 */
async function play(options: RunOptions, signal: AbortSignal, progress: Progress): Promise<RunSummary> {
  const source = await openSource(options, signal);
  const faults = readFaults();
  const results = new Results(options, faults.diskAfter);
  let trace: TraceFile | undefined;
  try {
    await results.open(source);
    if (options.trace !== undefined) trace = await TraceFile.open(options.trace, signal);
    trace?.begin();
    const summary = await new Playback(options, source, results, signal, progress).run(faults);
    await trace?.seal();
    await results.commit(summary);
    await trace?.commit();
    return summary;
  } catch (error) {
    await trace?.keep(error);
    throw error;
  } finally {
    await trace?.discard();
    await results.discard();
    await source.frames.close();
  }
}

/**
 * Faults on purpose, so that tests can see how the command ends when a worker dies or the disk is full. They are asked
 * for through MILLPOND_TEST_FAULT, which no user sets: `throw:N`, `exit:N`, `crash:N`, `hang:N` at frame N in a worker,
 * `disk:N` after N bytes of a result file, `leak:N` keeps the buffer of frame N.
 */
interface Faults {
  /** In a worker. */
  readonly worker: WorkerFault | undefined;
  /** Bytes after which the disk is full. */
  readonly diskAfter: number | undefined;
  /** Frame whose buffer is not given back. */
  readonly leakAt: number | undefined;
}

/** Reads the variable; anything that is not understood asks for nothing. */
function readFaults(): Faults {
  const match = /^(throw|exit|crash|hang|disk|leak):(\d+)$/.exec(process.env.MILLPOND_TEST_FAULT ?? "");
  const kind = match?.[1];
  const at = Number(match?.[2]);
  return {
    worker:
      kind === "throw" || kind === "exit" || kind === "crash" || kind === "hang" ? { kind, frame: at } : undefined,
    diskAfter: kind === "disk" ? at : undefined,
    leakAt: kind === "leak" ? at : undefined,
  };
}

/** One run: its stages, what is collected for the report, and how it ends. */
class Playback {
  readonly #options: RunOptions;
  readonly #source: OpenSource;
  readonly #results: Results;
  readonly #signal: AbortSignal;
  readonly #progress: Progress;
  readonly #meter = createMeter();
  readonly #pools: FramePools;
  readonly #journal: Journal;
  readonly #times: Map<number, bigint | undefined> = new Map();
  #measured = 0;

  constructor(options: RunOptions, source: OpenSource, results: Results, signal: AbortSignal, progress: Progress) {
    this.#options = options;
    this.#source = source;
    this.#results = results;
    this.#signal = signal;
    this.#progress = progress;
    this.#journal = new Journal(results.line);
    this.#pools = new FramePools(options.variant ?? "pooled", options.buffers, this.#meter);
  }

  async run(faults: Faults): Promise<RunSummary> {
    let gc: GcCounter | undefined;
    let before: ProcessUse | undefined;
    let result: StagesResult | undefined;
    let thrown: unknown;
    try {
      result = await playStages(this.#parts(faults), () => {
        gc = countGc();
        before = processUse();
      });
    } catch (error) {
      thrown = error;
    }
    const after = processUse();
    const gcMain = await gc?.stop();
    const supply = this.#pools.close();
    if (result === undefined) throw this.#ending(thrown, supply);
    assertAllBack(supply);
    const measures = this.#journal.finish();
    await this.#results.flush();
    this.#progress.clear();
    await this.#results.drawSheet();
    const { cpuMs, minorFaults } = before!;
    const use = { cpuMs: after.cpuMs - cpuMs, minorFaults: after.minorFaults - minorFaults, peakRss: after.peakRss };
    return this.#summary(result, measures, supply, gcMain!, use);
  }

  #parts(faults: Faults): StageParts {
    const { facts } = this.#source;
    return {
      options: this.#options,
      source: this.#source,
      pools: this.#pools,
      meter: this.#meter,
      signal: this.#signal,
      fault: faults.worker,
      leakAt: faults.leakAt,
      onFrame: (frame, { pts, duration }) => {
        this.#journal.expect(frame, pts, duration);
        this.#times.set(frame, pts);
      },
      onResult: (result) => {
        this.#measured++;
        this.#journal.accept(result);
        const pts = this.#times.get(result.frame);
        this.#times.delete(result.frame);
        this.#results.sheet?.offer(result, pts === undefined ? undefined : Number(pts) / 1e9);
      },
      afterFrame: (frames) => {
        this.#progress.update(() => ({
          done: this.#measured,
          expected: facts.expectedFrames ?? undefined,
          label: facts.name,
          showsRate: true,
          note: `${this.#pools.outstanding} of ${this.#options.buffers} buffers out`,
        }));
        return frames % FLUSH_EVERY === 0 ? this.#results.flush() : undefined;
      },
    };
  }

  #ending(error: unknown, supply: SupplyReport): Error {
    if (supply.outstanding > 0) {
      return new Failure(`${explain(error)}. Also, ${leakText(supply)}`, ExitCode.LEAKED, { cause: error });
    }
    if (!(error instanceof Interruption)) return error as Error;
    const of = this.#source.facts.expectedFrames;
    const ending = new Interruption(error.signal);
    ending.message += ` after ${of === null ? "" : `${this.#measured} of `}${count(of ?? this.#measured, "frame")}; `;
    ending.message += `${this.#options.out === undefined ? "" : "nothing was written, and "}every buffer is back`;
    return ending;
  }

  #summary(
    result: StagesResult,
    measures: JournalSummary,
    supply: SupplyReport,
    gc: GcCount,
    use: ProcessUse,
  ): RunSummary {
    const { layout, frames, concealed, workerGc } = result;
    const isRefused = this.#options.strict && concealed > 0;
    const shortfall = result.shortfall ?? (isRefused ? concealedText(concealed) : undefined);
    return summarize({
      facts: this.#source.facts,
      format: layout?.format ?? null,
      frameBytes: layout?.size ?? 0,
      frames,
      measures,
      shortfall,
      concealed,
      exitCode: shortfall === undefined ? ExitCode.OK : ExitCode.PARTIAL,
      supply,
      meter: this.#meter,
      wallMs: result.endedAt - result.startedAt,
      gc,
      workerGc,
      use,
      workers: this.#options.workers,
      outputs: this.#results.paths,
    });
  }
}

/** The promise of every run: every lease came back. */
function assertAllBack(supply: SupplyReport): void {
  if (supply.outstanding > 0) throw new Failure(leakText(supply), ExitCode.LEAKED);
}

function leakText(supply: SupplyReport): string {
  return (
    `${count(supply.outstanding, "buffer")} of ${supply.name} did not come back, which is a bug in millpond; ` +
    `nothing was written. Still held: ${supply.holders.join("; ") || "unknown"}`
  );
}
