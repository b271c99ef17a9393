/**
 * A lane to a child process: leases move over its IPC channel as they do to a worker, with the same window, iteration
 * and close.
 *
 * ```ts
 * const child = fork("child.js");                            // or spawn with an "ipc" in stdio
 * const lane = await connectProcess(pool, child);            // there: const { lane, pool } = await receiveProcess();
 * await lane.send(slot, { pts });
 * ```
 */
import { randomUUID } from "node:crypto";
import { checkOps } from "../../os/load.ts";
import type { NativeOps } from "../../os/native-ops.ts";
import { notDone, type Outcome } from "../../os/result.ts";
import { leaveDescriptor } from "../../os/shared-memory.ts";
import { abortable } from "../../util/abortable.ts";
import { type Clock, systemClock } from "../../util/clock.ts";
import { cut } from "../../util/cut.ts";
import { MillpondError } from "../../util/errors.ts";
import {
  abortSignal,
  isMade,
  readOptions,
  show,
  wholeNumber,
  withMethods,
  word,
  wrongType,
} from "../../util/validate.ts";
import { type ConnectOptions, checkConnectOptions } from "../lane/connect.ts";
import { Lane } from "../lane/lane.ts";
import { lookNowAndThen, onPoolEnd, watchExit } from "../lane/liveness.ts";
import { SharedConnection } from "../lane/shared-transport.ts";
import { hasLeft, type Membership, statusOf } from "../shared/member-status.ts";
import { cancelReservation } from "../shared/membership.ts";
import { dropLost, senderWord } from "../shared/transfer.ts";
import { borrowBlock, checkAttach, nativeError, type ProcessOpenOptions } from "./open.ts";
import { type IpcEnd, ipcPort, type ProcessPort, type Receiving } from "./ports.ts";
import { ProcessPool } from "./process-pool.ts";
import { MAX_MESSAGE } from "./wire.ts";

/** A child that has an IPC channel: a ChildProcess of `fork`, or of `spawn` with "ipc" in its stdio. */
export interface ChildEnd extends IpcEnd {
  /** As ChildProcess's. */
  once(event: "exit", listener: () => void): unknown;
  /** As ChildProcess's. */
  readonly exitCode?: number | null;
  /** As ChildProcess's. */
  readonly signalCode?: string | null;
}

/** What the joining side of a connection gets. */
export interface ProcessConnection<Data> {
  /** Its end of the lane. */
  readonly lane: Lane<Data>;
  /** The pool, joined. */
  readonly pool: ProcessPool;
}

/** What the side that has the pool tells the other one. */
export interface ProcessOffer {
  /** The membership that is reserved for it. */
  readonly membership: Membership;
  /** The membership of who offers. */
  readonly from: Membership;
  /** Leases under way at most. */
  readonly window: number | undefined;
  /** For messages. */
  readonly name: string;
}

/** The first message to a child. */
interface ConnectRequest {
  readonly millpondConnect: string;
  readonly offer: ProcessOffer;
  /** Where to get the block from, unless it was inherited. */
  readonly block: { readonly pid: number; readonly descriptor: number; readonly inode: string };
}

/**
 * What a child asks before it joins by a request, what it hears, and what it says when it gives up before it has heard.
 * Who made the request may have given it up before it was read: then the port is closed, and the child waits for the
 * next.
 */
const WANTED = "wanted?";
const GO = "go";
const PASSED = "passed";

/**
 * Milliseconds without a word of an ended process until its channel is taken for closed: who inherited its end of the
 * channel may keep that open for good.
 */
const LAST_WORDS_MS = 1000;

/**
 * Connects to a child process, which calls {@link receiveProcess}. It gets a membership of its own; when it ends,
 * however it does, what it held is free again. Rejects with `ERR_POOL_FULL` without a free membership, `ERR_INACTIVE`
 * when the child ends or fails to join first, or does not answer in time, the signal's reason, `ERR_POOL_DEAD`.
 */
