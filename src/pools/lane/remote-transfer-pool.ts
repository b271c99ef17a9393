/** The other side of a TransferPool: leases that came, and slots that are asked for. */

import { type Clock, systemClock } from "../../util/clock.ts";
import { MillpondError } from "../../util/errors.ts";
import { show, wrongType } from "../../util/validate.ts";
import { readWait, type WaitOptions, WaitQueue } from "../common/wait-queue.ts";
import type { Slot } from "../shared/handle.ts";
import type { Carrier } from "./lane.ts";
import type { LeasePool } from "./lease-pool.ts";
import type { TransferMessage, TransferOffer } from "./transfer-pool.ts";

interface RemoteLease {
  readonly id: number;
  readonly view: Uint8Array<ArrayBuffer>;
  holds: number;
}

type Post = (message: unknown, transfer?: readonly ArrayBuffer[]) => void;

/** The pool that `receiveLane` gives where there is no shared memory. */
export class RemoteTransferPool implements LeasePool {
  /** For messages. */
  readonly name: string;
  /** Bytes of a slot. */
  readonly size: number;
  /** Slots of the pool at home. */
  readonly count: number;
  /** What carries a lease to another thread. */
  readonly transport = "transfer";
  /** @internal */
  readonly carrier: Carrier;
  readonly #pool: number;
  readonly #clock: Clock;
  readonly #leases: Map<number, RemoteLease> = new Map();
  readonly #requests: WaitQueue<Slot>;
  readonly #post: Post;
  #request = 0;
  #isClosed = false;

  /** @internal Made by `receiveLane`. */
  constructor(offer: TransferOffer, post: Post, clock: Clock = systemClock) {
    this.name = offer.name;
    this.size = offer.size;
    this.count = offer.count;
    this.#pool = offer.pool;
    this.#post = post;
    this.#clock = clock;
    this.#requests = new WaitQueue(clock);
    this.carrier = {
      pool: this,
      send: (slot, give) => {
        const guest = this.#held(slot, "send");
        if (guest.holds > 1) throw this.#shared(guest);
        const { buffer } = guest.view;
        give([guest.id, buffer], [buffer]);
        this.#leases.delete(guest.id);
      },
      receive: (lease) => {
        const [id, buffer] = Array.isArray(lease) ? (lease as [unknown, unknown]) : [];
        return this.#acceptLease(id, buffer);
      },
      control: (message) => {
        if (!Array.isArray(message)) return;
        const [what, , id, buffer] = message as unknown as Extract<TransferMessage, readonly ["grant", ...unknown[]]>;
        const slot = what === "grant" ? this.#acceptLease(id, buffer) : undefined;
        // Who asked may have given up; the slot goes home then.
        if (slot !== undefined && !this.#requests.next(slot)) this.release(slot);
      },
      ended: () => {
        this.#isClosed = true;
        this.#requests.rejectAll(() => this.#dead("wait for a slot of"));
      },
    };
  }

  /** Always undefined: whether a slot is free is known at home only. Use {@link acquire}. */
  tryAcquire(): Slot | undefined {
    return undefined;
  }

  /** Asks home for a slot. Rejects with the signal's reason, `ERR_STARVED`, and `ERR_POOL_DEAD` when the lane ends. */
  async acquire(options: WaitOptions = {}): Promise<Slot> {
    const { signal, timeout } = readWait(options);
    if (signal?.aborted) throw signal.reason;
    if (this.#isClosed) throw this.#dead("take a slot of");
    const request = ++this.#request;
    this.#post(["want", request] satisfies TransferMessage);
    try {
      return await this.#requests.wait({ signal, timeout }, undefined, (waiter) => {
        const waited = Math.round(this.#clock.now() - waiter.since);
        return new MillpondError("ERR_STARVED", `no slot of transfer pool "${this.name}" came within ${waited} ms`);
      });
    } catch (error) {
      if (!this.#isClosed) this.#post(["cancel", request] satisfies TransferMessage);
      throw error;
    }
  }

  /** The bytes of a lease that this thread holds. Throws `ERR_USE_AFTER_RELEASE`, `ERR_FOREIGN_RELEASE`. */
  bytes(slot: Slot): Uint8Array {
    return this.#held(slot, "use").view;
  }

  /** One hold more. Throws as {@link bytes}. */
  retain(slot: Slot): void {
    this.#held(slot, "retain").holds++;
  }

  /** Gives a hold back; the last one sends the buffer home. Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE`. */
  release(slot: Slot): void {
    const guest = this.#held(slot, "release");
    if (--guest.holds > 0) return;
    this.#leases.delete(guest.id);
    // A lane that has ended took its slots back already.
    if (this.#isClosed) return;
    const { buffer } = guest.view;
    // A buffer that somebody transferred away is no transferable; home makes another.
    this.#post(["home", guest.id, buffer] satisfies TransferMessage, buffer.byteLength === this.size ? [buffer] : []);
  }

  #acceptLease(id: unknown, buffer: unknown): Slot | undefined {
    if (typeof id !== "number" || !(buffer instanceof ArrayBuffer) || buffer.byteLength !== this.size) return undefined;
    this.#leases.set(id, { id, view: new Uint8Array(buffer), holds: 1 });
    return { id, index: id & 0xffff, pool: this.#pool };
  }

  #held(slot: Slot, verb: string): RemoteLease {
    if (slot === null || typeof slot !== "object") throw wrongType("slot", "a Slot of this pool", slot);
    // Each once: what is read twice can be something else the second time.
    const { id, index, pool } = slot;
    const guest = pool === this.#pool ? this.#leases.get(id) : undefined;
    if (guest !== undefined) return guest;
    if (pool !== this.#pool) {
      throw new MillpondError(
        "ERR_FOREIGN_RELEASE",
        `that slot is not of transfer pool "${this.name}"; ${verb} it where it came from`,
      );
    }
    const code = verb === "release" ? "ERR_DOUBLE_RELEASE" : "ERR_USE_AFTER_RELEASE";
    throw new MillpondError(
      code,
      `cannot ${verb} slot ${show(index)} of transfer pool "${this.name}": it was released or sent; find who did`,
    );
  }

  #shared(guest: RemoteLease): MillpondError {
    return new MillpondError(
      "ERR_NOT_WRITABLE",
      `slot ${guest.id & 0xffff} of transfer pool "${this.name}" is held ${guest.holds} times, and its bytes can be in one thread only; release the others first`,
    );
  }

  #dead(verb: string): MillpondError {
    return new MillpondError("ERR_POOL_DEAD", `cannot ${verb} transfer pool "${this.name}": its lane has ended`);
  }
}
