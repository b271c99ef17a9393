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
import { Buffer } from "node:buffer";
import { clearTimeout, setTimeout } from "node:timers";
import { type BroadcastChannel, threadId } from "node:worker_threads";
import type { RealmInspector } from "../../observe/realm-inspector.ts";
import type { Recording } from "../../observe/recorder.ts";
import { MAX_EVENTS, type ProcessSnapshot, type RealmSnapshot } from "../../observe/snapshot.ts";
import { process } from "../../os/process.ts";
import { areStandardDescriptorsOpen } from "../../os/standard-descriptors.ts";
import type { Clock } from "../../util/clock.ts";
import { cut } from "../../util/cut.ts";
import { RecordingReader } from "./recording-parts.ts";
import { Share } from "./share.ts";
import {
  type Answer,
  channelOf,
  children,
  HELLO,
  type Hello,
  hearChildren,
  LOOK_RESTS,
  openChannel,
  post,
  type Question,
  type RecordingAnswer,
  TRACE_RESTS,
  threadClock,
  WHO,
} from "./threads.ts";

/** How long an update waits for threads that answered so far: some turns of their loops. */
const ANSWER_MS = 50;
/** The same for a thread that is asked for the first time, and compiles the answer on the way. */
const FIRST_ANSWER_MS = 250;
/** How long a trace waits for the next part of a worker's recording, on which the worker rests between its slices. */
const RECORDING_MS = 3000;
/** Events that are kept for viewers with slow updates. */
const MAX_KEPT = 16_384;
/** Characters of a process's title. */
const MAX_TITLE = 200;

/** What is said of a worker that was blocked before anybody asked it. */
const UNKNOWN = { pools: [], gc: { count: 0, major: 0, ms: 0 }, heap: null, recording: false } as const;

interface Remote {
  readonly thread: number;
  readonly channel: BroadcastChannel;
  /** The text of a RealmSnapshot: the newest. */
  snapshot: string | undefined;
  /** The newest that lists all leases: a blocked thread is shown with them. */
  listed: string | undefined;
  /** When it was asked, if it has not answered yet; by performance.now(). */
  askedAt: number | undefined;
  /** What it said took it long: it is not asked before. */
  restsUntil: number;
  /** Where its next events begin. */
  next: number;
  /** Who waits for parts of recordings, by the trace's number. */
  readonly traces: Map<number, (answer: RecordingAnswer | undefined) => void>;
}

/** The realms at one moment: what is sent of it is made once for all who get the same. */
export class View {
  readonly #snapshot: string;
  readonly #events: readonly string[];
  /** The next events begin here. */
  readonly next: number;
  /** Whether all leases are listed in it; else there may be some that only events told of. */
  readonly isListed: boolean;
  readonly #updates: Map<string, Buffer> = new Map();

  constructor(snapshot: string, isListed: boolean, events: readonly string[], next: number) {
    this.#snapshot = snapshot;
    this.isListed = isListed;
    this.#events = events;
    this.next = next;
  }

  /** Whether all events from that place on are in the update. */
  isWhole(from: number): boolean {
    return this.next - from <= Math.min(MAX_EVENTS, this.#events.length);
  }

  /** The text of a ProcessSnapshot. */
  get snapshot(): Buffer {
    return this.#made("snapshot", () => this.#snapshot);
  }

  /** The text of an InspectorUpdate with the newest events from that place on; undefined: with none. */
  update(from: number | undefined, isEventSource: boolean): Buffer {
    return this.#made(`${from} ${isEventSource}`, () => {
      const wanted = from === undefined ? 0 : Math.max(0, this.next - from);
      const kept = Math.min(wanted, MAX_EVENTS, this.#events.length);
      const events = kept === 0 ? "" : this.#events.slice(-kept).join(",");
      const text = `{"snapshot":${this.#snapshot},"events":[${events}],"dropped":${wanted - kept}}`;
      return isEventSource ? `data: ${text}\n\n` : `${text}\n`;
    });
  }

