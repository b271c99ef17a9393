/**
 * Deterministic interleavings of the pool's own code. The sources of its steps are taken as they are and translated:
 * every function becomes a generator, and every access to shared memory yields before it happens. A schedule then
 * decides, access by access, which thread goes on; a thread that is dropped died between these two instructions. The
 * production code has no seam for this and pays nothing.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type * as ProcessTableModule from "../../../src/pools/process/process-table.ts";
import type * as CoreModule from "../../../src/pools/shared/core.ts";
import * as layoutModule from "../../../src/pools/shared/layout.ts";
import type * as LineageModule from "../../../src/pools/shared/lineage.ts";
import type * as StatusModule from "../../../src/pools/shared/member-status.ts";
import type * as MembershipModule from "../../../src/pools/shared/membership.ts";
import type * as PoolStateModule from "../../../src/pools/shared/pool-state.ts";
import type * as ReclaimModule from "../../../src/pools/shared/reclaim.ts";
import type * as RingModule from "../../../src/pools/shared/ring-steps.ts";
import type * as TransferModule from "../../../src/pools/shared/transfer.ts";
import type * as SleepModule from "../../../src/pools/shared/wait.ts";
import { isFullLength } from "../../helpers/effort.ts";

/**
 * What a thread says at a scheduling point: nothing, that it sleeps on a word's value, or that a test's thread waits
 * for something.
 */
export type Pause =
  | undefined
  | { readonly sleep: readonly [i32: Int32Array, index: number, value: number] }
  | { readonly until: () => boolean };

/** A function's translation. */
type Stepped<F> = F extends (...args: infer A) => infer R ? (...args: A) => Step<R> : F;

type Functions<M> = { [K in keyof M as M[K] extends (...args: never[]) => unknown ? K : never]: Stepped<M[K]> };

/** The steps of the pool, with a scheduling point before every access to shared memory. */
export type Steps = Functions<typeof CoreModule> &
  Functions<typeof StatusModule> &
  Functions<typeof LineageModule> &
  Functions<typeof TransferModule> &
  Functions<typeof PoolStateModule> &
  Functions<typeof ReclaimModule> &
  Functions<typeof MembershipModule> &
  Functions<typeof SleepModule> &
  Functions<typeof RingModule> &
  Functions<typeof ProcessTableModule>;

const SOURCES = [
  "shared/core.ts",
  "shared/member-status.ts",
  "shared/lineage.ts",
  "shared/transfer.ts",
  "shared/pool-state.ts",
  "shared/reclaim.ts",
  "shared/membership.ts",
  "shared/wait.ts",
  "shared/ring-steps.ts",
  "process/process-table.ts",
];

/**
 * The translation of the sources as they are; kept, since the compiler takes longer to load than most of the files that
 * use the steps take to run.
 */
async function translated(): Promise<string> {
  const sources = SOURCES.map((name) => readFileSync(join(import.meta.dirname, "../../../src/pools", name), "utf8"));
  const translator = readFileSync(join(import.meta.dirname, "translate.ts"), "utf8");
  const hash = createHash("sha256")
    .update(JSON.stringify([translator, ...sources]))
    .digest("hex");
  const folder = join(import.meta.dirname, "../../../node_modules/.cache/millpond-steps");
  const path = join(folder, `${hash}.js`);
  if (existsSync(path)) return readFileSync(path, "utf8");
  const { translate } = await import("./translate.ts");
  const text = translate(sources);
  mkdirSync(folder, { recursive: true });
  // Under its name when it is whole: others look for it at the same time.
  writeFileSync(`${path}.${process.pid}`, text);
  renameSync(`${path}.${process.pid}`, path);
  return text;
}

/** The translated steps. */
export const steps: Steps = await (async () => {
  const constants = Object.entries(layoutModule);
  let time = 0;
  return new Function("performance", ...constants.map(([name]) => name), await translated())(
    // A millisecond passes at each look at the clock, so that nobody spins twice.
    { now: () => time++ },
    ...constants.map(([, value]) => value),
  ) as Steps;
})();

