/**
 * What threads of one process say to each other, so that the main thread knows its workers: the part that each of them
 * has loaded from its start. It loads nothing of pools; that is done when somebody looks.
 */
import process from "node:process";
import { BroadcastChannel, threadId, type Worker } from "node:worker_threads";
import type { RealmInspector } from "../../observe/realm-inspector.ts";
import type { Recording } from "../../observe/recorder.ts";
import type { RealmEvent, RealmSnapshot } from "../../observe/snapshot.ts";

/** Workers say here that they started or ended; the main thread listens. */
export const HELLO = "millpond:inspect:1:hello";
/** The main thread asks here who is there, when it starts after them. */
export const WHO = "millpond:inspect:1:who";

/** What threads say of threads. */
export type Hello =
  | { readonly type: "started" | "ended"; readonly thread: number }
  | { readonly type: "child"; readonly thread: number; readonly parent: number };

/** What the main thread asks a worker. */
export type Question =
  | { readonly type: "poll"; readonly record: boolean; readonly from: number }
  | { readonly type: "stop" }
  | { readonly type: "recording" };

/** What a worker answers to a poll. */
export interface Answer {
  readonly snapshot: RealmSnapshot;
  readonly events: readonly RealmEvent[];
  readonly dropped: number;
  readonly next: number;
}

/** What a worker answers when its recording is asked for. */
export interface RecordingAnswer {
  readonly recording: Recording | undefined;
}

/** This realm's own inspector. Loaded when somebody looks. */
export async function makeInspector(): Promise<RealmInspector> {
  const { RealmInspector: Inspector } = await import("../../observe/realm-inspector.ts");
  const { bun, deno, node } = process.versions as Readonly<Record<string, string | undefined>>;
  const runtime = bun !== undefined ? `Bun ${bun}` : deno !== undefined ? `Deno ${deno}` : `Node ${node}`;
  const heap = (): { used: number; external: number } => {
    const { heapUsed, external } = process.memoryUsage();
    return { used: heapUsed, external };
  };
  return new Inspector({ thread: threadId, runtime, heap });
}

/** A worker answers the main thread from now on. Returns what ends that. */
export function answerMainThread(): () => void {
  let stop: (() => void) | undefined;
  let loading: Promise<RealmInspector> | undefined;
  let isClosed = false;
  const channel = openChannel(channelOf(threadId), async (question: Question) => {
    loading ??= makeInspector();
    const inspector = await loading;
    // Closed meanwhile: what would begin now would have no end.
    if (isClosed) return;
    switch (question.type) {
      case "poll": {
        if (question.record) stop ??= inspector.look();
        const answer: Answer = { snapshot: inspector.snapshot(), ...inspector.eventsFrom(question.from) };
        channel.postMessage(answer);
        break;
      }
      case "recording":
        channel.postMessage({ recording: inspector.recording() } satisfies RecordingAnswer);
        break;
      case "stop":
        stop?.();
        stop = undefined;
        break;
      default:
        // Another version's.
        break;
    }
  });
  const started = (): void => {
    post(HELLO, { type: "started", thread: threadId } satisfies Hello);
    for (const [thread, parent] of children) post(HELLO, { type: "child", thread, parent } satisfies Hello);
  };
  const who = openChannel(WHO, started);
  const ended = (): void => post(HELLO, { type: "ended", thread: threadId } satisfies Hello);
  const forgetChildren = hearChildren((hello) => post(HELLO, hello));
  process.once("exit", ended);
  started();
  return () => {
    isClosed = true;
    stop?.();
    stop = undefined;
    who.close();
    channel.close();
    process.removeListener("exit", ended);
    forgetChildren();
    ended();
  };
}

/** By thread: the thread that made it. Those that this thread knows of, and that have not ended. */
export const children: Map<number, number> = new Map();
const listeners: Set<(hello: Hello) => void> = new Set();

/** Notes from now on which workers this thread makes, and when they have ended, however that comes. */
export function watchChildren(): void {
  process.removeListener("worker", onWorker);
  process.on("worker", onWorker);
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
  watchChildren();
  listeners.add(tell);
  return () => {
    listeners.delete(tell);
    if (listeners.size === 0) process.removeListener("worker", onWorker);
  };
}

/** The name of the channel between the main thread and a worker. */
export function channelOf(thread: number): string {
  return `millpond:inspect:1:${thread}`;
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