export async function connectProcess<Data = unknown>(
  pool: ProcessPool,
  child: ChildEnd,
  options: ConnectOptions = {},
): Promise<Lane<Data>> {
  if (typeof child !== "object") throw wrongType("child", "a ChildProcess with an IPC channel", child);
  withMethods("child", "a ChildProcess with an IPC channel", child, ["send", "on", "once", "removeListener"]);
  const block = isMade(ProcessPool, pool, "block") ? pool.block : undefined;
  if (block === undefined) throw wrongType("pool", "a ProcessPool with its block", pool);
  const { signal, timeout = Number.POSITIVE_INFINITY, window, clock = systemClock } = checkConnectOptions(options);
  if (child.connected !== true || typeof child.exitCode === "number" || typeof child.signalCode === "string") {
    throw new MillpondError("ERR_INACTIVE", "the child has ended, or its IPC channel is closed");
  }
  const { handle, connection } = SharedConnection.offer(pool);
  const id = randomUUID();
  let port: ProcessPort | undefined;
  const exited = (): void => {
    // It was waited for, so none of its threads is left.
    if (!pool.isOver) pool.reclaim(handle);
    pool.reclaimEnded();
    if (port !== undefined) afterLastWords(port, clock);
  };
  const { membership } = handle;
  const isSettled = (): boolean => pool.isOver || hasLeftPool(pool.core, membership);
  let unwatch: (() => void) | undefined;
  const request: ConnectRequest = {
    millpondConnect: id,
    offer: { membership, from: pool.membership, window, name: pool.name },
    block: { pid: process.pid, descriptor: block.descriptor, inode: String(block.inode) },
  };
  let isAnswered = false;
  /** Now, and whenever the child begins to wait: who listens there now may be the program's own listener alone. */
  const sendRequest = (): void => {
    if (!isAnswered) child.send!(request as never, () => {});
  };
  try {
    const sendAgain = (): void => {
      try {
        sendRequest();
      } catch {
        made.lose();
      }
    };
    const made = ipcPort(child, id, sendAgain);
    port = made;
    const watch = { ended: exited, isSettled };
    unwatch = watchExit(child, (event, listener) => child.once(event, listener), undefined, watch);
    // Before the wait, which it would leave behind when it throws. The port keeps what comes.
    sendRequest();
    const answer = firstMessage(made, { signal, timeout, clock }, joining("the child", timeout), pool, (said) => {
      if (said === WANTED) made.postMessage(GO);
      else if (said === PASSED) sendAgain();
      else return true;
      return false;
    });
    await ready(answer);
    isAnswered = true;
    return processLane(port, pool, connection, { window, clock });
  } catch (error) {
    isAnswered = true;
    giveUp(port, pool, connection);
    // A child that has joined and lives may hold leases, also without a channel: its end is waited for.
    if (isSettled()) unwatch?.();
    throw error;
  }
}

/**
 * The port is over when the process at its other end, which has ended, has said nothing for a while: what it sent
 * before its end comes first.
 */
function afterLastWords(port: ProcessPort, clock: Clock): void {
  let known = port.arrived;
  const look = (): void => {
    const now = port.arrived;
    const hasSpoken = now !== known;
    known = now;
    if (port.isOver) return;
    if (hasSpoken) wait();
    else port.lose();
  };
  const wait = (): void => {
    // A turn of the event loop comes to its timers first, and reads then what waits there.
    clock.setTimer(() => void setImmediate(look), LAST_WORDS_MS, true);
  };
  wait();
}

/**
 * @internal Gives a connection up that was offered, over the port that its lane would have: takes the reservation back,
 * or closes the lane of one that has joined, and may have sent, in good order.
 */
export function giveUp(port: ProcessPort | undefined, pool: ProcessPool, connection: SharedConnection): void {
  const { peer } = connection;
  const hasJoined = port !== undefined && !pool.isOver && !cancelReservation(pool.core, peer);
  if (hasJoined && !hasLeftPool(pool.core, peer)) void processLane(port, pool, connection, {}).close();
  else port?.close();
  if (hasJoined && hasLeftPool(pool.core, peer)) void giveBackLost(new WeakRef(pool), peer);
  if (!pool.isOver) pool.reclaimEnded();
}

function hasLeftPool(core: ProcessPool["core"], { member, status }: Membership): boolean {
  return hasLeft(statusOf(core, member), status);
}

/** How {@link receiveProcess} joins. */
export interface ReceiveProcessOptions extends Omit<ProcessOpenOptions, "membership"> {
  /**
   * The descriptor of the pool's block, if this process inherited it; default: it is opened from the parent, which
   * needs /proc and the same PID namespace.
   */
  descriptor?: number;
  /** Gives the wait up; rejects with its reason. */
  signal?: AbortSignal;
  /** Where connect requests come from; default `process`. */
  source?: IpcEnd;
}

/** The membership comes with the parent's offer. */
const RECEIVE_KEYS = ["name", "asyncWait", "stop", "watch", "clock", "ops", "descriptor", "signal", "source"] as const;

/**
 * Waits for the parent that calls {@link connectProcess}, joins its pool and answers. Requests that the parent has
 * given up, or whose pool is closed, are passed over. Rejects with the signal's reason, `ERR_INACTIVE` when the parent
 * goes, and with what else {@link ProcessPool.attach} throws, which the parent is told too.
 */
