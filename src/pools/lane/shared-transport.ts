/**
 * Carries leases of a SharedPool: the slot stays where it is, and its member's bit moves.
 *
 * Life-cycle of a connection: a membership is reserved for the other thread; that thread attaches with it; the lane
 * carries leases; when the thread ends without leaving, its membership and its children's are reclaimed. Where it never
 * attached, the reservation is canceled.
 *
 * Invariants: a lease is posted between {@link prepareTransfer} and {@link commitTransfer}, so that a sender that dies
 * leaves it with one who knows of it; a lane that is over leaves nothing under way: what its other side sent and no
 * message has told of is given back, known by the sender words of transfer.ts; what comes in a message is checked
 * before it names anything, and takes over only what its sender's word says that it sent.
 *
 * Complexity: send and receive O(1); reclaiming, and the end of a lane whose other side is lost, O(slots).
 */

import { MillpondError } from "../../util/errors.ts";
import { wholeNumber } from "../../util/validate.ts";
import type { Lease, LeaseData, LeasePool } from "../common/lease.ts";
import type { SharedHandle } from "../shared/attach.ts";
import type { Core } from "../shared/core.ts";
import { isEvicted, leaseError } from "../shared/errors.ts";
import { adopt, notedThread } from "../shared/lineage.ts";
import { hasLeft, isDeserted, type Membership, statusOf } from "../shared/member-status.ts";
import { cancelReservation } from "../shared/membership.ts";
import { isAlive } from "../shared/pool-state.ts";
import { reclaim, reclaimFromOutside, reclaimThread } from "../shared/reclaim.ts";
import {
  acceptTransfer,
  cancelTransfer,
  commitTransfer,
  dropLost,
  dropUnread,
  prepareTransfer,
  senderWord,
  TransferResult,
} from "../shared/transfer.ts";
import { type CheckedConnect, connect, type LastingWatch } from "./connect.ts";
import type { Carrier, Lane } from "./lane.ts";
import type { EndWatch } from "./liveness.ts";

/**
 * What a lane needs of a SharedPool: an interface, so that this folder does not know that class, which knows this
 * folder.
 */
interface SharedEnd extends LeasePool {
  /** Number of this thread's member. */
  readonly member: number;
  /** This thread's view of the pool's words. */
  readonly core: Core;
  /** A handle with a membership of its own. */
  reserve(): SharedHandle & { readonly membership: Membership };
  /** The identity of a lease of this pool; throws for another's, and says `verb`. */
  idOf(lease: LeaseData, verb: string): number;
  /** Whether this thread holds the lease. */
  isHeld(id: number): boolean;
  /** Whether a value can be an identity of this pool at all. */
  isIdentity(id: unknown): id is number;
  /** The lease behind an identity. */
  lease(id: number): Lease;
  /** Ends this thread's lanes where another one has ended the pool, or this thread's part in it. */
  lookForEnd(): void;
}

/** 20 us, as long as acquireSync() spins; a timer would be a millisecond. */
const SPINS = 2000;

/**
 * @internal This side of a connection: who is at the other one, checked, and the one way to a carrier of leases, or to
 * a membership for another side.
 */
export class SharedConnection {
  /** The other side's membership; reserved, where it was offered and nobody has joined. */
  readonly peer: Membership;
  readonly #pool: SharedEnd;

  /** `peer` is the member that this side was offered the connection by; it may send from now on. */
  constructor(pool: SharedEnd, peer: Membership) {
    // It came in a message, and its number becomes a bit of a state.
    wholeNumber("peer.member", peer?.member, 0, pool.core.memberBits - 1);
    wholeNumber("peer.status", peer.status, 1, 2 ** 30 - 1);
    this.peer = peer;
    this.#pool = pool;
  }

  /** Reserves a membership for another side, which may send as soon as it has the handle. Throws as `reserve()`. */
  static offer<Pool extends SharedEnd>(
    pool: Pool,
  ): { readonly handle: ReturnType<Pool["reserve"]>; readonly connection: SharedConnection } {
    const handle = pool.reserve() as ReturnType<Pool["reserve"]>;
    return { handle, connection: new SharedConnection(pool, handle.membership) };
  }

