/** What stands on the command line, checked before anything is opened. */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { Failure } from "./exit.ts";

/** The subjects of a comparison: where the bytes of their frames come from. */
export const VARIANTS = ["pooled", "fresh", "floor"] as const;

/** One of {@link VARIANTS}. */
export type Variant = (typeof VARIANTS)[number];

/** What `millpond run` was asked for. */
export interface RunOptions {
  /** A path, or "-" for standard input. */
  readonly input: string;
  /** Where results are written; undefined: nothing is written. */
  readonly out: string | undefined;
  /** Pixel format of raw video; undefined: the input says itself what it is. */
  readonly format: string | undefined;
  /** Size of raw video. */
  readonly size: { readonly width: number; readonly height: number } | undefined;
  /** Frame rate of raw video. */
  readonly fps: { readonly num: number; readonly den: number } | undefined;
  /** Worker threads. */
  readonly workers: number;
  /** Buffers in the pool, which is the most frames in flight. */
  readonly buffers: number;
  /** Most tiles on the contact sheet. */
  readonly tiles: number;
  /** Milliseconds without any buffer coming back after which the run gives up. */
  readonly patience: number;
  /** Also compare with fresh buffers. */
  readonly compare: boolean;
  /** Rounds of a comparison. */
  readonly rounds: number;
  /** Machine-readable summary on standard output. */
  readonly json: boolean;
  /** No progress, no summary: only problems. */
  readonly quiet: boolean;
  /** Damage that the decoder concealed counts as missing. */
  readonly strict: boolean;
  /** Hidden: this process is one subject of a comparison. */
  readonly variant: Variant | undefined;
  /** Hidden: how often a subject plays the file, as one longer stream. */
  readonly passes: number;
}

/** What `millpond run "<pipeline>"` was asked for. */
export interface TextOptions {
  /** The pipeline. */
  readonly text: string;
  /** Only settle formats and memory, and print what was settled. */
  readonly dryRun: boolean;
  /** Print what was settled, and why, after the run. */
  readonly describe: boolean;
  /** Where a picture of the pipeline is written: .svg, .mmd (Mermaid), anything else text. */
  readonly graph: string | undefined;
  /** The most bytes that all pools may have. */
  readonly buffers: number | undefined;
  /** Warnings are errors, and concealed damage counts as missing. */
  readonly strict: boolean;
  /** Machine-readable summary on standard output. */
  readonly json: boolean;
  /** Only problems. */
  readonly quiet: boolean;
}

/** What the command line means. */
export type Command =
  | { readonly kind: "help"; readonly topic: "main" | "run" }
  | { readonly kind: "version" }
  | { readonly kind: "doctor"; readonly json: boolean }
  | { readonly kind: "elements" }
  | { readonly kind: "text"; readonly options: TextOptions }
  | { readonly kind: "run"; readonly options: RunOptions };

/** `millpond --help`. */
export const MAIN_HELP = `millpond: pooled memory for media

Usage: millpond <command> [options]

Commands:
  run <file | ->   decode a video into pooled frames, measure them in worker threads,
                   write a contact sheet and the measures
  doctor [--json]  what this machine can do: lock, huge pages, shared memory, DMA buffers
  run "<pipeline>" run stages joined by "!", such as
                   "file clip.mp4 ! decode ! scale width=320 ! contactsheet out.png"

  millpond <command> --help   its options
  millpond --version
`;

