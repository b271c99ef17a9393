/** Carries leases of a SharedPool: the slot stays where it is, and its owner's bit moves. */

import { MillpondError } from "../../util/errors.ts";
import { wholeNumber } from "../../util/validate.ts";
import { isGhost, leaseError } from "../shared/errors.ts";
import type { SharedHandle, Slot } from "../shared/handle.ts";
import {
  accept,
  beginGrant,
  bury,
  cancelGrant,
  cancelReservation,
  finishGrant,
  isAlive,
  isVacated,
  Outcome,
  type Seat,
  statusOf,
} from "../shared/membership.ts";
import type { SharedPool } from "../shared/shared-pool.ts";
import { type CheckedConnect, connect } from "./connect.ts";
import type { Carrier, Lane } from "./lane.ts";

/** 20 us, as long as acquireSync() spins; a timer would be a millisecond. */
const LOOKS = 2000;

/** The carrier of this side; `peer` is the other thread's seat. */
export function sharedCarrier(pool: SharedPool, peer: Seat, ended: (lost: boolean) => void): Carrier {
  // It came in a message, and its number becomes a bit of a state.
  wholeNumber("peer.owner", peer?.owner, 0, pool.core.ownerBits - 1);
  wholeNumber("peer.status", peer.status, 1, 2 ** 30 - 1);
  return {
    pool,
    send(slot, post) {
      const id = pool.idOf(slot, "send");
      sendLease(pool, id, peer, () => post(id));
    },
    receive(lease) {
      return receiveLease(pool, lease, peer);
    },
    control() {},
    ended,
  };
}

/** @internal What the other side of {@link connectShared} gets. */
export interface SharedOffer {
  readonly transport: "shared";
  readonly handle: SharedHandle & { readonly seat: Seat };
  readonly from: Seat;
}

/** A lane to a worker, with a seat that is swept when the worker ends. */
export function connectShared<Data>(pool: SharedPool, checked: CheckedConnect): Promise<Lane<Data>> {
  const { owner, core } = pool;
  const handle = pool.reserve();
  let buried = false;
  let isConnected = false;
  const exited = (): void => {
    if (buried || !isAlive(core) || isGhost(core)) return;
    buried = true;
    // Where nobody has sat down and nothing was sent, there is nothing to reclaim: the pool is as it was before.
    if (!isConnected && cancelReservation(core, handle.seat)) return;
    bury(core, handle.seat.owner, handle.seat.status);
  };
  const offer: SharedOffer = { transport: "shared", handle, from: { owner, status: core.status } };
  const carrier = (): Carrier => {
    isConnected = true;
    return sharedCarrier(pool, handle.seat, (lost) => (lost ? exited() : undefined));
  };
  const { seat } = handle;
  const isSettled = (): boolean =>
    !isAlive(core) || isGhost(core) || isVacated(statusOf(core, seat.owner), seat.status);
  return connect<Data>(checked, offer, { carrier, exited, isSettled });
}

/** Moves a lease to `peer`; `post` tells it. Throws the lease's errors; nothing has changed then. */
export function sendLease(pool: SharedPool, id: number, peer: Seat, post: () => void): void {
  const { core } = pool;
  if (!pool.isHeld(id)) throw leaseError(pool, id, "send");
  const begun = beginGrant(core, id, peer.owner, peer.status);
  if (begun !== Outcome.DONE) throw grantError(pool, id, peer, begun);
  try {
    post();
  } catch (error) {
    cancelGrant(core);
    throw error;
  }
  const done = finishGrant(core, id, peer.owner, peer.status);
  if (done !== Outcome.DONE) throw grantError(pool, id, peer, done);
}

/** Takes in what {@link sendLease} posted. Whatever came is checked: it may be anything. */
export function receiveLease(pool: SharedPool, lease: unknown, peer: Seat): Slot | "later" | undefined {
  if (!pool.isIdentity(lease)) return undefined;
  let outcome = accept(pool.core, lease, peer.owner);
  // A look takes 10 ns, and the giver needs 20 for the step that is missing, unless it lost its core just there.
  for (let look = 0; outcome === Outcome.NOT_YET && look < LOOKS; look++)
    outcome = accept(pool.core, lease, peer.owner);
  if (outcome === Outcome.NOT_YET) return "later";
  return outcome === Outcome.DONE ? pool.slot(lease) : undefined;
}

/** The error of a lease that did not move. */
export function grantError(pool: SharedPool, id: number, peer: Seat, outcome: number): MillpondError {
  if (outcome === Outcome.NOT_HELD) return leaseError(pool, id, "send");
  const details = { pool: pool.name, to: peer.owner };
  if (outcome === Outcome.HAS_IT) {
    return new MillpondError(
      "ERR_ALREADY_EXISTS",
      `owner ${peer.owner} holds that lease of shared pool "${pool.name}" already; it can be sent again when it was released there`,
      details,
    );
  }
  return new MillpondError(
    "ERR_INACTIVE",
    `owner ${peer.owner} of shared pool "${pool.name}" is gone; the lease is still yours, release it`,
    details,
  );
}
