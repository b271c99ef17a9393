/**
 * The pools of this realm. Each registers when it is made, and is held weakly: a pool that the program forgot is
 * forgotten here too.
 *
 * A pool that nobody looks at pays for its registration and for nothing else. Who looks *asks* (`counts`, `holders`) or
 * *watches*: an observer is told of every lease. While a pool is watched its fast paths are closed; the pool's own
 * slow path tells the observer. Observers are the library's own, and never throw.
 *
 * Life-cycle of a registration: made by {@link registerPool}, watched and not watched any more as observers come and
 * go, ended once by {@link PoolRegistration.end}. Complexity: registering is O(1), {@link registrations} O(pools).
 */
import { throwLater } from "../util/errors.ts";
import type { Site } from "../util/stack.ts";
import {
  discardChannel,
  leakChannel,
  type PoolIdentity,
  type PoolMessage,
  poolChannel,
  starvedChannel,
  type WaitMessage,
  waitChannel,
} from "./channels.ts";
import type { PoolCounts, PoolHolder, PoolKind, PoolMember } from "./pool-info.ts";

/** What a pool answers when it is asked. It changes nothing. */
interface PoolProbe {
  /** Its counters. */
  counts(): PoolCounts;
  /** Its own stats(). */
  stats(): object;
  /** The leases that are out, at most so many, longest first where ages are known. */
  holders(most: number): readonly PoolHolder[];
  /** Who takes part, in a shared pool. */
  members?(): readonly PoolMember[];
  /** The same number for every registration of one shared pool. */
  shared?: number;
  /** Ends the registration where the pool has ended and nobody has told it: another thread or process did that. */
  lookForEnd?(): void;
  /** Opens or closes the fast paths: the registration's `observer` was set or taken away. */
  watch(): void;
}

/** Who is told of every lease, wait and discard of the pools that it watches. It must not call the pool. */
export interface PoolObserver {
  /** A lease began. */
  onAcquire(pool: PoolRegistration, slot: number, lease: number, tag: string | undefined, site: Site | undefined): void;
  /** The slot's lease ended, and the slot is free or gone. */
  onRelease(pool: PoolRegistration, slot: number): void;
  /** A wait began; returns its number. */
  onWait(pool: PoolRegistration): number;
  /** That wait ended. */
  onWaitEnd(pool: PoolRegistration, wait: number, served: boolean): void;
  /** The pool has so many slots now. */
  onResize(pool: PoolRegistration, count: number): void;
  /** A slot was freed instead of kept. */
  onDiscard(pool: PoolRegistration, slot: number, reason: string): void;
  /** A wait lasts too long. */
  onStarved(pool: PoolRegistration, waited: number, waiting: number): void;
  /** The pool has ended, and all its leases. */
  onEnd(pool: PoolRegistration): void;
}

/** Who waits for a pool, as far as the end of a process needs it. */
interface Waits {
  readonly first: Starving | null;
}

interface Starving {
  /** Tells that the wait was in vain, and makes its error. */
  starve(): unknown;
}

/** What a {@link StarvedMessage} lists at most. */
const MAX_HOLDERS = 64;

/** A pool, as the registry knows it. The pool holds it. */
export class PoolRegistration implements PoolIdentity {
  /** The pool's number in this realm; the first is 1. */
  readonly id: number;
  /** Its kind. */
  readonly kind: PoolKind;
  /** Its name. */
  readonly name: string;
  /** What it answers. */
  readonly probe: PoolProbe;
  /** Who watches; null: nobody. Set by {@link setObserver}. */
  observer: PoolObserver | null = null;
  /** Leases that were collected without a release; null: the pool does not look for them. */
  leaks: number | null = null;
  /** Who waits for it; undefined: nobody has. */
  waits: Waits | undefined = undefined;
  /** Whether {@link warnOnce} has warned of it, or is not to: somebody listens to the pool itself. */
  isWarned = false;
  #ended = false;
  #isReady = false;

  /** Made by {@link registerPool}. */
  constructor(id: number, kind: PoolKind, name: string, probe: PoolProbe) {
    this.id = id;
    this.kind = kind;
    this.name = name;
    this.probe = probe;
  }

  /** Whether the pool has ended. */
  get isEnded(): boolean {
    return this.#ended;
  }

