/**
 * The realms of a process: its main thread, and the workers that have the inspector too.
 *
 * A worker announces itself when it starts. From then on it and the main thread have a BroadcastChannel of their own,
 * on which the main thread asks only when its question before was answered: a blocked worker has one question at most
 * to answer, costs the others nothing but one wait of {@link ANSWER_MS}, and is shown as it was, with the time for
 * which it is silent.
 *
 * Nothing here keeps a thread alive, and a worker that nobody asks does nothing. Complexity: an update is O(pools +
 * slots + events since the one before) in each realm.
 */
import process from "node:process";
import { clearTimeout, setTimeout } from "node:timers";
import { type BroadcastChannel, threadId } from "node:worker_threads";
import type { RealmInspector } from "../../observe/realm-inspector.ts";
import type { Recording } from "../../observe/recorder.ts";
import { MAX_EVENTS, type ProcessSnapshot, type RealmEvent, type RealmSnapshot } from "../../observe/snapshot.ts";
import {
  type Answer,
  channelOf,
  children,
  HELLO,
  type Hello,
  hearChildren,
  openChannel,
  post,
  type Question,
  type RecordingAnswer,
  WHO,
} from "./threads.ts";

/** How long an update waits for threads that answered so far: some turns of their loops. */
const ANSWER_MS = 50;
/** The same for a thread that is asked for the first time, and compiles the answer on the way. */
const FIRST_ANSWER_MS = 250;
/** How long a trace waits for the recordings of workers, which may be large. */
const RECORDING_MS = 1000;
/** Updates for several viewers within this time are one. */
const SAME_MS = 20;
/** Events that are kept for viewers with slow updates. */
const MAX_KEPT = 16_384;
/** Characters of a process's title. */
const MAX_TITLE = 200;

/** What is said of a worker that was blocked before anybody asked it. */
const UNKNOWN = { pools: [], gc: { count: 0, major: 0, ms: 0 }, heap: null, recording: false } as const;

interface Remote {
  readonly thread: number;
  readonly channel: BroadcastChannel;
  snapshot: RealmSnapshot | undefined;
  /** When it was asked, if it has not answered yet; by performance.now(). */
  askedAt: number | undefined;
  /** Where its next events begin. */
  next: number;
  onRecording: ((recording: Recording | undefined) => void) | undefined;
}

/** What one viewer gets. */
export interface HubUpdate {
  /** The process now. */
  readonly snapshot: ProcessSnapshot;
  /** The newest events from the viewer's place on. */
  readonly events: readonly RealmEvent[];
  /** Those that were left out. */
  readonly dropped: number;
  /** The viewer's next place. */
  readonly next: number;
}

/** The main thread's view of all realms. There is one a process. */
export class RealmHub {
  readonly #own: RealmInspector;
  readonly #hello: BroadcastChannel;
  readonly #remotes: Map<number, Remote> = new Map();
  readonly #forgetChildren: () => void;
  /** The newest events of all realms. */
  #events: RealmEvent[] = [];
  /** Events until now, those that were lost included. */
  #sequence = 0;
  #ownNext = 0;
  #cost = 0;
  #stopOwn: (() => void) | undefined;
  #lookers = 0;
  #polling: Promise<void> | undefined;
  #polledAt = Number.NEGATIVE_INFINITY;
  /** What waits for threads looks again. */
  readonly #checks: Set<() => void> = new Set();
  /** The first wait, for threads that started before. */
  readonly #greeting: Promise<unknown>;