export async function receiveProcess<Data = unknown>(
  options: ReceiveProcessOptions = {},
): Promise<ProcessConnection<Data>> {
  const given = readOptions("options", options, RECEIVE_KEYS);
  const { descriptor, signal, source = process as unknown as IpcEnd, ...rest } = given;
  withMethods("options.source", "a process with an IPC channel", source, ["send", "on", "removeListener"]);
  if (descriptor !== undefined) wholeNumber("options.descriptor", descriptor, 0, 0x7fffffff);
  abortSignal("options.signal", signal);
  checkAttach(rest);
  const ops = checkOps("options.ops", rest.ops);
  for (;;) {
    const { request, port } = await connectRequest(source, signal);
    const { offer, block } = request;
    try {
      // Before anything is opened.
      if (offer === null || typeof offer !== "object") throw wrongType("request.offer", "an offer", offer);
      word("request.offer.name", offer.name);
      if (!(await isWanted(port, signal))) {
        port.close();
        continue;
      }
    } catch (error) {
      // Another receiver may take it.
      if (signal?.aborted === true) passOn(source, request, port);
      else fail(port, error);
      throw error;
    }
    try {
      const how = { ...rest, name: rest.name ?? offer.name, membership: offer.membership };
      const pool =
        descriptor === undefined
          ? ProcessPool.attach(parentsBlock(block, ops), how)
          : attachInherited(descriptor, how, ops);
      return { pool, lane: answer<Data>(port, pool, offer, rest.clock) };
    } catch (error) {
      // The parent may have given it up, or closed the pool, since it was asked.
      const stop = await isWanted(port, signal).then(
        (isStill) => (isStill ? { error } : undefined),
        (reason: unknown) => ({ error: reason }),
      );
      if (stop !== undefined) {
        fail(port, error);
        throw stop.error;
      }
      port.close();
    }
  }
}

/** By a descriptor that this process inherited: the pool's from then on, and the program's still when it fails. */
function attachInherited(
  descriptor: number,
  how: ProcessOpenOptions & { readonly name: string },
  ops: NativeOps,
): ProcessPool {
  const block = borrowBlock(descriptor, how.name, ops);
  try {
    return ProcessPool.attach(block, how);
  } catch (error) {
    leaveDescriptor(block);
    throw error;
  }
}

function fail(port: ProcessPort, error: unknown): void {
  tellFailure(port, error);
  port.close();
}

/** The parent sends the request again, to whom it comes first. */
function passOn(source: IpcEnd, { millpondConnect: id }: ConnectRequest, port: ProcessPort): void {
  inboxOf(source).forget(id);
  port.postMessage(PASSED);
  port.leave();
}

/** Whether the parent still waits for the answer to a request; false: it has ended the port. */
function isWanted(port: ProcessPort, signal: AbortSignal | undefined): Promise<boolean> {
  return abortable(signal, ({ resolve, onEnd }) => {
    port.addEventListener("close", () => resolve(false));
    port.onmessage = ({ data }) => resolve(data === GO);
    onEnd(() => {
      port.onmessage = null;
    });
    port.postMessage(WANTED);
  });
}

/** @internal Says that this side has joined, and makes its end of the lane; leaves the pool when that fails. */
export function answer<Data>(port: ProcessPort, pool: ProcessPool, offer: ProcessOffer, clock?: Clock): Lane<Data> {
  const { from, window } = offer;
  let lane: Lane<Data>;
  try {
    const peer = {
      member: wholeNumber("offer.from.member", from?.member, 0, pool.core.memberBits - 1),
      status: wholeNumber("offer.from.status", from?.status, 1, 2 ** 30),
    };
    lane = processLane<Data>(port, pool, new SharedConnection(pool, peer), { window, clock });
    port.postMessage("ready");
  } catch (error) {
    // Nobody else has the pool.
    pool.leave({ force: true });
    throw error;
  }
  return lane;
}

/** @internal A lane over a port, with a carrier that clears up when the other side is lost. */
export function processLane<Data>(
  port: ProcessPort,
  pool: ProcessPool,
  connection: SharedConnection,
  { window, clock }: { window?: number | undefined; clock?: Clock | undefined },
): Lane<Data> {
  const { peer } = connection;
  // Whatever carries it: somebody else may keep the other end open.
  const stopLooking = lookNowAndThen(clock ?? systemClock, () => {
    if (pool.isOver || !hasLeftPool(pool.core, peer)) return;
    stopLooking();
    afterLastWords(port, clock ?? systemClock);
  });
  // Whichever side it is: the looks for processes that have ended find the other one.
  const carrier = connection.carrier(
    true,
    (lost) => {
      stopLooking();
      if (lost) pool.expectEnd();
    },
    () => void giveBackLost(new WeakRef(pool), peer),
  );
  if (window !== undefined) port.mostUnsent = (window + 1) * MAX_MESSAGE;
  return new Lane<Data>(port, carrier, {
    ...(window === undefined ? {} : { window }),
    ...(clock === undefined ? {} : { clock }),
  });
}

