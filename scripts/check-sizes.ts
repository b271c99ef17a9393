/**
 * A source file holds one type, whole. A file above 900 lines is listed as a warning, one under 80 with --verbose;
 * neither fails, because a type split to satisfy a number is harder to read than a long file.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Finding } from "./lib/findings.ts";
import { listTypeScript, rootFromArguments } from "./lib/source-tree.ts";

/** Above this a file may hold more than one type: worth a look. */
export const LARGE_LINES = 900;
/** Below this a file may be a fragment that belongs to its neighbor: worth a look, never an error. */
export const SMALL_LINES = 80;

/** Lines in each `.ts` file under root/src. */
export function sourceSizes(root: string): { file: string; lines: number }[] {
  return listTypeScript(root, "src").map((file) => {
    const text = readFileSync(join(root, file), "utf8");
    return { file, lines: text.split("\n").length - (text.endsWith("\n") ? 1 : 0) };
  });
}

/** The files that may hold more than one type. */
export function largeFiles(root: string): Finding[] {
  return sourceSizes(root)
    .filter(({ lines }) => lines > LARGE_LINES)
    .map(({ file, lines }) => ({ file, line: 0, message: `${lines} lines: does it still hold one type?` }));
}

if (import.meta.main) {
  const root = rootFromArguments();
  if (process.argv.includes("--verbose")) {
    for (const { file, lines } of sourceSizes(root)) {
      if (lines < SMALL_LINES) console.log(`${file}: ${lines} lines, under ${SMALL_LINES}`);
    }
  }
  for (const { file, message } of largeFiles(root)) console.warn(`warning: ${file}: ${message}`);
}
