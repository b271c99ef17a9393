/** Who called: the stack of an error that was made to remember a place, without the library's own lines. */

/**
 * This very file, as a module of its own: in the sources, or as the chunk that the build keeps apart for it. In an
 * application's bundle it is the bundle, whose lines are the application's as well.
 */
const SELF = /[\\/](?:util[\\/]|_)stack\.[jt]s$/;

/**
 * How the places of files below a folder begin in stacks: by URL, as engines write modules, and by path, as loaders
 * that compile on the way and Windows write them.
 *
 * @param self the URL of this file in that folder
 */
export function rootsOf(self: string | undefined): readonly string[] {
  const plain = self?.replace(/[?#].*$/s, "");
  if (plain === undefined || !SELF.test(plain)) return [];
  const root = plain.replace(SELF, "/");
  if (!root.startsWith("file://")) return [root];
  let path = root.slice("file://".length);
  try {
    path = decodeURIComponent(path);
  } catch {
    // A path with a bare % in it: the URL is all there is.
  }
  // file:///C:/app/ is C:/app/ and C:\app\ there.
  const drive = /^\/([A-Za-z]:.*)$/s.exec(path)?.[1];
  return drive === undefined ? [root, path] : [root, drive, drive.replaceAll("/", "\\")];
}

const ROOTS = /* @__PURE__ */ rootsOf(import.meta.url as string | undefined);

/** Whether a file, by URL or path, is one of the library's own. */
export function isOwnFile(file: string): boolean {
  return ROOTS.some((root) => file.startsWith(root));
}

/** Where a line's place begins: behind a bracket, a space or an @, or at its start. */
function isBelow(line: string, roots: readonly string[]): boolean {
  return roots.some((root) => {
    const at = line.indexOf(root);
    return at === 0 || (at > 0 && " (@".includes(line[at - 1]!));
  });
}

/** A place that was remembered: its stack is formatted when it is asked for. */
export interface Site {
  readonly stack?: unknown;
}

/** A public function that a caller enters the library by. */
export type Entry = (...args: never) => unknown;

type Capture = (target: object, below: Entry) => void;

/** The public function that a nested pool's allocations are made for, while one is known. */
let current: Entry | undefined;

/** Says by which public function the present call came in, for pools below; returns what was said before. */
export function setEntry(next: Entry | undefined): Entry | undefined {
  const before = current;
  current = next;
  return before;
}

/**
 * Remembers who called a public function, which must be on the stack. The engine leaves out that function and all above
 * it: so it works in a bundle, where file names tell nothing, and no frame of the library counts against the caller's
 * `Error.stackTraceLimit`. Engines that cannot: the whole stack, for {@link callerOf}.
 */
export function callSite(below: Entry): Site {
  const { captureStackTrace } = Error as { captureStackTrace?: Capture };
  if (typeof captureStackTrace !== "function") return new Error("taken");
  const site: Site = {};
  captureStackTrace(site, current ?? below);
  return site;
}

/** The lines of a stack below the library's own. Formatting costs about 20 us, so only reports ask for it. */
export function callerOf(site: Site, roots: readonly string[] = ROOTS): string {
  const lines = String(site.stack ?? "").split("\n");
  // V8 repeats the message in front of the frames, other engines do not.
  if (!/^\s*at |@/.test(lines[0]!)) lines.shift();
  const first = lines.findIndex((line) => !isBelow(line, roots));
  return lines
    .slice(Math.max(first, 0))
    .map((line) => line.trim())
    .join("\n");
}
