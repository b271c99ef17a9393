/**
 * Hostile runs: signals, arguments, workers, standard streams. What the command does to data has a table of its own.
 */
import type { ChildProcess } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { setTimeout as later } from "node:timers/promises";
import { afterAll, describe, expect, it } from "vitest";
import { pipelineFromText } from "../../src/adapters/node/factories.ts";
import { parseCommand } from "../../src/cli/args.ts";
import { explain } from "../../src/cli/exit.ts";
import { scratchFolder, untilListening } from "./command.ts";
import { type HostileRun, hostileRuns, runCommand } from "./hostile.ts";

/**
 * Small frames, for runs in which the pictures do not matter: the shipped clip takes a second of the processor. As many
 * as a run needs that is interrupted while it writes its results.
 */
const scratch = scratchFolder();
afterAll(scratch.remove);
const SMALL = join(scratch.path, "small.mp4");
await runCommand(["run", `pattern width=64 height=48 frames=75 ! encode ${SMALL}`, "--quiet"]);

/** A moment of a run, told by what can be seen of it, so that it is the same on every machine. */
interface Moment {
  readonly when: string;
  /** Whether it has come; `folder` is where the command runs. */
  readonly hasCome: (folder: string) => boolean;
}

/** Bytes of the file that a run is writing, which has another name until it is whole; -1 while there is none. */
function unfinishedBytes(folder: string): number {
  try {
    const name = readdirSync(folder).find((one) => one.endsWith(".part"));
    return name === undefined ? -1 : statSync(join(folder, name)).size;
  } catch {
    // The folder is not there yet, or the file has just got its name.
    return -1;
  }
}

/** The moments of a run that writes a file into `below`; it has its first frames when it is larger than `header`. */
function moments(header: number, below = "."): Moment[] {
  return [
    { when: "as soon as it listens", hasCome: () => true },
    { when: "when its file is begun", hasCome: (folder) => unfinishedBytes(join(folder, below)) >= 0 },
    { when: "while frames are written", hasCome: (folder) => unfinishedBytes(join(folder, below)) > header },
  ];
}

/** Runs that last until a signal comes, however fast the machine is. */
const ENDLESS: readonly {
  readonly what: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly moments: readonly Moment[];
}[] = [
  {
    what: "a file",
    args: ["run", SMALL, "--workers", "1", "--out", "out", "--patience", "1000"],
    // Its results are written from the 32nd frame on; a thread that hangs in the 60th keeps it from its end.
    env: { MILLPOND_TEST_FAULT: "hang:60" },
    moments: moments(4096, "out"),
  },
  {
    what: "a pipeline",
    args: ["run", "pattern width=640 height=480 ! y4msink endless.y4m"],
    moments: moments(1e6),
  },
  { what: "an encoder", args: ["run", "pattern width=320 height=240 ! encode endless.mp4"], moments: moments(0) },
];

function signals(): HostileRun[] {
  const codes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129, SIGQUIT: 131 } as const;
  const made: HostileRun[] = [];
  for (const [nth, [signal, code]] of (Object.entries(codes) as [keyof typeof codes, number][]).entries()) {
    for (const [kind, { what, args, env = {}, moments }] of ENDLESS.entries()) {
      for (const [at, moment] of moments.entries()) {
        made.push({
          name: `${signal} ${moment.when} ends ${what}, with nothing left`,
          // One of each signal, of each kind and of each moment.
          isMore: kind !== nth % 3 || at !== (nth + 1 + Math.floor(nth / 3)) % 3,
          args,
          env,
          code,
          during: (child, folder) => kill(child, signal, folder, moment),
          message: /interrupted|terminated|closed|told to quit/,
        });
      }
    }
  }
  made.push({
    name: "SIGPIPE does not end a run that writes files",
    args: ["run", SMALL, "--workers", "1", "--quiet", "--out", "out"],
    code: 0,
    during: (child, folder) => kill(child, "SIGPIPE", folder, moments(0, "out")[1]!),
  });
  made.push({
    name: "two signals end at once, with one message",
    args: ENDLESS[1]!.args,
    code: [130, 143],
    during: async (child, folder) => {
      await kill(child, "SIGINT", folder, ENDLESS[1]!.moments[2]!);
      child.kill("SIGTERM");
    },
  });
  return made;
}