  /**
   * The carrier of this side; `reclaims`: whether it clears up after the other one. `giveBack`: called
   * where the lane is over, and something may be under way still; default: {@link giveBackAll}.
   */
  carrier(reclaims: boolean, ended: (lost: boolean) => void, giveBack: () => void = () => this.giveBackAll()): Carrier {
    return sharedCarrier(this.#pool, this.peer, reclaims, ended, giveBack);
  }

  /** Gives back what the other side sent by a lane that is over, and that no message has told of. O(slots). */
  giveBackAll(): void {
    const { core } = this.#pool;
    if (!isAlive(core) || isEvicted(core)) return;
    const sender = senderWord(this.peer);
    for (let index = 0; index < core.count; index++) dropLost(core, index, sender);
  }
}

/**
 * The carrier of this side; `peer` is the other thread's membership, `reclaims` whether this side clears up after it.
 */
function sharedCarrier(
  pool: SharedEnd,
  peer: Membership,
  reclaims: boolean,
  ended: (lost: boolean) => void,
  giveBack: () => void,
): Carrier {
  return {
    pool,
    send(lease, post) {
      const id = pool.idOf(lease, "send");
      sendLease(pool, id, peer, () => post(id));
    },
    receive(payload, isLast) {
      return receiveLease(pool, payload, peer, isLast);
    },
    control: () => ({ breach: "said what no side of a shared pool says" }),
    isPoolClosed: () => !isAlive(pool.core),
    // The bit is the other side's, and so is the step.
    unread() {},
    unreadable(id) {
      if (id === undefined) giveBack();
      else if (pool.isIdentity(id)) dropUnread(pool.core, id, senderWord(peer));
    },
    ended(lost) {
      ended(lost);
      // After that: where the other side lives and was reclaimed, it moves no lease any more.
      if (lost) giveBack();
    },
    lossNote: reclaims
      ? `what it held of shared pool "${pool.name}" is free again`
      : `what it held of shared pool "${pool.name}" comes back when the thread that connected it sees its end, or by reclaim()`,
    lookForEnd: () => pool.lookForEnd(),
  };
}

/** @internal What the other side of {@link connectShared} gets. */
export interface SharedOffer {
  readonly transport: "shared";
  readonly handle: SharedHandle & { readonly membership: Membership };
  readonly from: Membership;
  /** The thread of that member, see `threadOf` in lineage.ts. */
  readonly thread: number;
}

/**
 * By view of a pool and by thread, what watches the end of that thread: the watch that knows it since last. Each view
 * has its own: another one of the same pool and thread may be forgotten, and its watches with it.
 */
const watched = new WeakMap<Core, Map<number, ThreadWatch>>();

/**
 * What is to be done in one pool at the end of the thread at the other side of a connection, which connected this one
 * or was connected: what it and its workers held is free, also where nobody else sees its end.
 *
 * It lasts as long as that thread, also where that has left the pool: it may join once more over the port of another
 * one, and end together with it. So a thread that goes on sees the end of each thread that it was ever connected with,
 * and knows it by its word in the pool, whatever memberships it has by then. Of several watches of one thread by one
 * view the last one is enough. One of a thread that has left keeps no pool: where this thread has none of it any more,
 * and is connected with nobody who takes part, it lets go.
 */
class ThreadWatch implements LastingWatch {
  readonly #membership: Membership;
  /** Undefined once the other side has left. */
  #core: Core | undefined;
  readonly #weak: WeakRef<Core>;
  #thread = 0;
  #isSelf = false;
  #hasEnded = false;

  constructor(core: Core, membership: Membership) {
    this.#core = core;
    this.#weak = new WeakRef(core);
    this.#membership = membership;
  }

  get isMet(): boolean {
    return this.#thread !== 0;
  }

