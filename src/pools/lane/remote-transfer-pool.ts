/** The other side of a TransferPool: leases that came, and slots that are asked for. */

import { type Clock, systemClock } from "../../util/clock.ts";
import { MillpondError } from "../../util/errors.ts";
import { show, wrongType } from "../../util/validate.ts";
import { Lease, type LeaseData, type LeasePool } from "../common/lease.ts";
import { foreignError, overError, type PoolWords } from "../common/lease-errors.ts";
import { readWait, type WaitOptions, WaitQueue } from "../common/wait-queue.ts";
import type { Carrier } from "./lane.ts";
import type { TransferMessage, TransferOffer } from "./transfer-pool.ts";

/** As at its other end: the slot is the rest of an identity by this. */
const SLOTS = 2 ** 16;

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
  /** Slots of the pool. */
  readonly count: number;
  /** What carries a lease to another thread. */
  readonly transport = "transfer";
  /** @internal */
  readonly carrier: Carrier;
  readonly #pool: number;
  readonly #clock: Clock;
  readonly #leases: Map<number, RemoteLease> = new Map();
  readonly #requests: WaitQueue<Lease>;
  readonly #post: Post;
  #request = 0;
  #isClosed = false;
  #isRetired = false;

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
      lossNote: `transfer pool "${this.name}" gives no slots to this thread any more`,
      send: (lease, post) => {
        const held = this.#held(lease, "send");
        if (held.holds > 1) throw this.#shared(held);
        if (held.view.byteLength !== this.size) throw this.#detached(held);
        const { buffer } = held.view;
        // Getters in the data find that it is not theirs any more.
        this.#leases.delete(held.id);
        try {
          post([held.id, buffer], [buffer]);
        } catch (error) {
          this.#leases.set(held.id, held);
          throw error;
        }
      },
      receive: (payload) => {
        const [id, buffer] = Array.isArray(payload) ? (payload as [unknown, unknown]) : [];
        return this.#acceptLease(id, buffer);
      },
      control: (message) => {
        if (!Array.isArray(message)) return;
        const [what, , id, buffer] = message as unknown as Extract<TransferMessage, readonly ["grant", ...unknown[]]>;
        if (what === ("retired" as string)) {
          this.#isRetired = true;
          this.#requests.rejectAll(() => this.#dead("wait for a slot of", "it was retired or closed"));
        }
        const lease = what === "grant" ? this.#acceptLease(id, buffer) : undefined;
        // Who asked may have given up; the slot goes back then.
        if (lease !== undefined && !this.#requests.next(lease)) this.release(lease);
      },
      ended: () => {
        this.#isClosed = true;
        this.#requests.rejectAll(() => this.#dead("wait for a slot of"));
      },
    };
  }

  /** Always undefined: whether a slot is free is known to the pool's own thread only. Use {@link acquire}. */
  tryAcquire(): Lease | undefined {
    return undefined;
  }

  /**
   * Asks the pool's own thread for a slot. Rejects with the signal's reason, `ERR_STARVED`, and `ERR_POOL_DEAD` when
   * the lane ends or the pool is retired.
   */
  async acquire(options: WaitOptions = {}): Promise<Lease> {
    const { signal, timeout } = readWait(options);
    if (signal?.aborted) throw signal.reason;
    if (this.#isClosed) throw this.#dead("take a slot of");
    if (this.#isRetired) throw this.#dead("take a slot of", "it was retired or closed");
    const request = ++this.#request;
    this.#post(["request", request] satisfies TransferMessage);
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

  /**
   * The bytes of a lease that this thread holds. Throws `ERR_USE_AFTER_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_DETACHED`.
   */
  bytes(lease: LeaseData): Uint8Array {
    const held = this.#held(lease, "use");
    if (held.view.byteLength !== this.size) throw this.#detached(held);
    return held.view;
  }

  /** One hold more. Throws as {@link bytes}. */
  retain(lease: LeaseData): void {
    this.#held(lease, "retain").holds++;
  }

  /**
   * Gives a hold back; the last one sends the buffer back. Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE`,
   * `ERR_DETACHED` (the slot gets a new buffer).
   */
  release(lease: LeaseData): void {
    const held = this.#held(lease, "release");
    if (--held.holds > 0) return;
    this.#leases.delete(held.id);
    const detached = held.view.byteLength !== this.size;
    // A lane that has ended took its slots back already.
    if (!this.#isClosed) {
      const { buffer } = held.view;
      // A buffer that somebody transferred away cannot be posted at all; the pool makes another.
      const message: TransferMessage = ["return", held.id, detached ? undefined : buffer];
      this.#post(message, detached ? [] : [buffer]);
    }
    if (detached) throw this.#detached(held);
  }

  #acceptLease(id: unknown, buffer: unknown): Lease | undefined {
    if (
      typeof id !== "number" ||
      !Number.isSafeInteger(id) ||
      !(buffer instanceof ArrayBuffer) ||
      buffer.byteLength !== this.size
    )
      return undefined;
    this.#leases.set(id, { id, view: new Uint8Array(buffer), holds: 1 });
    return new Lease(id, id % SLOTS, this.#pool, this);
  }

  /** What messages call the pool and its leases; as at its other end. */
  get #words(): PoolWords {
    return { kind: "transfer pool", name: this.name, unit: "slot", over: "released or sent" };
  }

  #held(lease: LeaseData, verb: string): RemoteLease {
    if (lease === null || typeof lease !== "object") throw wrongType("lease", "a Lease of this pool", lease);
    // Each once: what is read twice can be something else the second time.
    const { id, index, pool } = lease;
    const held = pool === this.#pool ? this.#leases.get(id) : undefined;
    if (held !== undefined) return held;
    if (pool !== this.#pool) {
      throw foreignError(this.#words, "that lease", `${verb} it where it came from`);
    }
    throw overError(this.#words, `slot ${show(index)} of transfer pool "${this.name}"`, verb);
  }

  #shared(held: RemoteLease): MillpondError {
    return new MillpondError(
      "ERR_NOT_WRITABLE",
      `slot ${held.id % SLOTS} of transfer pool "${this.name}" is held ${held.holds} times, and its bytes can be in one thread only; release the others first`,
    );
  }

  #detached(held: RemoteLease): MillpondError {
    return new MillpondError(
      "ERR_DETACHED",
      `slot ${held.id % SLOTS} of transfer pool "${this.name}" lost its bytes: its ArrayBuffer was transferred; send() moves a lease`,
    );
  }

  #dead(verb: string, why = "its lane has ended"): MillpondError {
    return new MillpondError("ERR_POOL_DEAD", `cannot ${verb} transfer pool "${this.name}": ${why}`);
  }
}
