/**
 * Figures in prose: `<!-- figure: frame.bufferpool-lease.ns -->14.2 ns` is the number of one subject in
 * bench/results/frame.json, written behind its mark by `npm run figures` and compared with it by scripts/check-docs.ts.
 * The tables of docs/performance.md, too. A mark names the suite, the subject (in small letters, without "millpond",
 * other characters as dashes) and `ns`, `lowest`, `p999` or `rss`; two of them with a slash between are a ratio.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatMarkdown, number, type Report } from "./print.ts";

/**
 * A mark, and the text behind it that is the figure. A page that has none yet gets it in front of the next character.
 */
const MARK = /<!-- figure: ([^>]*?) -->(\d[\d.,]*(?: (?:ns|us|ms|s|MiB)\b)?)?/g;

const OPENING = "<!-- results: npm run bench -- report -->";
const CLOSING = "<!-- end of results -->";

const TABLES = "docs/performance.md";

/** A mark that names nothing. */
export interface UnknownFigure {
  readonly line: number;
  readonly message: string;
}

/** A page with figures in it: as it is, and as the results have it. */
export interface FiguredPage {
  readonly file: string;
  readonly before: string;
  readonly after: string;
  readonly unknown: readonly UnknownFigure[];
}

/** README.md and every page of docs/, filled. */
export function figuredPages(root: string): FiguredPage[] {
  const reports = readReports(root);
  const figures = figuresOf(reports);
  const docs = readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" }).map((name) => `docs/${name}`);
  return ["README.md", ...docs.sort()]
    .filter((file) => file.endsWith(".md") && existsSync(join(root, file)))
    .map((file) => {
      const before = readFileSync(join(root, file), "utf8");
      const { text, unknown } = fillFigures(before, figures);
      return { file, before, after: file === TABLES ? fillTables(text, reports) : text, unknown };
    });
}

/** Writes the pages whose figures are not those of the results. */
export function writeFigures(root: string): void {
  for (const { file, before, after } of figuredPages(root)) {
    if (after !== before) writeFileSync(join(root, file), after);
  }
}

/** The committed results, in order of their suites' names. */
function readReports(root: string): Report[] {
  const folder = join(root, "bench", "results");
  return readdirSync(folder)
    .filter((file) => file.endsWith(".json"))
    .sort()
    .map((file) => JSON.parse(readFileSync(join(folder, file), "utf8")) as Report);
}

/** Every figure that a mark can name: value and how it is written. */
export function figuresOf(reports: readonly Report[]): Map<string, { readonly value: number; readonly text: string }> {
  const figures = new Map<string, { value: number; text: string }>();
  for (const { suite, results } of reports) {
    for (const { name, ns, nsSpread, p999, rss } of results) {
      const key = `${suite}.${slug(name)}`;
      if (figures.has(`${key}.ns`)) throw new Error(`two subjects of suite "${suite}" are both "${key}"`);
      figures.set(`${key}.ns`, { value: ns, text: duration(ns) });
      figures.set(`${key}.lowest`, { value: nsSpread[0], text: duration(nsSpread[0]) });
      if (p999 !== null) figures.set(`${key}.p999`, { value: p999, text: duration(p999) });
      figures.set(`${key}.rss`, { value: rss, text: `${number(rss / 2 ** 20)} MiB` });
    }
  }
  return figures;
}

/** The page with every figure as the results have it, and the marks that name nothing. */
export function fillFigures(
  page: string,
  figures: ReturnType<typeof figuresOf>,
): { readonly text: string; readonly unknown: UnknownFigure[] } {
  const unknown: UnknownFigure[] = [];
  const text = page.replaceAll(MARK, (whole, name: string, _before: string | undefined, at: number) => {
    const parts = name.split("/").map((part) => part.trim());
    const found = parts.map((part) => figures.get(part));
    const missing = parts.filter((_, i) => found[i] === undefined);
    if (missing.length > 0 || parts.length > 2) {
      const why = missing.length > 0 ? `"${missing.join('", "')}" is not in bench/results` : "at most two are divided";
      unknown.push({ line: page.slice(0, at).split("\n").length, message: `figure: ${why}` });
      return whole;
    }
    const [first, second] = found;
    const figure = second === undefined ? first!.text : number(first!.value / second.value);
    return `<!-- figure: ${name} -->${figure}`;
  });
  return { text, unknown };
}

/** docs/performance.md with the tables of the reports between its marks. Throws without the marks. */
function fillTables(page: string, reports: readonly Report[]): string {
  const [start, end] = [page.indexOf(OPENING), page.indexOf(CLOSING)];
  if (start < 0 || end < start) throw new Error(`docs/performance.md has lost its marks ${OPENING} ${CLOSING}`);
  const tables = reports.map((report) => formatMarkdown(report)).join("\n\n");
  return `${page.slice(0, start + OPENING.length)}\n\n${tables}\n\n${page.slice(end)}`;
}

function slug(name: string): string {
  return name
    .toLowerCase()
    .replace(/^millpond,? /, "")
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-|-$/g, "");
}

function duration(ns: number): string {
  if (ns < 1000) return `${number(ns)} ns`;
  return ns < 1e6 ? `${number(ns / 1e3)} us` : `${number(ns / 1e6)} ms`;
}
