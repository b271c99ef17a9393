/**
 * Every path of the repository and every relative link in a tracked *.md exists, and every marked figure is that of
 * bench/results. The changelog is left out, because it names what there was.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { figuredPages } from "../bench/lib/figures.ts";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { rootFromArguments } from "./lib/source-tree.ts";

// A path from the root of the repository; `./src/x.ts` and `dist/src/x.js` are none.
const PATH = /(?<![\w./@-])(?:src|test|docs|bench|scripts|examples|assets|\.ci)\/[\w.*<>{}/-]*/g;
const LINK = /\]\((?!https?:|mailto:|#)([^)\s]+)\)/g;
// `bench/results/NAME.json`, `test/<layer>/`, `src/*.ts`: from here on it is a pattern.
const PATTERN = /[*<{]|\b[A-Z]{4,}\b/;

/** Paths and links that lead nowhere. */
export function checkPaths(root: string, pages: readonly string[]): Finding[] {
  return pages.flatMap((file) =>
    readFileSync(join(root, file), "utf8")
      .split("\n")
      .flatMap((text, index) => {
        const paths = [...text.matchAll(PATH)].map(([path]) => path);
        const links = [...text.matchAll(LINK)].map(([, link = ""]) =>
          posix.join(posix.dirname(file), link.replace(/#.*$/, "")),
        );
        return [...paths, ...links]
          .filter((path) => !existsSync(join(root, fixedPart(path))))
          .map((path) => ({ file, line: index + 1, message: `${path} does not exist` }));
      }),
  );
}

/** Figures that are not those of bench/results, and marks that name nothing. */
export function checkFigures(root: string): Finding[] {
  return figuredPages(root).flatMap(({ file, before, after, unknown }) => {
    const findings: Finding[] = unknown.map(({ line, message }) => ({ file, line, message }));
    if (after !== before) {
      const wanted = after.split("\n");
      const line = before.split("\n").findIndex((one, i) => one !== wanted[i]) + 1;
      findings.push({ file, line, message: "a figure is not that of bench/results: npm run figures writes it" });
    }
    return findings;
  });
}

/** The part of a path in front of a pattern, without the full stop of the sentence. */
function fixedPart(path: string): string {
  const parts = path.replace(/[.-]+$/, "").split("/");
  const pattern = parts.findIndex((part) => PATTERN.test(part));
  return (pattern < 0 ? parts : parts.slice(0, pattern)).join("/");
}

function trackedPages(root: string): string[] {
  return execFileSync("git", ["ls-files", "-z", "*.md"], { cwd: root, encoding: "utf8" })
    .split("\0")
    .filter((file) => file !== "" && file !== "CHANGELOG.md" && existsSync(join(root, file)));
}

if (import.meta.main) {
  const root = rootFromArguments();
  const pages = trackedPages(root);
  const findings = [...checkPaths(root, pages), ...checkFigures(root)];
  reportFindings("docs", findings, `${pages.length} pages name paths that exist and figures that were measured`);
}
