/** The doctor's report for people: what was seen, what to do about it, and what to leave alone. */
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { Place } from "../../adapters/node/profile/profile.ts";
import { bytes, count, number, paintFor, printableLine, table, terminalWidth, wrap } from "../terminal.ts";
import { type Advice, cpuMs, garbageBytes, isPaged, mainSize, type PoolAdvice } from "./advise.ts";
import type { ObservedSite, Profile } from "./profile.ts";
import type { Ending } from "./program.ts";

/** Places that are listed with a reason why not; the others are counted. */
const LISTED = 8;

/** The report, wrapped to the terminal that standard error is. */
export function reportText(
  program: readonly string[],
  ending: Ending,
  profile: Profile | undefined,
  advice: Advice | undefined,
): string {
  const paint = paintFor(process.stderr);
  const width = terminalWidth(process.stderr);
  const lines: string[] = [
    "",
    `${paint.bold("millpond doctor")}: ${printableLine(program.join(" "))} ${endingWords(ending)}`,
  ];
  if (profile === undefined || advice === undefined) {
    const why =
      "It told nothing: it was killed in its first tenth of a second or in a loop that lets nothing else run, or it may not write to the folder for temporary files.";
    return `${[...lines, "", paragraph("  ", why, width)].join("\n")}\n`;
  }
  lines.push("", table(facts(profile), 2), "");
  for (const pool of advice.pools) lines.push(...poolLines(pool, paint, width));
  const headline = {
    pool: undefined,
    none: paint.bold("A pool would not help this program."),
    unseen: paint.bold("Where this program makes its buffers cannot be seen, so nothing is said of a pool."),
    longer: paint.bold("The run was too short to tell: let it work longer, or on more."),
  }[advice.verdict];
  if (headline !== undefined) lines.push(headline, "");
  if (advice.verdict === "unseen") {
    const why =
      "It changed what the doctor works with, such as the methods of Map, or made most of them in too many places.";
    lines.push(paragraph("  ", why, width), "");
  }
  if (advice.pools.length === 0 && profile.count === 0) {
    lines.push(`  It made no buffer of ${bytes(profile.threshold)} or more.`, "");
  }
  const refused = advice.refused.slice(0, LISTED);
  if (refused.length > 0) lines.push(advice.pools.length > 0 ? "Leave alone:" : "What there is:");
  for (const { site, words } of refused) {
    lines.push(paragraph("  - ", `${placeText(site)}, ${sizeText(site)}: ${words}.`, width));
  }
  const left = advice.refused.length - refused.length;
  if (left > 0) lines.push(`  and ${count(left, "other place")} that ${left === 1 ? "is" : "are"} no matter either`);
  if (refused.length > 0) lines.push("");
  for (const note of advice.notes) lines.push(wrap(`Note: ${note}.`, width, "  "));
  if (advice.notes.length > 0) lines.push("");
  return lines.join("\n");
}

function facts(profile: Profile): string[][] {
  const { gc, resources } = profile;
  const cpu = cpuMs(profile);
  const gcMs = gc.majorMs + gc.minorMs;
  // Collections are timed by the clock: on a busy machine they seem longer than they are.
  const gcShare = gcMs <= cpu ? `${Math.round((100 * gcMs) / cpu)} %` : "the machine was busy meanwhile";
  const rows = [
    [
      "  ran",
      `${seconds(profile.wallMs)}, ${seconds(cpu)} of processor time, ${count(profile.threads, "thread")}` +
        (profile.processes > 1 ? ` in ${profile.processes} processes` : ""),
    ],
    [
      "  collections",
      `${number(gc.majors)} major, ${number(gc.minors)} minor, ${seconds(gcMs)} (${gcShare}); ` +
        `${number(gc.majorsByBuffers)} and ${number(gc.minorsByBuffers)} of them for buffers`,
    ],
    [
      "  memory",
      resources === undefined
        ? "not known"
        : `${bytes(resources.maxRss)} at the peak, ${number(resources.minorFaults + resources.majorFaults)} page faults`,
    ],
    [
      "  large buffers",
      `${profile.isEstimate ? "about " : ""}${number(profile.count)} of ${bytes(profile.threshold)} or more, ${bytes(profile.bytes)} in all, ` +
        `at ${count(profile.sites.length, "place")}`,
    ],
  ];
  if (profile.liveBytes > 0) {
    const how =
      profile.samples > 0
        ? `as ${count(profile.samples, "look")}${profile.isEndSeen ? " and the end" : ""} told`
        : "as its memory fell to";
    const isMoved = profile.sites.some(({ transferred }) => transferred > 0);
    const moved = isMoved ? " (one that was moved to a thread counts until that collects it)" : "";
    rows.push([
      "  in use",
      `${bytes(profile.liveBytes)} of buffers at most, ${how}${moved}; ${bytes(garbageBytes(profile))} more were garbage at the peak`,
    ]);
  }
  // A table's first column stands to the left, the others to the right: here both to the left.
  const wide = Math.max(...rows.map(([name = ""]) => name.length));
  return rows.map(([name = "", value = ""]) => [`${name.padEnd(wide + 2)}${value}`]);
}

