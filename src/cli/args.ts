/** The command line: its help, and what it asks for, checked before anything is opened. */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { MAX_TIMER, nearest } from "../util/validate.ts";
import { Failure } from "./exit.ts";

/** As package.json has it; both the source tree and the built one lie one folder below it. */
export const MILLPOND_VERSION: string = (
  JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }
).version;

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
  /** Where a trace of the run is written; undefined: nothing is recorded. */
  readonly trace: string | undefined;
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
  /** Where a trace of the run is written; undefined: nothing is recorded. */
  readonly trace: string | undefined;
  /** The most bytes that all pools may have. */
  readonly buffers: number | undefined;
  /** Milliseconds that one wait of a stage may last. */
  readonly patience: number;
  /** Warnings are errors, and concealed damage counts as missing. */
  readonly strict: boolean;
  /** Machine-readable summary on standard output. */
  readonly json: boolean;
  /** Only problems. */
  readonly quiet: boolean;
}

/** What `millpond doctor app.js` was asked for. */
export interface ProgramOptions {
  /** A path, or "-" for standard input. */
  readonly program: string;
  /** The program's own arguments. */
  readonly args: readonly string[];
  /** Bytes; smaller buffers are not looked at. */
  readonly threshold: number;
  /** true: the report is JSON, on standard error; a string: the file that it goes to. */
  readonly json: boolean | string;
  /** NODE_OPTIONS of the program; undefined: those of the doctor. */
  readonly nodeOptions: string | undefined;
}

/** What `millpond top` was asked for. */
export interface TopOptions {
  /** Which process; undefined: the one that serves, or the one that the user chooses. */
  readonly pid: number | undefined;
  /** Machine-readable snapshots on standard output. */
  readonly json: boolean;
  /** Milliseconds between updates; undefined: of the live table one second, of output to a pipe one snapshot. */
  readonly interval: number | undefined;
  /** Serve the page. */
  readonly web: boolean;
  /** Its port; 0: any. */
  readonly port: number;
}

/** What the command line means. */
type Command =
  | { readonly kind: "help"; readonly topic: Topic }
  | { readonly kind: "top"; readonly options: TopOptions }
  | { readonly kind: "version" }
  | { readonly kind: "doctor"; readonly json: boolean }
  | { readonly kind: "program"; readonly options: ProgramOptions }
  | { readonly kind: "elements" }
  | { readonly kind: "text"; readonly options: TextOptions }
  | { readonly kind: "run"; readonly options: RunOptions };

const TOPICS = ["main", "run", "top", "doctor"] as const;
type Topic = (typeof TOPICS)[number];

/** `millpond --help`. */
export const MAIN_HELP = `millpond: pooled memory for media

Usage: millpond <command> [options]

Commands:
  run <file | ->   decode a video into pooled frames, measure them in worker threads,
                   and write a contact sheet and the measures
  run "<pipeline>" run stages joined by "!", such as
                   "file clip.mp4 ! decode ! scale width=320 ! contactsheet out.png"
  top [pid]        the pools of a running process, live: who holds what since when, and
                   who waits; --web shows them in the browser
  doctor [--json]  what this machine can do: locked memory, huge pages, shared memory,
                   DMA buffers
  doctor app.js [args]
                   run a program, see which large buffers it makes where, and say whether
                   a pool would help, with the lines to write

  millpond <command> --help   its options
  millpond --version
`;