  #made(key: string, make: () => string): Buffer {
    const known = this.#updates.get(key);
    if (known !== undefined) return known;
    const made = Buffer.from(make());
    this.#updates.set(key, made);
    return made;
  }
}

/** The main thread's view of all realms. There is one a process. */
export class RealmHub {
  readonly #own: RealmInspector;
  readonly #clock: Clock;
  readonly #hello: BroadcastChannel;
  readonly #remotes: Map<number, Remote> = new Map();
  readonly #forgetChildren: () => void;
  /** What is open now at all servers of this process, which share the bounds. */
  readonly open: { streams: number; traces: number } = { streams: 0, traces: 0 };
  /** What looking takes of this thread, however many look; and traces, however many are made. */
  readonly #looking: Share;
  readonly #tracing: Share;
  /** The newest events of all realms, as texts. */
  #events: string[] = [];
  /** Events until now, those that were lost included. */
  #sequence = 0;
  #ownNext = 0;
  #stopOwn: (() => void) | undefined;
  #lookers = 0;
  /** What will be there next, for all who ask until it is made; and whether one of them wants all leases. */
  #coming: Promise<View> | undefined;
  #isListed = false;
  /** The newest trace's number; another copy of this package may ask the same workers. */
  #traces: number = Math.floor(Math.random() * 2 ** 40);
  #isClosed = false;
  /** What begins or ends the recording stands in the line. */
  #isSettling = false;
  /** What waits for threads looks again. */
  readonly #checks: Set<() => void> = new Set();
  /** The first wait, for threads that started before. */
  readonly #greeting: Promise<unknown>;

  /** Listens for workers. */
  constructor(own: RealmInspector, clock: Clock = threadClock) {
    this.#own = own;
    this.#clock = clock;
    this.#looking = new Share(LOOK_RESTS, clock);
    this.#tracing = new Share(TRACE_RESTS, clock);
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

  /** Whether events are recorded now. */
  get isRecording(): boolean {
    return this.#stopOwn !== undefined;
  }

  /**
   * Somebody looks: all realms record, at once or when looking may take time again. Returns what ends that, likewise:
   * both are a part of what looking takes, or one that comes and goes would take as much as it likes.
   */
  look(): () => void {
    this.#lookers++;
    try {
      this.#settleSoon();
    } catch (error) {
      this.#lookers--;
      throw error;
    }
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#lookers--;
      this.#settleSoon();
    };
  }

  /**
   * All realms: made when looking may take time again, once for all who wait for it. `use` is a part of what looking
   * takes: it sends, in the turn in which the view is made or in a later one. With `isListed: false` leases that events
   * tell of may be left out.
   */
  async view<T>(use: (view: View) => T, isListed = true): Promise<T> {
    this.#isListed ||= isListed;
    this.#coming ??= this.#makeView();
    const view = await this.#coming;
    const began = this.#clock.now();
    try {
      return use(view);
    } finally {
      this.#looking.charge(this.#clock.now() - began);
    }
  }