  /** Sets who is told of everything from now on. Several share by {@link watchPool}. */
  setObserver(observer: PoolObserver | null): void {
    this.observer = observer;
    if (this.#isReady && !this.#ended) this.probe.watch();
  }

  /**
   * The pool is whole: from now on it is listed, told of, asked and watched. Called last in its constructor, or in that
   * of the subclass by which it is asked.
   */
  begin(): void {
    this.#isReady = true;
    live.set(this.id, new WeakRef(this));
    for (const hear of newcomers) hear(this);
    if (poolChannel.hasSubscribers) poolChannel.publish({ ...identityOf(this), event: "create" } satisfies PoolMessage);
  }

  /** The pool has ended. A second call does nothing. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (!this.#isReady) return;
    live.delete(this.id);
    this.observer?.onEnd(this);
    for (const hear of leavers) hear(this);
    if (poolChannel.hasSubscribers) poolChannel.publish({ ...identityOf(this), event: "close" } satisfies PoolMessage);
  }

  /** A lease of a slot began. */
  acquired(slot: number, lease: number, tag?: string, site?: Site): void {
    this.observer?.onAcquire(this, slot, lease, tag, site);
  }

  /** The slot's lease ended, and the slot is free or gone. */
  released(slot: number): void {
    this.observer?.onRelease(this, slot);
  }

  /** The pool has so many slots now. */
  resized(count: number): void {
    this.observer?.onResize(this, count);
  }
}

// What only some kinds of pool tell are functions: a bundler cannot take single methods out of a class.

/** A wait begins behind `ahead` others; null: nobody wants to know. */
export function beginWait(pool: PoolRegistration, ahead: number, waits: Waits): WaitSpan | null {
  pool.waits = waits;
  if (!isEndWatched) watchEnd();
  const heard = waitChannel.hasSubscribers === true;
  if (pool.observer === null && !heard && waitListeners.size === 0) return null;
  return new WaitSpan(pool, heard ? { ...identityOf(pool), ahead } : null);
}

/** As far as it is used of Node's, Bun's and Deno's. */
interface Host {
  emitWarning?: (warning: unknown) => void;
  on?: (event: "beforeExit", listener: () => void) => void;
}

/** Read where it is needed: at load it would be in the bundle of every name. */
function host(): Host | undefined {
  return (globalThis as { readonly process?: Host }).process;
}
let isEndWatched = false;

/**
 * A process that ends by itself while somebody waits: no pool keeps it alive, and nothing ends those waits any more.
 */
function watchEnd(): void {
  isEndWatched = true;
  host()?.on?.("beforeExit", () => {
    for (const pool of registrations()) {
      try {
        const first = pool.waits?.first;
        if (first) warnOnce(pool, first.starve());
      } catch {
        // A subclass's holders(), or a clock: the process ends as it would without.
      }
    }
  });
}

/** Whether {@link warnOnce} would say something: nobody hears of the pool's starved waits otherwise. */
export function canWarn(pool: PoolRegistration): boolean {
  return !(pool.isWarned || isStarvationHeard(pool)) && host()?.emitWarning !== undefined;
}

/** Emits an error as a warning of the process, one for each pool, where nobody else hears of it. */
export function warnOnce(pool: PoolRegistration, error: unknown): void {
  if (!canWarn(pool)) return;
  pool.isWarned = true;
  host()!.emitWarning!(error);
}

/** Whether anybody wants to hear of starved waits. */
export function isStarvationHeard(pool: PoolRegistration): boolean {
  return pool.observer !== null || starvedChannel.hasSubscribers;
}

/** Somebody has waited too long. */
export function tellStarved(pool: PoolRegistration, waited: number, waiting: number): void {
  pool.observer?.onStarved(pool, waited, waiting);
  if (!starvedChannel.hasSubscribers) return;
  starvedChannel.publish({ ...identityOf(pool), waited, waiting, holders: pool.probe.holders(MAX_HOLDERS) });
}

/** A slot was freed instead of kept. */
export function tellDiscarded(pool: PoolRegistration, slot: number, reason: string): void {
  pool.observer?.onDiscard(pool, slot, reason);
  if (discardChannel.hasSubscribers) discardChannel.publish({ ...identityOf(pool), slot, reason });
}

/** A lease was collected and never released. */
export function tellLeaked(pool: PoolRegistration, holder: PoolHolder): void {
  pool.leaks = (pool.leaks ?? 0) + 1;
  if (leakChannel.hasSubscribers) leakChannel.publish({ ...identityOf(pool), holder });
}

/** One wait, from its place in the line to its end. */
export class WaitSpan {
  readonly #pool: PoolRegistration;
  readonly #message: WaitMessage | null;
  readonly #observer: PoolObserver | null;
  readonly #number: number;
  readonly #since: number = performance.now();

