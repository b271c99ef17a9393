/** The file that `GET /trace` answers. */
import type { RecordedEvent, Recording } from "../../observe/recorder.ts";
import { traceSteps } from "../../observe/trace.ts";
import { finish, ITEMS_A_STEP, type Steps } from "../../util/steps.ts";

/** Characters of one piece of a file. */
const PIECE = 65_536;

/** What a file says of its process. */
interface About {
  readonly title: string;
  readonly pid: number;
}

/**
 * A Trace Event JSON file of what realms recorded, all that is kept or the last so many seconds of it: in steps, of
 * which some yield the file's next piece.
 */
export function* traceFileSteps(
  recordings: readonly Recording[],
  about: About,
  seconds?: number,
): Steps<void, string | undefined> {
  const parts: Recording[] = [];
  for (const recording of recordings) {
    parts.push(seconds === undefined ? recording : yield* lastSteps(recording, seconds));
  }
  const { traceEvents, ...rest } = yield* traceSteps(parts, { about: { ...about } });
  let text = `${JSON.stringify(rest).slice(0, -1)},"traceEvents":[`;
  for (const [i, event] of traceEvents.entries()) {
    if (i > 0) text += ",";
    text += JSON.stringify(event);
    if (text.length >= PIECE) {
      yield text;
      text = "";
    } else if (i % ITEMS_A_STEP === 0) yield;
  }
  yield `${text}]}`;
}

/** The end of a recording. What began before and went on is there from its beginning. */
export function lastOf(recording: Recording, seconds: number): Recording {
  return finish(lastSteps(recording, seconds));
}

function* lastSteps(recording: Recording, seconds: number): Steps<Recording> {
  const from = Math.max(recording.from, recording.to - 1000 * seconds);
  const first = recording.events.findIndex(({ time }) => time >= from);
  const cut = first === -1 ? recording.events.length : first;
  const open = new Map<string, RecordedEvent>();
  for (let i = 0; i < cut; i++) {
    if (i % ITEMS_A_STEP === 0) yield;
    const event = recording.events[i]!;
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
