/**
 * What ends a lane from outside: the end of its pool in this thread, or the end of the thread or process at the other
 * end.
 *
 * Browsers send no event when a worker ends, but they take its Web Locks
 * away: the worker holds one for as long as it lives; the thread that gets the same one next knows that it has ended.
 * Where a target is no worker (a MessagePort, an object around a worker), each of the two threads keeps one end of a
 * channel that carries nothing, and the other thread watches its other end: it is closed by the end of that thread, and
 * by nothing else. A worker ends with the thread that made it.
 */

import type { Clock, TimerHandle } from "../../util/clock.ts";
import { throwLater } from "../../util/errors.ts";

interface LockManager {
  request(name: string, callback: () => Promise<void> | void): Promise<void>;
  request(
    name: string,
    options: { readonly ifAvailable: true },
    callback: (lock: object | null) => Promise<void> | undefined,
  ): Promise<void>;
}

/** What is to be done when a thread or a process ends. */
export interface EndWatch {
  /** It has ended. */
  ended(): void;
  /** Whether its end is of no concern any more: the pool is over, or the other side has left it. */
  isSettled(): boolean;
}

/** What listens to one target. */
interface Exit {
  readonly watches: Set<EndWatch>;
  /** Listens no more. */
  stop(): void;
}

const exitOf = new WeakMap<object, Exit>();
/** All of them, as long as their targets have them: several objects may stand for one worker. */
const exits = new Set<WeakRef<Exit>>();

/**
 * Calls `ended` at the target's exit. One listener for all watches of a target, and a watch that is settled is let go
 * at the next one, of whichever target: a worker that lives long and is connected to one pool after the other keeps
 * none of them, and where each time another object stands for it, no listener of those. Returns what ends the watch.
 * What `once` throws passes, and nothing is watched then.
 *
 * @param target a worker or a child process of Node
 * @param once its method, on it
 * @param off its method, on it, which ends what `once` began; undefined: that listens until the end
 */
export function watchExit(
  target: object,
  once: (event: "exit", listener: () => void) => unknown,
  off: ((event: "exit", listener: () => void) => unknown) | undefined,
  watch: EndWatch,
): () => void {
  const known = exitOf.get(target);
  known?.watches.add(watch);
  for (const ref of exits) {
    const exit = ref.deref();
    for (const one of exit?.watches ?? []) if (one !== watch && one.isSettled()) exit!.watches.delete(one);
    if (exit === undefined) exits.delete(ref);
    else if (exit.watches.size === 0) exit.stop();
  }
  if (known !== undefined) return () => known.watches.delete(watch);
  const listener = (): void => {
    forget();
    for (const one of made.watches) one.ended();
    made.watches.clear();
  };
  const forget = (): void => {
    if (exitOf.get(target) === made) exitOf.delete(target);
    exits.delete(ref);
  };
  const made: Exit = {
    watches: new Set([watch]),
    stop() {
      if (off === undefined) return;
      forget();
      try {
        off("exit", listener);
      } catch (error) {
        throwLater(error);
      }
    },
  };
  const ref = new WeakRef(made);
  exitOf.set(target, made);
  exits.add(ref);
  try {
    once("exit", listener);
  } catch (error) {
    forget();
    throw error;
  }
  return () => made.watches.delete(watch);
}

/** An end of a channel that carries nothing. */
export interface LifePort {
  addEventListener(type: "close", listener: () => void): void;
  close(): void;
}

/**
 * What is watched by a channel of its own. A set: an end that nobody refers to may be collected, and closed by that.
 */
const lives = new Set<{ readonly port: LifePort; readonly watch: EndWatch }>();

/**
 * Calls `ended` when the thread that has the other end of a channel has ended; a watch that is settled is let go at
 * the next one. Returns what ends the watch.
 */
export function watchLife(port: LifePort, watch: EndWatch): () => void {
  for (const one of lives) {
    if (!one.watch.isSettled()) continue;
    lives.delete(one);
    one.port.close();
  }
  const made = { port, watch };
  lives.add(made);
  port.addEventListener("close", () => {
    if (lives.delete(made)) watch.ended();
  });
  return () => {
    if (lives.delete(made)) port.close();
  };
}

