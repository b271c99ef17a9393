/**
 * The source compiled to JavaScript, one file for each, for child processes on runtimes that cannot read TypeScript
 * (Node 20) and in places where koffi is not to be found. Compiled once for each state of the source, by Node: it
 * erases the types of all files in a third of a second, where the compiler transpiles them in five.
 */
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");
// Inside node_modules, so that koffi is found from there as it is from an installed millpond.
const CACHE = join(ROOT, "node_modules", ".cache", "millpond-native");

/** A folder with this tree compiled; koffi can be found from it. Others use it too: it is not to be changed. */
export function compiled(): string {
  const source = join(ROOT, "src");
  const files = readdirSync(source, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .sort()
    .map((file) => [file, readFileSync(join(source, file), "utf8")] as const);
  const hash = createHash("sha256")
    .update(JSON.stringify([process.version, String(stripped), files]))
    .digest("hex")
    .slice(0, 16);
  const folder = join(CACHE, hash);
  if (existsSync(folder)) return folder;
  mkdirSync(CACHE, { recursive: true });
  const making = mkdtempSync(join(CACHE, "making-"));
  for (const [file, text] of files) {
    const target = join(making, file.replace(/\.ts$/, ".js"));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, stripped(text));
  }
  // At once and whole; another test file may have been quicker.
  try {
    renameSync(making, folder);
  } catch (error) {
    rmSync(making, { recursive: true, force: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

/** JavaScript of one file: all of its types can be erased, and the others' files have another ending. */
function stripped(text: string): string {
  return stripTypeScriptTypes(text).replaceAll(/(\b(?:from|import)\s*\(?\s*"\.{1,2}\/[^"\n]+)\.ts"/g, '$1.js"');
}

/** The same, copied to where no package can be found. */
export function withoutPackages(folder: string): string {
  const copy = mkdtempSync(join(tmpdir(), "millpond-bare-"));
  cpSync(folder, copy, { recursive: true });
  return copy;
}
