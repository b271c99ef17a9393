/**
 * spawnFrames: a program that writes raw video or Y4M to its standard output (ffmpeg, gstreamer, a camera's tool), and
 * its frames in the slots of a pool. Where the platform has Unix sockets, the kernel copies each byte straight into the
 * slot: no chunk is allocated on the way.
 *
 * ```ts
 * const ffmpeg = spawnFrames("ffmpeg", ["-v", "error", "-i", url, "-f", "yuv4mpegpipe", "pipe:1"], { count: 4 });
 * for await (const frame of ffmpeg) { // waits when all 4 are out, and so does ffmpeg
 *   detect(frame.bytes);
 *   frame.release();
 * }                                   // a break, a throw and an error end ffmpeg too
 * ```
 *
 * Life of a {@link FrameProcess}: the program starts at once; its output is read from the first `next()` on; it ends
 * with its output, or when the loop ends (error, signal, `return()`, `kill()`), and is killed when it takes too long.
 *
 * Invariants: when the loop has ended, the process has ended, and no descriptor, file, listener, timer or slot of it is
 * left. A read into a slot never goes beyond its frame. A frame is delivered whole or not at all.
 *
 * Complexity: where there are Unix sockets a frame costs one copy of its bytes, by the kernel, and one system call for
 * each part that the pipe holds.
 */
import type { SpawnOptions } from "node:child_process";
import { constants } from "node:os";
import type { MediaBuffer } from "../../../media/buffer/media-buffer.ts";
import type { FrameLayout } from "../../../media/video/frame-layout.ts";
import { BufferPool } from "../../../pools/buffer/buffer-pool.ts";
import { disposeAsyncBy, disposeBy } from "../../../util/dispose.ts";
import { isMillpondError, MillpondError, plainMessage } from "../../../util/errors.ts";
import {
  abortSignal,
  badValue,
  instance,
  listOf,
  MAX_TIMER,
  milliseconds,
  oneOf,
  readOptions,
  show,
  wholeNumber,
  word,
  wrongType,
} from "../../../util/validate.ts";
import { type ByteReader, ChunkReader } from "../../raw-video/chunk-reader.ts";
import { planRawVideo } from "../../raw-video/layout.ts";
import type { RawVideo } from "../../raw-video/source.ts";
import { OwnedChild } from "./child.ts";
import { FrameLoop, type FrameOrigin, type Thrown } from "./frame-loop.ts";
import { FrameSlots } from "./frame-slots.ts";
import { FRAMES_KEYS, type FramesOptions } from "./frames.ts";
import { openSocketPair } from "./socket-reader.ts";

/** How {@link spawnFrames} starts a program and reads its frames. Either `pool` or `count` is given. */
export interface SpawnFramesOptions extends FramesOptions {
  /** An active pool for the frames. */
  pool?: BufferPool;
  /** How many frames a pool of its own has at most. */
  count?: number;
  /**
   * Frames that are read before they are asked for, 0 or 1: with 1 the program goes on while a frame is worked on. Such
   * a frame takes a slot that is free and never waits for one. Default: 1 in a pool of its own; 0 in a given pool,
   * where the loop may wait for the very slot.
   */
  ahead?: number;
  /** Milliseconds that the program has to end after the signal it gets; then it gets SIGKILL. Default 2000. */
  grace?: number;
  /** Working directory of the program; default: this process's. */
  cwd?: string;
  /** Its environment; default: this process's. */
  env?: Readonly<Record<string, string | undefined>>;
}

const SPAWN_KEYS: readonly (keyof SpawnFramesOptions)[] = [
  ...FRAMES_KEYS,
  "pool",
  "count",
  "ahead",
  "grace",
  "cwd",
  "env",
];

/** ffmpeg takes some 100 ms to end. */
const GRACE_MS = 2000;
/** How long a program that has ended may leave its output open and silent, because a child of its own has it. */
const OUTPUT_GRACE_MS = 250;
/** Lines of stderr that a message shows; `details` has more. */
const MESSAGE_LINES = 5;