/** Something that pauses at each access to shared memory. */
export type Step<R> = Generator<Pause, R, void>;

/** One thread of a run: all that it does. */
export type Thread = Step<void>;

/** A run: made anew for each schedule. */
export interface Run {
  readonly threads: readonly Thread[];
  /** What all of shared memory is, for recognizing a situation that was seen before. */
  readonly i32: Int32Array;
  /** Called when all have ended; throws when something is wrong. */
  check(): void;
  /** Whether a thread may die at any point; at most one does in a run. */
  readonly mortal?: readonly boolean[];
  /** Called when a thread died, before anybody goes on. */
  died?(thread: number): void;
}

/** How far to explore. */
export interface Bounds {
  /** Switches away from a thread that could have gone on; default: no bound, every interleaving. */
  readonly preemptions?: number;
  /** A stop for runaway explorations: reaching it is an error. */
  readonly schedules?: number;
}

/** What was explored. */
export interface Explored {
  readonly schedules: number;
  readonly points: number;
}

interface Choice {
  readonly options: readonly number[];
  at: number;
}

/**
 * Schedules that are run of an exploration: all of a small one, and as many at random of a large one. With
 * MILLPOND_EXHAUSTIVE all are run of every one, which takes an hour or more: by hand, after a change to a step.
 */
const SAMPLE = isFullLength ? 10_000 : 60;
const isExhaustive = process.env.MILLPOND_EXHAUSTIVE !== undefined;

/**
 * Runs every schedule (within the bounds), each from the beginning, or a sample of so many, the same in each run.
 * Throws what a check throws, with the schedule.
 */
export function explore(make: () => Run, bounds: Bounds = {}): Explored {
  return isExhaustive ? exploreAll(make, bounds) : exploreSome(make, bounds);
}

/** The first schedules in order, which are all of a small exploration, and then as many at random. */
function exploreSome(make: () => Run, { preemptions = Number.POSITIVE_INFINITY }: Bounds): Explored {
  const explored = exploreAll(make, { preemptions, upTo: SAMPLE });
  if (explored.schedules < SAMPLE) return explored;
  let { points } = explored;
  let state = 1;
  const pick = (options: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % options;
  };
  for (let n = 0; n < SAMPLE; n++) points += replay(make(), [], preemptions, pick);
  return { schedules: 2 * SAMPLE, points };
}

/** Whether an exploration had at least so many schedules; no more than a sample of them are run. */
export const atLeast = (schedules: number): number => (isExhaustive ? schedules : Math.min(schedules, SAMPLE));

function exploreAll(make: () => Run, bounds: Bounds & { readonly upTo?: number }): Explored {
  const { preemptions = Number.POSITIVE_INFINITY, schedules: most = 2_000_000, upTo = most + 1 } = bounds;
  const path: Choice[] = [];
  let schedules = 0;
  let points = 0;
  for (;;) {
    points += replay(make(), path, preemptions);
    if (++schedules > most) throw new Error(`more than ${most} schedules`);
    while (path.length > 0 && path.at(-1)!.at + 1 >= path.at(-1)!.options.length) path.pop();
    if (path.length === 0 || schedules === upTo) return { schedules, points };
    path.at(-1)!.at++;
  }
}

/**
 * A negative option is the end of thread `-1 - option`. `pick` says which option is taken where the path says nothing.
 */
function replay(run: Run, path: Choice[], preemptions: number, pick: (options: number) => number = () => 0): number {
  const scheduler = new Scheduler(run);
  let depth = 0;
  let left = preemptions;
  try {
    for (;;) {
      const able = scheduler.able();
      if (able.length === 0) break;
      let choice = path[depth];
      if (choice === undefined) {
        const options = scheduler.options(able, left > 0);
        choice = { options, at: pick(options.length) };
        path.push(choice);
      }
      depth++;
      const option = choice.options[choice.at]!;
      if (option >= 0 && scheduler.last !== option && able.includes(scheduler.last)) left--;
      scheduler.go(option);
    }
    scheduler.finish();
    return depth;
  } catch (error) {
    const schedule = path.slice(0, depth).map(({ options, at }) => options[at]);
    throw new Error(`${(error as Error).message}\nschedule: ${schedule.join(" ")}`, { cause: error });
  }
}