/** `millpond run --help`. */
export const RUN_HELP = `Usage: millpond run <file | -> [options]

Decodes every frame of an MP4, MOV, WebM, Matroska or MPEG-TS file (or reads raw video)
into a bounded pool of shared buffers, hands them to worker threads that scale and
measure them, and writes contact-sheet.png and frames.json.

  --out DIR        write the results there; without it, only the summary is printed
  --compare        run the same work with a new buffer for every frame, in separate
                   processes, and print both side by side
  --json           machine-readable summary on standard output
  --workers N      worker threads (default: cores - 1, at least 2 and at most 4)
  --buffers N      buffers in the pool, which is the most frames in flight
                   (default: 2 per worker, and 2 more)
  --tiles N        most pictures on the contact sheet (default: 20)
  --rounds N       rounds of --compare (default: 5)
  --patience S     give up when no buffer comes back for S seconds, except for a
                   pipe that brings nothing (default: 30)
  --trace FILE     write what pools, stages and threads did, as a trace that opens in
                   Perfetto (ui.perfetto.dev) and chrome://tracing
  --quiet          print nothing but problems
  --strict         frames that the decoder had to conceal count as missing: exit code 2

Raw video, in a file or on standard input ("-"): Y4M needs no options, other video does
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
  --patience S     give up when a stage does nothing for S seconds, except for a pipe
                   that brings nothing (default: 30)
  --strict         refuse to lose rotation, colors or times that a file cannot carry;
                   concealed frames count as missing
  --json, --quiet, --trace FILE  as above

A sink whose file is "-" writes to standard output; the report goes to standard error.

Exit codes: 0 done; 1 failed, nothing written; 2 partial, and it says what is missing;
3 buffers still leased (a bug); 128 + the signal's number when a signal ended it, with
nothing written.
`;

/** `millpond doctor --help`. */
export const DOCTOR_HELP = `Usage: millpond doctor [--json]

Tries each thing that millpond/native can do on 8 MiB of this machine's memory (huge
pages, locking, sharing with other processes, DMA buffers), and prints which ones work,
how long each took, and what to do about the others. It changes nothing.

  --json   the same as JSON

Usage: millpond doctor [options] <app.js> [arguments of the program]

Runs the program with this Node, its own arguments, standard streams, signals and exit
code, and counts the large buffers that it makes, in its workers and forks too: where,
how many, of which sizes, how many in use at a time, and what their collections cost.
When it has ended, a report on standard error says what a pool would do, with the lines
to write, or that none would help, and why.

  --json [FILE.json]  the report as JSON, on standard error or in a file; --json=FILE
                      for a file of any name
  --threshold N       smaller buffers are not looked at: bytes, or 100k, 2M
                      (default: 64k)
  --node-options TEXT the program's NODE_OPTIONS, such as "--import ./setup.mjs"; those of
                      the environment reach it too, but Node reads them in the doctor as
                      well, so that what they load runs twice
  --                  what comes next is the program, although its name begins with -

A program that serves without end is ended by Ctrl-C, and reported on all the same. The
report goes to standard error when its file cannot be written at the end.
`;

/** `millpond top --help`. */
export const TOP_HELP = `Usage: millpond top [pid] [options]

Shows the pools of a process that serves its inspector, live: slots that are leased and
free, bytes, leases a second, who waits, and the oldest holder. It changes nothing there.
Start the program with

  node --import millpond/inspect app.js

or call serveInspector() of millpond/inspect in it. Without a number, the process that
serves is taken; of several, the one that is chosen from a list.

  --interval S   seconds between updates, 0.05 to 60 (default: 1)
  --json         print one snapshot as JSON; with --interval, one a line until the end
  --web          serve the page on a port of 127.0.0.1, and print its address
  --port N       which port (default: 0, any)

Keys: arrows choose a pool, Enter shows its holders, s sorts, p pauses, ? helps, q quits.
To a pipe the table is printed once, or every --interval seconds.

Exit codes: 0 quit, or the process has ended; 1 there is no process to look at;
128 + the signal's number when a signal ended it.
`;

/** Reads the arguments after the program's name. Throws {@link Failure} with a hint. */
export function parseCommand(argv: readonly string[]): Command {
  const [command, ...rest] = argv;
  if (command === undefined || command === "--help" || command === "-h" || command === "help") {
    const [topic] = rest;
    return { kind: "help", topic: TOPICS.find((known) => known === topic) ?? "main" };
  }
  if (command === "--version" || command === "-v") return { kind: "version" };
  if (command === "doctor") return parseDoctor(rest);
  if (command === "top") return parseTop(rest);
  if (command !== "run") {
    const near = nearest(command, ["run", "top", "doctor", "help"]);
    const hint = near === undefined ? `the commands are "run", "top" and "doctor"` : `did you mean "${near}"?`;
    throw new Failure(`there is no command "${command}"; ${hint} (see millpond --help)`);
  }
  return parseRun(rest);
}

