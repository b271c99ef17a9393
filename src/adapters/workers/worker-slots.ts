/**
 * Where the frames of a thread stage lie, and what its threads take part with: pools of shared slots that are offered upstream, a
 * seat in them for each thread, and plain shared memory by number for what comes from elsewhere.
 */
import type { MessagePort } from "node:worker_threads";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import type { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import type { SharedHandle } from "../../pools/shared/attach.ts";
import { SharedBufferPool } from "../../pools/shared/shared-buffer-pool.ts";
import type { SharedPool } from "../../pools/shared/shared-pool.ts";
import { isMillpondError } from "../../util/errors.ts";
import type { ToThread } from "./protocol.ts";

/** Where bytes are, in the words of a message. */
export type Place = Extract<ToThread, { type: "work" }>["place"];

/** A shared pool has 20 seats, and the thread that fills the frames takes one of them. */
export const MAX_THREADS = 19;

/** The memory of one stage's threads. */
export class ThreadSlots {
  /** The slots behind each pool that was offered and accepted. */
  readonly #shared: WeakMap<object, SharedPool> = new WeakMap();
  readonly #seats: Map<MessagePort, Map<SharedPool, SharedHandle>> = new Map();
  readonly #ids: WeakMap<SharedArrayBuffer, number> = new WeakMap();
  readonly #known: WeakMap<MessagePort, WeakSet<SharedArrayBuffer>> = new WeakMap();
  #nextId = 0;

  /** A pool of the stage's own: when it has ended, the threads leave it. */
  watch(pool: BufferPool): void {
    pool.on("drained", () => this.#retire(pool));
  }

  #retire(pool: BufferPool): void {
    const shared = this.#shared.get(pool);
    if (shared === undefined) return;
    this.#shared.delete(pool);
    for (const [port, seats] of this.#seats) {
      if (seats.delete(shared)) post(port, { type: "leave", pool: shared.handle.pool });
    }
  }

  /** Where a frame's bytes are, and where in that they begin; the thread is told of the pool or memory first. */
  place(port: MessagePort, buffer: MediaBuffer, bytes: Uint8Array): [Place, number] {
    return this.#leased(port, buffer, bytes) ?? this.#plain(port, bytes);
  }

  /** By its lease; a copy of a buffer has no lease of its own. */
  #leased(port: MessagePort, buffer: MediaBuffer, bytes: Uint8Array): [Place, number] | undefined {
    const { pool } = buffer;
    if (!(pool instanceof SharedBufferPool)) return undefined;
    const { shared } = pool;
    if (bytes.buffer !== shared.memory) return undefined;
    if (!this.#join(port, pool, shared)) return undefined;
    const lease = pool.leaseOf(buffer);
    return [{ pool: shared.handle.pool, lease }, bytes.byteOffset - shared.offsetOf(lease)];
  }

  /** False for a pool of somebody else that has no seat left. */
  #join(port: MessagePort, pool: SharedBufferPool, shared: SharedPool): boolean {
    let seats = this.#seats.get(port);
    if (seats === undefined) {
      seats = new Map();
      this.#seats.set(port, seats);
    }
    if (seats.has(shared)) return true;
    let seat: SharedHandle;
    try {
      seat = shared.reserve();
    } catch (error) {
      if (isMillpondError(error, "ERR_POOL_FULL")) return false;
      throw error;
    }
    this.#shared.set(pool, shared);
    seats.set(shared, seat);
    post(port, { type: "pool", handle: seat });
    return true;
  }

  /** By a number for its memory. */
  #plain(port: MessagePort, bytes: Uint8Array): [Place, number] {
    const memory = bytes.buffer as unknown as SharedArrayBuffer;
    let id = this.#ids.get(memory);
    if (id === undefined) {
      id = this.#nextId++;
      this.#ids.set(memory, id);
    }
    let known = this.#known.get(port);
    if (known === undefined) {
      known = new WeakSet();
      this.#known.set(port, known);
    }
    if (!known.has(memory)) {
      known.add(memory);
      post(port, { type: "memory", id, buffer: memory });
    }
    return [{ memory: id }, bytes.byteOffset];
  }

  /** A thread has ended, however it went: what it looked at is free. */
  left(port: MessagePort): void {
    for (const [shared, seat] of this.#seats.get(port) ?? []) {
      try {
        shared.reclaim(seat);
      } catch (error) {
        // The pool may have gone before its thread.
        if (!isMillpondError(error, "ERR_POOL_DEAD")) throw error;
      }
    }
    this.#seats.delete(port);
  }
}

function post(port: MessagePort, message: ToThread): void {
  port.postMessage(message);
}