/**
 * Sends a signal at that moment, not before the command listens for signals: until then Node's own way to end is the
 * right one.
 */
async function kill(child: ChildProcess, signal: NodeJS.Signals, folder: string, { hasCome }: Moment): Promise<void> {
  await untilListening(child);
  while (child.exitCode === null && child.signalCode === null && !hasCome(folder)) await later(5);
  child.kill(signal);
}

/** Bad arguments, and what the message has to name. */
const ARGUMENTS: readonly (readonly [readonly string[], RegExp])[] = [
  [["walk"], /no command "walk"/],
  [["doctr"], /did you mean "doctor"/],
  [["run"], /which file\?/],
  [["run", ""], /which file\?/],
  [["run", "a.mp4", "extra.mp4"], /one file at a time.*"extra\.mp4"/],
  [["run", "absent.mp4"], /absent\.mp4: there is no such file/],
  [["run", SMALL, "--workers", "0"], /--workers is a whole number from 1 to 19/],
  [["run", SMALL, "--workers", "99999999999"], /--workers is a whole number/],
  [["run", SMALL, "--workrs", "2"], /did you mean --workers\?/],
  [["run", SMALL, "--workers", "2", "--workers", "3"], /--workers is given twice/],
  [["run", SMALL, "--buffers", "1e3"], /--buffers is a whole number/],
  [["run", SMALL, "--tiles", "-1"], /--tiles is a whole number.*"-1"/],
  [["run", SMALL, "--patience", "0"], /--patience is a number of seconds above 0/],
  [["run", SMALL, "--patience", "NaN"], /--patience is a number of seconds above 0/],
  [["run", SMALL, "--out"], /--out needs a value/],
  [["run", SMALL, "--out="], /--out needs the name of a folder/],
  [["run", SMALL, "--out", "/proc/foo"], /\/proc\/foo/],
  [["run", SMALL, "--out", "/proc/foo/bar/baz"], /\/proc\/foo/],
  [["run", SMALL, "--out", "/dev/null"], /\/dev\/null/],
  [["run", SMALL, "--out", "/dev/null/a"], /\/dev\/null/],
  [["run", SMALL, "--out", "x".repeat(300)], /the name is too long/],
  [["run", SMALL, "--json=1"], /--json takes no value/],
  [["run", SMALL, "--format", "I420"], /belong together/],
  [["run", "-", "--compare"], /standard input comes only once/],
  [["run", SMALL, "--dry-run"], /--dry-run is for a pipeline/],
  [["run", "pattern ! null", "--tiles", "3"], /--tiles is for a file/],
  [["run", "pattern ! scale width=0 ! null"], /width is a whole number from 1 to 32768, not "0"/],
  [["run", "pattern width=3 width=4 ! null"], /width is given twice/],
  [["run", "pattern name=a name=b ! null"], /two names: "a" and "b"/],
  [["run", "pattern name=a ! null name=a"], /"a" already/],
  [["run", "pattern widht=3 ! null"], /did you mean "width"\?/],
  [["run", "pattern ! decoed ! null"], /did you mean "decode"\?/],
  [["run", "pattern ! workers m.mjs n=0 ! null"], /n is a whole number from 1 to 19/],
  [["run", "pattern ! queue max=0 ! null"], /max is a whole number from 1 to 4096/],
  [["run", "pattern format=YUYV ! null"], /format must be one of/],
  [["run", "pattern ! encode out.avi"], /\.avi/],
  [["run", "pattern ! encode out.mp4 codec=h264"], /codec must be one of avc/],
  [["run", "pattern ! encode out.mp4 bitrate=0"], /bitrate is a whole number from 1000/],
  [["run", "pattern ! encode out.webm codec=avc"], /a \.webm file cannot hold avc; it can hold vp9, vp8, av1/],
  [["run", "pattern ! encode"], /"encode" needs path/],
  [["run", "! null"], /nothing in front of this "!"/],
  [["run", "pattern !"], /nothing behind this "!"/],
  [["run", 'file "a ! null'], /quote is not closed/],
  [["run", "pattern ! null", "--max-bytes", "10"], /the pipeline may have 10/],
  [["run", "pattern ! y4msink /"], /folder/],
  [["run", "pattern ! y4msink absent/out.y4m"], /absent\/out\.y4m/],
  [["doctor", "--jsno"], /not "--jsno"/],
];

