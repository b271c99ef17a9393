/** `millpond run "file clip.mp4 ! decode ! ..."`: a pipeline written on the command line. */
import { extname } from "node:path";
import { ALL_ELEMENTS, pipelineFromText } from "../adapters/node/factories.ts";
import { assertPathsApart, filesOf } from "../adapters/node/file-paths.ts";
import { FramesElement } from "../adapters/node/frames-element.ts";
import { filesAreNamed, OutputFile } from "../adapters/node/output-file.ts";
import type { Description } from "../pipeline/describe.ts";
import type { Pipeline } from "../pipeline/pipeline.ts";
import type { RunSummary } from "../pipeline/run.ts";
import { type ParsedPipeline, usageOf } from "../pipeline/text.ts";
import { isMillpondError } from "../util/errors.ts";
import type { TextOptions } from "./args.ts";
import { ExitCode, explain, Failure, listenForSignals, print, withResults } from "./exit.ts";
import { concealedText } from "./run/report.ts";
import { TraceFile } from "./run/trace-file.ts";
import {
  bytes,
  complain,
  count,
  createProgress,
  number,
  type Paint,
  paintFor,
  printableLine,
  printableText,
  table,
} from "./terminal.ts";

/** Runs the text; resolves with the exit code. Throws {@link Failure} for an end that has only a message. */
export async function runText(options: TextOptions): Promise<ExitCode> {
  const stop = new AbortController();
  const parsed = parse(options);
  const { pipeline } = parsed;
  const forget = listenForSignals(stop);
  const progress = createProgress(process.stderr, options.quiet || options.json);
  const graph = options.graph === undefined ? undefined : new GraphFile(options.graph);
  let trace: TraceFile | undefined;
  let hasResults = false;
  try {
    await assertApart(parsed, options);
    await graph?.open();
    const onWarning = (text: string): void => {
      progress.clear();
      complain(`warning: ${text}`);
    };
    const { strict } = options;
    if (options.dryRun) {
      await pipeline.negotiate({ signal: stop.signal, onWarning, strict });
      await print(`${printableText(pipeline.describe().text())}\n`);
      await graph?.write(pipeline.describe());
      return ExitCode.OK;
    }
    if (options.trace !== undefined) trace = await TraceFile.open(options.trace, stop.signal);
    trace?.begin();
    const summary = await pipeline.run({
      signal: stop.signal,
      onWarning,
      strict,
      onProgress: ({ buffers }) => {
        const label = pipeline.elements[0]?.name ?? pipeline.name;
        progress.update(() => ({ done: buffers, expected: expectedOf(pipeline), label, showsRate: true, note: "" }));
      },
    });
    hasResults = filesAreNamed();
    progress.clear();
    await graph?.write(pipeline.describe());
    await trace?.seal();
    await trace?.commit();
    const report = reportStream(pipeline);
    const missing = shortfallOf(pipeline, options.strict);
    if (options.json) await print(`${JSON.stringify(plainSummary(summary, pipeline))}\n`, report);
    else if (!options.quiet) await print(`${describe(summary, pipeline, paintFor(report))}\n`, report);
    if (options.describe) await print(`\n${printableText(pipeline.describe().text())}\n`, report);
    if (summary.holders.length > 0) {
      complain(`${count(summary.holders.length, "buffer")} did not come back, which is a bug in a stage`);
      return ExitCode.LEAKED;
    }
    if (missing === undefined) return ExitCode.OK;
    complain(`partial result: ${missing}`);
    return ExitCode.PARTIAL;
  } catch (error) {
    // What was settled before it failed helps to see why; that the picture fails too is not worth a second message.
    await graph?.write(pipeline.describe()).catch(() => {});
    await trace?.keep(error);
    if (hasResults) throw withResults(error);
    if (error instanceof Failure) throw error;
    throw failureOf(parsed.pointAt(error));
  } finally {
    await graph?.discard();
    await trace?.discard();
    progress.clear();
    forget();
  }
}

/** Standard output; standard error when a stage writes there. */
function reportStream({ elements }: Pipeline): NodeJS.WriteStream {
  const isTaken = filesOf(elements).writes.some(({ path }) => path === "-" || path === "/dev/stdout");
  return isTaken ? process.stderr : process.stdout;
}

function parse({ text, buffers, patience }: TextOptions): ParsedPipeline {
  try {
    return pipelineFromText(text, {
      acquireTimeout: patience,
      ...(buffers === undefined ? {} : { maxBytes: buffers }),
    });
  } catch (error) {
    throw failureOf(error);
  }
}

/** The reason as a paragraph, and the place below it as it is. */
function failureOf(error: unknown): Failure {
  if (!isMillpondError(error) || typeof error.details?.excerpt !== "string") {
    return new Failure(explain(error), ExitCode.FAILED, { cause: error });
  }
  const { cause } = error;
  // A file system's error says best itself what it is.
  const known = cause instanceof Error && !isMillpondError(cause) && "code" in cause;
  const said = String(error.details.reason).replace("raise acquireTimeout", "raise --patience");
  const reason = known ? explain(cause) : said;
  return new PlacedFailure(reason, error.details.excerpt, error);
}

