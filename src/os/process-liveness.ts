/**
 * Whether another process still runs, asked of the kernel by /proc. A number alone does not say which process is meant:
 * numbers are given out again. Together with the moment at which it started it does.
 *
 * Where /proc cannot be read (other systems, Deno without the permission), nothing is known, and nobody is called dead.
 */
import { readFileSync, readlinkSync } from "node:fs";

/**
 * Start times are kept modulo 2^28 ticks of 10 ms, 31 days: two processes of one number that started at one tick of it
 * are none.
 */
export const START_MASK: number = 2 ** 28 - 1;

/** One process, told apart from all that had or will have its number. */
export interface ProcessIdentity {
  /** Its number. */
  readonly pid: number;
  /** When it started, in ticks since the machine did, by {@link START_MASK}; undefined: it could not be asked. */
  readonly start: number | undefined;
  /** In which PID and time namespace these count, as one number; 0: it could not be asked. */
  readonly namespace: number;
}

/** What /proc/PID/stat says. */
interface ProcessStat {
  /** One letter: R, S, D, T, Z (ended, not yet waited for), X. */
  readonly state: string;
  /** Threads that it has left. */
  readonly threads: number;
  /** When it started, in ticks, by {@link START_MASK}. */
  readonly start: number;
}

let known: ProcessIdentity | undefined;

/** This process. Asked once: later there may be no descriptor to spare for it. */
export function ownIdentity(): ProcessIdentity {
  if (known !== undefined) return known;
  const own = readStat("self");
  const namespace = ownNamespace();
  const start = typeof own === "string" || namespace === undefined ? undefined : own.start;
  const identity: ProcessIdentity = { pid: process.pid, start, namespace: namespace ?? 0 };
  if (start !== undefined) known = identity;
  return identity;
}

/** Why {@link ownIdentity} does not know the start of this process: in words, and whether descriptors were used up. */
export function whyUnknown(): { readonly isFull: boolean; readonly reason: string } {
  try {
    readFileSync("/proc/self/stat");
    return { isFull: false, reason: "/proc does not say which process this is" };
  } catch (error) {
    const code = String((error as { code?: unknown }).code);
    return { isFull: isFull(code), reason: `/proc/self/stat cannot be read (${code})` };
  }
}

function isFull(code: unknown): boolean {
  return code === "EMFILE" || code === "ENFILE";
}

/**
 * True when that process has ended, every thread of it: none of them can write any more. False when it runs, and when
 * it cannot be known. Without its start, another process may have got its number: then it counts as running. 20 us.
 */
export function hasEnded(pid: number, start?: number): boolean {
  const stat = readStat(String(pid));
  if (stat === "unknown") return false;
  // What can be asked without a descriptor: one that has ended and was not waited for is not seen by it.
  if (stat === "none" || stat === "no descriptor") return isUnknownNumber(pid);
  if (start !== undefined && stat.start !== start) return true;
  // The first thread's end shows at once as Z, while others of it may still run for some microseconds.
  return (stat.state === "Z" || stat.state === "X") && stat.threads <= 1;
}

/** One thread of a process, told apart from all that had or will have its number. */
export interface ThreadIdentity {
  /** Its number. */
  readonly tid: number;
  /** When it started, as {@link ProcessIdentity}'s. */
  readonly start: number;
}

/**
 * This thread; undefined where it is the process's first, whose end does not show, and where /proc does not say.
 */
export function ownThread(): ThreadIdentity | undefined {
  try {
    const tid = Number(/^\d+\/task\/(\d+)$/.exec(readlinkSync("/proc/thread-self"))?.[1]);
    if (!(tid > 0) || tid === process.pid) return undefined;
    const stat = readStat(`self/task/${tid}`);
    return typeof stat === "string" ? undefined : { tid, start: stat.start };
  } catch {
    return undefined;
  }
}

/** True when that thread of a process that runs has ended. False when it runs, and when it cannot be known. 40 us. */
export function hasThreadEnded(pid: number, tid: number, start: number): boolean {
  const stat = readStat(`${pid}/task/${tid}`);
  // A /proc that hides the process, or is gone, says nothing of its threads.
  if (stat === "none") return typeof readStat(String(pid)) !== "string";
  return typeof stat !== "string" && (stat.start !== start || stat.state === "Z" || stat.state === "X");
}

/** Reads the text of a /proc/PID/stat; undefined when it is none. */
export function parseStat(text: string): ProcessStat | undefined {
  // The program's name stands in brackets and may contain anything, brackets and spaces too.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [state = "", threads, start] = [fields[0], Number(fields[17]), fields[19]];
  if (!/^\d+$/.test(start ?? "") || !Number.isInteger(threads)) return undefined;
  // Beyond 2^53 no machine has run.
  return { state, threads, start: Number(start) % (START_MASK + 1) };
}

function readStat(which: string): ProcessStat | "none" | "unknown" | "no descriptor" {
  try {
    return parseStat(readFileSync(`/proc/${which}/stat`, "latin1")) ?? "unknown";
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (isFull(code)) return "no descriptor";
    return code === "ENOENT" || code === "ESRCH" ? "none" : "unknown";
  }
}

/** There may be no /proc at all, or one that hides the processes of others. */
function isUnknownNumber(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as { code?: unknown }).code === "ESRCH";
  }
}

/**
 * The kernel tells every start by the reader's own time namespace: in another one the living would look like others.
 */
function ownNamespace(): number | undefined {
  const pid = pidNamespace();
  const time = namespaceOf("time");
  if (pid === undefined || time === undefined) return undefined;
  return pid === 0 ? 0 : pid ^ Math.imul(time, 31);
}

/** The PID namespace that numbers of processes count in here; 0: this kernel has none; undefined: it does not say. */
export function pidNamespace(): number | undefined {
  return namespaceOf("pid");
}

function namespaceOf(kind: "pid" | "time"): number | undefined {
  try {
    return Number(/\[(\d+)\]/.exec(readlinkSync(`/proc/self/ns/${kind}`))?.[1] ?? 0);
  } catch (error) {
    // Before Linux 5.6 there are no time namespaces.
    return (error as { code?: unknown }).code === "ENOENT" ? 0 : undefined;
  }
}
