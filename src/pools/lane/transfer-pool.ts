/**
 * TransferPool: what SharedPool is to shared memory, for places without it (a page that is not cross-origin isolated). The
 * slots are ArrayBuffers of one thread; sending a lease transfers its buffer, the last release over there transfers it back.
 * No byte is copied and no buffer is made twice; measured, that is as fast as shared memory. The price: one thread at a
 * time sees a slot, and the other side cannot take one without asking.
 */

import { type Clock, checkClock } from "../../util/clock.ts";
import { MillpondError } from "../../util/errors.ts";
import { checkOptions, text, wholeNumber, wrongType } from "../../util/validate.ts";
import { readWait, type WaitOptions, WaitQueue } from "../common/wait-queue.ts";
import type { Slot } from "../shared/handle.ts";
import { type ConnectOptions, checkConnect, connect, type LaneTarget } from "./connect.ts";
import type { Carrier, Lane } from "./lane.ts";
import type { LeasePool } from "./lease-pool.ts";

/** How a TransferPool is made. */
export interface TransferPoolOptions {
  /** Bytes of a slot. */
  size: number;
  /** Slots; at most 2^16. */
  count: number;
  /** For messages; default "transfer". */
  name?: string;
  /** Time; default: the platform's. */
  clock?: Clock;
}

/** What the two sides say to each other besides the leases. */
export type TransferMessage =
  | readonly ["home", id: number, buffer: ArrayBuffer]
  | readonly ["want", request: number]
  | readonly ["cancel", request: number]
  | readonly ["grant", request: number, id: number, buffer: ArrayBuffer];

/** What the other side needs to know. */
export interface TransferOffer {
  /** Which transport. */
  readonly transport: "transfer";
  /** As the pool's. */
  readonly name: string;
  /** As the pool's. */
  readonly pool: number;
  /** As the pool's. */
  readonly size: number;
  /** As the pool's. */
  readonly count: number;
}

interface Entry {
  readonly index: number;
  view: Uint8Array<ArrayBuffer> | undefined;
  generation: number;
  /** 0: free. */
  holds: number;
  /** The lane that its buffer went over. */
  away: Carrier | undefined;
}

/** 16 bits of index leave 14 of generation in a small integer. */
const INDEX_BITS = 16;
const GENERATIONS = 2 ** 14;

function idOf(entry: Entry): number {
  return (entry.generation << INDEX_BITS) | entry.index;
}

/** A pool of ArrayBuffers that travel; see the module text. */
export class TransferPool implements LeasePool {
  /** For messages. */
  readonly name: string;
  /** Bytes of a slot. */
  readonly size: number;
  /** Slots. */
  readonly count: number;
  /** What carries a lease to another thread. */
  readonly transport = "transfer";
  readonly #pool: number;
  readonly #entries: Entry[];
  readonly #free: number[];
  readonly #clock: Clock;
  readonly #queue: WaitQueue<number>;

