/**
 * Connecting two threads by a lane. The worker gets one message with a MessagePort of its own, so that the program's
 * other messages and the lane's never meet; it works with browsers' Workers, Node's, and anything that can post a port.
 */
import { abortable } from "../../util/abortable.ts";
import { type Clock, checkClock } from "../../util/clock.ts";
import { MillpondError } from "../../util/errors.ts";
import { abortSignal, callback, methodsOf, milliseconds, readOptions, show, wholeNumber } from "../../util/validate.ts";
import { type Carrier, Lane, type LaneOptions, type LanePort } from "./lane.ts";
import {
  type EndWatch,
  keepLife,
  type LifePort,
  lockName,
  lookNowAndThen,
  onLivenessLost,
  onPoolEnd,
  watchExit,
  watchLife,
} from "./liveness.ts";

/** What can be connected to: a Worker, of a browser or of Node, or a MessagePort. */
export interface LaneTarget {
  /** As Worker's. */
  postMessage(message: unknown, transfer: never[]): void;
  /** Node's workers tell their end this way. */
  once?(event: "exit", listener: () => void): unknown;
  /** Ends that, where the listener is of no use any more. */
  off?(event: "exit", listener: () => void): unknown;
  /** As that of a Worker of Node: -1 once it has ended. */
  readonly threadId?: number;
}

/** How a connection is made. */
export interface ConnectOptions extends LaneOptions {
  /** Gives the attempt up; rejects with its reason. */
  signal?: AbortSignal | undefined;
  /** Milliseconds for the other side to answer; default: no end, the worker may take its time to start. */
  timeout?: number;
}

/** The first message, to the worker's global scope. */
export interface ConnectRequest {
  /** Says what this is. */
  readonly kind: "millpond.lane";
  /** What the other side needs to make its carrier. */
  readonly offer: unknown;
  /** Leases under way at most. */
  readonly window: number | undefined;
  /** The lane's port. */
  readonly port: LanePort;
  /** A lock to hold while the thread lives, where its end is not seen otherwise. */
  readonly lock: string | undefined;
  /** Whether the first message on the port is {@link Lives}, where the target is no worker. */
  readonly hasLife?: boolean;
}

/**
 * @internal What the two sides say on the lane's port before it is the lane's: {@link Lives}; the worker that it has
 * the request; the other side that it still wants the lane, or that it has given the attempt up; the worker that it has
 * joined.
 */
export const Greeting = {
  LIFE: "millpond.life",
  HELLO: "millpond.hello",
  GO: "millpond.go",
  OVER: "millpond.over",
  READY: "millpond.ready",
  REFUSED: "millpond.refused",
} as const;

/** @internal Ends of channels whose other ends are where the message comes from. */
export interface Lives {
  readonly kind: "millpond.life";
  /** To keep as long as the thread lives: it is watched there. */
  readonly keep: LifePort | undefined;
  /** It is kept there as long as that thread lives. */
  readonly watch: LifePort | undefined;
}

/** @internal What the other side answers. */
export interface Answer {
  readonly kind: "millpond.ready";
  /** Whether it holds the lock. */
  readonly holds: boolean;
  /** Its thread in the pool, where it has joined one. */
  readonly thread?: number;
}

/** What a worker sent before its end, and what tells of its end, go different ways in a browser. */
const EXIT_GRACE_MS = 100;

/** @internal Watches a thread that it comes to know, as long as that lives. */
export interface LastingWatch extends EndWatch {
  /** Whether it knows the thread. */
  readonly isMet: boolean;
  /** Called with what the other side says of its thread, also after that has ended. */
  met(thread: unknown): void;
}

/**
 * What hears of the end of the other side's thread: the connection, until that is settled, and then only what lasts. It
 * keeps nothing of a connection that is settled.
 */
class PeerWatch implements EndWatch {
  #connection: EndWatch | undefined;
  readonly #lasting: LastingWatch | undefined;