/** What systems number processes with: above, kill() would mean another one. */
const MAX_PID = 2 ** 31 - 1;

const TOP_OPTIONS = {
  json: { type: "boolean" },
  interval: { type: "string" },
  web: { type: "boolean" },
  port: { type: "string" },
  help: { type: "boolean", short: "h" },
} as const;

function parseTop(args: readonly string[]): Command {
  let parsed: ReturnType<typeof parseTopArgs>;
  try {
    parsed = parseTopArgs(args);
  } catch (error) {
    throw new Failure(`${explainOption(error, Object.keys(TOP_OPTIONS))} (see millpond top --help)`);
  }
  const { values, positionals, tokens } = parsed;
  if (values.help === true) return { kind: "help", topic: "top" };
  const names = tokens.flatMap((token) => (token.kind === "option" ? [token.name] : []));
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined) throw new Failure(`--${twice} is given twice`);
  const [number, ...more] = positionals;
  if (more.length > 0) throw new Failure(`millpond top looks at one process, and here are ${positionals.length}`);
  if (number !== undefined && (!/^\d{1,10}$/.test(number) || Number(number) < 1 || Number(number) > MAX_PID)) {
    throw new Failure(`millpond top takes the number of a process, not "${number}"`);
  }
  const web = values.web === true;
  if (web && values.json === true) throw new Failure("--web and --json exclude each other");
  if (web && values.interval !== undefined) throw new Failure("--interval is not for --web: the page has its own");
  if (!web && values.port !== undefined) throw new Failure("--port belongs to --web");
  return {
    kind: "top",
    options: {
      pid: number === undefined ? undefined : Number(number),
      json: values.json === true,
      interval: intervalOf(values.interval),
      web,
      port: whole("port", values.port, 0, 65_535) ?? 0,
    },
  };
}

function parseTopArgs(args: readonly string[]) {
  return parseArgs({
    args: joinNegative(args, TOP_OPTIONS),
    allowPositionals: true,
    tokens: true,
    options: TOP_OPTIONS,
  });
}

/** Milliseconds. */
function intervalOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const seconds = text.trim() === "" ? Number.NaN : Number(text);
  if (!(seconds >= 0.05 && seconds <= 60))
    throw new Failure(`--interval is a number of seconds from 0.05 to 60, not "${text}"`);
  return Math.round(1000 * seconds);
}

function parseDoctor(args: readonly string[]): Command {
  let json: boolean | string = false;
  let threshold: number | undefined;
  let nodeOptions: string | undefined;
  const given = new Set<string>();
  let at = 0;
  for (; at < args.length; at++) {
    const arg = args[at]!;
    if (arg === "--") {
      at++;
      break;
    }
    if (!arg.startsWith("-") || arg === "-") break;
    const [name = "", ...joined] = arg.split("=");
    const value = joined.length === 0 ? undefined : joined.join("=");
    if (arg === "--help" || arg === "-h") return { kind: "help", topic: "doctor" };
    if (!["--json", "--threshold", "--node-options"].includes(name)) {
      throw new Failure(
        `millpond doctor takes --json, --threshold and --node-options, not "${arg}"; options of Node go into --node-options`,
      );
    }
    if (given.has(name)) throw new Failure(`${name} is given twice`);
    given.add(name);
    if (name === "--json") {
      if (value === "") throw new Failure("--json= needs the name of a file");
      const next = args[at + 1];
      json = value ?? (next?.endsWith(".json") === true ? next : true);
      if (value === undefined && json !== true) at++;
    } else if (name === "--threshold") threshold = byteCount("threshold", value ?? args[++at]);
    else {
      nodeOptions = value ?? args[++at];
      if (nodeOptions === undefined) throw new Failure('--node-options needs a text, such as "--import ./setup.mjs"');
    }
  }
  const [program, ...rest] = args.slice(at);
  if (program === undefined) {
    const needs = [...given].filter((name) => name !== "--json" || typeof json === "string");
    if (needs.length > 0) {
      const names = needs.map((name) => (name === "--json" ? "--json FILE" : name)).join(" and ");
      throw new Failure(`which program? millpond doctor with ${names} needs one, such as app.js`);
    }
    return { kind: "doctor", json: json === true };
  }
  if (program === "") throw new Failure("the name of the program is empty");
  return { kind: "program", options: { program, args: rest, threshold: threshold ?? THRESHOLD, json, nodeOptions } };
}

