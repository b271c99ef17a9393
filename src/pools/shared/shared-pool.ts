/**
 * SharedPool: one pool of equal slots for all threads that attach to it. No lock, no thread that serves the others; a
 * thread that dies, at any instruction, loses nothing of theirs.
 *
 * ```ts
 * const pool = SharedPool.create({ size: 1920 * 1080 * 4, count: 8 });
 * worker.postMessage(pool.handle);               // there: const pool = SharedPool.attach(handle)
 * const lease = await pool.acquire({ timeout: 1000 });
 * pool.bytes(lease).set(frame);
 * lease.release();
 * lease.release();                               // ERR_DOUBLE_RELEASE
 * ```
 * The integer API (`tryAcquireId`, `releaseId`, `retainId`, `offsetOf`) is the same without an object: nothing is
 * allocated, fit for an AudioWorklet.
 *
 * Life-cycle of the pool: live from {@link SharedPool.create}; retiring from `retire()` until its last lease is back;
 * dead, also by `close()`. Of this thread's part: a member from `create` or `attach` until `leave()`, or until another
 * one evicts it by `reclaim()` (the states are in member-status.ts). Of a slot, which is one state word, a generation
 * and one bit for each member that holds it:
 * ```
 *   free (g, no bit) --acquire--> held (g, one bit) --retain, transfer--> held (g, other bits, or more)
 *   held (g, last bit) --release--> free (g+1)                                  nothing to clear
 *   held (g, last bit) --release--> closed (g+1, the same bit) --clear--> free  bytes to clear, or g's low part ends
 *   free (g, no bit) --acquire--> closed (g, one bit) --clear--> held (g, the same bit)   zero: "acquire"
 *   held or closed, of a dead member --reclaim--> as by release, by the member that reclaims
 *   any --close--> dead; free --retire--> dead
 * ```
 * Invariants: a slot changes hands by one compare-exchange on its state word, and by nothing else; a lease is one
 * generation of a slot, and no generation comes twice within 2^33 uses; what this thread believes to hold it holds, or
 * its membership is over. How that is kept, and why nothing can be lost: core.ts.
 *
 * Complexity: a slot is taken and given back in O(1) (one compare-exchange each), O(count) to say that none is free;
 * `reclaim`, `leave`, `retire`, `close`, `stats`, `holders` and `validate` are O(count).
 */
import { zeroBytes } from "../../memory/region.ts";
import {
  type PoolCounts,
  type PoolHolder,
  type PoolKind,
  type PoolMember,
  UNCOUNTED,
} from "../../observe/pool-info.ts";
import { type PoolRegistration, registerPool, tellStarved } from "../../observe/registry.ts";
import { type Clock, checkClock } from "../../util/clock.ts";
import { disposeBy } from "../../util/dispose.ts";
import { isMillpondError, MillpondError } from "../../util/errors.ts";
import { UNCLONEABLE } from "../../util/uncloneable.ts";
import {
  badValue,
  checkOptions,
  flag,
  isRevoked,
  milliseconds,
  readOptions,
  show,
  wholeNumber,
  wrongType,
} from "../../util/validate.ts";
import { Lease, type LeaseData, type LeasePool } from "../common/lease.ts";
import { readWait, type WaitOptions } from "../common/wait-queue.ts";
import { type ConnectOptions, checkConnect, type LaneTarget } from "../lane/connect.ts";
import type { Lane } from "../lane/lane.ts";
import { endUsers, retireUsers } from "../lane/liveness.ts";
import { connectShared } from "../lane/shared-transport.ts";
import {
  type AttachOptions,
  bytesFor,
  joinPool,
  type Made,
  makePool,
  poolFullError,
  rememberLineage,
  type SharedHandle,
  type SharedHolder,
  type SharedMemberStats,
  type SharedPoolOptions,
  type SharedPoolStats,
} from "./attach.ts";
import {
  type Core,
  createCore,
  holds,
  isCurrent,
  isLocalHolder,
  leaseOf,
  MANY,
  memberAt,
  NONE,
  NOTHING,
  release,
  releaseSlow,
  retain,
  stateAt,
  tenureOf,
  tryAcquire,
} from "./core.ts";
import {
  acquireRefusal,
  cannotBlock,
  countHolders,
  evictedError,
  holdersOf,
  inUseError,
  isEvicted,
  isIdentity,
  leaseError,
  otherPoolError,
  refusal,
  starvedError,
} from "./errors.ts";
import {
  CLOSED_SLOT,
  DEAD_SLOT,
  Header,
  LAYOUT_VERSION,
  MemberState,
  MemberWord,
  RETIRING,
  type SharedLayout,
} from "./layout.ts";
import { noteTravel } from "./lineage.ts";
import { isPresent, isReservation, isSameMember, type Membership, statusOf } from "./member-status.ts";
import { claimMembership, leave } from "./membership.ts";
import { type BudgetEntry, uncount } from "./memory-budget.ts";
import { closePool, hadLeases, hasRetired, isAlive, isOpen, leaveEnded, retirePool } from "./pool-state.ts";
import { endMember, reclaimThread, resumeReclaim } from "./reclaim.ts";
import { acquireIdSync, SharedQueue } from "./wait.ts";
import { checkWaiter, type SharedWaiter } from "./waiter.ts";