/** What the command says of arguments that it refuses before it opens anything; undefined of all others. */
function refusal(given: readonly string[]): string | undefined {
  try {
    const command = parseCommand(given);
    if (command.kind === "text") pipelineFromText(command.options.text);
    return undefined;
  } catch (error) {
    return explain(error);
  }
}

const shown = (given: readonly string[]): string => `"${given.join(" ").replace(SMALL, "small.mp4").slice(0, 60)}"`;

/** Those of which the fast lane asks the functions that refuse them; a process for one of each says it in its way. */
const REFUSED = ARGUMENTS.filter(([given]) => refusal(given) !== undefined);
const SHOWN = ["walk", "pattern ! scale width=0 ! null"];

/** Refused as "/proc/foo" and "/dev/null/a" are, which stay in the fast lane. */
const MORE = ["/proc/foo/bar/baz", "/dev/null"];

const args: HostileRun[] = ARGUMENTS.map(([given, message]) => ({
  name: `${shown(given)} is refused in plain words`,
  isMore: MORE.includes(given.at(-1)!) || (REFUSED.some(([one]) => one === given) && !SHOWN.includes(given.at(-1)!)),
  args: given,
  code: 1,
  message,
}));

/** A pipeline over a worker module of that text. */
function worker(name: string, text: string, message: RegExp, patience = "50"): HostileRun {
  return {
    name: `a worker that ${name} ends the run`,
    isMore: SHOWN_THERE.includes(name),
    args: [
      "run",
      "pattern width=64 height=64 frames=200 ! workers ./m.mjs n=2 results=r.jsonl ! null",
      "--patience",
      patience,
    ],
    arrange: (folder) => writeFileSync(join(folder, "m.mjs"), text),
    code: 1,
    message,
  };
}

/** What test/adapters/workers.test.ts and workers-hostile.test.ts show in the fast lane without a process for each. */
const SHOWN_THERE = [
  "throws an object",
  "throws later",
  "exits",
  "never answers",
  "loops without end",
  "never loads",
  "throws nothing",
  "exits while loading",
  "throws while loading",
  "has no function",
  "is no JavaScript",
  "posts garbage",
  "takes memory without end",
];

const workers: HostileRun[] = [
  worker(
    "never answers",
    "export default () => new Promise(() => {});",
    /"workers" has been waiting for a thread/,
    "2",
  ),
  worker("loops without end", "export default () => { for (;;); };", /"workers" has been waiting for a thread/, "2"),
  worker(
    "never loads",
    "await new Promise(() => {}); export default () => 1;",
    /"workers" has been loading .*m\.mjs/,
    "2",
  ),
  worker("throws", 'export default () => {\n throw new Error("no");\n};', /failed at frame \d+: no \(.*m\.mjs:2:8\)/),
  worker("throws an object", "export default () => { throw { a: 1 }; };", /it threw \{ a: 1 \}/),
  worker("throws nothing", "export default () => { throw null; };", /it threw null/),
  worker(
    "throws later",
    "setTimeout(() => { throw new Error('late'); }, 50); export default () => new Promise(() => {});",
    /late/,
  ),
  worker("rejects behind its back", "export default () => { Promise.reject(new Error('loose')); };", /loose/),
  worker("exits", "export default () => process.exit(0);", /ended with code 0/),
  worker("exits while loading", "process.exit(3); export default () => 1;", /ended with code 3/),
  worker("throws while loading", "throw new Error('early'); export default () => 1;", /cannot use .*m\.mjs: early/),
  worker("has no function", "export const a = 1;", /no default export that is a function/),
  worker("is no JavaScript", "this is not JavaScript", /cannot use .*m\.mjs/),
  worker("imports what is not there", "import 'nowhere-at-all'; export default () => 1;", /nowhere-at-all/),
  worker(
    "posts garbage",
    "import { parentPort } from 'node:worker_threads'; export default () => parentPort.postMessage('x');",
    /return the result from the function/,
  ),
  worker(
    "posts while loading",
    "import { parentPort } from 'node:worker_threads'; parentPort.postMessage({ type: 'ready' }); export default () => 1;",
    /posted a message/,
  ),
  worker("returns what cannot be cloned", "export default () => () => 1;", /could not be cloned/),
  worker(
    "takes memory without end",
    "export default () => { const a = []; for (;;) a.push(new Array(1e6).fill(a.length)); };",
    /MB of heap/,
  ),
  {
    name: "a worker of a file that hangs is given up",
    // run-bad-input.test.ts has it in the fast lane.
    isMore: true,
    args: ["run", SMALL, "--patience", "1", "--out", "out"],
    env: { MILLPOND_TEST_FAULT: "hang:5" },
    code: 1,
    message: /no worker gave a frame back for 1 s/,
  },
  {
    name: "a patience of 70 years is no shorter than one of a second",
    args: ["run", SMALL, "--workers", "1", "--quiet", "--patience", "2200000000"],
    code: 0,
  },
];

