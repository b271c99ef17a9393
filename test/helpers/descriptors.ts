/** What the adapters of Node's files and sockets must not leave behind: open descriptors. */
import { execFileSync } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";

/** What each descriptor of this process is open on, sorted; empty where the system does not tell. */
export function openDescriptors(): string[] {
  try {
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
  } catch {
    return [];
  }
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

/** Makes a named pipe. */
export function mkfifo(path: string): void {
  execFileSync("mkfifo", [path]);
}