  /** Whether the other side may have joined, and it is not known which thread that was. */
  mayBeMet(): boolean {
    const core = this.#weak.deref();
    if (core === undefined || !isAlive(core)) return false;
    // It wrote that before it had joined; where nobody has joined in that place since, it stands there.
    if (!this.isMet && !this.#isSelf) this.met(notedThread(core.i32, core.layout, this.#membership));
    return !this.isMet && !this.#isSelf;
  }

  /** What the other side says of its thread, also where that has ended by now. It came in a message. */
  met(thread: unknown): void {
    const core = this.#weak.deref();
    if (core === undefined || this.isMet) return;
    if (typeof thread !== "number" || thread === 0 || (thread | 0) !== thread) return;
    // One thread may be at both sides: it has not ended.
    this.#isSelf = thread === core.thread;
    if (this.#isSelf) return;
    this.#thread = thread;
    if (this.#hasEnded) {
      this.#reclaim(core);
      return;
    }
    let threads = watched.get(core);
    if (threads === undefined) {
      threads = new Map();
      watched.set(core, threads);
    }
    threads.set(thread, this);
  }

  ended(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    const core = this.#weak.deref();
    if (core === undefined) return;
    if (this.#isNewest(core)) watched.get(core)?.delete(this.#thread);
    this.#reclaim(core);
  }

  isSettled(): boolean {
    const core = this.#core ?? this.#weak.deref();
    if (core === undefined || this.#isOver(core)) return true;
    const hasGone = hasLeft(statusOf(core, this.#membership.member), this.#membership.status);
    if (hasGone) this.#core = undefined;
    return this.#isSelf ? hasGone : this.isMet && !this.#isNewest(core);
  }

  #isNewest(core: Core): boolean {
    return watched.get(core)?.get(this.#thread) === this;
  }

  /** Nobody is left whose part could end. */
  #isOver(core: Core | undefined): boolean {
    return core === undefined || !isAlive(core) || (isEvicted(core) && isDeserted(core));
  }

  #reclaim(core: Core): void {
    if (!isAlive(core)) return;
    // Where this thread has left the pool, the others have not.
    if (isEvicted(core)) reclaimFromOutside(core, this.#membership, this.#thread);
    else reclaimThread(core, this.#membership, this.#thread);
  }
}

/**
 * @internal What is to be done, on the side that was connected, at the end of the thread that connected.
 */
export function connectorWatch({ core }: SharedEnd, { from, thread }: SharedOffer): EndWatch {
  const watch = new ThreadWatch(core, from);
  watch.met(thread);
  return watch;
}

/** A lane to a worker, with a membership that is reclaimed when the worker ends. */
export async function connectShared<Data>(pool: SharedEnd, checked: CheckedConnect): Promise<Lane<Data>> {
  const { member, core } = pool;
  const { handle, connection } = SharedConnection.offer(pool);
  const { membership } = handle;
  if (checked.isChild) adopt(core, membership);
  const watch = new ThreadWatch(core, membership);
  let reclaimed = false;
  let isConnected = false;
  let isCanceled = false;
  let hasEnded = false;
  const cancel = (): boolean => {
    isCanceled ||= !isConnected && cancelReservation(core, membership);
    return isCanceled;
  };
  /** The lane has lost its other side. The thread there may live: it may have left the pool by force. */
  const lost = (): void => {
    if (reclaimed || !isAlive(core) || isEvicted(core)) return;
    reclaimed = true;
    reclaim(core, membership.member, membership.status);
  };
  const exited = (): void => {
    // Where no thread has joined and nothing was sent, there is nothing to reclaim: the pool is as it was before.
    if (hasEnded || !isAlive(core) || cancel()) return;
    hasEnded = true;
    reclaimed ||= !isEvicted(core);
    watch.ended();
    // What it sent to a lane that was never made.
    if (!isEvicted(core) && !isConnected) connection.giveBackAll();
  };
  const offer: SharedOffer = {
    transport: "shared",
    handle,
    from: { member, status: core.status },
    thread: core.thread,
  };
  const carrier = (): Carrier => {
    isConnected = true;
    return connection.carrier(true, (isLost) => {
      if (isLost) lost();
    });
  };
  const hasGone = (): boolean => !isAlive(core) || hasLeft(statusOf(core, membership.member), membership.status);
  return await connect<Data>(checked, offer, {
    pool,
    carrier,
    exited,
    isSettled: () => isCanceled || hasGone(),
    abandoned: () => cancel() || hasGone(),
    lasting: watch,
    mayBeMet: () => !isCanceled && watch.mayBeMet(),
    unheard: () => connection.giveBackAll(),
    outlivesLane: true,
    lookForEnd: () => pool.lookForEnd(),
  });
}

/**
 * Moves a lease to `peer`; `post` tells it. Throws the lease's errors: the lease is still this thread's then, or this
 * thread's membership is over; `post` may have run.
 */
export function sendLease(pool: SharedEnd, id: number, peer: Membership, post: () => void): void {
  const { core } = pool;
  if (!pool.isHeld(id)) throw leaseError(pool, id, "send");
  const begun = prepareTransfer(core, id, peer.member, peer.status);
  if (begun !== TransferResult.DONE) throw transferError(pool, id, peer, begun);
  core.isSending = true;
  try {
    post();
  } catch (error) {
    cancelTransfer(core);
    throw error;
  } finally {
    core.isSending = false;
  }
  const done = commitTransfer(core, id, peer.member, peer.status, senderWord(core));
  if (done !== TransferResult.DONE) throw transferError(pool, id, peer, done);
}

/**
 * Takes in what {@link sendLease} posted. Whatever came is checked: it may be anything. `isLast`: the sender's step is
 * done, or never comes.
 */
export function receiveLease(
  pool: SharedEnd,
  payload: unknown,
  peer: Membership,
  isLast = false,
): Lease | "later" | undefined {
  if (!pool.isIdentity(payload)) return undefined;
  const sender = senderWord(peer);
  let outcome = acceptTransfer(pool.core, payload, peer.member, sender);
  // A look takes 10 ns, and the giver needs 20 for the step that is missing, unless it lost its core just there.
  for (let look = 0; outcome === TransferResult.NOT_YET && !isLast && look < SPINS; look++)
    outcome = acceptTransfer(pool.core, payload, peer.member, sender);
  if (outcome === TransferResult.NOT_YET) return "later";
  return outcome === TransferResult.DONE ? pool.lease(payload) : undefined;
}

/** The error of a lease that did not move. */
export function transferError(pool: SharedEnd, id: number, peer: Membership, outcome: number): MillpondError {
  if (outcome === TransferResult.NOT_HELD) return leaseError(pool, id, "send");
  const details = { pool: pool.name, to: peer.member };
  if (outcome === TransferResult.REENTRANT) {
    return new MillpondError(
      "ERR_REENTRANT",
      `a getter in the data of a lease that is being sent gives away a lease of shared pool "${pool.name}", which is still yours; send it afterwards`,
      details,
    );
  }
  if (outcome === TransferResult.HAS_IT) {
    return new MillpondError(
      "ERR_ALREADY_EXISTS",
      `member ${peer.member} holds that lease of shared pool "${pool.name}" already; it can be sent again when it was released there`,
      details,
    );
  }
  return new MillpondError(
    "ERR_INACTIVE",
    `member ${peer.member} of shared pool "${pool.name}" is gone; the lease is still yours, release it`,
    details,
  );
}