const small = readFileSync(SMALL);

/** The small film with bytes of a box overwritten, from so far behind its name. */
function damaged(box: string, from: number, bytes: readonly number[]): Buffer {
  const copy = Buffer.from(small);
  copy.set(bytes, copy.indexOf(box, 0, "latin1") + from);
  return copy;
}

/** Damaged input is the file's fault, in words that say so. */
const inputs: HostileRun[] = [
  ["an avcC header of zeros", damaged("avcC", 4, new Array<number>(40).fill(0)), [1, 2]],
  ["an avcC header of ones", damaged("avcC", 4, new Array<number>(40).fill(255)), [1, 2]],
  ["a sample table without an end", damaged("stsz", 8, [0, 0, 0, 0, 255, 255, 255, 255]), [1, 2]],
  ["a track without a size", damaged("avc1", 28, [0, 0, 0, 0]), [0, 1, 2]],
  ["chunk offsets beyond the file", damaged("stco", 12, [127, 255, 255, 255]), [0, 1, 2]],
  ["a moov of garbage", damaged("mvhd", -8, new Array<number>(600).fill(90)), [1, 2]],
  ["a PNG named .png", Buffer.from("\x89PNG\r\n\x1a\n0000IHDR", "latin1"), 1],
].map(([what, bytes, code], nth) => ({
  name: `${what as string} is told as damage, not as a bug`,
  isMore: [1, 3, 5].includes(nth),
  args: ["run", what === "a PNG named .png" ? "in.png" : "in.mp4", "--workers", "1"],
  arrange: (folder) => writeFileSync(join(folder, what === "a PNG named .png" ? "in.png" : "in.mp4"), bytes as Buffer),
  code: code as number,
  check: ({ message }) => {
    if (/no decoder for|whatever its name/.test(message)) throw new Error(message);
  },
}));

