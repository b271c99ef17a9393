/**
 * How threads of several processes sleep and wake on a word of a shared pool. A thread that may block sleeps in the
 * kernel (a futex), in slices, and looks between them at a stop word and for ended processes. For one that must not
 * block, a helper thread sleeps: it wakes this process's `Atomics.waitAsync` when the word changes in any process.
 * Without a futex both look again and again.
 */
import { Worker } from "node:worker_threads";
import type { NativeOps } from "../../os/native-ops.ts";
import { waitForChange } from "../../os/wait.ts";
import { systemClock } from "../../util/clock.ts";
import { MillpondError } from "../../util/errors.ts";
import { Header } from "../shared/layout.ts";
import { atomicsWaiter, CheckedWaiter, type SharedWaiter } from "../shared/waiter.ts";

/** How one who waits without blocking hears of a slot. */
export type AsyncWait = "thread" | "poll";

/** A word of shared memory that ends blocking waits once it is not 0. */
export interface StopWord {
  /** Of a SharedArrayBuffer. */
  readonly words: Int32Array;
  /** Which word. */
  readonly index: number;
}

/** What a {@link ProcessWaiter} is made from. */
interface ProcessWaiterOptions {
  /** The pool's words. */
  readonly i32: Int32Array;
  /** The operations. */
  readonly ops: NativeOps;
  /** See {@link AsyncWait}. */
  readonly asyncWait: AsyncWait;
  /** Ends blocking waits. */
  readonly stop: StopWord | undefined;
  /** Called between the slices of a blocking wait, in which no timer runs. */
  readonly look: () => void;
}

/** Words of the memory that a thread shares with its helper. */
export const Helper = {
  /** Counts what the helper is asked to watch. */
  ASKED: 0,
  /** The value that it is to see changed. */
  VALUE: 1,
  /** Not 0: end. */
  STOP: 2,
  /** How far it is: a {@link HelperState}. */
  STATE: 3,
  END: 4,
} as const;

/** How far a helper is. */
export const HelperState = {
  /** Its thread starts, and loads what asks the system. */
  LOADING: 0,
  /** It sleeps when asked to. */
  READY: 1,
  /** It asks the system nothing more. */
  DONE: 2,
} as const;

/**
 * How long a process that exits waits for all helpers that are still loading: a thread that is ended there aborts it.
 */
const EXIT_GRACE_MS = 2000;

/** First and longest sleep where there is no futex: as the pool's own polling. */
const POLL_MS = { first: 1, most: 16 } as const;

const FILE = new URL(import.meta.url.endsWith(".ts") ? "./futex-worker.ts" : "./futex-worker.js", import.meta.url);

/** A waiter's helper, apart from the waiter: a running thread must not keep a pool that was forgotten. */
interface Helping {
  readonly i32: Int32Array;
  readonly ops: NativeOps;
  readonly control: Int32Array;
  helper: Worker | undefined;
  closed: boolean;
}

/** Helpers whose thread runs. They share one listener, because runtimes warn of many. */
const running: Set<Helping> = new Set();

/** Ends the helper of a waiter that nobody closed. */
const forgotten: FinalizationRegistry<Helping> = new FinalizationRegistry(endHelper);

/** A process that exits ends its threads: this asks them first, and waits for those that are loading. */
function endAll(): void {
  for (const helping of running) endHelper(helping);
  const until = systemClock.now() + EXIT_GRACE_MS;
  for (const { control } of running) {
    Atomics.wait(control, Helper.STATE, HelperState.LOADING, Math.max(0, until - systemClock.now()));
  }
}

function endHelper(helping: Helping): void {
  if (helping.closed) return;
  helping.closed = true;
  if (helping.helper === undefined) return;
  Atomics.store(helping.control, Helper.STOP, 1);
  Atomics.notify(helping.control, Helper.ASKED);
  // It may sleep in the kernel, which nothing else ends before its slice is over.
  helping.ops.futex.wake(helping.i32, Header.WAKES, 0x7fffffff);
}