/** @internal What is said of one who was to join, and ended or was late. */
export function joining(who: string, timeout: number): (how: "ended" | "late") => string {
  return (how) =>
    `${who} ${how === "ended" ? "ended" : `did not answer within ${timeout} ms`} before it had joined the pool`;
}

/**
 * @internal The first message on a port that is an answer. Rejects with the signal's reason, and `ERR_INACTIVE` when
 * none comes in time.
 */
export function firstMessage(
  port: ProcessPort,
  { signal, timeout, clock }: { signal: AbortSignal | undefined; timeout: number; clock: Clock },
  failed: (how: "ended" | "late") => string,
  pool?: ProcessPool,
  isAnswer: (said: unknown) => boolean = () => true,
): Promise<unknown> {
  return abortable(signal, ({ resolve, reject, onEnd }) => {
    const fail = (how: "ended" | "late"): void => reject(new MillpondError("ERR_INACTIVE", failed(how)));
    if (timeout !== Number.POSITIVE_INFINITY) {
      const timer = clock.setTimer(() => fail("late"), timeout, false);
      onEnd(() => clock.clearTimer(timer));
    }
    if (pool !== undefined) {
      onEnd(onPoolEnd(pool, { poolEnded: reject, poolRetired: reject }));
      onEnd(lookNowAndThen(clock, () => pool.lookForEnd()));
    }
    port.addEventListener("close", () => fail("ended"));
    port.onmessage = ({ data }) => {
      if (isAnswer(data)) resolve(data);
    };
    onEnd(() => {
      port.onmessage = null;
    });
  });
}

/**
 * @internal Waits for the other side's "ready". Rejects with `ERR_INACTIVE` and its reason when it says another thing.
 */
export async function ready(message: Promise<unknown>): Promise<void> {
  const said = await message;
  if (said === "ready") return;
  throw new MillpondError("ERR_INACTIVE", `the other process could not join the pool: ${refusalText(said)}`);
}

/** Characters of a failure's text that are told to the other side, and shown of what it tells. */
const MAX_REASON = 500;

/** @internal What the other side says of its failure. It came from another process, and may be anything. */
export function refusalText(said: unknown): string {
  const reason = (said as { failed?: unknown } | null | undefined)?.failed;
  return typeof reason === "string" ? cut(reason, MAX_REASON) : show(said);
}

/** @internal Tells the other side why this one has failed. Throws nothing: the failure itself is what counts. */
export function tellFailure(port: ProcessPort, error: unknown): void {
  try {
    port.postMessage({ failed: cut((error as Error).message, MAX_REASON) });
  } catch {
    // It is not told.
  }
}

function parentsBlock(block: ConnectRequest["block"], ops: NativeOps): number {
  const pid = wholeNumber("request.block.pid", block?.pid, 1, 2 ** 22);
  const descriptor = wholeNumber("request.block.descriptor", block.descriptor, 0, 0x7fffffff);
  const opened = openSame(ops.shared.openOf(pid, descriptor), block.inode, ops);
  if (opened.ok) return opened.value;
  throw nativeError(
    opened,
    "the parent's pool could not be opened; let the child inherit pool.descriptor and pass { descriptor }",
  );
}

/** The number of a descriptor may stand for another object by now. */
function openSame(opened: Outcome<number>, inode: string, ops: NativeOps): Outcome<number> {
  if (!opened.ok) return opened;
  const facts = ops.shared.inspect(opened.value);
  if (facts.ok && String(facts.value.inode) === inode) return opened;
  ops.shared.close(opened.value);
  return facts.ok ? notDone("failed", "STALE_NAME", "the parent no longer has it") : facts;
}

/**
 * Waits for a request, one for each who waits, and says so to the parent, which sends it again: it may have come
 * before.
 */
