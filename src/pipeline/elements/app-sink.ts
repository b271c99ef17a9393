/**
 * AppSink: the end of a pipeline in an application's loop. Each buffer belongs to the loop's body, which releases it; a
 * loop that is slow holds the whole pipeline back, and one that is left ends it.
 *
 * ```ts
 * const sink = new AppSink();
 * const run = pipeline.link(source, sink).run();
 * for await (const buffer of sink) { use(buffer); buffer.release(); }
 * await run;
 * ```
 *
 * Life-cycle: a loop may begin before the run, while it goes on, or after it; it ends when that run has ended, in
 * whatever way, or at the end of the stream. One that begins when the end of a run has been told to a loop already is
 * for the next run. A seek opens the sink again: a loop that has ended does not go on, and what comes waits for another
 * one, as it does before the first one. `acquireTimeout` does not bound that wait; an abort ends it.
 *
 * Invariant: no `next()` and no `render()` waits once the run is over.
 */
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { releaseAll } from "../../media/buffer/release.ts";
import { readOptions, wholeNumber } from "../../util/validate.ts";
import { checkName, type Running } from "../base/element.ts";
import { flushingError, type Maybe } from "../base/pad.ts";
import { Sink } from "../base/sink.ts";
import { Caps, checkCaps } from "../caps.ts";

/** How an {@link AppSink} is made. */
export interface AppSinkOptions {
  /** For messages. */
  name?: string;
  /** What it takes; default: anything. */
  caps?: Caps;
  /** Buffers that the application holds at a time at most; default 1, the one in the loop's body. */
  retainedBuffers?: number;
}

interface Ready {
  readonly buffer: MediaBuffer;
  /** Ends the wait of the call that brought it. */
  readonly taken: () => void;
}

interface Waiting {
  readonly resolve: (result: IteratorResult<MediaBuffer, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

/** Gives buffers to a loop. */
export class AppSink extends Sink implements AsyncIterable<MediaBuffer, undefined> {
  readonly #retained: number;
  /** Buffers that no loop has taken yet, in order; more than one where a stage pushes without waiting. */
  #ready: Ready[] = [];
  /** Calls of next() that no buffer has come for, in order. */
  readonly #waiting: Waiting[] = [];
  #state: "idle" | "open" | "ended" = "idle";
  /** A loop has heard that the run ended, or was left: the next one is for the next run. */
  #isTold = false;
  #isInRun = false;
  #failure: { error: unknown } | undefined;
  /** The loop was left before the end; a seek does not bring it back. */
  #isLeft = false;

  /** Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
  constructor(options: AppSinkOptions = {}) {
    const {
      name,
      caps = Caps.any,
      retainedBuffers = 1,
    } = readOptions("options", options, ["name", "caps", "retainedBuffers"]);
    super(checkName("options.name", name), checkCaps("options.caps", caps));
    this.#retained = wholeNumber("options.retainedBuffers", retainedBuffers, 1, 4096);
  }

  /** The application takes when it likes. */
  override get isPacedFromOutside(): boolean {
    return true;
  }

  /** What the application holds, and the one that is ready for it. */
  override get retainedBuffers(): number {
    return this.#retained + 1;
  }

  /**
   * @internal Opens it for one loop, and ends that loop with the run: also with one that ends before this stage is
   *   started.
   */
  override attach(running: Running | null): void {
    if (running === null) {
      if (this.#state !== "ended") this.#failEnd();
      super.attach(null);
      this.#isInRun = false;
      return;
    }
    super.attach(running);
    this.#isInRun = true;
    this.#state = "open";
    this.#failure = undefined;
    this.#isLeft = false;
    this.#isTold = false;
  }

  /** Hands the buffer to the loop, and waits until it was taken. */
  override render(buffer: MediaBuffer): Maybe<void> {
    if (this.#isLeft) {
      this.requestEos();
      return undefined;
    }
    const kept = buffer.retain();
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) {
      waiting.resolve({ value: kept, done: false });
      return undefined;
    }
    return new Promise((taken) => {
      this.#ready.push({ buffer: kept, taken });
    });
  }

  /** @internal Calls that wait for the loop end with a run and at a seek; the hooks release what they brought. */
  override wakeWaiters(): void {
    super.wakeWaiters();
    for (const { taken } of this.#ready) taken();
  }

  /** The loop ends when everything was taken. */
  override finish(): void {
    this.#end();
  }

  #end(): void {
    this.#state = "ended";
    this.#isTold = this.#isTold || this.#waiting.length > 0;
    for (const waiting of this.#waiting.splice(0)) {
      if (this.#failure === undefined) waiting.resolve({ value: undefined, done: true });
      else waiting.reject(this.#failure.error);
    }
  }

  /** Ends the wait for the application's loop. */
  override unlock(): void {
    this.#dropReady();
  }

  #dropReady(): void {
    const ready = this.#ready;
    this.#ready = [];
    for (const { taken } of ready) taken();
    releaseAll(ready.map(({ buffer }) => buffer));
  }

  /** Drops what was not taken. */
  override onFlush(): void {
    super.onFlush();
    this.#dropReady();
    if (this.#state !== "ended") return;
    this.#state = "open";
    this.#isTold = false;
  }

  /** Ends the loop; with an error when the run ended with one. */
  override stop(): void {
    if (this.#state === "open") this.#failEnd();
    void super.stop();
    this.#dropReady();
  }

  #failEnd(): void {
    const reason: unknown = this.running.signal.reason;
    this.#failure = { error: reason ?? flushingError(String(this.in)) };
    this.#end();
  }

  /**
   * The buffers, one at a time; one loop at a time. Begun after a run whose end another loop has seen, it waits for the
   * next run.
   */
  [Symbol.asyncIterator](): AsyncIterator<MediaBuffer, undefined> {
    this.#isLeft = false;
    if (this.#state === "ended" && this.#isTold && !this.#isInRun) {
      this.#state = "idle";
      this.#failure = undefined;
      this.#isTold = false;
    }
    let isOver = false;
    const over = (): IteratorResult<MediaBuffer, undefined> => {
      isOver = true;
      return { value: undefined, done: true };
    };
    return {
      next: async () => {
        if (isOver) return over();
        try {
          const result = await this.#next();
          return result.done === true ? over() : result;
        } catch (error) {
          isOver = true;
          throw error;
        }
      },
      return: async () => {
        if (isOver) return over();
        this.#isLeft = true;
        this.#isTold = true;
        isOver = true;
        try {
          this.requestEos();
        } finally {
          this.#dropReady();
        }
        return over();
      },
    };
  }

  #next(): Promise<IteratorResult<MediaBuffer, undefined>> {
    const ready = this.#ready.shift();
    if (ready !== undefined) {
      ready.taken();
      return Promise.resolve({ value: ready.buffer, done: false });
    }
    if (this.#state === "ended") {
      this.#isTold = true;
      if (this.#failure !== undefined) return Promise.reject(this.#failure.error);
      return Promise.resolve({ value: undefined, done: true });
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  /** What an application's loop takes. */
  override get role(): string {
    return `the application's loop, which may retain ${this.#retained}`;
  }
}
