/** A source file holds one concept: over 400 lines fails; under 80 is only listed, with --verbose. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { listTypeScript, rootFromArguments } from "./lib/source-tree.ts";

/** Above this a file has stopped being one concept. */
export const MAX_LINES = 400;
/** Below this a file may be a fragment that belongs to its neighbour: worth a look, never an error. */
export const SMALL_LINES = 80;

/** Lines in each `.ts` file under root/src. */
export function sourceSizes(root: string): { file: string; lines: number }[] {
  return listTypeScript(root, "src").map((file) => {
    const text = readFileSync(join(root, file), "utf8");
    return { file, lines: text.split("\n").length - (text.endsWith("\n") ? 1 : 0) };
  });
}

/** The files that are too long. */
export function checkSizes(root: string): Finding[] {
  return sourceSizes(root)
    .filter(({ lines }) => lines > MAX_LINES)
    .map(({ file, lines }) => ({
      file,
      line: 0,
      message: `${lines} lines, at most ${MAX_LINES}: split it by concept`,
    }));
}

if (import.meta.main) {
  const root = rootFromArguments();
  if (process.argv.includes("--verbose")) {
    for (const { file, lines } of sourceSizes(root)) {
      if (lines < SMALL_LINES) console.log(`${file}: ${lines} lines, under ${SMALL_LINES}`);
    }
  }
  reportFindings("sizes", checkSizes(root), `no file in src/ is over ${MAX_LINES} lines`);
}