function connectRequest(
  source: IpcEnd,
  signal: AbortSignal | undefined,
): Promise<{ readonly request: ConnectRequest; readonly port: ProcessPort }> {
  return abortable(signal, ({ resolve, reject, onEnd }) => {
    const gone = (): void => reject(new MillpondError("ERR_INACTIVE", "the parent went before it connected"));
    if (source.connected === false) {
      gone();
      return;
    }
    // The port at once: the word that it was given up may be the next message.
    const take: Take = (request) => resolve({ request, port: ipcPort(source, request.millpondConnect) });
    onEnd(inboxOf(source).wait(take, gone));
    const receiving: Receiving = { millpondReceive: true };
    source.send!(receiving as never, () => {});
  });
}

/** Requests that are remembered: one that is sent twice comes soon after the first. */
const MAX_SEEN = 1000;

type Take = (request: ConnectRequest) => void;

/** The requests of one channel: each goes to one receiver, and once. All share two listeners. */
class Inbox {
  readonly #source: IpcEnd;
  /** Who waits, and what is called when the channel closes. */
  readonly #receivers: Map<Take, () => void> = new Map();
  readonly #seen: Set<string> = new Set();

  constructor(source: IpcEnd) {
    this.#source = source;
  }

  /** Has `take` called with the next request; returns what ends the wait. In a child a listener keeps it alive. */
  wait(take: Take, gone: () => void): () => void {
    if (this.#receivers.size === 0) {
      this.#source.on("message", this.#onMessage);
      this.#source.on("disconnect", this.#onDisconnect);
    }
    this.#receivers.set(take, gone);
    return () => this.#end(take);
  }

  /** It was not taken after all: it may come again. */
  forget(id: string): void {
    this.#seen.delete(id);
  }

  #end(take: Take): void {
    if (!this.#receivers.delete(take) || this.#receivers.size > 0) return;
    this.#source.removeListener("message", this.#onMessage);
    this.#source.removeListener("disconnect", this.#onDisconnect);
  }

  readonly #onDisconnect = (): void => {
    for (const gone of [...this.#receivers.values()]) gone();
  };

  readonly #onMessage = (value: unknown): void => {
    const request = value as ConnectRequest | null | undefined;
    const id = request?.millpondConnect;
    if (typeof id !== "string" || this.#seen.has(id)) return;
    const [take] = this.#receivers.keys();
    if (take === undefined) return;
    this.#seen.add(id);
    const [oldest] = this.#seen;
    if (this.#seen.size > MAX_SEEN) this.#seen.delete(oldest!);
    this.#end(take);
    take(request!);
  };
}

const inboxes = new WeakMap<IpcEnd, Inbox>();

function inboxOf(source: IpcEnd): Inbox {
  const known = inboxes.get(source) ?? new Inbox(source);
  inboxes.set(source, known);
  return known;
}

/*
 * Between processes a message can be lost: a killed process takes with it what it had written and the kernel had not.
 * The lease may be this process's by then, unknown to it. Its sender word (transfer.ts) says whose message is
 * missing, so the end of the lane is enough to give it back, and nobody else is asked.
 */

/** How often it is looked what has come from a member whose lane is lost, as long as it takes part. */
const LOST_LOOK_MS = 1000;

/** A turn of the event loop spends so long on slots; the clock is read every 64 of them. */
const TURN_MS = 4;
const SLOTS_A_LOOK = 64;

/**
 * Gives back what was sent to this thread by a lane that is over, and that it will never get a message about. The other
 * side may not know yet that this one has lost the lane, and send more: each such lease is this thread's, and nobody
 * tells it. So as long as that member takes part, this looks for them.
 */
async function giveBackLost(pool: WeakRef<ProcessPool>, peer: Membership): Promise<void> {
  while (await giveBackFrom(pool.deref(), peer)) {
    await new Promise<void>((resolve) => {
      setTimeout(resolve, LOST_LOOK_MS).unref();
    });
  }
}

/** @internal Looks once; whether there may be more. */
export async function giveBackFrom(pool: ProcessPool | undefined, peer: Membership): Promise<boolean> {
  if (pool === undefined || pool.isOver) return false;
  // Asked first: what it has sent before it left is found then.
  const isThere = !hasLeft(statusOf(pool.core, peer.member), peer.status);
  const sender = senderWord(peer);
  await inTurns(pool, (index) => dropLost(pool.core, index, sender));
  return isThere;
}

/** Calls `look` for each slot, a few milliseconds in a turn of the event loop; ends early with the pool. */
async function inTurns(pool: ProcessPool, look: (index: number) => void): Promise<void> {
  let began = performance.now();
  for (let index = 0; index < pool.core.count; index++) {
    if (index % SLOTS_A_LOOK === 0 && performance.now() - began > TURN_MS) {
      await new Promise((resolve) => setImmediate(resolve));
      began = performance.now();
    }
    if (pool.isOver) return;
    look(index);
  }
}
