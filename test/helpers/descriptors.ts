/** What pools, and the adapters of Node's files and sockets, must not leave behind: open descriptors. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";

/** What each descriptor of this process is open on, sorted; empty where the system does not tell. */
export function openDescriptors(): string[] {
  if (!existsSync("/proc/self/fd")) return [];
  return readdirSync("/proc/self/fd")
    .map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        // The one that lists them.
        return "";
      }
    })
    .filter((name) => name !== "" && !name.includes("/proc/"))
    .sort();
}

/**
 * What is open now and was not before. What has been closed since does not count: a child that an earlier test had
 * started may close its pipes late.
 */
export function openedSince(before: readonly string[]): string[] {
  const left = [...before];
  return openDescriptors().filter((name) => {
    const at = left.indexOf(name);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}

/** How many descriptors are open on what has a name that begins so: "/memfd:", "socket:". */
export function countOpen(...beginnings: readonly string[]): number {
  return openDescriptors().filter((name) => beginnings.some((beginning) => name.startsWith(beginning))).length;
}

/** How many blocks of pools this process has mapped. */
export function countMapped(): number {
  return readFileSync("/proc/self/maps", "latin1").split("/memfd:millpond").length - 1;
}

/** Makes a named pipe. */
export function mkfifo(path: string): void {
  execFileSync("mkfifo", [path]);
}
