/**
 * What threads of one process say to each other, so that the main thread knows its workers: the part that each of them
 * has loaded from its start. It loads nothing of pools; that is done when somebody looks.
 */

import { clearTimeout, setTimeout } from "node:timers";
import { getHeapStatistics } from "node:v8";
import { BroadcastChannel, threadId, type Worker } from "node:worker_threads";
import type { RealmInspector } from "../../observe/realm-inspector.ts";
import type { Recording } from "../../observe/recorder.ts";
import type { RealmSnapshot } from "../../observe/snapshot.ts";
import { onExit, process } from "../../os/process.ts";
import type { Clock } from "../../util/clock.ts";
import type { Steps } from "../../util/steps.ts";
import type { Share } from "./share.ts";

/** Workers say here that they started or ended; the main thread listens. */
export const HELLO = "millpond:inspect:2:hello";
/** The main thread asks here who is there, when it starts after them. */
export const WHO = "millpond:inspect:2:who";

/** What threads say of threads. */
export type Hello =
  | { readonly type: "started" | "ended"; readonly thread: number }
  | { readonly type: "child"; readonly thread: number; readonly parent: number };

/** What the main thread asks a worker. */
export type Question =
  | { readonly type: "poll"; readonly record: boolean; readonly from: number; readonly isListed: boolean }
  | { readonly type: "stop" }
  /**
   * The next parts of a recording, which begins with the first question of that number. A worker may have several
   * copies of this package, which all hear the first: the others are for the one that answered it.
   */
  | { readonly type: "recording"; readonly trace: number; readonly copy: number | undefined }
  | { readonly type: "traceOver"; readonly trace: number };

/** What a worker answers to a poll: texts of JSON, which the main thread sends on without reading them. */
export interface Answer {
  /** A RealmSnapshot. */
  readonly snapshot: string;
  /** Whether it lists the leases of all pools. */
  readonly isListed: boolean;
  /** A RealmEvent each. */
  readonly events: readonly string[];
  readonly dropped: number;
  readonly next: number;
  /** Milliseconds that the worker is not to be asked for: what it said took it long. */
  readonly pause: number;
}

/** What a worker answers when its recording is asked for. */
export interface RecordingAnswer {
  readonly trace: number;
  /** Which copy of this package answers. */
  readonly copy: number;
  /** Its next parts, as `recordingParts` makes them; none: it is at work on them. */
  readonly parts: readonly string[];
  readonly isLast: boolean;
  /** It was given up for newer ones: what came of it is not all. */
  readonly isLost?: boolean;
}

/** An update takes a twentieth of a thread at most, whoever looks: so many times as long as one takes is the pause. */
export const LOOK_RESTS = 19;
/** What a trace is made of takes a fifth, because somebody waits for it. */
export const TRACE_RESTS = 4;
/** Characters of the parts that are answered at once. */
const MAX_PARTS = 65_536;
/** Recordings that are on their way at a time. */
const MAX_TRACES = 4;

/** Time of this thread, whatever the program does with the global timers; it keeps nothing alive. */
export const threadClock: Clock = {
  now: () => performance.now(),
  setTimer: (fn, ms) => setTimeout(fn, ms).unref(),
  clearTimer: (handle) => clearTimeout(handle as NodeJS.Timeout),
};

/** This realm's own inspector. Loaded when somebody looks. */
export async function makeInspector(): Promise<RealmInspector> {
  const { RealmInspector: Inspector } = await import("../../observe/realm-inspector.ts");
  const { bun, deno, node } = process.versions as Readonly<Record<string, string | undefined>>;
  const runtime = bun !== undefined ? `Bun ${bun}` : deno !== undefined ? `Deno ${deno}` : `Node ${node}`;
  const heap = (): { used: number; external: number } => {
    // process.memoryUsage() reads a file as well.
    const { used_heap_size: used, external_memory: external } = getHeapStatistics();
    return { used, external };
  };
  return new Inspector({ thread: threadId, runtime, heap });
}

/** What a worker has loaded when somebody looks. */
interface Answers {
  readonly inspector: RealmInspector;
  readonly looking: Share;
  readonly tracing: Share;
  readonly recordingParts: (steps: Steps<Recording>) => Steps<void, string | undefined>;
}

async function loadAnswers(): Promise<Answers> {
  const [inspector, { Share: OneShare }, { recordingParts }] = await Promise.all([
    makeInspector(),
    import("./share.ts"),
    import("./recording-parts.ts"),
  ]);
  const looking = new OneShare(LOOK_RESTS, threadClock);
  return { inspector, looking, tracing: new OneShare(TRACE_RESTS, threadClock), recordingParts };
}