/**
 * How the bytes of a program come here: by a pair of connected sockets, read straight into the slots, or in chunks that
 * Node allocates, which are copied.
 */
export type FrameTransport = "socketpair" | "pipe";

/** What an `ERR_PROCESS_FAILED` has in its `details`. */
export interface ProcessFailure {
  /** The command, as it was given. */
  readonly command: string;
  /** What it exited with; null where it was ended by a signal or never ran. */
  readonly exitCode: number | null;
  /** The signal that ended it. */
  readonly signal: string | null;
  /** The end of its stderr, 8 KiB at most. */
  readonly stderr: string;
  /** Frames that were read before. */
  readonly frames: number;
}

/**
 * Starts a program and gives the frames that it writes to its standard output, each in a slot that the consumer owns
 * and releases. When every slot is out, nothing is read, and the program waits. Its standard input is empty; no shell
 * is involved. When the program has ended and a child of its own still holds its output, what is there is read, and the
 * loop ends once nothing has come for 250 ms. The format is said as to `frames()`: by options, by a Y4M header, or by
 * the format of the pool.
 *
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`, `ERR_UNSUPPORTED` for the arguments, and
 * nothing is started then. The loop ends when the program has. It throws `ERR_PROCESS_FAILED` (it cannot be started, it
 * ends by itself with another exit code than 0 or by a signal), `ERR_BAD_DATA` (no byte was written; the output ends
 * inside a frame; it is not what it should be), the signal's reason, and what `pool.acquire` throws. Errors about the
 * program's output say how it ended and what it said on stderr ({@link ProcessFailure}).
 *
 * @param command the program, looked up on PATH
 * @param args its arguments; it writes to `pipe:1`, `-` or whatever it calls its standard output
 */
export function spawnFrames(command: string, args: readonly string[], options: SpawnFramesOptions): FrameProcess {
  plainText("command", command);
  if (command === "") throw badValue("command", "a program", command);
  const list = listOf("args", "a list of strings", args);
  list.forEach((arg, i) => {
    plainText(`args[${i}]`, arg);
  });
  if (options === undefined) throw wrongType("options", "a plain object with pool or count", options);
  const given = readOptions("options", options, SPAWN_KEYS);
  if ((given.pool === undefined) === (given.count === undefined)) {
    throw new MillpondError(
      "ERR_INVALID_ARG_VALUE",
      "one of options.pool and options.count must be given, and not both",
    );
  }
  const slots = new FrameSlots(
    given.pool === undefined
      ? wholeNumber("options.count", given.count, 1)
      : instance("options.pool", "a BufferPool", BufferPool, given.pool),
  );
  abortSignal("options.signal", given.signal);
  if (given.timeout !== undefined) milliseconds("options.timeout", given.timeout);
  const ahead =
    given.ahead === undefined ? Number(given.pool === undefined) : wholeNumber("options.ahead", given.ahead, 0, 1);
  const grace = given.grace === undefined ? GRACE_MS : milliseconds("options.grace", given.grace);
  if (given.cwd !== undefined) plainText("options.cwd", given.cwd);
  const env = given.env === undefined ? undefined : environmentOf(given.env);
  const plan = planRawVideo(given);
  const program = new Program(command, list, Math.min(grace, MAX_TIMER), {
    windowsHide: true,
    ...(given.cwd === undefined ? {} : { cwd: given.cwd }),
    ...(env === undefined ? {} : { env }),
  });
  const loop = new FrameLoop(program, slots, plan, { signal: given.signal, timeout: given.timeout, ahead });
  program.loop = loop;
  return new FrameProcess(program, loop);
}

/** The frames of a program, for one `for await`. Made by {@link spawnFrames}. */
export class FrameProcess implements AsyncIterableIterator<MediaBuffer, void, undefined> {
  /** {@link kill}, for `using process = spawnFrames(...)` where the platform has `Symbol.dispose`. */
  declare [Symbol.dispose]: () => void;
  /** {@link return}, for `await using` where the platform has `Symbol.asyncDispose`. */
  declare [Symbol.asyncDispose]: () => Promise<void>;
  readonly #program: Program;
  readonly #loop: FrameLoop;