/** A failure with two lines that show its place; {@link complain} leaves them as they are. */
class PlacedFailure extends Failure {
  override readonly excerpt: string;

  constructor(message: string, excerpt: string, cause: unknown) {
    super(message, ExitCode.FAILED, { cause });
    this.excerpt = excerpt;
  }
}

/** Buffers that will reach the sinks, as far as one film's own count tells. */
function expectedOf({ elements }: Pipeline): number | undefined {
  const films = elements.filter((one) => one instanceof FramesElement);
  const sinks = elements.filter((one) => one.outputs.length === 0).length;
  const frames = films.length === 1 ? films[0]!.expected : undefined;
  return frames === undefined ? undefined : frames * sinks;
}

function shortfallOf(pipeline: Pipeline, strict: boolean): string | undefined {
  for (const one of pipeline.elements) {
    if (!(one instanceof FramesElement)) continue;
    if (one.shortfall !== undefined) return one.shortfall;
    if (strict && one.concealed > 0) return concealedText(one.concealed);
  }
  return undefined;
}

function concealedOf({ elements }: Pipeline): number {
  return elements.reduce((sum, one) => sum + (one instanceof FramesElement ? one.concealed : 0), 0);
}

function describe(summary: RunSummary, pipeline: Pipeline, paint: Paint): string {
  const seconds = summary.elapsed / 1000;
  const lines: string[] = [];
  for (const [name, buffers] of Object.entries(summary.sinks)) {
    const role = printableLine(pipeline.elements.find((one) => one.name === name)?.role ?? "");
    const rate = seconds > 0 ? `${number(buffers / seconds)} a second` : "";
    lines.push(`${paint.bold(name)}  ${count(buffers, "buffer")} in ${number(seconds)} s, ${rate}  ${paint.dim(role)}`);
  }
  const rows = summary.pools.map((pool) => [
    pool.name,
    `${pool.max} x ${bytes(pool.size)}`,
    `${number(pool.acquires)} leases`,
    pool.waits === 0 ? "no waits" : `${number(pool.waits)} waits`,
  ]);
  const concealed = concealedOf(pipeline);
  if (concealed > 0) lines.push(paint.warn(`concealed: ${concealed}`));
  if (rows.length > 0) lines.push("", paint.dim("pools"), table(rows));
  return lines.join("\n");
}

function plainSummary(summary: RunSummary, pipeline: Pipeline): object {
  const { elements, links } = pipeline.describe();
  return { ...summary, concealed: concealedOf(pipeline), elements, links };
}

/**
 * The picture of `--graph`: its file is opened before the run, so that a run need not end to hear that it cannot be
 * written.
 */
class GraphFile {
  readonly #path: string;
  #file: OutputFile | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  async open(): Promise<void> {
    this.#file = await this.#guard(OutputFile.open(this.#path));
  }

  async write(description: Description): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    const kind = extname(this.#path).toLowerCase();
    const text = kind === ".svg" ? description.svg() : kind === ".mmd" ? description.mermaid() : description.text();
    await this.#guard(file.write(new TextEncoder().encode(`${text}\n`)).then(() => file.commit()));
    this.#file = undefined;
  }

  async discard(): Promise<void> {
    await this.#file?.discard();
  }

  #guard<T>(work: Promise<T>): Promise<T> {
    return work.catch((cause: unknown) => {
      throw new Failure(`the picture of --graph could not be written: ${explain(cause)}`, ExitCode.FAILED, { cause });
    });
  }
}

/** Nothing has been opened yet: a file that is both read and written is still whole. */
async function assertApart({ pipeline }: ParsedPipeline, options: TextOptions): Promise<void> {
  const { graph, trace, json, quiet, describe: describes, dryRun } = options;
  const { reads, writes } = filesOf(pipeline.elements);
  const isTold = json || !quiet || describes || dryRun;
  if (isTold && reportStream(pipeline) === process.stdout) writes.push({ path: "-", by: "the report" });
  if (graph !== undefined) writes.push({ path: graph, by: "--graph" });
  if (trace !== undefined) writes.push({ path: trace, by: "--trace" });
  await assertPathsApart(reads, writes);
}

/** The list of elements, for `millpond run --elements`. */
export function elementList(): string {
  const lines = ALL_ELEMENTS.flatMap((spec) => {
    const properties = Object.entries(spec.properties ?? {}).map(
      ([key, { help }]) => `      ${key.padEnd(10)} ${help}`,
    );
    return [`  ${usageOf(spec)}`, `    ${spec.help}`, ...properties, ""];
  });
  return ["Elements of a pipeline text; every one takes name= too:", "", ...lines].join("\n");
}
