/**
 * Where the frames of a thread stage lie, and how its threads get at them: each thread is a member of every pool of
 * shared slots that it has a frame of, and shared memory that comes from elsewhere goes by a number.
 *
 * A thread becomes a member with its first frame of a pool, leaves when the pool has drained, and is reclaimed when it
 * ends.
 */
import type { MessagePort } from "node:worker_threads";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import type { BufferPool } from "../../pools/buffer/buffer-pool.ts";
import type { SharedHandle } from "../../pools/shared/attach.ts";
import { SharedBufferPool } from "../../pools/shared/shared-buffer-pool.ts";
import type { SharedPool } from "../../pools/shared/shared-pool.ts";
import { isMillpondError } from "../../util/errors.ts";
import type { ToThread } from "./protocol.ts";

/** Where bytes are, as a message says it. */
export type Place = Extract<ToThread, { type: "work" }>["place"];

/** A shared pool has 20 members, and the thread that fills the frames is one of them. */
export const MAX_THREADS = 19;

/** The memory of one stage's threads. */
export class ThreadSlots {
  /** The slots behind each pool that was offered and accepted. */
  readonly #shared: WeakMap<object, SharedPool> = new WeakMap();
  readonly #memberships: Map<MessagePort, Map<SharedPool, SharedHandle>> = new Map();
  readonly #ids: WeakMap<SharedArrayBuffer, number> = new WeakMap();
  readonly #known: WeakMap<MessagePort, WeakSet<SharedArrayBuffer>> = new WeakMap();
  #nextId = 0;
  /** Takes the listeners away from the pools that threads are members of. */
  readonly #watched: Map<BufferPool, () => void> = new Map();

  /** When the pool has drained, the threads leave it. */
  #watch(pool: BufferPool): void {
    if (this.#watched.has(pool)) return;
    this.#watched.set(
      pool,
      pool.on("drained", () => this.#retire(pool)),
    );
  }

  /** The threads have ended. */
  unwatch(): void {
    const offs = [...this.#watched.values()];
    this.#watched.clear();
    for (const off of offs) off();
  }

  #retire(pool: BufferPool): void {
    this.#watched.get(pool)?.();
    this.#watched.delete(pool);
    const shared = this.#shared.get(pool);
    if (shared === undefined) return;
    this.#shared.delete(pool);
    for (const [port, joined] of this.#memberships) {
      if (joined.delete(shared)) post(port, { type: "leave", pool: shared.handle.pool });
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

  /** False for a pool of somebody else that has no room for another member. */
  #join(port: MessagePort, pool: SharedBufferPool, shared: SharedPool): boolean {
    let joined = this.#memberships.get(port);
    if (joined === undefined) {
      joined = new Map();
      this.#memberships.set(port, joined);
    }
    if (joined.has(shared)) return true;
    let handle: SharedHandle;
    try {
      handle = shared.reserve();
    } catch (error) {
      if (isMillpondError(error, "ERR_POOL_FULL")) return false;
      throw error;
    }
    this.#shared.set(pool, shared);
    this.#watch(pool);
    joined.set(shared, handle);
    post(port, { type: "pool", handle });
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
    for (const [shared, handle] of this.#memberships.get(port) ?? []) {
      try {
        shared.reclaim(handle);
      } catch (error) {
        // The pool may have gone before its thread.
        if (!isMillpondError(error, "ERR_POOL_DEAD")) throw error;
      }
    }
    this.#memberships.delete(port);
  }
}

function post(port: MessagePort, message: ToThread): void {
  port.postMessage(message);
}