  /** Listens for workers. */
  constructor(own: RealmInspector) {
    this.#own = own;
    this.#hello = openChannel(HELLO, (hello: Hello) => this.#onHello(hello));
    this.#forgetChildren = hearChildren((hello) => this.#onHello(hello));
    // Those that started before answer in a later turn.
    post(WHO, { type: "who" });
    this.#greeting = Promise.all([
      this.#wait(FIRST_ANSWER_MS, () => [...children.keys()].every((one) => this.#remotes.has(one))),
      // Those that were made before anybody noted it.
      this.#wait(ANSWER_MS, () => false),
    ]);
  }

  /** The place of the oldest event that is kept: where a new viewer begins. */
  get oldest(): number {
    return this.#sequence - this.#events.length;
  }

  /** Milliseconds that the main thread's own snapshot took last. */
  get cost(): number {
    return this.#cost;
  }

  /** Whether events are recorded now. */
  get isRecording(): boolean {
    return this.#lookers > 0;
  }

  /** Somebody looks: all realms record. Returns what ends that. */
  look(): () => void {
    if (this.#lookers === 0) {
      this.#stopOwn = this.#own.look();
      this.#ownNext = 0;
      for (const remote of this.#remotes.values()) remote.next = 0;
    }
    this.#lookers++;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      if (--this.#lookers === 0) this.#stopLooking();
    };
  }

  /** All realms now, and the events from the viewer's place on. */
  async update(from: number): Promise<HubUpdate> {
    await this.#poll();
    const wanted = Math.max(0, this.#sequence - from);
    const kept = Math.min(wanted, MAX_EVENTS, this.#events.length);
    const events = kept === 0 ? [] : this.#events.slice(-kept);
    return { snapshot: this.#processSnapshot(), events, dropped: wanted - kept, next: this.#sequence };
  }

  /** What all realms recorded; a blocked worker's is missing. */
  async recordings(): Promise<Recording[]> {
    const own = this.#own.recording();
    const found = new Map<number, Recording>(own === undefined ? [] : [[threadId, own]]);
    const asked = [...this.#remotes.values()].filter(({ askedAt, snapshot }) => askedAt === undefined && snapshot);
    const answers = asked.map(
      (remote) =>
        new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, RECORDING_MS);
          timer.unref();
          remote.onRecording = (recording) => {
            clearTimeout(timer);
            if (recording !== undefined) found.set(remote.thread, recording);
            resolve();
          };
          remote.channel.postMessage({ type: "recording" } satisfies Question);
        }),
    );
    await Promise.all(answers);
    for (const remote of asked) remote.onRecording = undefined;
    return [...found].sort(([a], [b]) => a - b).map(([, recording]) => recording);
  }

  /** Ends it. Workers stay as they are. */
  close(): void {
    if (this.#lookers > 0) this.#stopLooking();
    this.#lookers = 0;
    this.#hello.close();
    this.#forgetChildren();
    for (const { channel } of this.#remotes.values()) channel.close();
    this.#remotes.clear();
    this.#check();
  }

  #stopLooking(): void {
    this.#stopOwn?.();
    this.#stopOwn = undefined;
    this.#events = [];
    for (const { channel } of this.#remotes.values()) channel.postMessage({ type: "stop" } satisfies Question);
  }

  #onHello(hello: Hello): void {
    const { type, thread } = hello;
    if (type === "child") children.set(thread, hello.parent);
    else if (type === "ended") this.#forget(thread);
    else if (type === "started" && !this.#remotes.has(thread)) {
      const channel = openChannel(channelOf(thread), (answer: Answer | RecordingAnswer) => this.#hear(remote, answer));
      const remote: Remote = {
        thread,
        channel,
        snapshot: undefined,
        askedAt: undefined,
        next: 0,
        onRecording: undefined,
      };
      this.#remotes.set(thread, remote);
    }
    this.#check();
  }

  /** A thread has ended, and those that it made with it. */
  #forget(thread: number): void {
    children.delete(thread);
    this.#remotes.get(thread)?.channel.close();
    this.#remotes.delete(thread);
    for (const [child, parent] of [...children]) if (parent === thread) this.#forget(child);
    this.#check();
  }

  #hear(remote: Remote, answer: Answer | RecordingAnswer): void {
    if ("recording" in answer) {
      remote.onRecording?.(answer.recording);
      return;
    }
    remote.askedAt = undefined;
    remote.snapshot = answer.snapshot;
    remote.next = answer.next;
    if (this.isRecording) this.#keep(answer.events, answer.dropped);
    this.#check();
  }

  #keep(events: readonly RealmEvent[], dropped: number): void {
    this.#sequence += events.length + dropped;
    for (const event of events) this.#events.push(event);
    // Cut rarely: each cut copies what stays.
    if (this.#events.length > 2 * MAX_KEPT) this.#events = this.#events.slice(-MAX_KEPT);
  }

  #poll(): Promise<void> {
    this.#polling ??= this.#ask().finally(() => {
      this.#polling = undefined;
    });
    return this.#polling;
  }

  async #ask(): Promise<void> {
    await this.#greeting;
    const now = performance.now();
    if (now - this.#polledAt < SAME_MS) return;
    this.#polledAt = now;
    if (this.isRecording) {
      const { events, dropped, next } = this.#own.eventsFrom(this.#ownNext);
      this.#ownNext = next;
      this.#keep(events, dropped);
    }
    let patience = 0;
    for (const remote of this.#remotes.values()) {
      if (remote.askedAt !== undefined) continue;
      remote.askedAt = now;
      patience = Math.max(patience, remote.snapshot === undefined ? FIRST_ANSWER_MS : ANSWER_MS);
      remote.channel.postMessage({ type: "poll", record: this.isRecording, from: remote.next } satisfies Question);
    }
    if (patience === 0) return;
    await this.#wait(patience, () => [...this.#remotes.values()].every(({ askedAt }) => askedAt !== now));
  }

  /** Waits until something that threads say makes `isDone` true, but not longer than so many milliseconds. */
  #wait(milliseconds: number, isDone: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#checks.delete(check);
        resolve();
      };
      const check = (): void => {
        if (isDone()) finish();
      };
      const timer = setTimeout(finish, milliseconds);
      timer.unref();
      this.#checks.add(check);
      check();
    });
  }

  #check(): void {
    for (const check of [...this.#checks]) check();
  }

  #processSnapshot(): ProcessSnapshot {
    const began = performance.now();
    const realms: RealmSnapshot[] = [this.#own.snapshot()];
    const now = performance.now();
    this.#cost = now - began;
    for (const { thread, snapshot, askedAt } of [...this.#remotes.values()].sort((a, b) => a.thread - b.thread)) {
      const known = snapshot ?? { ...realms[0]!, ...UNKNOWN, thread };
      if (askedAt !== undefined) realms.push({ ...known, silent: now - askedAt });
      else if (snapshot !== undefined) realms.push(snapshot);
    }
    const { user, system } = process.cpuUsage();
    return {
      version: 1,
      time: performance.timeOrigin + now,
      pid: process.pid,
      title: ownTitle(),
      uptime: process.uptime(),
      rss: process.memoryUsage.rss(),
      cpu: { user: user / 1e6, system: system / 1e6 },
      realms,
    };
  }
}

/** The script's name without its folders, and its arguments, for people. */
export function ownTitle(): string {
  const [, script = "", ...rest] = process.argv;
  const name = script.slice(Math.max(script.lastIndexOf("/"), script.lastIndexOf("\\")) + 1);
  const title = [name || "node", ...rest].join(" ");
  return title.length <= MAX_TITLE ? title : `${title.slice(0, MAX_TITLE - 1).toWellFormed()}…`;
}
