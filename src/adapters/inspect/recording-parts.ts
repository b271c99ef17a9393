/**
 * A recording on its way from a worker to the main thread: in parts, as texts, because a text of JSON costs the thread
 * that gets it nothing until it is read, in a slice of its own. Texts of holders and places, of which there are few, go
 * once.
 */
import type { RecordedEvent, Recording } from "../../observe/recorder.ts";
import type { RecordedSpan } from "../../observe/spans.ts";
import type { Steps } from "../../util/steps.ts";

/** Events of a part: 0.2 ms to write, and to read. */
const EVENTS = 256;

/** An event without its texts, which are numbers of `texts`; -1: none. */
type PlainEvent = readonly [
  type: RecordedEvent["type"],
  time: number,
  pool: number,
  subject: number,
  value: number,
  text: number,
  site: number,
];

interface Part {
  readonly about?: Omit<Recording, "events" | "spans">;
  readonly texts?: readonly string[];
  readonly events?: readonly PlainEvent[];
  readonly spans?: readonly RecordedSpan[];
}

/** A recording as parts, in steps of which some yield the next part. */
export function* recordingParts(steps: Steps<Recording>): Steps<void, string | undefined> {
  const { events, spans, ...about } = yield* steps;
  yield partOf({ about });
  const numbers = new Map<string, number>();
  for (let from = 0; from < events.length; from += EVENTS) {
    const texts: string[] = [];
    const numberOf = (text: string | undefined): number => {
      if (text === undefined) return -1;
      const known = numbers.get(text);
      if (known !== undefined) return known;
      texts.push(text);
      numbers.set(text, numbers.size);
      return numbers.size - 1;
    };
    const plain = events
      .slice(from, from + EVENTS)
      .map(({ type, time, pool, subject, value, text, site }): PlainEvent => {
        return [type, time, pool, subject, value, numberOf(text), numberOf(site)];
      });
    yield partOf({ texts, events: plain });
  }
  for (let from = 0; from < spans.length; from += EVENTS) yield partOf({ spans: spans.slice(from, from + EVENTS) });
}

function partOf(part: Part): string {
  return JSON.stringify(part);
}

/** Puts the parts of a recording together. */
export class RecordingReader {
  readonly #texts: string[] = [];
  readonly #events: RecordedEvent[] = [];
  readonly #spans: RecordedSpan[] = [];
  #about: Part["about"];

  /** The next part. */
  add(part: string): void {
    const { about, texts = [], events = [], spans = [] } = JSON.parse(part) as Part;
    this.#about ??= about;
    for (const text of texts) this.#texts.push(text);
    for (const [type, time, pool, subject, value, text, site] of events) {
      this.#events.push({
        type,
        time,
        pool,
        subject,
        value,
        ...(text < 0 ? {} : { text: this.#texts[text]! }),
        ...(site < 0 ? {} : { site: this.#texts[site]! }),
      });
    }
    for (const span of spans) this.#spans.push(span);
  }

  /** All of it; undefined when no part came. */
  get recording(): Recording | undefined {
    return this.#about === undefined ? undefined : { ...this.#about, events: this.#events, spans: this.#spans };
  }
}