/** Below, Node's slab and the C library's heap serve as fast as a pool. */
const THRESHOLD = 64 * 1024;

function byteCount(name: string, text: string | undefined): number {
  const match = /^(\d{1,12})([kKmM]?)$/.exec(text ?? "");
  const value = Number(match?.[1]) * (match?.[2] === "" ? 1 : /k/i.test(match?.[2] ?? "") ? 1024 : 1024 * 1024);
  if (!(value >= 1024))
    throw new Failure(`--${name} is a number of bytes from 1024, such as 65536, 100k or 2M, not "${text ?? ""}"`);
  return value;
}

function parseRun(args: string[]): Command {
  const { values, positionals } = readOptions(args);
  if (values.help === true) return { kind: "help", topic: "run" };
  if (values.elements === true) {
    const other = Object.entries(values).find(([name, value]) => name !== "elements" && value !== undefined);
    if (other !== undefined) throw new Failure(`--elements stands alone, without --${other[0]}`);
    return { kind: "elements" };
  }
  // Unquoted on the command line the shell has split it already; what has a space inside was quoted there.
  const text = positionals.length === 1 ? positionals[0]! : positionals.map(quoteWord).join(" ");
  if (/(^|\s)!(\s|$)/.test(text)) return parseText(text, values);
  const only = TEXT_ONLY.find((name) => values[name] !== undefined);
  if (only !== undefined) throw new Failure(`--${only} is for a pipeline, such as "file clip.mp4 ! decode ! null"`);
  const [input, ...more] = positionals;
  if (input === undefined || input === "") {
    throw new Failure("which file? millpond run needs one, or - for standard input (see millpond run --help)");
  }
  if (more.length > 0) {
    const others = more.map((one) => `"${one}"`).join(", ");
    throw new Failure(
      `millpond run plays one file at a time, and here are ${more.length + 1}: "${input}", ${others}; ` +
        "a name with spaces in it has to be quoted",
    );
  }
  if (values.out === "") throw new Failure("--out needs the name of a folder");

  const size = values.size === undefined ? undefined : parseSize(values.size);
  if ((values.format === undefined) !== (size === undefined)) {
    throw new Failure("--format and --size belong together (Y4M needs neither)");
  }
  const compare = values.compare === true;
  if (compare && input === "-")
    throw new Failure("--compare plays its input several times, and standard input comes only once");

  const workers = whole("workers", values.workers, 1, MAX_WORKERS) ?? defaultWorkers();
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
      patience: patienceOf(values.patience),
      compare,
      rounds: whole("rounds", values.rounds, 1, 50) ?? 5,
      json: values.json === true,
      quiet: values.quiet === true,
      strict: values.strict === true,
      trace: traceOf(values.trace),
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
const TEXT_OPTIONS: readonly string[] = [...TEXT_ONLY, "json", "quiet", "patience", "strict", "trace"];

function parseText(text: string, values: ReturnType<typeof parse>["values"]): Command {
  const other = Object.keys(values).find((name) => !TEXT_OPTIONS.includes(name));
  if (other !== undefined) {
    throw new Failure(
      `--${other} is for a file, not for a pipeline; the stages of a pipeline have properties, such as "contactsheet out.png tiles=12"`,
    );
  }
  if (values.trace !== undefined && values["dry-run"] === true)
    throw new Failure("--trace shows a run, and with --dry-run there is none");
  return {
    kind: "text",
    options: {
      text,
      dryRun: values["dry-run"] === true,
      describe: values.describe === true,
      graph: values.graph,
      trace: traceOf(values.trace),
      buffers: whole("max-bytes", values["max-bytes"], 1, Number.MAX_SAFE_INTEGER),
      patience: patienceOf(values.patience),
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
    if (error instanceof Failure) throw error;
    const known = Object.keys(OPTIONS).filter((one) => !HIDDEN.includes(one));
    throw new Failure(`${explainOption(error, known)} (see millpond run --help)`);
  }
}

/** What parseArgs says, in one sentence, with the option that was probably meant. */
function explainOption(error: unknown, known: readonly string[]): string {
  // Its hints about "--" and "-XYZ" are noise here.
  const message = error instanceof Error ? error.message.split(/\.\s/)[0]! : String(error);
  const [, name = ""] = /'(?:-\w, )?--?([\w-]+)/.exec(message) ?? [];
  if (message.startsWith("Unknown option")) {
    const near = nearest(name, known);
    return near === undefined ? message : `${message}; did you mean --${near}?`;
  }
  if (message.includes("ambiguous"))
    return `--${name} needs a value; one that begins with "-" is written --${name}=-VALUE`;
  if (message.includes("argument missing")) return `--${name} needs a value`;
  if (message.includes("does not take an argument")) return `--${name} takes no value`;
  return message;
}

function isNegative(arg: string): boolean {
  return /^-\d/.test(arg);
}

type Options = Readonly<Record<string, { readonly type: "string" | "boolean" }>>;

function takesValue(arg: string, options: Options): boolean {
  const name = arg.startsWith("--") ? arg.slice(2) : "";
  return Object.hasOwn(options, name) && options[name]!.type === "string";
}

/** "--patience -1" means -1, which the option's own check refuses better than a word about ambiguity. */
function joinNegative(args: readonly string[], options: Options): string[] {
  return args.flatMap((arg, i) => {
    if (i > 0 && isNegative(arg) && takesValue(args[i - 1]!, options)) return [];
    const next = args[i + 1];
    return next !== undefined && isNegative(next) && takesValue(arg, options) ? [`${arg}=${next}`] : [arg];
  });
}

const HIDDEN: readonly string[] = ["variant", "passes"];

const OPTIONS = {
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
  help: { type: "boolean", short: "h" },
  variant: { type: "string" },
  passes: { type: "string" },
  elements: { type: "boolean" },
  "dry-run": { type: "boolean" },
  describe: { type: "boolean" },
  graph: { type: "string" },
  "max-bytes": { type: "string" },
  strict: { type: "boolean" },
  trace: { type: "string" },
} as const;

function parse(args: string[]) {
  const { tokens, ...parsed } = parseArgs({
    args: joinNegative(args, OPTIONS),
    allowPositionals: true,
    tokens: true,
    options: OPTIONS,
  });
  const seen = new Set<string>();
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    if (seen.has(token.name)) throw new Failure(`--${token.name} is given twice`);
    seen.add(token.name);
  }
  return parsed;
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

/** Milliseconds; a longer patience than a timer has is cut to it. */
function patienceOf(text: string | undefined): number {
  const value = text?.trim() === "" ? Number.NaN : Number(text ?? 30);
  if (!(value > 0)) throw new Failure(`--patience is a number of seconds above 0, not "${text}"`);
  // A fraction of a millisecond would be no time at all.
  return Math.max(1, Math.min(1000 * value, MAX_TIMER));
}

/** A trace is a file: standard output has the summary. */
function traceOf(path: string | undefined): string | undefined {
  if (path === "" || path === "-") throw new Failure("--trace needs the name of a file, such as trace.json");
  return path;
}

function isVariant(text: string): text is Variant {
  return (VARIANTS as readonly string[]).includes(text);
}

// A shared pool has 20 members at most, and the main thread is one of them.
const MAX_WORKERS = 19;

// One core is left to the decoder and the copy; more than four workers wait for the decoder on any machine met so far.
function defaultWorkers(): number {
  return Math.max(2, Math.min(4, availableParallelism() - 1));
}
