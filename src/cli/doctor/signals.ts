/**
 * PassedSignals: signals of the doctor go to the program that it runs, but for those that the program gets by itself,
 * because a terminal sends them to every process in front of it.
 *
 * What remains: of `kill -INT`, `-QUIT` and `-HUP` of the doctor alone, while it is in front of its terminal, the
 * program does not hear, since nothing tells who sent a signal.
 */
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { isatty } from "node:tty";

/**
 * Signals that the program gets: all that can be caught and are not about the doctor itself (its own faults and
 * children, the profiler's clock), but for those that stop a process, which a shell waits for.
 */
const SIGNALS = [
  ..."SIGINT SIGTERM SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGPIPE SIGALRM SIGCONT SIGWINCH SIGURG".split(" "),
  ..."SIGXCPU SIGXFSZ SIGVTALRM SIGIO SIGPWR SIGSTKFLT".split(" "),
].filter((signal) => signal in constants.signals) as NodeJS.Signals[];

/** A terminal sends these to every process in front of it: passed on, the program would get them twice. */
const OF_TERMINALS: readonly string[] = ["SIGINT", "SIGHUP", "SIGQUIT", "SIGCONT", "SIGWINCH"];

/** How a process stands to its terminal. */
interface Standing {
  /** Its terminal's processes in front are its own group. */
  readonly isInFront: boolean;
  /** It has a terminal. */
  readonly hasTerminal: boolean;
  /** Its terminal's end is told to it alone. */
  readonly isLeader: boolean;
}

/** What `/proc/PID/stat` says of it. */
export function standingIn(stat: string): Standing {
  // The name, in brackets, may have anything in it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [, , group = "", session, , front = ""] = fields;
  const hasTerminal = Number(front) > 0;
  return { isInFront: hasTerminal && front === group, hasTerminal, isLeader: session === stat.split(" ", 1)[0] };
}

/** Whether the terminal sent a signal to the program as well, as things stood at first and stand now. */
export function isSentToAll(first: Standing, now: Standing): boolean {
  // A terminal that has gone takes itself from all its processes before they hear of it.
  return now.isInFront || (!now.hasTerminal && first.isInFront && !now.isLeader);
}

/** Without a look at `process.stdin`, which would change a pipe that the program reads. */
function ownStanding(): Standing {
  try {
    return standingIn(readFileSync("/proc/self/stat", "latin1"));
  } catch {
    const hasTerminal = [0, 1, 2].some((descriptor) => isatty(descriptor));
    return { isInFront: hasTerminal, hasTerminal, isLeader: false };
  }
}

function ignore(): void {}

/** Signals go to the program instead of this process, until {@link end}. */
export class PassedSignals {
  program: ChildProcess | undefined;
  readonly #listeners = new Map<NodeJS.Signals, () => void>();

  constructor() {
    const first = ownStanding();
    for (const signal of SIGNALS) {
      const pass = (): void => {
        if (OF_TERMINALS.includes(signal) && isSentToAll(first, ownStanding())) return;
        this.program?.kill(signal);
      };
      try {
        process.on(signal, pass);
        this.#listeners.set(signal, pass);
      } catch {
        // A platform that knows the signal and has no way to hear of it.
      }
    }
  }

  /** A report whose reader has gone is no reason to end before the exit code is told. */
  end(): void {
    if (this.#listeners.has("SIGPIPE") && !process.listeners("SIGPIPE").includes(ignore)) process.on("SIGPIPE", ignore);
    for (const [signal, pass] of this.#listeners) process.removeListener(signal, pass);
  }
}