  constructor(connection: EndWatch, lasting: LastingWatch | undefined) {
    this.#connection = connection;
    this.#lasting = lasting;
  }

  ended(): void {
    (this.#connection ?? this.#lasting)?.ended();
  }

  isSettled(): boolean {
    if (this.#connection?.isSettled() === true) this.#connection = undefined;
    return this.#lasting === undefined ? this.#connection === undefined : this.#lasting.isSettled();
  }
}

/** Lets go of a watch of nobody's concern at the pool's end: it ends nobody's part in a pool that is over. */
function letGoAtEnd(pool: object, port: LifePort, watch: EndWatch, letGo: () => void): void {
  const stop = onPoolEnd(pool, { poolEnded: () => watch.isSettled() && letGo() });
  port.addEventListener("close", stop);
}

/** The other end, for the carrier of this one. */
interface Peer {
  /** The pool on this side: its end ends the attempt. */
  readonly pool: object;
  /** As a carrier's. */
  readonly lookForEnd?: () => void;
  /** Called when the other side has answered: makes this side's carrier. */
  carrier(): Carrier;
  /** Called when the thread ended, connected or not. */
  exited(): void;
  /**
   * Called when this side gives the attempt up and the thread may live: whether it has not joined, and now cannot.
   * What it has, if it has joined, stays its own until it ends.
   */
  abandoned(): boolean;
  /** Watches the other side's thread after the connection is settled, where that is of concern. */
  readonly lasting?: LastingWatch;
  /** Whether it may have joined, and it is not known yet which thread it is. */
  readonly mayBeMet?: () => boolean;
  /** Called when the port is closed and there was no lane: what was sent over it comes no more. */
  unheard(): void;
  /** Whether there is nothing left for this connection to do when it ends. */
  isSettled(): boolean;
  /** Whether what the thread has outlives the lane. */
  readonly outlivesLane: boolean;
}

/** @internal What a pool's connect() was given: checked, with each property and each option read once. */
export interface CheckedConnect {
  /** The caller's object, to tell it from others. */
  readonly target: LaneTarget;
  /** Its method, on it. */
  readonly postMessage: LaneTarget["postMessage"];
  /** Its method, on it; undefined: it does not tell its end this way. */
  readonly once: ((event: "exit", listener: () => void) => unknown) | undefined;
  /** Its method, on it; undefined: what listens there listens until the end. */
  readonly off: ((event: "exit", listener: () => void) => unknown) | undefined;
  /** Whether the target's thread ends with this one: it is a worker of this thread. */
  readonly isChild: boolean;
  /** Whether `once` tells the end of the thread: the target is a worker of Node, not a port. */
  readonly tellsEnd: boolean;
  /** How the connection is made. */
  readonly options: ConnectOptions;
}

/**
 * Checks what a pool's connect() was given, and reads each property and option once.
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_OUT_OF_RANGE`, `ERR_INACTIVE` for a worker that has
 * ended, and the reason of a signal that is
 * aborted.
 */
export function checkConnect(target: LaneTarget, options: ConnectOptions): CheckedConnect {
  const { postMessage } = methodsOf("target", "a Worker or a MessagePort", target, ["postMessage"]);
  const once = callback("target.once", target.once)?.bind(target);
  const off = callback("target.off", target.off)?.bind(target);
  const { threadId } = target;
  if (threadId !== undefined) wholeNumber("target.threadId", threadId, -1);
  // It tells its end once, and that is over.
  if (once !== undefined && threadId === -1) {
    throw new MillpondError("ERR_INACTIVE", "the worker has ended already; connect to one that runs");
  }
  const { Worker } = globalThis as { Worker?: unknown };
  const isChild = threadId !== undefined || (typeof Worker === "function" && target instanceof Worker);
  const tellsEnd = once !== undefined && threadId !== undefined;
  return { target, postMessage, once, off, isChild, tellsEnd, options: checkConnectOptions(options) };
}

/** @internal Checks how a connection is made, and reads each option once. Throws as {@link checkConnect}. */
export function checkConnectOptions(options: ConnectOptions): ConnectOptions {
  const given = readOptions("options", options, ["signal", "timeout", "window", "clock"]);
  const { signal, timeout, window, clock } = given;
  if (timeout !== undefined) milliseconds("options.timeout", timeout);
  abortSignal("options.signal", signal);
  if (window !== undefined) wholeNumber("options.window", window, 1, 2 ** 20);
  if (signal?.aborted) throw signal.reason;
  checkClock("options.clock", clock);
  return given;
}

/**
 * Asks the other side to connect and waits for its answer. What the caller's own objects throw passes, after the peer
 * has ended.
 */
export async function connect<Data>(
  { target, postMessage, once, off, isChild, tellsEnd, options }: CheckedConnect,
  offer: unknown,
  peer: Peer,
): Promise<Lane<Data>> {
  const { signal, timeout = Number.POSITIVE_INFINITY, window, clock: own } = options;
  const clock = checkClock("options.clock", own);
  const { port1, port2 } = new MessageChannel();
  const port = port1 as unknown as LanePort;
  // Node's workers tell their end themselves.
  const lock = once === undefined ? lockName() : undefined;
  const life = peer.outlivesLane && !tellsEnd ? new MessageChannel() : undefined;
  // Whose worker it is ends that with itself.
  const ownLife = peer.outlivesLane && !isChild ? new MessageChannel() : undefined;
  let gone: ((error?: Error) => void) | undefined;
  let leavePool: (() => void) | undefined;
  const watches: (() => void)[] = [];
  let isOver = false;
  const begin = (given: unknown): Lane<Data> => {
    const { holds, thread } = checkAnswer(given);
    peer.lasting?.met(thread);
    const lane = new Lane<Data>(port, peer.carrier(), window === undefined ? { clock } : { clock, window });
    if (holds === true) {
      onLivenessLost(lock!, () => {
        peer.exited();
        clock.setTimer(() => lane.lost(), EXIT_GRACE_MS, true);
      });
    }
    return lane;
  };
  try {
    const answered = answer(port, clock, signal, timeout, (end) => {
      gone = end;
    });
    // An open port is closed by the end of the other side only.
    port.addEventListener("close", () => {
      isOver = true;
    });
    // A target that cannot be posted to is told of by the catch below; the port's end says nothing more.
    answered.catch(() => {});
    const leave = onPoolEnd(peer.pool, {
      poolEnded: (error) => gone?.(error),
      poolRetired: (error) => gone?.(error),
    });
    const { lookForEnd } = peer;
    const stopLooking = lookForEnd === undefined ? undefined : lookNowAndThen(clock, lookForEnd);
    leavePool = () => {
      leave();
      stopLooking?.();
    };
    const watch = new PeerWatch(
      {
        ended() {
          isOver = true;
          // The lane itself ends when its port does: what the thread sent before is still on its way.
          peer.exited();
          gone?.();
        },
        isSettled: () => peer.isSettled(),
      },
      peer.lasting,
    );
    if (once !== undefined) watches.push(watchExit(target, once, off, watch));
    if (life !== undefined) {
      const letGo = watchLife(life.port1, watch);
      watches.push(letGo);
      letGoAtEnd(peer.pool, life.port1, watch, letGo);
    }
    const request: ConnectRequest = {
      kind: "millpond.lane",
      offer,
      window,
      port: port2 as unknown as LanePort,
      lock,
      hasLife: life !== undefined || ownLife !== undefined,
    };
    // On the lane's port: an object around a worker may pass on that port only.
    if (ownLife !== undefined) keepLife(ownLife.port1);
    if (request.hasLife === true) {
      const lives: Lives = { kind: Greeting.LIFE, keep: life?.port2, watch: ownLife?.port2 };
      port1.postMessage(
        lives,
        [life?.port2, ownLife?.port2].filter((end) => end !== undefined),
      );
    }
    postMessage(request, [port2 as never]);
    return begin(await answered);
  } catch (error) {
    if (isOver) peer.exited();
    if (isOver || peer.abandoned()) {
      const unwatch = (): void => {
        // Of a thread that is known another watch may have let go.
        if (peer.lasting?.isMet !== true) for (const end of watches) end();
      };
      // The worker may find the request much later, and not see that the port is closed.
      port.postMessage({ kind: Greeting.OVER });
      if (peer.mayBeMet?.() === true) hearOut(port, peer, unwatch);
      else {
        unwatch();
        port.close();
      }
      // It may have joined, sent and left.
      peer.unheard();
    } else {
      // It has joined, and may have sent: its lane begins when it answers and is closed in good order, which gives that
      // back. Only its answer says whether its end is told by the lock.
      const closed = answer(port, clock, undefined, Number.POSITIVE_INFINITY, () => {}).then((given) => {
        const lane = begin(given);
        port.unref?.();
        return lane.close();
      });
      port.unref?.();
      closed.catch(() => {
        port.close();
        peer.unheard();
      });
    }
    throw error;
  } finally {
    leavePool?.();
  }
}

/**
 * The other side may have joined, and left or ended since: then it has said before which thread it is, and that is
 * under way at most. It is waited for as long as that thread lives, and this pool: what a busy machine brings late
 * counts. `unwatch`: where it has not joined.
 */
function hearOut(port: LanePort, peer: Peer, unwatch: () => void): void {
  const over = (): void => {
    stop();
    port.onmessage = null;
    if (peer.mayBeMet?.() === true) unwatch();
    port.close();
  };
  const stop = onPoolEnd(peer.pool, { poolEnded: over });
  port.addEventListener("close", over);
  port.onmessage = ({ data }) => {
    // Whatever else comes first, it has not joined.
    const { kind, thread } = (data ?? {}) as Partial<Answer>;
    if (kind === Greeting.READY) peer.lasting?.met(thread);
    over();
  };
  port.unref?.();
}

/** What came is another thread's word for it. Throws `ERR_INACTIVE`, with its reason where it gives one. */
function checkAnswer(given: unknown): Answer {
  const { kind, failed } = (given ?? {}) as Partial<Answer> & { readonly failed?: unknown };
  if (kind === Greeting.READY) return given as Answer;
  const why = typeof failed === "string" ? failed : `it answered ${show(given)}`;
  throw new MillpondError("ERR_INACTIVE", `the worker could not join the pool: ${why}`);
}

function answer(
  port: LanePort,
  clock: Clock,
  signal: AbortSignal | undefined,
  timeout: number,
  onGone: (end: (error?: Error) => void) => void,
): Promise<unknown> {
  return abortable(signal, ({ resolve, reject, onEnd }) => {
    // The port and the thread also end long after they have answered, which means nothing to this wait any more.
    const failed = (what: string): void =>
      reject(new MillpondError("ERR_INACTIVE", `the worker ${what}; call receiveLane() there`));
    onGone((error) => (error === undefined ? failed("ended before it answered") : reject(error)));
    port.addEventListener("close", () => failed("ended before it answered"));
    port.onmessage = ({ data }) => {
      const { kind } = (data ?? {}) as { readonly kind?: unknown };
      if (kind === Greeting.HELLO) port.postMessage({ kind: Greeting.GO });
      else resolve(data);
    };
    // The lane is at the port then.
    onEnd(() => {
      port.onmessage = null;
    });
    if (timeout !== Number.POSITIVE_INFINITY) {
      const timer = clock.setTimer(() => failed(`did not answer within ${timeout} ms`), timeout, false);
      onEnd(() => clock.clearTimer(timer));
    }
  });
}
