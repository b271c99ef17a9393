/** The file that `GET /trace` answers. */
import type { RecordedEvent, Recording } from "../../observe/recorder.ts";
import { traceOf } from "../../observe/trace.ts";

/** A Trace Event JSON file of what realms recorded: all that is kept, or the last so many seconds of it. */
export function traceFile(
  recordings: readonly Recording[],
  about: { title: string; pid: number },
  seconds?: number,
): string {
  const parts = seconds === undefined ? recordings : recordings.map((recording) => lastOf(recording, seconds));
  return JSON.stringify(traceOf(parts, { about }));
}

/** The end of a recording. What began before and went on is there from its beginning. */
export function lastOf(recording: Recording, seconds: number): Recording {
  const from = Math.max(recording.from, recording.to - 1000 * seconds);
  const first = recording.events.findIndex(({ time }) => time >= from);
  const cut = first === -1 ? recording.events.length : first;
  const open = new Map<string, RecordedEvent>();
  for (const event of recording.events.slice(0, cut)) {
    const { type, pool, subject } = event;
    if (type === "acquire") open.set(`${pool}.slot.${subject}`, event);
    else if (type === "release") open.delete(`${pool}.slot.${subject}`);
    else if (type === "wait") open.set(`${pool}.wait.${subject}`, event);
    else if (type === "waitEnd") open.delete(`${pool}.wait.${subject}`);
    else if (type === "resize" || type === "end") open.set(`${pool}.${type}`, event);
  }
  const before = [...open.values()].sort((a, b) => a.time - b.time);
  const spans = recording.spans.filter(({ time, duration }) => time + duration >= from);
  return { ...recording, events: [...before, ...recording.events.slice(cut)], spans };
}