/**
 * One pool of equal slots for all threads that attach to it, as one of them sees it. There is no lock, and no thread
 * serves the others; a thread that ends at any instruction loses nothing of theirs. {@link SharedPool.connect} makes a
 * lane to a worker, which gives the worker a membership; without a lane post `pool.handle` and attach there. The calls
 * that end in `Id` are the same with integers and make no garbage. A slot is taken and given back in O(1); `reclaim`,
 * `leave`, `retire`, `close`, `stats`, `holders` and `validate` are O(count).
 *
 * ```ts
 * const pool = SharedPool.create({ name: "frames", size: 1920 * 1080 * 4, count: 8 });
 * worker.postMessage(pool.handle);                      // never the pool; there: SharedPool.attach(handle)
 * const lease = await pool.acquire({ timeout: 1000 });
 * pool.bytes(lease).set(frame);                         // a lease has no bytes of its own
 * lease.release();                                      // a second release() throws ERR_DOUBLE_RELEASE
 * ```
 */
export class SharedPool implements LeasePool {
  /** @internal */
  readonly uncloneable: symbol = UNCLONEABLE;
  /** For messages. */
  declare readonly name: string;
  /** Bytes of a slot. */
  declare readonly size: number;
  /** Slots. */
  declare readonly count: number;
  /** The memory that everything lies in. */
  declare readonly memory: SharedArrayBuffer;
  /** This thread's number among those that are attached. */
  declare readonly member: number;
  /** What carries a lease to another thread. */
  declare readonly transport: "shared";
  /** @internal */
  declare readonly core: Core;
  /**
   * Use it as `using pool = SharedPool.create(options)` where the platform has `Symbol.dispose`: closes the pool that
   * it made, leaves one that it joined, by force.
   */
  declare [Symbol.dispose]: () => void;
  readonly #layout: SharedLayout;
  // Numbers and flags from the first moment: the engine keeps the representation that it sees first.
  readonly #isMaker: boolean = false;
  readonly #pool: number = 0;
  /** @internal */
  declare readonly waiter: SharedWaiter;
  /** @internal */
  declare readonly clock: Clock;
  readonly #queue: SharedQueue;
  readonly #views: (Uint8Array | undefined)[];
  readonly #budget: BudgetEntry | undefined;
  readonly #registration: PoolRegistration;

