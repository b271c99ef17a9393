/**
 * SpanRing: what took time in a realm beside leases and waits for them: pauses of the garbage collector, and what the
 * stages of pipelines did. A ring of fixed size, which is allocated with the first span; nothing is for a later one.
 *
 * Invariants: the newest `capacity` are kept, the others are counted in `dropped`; no stage is kept alive, and of its
 * texts a copy of {@link MAX_NAME} characters. Complexity: a span is O(1).
 */
import { cut } from "../util/cut.ts";
import { finish, ITEMS_A_STEP, type Steps, sortSteps } from "../util/steps.ts";
import { MAX_NAME } from "./snapshot.ts";
import type { Stage } from "./stages.ts";

/** What took time. */
export type SpanType =
  /** A pause of the garbage collector. */
  | "gc"
  /** A stage worked. */
  | "work"
  /** A stage waited. */
  | "wait";

/** One span, as plain data. */
export interface RecordedSpan {
  /** What it was. */
  readonly type: SpanType;
  /** When it began, in milliseconds since 1970, with fractions. */
  readonly time: number;
  /** Milliseconds that it lasted. */
  readonly duration: number;
  /** Which stage of its realm; 0: the garbage collector. */
  readonly track: number;
  /** The stage's name, or "GC". */
  readonly name: string;
  /** What the stage did or waited for, or the kind of collection. */
  readonly text: string;
}

/** What is kept of a stage. */
interface Track {
  readonly track: number;
  readonly name: string;
}

/** Stands for the garbage collector among the stages. */
const COLLECTOR: Track = { track: 0, name: "GC" };

/** A stage of the program's own may have a name that throws. */
function nameOf(stage: Stage): string {
  try {
    return cut(stage.name, MAX_NAME);
  } catch {
    return "";
  }
}

/** See the module text. */
export class SpanRing {
  readonly #capacity: number;
  #times: Float64Array | undefined;
  #durations: Float64Array | undefined;
  #types: SpanType[] = [];
  #tracks: Track[] = [];
  #texts: string[] = [];
  #count = 0;
  /** Stages are numbered from 1. */
  readonly #known: WeakMap<Stage, Track> = new WeakMap();
  #stageCount = 0;

  /** With room for so many spans. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Spans that were overwritten. */
  get dropped(): number {
    return Math.max(0, this.#count - this.#capacity);
  }

  /** A pause of the garbage collector; `start` as `performance.now()` counts. */
  addPause(kind: string, start: number, duration: number): void {
    this.#add("gc", COLLECTOR, kind, start, duration);
  }

  /** What a stage did or waited for since then, and is over now. */
  addStage(stage: Stage, activity: string, isWait: boolean, since: number): void {
    let track = this.#known.get(stage);
    if (track === undefined) {
      track = { track: ++this.#stageCount, name: nameOf(stage) };
      this.#known.set(stage, track);
    }
    this.#add(isWait ? "wait" : "work", track, cut(activity, MAX_NAME), since, performance.now() - since);
  }

  #add(type: SpanType, track: Track, text: string, start: number, duration: number): void {
    this.#times ??= new Float64Array(this.#capacity);
    this.#durations ??= new Float64Array(this.#capacity);
    const at = this.#count++ % this.#capacity;
    this.#times[at] = start;
    this.#durations[at] = duration;
    this.#types[at] = type;
    this.#tracks[at] = track;
    this.#texts[at] = text;
  }

  /** What is kept, in order of beginning. O(capacity). */
  spans(): RecordedSpan[] {
    return finish(this.spanSteps());
  }

  /** The same in steps: what is kept now, whatever comes meanwhile. */
  spanSteps(): Steps<RecordedSpan[]> {
    const length = Math.min(this.#count, this.#capacity);
    return this.#describe({
      times: this.#times?.slice(0, length) ?? new Float64Array(),
      durations: this.#durations?.slice(0, length) ?? new Float64Array(),
      types: this.#types.slice(),
      tracks: this.#tracks.slice(),
      texts: this.#texts.slice(),
    });
  }

  *#describe({ times, durations, types, tracks, texts }: Columns): Steps<RecordedSpan[]> {
    const spans: RecordedSpan[] = [];
    for (const [at, time] of times.entries()) {
      if (at % ITEMS_A_STEP === 0) yield;
      spans.push({
        type: types[at]!,
        time: performance.timeOrigin + time,
        duration: durations[at]!,
        ...tracks[at]!,
        text: texts[at]!,
      });
    }
    return yield* sortSteps(spans, (a, b) => a.time - b.time);
  }
}

/** What is kept of spans. */
interface Columns {
  readonly times: Float64Array;
  readonly durations: Float64Array;
  readonly types: readonly SpanType[];
  readonly tracks: readonly Track[];
  readonly texts: readonly string[];
}
