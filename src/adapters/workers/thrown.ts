/** What a module of the user's has thrown, in one line: the message, and the place in that module. */

import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { isOwnFile } from "../../util/stack.ts";

/** Longest text of a thrown value that is not an Error. */
const MAX_SHOWN = 200;

/**
 * An error as its message with the file and line in `module` (a file: address) that it came from; any other value as it
 * looks in a console, on one line. Never throws, whatever the value does when it is looked at.
 */
export function describeThrown(error: unknown, module: string): string {
  try {
    if (!(error instanceof Error)) return `it threw ${shown(error)}`;
    // An Error's message and name may be anything.
    const message: unknown = error.message === "" ? error.name : error.message;
    if (typeof message !== "string") return `it threw ${shown(error)}`;
    const place = placeIn(String(error.stack), module);
    return place === undefined ? message : `${message} (${place})`;
  } catch {
    return "it threw a value that cannot be shown";
  }
}

function shown(value: unknown): string {
  const text = inspect(value, { depth: 2, breakLength: Number.POSITIVE_INFINITY, customInspect: false });
  const line = text.replaceAll(/\s+/g, " ");
  return line.length > MAX_SHOWN ? `${line.slice(0, MAX_SHOWN)}...` : line;
}

/**
 * The innermost frame of the stack that is in the module, else in any file that is not of Node or of this package. A
 * place in a module of this package is of no use to its user.
 */
function placeIn(stack: string, module: string): string | undefined {
  const frames = stack.split("\n").flatMap((line) => {
    const match = /^\s+at (?:.*\()?((?:file:\/\/)?\/?[^()]+):(\d+):(\d+)\)?$/.exec(line);
    return match === null ? [] : [{ file: match[1]!, line: match[2]!, column: match[3]! }];
  });
  const path = pathOf(module);
  if (isOwnFile(module)) return undefined;
  const own = frames.find(({ file }) => pathOf(file) === path);
  const first = own ?? frames.find(({ file }) => !file.startsWith("node:") && !isOwnFile(file));
  return first === undefined ? undefined : `${pathOf(first.file)}:${first.line}:${first.column}`;
}

function pathOf(file: string): string {
  return file.startsWith("file:") ? fileURLToPath(file.replace(/\?.*$/, "")) : file;
}