function poolLines(advice: PoolAdvice, paint: ReturnType<typeof paintFor>, width: number): string[] {
  const { site, cost, slots, remedy, served } = advice;
  const what = isPaged(remedy) ? `A PagePool of ${bytes(advice.bytes)}` : `${slots} x ${bytes(advice.bytes)}`;
  const majors = cost.majors > 0 ? `; ${count(cost.majors, "major GC")} came from them` : "";
  const gains = [
    cost.share >= 0.005 ? `about ${Math.max(1, Math.round(100 * cost.share))} % of the processor time` : "",
    cost.garbage >= 16e6 ? `${bytes(cost.garbage)} of garbage at the peak` : "",
  ].filter((text) => text !== "");
  return [
    paint.bold(wrap(`A pool would help at ${placeText(site)}`, width, "  ")),
    paragraph(
      "  ",
      `${what} at ${placeText(site)} would serve ${Math.floor(100 * served)} % of ${count(site.count, "allocation")}${majors}.`,
      width,
    ),
    paragraph(
      "  ",
      `${sizeText(site)} by ${site.api}${remedy === "TransferPool" ? "" : `, ${useText(site)}${lifeText(site)}`}. It would save ${gains.join(" and ")}.`,
      width,
    ),
    "",
    ...advice.code.map((line) => `    ${paint.accent(line)}`),
    "",
    ...advice.cautions.map((caution) => paragraph("  - ", caution, width)),
    "",
  ];
}

/** A paragraph behind a bullet or an indent. */
function paragraph(lead: string, text: string, width: number): string {
  return lead + wrap(text, width - lead.length, " ".repeat(lead.length));
}

function useText({ inUse, inUseFrom }: ObservedSite): string {
  if (inUse === undefined) return "in use for an unknown time";
  return inUseFrom === "place" ? `at most ${inUse} seen in use at a time` : `at most ${inUse} in use at a time`;
}

/** The engine tells of a buffer's end when it has collected it, which is some time after its last use. */
function lifeText({ collected, lifeMs }: ObservedSite): string {
  return collected === 0 ? "" : `, collected ${seconds(lifeMs / collected)} after they were made on average`;
}

function sizeText(site: ObservedSite): string {
  const [size, times] = mainSize(site);
  if (times === site.count) return `${number(site.count)} x ${bytes(size)}`;
  if (times >= 0.9 * site.count) return `${number(site.count)} x mostly ${bytes(size)}`;
  return `${number(site.count)} of ${bytes(site.bytes / site.count)} on average, ${bytes(site.largest)} at most`;
}

/** `decode (app.js:31)`, `consume of ws (receiver.js:9), called by serve (app.js:3)`. */
function placeText({ place, caller, package: owner }: ObservedSite): string {
  const from = owner === undefined ? "" : ` of ${owner}`;
  const by = caller === undefined ? "" : `, called by ${oneplace(caller)}`;
  return printableLine(`${oneplace(place, from)}${by}`);
}

function oneplace(place: Place, from = ""): string {
  const { file, line } = place;
  const name = place.function.replace(/^Object\.|^async /, "");
  if (file === "") return name === "" ? "an unknown place" : name;
  const at = `${shortFile(file)}${line > 0 ? `:${line}` : ""}`;
  return name === "" ? `${at}${from}` : `${name}${from} (${at})`;
}

function shortFile(file: string): string {
  if (file === "node:internal/deps/undici/undici") return "fetch of Node";
  if (file.startsWith("node:")) return file;
  let path = file;
  if (file.startsWith("file:")) {
    try {
      path = fileURLToPath(file);
    } catch {
      return file;
    }
  }
  const near = relative(process.cwd(), path);
  const within = near.replaceAll("\\", "/");
  const inPackage = within.lastIndexOf("node_modules/");
  if (inPackage >= 0) return within.slice(inPackage + "node_modules/".length);
  return near.startsWith("..") ? path : within;
}

function endingWords({ code, signal }: Ending): string {
  return signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`;
}

function seconds(ms: number): string {
  return ms < 1000 ? `${number(Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`;
}
