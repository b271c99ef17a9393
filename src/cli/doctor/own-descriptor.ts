/**
 * Names of this process's own descriptors: /dev/stdout, /dev/fd/N and their like. To open such a name truncates the
 * file behind it, and one of Node's own pipes gets bytes that Node takes for its own: so they are written to as they
 * are, or refused.
 */
import { fstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { MAX_LINKS } from "../../adapters/node/file-paths.ts";

const NUMBERED = /^\/(?:dev|proc\/(?:self|thread-self|self\/task\/\d+|(\d+)(?:\/task\/\d+)?))\/fd\/(\d{1,9})$/;
const NAMED: Readonly<Record<string, number>> = { "/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2 };

/** Which descriptor of this process a path names, also by links; undefined: none. */
export function ownDescriptor(path: string): number | undefined {
  let at = resolve(path);
  for (let links = 0; links < MAX_LINKS; links++) {
    const named = NAMED[at];
    if (named !== undefined) return named;
    const [match, pid, number] = NUMBERED.exec(at) ?? [];
    if (match !== undefined && (pid === undefined || Number(pid) === process.pid)) return Number(number);
    try {
      at = resolve(dirname(at), readlinkSync(at));
    } catch {
      return undefined;
    }
  }
  return undefined;
}

/** Why a descriptor is not for a report; undefined: it is. */
export function notForReports(descriptor: number): string | undefined {
  if (descriptor === 0) return "it is the program's standard input";
  try {
    const found = fstatSync(descriptor);
    if (descriptor <= 2) return undefined;
    if (!found.isFile() && !found.isFIFO() && !found.isCharacterDevice()) return "it is not a file, pipe or terminal";
  } catch {
    return "it is not open";
  }
  if (!isOpenFor(descriptor, "write")) return "it cannot be written";
  // A pipe that this process reads itself is Node's.
  const same = readlinkOf(descriptor);
  if (
    same?.startsWith("pipe:") &&
    openDescriptors().some((one) => readlinkOf(one) === same && isOpenFor(one, "read"))
  ) {
    return "it is Node's own";
  }
  return undefined;
}

function openDescriptors(): number[] {
  return readdirSync("/proc/self/fd").map(Number);
}

function readlinkOf(descriptor: number): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    return undefined;
  }
}

/** True as well where the system does not tell. */
function isOpenFor(descriptor: number, use: "read" | "write"): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, "latin1"))?.[1];
    // 0: read only, 1: write only, 2: both.
    return flags === undefined || (Number.parseInt(flags, 8) & 3) !== (use === "write" ? 0 : 1);
  } catch {
    return true;
  }
}