  /** Publishes the beginning. Subscribers run here. */
  constructor(pool: PoolRegistration, message: WaitMessage | null) {
    this.#pool = pool;
    this.#message = message;
    this.#observer = pool.observer;
    this.#number = this.#observer?.onWait(pool) ?? 0;
    if (message === null) return;
    waitChannel.start.publish(message);
    waitChannel.end.publish(message);
  }

  /** The wait is over. Subscribers run in a later turn, when the pool is at rest. */
  end(served: boolean, error: unknown): void {
    this.#observer?.onWaitEnd(this.#pool, this.#number, served);
    const message = this.#message;
    if (message === null && waitListeners.size === 0) return;
    const waited = performance.now() - this.#since;
    queueMicrotask(() => {
      for (const hear of waitListeners) {
        try {
          hear(this.#pool, waited, served, error);
        } catch (thrown) {
          throwLater(thrown);
        }
      }
      if (message === null) return;
      message.waited = waited;
      if (!served) {
        message.error = error;
        waitChannel.error.publish(message);
      }
      waitChannel.asyncStart.publish(message);
      waitChannel.asyncEnd.publish(message);
    });
  }
}

/** By number; held weakly, because the pools hold their registrations. */
const live: Map<number, WeakRef<PoolRegistration>> = new Map();
const newcomers: Set<(pool: PoolRegistration) => void> = new Set();
const leavers: Set<(pool: PoolRegistration) => void> = new Set();
const waitListeners: Set<WaitListener> = new Set();
let last = 0;

/** References to collected pools are swept when there are this many more than the sweep before left. */
const SWEEP = 256;
let sweepAt = SWEEP;

/**
 * The registration of a pool that is being made. The pool keeps it, and calls its `begin()`; one that fails before that
 * was never there.
 */
export function registerPool(kind: PoolKind, name: string, probe: PoolProbe): PoolRegistration {
  if (live.size >= sweepAt) {
    for (const [id, reference] of live) if (reference.deref() === undefined) live.delete(id);
    sweepAt = live.size + SWEEP;
  }
  return new PoolRegistration(++last, kind, name, probe);
}

/** Calls `hear` with every pool that registers from now on; returns what ends that. */
export function onRegister(hear: (pool: PoolRegistration) => void): () => void {
  newcomers.add(hear);
  return () => newcomers.delete(hear);
}

/** Calls `hear` with every pool that ends from now on, before it is over; returns what ends that. It must not throw. */
export function onEnd(hear: (pool: PoolRegistration) => void): () => void {
  leavers.add(hear);
  return () => leavers.delete(hear);
}

/** Told of a wait that is over: its milliseconds, and the error of one in vain. */
type WaitListener = (pool: PoolRegistration, waited: number, served: boolean, error: unknown) => void;

/**
 * Calls `hear` in a later turn with every wait that begins from now on, when it is over; returns what ends that.
 * Nothing else of a pool is slower for it: this is for who wants to know of waits only.
 */
export function onWaited(hear: WaitListener): () => void {
  waitListeners.add(hear);
  return () => waitListeners.delete(hear);
}

/** The registrations of all live pools, oldest first. One that has ended elsewhere ends here now. O(pools). */
export function registrations(): PoolRegistration[] {
  const found: PoolRegistration[] = [];
  for (const [id, reference] of live) {
    const pool = reference.deref();
    if (pool === undefined) live.delete(id);
    pool?.probe.lookForEnd?.();
    if (pool?.isEnded === false) found.push(pool);
  }
  return found;
}

function identityOf({ id, kind, name }: PoolRegistration): PoolIdentity {
  return { id, kind, name };
}
