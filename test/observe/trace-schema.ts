/**
 * The part of the Trace Event format that traces use, after its public description ("Trace Event Format", Google):
 * what each phase must have, which names metadata has, and that spans of one track do not overlap, which viewers would
 * drop or nest.
 */
import type { Trace, TraceEvent } from "../../src/observe/trace.ts";

/** Fields that each phase has, and no others: `?` marks those that may be absent. */
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  X: ["name", "ph", "pid", "tid", "ts", "dur", "cat", "args?"],
  C: ["name", "ph", "pid", "tid", "ts", "args"],
  i: ["name", "ph", "pid", "tid", "ts", "s", "args?"],
  M: ["name", "ph", "pid", "tid", "args"],
};

/** The argument that each metadata event has. */
const METADATA: Readonly<Record<string, readonly [key: string, type: string]>> = {
  process_name: ["name", "string"],
  process_sort_index: ["sort_index", "number"],
  thread_name: ["name", "string"],
  thread_sort_index: ["sort_index", "number"],
};

const isWhole = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isTime = (value: unknown): boolean => typeof value === "number" && Number.isFinite(value) && value >= 0;

function eventProblem(event: TraceEvent): string | undefined {
  const { ph, name, pid, tid, args, ts, dur, s } = event;
  const fields = FIELDS[ph];
  if (fields === undefined) return `phase ${ph}`;
  for (const key of Object.keys(event))
    if (!fields.some((field) => field.replace("?", "") === key)) return `has ${key}`;
  for (const field of fields) if (!field.endsWith("?") && !(field in event)) return `has no ${field}`;
  if (typeof name !== "string" || name === "") return "name";
  if (!isWhole(pid) || !isWhole(tid)) return "pid or tid";
  for (const value of Object.values(args ?? {})) {
    if (typeof value === "number" ? !Number.isFinite(value) : !["string", "boolean"].includes(typeof value))
      return "args";
  }
  if (ph !== "M" && !isTime(ts)) return "ts";
  if (ph === "X" && !isTime(dur)) return "dur";
  if (ph === "i" && s !== "t") return "s";
  if (ph === "C" && !Object.values(args!).every((value) => typeof value === "number" && value >= 0)) return "counter";
  if (ph !== "M") return undefined;
  const [key, type] = METADATA[name] ?? [];
  if (key === undefined) return "metadata of that name";
  return Object.keys(args!).join() === key && typeof args![key] === type ? undefined : "metadata's args";
}

/** What a viewer would stumble over; empty: nothing. Takes the JSON, as it would be read. */
export function traceProblems(json: string): string[] {
  const { traceEvents, displayTimeUnit, otherData, ...rest } = JSON.parse(json) as Trace;
  const problems = Object.keys(rest).map((key) => `the trace has ${key}`);
  if (displayTimeUnit !== "ms" && displayTimeUnit !== "ns") problems.push("displayTimeUnit");
  if (typeof otherData !== "object") problems.push("otherData");
  const processes = new Set<number>();
  const tracks = new Map<number, number>();
  const ends = new Map<number, number>();
  let before = 0;
  for (const [i, event] of traceEvents.entries()) {
    const { ph, name, pid, tid, ts = 0, dur = 0 } = event;
    const say = (what: string): number => problems.push(`event ${i} (${ph} ${name}): ${what}`);
    const wrong = eventProblem(event);
    if (wrong !== undefined) {
      say(wrong);
      continue;
    }
    if (ph === "M") {
      if (name === "process_name") processes.add(pid);
      if (name === "thread_name") {
        if (tracks.has(tid)) say("a second track of that number");
        tracks.set(tid, pid);
      }
      continue;
    }
    if (!processes.has(pid)) say("a process without a name");
    if (tracks.get(tid) !== pid) say("a track that is not named in this process");
    if (ts < before) say("out of order");
    before = ts;
    if (ph !== "X") continue;
    if (ts < (ends.get(tid) ?? 0)) say(`overlaps the span before it on track ${tid}`);
    ends.set(tid, ts + dur);
  }
  return problems;
}