  /** @internal */
  constructor(program: Program, loop: FrameLoop) {
    this.#program = program;
    this.#loop = loop;
    loop.listen();
    program.start();
  }

  /** The process's number; undefined until it runs, and where it could not be started. */
  get pid(): number | undefined {
    return this.#program.child.process?.pid;
  }

  /** How its output comes here; undefined until it runs. */
  get transport(): FrameTransport | undefined {
    return this.#program.transport;
  }

  /** What it exited with; null while it runs, and where a signal ended it. */
  get exitCode(): number | null {
    return this.#program.child.exitCode;
  }

  /** The signal that ended it; null while it runs, and where it exited. */
  get signalCode(): string | null {
    return this.#program.child.process?.signalCode ?? null;
  }

  /** What it said on stderr: the last 8 KiB so far. */
  get stderr(): string {
    return this.#program.child.stderr;
  }

  /**
   * Resolves when the process has ended, whatever ended it; never rejects. What it had written by then can still be
   * read.
   */
  get exited(): Promise<void> {
    return this.#program.child.gone;
  }

  /** The pool that the frames are leased from; undefined until a pool of its own is made, with the first frame. */
  get pool(): BufferPool | undefined {
    return this.#loop.slots.pool;
  }

  /** How each frame lies in its slot; undefined until the first frame. */
  get layout(): FrameLayout | undefined {
    return this.#loop.slots.layout;
  }

  /** Waits for a frame, then for a slot, and gives the lease; calls are served in order. */
  next(): Promise<IteratorResult<MediaBuffer, void>> {
    return this.#loop.next();
  }

  /** Ends the loop and the program; resolves when it has ended and nothing of it is left. */
  async return(): Promise<IteratorResult<MediaBuffer, void>> {
    const end = await this.#loop.return();
    await this.exited;
    return end;
  }

  /**
   * Ends the program and the loop, which ends without an error; frames that were handed out stay valid. The program
   * gets the signal, its output is closed, and it gets SIGKILL when it is still there after the grace. Returns whether
   * there was a process to send the signal to. {@link exited} resolves when it is gone. Throws `ERR_INVALID_ARG_TYPE`,
   * `ERR_INVALID_ARG_VALUE`.
   */
  kill(signal: NodeJS.Signals = "SIGTERM"): boolean {
    oneOf("signal", signal, Object.keys(constants.signals));
    return this.#program.kill(signal);
  }

  /** Itself: the frames can be read once. */
  [Symbol.asyncIterator](): this {
    return this;
  }
}

disposeBy(FrameProcess, "kill");
disposeAsyncBy(FrameProcess, "return");

/** The program as an origin of frames. */
class Program implements FrameOrigin {
  readonly child: OwnedChild = new OwnedChild();
  transport: FrameTransport | undefined;
  loop: FrameLoop | undefined;
  readonly #command: string;
  readonly #args: readonly string[];
  readonly #grace: number;
  readonly #options: SpawnOptions;
  #opening: Promise<ByteReader | undefined> | undefined;
  #reader: ByteReader | undefined;
  #isStopped = false;

  constructor(command: string, args: readonly string[], grace: number, options: SpawnOptions) {
    this.#command = command;
    this.#args = args;
    this.#grace = grace;
    this.#options = options;
  }

  start(): void {
    this.#opening = this.#launch();
  }