  /** Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. O(count). */
  constructor(options: TransferPoolOptions) {
    if (options === undefined) throw wrongType("options", "TransferPoolOptions", options);
    const { name, size, count, clock } = checkOptions("options", options, ["name", "size", "count", "clock"]);
    this.name = text("options.name", name, "transfer");
    this.size = wholeNumber("options.size", size, 1, 2 ** 30);
    this.count = wholeNumber("options.count", count, 1, 2 ** INDEX_BITS);
    this.#clock = checkClock("options.clock", clock);
    this.#pool = 1 + Math.floor(Math.random() * (2 ** 30 - 1));
    this.#entries = Array.from({ length: this.count }, (_, index) => ({
      index,
      view: new Uint8Array(this.size),
      generation: 0,
      holds: 0,
      away: undefined,
    }));
    this.#free = this.#entries.map((_, index) => index).reverse();
    this.#queue = new WaitQueue(this.#clock);
  }

  /** A free slot, the one freed last; undefined: none is free, or others wait. */
  tryAcquire(): Slot | undefined {
    if (this.#queue.length > 0) return undefined;
    const index = this.#free.pop();
    return index === undefined ? undefined : this.#lease(index);
  }

  /** Waits, first come, first served. Rejects with the signal's reason, `ERR_STARVED`, `ERR_OUT_OF_RANGE`. */
  async acquire(options: WaitOptions = {}): Promise<Slot> {
    const { signal, timeout } = readWait(options);
    if (signal?.aborted) throw signal.reason;
    const slot = this.tryAcquire();
    if (slot !== undefined) return slot;
    return this.#lease(await this.#queue.wait({ signal, timeout }, undefined, (waiter) => this.#starved(waiter.since)));
  }

  /** The bytes of a lease that this thread holds. Throws `ERR_USE_AFTER_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_DETACHED`. */
  bytes(slot: Slot): Uint8Array {
    const entry = this.#held(slot, "use");
    if (entry.view!.byteLength !== this.size) throw this.#detached(entry);
    return entry.view!;
  }

  /** One hold more. Throws as {@link bytes}. */
  retain(slot: Slot): void {
    this.#held(slot, "retain").holds++;
  }

  /** Gives a hold back. Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_DETACHED` (the slot gets a new buffer). */
  release(slot: Slot): void {
    const entry = this.#held(slot, "release");
    if (--entry.holds > 0) return;
    const detached = entry.view!.byteLength !== this.size;
    if (detached) entry.view = new Uint8Array(this.size);
    this.#recycle(entry.index);
    if (detached) throw this.#detached(entry);
  }

  /** Connects to a worker, which calls `receiveLane`. Throws as {@link connect}. */
  async connect<Data = unknown>(target: LaneTarget, options: ConnectOptions = {}): Promise<Lane<Data>> {
    const checked = checkConnect(target, options);
    const { name, size, count } = this;
    const offer: TransferOffer = { transport: "transfer", name, pool: this.#pool, size, count };
    let carrier: Carrier | undefined;
    let isClosed = false;
    const peer = {
      carrier: () => {
        const made = this.#carrier();
        carrier = made;
        const ended = (lost: boolean): void => {
          isClosed = true;
          made.ended(lost);
        };
        return { ...made, ended };
      },
      exited: () => carrier?.ended(true),
      isSettled: () => isClosed && this.#entries.every((entry) => entry.away !== carrier),
    };
    return connect<Data>(checked, offer, peer);
  }

  /** Slots by where they are. O(count). */
  stats(): { readonly count: number; readonly free: number; readonly held: number; readonly away: number } {
    const away = this.#entries.filter((entry) => entry.away !== undefined).length;
    const free = this.#free.length;
    return { count: this.count, free, held: this.count - free - away, away };
  }

  #lease(index: number): Slot {
    const entry = this.#entries[index]!;
    entry.holds = 1;
    return { id: idOf(entry), index, pool: this.#pool };
  }

  #recycle(index: number): void {
    const entry = this.#entries[index]!;
    entry.holds = 0;
    entry.away = undefined;
    entry.generation = (entry.generation + 1) % GENERATIONS;
    if (!this.#queue.next(index)) this.#free.push(index);
  }

  #carrier(): Carrier {
    const wants = new Map<number, AbortController>();
    let over = false;
    const carrier: Carrier = {
      pool: this,
      send: (slot, post) => {
        const entry = this.#held(slot, "send");
        // The thread has ended and its port has not said so yet; a buffer that is posted now never comes back.
        if (over) throw this.#ended(entry);
        if (entry.holds > 1) throw this.#shared(entry);
        const { buffer } = entry.view!;
        if (buffer.byteLength !== this.size) throw this.#detached(entry);
        post([idOf(entry), buffer], [buffer]);
        entry.away = carrier;
        entry.view = undefined;
      },
      receive: (lease) => {
        const [id, buffer] = Array.isArray(lease) ? (lease as [number, ArrayBuffer]) : [];
        const entry = this.#acceptReturn(carrier, id, buffer);
        if (entry === undefined) return undefined;
        entry.away = undefined;
        return { id: id!, index: id! & (2 ** INDEX_BITS - 1), pool: this.#pool };
      },
      control: (message, post) => {
        if (!Array.isArray(message)) return;
        const [what, number, buffer] = message as unknown as TransferMessage;
        if (what === "home" && this.#acceptReturn(carrier, number, buffer as ArrayBuffer) !== undefined) {
          this.#recycle(number & (2 ** INDEX_BITS - 1));
        } else if (what === "cancel") wants.get(number)?.abort();
        else if (what === "want" && !over) void this.#grant(carrier, number, wants, post);
      },
      ended: () => {
        if (over) return;
        over = true;
        for (const want of wants.values()) want.abort();
        for (const [index, entry] of this.#entries.entries()) {
          if (entry.away !== carrier) continue;
          // Its buffer went with the other side; what it took is gone, the slot is not.
          entry.view = new Uint8Array(this.size);
          this.#recycle(index);
        }
      },
    };
    return carrier;
  }

  /** The entry of a buffer that came back over the lane that it went; undefined for anything else that came. */
  #acceptReturn(carrier: Carrier, id: unknown, buffer: unknown): Entry | undefined {
    if (typeof id !== "number" || !Number.isInteger(id)) return undefined;
    const entry = this.#entries[id & (2 ** INDEX_BITS - 1)];
    if (entry?.away !== carrier || entry.generation !== id >>> INDEX_BITS) return undefined;
    const good = buffer instanceof ArrayBuffer && buffer.byteLength === this.size;
    entry.view = good ? new Uint8Array(buffer) : new Uint8Array(this.size);
    return entry;
  }

  async #grant(
    carrier: Carrier,
    request: number,
    wants: Map<number, AbortController>,
    post: (message: unknown, transfer?: readonly ArrayBuffer[]) => void,
  ): Promise<void> {
    const want = new AbortController();
    wants.set(request, want);
    try {
      const slot = await this.acquire({ signal: want.signal });
      const entry = this.#entries[slot.index]!;
      const { buffer } = entry.view!;
      if (want.signal.aborted) {
        this.release(slot);
        return;
      }
      try {
        post(["grant", request, slot.id, buffer] satisfies TransferMessage, [buffer]);
      } catch {
        this.release(slot);
        return;
      }
      entry.away = carrier;
      entry.view = undefined;
    } catch {
      // Cancelled over there, or the lane has ended: nobody is owed an answer.
    } finally {
      wants.delete(request);
    }
  }

  #held(slot: Slot, verb: string): Entry {
    if (slot === null || typeof slot !== "object") throw wrongType("slot", "a Slot of this pool", slot);
    // Each once: what is read twice can be something else the second time.
    const { id, index, pool } = slot;
    if (typeof index !== "number") throw wrongType("slot.index", "a number", index);
    const entry = this.#entries[index];
    if (pool !== this.#pool || entry === undefined) {
      throw new MillpondError(
        "ERR_FOREIGN_RELEASE",
        `that slot is not of transfer pool "${this.name}"; ${verb} it where it came from`,
      );
    }
    if (entry.holds > 0 && entry.away === undefined && id === idOf(entry)) return entry;
    const code = verb === "release" ? "ERR_DOUBLE_RELEASE" : "ERR_USE_AFTER_RELEASE";
    const what = entry.away !== undefined ? "it was sent to another thread" : "it was released";
    throw new MillpondError(
      code,
      `cannot ${verb} slot ${index} of transfer pool "${this.name}": ${what}; find who did`,
    );
  }

  #shared(entry: Entry): MillpondError {
    return new MillpondError(
      "ERR_NOT_WRITABLE",
      `slot ${entry.index} of transfer pool "${this.name}" is held ${entry.holds} times, and its bytes can be in one thread only; release the others first`,
    );
  }

  #ended(entry: Entry): MillpondError {
    return new MillpondError(
      "ERR_INACTIVE",
      `the thread at the other side of the lane has ended; slot ${entry.index} of transfer pool "${this.name}" is still yours, release it`,
    );
  }

  #detached(entry: Entry): MillpondError {
    return new MillpondError(
      "ERR_DETACHED",
      `slot ${entry.index} of transfer pool "${this.name}" lost its bytes: its ArrayBuffer was transferred by somebody; send() moves a lease`,
    );
  }

  #starved(since: number): MillpondError {
    const { held, away } = this.stats();
    const waited = Math.round(this.#clock.now() - since);
    return new MillpondError(
      "ERR_STARVED",
      `no slot of transfer pool "${this.name}" came back within ${waited} ms: of ${this.count}, this thread holds ${held}, others ${away}`,
      { pool: this.name, waited, held, away },
    );
  }
}