/** The ends that this thread has, until the other side lets go. */
const kept = new Set<LifePort>();

/** In the thread that may end: keeps its end of the channel for as long as it lives. */
export function keepLife(port: LifePort): void {
  kept.add(port);
  port.addEventListener("close", () => kept.delete(port));
}

/** Whether what came in a message is an end of such a channel. */
export function isLifePort(given: unknown): given is LifePort {
  const { addEventListener, close } = (given ?? {}) as Partial<LifePort>;
  return typeof addEventListener === "function" && typeof close === "function";
}

function lockManager(): LockManager | undefined {
  const { navigator } = globalThis as { navigator?: { locks?: LockManager } };
  return typeof navigator?.locks?.request === "function" ? navigator.locks : undefined;
}

/** A name that nobody else has, or undefined where there are no locks. */
export function lockName(): string | undefined {
  if (lockManager() === undefined) return undefined;
  return `millpond.lane.${Math.random().toString(36).slice(2)}${Math.random().toString(36).slice(2)}`;
}

/**
 * In the thread that may end: true once it holds the lock, until its end; false where there are none, or somebody holds
 * it already: then it tells nothing of this thread.
 */
export function holdLivenessLock(name: string | undefined): Promise<boolean> {
  const locks = lockManager();
  if (name === undefined || locks === undefined) return Promise.resolve(false);
  return new Promise((resolve) => {
    const never = new Promise<void>(() => {});
    // Refused where a page has no storage of its own: then its end is not seen, and nothing else is different.
    locks
      .request(name, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        return lock === null ? undefined : never;
      })
      .catch(() => resolve(false));
  });
}

/** In the other thread: calls `ended` when the one that holds the lock has ended. */
export function onLivenessLost(name: string, ended: () => void): void {
  lockManager()
    ?.request(name, ended)
    .catch(() => {});
}

/* What hangs on a pool besides its leases: lanes, and connections that are being made. They end with the pool. */

/**
 * How a pool ends in a thread: closed with no lease out, retired and ended with its last lease, closed by force, or
 * left by this thread alone.
 */
export type PoolEnd = "closed" | "retired" | "forced" | "left";

/** Something that ends with its pool. */
interface PoolUser {
  /** The pool was closed here, or this thread left it. */
  poolEnded(error: Error, end: PoolEnd): void;
  /** The pool takes nobody in any more; leases go on. Absent: that is of no concern. */
  poolRetired?(error: Error): void;
}

const usersOf: WeakMap<object, Set<PoolUser>> = new WeakMap();

/** Has `user` told of the pool's end in this thread; returns what ends that. */
export function onPoolEnd(pool: object, user: PoolUser): () => void {
  const users = usersOf.get(pool) ?? new Set<PoolUser>();
  usersOf.set(pool, users);
  users.add(user);
  return () => users.delete(user);
}

/** The pool takes nobody in any more. */
export function retireUsers(pool: object, error: () => Error): void {
  for (const user of [...(usersOf.get(pool) ?? [])]) user.poolRetired?.(error());
}

/** How often a wait looks whether another thread has ended its pool, which tells nobody. */
const LOOK_MS = 250;

/**
 * Calls `look` every {@link LOOK_MS} until it is stopped by what this returns. The timer keeps no process alive: what
 * waits there has a port or a channel that does.
 */
export function lookNowAndThen(clock: Clock, look: () => void): () => void {
  let timer: TimerHandle | undefined;
  let isOver = false;
  const arm = (): void => {
    timer = clock.setTimer(
      () => {
        look();
        if (!isOver) arm();
      },
      LOOK_MS,
      true,
    );
  };
  arm();
  return () => {
    isOver = true;
    clock.clearTimer(timer);
  };
}

/** The pool is over in this thread. */
export function endUsers(pool: object, error: () => Error, end: PoolEnd): void {
  const users = usersOf.get(pool);
  if (users === undefined || users.size === 0) return;
  const made = error();
  for (const user of [...users]) user.poolEnded(made, end);
}