const streams: HostileRun[] = [
  {
    name: "an empty standard input is told",
    // run-raw.test.ts has it in the fast lane.
    isMore: true,
    args: ["run", "-"],
    stdin: new Uint8Array(0),
    code: 1,
    message: /empty/,
  },
  { name: "no standard input is told", args: ["run", "-"], code: 1, message: /empty|standard input/ },
  {
    name: "garbage on standard input is told",
    // run-raw.test.ts has it in the fast lane.
    isMore: true,
    args: ["run", "-"],
    stdin: Buffer.alloc(1000, 7),
    code: 1,
    message: /Y4M/,
  },
  {
    name: "an input that closes in the middle of a frame is partial",
    // run-raw.test.ts has it in the fast lane.
    isMore: true,
    args: ["run", "-", "--quiet"],
    stdin: Buffer.concat([
      Buffer.from("YUV4MPEG2 W16 H16 F25:1\nFRAME\n"),
      Buffer.alloc(384, 9),
      Buffer.from("FRAME\nxx"),
    ]),
    code: 2,
    message: /partial result: the stream ends inside frame 2/,
  },
  {
    name: "a reader of the report that has gone is told",
    args: ["run", SMALL, "--workers", "1"],
    during: (child) => void child.stdout?.destroy(),
    code: [0, 1],
  },
  {
    name: "a reader of a film that has gone is told",
    args: ["run", "pattern width=640 height=480 ! y4msink -"],
    during: (child) => void child.stdout?.once("data", () => child.stdout?.destroy()),
    code: 1,
    message: /its reader has gone|the reader at the other end has gone/,
  },
  {
    name: "y4msink - writes nothing but the film to standard output",
    args: ["run", "pattern width=16 height=16 frames=3 ! y4msink -", "--quiet"],
    code: 0,
    check: ({ stdout }) => {
      const text = stdout.toString("latin1");
      if (!text.startsWith("YUV4MPEG2 W16 H16")) throw new Error(text.slice(0, 80));
      const header = text.indexOf("\n") + 1;
      if (stdout.length !== header + 3 * (6 + 384)) throw new Error(`${stdout.length} bytes`);
    },
  },
  {
    name: "rawsink - writes nothing but frames to standard output",
    args: ["run", "pattern width=16 height=16 frames=3 ! rawsink -", "--quiet"],
    code: 0,
    check: ({ stdout }) => {
      if (stdout.length !== 3 * 384) throw new Error(`${stdout.length} bytes`);
    },
  },
  {
    name: "an input that never says anything ends with the signal",
    // run-bad-input.test.ts has it in the fast lane, with another signal.
    isMore: true,
    args: ["run", "-"],
    stdin: new PassThrough(),
    during: (child, folder) => kill(child, "SIGTERM", folder, moments(0)[0]!),
    code: 143,
    message: /terminated/,
  },
  {
    name: "a folder in the way of the results is told",
    args: ["run", SMALL, "--out", "out"],
    arrange: (folder) => void mkdirSync(join(folder, "out/frames.json"), { recursive: true }),
    code: 1,
    message: /out\/frames\.json is a folder|frames\.json.*folder/,
  },
];

/** Hides a method from the first look at it, which is the check of this package; mediabunny itself finds it. */
const HIDE = `
import { VideoSampleSink } from ${JSON.stringify(import.meta.resolve("mediabunny"))};
const method = VideoSampleSink.prototype._createPacketSink;
let isHidden = true;
Object.defineProperty(VideoSampleSink.prototype, "_createPacketSink", {
  configurable: true,
  set(value) { Object.defineProperty(this, "_createPacketSink", { value, writable: true }); },
  get() {
    const seen = isHidden ? undefined : method;
    isHidden = false;
    return seen;
  },
});
`;

const versions: HostileRun[] = [
  {
    name: "a version of mediabunny in which a bound has no place is told of in a warning that names it",
    args: ["run", SMALL, "--workers", "1", "--quiet"],
    arrange: (folder) => writeFileSync(join(folder, "hide.mjs"), HIDE),
    env: { NODE_OPTIONS: "--import ./hide.mjs" },
    code: 0,
    message: /^millpond: warning: the installed version of mediabunny .*VideoSampleSink\._createPacketSink/,
  },
];

describe.concurrent("versions of what decodes", () => hostileRuns(versions));
describe.concurrent("signals", () => hostileRuns(signals()));
describe.concurrent("arguments that are wrong", () => hostileRuns(args));
describe("arguments that are wrong before anything is opened", () => {
  for (const [given, message] of REFUSED) {
    it(`${shown(given)} is refused in plain words`, () => {
      expect(refusal(given)!.replace(/\s+/g, " ")).toMatch(message);
    });
  }
});
describe.concurrent("workers that misbehave", () => hostileRuns(workers));
describe.concurrent("damaged input", () => hostileRuns(inputs));
describe.concurrent("standard streams", () => hostileRuns(streams));