  /** @internal Made by {@link SharedPool.create} and {@link SharedPool.attach}. */
  constructor(made: Made, membership: Membership, options: AttachOptions, kind: PoolKind = "SharedPool") {
    const { layout, memory } = made;
    const i32 = new Int32Array(memory, 0, layout.slotsAt >>> 2);
    this.name = made.name;
    this.#isMaker = made.isNew;
    this.#pool = made.pool;
    this.#budget = made.budget;
    this.size = layout.size;
    this.count = layout.count;
    this.memory = memory;
    this.member = membership.member;
    this.transport = "shared";
    this.#layout = layout;
    this.waiter = checkWaiter("options.waiter", options.waiter);
    this.clock = checkClock("options.clock", options.clock);
    this.#views = new Array<Uint8Array | undefined>(layout.count).fill(undefined);
    this.core = createCore(
      i32,
      layout,
      membership.member,
      membership.status,
      (index, from, to) => {
        const view = this.viewOf(index);
        zeroBytes(to - from === view.length ? view : view.subarray(from, to));
      },
      this.waiter.notify,
      made.pool,
      made.thread,
    );
    this.#queue = new SharedQueue(this.core, this.waiter, this.clock, () => {
      const error = acquireRefusal(this, "wait for a slot of");
      this.noteEnd();
      return error;
    });
    this.#registration = registerPool(kind, made.name, {
      counts: () => this.#counts(),
      stats: () => this.stats(),
      holders: (most) => this.#poolHolders(most),
      members: () => this.#poolMembers(),
      watch: () => this.#watch(),
      lookForEnd: () => this.seeEnd(),
      shared: made.pool,
    });
    // Between two operations; an AudioWorklet has no queueMicrotask.
    this.core.onEnd = () => void Promise.resolve().then(() => this.noteEnd());
    this.#queue.registration = this.#registration;
    if (kind === "SharedPool") this.beginRegistration();
  }

  /** @internal The pool is whole. A subclass with a kind of its own calls it last in its constructor. */
  beginRegistration(): void {
    this.#registration.begin();
  }

  /**
   * Makes a pool and attaches this thread to it. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`,
   * `ERR_OUT_OF_RANGE`, `ERR_UNSUPPORTED` where there is no shared memory, `ERR_POOL_FULL` beyond
   * {@link limitSharedMemory}, `ERR_ALREADY_EXISTS` for a `memory` with a live pool in it, `ERR_IN_USE` for one with a
   * closed pool that a thread is still a member of: each has to call {@link leave} (a call that threw `ERR_POOL_DEAD`,
   * and {@link close}, did so), or {@link reclaim} has to say that it ended; and for one in which another thread makes
   * a pool. If that has ended before it was done, fill the memory with zeros. O(count).
   */
  static create(options: SharedPoolOptions): SharedPool {
    const given = checkedOptions(options, CREATE_KEYS);
    const made = makePool(given);
    return new SharedPool(made, made.membership, given);
  }

  /**
   * Attaches this thread to a pool that another one made. Throws `ERR_INVALID_ARG_TYPE`, `ERR_UNSUPPORTED` for another
   * version's handle, `ERR_BAD_DATA` when handle and memory disagree, `ERR_POOL_DEAD` when the pool was closed or the
   * reserved membership taken back, `ERR_POOL_FULL` when all memberships are taken. Changes nothing then.
   */
  static attach(handle: SharedHandle, options: AttachOptions = {}): SharedPool {
    if (options === null || typeof options !== "object") throw wrongType("options", "a plain object", options);
    const given = checkedOptions(options, ATTACH_KEYS);
    const joined = joinPool(handle, given.memory);
    noteTravel(new Int32Array(joined.memory, 0, joined.layout.slotsAt >>> 2), joined.layout, joined.membership);
    const pool = new SharedPool(joined, joined.membership, given);
    rememberLineage(pool.core);
    return pool;
  }

  /**
   * Bytes that `memory` must have for such a pool; one that is given already is not measured. Throws as
   * {@link SharedPool.create}.
   */
  static bytesNeeded(options: SharedPoolOptions): number {
    return bytesFor(checkedOptions(options, CREATE_KEYS));
  }

  /** What {@link SharedPool.attach} needs, on any thread of this process; as JSON, without the memory, on another's. */
  get handle(): SharedHandle {
    const { size, count, align, members, zero } = this.#layout;
    const { name, memory } = this;
    return {
      kind: "millpond.SharedPool",
      version: LAYOUT_VERSION,
      name,
      pool: this.#pool,
      size,
      count,
      align,
      members,
      zero,
      memory,
    };
  }

  /**
   * A handle with a membership of its own, for one thread. Its number is known before the thread is, so that
   * {@link reclaim} can clear up after it whenever it dies; a connection does all of that by itself. Until the thread
   * attaches it ends with this one: it is taken back when this thread leaves, or its membership is reclaimed. Throws
   * `ERR_POOL_FULL`, `ERR_POOL_DEAD`.
   */
  reserve(): SharedHandle & { readonly membership: Membership } {
    this.#refuse("reserve a membership of");
    const { members } = this.#layout;
    const membership = claimMembership(this.core.i32, this.#layout, MemberState.RESERVED, 0, members, this.core);
    if (membership === null) throw poolFullError(this.name, this.#layout.members);
    return { ...this.handle, membership };
  }

  /**
   * Connects to a worker, which calls `receiveLane` there, and gets a membership of its own: when it ends, however it
   * does, what it held is free again. Rejects with `ERR_POOL_FULL` without a free membership, `ERR_INACTIVE` when the
   * worker ends first or does not answer in time, the signal's reason, `ERR_POOL_DEAD`.
   */
  async connect<Data = unknown>(target: LaneTarget, options: ConnectOptions = {}): Promise<Lane<Data>> {
    // Before a membership is taken.
    return connectShared(this, checkConnect(target, options));
  }

  /** A free slot, or undefined: none is free, or others of this thread wait for one. Throws `ERR_POOL_DEAD`. */
  tryAcquire(): Lease | undefined {
    if (this.#queue.length > 0) return undefined;
    const id = this.tryAcquireId();
    return id === NONE ? undefined : new Lease(id, id & this.core.indexMask, this.#pool, this);
  }

  /**
   * Waits for a slot: first come, first served within this thread. Between threads one release wakes one sleeper, in
   * the order in which they fell asleep; a thread that takes a slot without waiting may be faster than one that wakes.
   * Rejects with `signal.reason`, `ERR_STARVED` after `timeout` ms (who holds what is in it, of 1024 slots at
   * most), `ERR_POOL_DEAD`.
   */
  async acquire(options: WaitOptions = {}): Promise<Lease> {
    const { signal, timeout } = readWait(options);
    if (signal?.aborted) throw signal.reason;
    const lease = this.tryAcquire();
    if (lease !== undefined) return lease;
    const id = await this.#queue.wait({ signal, timeout }, (waiter) => this.#starved(waiter.since));
    return this.lease(id);
  }

  /**
   * As {@link acquire}, blocking this thread: spins 20 us, then sleeps. Throws `ERR_STARVED` after `timeout` ms,
   * `ERR_POOL_DEAD`, `ERR_UNSUPPORTED` where a thread must not block (the main thread of a page), and what the waiter
   * throws.
   */
  acquireSync(timeout: number = Number.POSITIVE_INFINITY): Lease {
    return this.lease(this.acquireIdSync(timeout));
  }

  /** As {@link acquireSync}, for the integer API. */
  acquireIdSync(timeout: number = Number.POSITIVE_INFINITY): number {
    milliseconds("timeout", timeout);
    let id = this.tryAcquireId();
    if (id !== NONE) return id;
    const start = this.clock.now();
    try {
      id = acquireIdSync(this.core, this.waiter, timeout, this.#queue.length > 0);
    } catch (cause) {
      throw isMillpondError(cause) ? cause : cannotBlock(this.name, cause);
    }
    if (id !== NONE) return id;
    this.#refuse("wait for a slot of");
    throw this.#starved(start);
  }

  #starved(since: number): MillpondError {
    const waited = this.clock.now() - since;
    const error = starvedError(this, waited);
    tellStarved(this.#registration, waited, this.#queue.length);
    return error;
  }

  /** The bytes of a slot that this thread holds: the same view each time. Throws as {@link bytesOf}. */
  bytes(lease: LeaseData): Uint8Array {
    return this.bytesOf(this.idOf(lease, "use"));
  }

  /**
   * One hold more, to be released too; also for a thread that knows of a lease another one holds. Throws as
   * {@link retainId}.
   */
  retain(lease: LeaseData): void {
    this.retainId(this.idOf(lease, "retain"));
  }

  /** Gives a hold back; the slot is free with its last. Throws as {@link release}. */
  release(lease: LeaseData): void {
    this.releaseId(this.idOf(lease, "release"));
  }

  /** Which slot a lease is of: where its view is in a table that was made before. @realtime Unchecked. */
  indexOf(id: number): number {
    if (typeof id !== "number") throw wrongType("id", "a lease, a number", id);
    return id & this.core.indexMask;
  }

  /** The lease behind an identity, as an object. */
  lease(id: number): Lease {
    if (typeof id !== "number") throw wrongType("id", "a lease, a number", id);
    return new Lease(id, id & this.core.indexMask, this.#pool, this, tenureOf(this.core, id));
  }

  /**
   * The identity of a free slot, or -1. @realtime O(1) while slots are free, O(count) to say that none is. Throws
   * `ERR_POOL_DEAD`.
   */
  tryAcquireId(): number {
    const id = tryAcquire(this.core);
    return id >= 0 ? id : this.#missed();
  }

  /**
   * Gives a hold back. @realtime Throws `ERR_DOUBLE_RELEASE`, `ERR_FOREIGN_RELEASE` for what this thread does not hold
   * or what is not a lease, `ERR_POOL_DEAD`; nothing changes then.
   */
  releaseId(id: number): void {
    if (typeof id !== "number" || !release(this.core, id)) this.#releaseSlow(id);
  }

  /** One hold more. @realtime Throws `ERR_USE_AFTER_RELEASE`, `ERR_FOREIGN_RELEASE`, `ERR_POOL_DEAD`. */
  retainId(id: number): void {
    if (!this.isIdentity(id) || !retain(this.core, id)) throw this.#failed(id, "retain");
  }

  /** Whether this thread holds the lease. @realtime */
  isHeld(id: number): boolean {
    const { core } = this;
    if (!this.isIdentity(id)) return false;
    const index = id & core.indexMask;
    if (!isLocalHolder(core, index, id) || core.i32[core.statusAt] !== core.status) return false;
    return holds(core, Atomics.load(core.i32, stateAt(core, index)), id);
  }

  /**
   * The bytes of a held slot: the same view each time, made at the first. Throws `ERR_USE_AFTER_RELEASE`,
   * `ERR_FOREIGN_RELEASE`, `ERR_POOL_DEAD`.
   */
  bytesOf(id: number): Uint8Array {
    if (!this.isHeld(id)) throw this.#failed(id, "use");
    return this.viewOf(id & this.core.indexMask);
  }

  /** Where a held slot's bytes begin in {@link memory}. @realtime Throws as {@link bytesOf}. */
  offsetOf(id: number): number {
    if (!this.isHeld(id)) throw this.#failed(id, "use");
    return this.#layout.slotsAt + (id & this.core.indexMask) * this.#layout.stride;
  }

  /**
   * Where slot number `index` lies, held or not: for views of another type that are made once for each slot, before a
   * realtime thread begins. Throws `ERR_OUT_OF_RANGE`.
   */
  slotOffset(index: number): number {
    return this.#layout.slotsAt + wholeNumber("index", index, 0, this.count - 1) * this.#layout.stride;
  }

  /**
   * Ends a thread that has ended, with the workers that it connected and theirs: what only they held is free, and those
   * who wait are woken. Should it live after
   * all, its late calls find another generation. Returns the slots that came free by this call. With
   * `zero: "release"` one call clears 64 MiB; later calls, and those that find no slot, go on. Throws
   * `ERR_OUT_OF_RANGE`, and `ERR_INVALID_ARG_VALUE` for this thread itself (that is {@link leave}) and for a handle of
   * another pool or without a reserved membership. O(count). In a pool that was closed, also by one who has left it:
   * the thread is in the way of another pool in that memory no more. Throws `ERR_POOL_DEAD` once there is one.
   *
   * @param member number of the thread, or the handle that was reserved for it: then no later member is hit
   */
  reclaim(member: number | SharedHandle): number {
    const reserved = typeof member === "object" && member !== null;
    if (isRevoked(member)) throw wrongType("member", "a member's number or a reserved handle", member);
    const membership = reserved ? member.membership : typeof member === "number" ? { member, status: 0 } : undefined;
    if (membership === null || typeof membership !== "object" || isRevoked(membership)) {
      throw wrongType("member", "a member's number or a reserved handle", member);
    }
    const number = wholeNumber(
      reserved ? "member.membership.member" : "member",
      membership.member,
      0,
      this.#layout.members - 1,
    );
    // Read once: a getter may answer another one the second time.
    const wanted = membership.status;
    if (reserved) this.#checkReserved(member, wanted);
    if (number === this.member && (!reserved || isSameMember(this.core.status, wanted)))
      throw badValue("member", "another thread than this one (leave() ends its own part)", number);
    if (!isAlive(this.core) && endMember(this.core, number, wanted)) return 0;
    const error = refusal(this, "reclaim a thread of");
    if (error !== undefined) throw error;
    const status = wanted === 0 ? statusOf(this.core, number) : wanted;
    return reclaimThread(this.core, { member: number, status });
  }

  /**
   * This thread takes part no more. Throws `ERR_IN_USE` while it holds slots; with `force` those come free. Its waiters
   * are rejected. A second time nothing happens. After {@link close}, by whichever thread, it says that this one is
   * done with the memory. O(count).
   */
  leave(options: { force?: boolean } = {}): void {
    const force = flag("options.force", checkOptions("options", options, ["force"]).force, false);
    this.noteEnd();
    if (isEvicted(this.core) || !isAlive(this.core)) return;
    const holds = this.stats().members.find((entry) => entry.self)?.holds ?? 0;
    if (holds > 0 && !force) {
      throw new MillpondError(
        "ERR_IN_USE",
        `this thread (member ${this.member}) holds ${holds === 1 ? "1 slot" : `${holds} slots`} of shared pool "${this.name}"; release them, or leave({ force: true })`,
        { pool: this.name, holds },
      );
    }
    rememberLineage(this.core);
    leave(this.core);
    this.#registration.end();
    this.#queue.rejectAll(() => evictedError(this, "wait for a slot"));
    // Who held nothing leaves in good order: the other sides' iterations end.
    endUsers(this, () => evictedError(this, "wait for a lease"), force ? "left" : "closed");
  }

  /** @internal Ends this thread's lanes where another one has ended the pool, or this thread's part in it. */
  lookForEnd(): void {
    const error = refusal(this, "wait for a lease of");
    if (error === undefined) {
      if (!isOpen(this.core)) retireUsers(this, () => acquireRefusal(this, "connect to")!);
      return;
    }
    const end = isAlive(this.core) ? "left" : hasRetired(this.core) ? "retired" : "forced";
    this.noteEnd();
    endUsers(this, () => error, end);
  }

  /**
   * Ends the pool with its last lease, for all threads: nobody gets a slot or joins any more, and every wait is
   * rejected with `ERR_POOL_DEAD`. Leases stay good, can be sent and are given back as before; the last one closes the
   * pool. A lease that another thread takes at this very moment is one of them. Returns who holds what. A second time,
   * or in a pool that is closed, nothing happens. Throws `ERR_POOL_DEAD`, and the pool goes on, where this thread has
   * left it or was reclaimed. O(count).
   */
  retire(): readonly SharedHolder[] {
    if (this.isOut) throw evictedError(this, "retire the pool");
    if (!isAlive(this.core)) {
      // Also where this thread has given the memory up, in which another pool may be by now.
      this.#queue.rejectAll(() => refusal(this, "wait for a slot of")!);
      this.lookForEnd();
      return [];
    }
    const held = retirePool(this.core);
    this.#queue.rejectAll(() => acquireRefusal(this, "wait for a slot of"));
    retireUsers(this, () => acquireRefusal(this, "connect to")!);
    if (held > 0) return this.holders();
    if (isAlive(this.core)) return this.holders();
    this.noteEnd();
    endUsers(this, () => refusal(this, "wait for a lease of")!, "retired");
    return [];
  }

  /**
   * Ends the pool for all threads: no lease is good, nobody gets a slot, pending waits reject. Throws `ERR_IN_USE`
   * while slots are held, with who holds them; `force` ends those leases too. Throws `ERR_POOL_DEAD`, and the pool goes
   * on, where this thread has left it or was reclaimed. The memory goes when no thread refers to it. O(count).
   */
  close(options: { force?: boolean } = {}): void {
    const force = flag("options.force", checkOptions("options", options, ["force"]).force, false);
    this.noteEnd();
    if (!isAlive(this.core)) return;
    if (isEvicted(this.core)) throw evictedError(this, "close the pool");
    if (!force && this.stats().held > 0) throw inUseError(this);
    closePool(this.core);
    if (this.#budget !== undefined) uncount(this.#budget);
    this.#registration.end();
    this.#queue.rejectAll(() => refusal(this, "wait for a slot of"));
    endUsers(this, () => refusal(this, "wait for a lease of")!, force ? "forced" : "closed");
  }

  /**
   * @internal The pool has ended, and this thread knows: from now on the memory is another pool's as far as it cares.
   */
  giveUp(): void {
    leaveEnded(this.core);
  }

  /**
   * @internal A call of this thread may have met the end of the pool, or of this thread's part in it: then who watches
   * it here is told, and it is given up. Only between two operations.
   */
  noteEnd(): void {
    const isOver = !isAlive(this.core);
    if (!isOver && !isEvicted(this.core)) return;
    if (isOver && this.#budget !== undefined) uncount(this.#budget);
    this.#registration.end();
    if (isOver) this.giveUp();
  }

  /**
   * @internal The same by a look from outside. Who watches is told; but the memory stays as it is where this thread may
   * still be at the bytes of its leases.
   */
  seeEnd(): void {
    if (isAlive(this.core) || !hadLeases(this.core)) this.noteEnd();
    else this.#registration.end();
  }

  /** @internal The process of a member, where members are processes. */
  processOf(_member: number): number | undefined {
    return undefined;
  }

  /** @internal What `using` does. */
  disposeByForce(): void {
    if (this.#isMaker && !this.isOut) this.close({ force: true });
    else this.leave({ force: true });
  }

  /** @internal Whether the pool goes on without this thread, which left it or was reclaimed. */
  get isOut(): boolean {
    return isAlive(this.core) && isEvicted(this.core);
  }

  /** Who has each slot that is not free, in the order of the slots; other threads go on meanwhile. O(count). */
  holders(): readonly SharedHolder[] {
    return readHolders(this.core, this.count).list;
  }

  /** @internal The first of them, at most so many, and how many there are. */
  firstHolders(most: number): { list: SharedHolder[]; total: number } {
    return readHolders(this.core, most);
  }

  /** What is where, and who holds it. O(count). */
  stats(): SharedPoolStats {
    return readStats(this.core);
  }

  /** Checks every invariant of a pool at rest; throws `ERR_CORRUPTED`. O(count). For tests. */
  validate(): void {
    validatePool(this);
  }

  /** @internal The bytes of a slot, held or not. */
  viewOf(index: number): Uint8Array {
    const view = this.#views[index];
    if (view !== undefined) return view;
    const made = new Uint8Array(this.memory, this.#layout.slotsAt + index * this.#layout.stride, this.size);
    this.#views[index] = made;
    return made;
  }

  /** @internal The identity of a lease of this pool. */
  idOf(lease: LeaseData, verb: string): number {
    if (lease === null || typeof lease !== "object") {
      const call = typeof lease === "number" ? BY_IDENTITY[verb] : undefined;
      throw wrongType(
        "lease",
        `a Lease of this pool${call === undefined ? "" : ` (${call} takes an identity)`}`,
        lease,
      );
    }
    if (lease.pool !== this.#pool) throw otherPoolError(this, lease, verb);
    const { id } = lease;
    const tenure = tenureOf(this.core, id);
    if (tenure !== 0 && Lease.isOver(lease, this, tenure)) throw this.#failed(id, verb, true);
    return id;
  }

  /** @internal Whether a value can be an identity of this pool at all. */
  isIdentity(id: unknown): id is number {
    return isIdentity(this.core, id);
  }

  /** @internal The lease that a slot is in, as far as this thread may know it: certain while it is a holder. */
  currentLease(index: number): number {
    return leaseOf(this.core, index, Atomics.load(this.core.i32, stateAt(this.core, index)));
  }

  /** A forged membership, or that of another pool, would end somebody who lives. */
  #checkReserved(handle: SharedHandle, status: number): void {
    if (handle.pool !== this.#pool)
      throw badValue("member", "a handle of this pool", `one of pool ${show(handle.pool)}`);
    wholeNumber("member.membership.status", status, 1, 2 ** 30 - 1);
    if (!isReservation(status)) throw badValue("member.membership.status", "that of a reserved membership", status);
  }

  /** An observer came or went: the fast paths of the core are closed while there is one. */
  #watch(): void {
    const { core } = this;
    const registration = this.#registration;
    const { observer } = registration;
    core.onHold =
      observer === null ? null : (index, id) => observer.onAcquire(registration, index, id, undefined, undefined);
    core.onDrop = observer === null ? null : (index) => observer.onRelease(registration, index);
    core.slowAcquire = core.clearsFirst || observer !== null;
    core.fastRelease = core.plain && observer === null;
  }

  #counts(): PoolCounts {
    const { isOut } = this;
    const { count, bytes, free, held, members } = readStats(this.core, isOut);
    const { size } = this;
    const phase = isOut || !isAlive(this.core) ? "closed" : isOpen(this.core) ? "active" : "retired";
    let misses = 0;
    let waits = 0;
    let waiting = this.#queue.length;
    for (const member of members) {
      misses += member.misses;
      waits += member.waits;
      if (member.waiting && !member.self) waiting++;
    }
    const bounds = { count, max: count, bytes, maxBytes: bytes };
    return { ...UNCOUNTED, phase, size, ...bounds, free, leased: held, waiting, misses, waits };
  }

  #poolHolders(most: number): PoolHolder[] {
    const { size, isOut } = this;
    const { list } = readHolders(this.core, isOut ? 0 : most);
    return list.map(({ slot, id, members }) => ({ slot, lease: id === NONE ? null : id, size, age: null, members }));
  }

  #poolMembers(): PoolMember[] {
    return readStats(this.core, this.isOut).members.map(({ member, self, state, holds, waiting }) => {
      const pid = this.processOf(member);
      return { member, self, state, holds, waiting, ...(pid === undefined ? {} : { pid }) };
    });
  }

  #missed(): number {
    const { core } = this;
    // First this: where the memory holds another pool now, nothing is counted.
    this.#refuse("take a slot of");
    // What a cut-off pass over dead members' slots left may be just what is wanted.
    const id = resumeReclaim(core) > 0 ? tryAcquire(core) : NONE;
    if (id !== NONE) return id;
    core.i32[memberAt(core, core.member) + MemberWord.MISSES]!++;
    return NONE;
  }

  #releaseSlow(id: number): void {
    if (!this.isIdentity(id) || !releaseSlow(this.core, id)) throw this.#failed(id, "release");
  }

  #failed(id: unknown, verb: string, isPast = false): MillpondError {
    const error = leaseError(this, id, verb, isPast);
    this.noteEnd();
    return error;
  }

  #refuse(verb: string): void {
    const error = acquireRefusal(this, verb);
    if (error === undefined) return;
    this.noteEnd();
    throw error;
  }
}

disposeBy(SharedPool, "disposeByForce");

/** The calls that take a number where a lease is taken for one. */
const BY_IDENTITY: Readonly<Record<string, string>> = {
  use: "bytesOf(id)",
  retain: "retainId(id)",
  release: "releaseId(id)",
};

const ATTACH_KEYS = ["waiter", "clock", "memory"] as const;
const CREATE_KEYS = [...ATTACH_KEYS, "size", "count", "align", "members", "zero", "name"] as const;

/** Options, each read once; how this thread waits is checked before anything is made. */
function checkedOptions<T extends AttachOptions>(options: T, keys: readonly (keyof T)[]): T {
  const given = readOptions("options", options, keys);
  given.waiter = checkWaiter("options.waiter", given.waiter);
  checkClock("options.clock", given.clock);
  return given;
}

const STATES = ["reserved", "live", "leaving", "reclaiming", "reclaiming", "reserved"] as const;

/**
 * The bits of places in which nobody is. A thread that was killed may have left one in a slot: that is to be had, for
 * the search that finds no other ends it.
 */
function emptyPlaces(core: Core): number {
  let empty = 0;
  for (let member = 0; member < core.layout.members; member++)
    if ((statusOf(core, member) & MemberState.MASK) === MemberState.FREE) empty |= 1 << member;
  return empty;
}

/**
 * A snapshot. Of a pool that has ended, whose memory may be another one's, nothing is read, nor for one who is `isOut`
 * of it. O(count).
 */
function readStats(core: Core, isOut = false): SharedPoolStats {
  const { i32, layout } = core;
  const { bytes, size, count } = layout;
  const none = { free: 0, held: 0, heldByMany: 0, reclaimed: 0, members: [] };
  const ended: SharedPoolStats = { count, bytes, wastedBytes: bytes - size * count, ...none };
  if (isOut || !isAlive(core)) return ended;
  const isMember = !isEvicted(core);
  const counts = new Array<number>(layout.members).fill(0);
  const empty = emptyPlaces(core);
  let free = 0;
  let held = 0;
  let heldByMany = 0;
  for (let index = 0; index < core.count; index++) {
    const state = Atomics.load(i32, stateAt(core, index));
    const holders = (state & DEAD_SLOT) === 0 ? state & core.holderMask & ~empty : 0;
    if ((state & core.takenMask & ~empty) === 0) free++;
    if (holders === 0) continue;
    held++;
    if ((holders & (holders - 1)) !== 0) heldByMany++;
    countHolders(core, holders, counts);
  }
  const waiting = Atomics.load(i32, Header.WAITING);
  const members: SharedMemberStats[] = [];
  for (let member = 0; member < layout.members; member++) {
    const status = statusOf(core, member) & MemberState.MASK;
    const state = STATES[status - 1];
    if (state === undefined && counts[member] === 0) continue;
    const at = memberAt(core, member);
    members.push({
      member,
      self: isMember && member === core.member,
      state: state ?? "reclaiming",
      holds: counts[member]!,
      waiting: (waiting & (1 << member)) !== 0,
      misses: i32[at + MemberWord.MISSES]!,
      waits: i32[at + MemberWord.WAITS]!,
    });
  }
  const reclaimed = Atomics.load(i32, Header.RECLAIMED);
  // It may have ended while it was read, and that have been another pool's.
  return isAlive(core) ? { ...ended, free, held, heldByMany, reclaimed, members } : ended;
}

/** Who has each slot that is held: nobody in a pool that has ended. O(count). */
function readHolders(core: Core, most: number): { list: SharedHolder[]; total: number } {
  const list: SharedHolder[] = [];
  let total = 0;
  if (!isAlive(core)) return { list, total };
  const empty = emptyPlaces(core);
  for (let slot = 0; slot < core.count; slot++) {
    const state = Atomics.load(core.i32, stateAt(core, slot));
    const holders = state & core.holderMask & ~empty;
    if ((state & DEAD_SLOT) !== 0 || holders === 0) continue;
    if (++total > most) continue;
    const id = (state & CLOSED_SLOT) === 0 ? leaseOf(core, slot, state) : NONE;
    list.push({ slot, id, members: holdersOf(core, holders) });
  }
  return isAlive(core) ? { list, total } : { list: [], total: 0 };
}

/** Checks a pool at rest: what this thread believes to hold, and what the shared words say. Throws `ERR_CORRUPTED`. */
function validatePool({ core, name }: { readonly core: Core; readonly name: string }): void {
  const fail = (what: string): never => {
    throw new MillpondError("ERR_CORRUPTED", `shared pool "${name}": ${what}`);
  };
  const { i32, layout } = core;
  // It has nothing that could be wrong.
  if (!isAlive(core)) return;
  let live = 0;
  for (let member = 0; member < layout.members; member++) {
    const status = statusOf(core, member) & MemberState.MASK;
    if (status > MemberState.JOINING) fail(`the membership of member ${member} has status ${status}`);
    if (isPresent(status)) live |= 1 << member;
  }
  for (let index = 0; index < core.count; index++) {
    const state = Atomics.load(i32, stateAt(core, index));
    if ((state & DEAD_SLOT) !== 0) continue;
    const holders = state & core.holderMask;
    if ((state & ~(core.stateMask | CLOSED_SLOT)) !== 0) fail(`slot ${index} has bits that mean nothing: ${state}`);
    if ((holders & ~live) !== 0)
      fail(`slot ${index} is held by members ${holdersOf(core, holders & ~live)}, who are gone`);
    const mine = core.localLease[index]!;
    const many = mine !== NOTHING && mine < 0;
    const id = many ? MANY - mine : mine;
    const believed = mine !== NOTHING && holds(core, state, id) && isCurrent(core, index, id);
    if ((state & CLOSED_SLOT) !== 0 || (state & core.lastState) === core.lastState)
      fail(`slot ${index} is closed, and nobody is at it`);
    if (many && !believed) fail(`this thread counts holds of slot ${index}, which it does not hold`);
    if (many && core.localRefs[index]! < 1) fail(`this thread has a wrong count for slot ${index}`);
  }
  if ((Atomics.load(i32, Header.WAITING) & ~(live | RETIRING)) !== 0) fail("somebody waits who is gone");
}