/** `millpond run --help`. */
export const RUN_HELP = `Usage: millpond run <file | -> [options]

Decodes every frame of an MP4, MOV, WebM or Matroska file (or reads raw video) into a
bounded pool of shared buffers, hands them to worker threads that scale and measure
them, and writes contact-sheet.png and frames.json.

  --out DIR        write the results there; without it, only the summary is printed
  --compare        run the same work with a new buffer for every frame, in processes of
                   their own, and print both side by side
  --json           machine-readable summary on standard output
  --workers N      worker threads (default: cores - 1, from 2 to 4)
  --buffers N      buffers in the pool = most frames in flight (default: 2 a worker + 2)
  --tiles N        most pictures on the contact sheet (default: 20)
  --rounds N       rounds of --compare (default: 5)
  --patience S     give up when no buffer comes back for S seconds (default: 30)
  --quiet          print nothing but problems
  --strict         frames that the decoder had to conceal count as missing: exit code 2

Raw video, in a file or on standard input ("-"): Y4M needs no options; others do
  --format F       I420, NV12, I422, I444, RGBA ... or ffmpeg's name (yuv420p, gray ...)
  --size WxH       for example 1920x1080
  --fps N          for example 25 or 30000/1001 (default: 25; Y4M says its own)

Usage: millpond run "<element> ! <element> ! ..." [options]

Runs a pipeline: stages agree on formats, pools and sizes first, then run side by side.
Quote the text, so that the shell leaves "!" alone.

  --elements       list the elements and their properties
  --dry-run        only settle formats and memory, and print what was settled and why
  --describe       print that after the run
  --graph FILE     write it as a picture: .svg, .mmd (Mermaid), anything else as text
  --max-bytes N    refuse a pipeline whose pools need more
  --strict         refuse to lose rotation, colours or times that a file cannot carry;
                   concealed frames count as missing
  --json, --quiet  as above

Exit codes: 0 done; 1 failed, nothing written; 2 partial, and it says what is missing;
3 buffers left on loan (a bug); 130 interrupted, nothing written.
`;

/** Reads the arguments after the program's name. Throws {@link Failure} with a hint. */
export function parseCommand(argv: readonly string[]): Command {
  const [command, ...rest] = argv;
  if (command === undefined || command === "--help" || command === "-h" || command === "help") {
    return { kind: "help", topic: rest[0] === "run" ? "run" : "main" };
  }
  if (command === "--version" || command === "-v") return { kind: "version" };
  if (command === "doctor") return parseDoctor(rest);
  if (command !== "run") {
    throw new Failure(`there is no command "${command}"; the commands are "run" and "doctor" (millpond --help)`);
  }
  return parseRun(rest);
}

function parseDoctor(args: readonly string[]): Command {
  const odd = args.find((argument) => argument !== "--json");
  if (odd === "--help" || odd === "-h") return { kind: "help", topic: "main" };
  if (odd !== undefined) throw new Failure(`millpond doctor knows --json only, not "${odd}"`);
  return { kind: "doctor", json: args.length > 0 };
}

function parseRun(args: string[]): Command {
  const { values, positionals } = readOptions(args);
  if (values.help === true) return { kind: "help", topic: "run" };
  if (values.elements === true) return { kind: "elements" };
  // Unquoted on the command line the shell has split it already; what has a space inside was quoted there.
  const text = positionals.length === 1 ? positionals[0]! : positionals.map(quoteWord).join(" ");
  if (/(^|\s)!(\s|$)/.test(text)) return parseText(text, values);
  const only = TEXT_ONLY.find((name) => values[name] !== undefined);
  if (only !== undefined) throw new Failure(`--${only} is for a pipeline, such as "file clip.mp4 ! decode ! null"`);
  const [input, ...more] = positionals;
  if (input === undefined) throw new Failure("which file? millpond run <file | -> (millpond run --help)");
  if (more.length > 0) throw new Failure(`one file at a time, please: "${more.join('", "')}" is too much`);

  const size = values.size === undefined ? undefined : parseSize(values.size);
  if ((values.format === undefined) !== (size === undefined)) {
    throw new Failure("--format and --size belong together (Y4M needs neither)");
  }
  const compare = values.compare === true;
  if (compare && input === "-")
    throw new Failure("--compare plays the input several times, and standard input comes only once");

  const workers = whole("workers", values.workers, 1, MOST_WORKERS) ?? defaultWorkers();
  const variant = values.variant;
  if (variant !== undefined && !isVariant(variant)) throw new Failure(`--variant is one of ${VARIANTS.join(", ")}`);
  return {
    kind: "run",
    options: {
      input,
      out: values.out,
      format: values.format,
      size,
      fps: values.fps === undefined ? undefined : parseRate(values.fps),
      workers,
      // Each worker has one frame in hand and one waiting; two more keep the decoder busy meanwhile.
      buffers: whole("buffers", values.buffers, 1, 1024) ?? 2 * workers + 2,
      tiles: whole("tiles", values.tiles, 1, 400) ?? 20,
      patience: 1000 * (positive("patience", values.patience) ?? 30),
      compare,
      rounds: whole("rounds", values.rounds, 1, 50) ?? 5,
      json: values.json === true,
      quiet: values.quiet === true,
      strict: values.strict === true,
      variant,
      passes: whole("passes", values.passes, 1, 1000) ?? 1,
    },
  };
}