function startHelper(helping: Helping): Worker | undefined {
  const { i32, control } = helping;
  const workerData = { memory: i32.buffer, control: control.buffer };
  let helper: Worker;
  try {
    helper = new Worker(FILE, { workerData, execArgv: [], name: "millpond-wait" });
  } catch {
    // A runtime that starts no workers, by its permissions: who waits looks again and again.
    helping.closed = true;
    return undefined;
  }
  helper.unref();
  const ended = (): void => {
    Atomics.store(control, Helper.STATE, HelperState.DONE);
    running.delete(helping);
    if (running.size === 0) process.removeListener("exit", endAll);
    // Who sleeps by Atomics.waitAsync is woken, and polls from then on.
    helping.closed = true;
    Atomics.notify(i32, Header.WAKES);
  };
  helper.on("error", ended).on("exit", ended);
  // A process that exits waits for its threads, and this one looks up every 50 ms only.
  if (running.size === 0) process.once("exit", endAll);
  running.add(helping);
  return helper;
}

/** Sleeping and waking across processes; close it when the thread takes part no more. */
export class ProcessWaiter extends CheckedWaiter implements SharedWaiter {
  /** How blocking waits sleep. */
  readonly kind: "futex" | "poll";
  readonly #options: ProcessWaiterOptions;
  readonly #helping: Helping;
  #pollMs: number = POLL_MS.first;

  /** Starts nothing yet. */
  constructor(options: ProcessWaiterOptions) {
    super();
    this.#options = options;
    const control = new Int32Array(new SharedArrayBuffer(4 * Helper.END));
    this.#helping = { i32: options.i32, ops: options.ops, control, helper: undefined, closed: false };
    // It wakes 0 sleepers: it only asks whether there is a futex.
    this.kind = options.ops.futex.wake(options.i32, Header.WAKES, 0).ok ? "futex" : "poll";
  }

  /** Sleeps while the word has that value, for at most `ms`. Throws `ERR_INACTIVE` when the stop word is set. */
  wait(i32: Int32Array, index: number, value: number, ms: number): void {
    const { look, stop, ops } = this.#options;
    look();
    if (stop !== undefined && Atomics.load(stop.words, stop.index) !== 0) {
      throw new MillpondError("ERR_INACTIVE", "the wait was ended by its stop word");
    }
    if (this.kind === "futex") {
      const bounds = stop === undefined ? { timeout: ms, ops } : { timeout: ms, ops, stop };
      if (waitForChange(i32, index, value, bounds).ok) return;
    }
    // Threads of this process wake it at once; for those of other processes it looks again.
    const woken = Atomics.wait(i32, index, value, Math.min(ms, this.#pollMs)) !== "timed-out";
    this.#pollMs = woken ? POLL_MS.first : Math.min(this.#pollMs * 2, POLL_MS.most);
  }

  /** Wakes sleepers of every process, and those of this one that sleep by Atomics. */
  readonly notify = (i32: Int32Array, index: number, count: number): void => {
    if (this.kind === "futex") this.#options.ops.futex.wake(i32, index, count);
    Atomics.notify(i32, index, count);
  };

  /** As `wait`, without blocking; undefined (the pool polls then) until the helper runs, or where there is none. */
  get waitAsync(): SharedWaiter["waitAsync"] {
    const helping = this.#helping;
    if (this.kind === "poll" || this.#options.asyncWait === "poll" || helping.closed) return undefined;
    if (helping.helper === undefined) {
      helping.helper = startHelper(helping);
      if (helping.helper === undefined) return undefined;
      forgotten.register(this, helping, helping);
    }
    return Atomics.load(helping.control, Helper.STATE) === HelperState.READY ? this.#sleep : undefined;
  }

  /** Ends the helper; sleepers of this thread that it served look by themselves from then on. */
  close(): void {
    forgotten.unregister(this.#helping);
    endHelper(this.#helping);
  }

  readonly #sleep = (i32: Int32Array, index: number, value: number, ms: number): Promise<unknown> | undefined => {
    // This sleeps first: the helper wakes it for every change that it sees from then on.
    const woken = atomicsWaiter.waitAsync?.(i32, index, value, ms);
    if (woken === undefined) return undefined;
    const { control } = this.#helping;
    Atomics.store(control, Helper.VALUE, value);
    Atomics.add(control, Helper.ASKED, 1);
    Atomics.notify(control, Helper.ASKED);
    return woken;
  };
}
