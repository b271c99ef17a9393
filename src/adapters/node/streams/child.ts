/**
 * OwnedChild: a child process that does not outlive what it was started for, and the end of what it said on stderr.
 *
 * ```
 *    start() --> running --(by itself, or terminate())--> exited --(its stderr has ended, or STDERR_GRACE_MS)--> gone
 *       |                                                                                                          ^
 *       +-- could not be started ----------------------------------------------------------------------------------+
 * ```
 *
 * Invariants: `gone` resolves once and never rejects; then the process and its pipes here are no more. A process that
 * ignores the signal it gets is killed after a grace. While a child runs, one listener of the process's "exit" kills
 * it, so that it does not outlive a `process.exit()`.
 *
 * Complexity: each step O(1); of stderr the last 8 KiB are kept.
 */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import type { Thrown } from "./frame-loop.ts";

/** How much of the end of stderr is kept: some 80 lines. */
const STDERR_BYTES = 8192;
/** How long a process that has exited may leave its stderr open, because a child of its own has it. */
const STDERR_GRACE_MS = 250;

const running: Set<OwnedChild> = new Set();

function killAll(): void {
  for (const child of running) child.killNow();
}

export class OwnedChild {
  /** Resolves when nothing is left of it. */
  readonly gone: Promise<void>;
  /** Why it could not be started. */
  failure: Thrown | undefined;
  /** Whether it was ended from here. */
  isTerminated = false;
  #process: ChildProcess | undefined;
  #tail: Buffer = Buffer.alloc(0);
  #finish: () => void = () => {};
  #killTimer: NodeJS.Timeout | undefined;

  constructor() {
    this.gone = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  get process(): ChildProcess | undefined {
    return this.#process;
  }

  /** What it exited with; null while it runs, where a signal ended it, and where it never ran. */
  get exitCode(): number | null {
    const child = this.#process;
    // Of a process that could not be started, it is a negative number of an error.
    return child?.pid === undefined ? null : child.exitCode;
  }

  /** The last 8 KiB of stderr. */
  get stderr(): string {
    const tail = this.#tail;
    // A cut may have gone through a character.
    let start = 0;
    while (start < Math.min(3, tail.length) && (tail[start]! & 0xc0) === 0x80) start++;
    return tail.toString("utf8", start);
  }

  /** Starts it. Its standard error is a pipe; an error is in {@link failure} when it is {@link gone}. */
  start(command: string, args: readonly string[], options: SpawnOptions): void {
    let child: ChildProcess;
    try {
      child = spawn(command, args, options);
    } catch (error) {
      this.abandon({ error });
      return;
    }
    this.#process = child;
    if (running.size === 0) process.on("exit", killAll);
    running.add(this);
    child.on("error", (error) => {
      // Of a process that runs: a signal could not be sent, and the exit is still to come.
      if (child.pid !== undefined) return;
      this.#stopped();
      this.abandon({ error });
    });
    child.on("exit", () => this.#exited(child));
    // What reads them sees their errors, and may not have begun.
    child.stdout?.on("error", () => {});
    child.stderr?.on("error", () => {});
    child.stderr?.on("data", (chunk: Buffer) => this.#keep(chunk));
  }

  /** It will not be started. */
  abandon(failure?: Thrown): void {
    this.failure ??= failure;
    this.#finish();
  }

  /**
   * Sends the signal, and SIGKILL when the process is still there `grace` milliseconds later. Returns whether there was
   * a process to send it to.
   */
  terminate(signal: NodeJS.Signals, grace: number): boolean {
    const child = this.#process;
    this.isTerminated = true;
    if (child === undefined || !running.has(this)) return false;
    const isSent = child.kill(signal);
    this.#killTimer ??= setTimeout(() => this.killNow(), grace);
    return isSent;
  }

  killNow(): void {
    this.#process?.kill("SIGKILL");
  }

  #keep(chunk: Buffer): void {
    const rest = chunk.length >= STDERR_BYTES ? chunk : Buffer.concat([this.#tail, chunk]);
    // A copy, so that 8 KiB do not keep a chunk of 64.
    this.#tail = Buffer.from(rest.subarray(Math.max(0, rest.length - STDERR_BYTES)));
  }

  #exited(child: ChildProcess): void {
    this.#stopped();
    const { stderr } = child;
    if (stderr === null || stderr.closed) {
      this.#finish();
      return;
    }
    const timer = setTimeout(() => (stderr as Readable).destroy(), STDERR_GRACE_MS);
    stderr.once("close", () => {
      clearTimeout(timer);
      this.#finish();
    });
  }

  #stopped(): void {
    clearTimeout(this.#killTimer);
    running.delete(this);
    if (running.size === 0) process.off("exit", killAll);
  }
}
