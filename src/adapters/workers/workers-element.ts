/**
 * WorkersElement: any function of yours over every frame, in several threads. Frames are not copied or cloned: the
 * stage offers upstream a pool of shared slots, and a message carries a lease, which the thread joins while it looks.
 * Frames leave in the order in which they came. `millpond run FILE` measures its frames with this element, too.
 *
 * Life: `start` spawns the threads and waits until each has loaded the module; every buffer that joins the line is
 * posted to the thread with the fewest frames; `stop` ends the threads, also one that hangs, but not while it loads
 * files, and then releases what they looked at.
 *
 * Invariants: a buffer is released only when no thread can touch its bytes any more. While a thread has frames, a wait
 * with a limit is open, and each answer begins a new one. A message costs the same whatever a frame's size.
 *
 * ```ts
 * // measure.mjs
 * export default function ({ bytes, format, index }) { return { mean: ... }; }
 * ```
 * ```ts
 * const workers = new WorkersElement("./measure.mjs", { workers: 2, onResult: (result, index) => ... });
 * ```
 */
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { allocators } from "../../allocators/registry.ts";
import { CopyFlags } from "../../media/buffer/flags.ts";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { giveBack, releaseOrDrop, releaseQuietly } from "../../media/buffer/release.ts";
import type { Recording } from "../../observe/recorder.ts";
import { eventsWanted, threadRecorded } from "../../observe/stages.ts";
import { promiseIn, type Running, type StageWait, type WaitBounds } from "../../pipeline/base/element.ts";
import { flushingError } from "../../pipeline/base/pad.ts";
import { Queue } from "../../pipeline/elements/queue.ts";
import type { AllocationQuery } from "../../pipeline/negotiate/allocation-query.ts";
import type { StreamFormat } from "../../pipeline/stream-format.ts";
import { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import { SharedBufferPool, type SharedBufferPoolOptions } from "../../pools/shared/shared-buffer-pool.ts";
import { systemClock } from "../../util/clock.ts";
import { MillpondError } from "../../util/errors.ts";
import {
  badValue,
  callback,
  flag,
  instance,
  isRevoked,
  oneOf,
  readOptions,
  wholeNumber,
  wrongType,
} from "../../util/validate.ts";
import { type FromThread, isFromThread, type ThreadData, type ToThread, type WorkerFormat } from "./protocol.ts";
import { describeThrown } from "./thrown.ts";
import { MAX_THREADS, type Place, ThreadSlots } from "./worker-slots.ts";

export type { WorkerFormat, WorkerFrame } from "./protocol.ts";

/** How a {@link WorkersElement} is made. */
export interface WorkersOptions {
  /** For messages. */
  name?: string;
  /** Threads; default: cores - 1, from 1 to 4. */
  workers?: number;
  /**
   * Buffers of the pool that it offers upstream, the one that is being filled too: the most frames between the stage in
   * front of it and its output. Default: two a thread, one on its way out, and the one that is being filled.
   */
  buffers?: number;
  /** Whether the function changes the bytes. Then frames that others look at are copied first. Default false. */
  writes?: boolean;
  /**
   * Passed to every call as its second argument: a clone that is made with the stage. `ERR_INVALID_ARG_VALUE` where
   * none can be made.
   */
  options?: unknown;
  /** Where the threads' `console.log` goes; default "stdout". */
  console?: "stdout" | "stderr";
  /**
   * Told what the function returned for a frame, in the order of completion. The frame goes on when its promise, if it
   * gives one, has resolved; what it throws or rejects with ends the run.
   */
  onResult?: (result: unknown, index: number) => void;
}

/** What the details of an error say where a thread is the reason; the message of a program can be made of them. */
export interface WorkerErrorDetails {
  /** Number of the thread, from 1. */
  readonly worker: number;
  /** The frame at which the function failed, from 0; undefined where the thread as a whole failed. */
  readonly frame?: number;
  /** What the thread exited with; undefined while it lives. */
  readonly code?: number;
  /** What it threw, or why it ended, in words; undefined where it ended without an error. */
  readonly reason?: string;
}

interface Job {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

interface Thread {
  /** From 1, for messages. */
  readonly number: number;
  readonly worker: Worker;
  /** What this stage and the thread talk through; parentPort is left to the module. */
  readonly port: MessagePort;
  /** The run that it was started for; it may end after that. */
  readonly running: Running;
  /** While it has frames: how long it has not answered. */
  wait: StageWait | undefined;
  readonly jobs: Map<number, Job>;
  readonly exited: Promise<void>;
  /** Resolves when its own files are loaded, or it has exited. */
  readonly started: Promise<void>;
  /** Resolves when the module is loaded, or cannot be, or the thread has exited. */
  readonly loaded: Promise<void>;
  isEnding: boolean;
  format: WorkerFormat | undefined;
  /** Called with what it recorded, or undefined at its end. */
  onRecording: (recording: Recording | undefined) => void;
}

// From the source tree Node runs the TypeScript file, from the package the compiled one.
const THREAD_FILE = new URL(
  import.meta.url.endsWith(".ts") ? "./worker-thread.ts" : "./worker-thread.js",
  import.meta.url,
);

// One frame in hand and one waiting: a thread never idles for the time of a message.
const PER_THREAD = 2;

// A thread has a minute for its module, and then for each frame, unless the pipeline says otherwise. Loading may take
// ten seconds in any case: on a busy machine an empty thread takes one to start.
const FRAME_BOUNDS: WaitBounds = { fallback: 60_000 };
const LOADING_BOUNDS: WaitBounds = { fallback: 60_000, atLeast: 10_000 };

// A module is read from the disk in some milliseconds; what takes longer computes or waits, and reads no file.
const LOADING_MOMENT_MS = 250;

// What a thread may have of the JavaScript heap. Without a limit of its own, one that allocates without end takes the
// whole process with it; frames lie outside of it.
const THREAD_HEAP_MB = 512;

/** A thread that is not busy answers in some milliseconds; a run is not kept much longer for what it recorded. */
const RECORDING_MS = 2000;

/** The smallest ring of a recorder. */
const MIN_EVENTS = 16;

const OPTIONS = ["name", "workers", "buffers", "writes", "options", "console", "onResult"] as const;

/**
 * The module as a file: address. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` for an address that names no
 * file.
 */
function addressOf(module: string | URL): string {
  if (isRevoked(module) || (!(module instanceof URL) && (typeof module !== "string" || module === "")))
    throw wrongType("module", "a path or a URL", module);
  let text: string;
  try {
    text = String(module);
  } catch (cause) {
    throw Object.assign(wrongType("module", "a path or a URL", module), { cause });
  }
  if (!(module instanceof URL) && !text.startsWith("file:")) return pathToFileURL(resolve(text)).href;
  try {
    fileURLToPath(text);
  } catch {
    throw badValue("module", "a path or the file: address of a file", text);
  }
  return text;
}

/** Calls a function in threads, side by side. */
export class WorkersElement extends Queue {
  /** The module whose default export is called. */
  readonly module: string;
  readonly #options: WorkersOptions;
  readonly #threadCount: number;
  readonly #buffers: number | undefined;
  readonly #slots: ThreadSlots;
  #threads: Thread[] = [];
  #index = 0;
  /** The format of what joins the line. */
  #newest: LineFormat = new LineFormat({ kind: "bytes" });
  /** The formats that are in line, in order. */
  #inLine: LineFormat[] = [];
  /** Copies ask for memory one after the other: no other waits at a pool that one of them replaces. */
  #lastCopy: Promise<unknown> = Promise.resolve();
  /** The largest frame of a format that was copied, and that format. */
  #largest: { readonly format: LineFormat; readonly size: number } | undefined;
  /** Events that the threads of this run keep together; 0: they do not record. */
  #events = 0;
  #broken: MillpondError | undefined;
  #inWork: Set<Promise<unknown>> = new Set();
  /** Frames that a thread has done, and onResult has not. */
  readonly #inResult: Set<Job> = new Set();

  /** @param module a path or a file: address. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
  constructor(module: string | URL, options: WorkersOptions = {}) {
    const address = addressOf(module);
    const given = readOptions("options", options, OPTIONS);
    // One core is left to whatever makes the frames; more than four wait for it on any machine met so far.
    const fallback = Math.max(1, Math.min(4, availableParallelism() - 1));
    const { name, workers = fallback, console = "stdout" } = given;
    oneOf("options.console", console, ["stdout", "stderr"]);
    flag("options.writes", given.writes, false);
    callback("options.onResult", given.onResult);
    const cloned = cloneOf(given.options);
    const threads = wholeNumber("options.workers", workers, 1, MAX_THREADS);
    // As many as a queue may have.
    const { buffers } = given;
    if (buffers !== undefined) wholeNumber("options.buffers", buffers, 1, 4096);
    // With a number of buffers the pool is the bound, and the line never full: the stage in front waits for a buffer,
    // in no call.
    super({ max: buffers ?? threads * PER_THREAD, ...(name === undefined ? {} : { name }) });
    this.#buffers = buffers;
    this.module = address;
    this.#threadCount = threads;
    this.#slots = new ThreadSlots();
    // Each thread gets a clone of this one, so that all have the same, and no getter of the caller's is called again.
    this.#options = { ...given, options: cloned };
  }

  /** The module: a result that is written over it would destroy it. */
  get readsFiles(): readonly string[] {
    return this.module.startsWith("file:") ? [fileURLToPath(this.module)] : [];
  }

  /** Starts the threads, and waits until they have loaded the module. Rejects with `ERR_BAD_DATA` when they cannot. */
  override async start(): Promise<void> {
    this.#broken = undefined;
    this.#index = 0;
    this.#threads = [];
    this.#events = eventsWanted();
    await Promise.all(Array.from({ length: this.#threadCount }, (_, n) => this.#spawn(n + 1)));
  }

  /** Async, so that whatever throws here is one of the promises that {@link start} waits for. */
  async #spawn(number: number): Promise<void> {
    const { port1: port, port2: theirs } = new MessageChannel();
    const capacity = Math.max(MIN_EVENTS, Math.floor(this.#events / this.#threadCount));
    const record = { thread: `${this.name} ${number}`, stage: this.name, capacity };
    const workerData: ThreadData = {
      module: this.module,
      options: this.#options.options,
      port: theirs,
      ...(this.#events > 0 ? { record } : {}),
    };
    // Flags like --expose-gc or a test runner's loaders are not for these threads.
    const worker = new Worker(THREAD_FILE, {
      workerData,
      transferList: [theirs],
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: THREAD_HEAP_MB },
      stdout: this.#options.console === "stderr",
    });
    if (this.#options.console === "stderr") worker.stdout.on("data", (text: Uint8Array) => process.stderr.write(text));
    const { running } = this;
    const loading = running.beginWait(this, `loading ${this.#file}`, LOADING_BOUNDS);
    return new Promise<void>((ready, refuse) => {
      let exited = (): void => {};
      let started = (): void => {};
      let loaded = (): void => {};
      const thread: Thread = {
        number,
        worker,
        port,
        running,
        wait: undefined,
        jobs: new Map(),
        exited: new Promise((settled) => {
          exited = settled;
        }),
        started: new Promise((settled) => {
          started = settled;
        }),
        loaded: new Promise((settled) => {
          loaded = settled;
        }),
        isEnding: false,
        format: undefined,
        onRecording: () => {},
      };
      this.#threads.push(thread);
      let why: string | undefined;
      const end = (reason: string): void => {
        why ??= reason;
        void worker.terminate();
      };
      const onGarbage = (): void => end("its module answered in the place of the thread; return the result instead");
      port.on("messageerror", onGarbage);
      port.on("message", (message: unknown) => {
        if (!isFromThread(message)) onGarbage();
        else if (message.type === "loading") started();
        else if (message.type === "ready") {
          loaded();
          ready();
        } else if (message.type === "broken") {
          loaded();
          refuse(this.#cannotLoad(message.message));
        } else if (message.type === "recording") thread.onRecording(message.recording);
        else if (thread.jobs.has(message.index)) this.#done(thread, message);
        else onGarbage();
      });
      const onPost = (): void =>
        end(
          "its module posted a message to its parent, which is never read; return the result from the function instead",
        );
      worker.on("message", onPost);
      worker.on("messageerror", onPost);
      worker.on("error", (error: unknown) => {
        why ??= isOutOfMemory(error)
          ? `it needed more than ${THREAD_HEAP_MB} MB of heap`
          : describeThrown(error, this.module);
      });
      worker.on("exit", (code) => {
        port.close();
        this.#endWait(thread);
        const details: WorkerErrorDetails = { worker: number, code, ...(why !== undefined && { reason: why }) };
        const error = new MillpondError(
          "ERR_BAD_DATA",
          `a thread of "${this.name}" ended with code ${code}: ${why ?? "its module ended it"} (${this.#file})`,
          { ...details },
        );
        // One that this stage ends, it may be of a run before, breaks nothing.
        if (!thread.isEnding) this.#broken ??= error;
        refuse(error);
        // Nothing touches the bytes any more, so that the jobs' buffers may go.
        this.#slots.left(port);
        for (const job of thread.jobs.values()) job.reject(error);
        thread.jobs.clear();
        thread.onRecording(undefined);
        started();
        loaded();
        exited();
      });
    }).finally(() => running.endWait(loading));
  }

  /** Hands what the threads recorded to the recorders of this one. Overrides call it. */
  override async commit(): Promise<void> {
    if (this.#events === 0) return;
    const recordings = this.#threads.map(
      (thread) =>
        new Promise<Recording | undefined>((resolve) => {
          // A thread that does not come to its messages any more has been asked for nothing but this.
          const timer = setTimeout(resolve, RECORDING_MS, undefined);
          thread.onRecording = (recording) => {
            clearTimeout(timer);
            resolve(recording);
          };
          thread.port.postMessage({ type: "recording" } satisfies ToThread);
        }),
    );
    for (const recording of await Promise.all(recordings)) if (recording !== undefined) threadRecorded(recording);
  }

  /** The module for messages: as a path. */
  get #file(): string {
    return this.module.startsWith("file:") ? fileURLToPath(this.module) : this.module;
  }

  /** The thread has answered: the next answer has its own time. */
  #answered(thread: Thread): void {
    if (thread.jobs.size === 0) this.#endWait(thread);
    else if (thread.wait !== undefined) {
      try {
        thread.wait.since = thread.running.clock.now();
      } catch (error) {
        // The program's own clock. The frame goes on, to where the run drops it.
        thread.running.fail(error, this);
      }
    }
  }

  #endWait(thread: Thread): void {
    thread.running.endWait(thread.wait);
    thread.wait = undefined;
  }

  #cannotLoad(message: string): MillpondError {
    return new MillpondError("ERR_BAD_DATA", `"${this.name}" cannot use ${this.#file}: ${message}`);
  }

  #done(thread: Thread, message: Extract<FromThread, { index: number }>): void {
    const job = thread.jobs.get(message.index)!;
    thread.jobs.delete(message.index);
    this.#answered(thread);
    if (message.type === "failed") {
      const { index, message: reason } = message;
      const details: WorkerErrorDetails = { worker: thread.number, frame: index, reason };
      const text = `the function of "${this.name}" failed at frame ${index}: ${reason}`;
      job.reject(new MillpondError("ERR_BAD_DATA", text, { ...details }));
      return;
    }
    try {
      const told: unknown = this.#options.onResult?.(message.result, message.index);
      const later = promiseIn(`what onResult of "${this.name}" answered`, told);
      if (later !== undefined) this.#resultTold(later, job, thread);
      else job.resolve();
    } catch (error) {
      job.reject(error);
    }
  }

  #resultTold(told: Promise<unknown>, job: Job, thread: Thread): void {
    this.#inResult.add(job);
    told.then(
      () => {
        this.#inResult.delete(job);
        job.resolve();
      },
      (error: unknown) => {
        this.#inResult.delete(job);
        // Also where a seek has dropped the frame meanwhile.
        thread.running.fail(error, this);
        job.reject(error);
      },
    );
    // It was in a thread when the seek or the end began, which nobody tells of it any more.
    if (this.out.flushing) this.#dropResults();
  }

  /** @internal What joins the line from now on is of this format. */
  override onFormat(format: StreamFormat): void {
    this.#newest = new LineFormat(plainFormat(format));
    this.#inLine.push(this.#newest);
    super.onFormat(format);
  }

  /** A pool of its own was for the format before. */
  protected override formatPassed(): void {
    if (this.out.pool !== null) this.out.needsReconfigure = true;
    this.#inLine.shift()?.take();
  }

  /** @internal Nobody waits for a format that a seek or the end has dropped, nor for what onResult does. */
  override wakeWaiters(): void {
    if (this.out.flushing) {
      this.#dropFormats();
      this.#dropResults();
    }
    super.wakeWaiters();
  }

  #dropResults(): void {
    for (const job of this.#inResult) job.reject(flushingError(String(this.in)));
    this.#inResult.clear();
  }

  #dropFormats(): void {
    for (const format of this.#inLine) format.drop(flushingError(String(this.in)));
  }

  /** Nobody waits for a function that hangs when the run ends. */
  override unlock(): void {
    this.callHook("unlock", () => super.unlock());
    if (!this.out.flushing || !this.running.stopping) return;
    for (const thread of this.#threads) void endThread(thread);
  }

  /** A format that stays in line will be taken yet; one that was taken is in force. */
  override onFlush(): void {
    try {
      super.onFlush();
    } finally {
      this.#dropFormats();
      const { isTaken, format } = this.#newest;
      this.#newest = new LineFormat(format);
      this.#inLine = isTaken ? [] : [this.#newest];
      if (isTaken) this.#newest.take();
    }
  }

  /** Hands the frame to a thread. */
  protected override begin(buffer: MediaBuffer): Promise<MediaBuffer> {
    const work = this.#work(buffer, this.#index++, this.#newest);
    this.#inWork.add(work);
    // The line looks at the promise when its turn comes; until then a failure must not count as unhandled.
    work.then(
      () => this.#inWork.delete(work),
      () => this.#inWork.delete(work),
    );
    return work;
  }

  async #work(incoming: MediaBuffer, index: number, inLine: LineFormat): Promise<MediaBuffer> {
    const { format } = inLine;
    const writes = this.#options.writes === true;
    if (this.transfers) return this.#move(incoming, index, format);
    let buffer = incoming;
    try {
      if (!isInSharedMemory(incoming) || (writes && !incoming.isWritable)) buffer = await this.#copy(incoming, inLine);
      const mapped = buffer.map(writes ? "readwrite" : "read");
      try {
        await this.#post(buffer, mapped.bytes, index, format);
      } finally {
        mapped.unmap();
      }
    } catch (error) {
      giveBack(buffer);
      throw error;
    }
    return buffer;
  }

  async #move(buffer: MediaBuffer, index: number, format: WorkerFormat): Promise<MediaBuffer> {
    try {
      const { bytes } = buffer;
      if (!(bytes.buffer instanceof ArrayBuffer)) {
        throw new MillpondError(
          "ERR_UNSUPPORTED",
          `"${this.name}" moves frames to its threads, and this one lies in shared memory; createPool() has to make a pool of ArrayBuffers`,
        );
      }
      buffer.remove();
      await this.#post(buffer, bytes, index, format);
    } catch (error) {
      giveBack(buffer);
      throw error;
    }
    return buffer;
  }

  /** Memory that cannot be shared is copied into a pool of ours; negotiation sees to it that this is the exception. */
  async #copy(incoming: MediaBuffer, format: LineFormat): Promise<MediaBuffer> {
    let copy: MediaBuffer | undefined;
    try {
      const coming = this.#lastCopy.then(() => this.#memoryFor(incoming.size, format));
      this.#lastCopy = coming.catch(() => {});
      copy = await coming;
      const mapped = incoming.map("read");
      try {
        copy.fill(0, mapped.bytes);
        if (copy.size !== mapped.bytes.length) copy.resize(0, mapped.bytes.length);
      } finally {
        mapped.unmap();
      }
      copy.copyFrom(incoming, CopyFlags.FLAGS | CopyFlags.TIMESTAMPS | CopyFlags.META);
    } catch (error) {
      releaseQuietly(copy);
      throw error;
    }
    releaseOrDrop(incoming, copy);
    return copy;
  }

  /** Room for a copy, out of a pool that was settled for its format. A frame may have more bytes than that says. */
  async #memoryFor(size: number, format: LineFormat): Promise<MediaBuffer> {
    await format.taken;
    const { out } = this;
    if (out.decision === null || out.needsReconfigure || size > out.decision.size) {
      const before = this.#largest?.format === format ? this.#largest.size : 0;
      this.#largest = { format, size: Math.max(before, size) };
      await out.negotiate(this.max + 1);
    }
    return out.acquire();
  }

  /** For a pool of its own: in shared memory, and with room for the largest frame so far. */
  override decideAllocation(query: AllocationQuery): void {
    this.#askForShared(query);
    if (this.#largest !== undefined) query.enlarge(this.#largest.size);
  }

  #askForShared(query: AllocationQuery): void {
    query.withholdPools("threads need shared memory");
    // Slots begin on a cache line, so that two threads never write into one. The allocator is for a
    // stage that cannot use the pool.
    query.requireParams(allocators.find("shared")!, { align: 64 });
    const { clock } = this.running;
    const made = this.createPool({ name: `${this.name}-slots`, threads: this.#threadCount, clock });
    const pool = instance(`what createPool() of "${this.name}" returns`, "a BufferPool", BufferPool, made);
    query.addPool({ pool });
  }

  /**
   * Hook: makes a pool to offer; it gets its memory when somebody accepts it. A subclass may take another kind of pool
   * over shared memory, whose buffers threads then look at without a lease. Default: a SharedBufferPool.
   */
  protected createPool(options: SharedBufferPoolOptions): BufferPool {
    return new SharedBufferPool(options);
  }

  /**
   * Hook: true where the bytes of a frame move to the thread: each frame is an ArrayBuffer of its own, which nobody
   * else has, and goes on without bytes. Default: false.
   */
  protected get transfers(): boolean {
    return false;
  }

  /** As {@link WorkersOptions.buffers} says; else as a queue. */
  protected override addRetained(query: AllocationQuery): void {
    if (this.#buffers === undefined) super.addRetained(query);
    else query.raise(this.#buffers - 1, "in work, or on their way out");
  }

  /** As a queue, and in shared memory. */
  override async proposeAllocation(query: AllocationQuery): Promise<boolean> {
    if (!(await super.proposeAllocation(query))) return false;
    this.#askForShared(query);
    return true;
  }

  #post(buffer: MediaBuffer, bytes: Uint8Array, index: number, format: WorkerFormat): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken;
    let [thread] = this.#threads;
    if (thread === undefined) throw new MillpondError("ERR_INACTIVE", `"${this.name}" has no threads: it was stopped`);
    for (const one of this.#threads) if (one.jobs.size < thread.jobs.size) thread = one;
    const post = (message: ToThread, transfer?: ArrayBuffer[]): void => thread.port.postMessage(message, transfer);
    const { transfers } = this;
    const [place, offset] = transfers ? movedPlace(bytes) : this.#slots.place(thread.port, buffer, bytes);
    if (thread.format !== format) {
      thread.format = format;
      post({ type: "format", format });
    }
    const { pts, duration } = buffer;
    return new Promise((done, reject) => {
      thread.jobs.set(index, { resolve: done, reject });
      thread.wait ??= this.running.beginWait(this, "waiting for a thread to finish a frame", FRAME_BOUNDS);
      const message: ToThread = { type: "work", index, place, offset, length: bytes.length, pts, duration };
      post(message, "moved" in place ? [place.moved] : undefined);
    });
  }

  /** Ends the threads; what they were working on is released when they can touch it no more. */
  override async stop(): Promise<void> {
    this.#dropFormats();
    this.#inLine = [];
    this.#largest = undefined;
    const threads = this.#threads;
    this.#threads = [];
    try {
      super.stop();
    } finally {
      // A function that hangs would keep the run from ending; there is nothing left for it to do.
      for (const thread of threads) void endThread(thread);
      await Promise.all(threads.map((thread) => thread.exited));
      this.#dropResults();
      await Promise.allSettled(this.#inWork);
      this.#slots.unwatch();
    }
  }

  /** `2 threads, up to 4 frames in work`. */
  override get role(): string {
    return `${this.#threadCount} threads, up to ${this.max} frames in work`;
  }
}

/**
 * Ends a thread, also one that hangs, but not while it loads files: Node does not close a file whose reading a
 * `terminate()` interrupts, and the process would keep its descriptor. A module has a moment for that; one that hangs
 * does not keep the run.
 */
async function endThread(thread: Thread): Promise<void> {
  if (thread.isEnding) return;
  thread.isEnding = true;
  await thread.started;
  let timer: unknown;
  const moment = new Promise<void>((resolve) => {
    timer = systemClock.setTimer(resolve, LOADING_MOMENT_MS, false);
  });
  await Promise.race([thread.loaded, moment]);
  systemClock.clearTimer(timer);
  await thread.worker.terminate();
}

/** A thread gets a clone. Throws `ERR_INVALID_ARG_VALUE`. */
function cloneOf(options: unknown): unknown {
  try {
    return structuredClone(options);
  } catch (cause) {
    throw Object.assign(badValue("options.options", "data that can be cloned", options), { cause });
  }
}

function isOutOfMemory(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === "ERR_WORKER_OUT_OF_MEMORY";
}

function movedPlace(bytes: Uint8Array): [Place, number] {
  return [{ moved: bytes.buffer as ArrayBuffer }, bytes.byteOffset];
}

/**
 * A format that joins the line. Frames behind it are copied once what is downstream has taken it; whatever ends it
 * instead ends their wait. A call after the first one does nothing.
 */
class LineFormat {
  readonly format: WorkerFormat;
  /** True once what is downstream has taken it. */
  isTaken = false;
  /** Resolves then; rejects when it is dropped. */
  readonly taken: Promise<void>;
  #resolve!: () => void;
  #reject!: (error: Error) => void;

  constructor(format: WorkerFormat) {
    this.format = format;
    this.taken = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Most frames lie in shared memory already, and nobody waits for this.
    this.taken.catch(() => {});
  }

  take(): void {
    this.isTaken = true;
    this.#resolve();
  }

  drop(error: Error): void {
    this.#reject(error);
  }
}

function isInSharedMemory(buffer: MediaBuffer): boolean {
  if (buffer.memoryCount !== 1) return false;
  const mapped = buffer.map("read");
  try {
    return mapped.bytes.buffer instanceof SharedArrayBuffer;
  } finally {
    mapped.unmap();
  }
}

function plainFormat(format: StreamFormat): WorkerFormat {
  if (format.kind === "bytes") return { kind: "bytes", ...(format.type === undefined ? {} : { format: format.type }) };
  const planes = format.info.planes.map((plane) => ({ ...plane }));
  if (format.kind === "audio") {
    const { format: name, sampleRate, channels } = format.info;
    return { kind: "audio", format: name, sampleRate, channels, planes };
  }
  const { format: name, width, height } = format.info;
  return { kind: "video", format: name, width, height, planes };
}
