/**
 * What the doctor says of programs of many kinds, and what comes of its advice: `node bench/doctor/run.ts [rounds] [names]`
 * after `npm run build`. Each program is a pair: NAME.before.mjs as somebody would write it, NAME.after.mjs with the lines
 * that the doctor told, or against its advice where it told none. Runs take turns (before, after, before, ...), without the
 * doctor; figures are medians. Prints the table of docs/doctor.md; ffmpeg, koffi and the packages of this repository's
 * dev dependencies are needed.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import type { Diagnosis } from "../../src/cli/doctor/program.ts";

const HERE = import.meta.dirname;
const CLI = join(HERE, "../../dist/cli.js");
const PROGRAMS = [
  "frames",
  "pictures",
  "clones",
  "transfers",
  "service",
  "files",
  "websocket",
  "packets",
  "thumbnails",
  "unclosed",
  "downloads",
  "hashes",
  "native",
  "png",
  "cache",
  "records",
] as const;

/** What measure.cjs writes. */
interface Measured {
  readonly cpu: number;
  readonly wall: number;
  readonly rss: number;
  readonly majors: number;
}

const scratch = mkdtempSync(join(tmpdir(), "millpond-study-"));

function measure(file: string): Measured {
  const into = join(scratch, "measured.json");
  const { status, stderr } = spawnSync(process.execPath, ["--require", join(HERE, "measure.cjs"), file], {
    env: { ...process.env, MEASURE: into },
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`${file}: exit ${status}\n${stderr}`);
  return JSON.parse(readFileSync(into, "utf8")) as Measured;
}

function diagnose(file: string): Diagnosis {
  const into = join(scratch, "diagnosis.json");
  spawnSync(process.execPath, [CLI, "doctor", `--json=${into}`, file], { stdio: "ignore" });
  return JSON.parse(readFileSync(into, "utf8")) as Diagnosis;
}

/** The advice in a few words. */
function words({ advice }: Diagnosis): string {
  if (advice === null) return "nothing";
  if (advice.verdict === "longer") return "too short to tell";
  const [pool] = advice.pools;
  if (pool !== undefined) {
    const { remedy, slots, cost } = pool;
    return `${remedy}, ${slots} slots: saves ${Math.round(100 * cost.share)} %`;
  }
  return `none: ${advice.refused[0]?.reason ?? "no large buffers"}`;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

const [rounds = "5", ...names] = process.argv.slice(2);
const rows: string[][] = [];
try {
  for (const name of names.length > 0 ? names : PROGRAMS) {
    const [before, after] = ["before", "after"].map((one) => join(HERE, `${name}.${one}.mjs`)) as [string, string];
    const said = words(diagnose(before));
    if (!existsSync(after)) {
      rows.push([name, said, "", "", "", ""]);
      continue;
    }
    const saidThen = words(diagnose(after));
    const runs: [Measured, Measured][] = [];
    for (let n = 0; n < Number(rounds); n++) runs.push([measure(before), measure(after)]);
    const of = (key: keyof Measured): [number, number] => [
      median(runs.map(([one]) => one[key])),
      median(runs.map(([, one]) => one[key])),
    ];
    const [cpu, cpuThen] = of("cpu");
    const pair = (key: keyof Measured): string => of(key).map(Math.round).join(" -> ");
    const share = `${cpuThen < cpu ? "-" : "+"}${Math.abs(Math.round(100 * (cpuThen / cpu - 1)))} %`;
    rows.push([name, said, `${pair("cpu")} (${share})`, pair("majors"), pair("rss"), pair("wall"), saidThen]);
    console.error(rows.at(-1)!.join(" | "));
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
console.log(
  `${new Date().toISOString().slice(0, 10)}, ${cpus()[0]!.model}, Node ${process.version}, ${rounds} pairs\n`,
);
console.log("| program | the doctor | processor ms | major GCs | peak RSS, MB | ms | of the second |");
console.log("| --- | --- | --- | --- | --- | --- | --- |");
for (const row of rows) console.log(`| ${row.join(" | ")} |`);
