/** The tables: as text for a terminal, and as Markdown for docs/performance.md, from the same rows. */
import type { Verdict } from "./judge.ts";
import type { SubjectResult, SuiteResult } from "./run-suite.ts";

/** A run and what became of its goals: the content of bench/results/NAME.json. */
export interface Report extends SuiteResult {
  readonly goals: readonly Verdict[];
}

/** Heading and rows of a report's table; the first column holds names, the last one notes. */
export function tableRows(report: Report): string[][] {
  const anchor = report.results.find(({ name }) => name === report.anchor);
  const heading = [
    "subject",
    report.unit,
    "lowest - highest",
    `x ${report.anchor}`,
    "p99.9",
    "GCs",
    "major",
    "faults",
    "peak RSS",
    "what ran",
  ];
  return [heading, ...report.results.map((result) => row(result, anchor))];
}

function row(result: SubjectResult, anchor: SubjectResult | undefined): string[] {
  const remarks = [result.library ?? result.runtime];
  if (result.library !== null && result.kind !== "native") remarks.push(result.runtime);
  if (result.note !== null) remarks.push(result.note);
  // Threads that had to share one core did not contend, whatever their figure says.
  if (result.cores !== null && (result.p999 === null || result.cores > 1.2)) {
    remarks.push(`${result.cores.toFixed(1)} cores busy`);
  }
  return [
    result.kind === "ours" ? `* ${result.name}` : result.name,
    number(result.ns),
    `${number(result.nsSpread[0])} - ${number(result.nsSpread[1])}`,
    anchor === undefined ? "-" : ratio(result.ns / anchor.ns),
    result.p999 === null ? "-" : number(result.p999),
    result.gc === null ? "-" : number(result.gc),
    result.gcMajor === null ? "-" : number(result.gcMajor),
    `${number(result.faultsMinor)}+${number(result.faultsMajor)}`,
    `${(result.rss / 2 ** 20).toFixed(1)} MiB`,
    remarks.join("; "),
  ];
}

export function formatText(report: Report): string {
  const rows = tableRows(report);
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)));
  const last = widths.length - 1;
  const lines = rows.map((cells) =>
    cells
      .map((cell, column) => {
        // Names and notes read from the left, figures from the right.
        if (column === last) return cell;
        return column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0);
      })
      .join("  "),
  );
  lines.splice(1, 0, "-".repeat(Math.max(...lines.map((line) => line.length))));
  return [
    `${report.title}: ${report.what}`,
    "",
    ...lines,
    "",
    ...footnotes(report),
    ...report.goals.map((verdict) => formatVerdict(verdict)),
  ].join("\n");
}

export function formatMarkdown(report: Report): string {
  const [heading = [], ...rows] = tableRows(report);
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const ours = (cells: string[]): string[] =>
    cells[0]?.startsWith("* ") ? [`**${cells[0].slice(2)}**`, ...cells.slice(1)] : cells;
  return [
    `### ${report.title}`,
    "",
    `${report.what}. ${report.machine.cpu}, ${report.machine.cores} cores, ${report.machine.system}, Node ${report.machine.node}, ${report.date.slice(0, 10)}.`,
    "",
    line(heading),
    line(heading.map((_, column) => (column === 0 || column === heading.length - 1 ? "---" : "---:"))),
    ...rows.map((cells) => line(ours(cells))),
    "",
    ...footnotes(report).map((text) => `- ${text}`),
    ...report.goals.map((verdict) => `- ${formatVerdict(verdict)}`),
  ].join("\n");
}

function footnotes(report: Report): string[] {
  const across = report.across === "minimum" ? "lowest" : "median";
  const lines = [`${report.rounds} rounds, ${across} over the processes; load ${report.load.before.join(" ")}`];
  if (report.busyStarts > 0) {
    const runs = report.results.reduce((sum, { runs }) => sum + runs.length, 0);
    lines.push(`${report.busyStarts} of ${runs} processes started on a busy machine: read the spread, not the median`);
  }
  for (const { name, why } of report.skipped) lines.push(`skipped: ${name}: ${why}`);
  return lines;
}

function formatVerdict({ state, what, found, limit, reason }: Verdict): string {
  if (state === "open" || found === null) return `goal open: ${what} (${reason})`;
  const [word, sign] = state === "met" ? ["met", "<="] : ["MISSED", ">"];
  return `goal ${word}: ${what}: ${ratio(found)} ${sign} ${ratio(limit)} (${reason})`;
}

/** Three significant digits, thousands apart. */
export function number(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

function ratio(value: number): string {
  return value >= 1000 ? number(value) : String(Number(value.toPrecision(3)));
}