function quoteWord(word: string): string {
  return /\s/.test(word) && !word.includes('"') ? `"${word}"` : word;
}

const TEXT_ONLY = ["dry-run", "describe", "graph", "max-bytes"] as const;

/** Options that a pipeline understands; the others are for a file. */
const TEXT_OPTIONS: readonly string[] = [...TEXT_ONLY, "json", "quiet", "strict"];

function parseText(text: string, values: ReturnType<typeof parse>["values"]): Command {
  const other = Object.keys(values).find((name) => !TEXT_OPTIONS.includes(name));
  if (other !== undefined) {
    throw new Failure(
      `--${other} is for a file, not for a pipeline; a pipeline has properties, such as "contactsheet out.png tiles=12"`,
    );
  }
  return {
    kind: "text",
    options: {
      text,
      dryRun: values["dry-run"] === true,
      describe: values.describe === true,
      graph: values.graph,
      buffers: whole("max-bytes", values["max-bytes"], 1, Number.MAX_SAFE_INTEGER),
      strict: values.strict === true,
      json: values.json === true,
      quiet: values.quiet === true,
    },
  };
}

function readOptions(args: string[]): ReturnType<typeof parse> {
  try {
    return parse(args);
  } catch (error) {
    // parseArgs words its messages well; only its codes and hints about "--" are noise here.
    const message = error instanceof Error ? error.message.split(". ")[0] : String(error);
    throw new Failure(`${message} (millpond run --help lists the options)`);
  }
}

function parse(args: string[]) {
  return parseArgs({
    args,
    allowPositionals: true,
    options: {
      out: { type: "string", short: "o" },
      format: { type: "string" },
      size: { type: "string" },
      fps: { type: "string" },
      workers: { type: "string" },
      buffers: { type: "string" },
      tiles: { type: "string" },
      patience: { type: "string" },
      compare: { type: "boolean" },
      rounds: { type: "string" },
      json: { type: "boolean" },
      quiet: { type: "boolean", short: "q" },
      strict: { type: "boolean" },
      help: { type: "boolean", short: "h" },
      variant: { type: "string" },
      passes: { type: "string" },
      elements: { type: "boolean" },
      "dry-run": { type: "boolean" },
      describe: { type: "boolean" },
      graph: { type: "string" },
      "max-bytes": { type: "string" },
    },
  });
}

function parseSize(text: string): { width: number; height: number } {
  const match = /^(\d{1,5})[xX](\d{1,5})$/.exec(text);
  const width = Number(match?.[1]);
  const height = Number(match?.[2]);
  if (!(width > 0 && height > 0))
    throw new Failure(`--size is width x height in pixels, like 1920x1080, not "${text}"`);
  return { width, height };
}

function parseRate(text: string): { num: number; den: number } {
  const match = /^(\d{1,9})(?:\.(\d{1,6}))?(?:[/:](\d{1,9}))?$/.exec(text);
  const digits = match?.[2]?.length ?? 0;
  const num = Number(`${match?.[1]}${match?.[2] ?? ""}`);
  const den = Number(match?.[3] ?? 1) * 10 ** digits;
  if (!(num > 0 && den > 0)) throw new Failure(`--fps is a number like 25, 29.97 or 30000/1001, not "${text}"`);
  return { num, den };
}

function whole(name: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new Failure(`--${name} is a whole number from ${min} to ${max}, not "${text}"`);
  }
  return value;
}

function positive(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!(value > 0)) throw new Failure(`--${name} is a number of seconds above 0, not "${text}"`);
  return value;
}

function isVariant(text: string): text is Variant {
  return (VARIANTS as readonly string[]).includes(text);
}

// A shared pool has 20 seats at most, and the main thread takes one of them.
const MOST_WORKERS = 19;

// One core is left to the decoder and the copy; more than four workers wait for the decoder on any machine met so far.
function defaultWorkers(): number {
  return Math.max(2, Math.min(4, availableParallelism() - 1));
}