  async #launch(): Promise<ByteReader | undefined> {
    const pair = await openSocketPair();
    if (this.#isStopped) this.child.abandon();
    else
      this.child.start(this.#command, this.#args, { ...this.#options, stdio: ["ignore", pair?.far ?? "pipe", "pipe"] });
    // The child has its own descriptor of it; this one would keep the output from ending.
    pair?.far.destroy();
    const stdout = this.child.process?.stdout;
    const reader = pair?.reader ?? (stdout ? new ChunkReader(stdout) : undefined);
    if (this.child.process === undefined || this.#isStopped) await reader?.close();
    else this.transport = pair === undefined ? "pipe" : "socketpair";
    this.#reader = reader;
    void this.child.gone.then(() => reader?.limitWaits(OUTPUT_GRACE_MS));
    return reader;
  }

  async open(): Promise<ByteReader> {
    const reader = await this.#opening;
    if (reader !== undefined) return reader;
    throw this.child.failure?.error;
  }

  stop(): void {
    this.#isStopped = true;
    if (!this.child.isTerminated) this.child.terminate("SIGTERM", this.#grace);
    void this.#reader?.close();
  }

  kill(signal: NodeJS.Signals): boolean {
    const isSent = this.child.terminate(signal, this.#grace);
    this.loop?.stop();
    return isSent;
  }

  async end(thrown: Thrown | undefined, video: RawVideo | undefined): Promise<Thrown | undefined> {
    const hasEnded = this.#reader?.ended ?? true;
    // It still writes, or would: bad data, or a slot that cannot be had.
    if (!hasEnded) this.stop();
    await this.child.gone;
    await this.#reader?.close();
    const { failure } = this.child;
    const why = video?.shortfall ?? (isBadData(thrown) ? plainMessage(thrown.error) : undefined);
    if (failure !== undefined) return { error: this.#startError(failure.error) };
    if (hasEnded && !this.child.isTerminated && this.child.exitCode !== 0)
      return { error: this.#error("ERR_PROCESS_FAILED", why) };
    if (why !== undefined) return { error: this.#error("ERR_BAD_DATA", why) };
    return thrown;
  }

  #startError(cause: unknown): MillpondError {
    const { code, message } = cause as NodeJS.ErrnoException;
    const command = show(this.#command);
    const what =
      code === "ENOENT"
        ? `${command} was not found (ENOENT): install it, or give its path; options.cwd has to be there too`
        : `${command} cannot be started: ${message}`;
    return new MillpondError("ERR_PROCESS_FAILED", what, this.#details(), { cause });
  }

  #error(code: "ERR_PROCESS_FAILED" | "ERR_BAD_DATA", why: string | undefined): MillpondError {
    const details = this.#details();
    const { exitCode, signal, frames, stderr } = details;
    const end = signal === null ? `it ended with exit code ${exitCode}` : `it was ended by ${signal}`;
    // What is wrong first, and then what came of it.
    const said = this.child.isTerminated ? [why, "it was ended for that"] : [end, why];
    const last = stderr.trim().split("\n").slice(-MESSAGE_LINES).join("\n");
    return new MillpondError(
      code,
      `${show(this.#command)} after ${frames} frame${frames === 1 ? "" : "s"}: ${said.filter((part) => part !== undefined).join("; ")}` +
        (last === "" ? "; it said nothing on stderr" : `; its stderr ends with:\n${last}\n`),
      details,
    );
  }

  #details(): ProcessFailure & Record<string, unknown> {
    const { process, stderr } = this.child;
    return {
      command: this.#command,
      exitCode: this.child.exitCode,
      signal: process?.signalCode ?? null,
      stderr,
      frames: this.loop?.delivered ?? 0,
    };
  }
}

function isBadData(thrown: Thrown | undefined): thrown is { readonly error: MillpondError } {
  return thrown !== undefined && isMillpondError(thrown.error, "ERR_BAD_DATA");
}

/** What the system takes as a name: a string without NUL. */
function plainText(name: string, value: unknown): string {
  const plain = word(name, value);
  if (plain.includes("\0")) throw badValue(name, "a string without NUL", plain);
  return plain;
}

function environmentOf(env: unknown): Record<string, string | undefined> {
  if (typeof env !== "object" || env === null || Array.isArray(env) || ArrayBuffer.isView(env)) {
    throw wrongType("options.env", "an object of strings", env);
  }
  const own: Record<string, string | undefined> = {};
  for (const [key, value] of Object.entries(env)) {
    if (value !== undefined) own[key] = plainText(`options.env.${key}`, value);
  }
  return own;
}