/** One schedule chosen by `pick` (how many options there are -> which); for random walks. */
export function walk(run: Run, pick: (options: number) => number): void {
  const scheduler = new Scheduler(run);
  const schedule: number[] = [];
  try {
    for (;;) {
      const able = scheduler.able();
      if (able.length === 0) break;
      const options = scheduler.options(able, true);
      const option = options[pick(options.length)]!;
      schedule.push(option);
      scheduler.go(option);
    }
    scheduler.finish();
  } catch (error) {
    throw new Error(`${(error as Error).message}\nschedule: ${schedule.join(" ")}`, { cause: error });
  }
}

class Scheduler {
  readonly run: Run;
  last = -1;
  #dead = false;
  readonly #done: boolean[];
  readonly #asleep: (number | undefined)[];
  readonly #until: ((() => boolean) | undefined)[];
  /** Those who sleep, in the order in which they fell asleep. */
  readonly #sleepers: number[] = [];

  constructor(run: Run) {
    this.run = run;
    this.#done = run.threads.map(() => false);
    this.#asleep = run.threads.map(() => undefined);
    this.#until = run.threads.map(() => undefined);
    current = this;
  }

  able(): number[] {
    return this.run.threads.flatMap((_, i) => {
      const blocked = this.#done[i] || this.#asleep[i] !== undefined || this.#until[i]?.() === false;
      return blocked ? [] : [i];
    });
  }

  options(able: readonly number[], maySwitch: boolean): number[] {
    const goesOn = able.includes(this.last);
    const threads = goesOn && !maySwitch ? [this.last] : [...able];
    // First the one that ran: without switches a schedule is one thread after the other.
    if (goesOn) threads.sort((a, b) => Number(b === this.last) - Number(a === this.last));
    if (this.#dead || this.run.mortal === undefined) return threads;
    return [...threads, ...threads.filter((i) => this.run.mortal![i]).map((i) => -1 - i)];
  }

  go(option: number): void {
    if (option < 0) {
      this.#dead = true;
      this.#done[-1 - option] = true;
      this.run.died?.(-1 - option);
      return;
    }
    this.last = option;
    current = this;
    const { done, value } = this.run.threads[option]!.next() as IteratorResult<Pause, undefined>;
    this.#until[option] = value !== undefined && "until" in value ? value.until : undefined;
    if (done) this.#done[option] = true;
    else if (value !== undefined && "sleep" in value) {
      const [i32, index, expected] = value.sleep;
      if (i32[index] !== expected) return;
      this.#asleep[option] = index;
      this.#sleepers.push(option);
    }
  }

  wake(index: number, count: number): void {
    for (const thread of this.#sleepers.filter((one) => this.#asleep[one] === index).slice(0, count)) {
      this.#asleep[thread] = undefined;
      this.#sleepers.splice(this.#sleepers.indexOf(thread), 1);
    }
  }

  finish(): void {
    const stuck = this.#done.flatMap((done, i) => (done ? [] : [i]));
    if (stuck.length > 0) throw new Error(`threads ${stuck.join(", ")} wait, and nobody is left to wake them`);
    this.run.check();
  }
}

let current: Scheduler | undefined;

/** What `Atomics.notify` is in a run. */
export function notify(_i32: Int32Array, index: number, count: number): void {
  current?.wake(index, count);
}

/** Runs a step from beginning to end, alone. */
export function alone<R>(step: Step<R>): R {
  for (;;) {
    const { done, value } = step.next();
    if (done) return value as R;
  }
}