/** A worker answers the main thread from now on. Returns what ends that. */
export function answerMainThread(): () => void {
  let stop: (() => void) | undefined;
  let loading: Promise<Answers> | undefined;
  let isClosed = false;
  /** Whether somebody looks; the recorder follows. */
  let isWatched = false;
  const copy = Math.random();
  /** Parts of recordings that are on their way, by the trace's number. */
  const traces = new Map<number, Steps<void, string | undefined>>();
  const channel = openChannel(channelOf(threadId), async (question: Question) => {
    loading ??= loadAnswers();
    const answers = await loading;
    // Closed meanwhile: what would begin now would have no end.
    if (isClosed) return;
    const { inspector, looking } = answers;
    switch (question.type) {
      case "poll": {
        isWatched ||= question.record;
        const answer = await looking.run(() => {
          // What begins and ends the recording is a part of what looking takes.
          if (isWatched && !isClosed) stop ??= inspector.look();
          const { events, dropped, next } = inspector.eventsFrom(question.from);
          const snapshot = inspector.snapshot(question.isListed);
          return {
            snapshot: JSON.stringify(snapshot),
            isListed: listsAll(snapshot),
            events: events.map((event) => JSON.stringify(event)),
            dropped,
            next,
          };
        });
        if (!isClosed) tell({ ...answer, pause: looking.pause });
        break;
      }
      case "recording":
        if ((question.copy ?? copy) === copy) await tellParts(answers, question);
        break;
      case "traceOver":
        traces.delete(question.trace);
        break;
      case "stop":
        isWatched = false;
        await looking.run(() => {
          if (isWatched) return;
          stop?.();
          stop = undefined;
        });
        break;
      default:
        // Another version's.
        break;
    }
  });
  const tell = (answer: Answer | RecordingAnswer): void => channel.postMessage(answer);

  /** One slice of what the recording takes. */
  async function tellParts(
    { inspector, tracing, recordingParts }: Answers,
    { trace, copy: asked }: Question & { readonly type: "recording" },
  ): Promise<void> {
    let steps = traces.get(trace);
    if (steps === undefined) {
      // It had begun, and was given up: from its beginning again, two of them would push each other out without an end.
      if (asked !== undefined) {
        tell({ trace, copy, parts: [], isLast: true, isLost: true });
        return;
      }
      const recorded = inspector.recordingSteps();
      if (recorded === undefined) {
        tell({ trace, copy, parts: [], isLast: true });
        return;
      }
      steps = recordingParts(recorded);
      traces.set(trace, steps);
      // Of a main thread that asks no more, and did not say so: the one that was asked for least recently.
      const [oldest] = traces.keys();
      if (traces.size > MAX_TRACES) traces.delete(oldest!);
    } else {
      traces.delete(trace);
      traces.set(trace, steps);
    }
    const parts: string[] = [];
    const { done } = await tracing.slice(bundled(steps, parts));
    if (done) traces.delete(trace);
    if (!isClosed) tell({ trace, copy, parts, isLast: done });
  }

  const started = (): void => {
    post(HELLO, { type: "started", thread: threadId } satisfies Hello);
    for (const [thread, parent] of children) post(HELLO, { type: "child", thread, parent } satisfies Hello);
  };
  const who = openChannel(WHO, started);
  const ended = (): void => post(HELLO, { type: "ended", thread: threadId } satisfies Hello);
  const forgetChildren = hearChildren((hello) => post(HELLO, hello));
  const forgetExit = onExit(ended);
  started();
  return () => {
    isClosed = true;
    traces.clear();
    stop?.();
    stop = undefined;
    who.close();
    channel.close();
    forgetExit();
    forgetChildren();
    ended();
  };
}

/** Whether a snapshot lists the leases of all its pools. */
function listsAll({ pools }: RealmSnapshot): boolean {
  return pools.every(({ unlisted }) => unlisted === undefined);
}

/** Takes the next parts until they are enough for one answer, in steps. */
function* bundled(steps: Steps<void, string | undefined>, parts: string[]): Steps<void, true | undefined> {
  let size = 0;
  for (;;) {
    // Not `for of`, which would end them.
    const { done, value } = steps.next();
    if (done === true) return;
    if (value !== undefined) {
      parts.push(value);
      size += value.length;
    }
    yield size < MAX_PARTS ? undefined : true;
  }
}

/** By thread: the thread that made it. Those that this thread knows of, and that have not ended. */
export const children: Map<number, number> = new Map();
const listeners: Set<(hello: Hello) => void> = new Set();
let watchers = 0;

/**
 * Notes from now on which workers this thread makes, and when they have ended, however that comes. Returns what ends
 * that, when all have ended it.
 */
export function watchChildren(): () => void {
  watchers++;
  // Once, also where the program removed it.
  process.removeListener("worker", onWorker);
  process.on("worker", onWorker);
  let isOver = false;
  return () => {
    if (isOver) return;
    isOver = true;
    if (--watchers === 0) process.removeListener("worker", onWorker);
  };
}

function onWorker(worker: Worker): void {
  const thread = worker.threadId;
  if (thread < 1) return;
  children.set(thread, threadId);
  for (const tell of listeners) tell({ type: "child", thread, parent: threadId });
  worker.once("exit", () => {
    children.delete(thread);
    for (const tell of listeners) tell({ type: "ended", thread });
  });
}

/** Tells of them; returns what ends that. */
export function hearChildren(tell: (hello: Hello) => void): () => void {
  const unwatch = watchChildren();
  listeners.add(tell);
  return () => {
    listeners.delete(tell);
    unwatch();
  };
}

/** The name of the channel between the main thread and a worker. */
export function channelOf(thread: number): string {
  return `millpond:inspect:2:${thread}`;
}

/** A channel that keeps nothing alive. What `hear` throws is the inspector's own, and must not end the program. */
export function openChannel<T>(name: string, hear: (message: T) => unknown): BroadcastChannel {
  const channel = new BroadcastChannel(name);
  channel.onmessage = async (event: unknown) => {
    try {
      await hear((event as { readonly data: T }).data);
    } catch (error) {
      process.emitWarning(`the inspector could not answer: ${error}`, { code: "MILLPOND_INSPECT" });
    }
  };
  channel.unref();
  return channel;
}

/** One message on a channel that this thread does not listen to. */
export function post(name: string, message: unknown): void {
  const channel = new BroadcastChannel(name);
  channel.postMessage(message);
  channel.close();
}
