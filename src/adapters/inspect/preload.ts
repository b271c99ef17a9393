/**
 * `node --import millpond/inspect app.js`: the module is evaluated before the program, in the main thread and in each
 * worker that inherits its options, and serves. An ordinary import of it serves nothing.
 */
import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { process } from "../../os/process.ts";
import { serveInspector, sweepLater } from "./server.ts";

const SPECIFIER = "millpond/inspect";

/** The modules that options of Node's preload: `--import x`, `--import=x`, and `--require` and `-r` alike. */
export function preloadedBy(args: readonly string[]): string[] {
  const found: string[] = [];
  for (const [i, arg] of args.entries()) {
    const [, , value] = /^(--import|--require|-r)(?:=(.*))?$/s.exec(arg) ?? [];
    if (value !== undefined) found.push(value);
    else if (/^(?:--import|--require|-r)$/.test(arg) && args[i + 1] !== undefined) found.push(args[i + 1]!);
  }
  return found;
}

/** NODE_OPTIONS as Node reads it: separated by spaces, quoted by ", and \ takes the next character as it is. */
export function splitOptions(text: string): string[] {
  const words: string[] = [];
  for (const [, quoted, plain] of text.matchAll(/(?:^|\s)(?:"((?:[^"\\]|\\.)*)"|(\S+))/g)) {
    words.push(quoted === undefined ? plain! : quoted.replaceAll(/\\(.)/g, "$1"));
  }
  return words;
}

/** Whether this process was told to preload the module whose URL is `self`. */
export function isPreloaded(self: string): boolean {
  const args = [...process.execArgv, ...splitOptions(process.env.NODE_OPTIONS ?? "")];
  return preloadedBy(args).some((name) => {
    if (name === SPECIFIER) return true;
    if (!/^(?:\.{0,2}[\\/]|file:|[A-Za-z]:[\\/])/.test(name)) return false;
    return pathOf(name) === pathOf(self);
  });
}

function pathOf(name: string): string {
  try {
    const path = name.startsWith("file:") ? fileURLToPath(name) : resolve(name);
    return realpathSync(path);
  } catch {
    return name;
  }
}

/** Serves for a program that does not know of it: a failure is a warning, and no reason to end. */
export function servePreloaded(): void {
  serveInspector().then(sweepLater, (error: unknown) => {
    const message = error instanceof Error ? error.message : String(error);
    process.emitWarning(`the inspector is not served: ${message}`, { code: "MILLPOND_INSPECT" });
  });
}
