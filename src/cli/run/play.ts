/**
 * One run from the first frame to the last buffer back: source, pool, workers and results are opened here and closed
 * here, in every way that it can end.
 */
import { join } from "node:path";
import { assertPathsApart } from "../../adapters/node/file-paths.ts";
import { encodePng, loadPng } from "../../adapters/node/png.ts";
import { ContactSheet } from "../../video/contact-sheet.ts";
import type { RunOptions } from "../args.ts";
import { ExitCode, explain, Failure, Interruption } from "../exit.ts";
import { count } from "../terminal.ts";
import { FramePools, type SupplyReport } from "./frame-pools.ts";
import type { WorkerFault } from "./frame-results.ts";
import { Journal, type JournalSummary } from "./journal.ts";
import { createMeter, type GcCount, type GcWatch, type ProcessUse, processUse, watchGc } from "./meter.ts";
import { keepFolders, prepareFolder, removeEmptyFolders, WholeFile } from "./output.ts";
import type { Progress } from "./progress.ts";
import { concealedText, type RunSummary, summarise } from "./report.ts";
import { type OpenSource, openSource } from "./source.ts";
import { playStages, type StageParts, type StagesResult } from "./stages.ts";

/** Names of the results in the folder of `--out`. */
export const OUTPUT_NAMES = { sheet: "contact-sheet.png", frames: "frames.json" } as const;

// Lines of frames.json are written in batches: a system call a frame would be most of the work.
const FLUSH_EVERY = 32;

/**
 * Plays the input once, and writes what was asked for. Throws {@link Failure}; no result file is left behind then, and
 * every buffer is back in its pool, or the failure says which is not.
 */
export async function play(options: RunOptions, signal: AbortSignal, progress: Progress): Promise<RunSummary> {
  const source = await openSource(options, signal);
  const faults = readFaults();
  const results = new Results(options, faults);
  try {
    await results.open(source);
    const summary = await new Playback(options, source, results, signal, progress).run(faults);
    await results.commit(summary);
    return summary;
  } finally {
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

/** The two result files, and what is collected for them. */
class Results {
  readonly sheet: ContactSheet | undefined;
  readonly #options: RunOptions;
  readonly #diskAfter: number | undefined;
  readonly #lines: string[] = [];
  readonly #files: WholeFile[] = [];
  #separator = "";

  constructor(options: RunOptions, faults: Faults) {
    this.#options = options;
    this.#diskAfter = faults.diskAfter;
    this.sheet = options.out === undefined ? undefined : new ContactSheet(options.tiles);
  }

  /** The journal's lines come here; undefined when nothing is to be written. */
  get line(): ((json: string) => void) | undefined {
    if (this.#options.out === undefined) return undefined;
    return (json) => {
      this.#lines.push(this.#separator, json);
      this.#separator = ",\n";
    };
  }

  async open(source: OpenSource): Promise<void> {
    const { out } = this.#options;
    if (out === undefined) return;
    const writes = Object.values(OUTPUT_NAMES).map((name) => ({ path: join(out, name), by: "--out" }));
    await assertPathsApart([{ path: this.#options.input, by: "this run" }], writes);
    // At the end of a long film it would be late to hear that a package is missing.
    await loadPng();
    await prepareFolder(out);
    const file = await WholeFile.create(out, OUTPUT_NAMES.frames, this.#diskAfter);
    this.#files.push(file);
    await file.write(`{\n"schema": "millpond.frames/1",\n"source": ${JSON.stringify(source.facts)},\n"frames": [\n`);
  }

  async flush(): Promise<void> {
    if (this.#lines.length === 0) return;
    const text = this.#lines.join("");
    this.#lines.length = 0;
    await this.#files[0]?.write(text);
  }

  /** Paths of what will be there after {@link commit}. */
  get paths(): RunSummary["outputs"] {
    const [frames] = this.#files;
    const sheet = this.#files[1];
    return { contactSheet: sheet?.path ?? null, frames: frames?.path ?? null };
  }

  /** Draws the sheet next to the measures, without publishing either. */
  async drawSheet(): Promise<void> {
    const { out } = this.#options;
    const picture = this.sheet?.draw();
    if (out === undefined || picture === undefined) return;
    const png = await encodePng(picture);
    const file = await WholeFile.create(out, OUTPUT_NAMES.sheet, this.#diskAfter);
    this.#files.push(file);
    await file.write(png);
  }

  async commit(summary: RunSummary): Promise<void> {
    await this.flush();
    await this.#files[0]?.write(`\n],\n"summary": ${JSON.stringify(summary, undefined, 1)}\n}\n`);
    for (const file of this.#files) await file.seal();
    for (const file of this.#files) await file.commit();
    keepFolders();
  }

  async discard(): Promise<void> {
    for (const file of this.#files) await file.discard();
    await removeEmptyFolders();
  }
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
    const signal = this.#signal;
    // A source may be waiting for bytes that never come; closing it is what ends that.
    const onAbort = (): void => void this.#source.frames.close();
    signal.addEventListener("abort", onAbort);
    let gc: GcWatch | undefined;
    let before: ProcessUse | undefined;
    let result: StagesResult | undefined;
    let thrown: unknown;
    try {
      result = await playStages(this.#parts(faults), () => {
        gc = watchGc();
        before = processUse();
      });
    } catch (error) {
      thrown = error;
    }
    const after = processUse();
    const gcMain = await gc?.stop();
    signal.removeEventListener("abort", onAbort);
    const supply = this.#pools.close();
    if (result === undefined) throw this.#ending(thrown, supply);
    assertAllBack(supply);
    const measures = this.#journal.finish();
    await this.#results.flush();
    this.#progress.clear();
    await this.#results.drawSheet();
    const memory = { minorFaults: after.minorFaults - before!.minorFaults, peakRss: after.peakRss };
    return this.#summary(result, measures, supply, gcMain!, memory);
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
    memory: RunSummary["memory"],
  ): RunSummary {
    const { layout, frames, concealed, workerGc } = result;
    const isRefused = this.#options.strict && concealed > 0;
    const shortfall = result.shortfall ?? (isRefused ? concealedText(concealed) : undefined);
    return summarise({
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
      memory,
      workers: this.#options.workers,
      outputs: this.#results.paths,
    });
  }
}

/** The promise of every run: what was lent came back. */
function assertAllBack(supply: SupplyReport): void {
  if (supply.outstanding > 0) throw new Failure(leakText(supply), ExitCode.LEAKED);
}

function leakText(supply: SupplyReport): string {
  return (
    `${count(supply.outstanding, "buffer")} of ${supply.name} did not come back, which is a bug in millpond; ` +
    `nothing was written. Still held: ${supply.holders.join("; ") || "unknown"}`
  );
}
