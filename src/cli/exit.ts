/**
 * How the command ends: an exit code that scripts can branch on, and one paragraph for the reader. A stack trace is for
 * the author of a bug, so it is shown for bugs of ours only, and then on request.
 */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { filesAreNamed } from "../adapters/node/output-file.ts";
import { isMillpondError, plainMessage } from "../util/errors.ts";
import { complain } from "./terminal.ts";

/** Exit codes of the command; docs/run.md explains each. */
export const ExitCode = {
  /** All was done. */
  OK: 0,
  /** Nothing useful was done: bad usage, bad input, a failure on the way. No output is left behind. */
  FAILED: 1,
  /** What could be decoded was, and written; something is missing (the report, too), and the message says what. */
  PARTIAL: 2,
  /** Buffers were still leased at the end: a bug in millpond, reported with the holders. */
  LEAKED: 3,
  /** The terminal was closed (SIGHUP): 128 + 1, as shells count. No output is left behind. */
  HUNG_UP: 129,
  /** Interrupted (SIGINT): 128 + 2. No output is left behind. */
  INTERRUPTED: 130,
  /** Told to quit (SIGQUIT): 128 + 3. No output is left behind. */
  QUIT: 131,
  /** Terminated (SIGTERM): 128 + 15. No output is left behind. */
  TERMINATED: 143,
} as const;

/** One of {@link ExitCode}. */
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** An end that was foreseen: its message is the whole story. */
export class Failure extends Error {
  /** What the process exits with. */
  readonly exitCode: ExitCode;
  /** Lines that show the place that the message is about, as they are. */
  readonly excerpt: string | undefined = undefined;

  /** A message without a full stop at its end, in plain words, with the remedy. */
  constructor(message: string, exitCode: ExitCode = ExitCode.FAILED, options?: ErrorOptions) {
    super(message, options);
    this.name = "Failure";
    this.exitCode = exitCode;
  }
}

/** The signals that ask for an end, and how the command says that it got one. */
const SIGNALS: Readonly<Record<EndSignal, { readonly word: string; readonly code: ExitCode }>> = {
  SIGINT: { word: "interrupted", code: ExitCode.INTERRUPTED },
  SIGTERM: { word: "terminated", code: ExitCode.TERMINATED },
  SIGHUP: { word: "the terminal was closed", code: ExitCode.HUNG_UP },
  SIGQUIT: { word: "told to quit", code: ExitCode.QUIT },
};

/** A signal that asks for the end. */
type EndSignal = "SIGINT" | "SIGTERM" | "SIGHUP" | "SIGQUIT";

/** All of {@link EndSignal}. */
const END_SIGNALS = Object.keys(SIGNALS) as readonly EndSignal[];

/** The user or the system asked for the end. */
export class Interruption extends Failure {
  /** Which signal it was. */
  readonly signal: EndSignal;

  /** Says which signal. */
  constructor(signal: EndSignal) {
    const { word, code } = SIGNALS[signal];
    super(word, code);
    this.signal = signal;
  }
}

const SYSTEM_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EACCES: "permission denied",
  EPERM: "the system does not permit it",
  EISDIR: "it is a folder",
  ENOTDIR: "part of the path is a file, not a folder",
  ELOOP: "its links lead in a circle",
  ENAMETOOLONG: "the name is too long",
  ENXIO: "there is no such device",
  ENODEV: "the device does not support this",
  EBUSY: "it is in use",
  ETXTBSY: "it is a program that is running",
  EIO: "the device failed",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EROFS: "the file system is read-only",
  EMFILE: "too many files are open",
  EEXIST: "a file of that name is in the way",
  EPIPE: "the reader at the other end has gone",
  EFBIG: "the file would be larger than the system allows",
};

/** Anything that was thrown, as a paragraph for a person; never a stack. */
export function explain(error: unknown): string {
  if (error instanceof Failure) return error.message;
  // The code behind the message is for programs.
  if (isMillpondError(error)) return plainMessage(error);
  if (error instanceof Error) {
    const { code, path, syscall } = error as NodeJS.ErrnoException;
    if (code === "ERR_ACCESS_DENIED") {
      const { resource = "" } = error as { readonly resource?: string };
      return `${resource === "" ? "" : `${resource}: `}Node's --permission does not allow it (${code})`;
    }
    if (code !== undefined && syscall !== undefined) {
      const what = path === undefined ? "" : path === "-" ? "standard output: " : `${path}: `;
      if (code === "ENOENT" && path !== undefined && path !== "" && !existsSync(dirname(path))) {
        return `${what}its folder does not exist (${code})`;
      }
      return `${what}${SYSTEM_ERRORS[code] ?? `the system refused to ${syscall} it`} (${code})`;
    }
    return `${error.message} (an unforeseen ${error.name}; set MILLPOND_DEBUG=1 for its stack, and please report it)`;
  }
  return String(error);
}

/** The exit code that fits what was thrown. */
export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof Failure ? error.exitCode : ExitCode.FAILED;
}

/** Writes to a stream, and waits until it is there. Throws {@link Failure} when it cannot be written. */
export function print(text: string, stream: NodeJS.WriteStream = process.stdout): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => {
      const why =
        error.code === "ENOSPC" ? "the disk is full" : error.code === "EPIPE" ? "its reader has gone" : error.message;
      reject(
        new Failure(`standard output could not be written: ${why} (${error.code})`, ExitCode.FAILED, { cause: error }),
      );
    };
    // An error arrives as an event too, which without a listener would end the process with a stack.
    stream.once("error", fail);
    stream.write(text, (error) => {
      if (error) return fail(error);
      stream.removeListener("error", fail);
      resolve();
    });
  });
}

/** What failed when the results had their names already: their files are there, so it is no {@link ExitCode.FAILED}. */
export function withResults(error: unknown): unknown {
  if (error instanceof Interruption || exitCodeOf(error) !== ExitCode.FAILED) return error;
  return new Failure(`${explain(error)}; the results are there`, ExitCode.PARTIAL, { cause: error });
}

// A decoder or a disk that does not answer must not keep what was told to end.
const END_GRACE_MS = 5_000;

/**
 * The first signal ends the run in order; when that takes too long, or another signal comes, it ends at once. Both come
 * too late when files get their names. Returns what forgets about signals.
 */
export function listenForSignals(stop: AbortController): () => void {
  let grace: NodeJS.Timeout | undefined;
  const endNow = (interruption: Interruption): void => {
    // Files that are not whole, and folders made for them, are removed by listeners to the process's exit.
    process.exit(interruption.exitCode);
  };
  const on = (signal: EndSignal): void => {
    const interruption = new Interruption(signal);
    if (grace !== undefined) {
      // All has ended well, and the command is about to end by itself; code and files shall say the same.
      if (filesAreNamed()) return;
      complain(`${interruption.message} a second time; nothing was written`);
      endNow(interruption);
      return;
    }
    grace = setTimeout(() => {
      const left = filesAreNamed() ? "some files may be there" : "nothing was written";
      complain(`${interruption.message}; a stage did not end in time, and ${left}`);
      endNow(interruption);
    }, END_GRACE_MS);
    stop.abort(interruption);
  };
  for (const signal of END_SIGNALS) process.on(signal, on);
  return () => {
    clearTimeout(grace);
    for (const signal of END_SIGNALS) {
      // Between here and the exit a signal would end the process with a code of its own, and the files are there.
      if (filesAreNamed() && !process.listeners(signal).includes(ignore)) process.on(signal, ignore);
      process.removeListener(signal, on);
    }
  };
}

function ignore(): void {}
