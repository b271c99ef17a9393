/** Runs a suite: every subject in a process of its own, in rounds A B C A B C, so that a busy minute hits all alike. */
import { spawn } from "node:child_process";
import { describeMachine, load, type Machine, waitForIdle } from "./machine.ts";
import { prepare } from "./prepare.ts";
import { type Effort, effortToEnvironment, type Figures, parseFigures } from "./protocol.ts";
import { median } from "./statistics.ts";
import type { Subject, Suite } from "./suite.ts";

/** One subject over all rounds. */
export interface SubjectResult {
  readonly name: string;
  readonly kind: Subject["kind"];
  readonly runtime: string;
  readonly library: string | null;
  readonly note: string | null;
  /** Over the processes, as `Suite.across` says; spread is lowest and highest. */
  readonly ns: number;
  readonly nsSpread: readonly [number, number];
  readonly p999: number | null;
  readonly gc: number | null;
  readonly gcMajor: number | null;
  readonly faultsMinor: number;
  readonly faultsMajor: number;
  readonly rss: number;
  readonly cores: number | null;
  /** What each process said, as it said it. */
  readonly runs: readonly Figures[];
}

export interface SuiteResult {
  readonly suite: string;
  readonly title: string;
  readonly what: string;
  readonly unit: string;
  readonly anchor: string;
  readonly across: "median" | "minimum";
  readonly date: string;
  readonly rounds: number;
  readonly effort: Effort;
  readonly machine: Machine;
  readonly load: { readonly before: readonly number[]; readonly after: readonly number[] };
  /** Runs that started although no core was idle. */
  readonly busyStarts: number;
  readonly results: readonly SubjectResult[];
  readonly skipped: readonly { readonly name: string; readonly why: string }[];
}

export interface RunOptions {
  readonly rounds: number;
  readonly effort: Effort;
  /** Folder that subjects' files are relative to. */
  readonly benchRoot: string;
  /** Longest wait for an idle core before each process. */
  readonly idleWaitMs: number;
  /** Called as each process starts, for a progress line. */
  readonly onRun?: (subject: string, round: number) => void;
}

/** Runs every subject that this machine can. Throws when one fails: a benchmark without its loser proves nothing. */
export async function runSuite(name: string, suite: Suite, options: RunOptions): Promise<SuiteResult> {
  const before = load();
  const skipped: { name: string; why: string }[] = [];
  const lanes: { subject: Subject; command: string; args: readonly string[]; runtime: string; runs: Figures[] }[] = [];
  for (const subject of suite.subjects) {
    const prepared = prepare(subject, options.benchRoot);
    if ("skipped" in prepared) skipped.push({ name: subject.name, why: prepared.skipped });
    else lanes.push({ subject, ...prepared, runs: [] });
  }
  let busyStarts = 0;
  for (let round = 1; round <= options.rounds; round++) {
    for (const lane of lanes) {
      options.onRun?.(lane.subject.name, round);
      if (!(await waitForIdle(options.idleWaitMs))) busyStarts++;
      lane.runs.push(await runProcess(lane.subject.name, lane.command, lane.args, options.effort));
    }
  }
  const across = suite.across ?? "median";
  return {
    suite: name,
    title: suite.title,
    what: suite.what,
    unit: suite.unit,
    anchor: suite.anchor,
    across,
    date: new Date().toISOString(),
    rounds: options.rounds,
    effort: options.effort,
    machine: describeMachine(),
    load: { before, after: load() },
    busyStarts,
    results: lanes.map(({ subject, runtime, runs }) => summarize(subject, runtime, runs, across)),
    skipped,
  };
}

function summarize(
  subject: Subject,
  runtime: string,
  runs: readonly Figures[],
  across: "median" | "minimum",
): SubjectResult {
  const times = runs.map(({ ns }) => ns);
  const middle = (key: "p999" | "gc" | "gcMajor" | "cores"): number | null => {
    const values = runs.map((run) => run[key] ?? null).filter((value) => value !== null);
    return values.length === 0 ? null : median(values);
  };
  return {
    name: subject.name,
    kind: subject.kind,
    runtime,
    library: runs[0]?.library ?? null,
    note: subject.note ?? null,
    ns: across === "minimum" ? Math.min(...times) : median(times),
    nsSpread: [Math.min(...times), Math.max(...times)],
    p999: middle("p999"),
    gc: middle("gc"),
    gcMajor: middle("gcMajor"),
    faultsMinor: median(runs.map((run) => run.faultsMinor)),
    faultsMajor: median(runs.map((run) => run.faultsMajor)),
    rss: median(runs.map((run) => run.rss)),
    cores: middle("cores"),
    runs,
  };
}

function runProcess(name: string, command: string, args: readonly string[], effort: Effort): Promise<Figures> {
  const { NODE_OPTIONS: _, ...environment } = process.env;
  const child = spawn(command, args, {
    env: { ...environment, ...effortToEnvironment(effort) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  return new Promise((resolve, reject) => {
    let output = "";
    let complaints = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      complaints += text;
    });
    child.on("error", (error) => reject(new Error(`${name}: ${error.message}`)));
    child.on("close", (status, signal) => {
      if (status !== 0) {
        reject(new Error(`${name}: ended with ${signal ?? `status ${status}`}\n${complaints.trim()}`));
        return;
      }
      try {
        resolve(parseFigures(output));
      } catch (error) {
        reject(new Error(`${name}: ${(error as Error).message}`));
      }
    });
  });
}
