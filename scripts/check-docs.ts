/**
 * Every path of the repository and every relative link in a tracked *.md exists, and so does every heading that a link
 * names; every marked figure is that of bench/results; docs/errors.md has every code of src/util/errors.ts with its
 * meaning; and a page that is in the package links to nothing outside of it. The changelog is left out, because it
 * names what there was.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { figuredPages } from "../bench/lib/figures.ts";
import { ERROR_CODES } from "../src/util/errors.ts";
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

const FENCE = /^```[\s\S]*?^```/gm;
const ERRORS_PAGE = "docs/errors.md";

/**
 * Links of pages in the package that a reader of an installed package cannot follow, and headings that are not there.
 */
export function checkLinks(root: string, pages: readonly string[]): Finding[] {
  const { files = [] } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { files?: string[] };
  const isShipped = (path: string): boolean => files.some((entry) => path === entry || path.startsWith(`${entry}/`));
  return pages.flatMap((file) =>
    readFileSync(join(root, file), "utf8")
      .split("\n")
      .flatMap((text, index) =>
        [...text.matchAll(/\]\((?!https?:|mailto:)([^)\s]+)\)/g)].flatMap(([, link = ""]) => {
          const [to = "", heading] = link.split("#") as [string?, string?];
          const path = to === "" ? file : posix.join(posix.dirname(file), to);
          const found = (message: string): Finding[] => [{ file, line: index + 1, message }];
          if (isShipped(file) && !isShipped(path.replace(/\/$/, "")))
            return found(`${path} is not in the package: name it as a file of the repository, without a link`);
          const target = join(root, path);
          if (heading === undefined || !path.endsWith(".md") || !existsSync(target)) return [];
          if (headingsOf(readFileSync(target, "utf8")).has(heading)) return [];
          return found(`${path} has no heading #${heading}`);
        }),
      ),
  );
}

/** The fragments that lead to the headings of a page, as GitHub makes them. */
function headingsOf(text: string): Set<string> {
  const found = new Set<string>();
  for (const [, title = ""] of text.replaceAll(FENCE, "").matchAll(/^#+ (.*)$/gm)) {
    const slug = title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, "")
      .replaceAll(" ", "-");
    let name = slug;
    for (let n = 1; found.has(name); n++) name = `${slug}-${n}`;
    found.add(name);
  }
  return found;
}

/** Codes that the page of errors does not have, has with another meaning, or has although nothing throws them. */
export function checkErrorPage(text: string, codes: Readonly<Record<string, string>>): Finding[] {
  const file = ERRORS_PAGE;
  const findings: Finding[] = [];
  const listed = new Set<string>();
  text.split("\n").forEach((row, index) => {
    const [, code, meaning, cause, mend] = /^\| `(ERR_\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|$/.exec(row) ?? [];
    if (code === undefined) return;
    const found = (message: string): number => findings.push({ file, line: index + 1, message });
    if (listed.has(code)) found(`${code} is there twice`);
    listed.add(code);
    const wanted = codes[code];
    if (wanted === undefined) found(`${code} is no code of src/util/errors.ts`);
    else if (meaning?.trim() !== wanted) found(`${code} means "${wanted}", as src/util/errors.ts has it`);
    if (cause?.trim() === "" || mend?.trim() === "") found(`${code} has no cause, or no mend`);
  });
  for (const code of Object.keys(codes)) {
    if (!listed.has(code)) findings.push({ file, line: 0, message: `${code} of src/util/errors.ts is missing` });
  }
  return findings;
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
  const errors = join(root, ERRORS_PAGE);
  const findings = [
    ...checkPaths(root, pages),
    ...checkLinks(root, pages),
    ...checkErrorPage(existsSync(errors) ? readFileSync(errors, "utf8") : "", ERROR_CODES),
    ...checkFigures(root),
  ];
  reportFindings(
    "docs",
    findings,
    `${pages.length} pages name paths that exist, every error code, and figures that were measured`,
  );
}