  /**
   * What all realms recorded until now; a blocked worker's is missing. In slices, so that it takes a second or more; it
   * ends early with what there is when nobody wants it any more.
   */
  async recordings(isWanted: () => boolean = () => true): Promise<Recording[]> {
    const steps = this.#own.recordingSteps();
    const now = performance.now();
    // One that is silent for so long is blocked; another one may be about to answer something else.
    const asked = [...this.#remotes.values()].filter(({ askedAt = now, snapshot }) => {
      return snapshot !== undefined && now - askedAt < RECORDING_MS;
    });
    const isGoing = (): boolean => !this.#isClosed && isWanted();
    const own = steps === undefined ? Promise.resolve(undefined) : this.#tracing.finish(steps, isGoing);
    const found = await Promise.all([
      own.then((recording) => ({ thread: threadId, recording })),
      ...asked.map(async (remote) => ({
        thread: remote.thread,
        recording: await this.#recordingOf(remote, isGoing),
      })),
    ]);
    return found
      .sort((a, b) => a.thread - b.thread)
      .map(({ recording }) => recording)
      .filter((recording) => recording !== undefined);
  }

  /** Slices of a trace stand in one line with those of all others. */
  get tracing(): Share {
    return this.#tracing;
  }

  /** A worker's recording, part by part: the next one is asked for when this thread has read the one before. */
  async #recordingOf(remote: Remote, isWanted: () => boolean): Promise<Recording | undefined> {
    const trace = ++this.#traces;
    const reader = new RecordingReader();
    let copy: number | undefined;
    try {
      while (isWanted()) {
        const answer = await this.#nextParts(remote, trace, copy);
        if (answer === undefined || answer.isLost === true) return undefined;
        copy = answer.copy;
        for (const part of answer.parts) await this.#tracing.run(() => reader.add(part));
        if (answer.isLast) return reader.recording;
      }
      return undefined;
    } finally {
      remote.traces.delete(trace);
      this.#ask(remote, { type: "traceOver", trace });
    }
  }

  #nextParts(remote: Remote, trace: number, copy: number | undefined): Promise<RecordingAnswer | undefined> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(undefined), RECORDING_MS);
      timer.unref();
      remote.traces.set(trace, (answer) => {
        // Another copy's answer to the first question comes late.
        if (answer !== undefined && answer.copy !== (copy ?? answer.copy)) return;
        clearTimeout(timer);
        resolve(answer);
      });
      if (!this.#ask(remote, { type: "recording", trace, copy })) remote.traces.get(trace)?.(undefined);
    });
  }

  /** False: the thread has ended, or nobody asks any more. Its channel is closed, and would throw. */
  #ask(remote: Remote, question: Question): boolean {
    if (this.#remotes.get(remote.thread) !== remote) return false;
    remote.channel.postMessage(question);
    return true;
  }

  /** Ends it. Workers stay as they are. */
  close(): void {
    this.#isClosed = true;
    this.#settle();
    this.#hello.close();
    this.#forgetChildren();
    for (const thread of [...this.#remotes.keys()]) this.#forgetOne(thread);
    this.#check();
  }

  /** Now if looking may take time now, else in the line, once for all who come and go until then. */
  #settleSoon(): void {
    if (this.#isSettled || this.#isSettling) return;
    if (this.#looking.pause === 0) {
      const began = this.#clock.now();
      this.#settle();
      this.#looking.charge(this.#clock.now() - began);
      return;
    }
    this.#isSettling = true;
    this.#looking
      .run(() => {
        this.#isSettling = false;
        this.#settle();
      })
      .catch(() => {
        // The next one that looks tries again.
      });
  }

  get #isSettled(): boolean {
    return this.isRecording === (this.#lookers > 0 && !this.#isClosed);
  }

  /** Realms record when somebody looks, and not when nobody does. */
  #settle(): void {
    if (this.#isSettled) return;
    if (this.#stopOwn === undefined) {
      this.#stopOwn = this.#own.look();
      this.#ownNext = 0;
      for (const remote of this.#remotes.values()) remote.next = 0;
      return;
    }
    this.#stopOwn();
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
        listed: undefined,
        askedAt: undefined,
        restsUntil: 0,
        next: 0,
        traces: new Map(),
      };
      this.#remotes.set(thread, remote);
    }
    this.#check();
  }

  /** A thread has ended, and those that it made with it. */
  #forget(thread: number): void {
    children.delete(thread);
    this.#forgetOne(thread);
    for (const [child, parent] of [...children]) if (parent === thread) this.#forget(child);
    this.#check();
  }

  #forgetOne(thread: number): void {
    const remote = this.#remotes.get(thread);
    if (remote === undefined) return;
    this.#remotes.delete(thread);
    for (const tell of remote.traces.values()) tell(undefined);
    remote.channel.close();
  }

  #hear(remote: Remote, answer: Answer | RecordingAnswer): void {
    if ("trace" in answer) {
      remote.traces.get(answer.trace)?.(answer);
      return;
    }
    remote.askedAt = undefined;
    remote.restsUntil = performance.now() + answer.pause;
    remote.snapshot = answer.snapshot;
    if (answer.isListed) remote.listed = answer.snapshot;
    remote.next = answer.next;
    if (this.isRecording) this.#keep(answer.events, answer.dropped);
    this.#check();
  }

  #keep(events: readonly string[], dropped: number): void {
    this.#sequence += events.length + dropped;
    for (const event of events) this.#events.push(event);
    // Cut rarely: each cut copies what stays.
    if (this.#events.length > 2 * MAX_KEPT) this.#events = this.#events.slice(-MAX_KEPT);
  }

  async #makeView(): Promise<View> {
    let isListed = true;
    try {
      await this.#greeting;
      // Workers are asked when looking may go on, and not as often as it is asked for.
      await this.#looking.run(() => {});
      await this.#askWorkers();
    } finally {
      // Who asks from now on gets what comes then.
      this.#coming = undefined;
      isListed = this.#isListed;
      this.#isListed = false;
    }
    return await this.#looking.run(() => {
      if (this.isRecording) {
        const { events, dropped, next } = this.#own.eventsFrom(this.#ownNext);
        this.#ownNext = next;
        this.#keep(
          events.map((event) => JSON.stringify(event)),
          dropped,
        );
      }
      return new View(this.#processSnapshot(isListed), isListed, this.#events.slice(-MAX_EVENTS), this.#sequence);
    });
  }

  async #askWorkers(): Promise<void> {
    const now = performance.now();
    let patience = 0;
    for (const remote of this.#remotes.values()) {
      if (remote.askedAt !== undefined || now < remote.restsUntil) continue;
      remote.askedAt = now;
      patience = Math.max(patience, remote.snapshot === undefined ? FIRST_ANSWER_MS : ANSWER_MS);
      const [record, isListed] = [this.isRecording, this.#isListed];
      remote.channel.postMessage({ type: "poll", record, from: remote.next, isListed } satisfies Question);
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

  /** The text of a ProcessSnapshot: what workers said is a part of it as it came. */
  #processSnapshot(isListed: boolean): string {
    const own = this.#own.snapshot(isListed);
    const now = performance.now();
    const realms = [JSON.stringify(own)];
    for (const { thread, snapshot, listed, askedAt } of [...this.#remotes.values()].sort(
      (a, b) => a.thread - b.thread,
    )) {
      if (snapshot === undefined && askedAt === undefined) continue;
      const known =
        (isListed ? listed : snapshot) ??
        snapshot ??
        JSON.stringify({ ...own, ...UNKNOWN, thread } satisfies RealmSnapshot);
      realms.push(askedAt === undefined ? known : `${known.slice(0, -1)},"silent":${now - askedAt}}`);
    }
    const { user, system } = said(() => process.cpuUsage(), { user: 0, system: 0 });
    const about: Omit<ProcessSnapshot, "realms"> = {
      version: 1,
      time: performance.timeOrigin + now,
      pid: process.pid,
      title: ownTitle(),
      uptime: said(() => process.uptime(), 0),
      rss: said(() => (areStandardDescriptorsOpen() ? process.memoryUsage.rss() : 0), 0),
      cpu: { user: user / 1e6, system: system / 1e6 },
    };
    return `${JSON.stringify(about).slice(0, -1)},"realms":[${realms.join(",")}]}`;
  }
}

/** What the platform says, or something in its stead: a program may have put its own functions in their places. */
function said<T>(ask: () => T, otherwise: T): T {
  try {
    return ask();
  } catch {
    return otherwise;
  }
}

/** The script's name without its folders, and its arguments, for people. A program may write anything into those. */
export function ownTitle(): string {
  return said(() => {
    const { argv } = process as { readonly argv: unknown };
    const [, script = "", ...rest] = Array.isArray(argv) ? argv.map((word) => said(() => String(word), "?")) : [];
    const name = script.slice(Math.max(script.lastIndexOf("/"), script.lastIndexOf("\\")) + 1);
    return cut([name || "node", ...rest].join(" "), MAX_TITLE);
  }, "node");
}
