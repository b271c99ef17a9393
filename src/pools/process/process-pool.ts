/**
 * ProcessPool: a SharedPool that processes share: the same slots, leases, waits and errors, in sealed memory of the
 * native layer. A process that has the memory's descriptor (inherited, sent over a Unix socket, or found by a name)
 * takes part, and what a killed process held comes free by itself.
 *
 * ```ts
 * const pool = ProcessPool.create({ size: 1920 * 1080 * 4, count: 8 });
 * spawn("node", ["child.js"], { stdio: [0, 1, 2, pool.descriptor] });
 * // there: const pool = ProcessPool.attach(3);
 * ```
 * Life-cycle of a process's part: it maps the block, writes its name into a row of the table behind the slots
 * (process-table.ts), takes the place of that row, and is a member; `leave()` gives back slots, place, row and mapping,
 * in this order. When it is killed in between, its row names it still: every other process looks at the rows each 250
 * ms, and reclaims the members of those that have ended. `close()` ends the pool for all processes. Slots and members
 * live as in a SharedPool.
 *
 * Invariants: no place is taken without its row, so that every member has a process that can be looked for; a process
 * of another PID namespace is never judged. Complexity: as a SharedPool; a look at the rows is O(members), 20 us each.
 */

import { nativeOps } from "../../os/load.ts";
import { type PublishedName, publishName } from "../../os/names.ts";
import type { NativeOps } from "../../os/native-ops.ts";
import { ownIdentity, type ProcessIdentity } from "../../os/process-liveness.ts";
import { notDone, type Outcome } from "../../os/result.ts";
import type { SharedMemory } from "../../os/shared-memory.ts";
import type { Lease } from "../common/lease.ts";
import { poolFullError, type SharedHandle } from "../shared/attach.ts";
import { isEvicted } from "../shared/errors.ts";
import { MemberState, type SharedLayout } from "../shared/layout.ts";
import { noteProcess } from "../shared/lineage.ts";
import type { Membership } from "../shared/member-status.ts";
import { endVisit, isAlive, visit } from "../shared/pool-state.ts";
import { disown } from "../shared/reclaim.ts";
import { SharedPool } from "../shared/shared-pool.ts";
import { ProcessWaiter } from "./futex-waiter.ts";
import {
  attachProcess,
  type Construct,
  createProcess,
  knownIdentity,
  type ProcessAttachOptions,
  type ProcessMade,
  type ProcessOpenOptions,
  type ProcessPoolOptions,
  WATCH_MS,
} from "./open.ts";
import {
  type Claim,
  claimRow,
  dropRow,
  freeRows,
  judged,
  noteThread,
  othersOf,
  type ProcessTable,
  pidOf,
  type Reclaimed,
  reclaimProcesses,
} from "./process-table.ts";

/**
 * A process that was killed has its connections closed before its last thread is gone: some microseconds, or more if it
 * is large.
 */
const SOON_MS = [0, 1, 3, 10, 30, 100] as const;

/**
 * Which block each member of this thread is at, by the block's inode and the member's number. Members that came by a
 * handle have none of their own: they are at that of another thread.
 */
const blocks: Map<string, WeakRef<SharedMemory>> = new Map();

/** A pool of slots that processes share, as one thread of one process sees it. */
export class ProcessPool extends SharedPool {
  /** The block that it lies in; undefined in a thread that got a handle and not the block. */
  declare readonly block: SharedMemory | undefined;
  /** @internal */
  declare readonly ops: NativeOps;
  readonly #table: ProcessTable;
  #self: ProcessIdentity;
  readonly #row: bigint | undefined;
  readonly #layout: SharedLayout;
  readonly #waiter: ProcessWaiter;
  #timer: ReturnType<typeof setInterval> | undefined;
  #lastLook: number;
  readonly #watchMs: number;
  #hasEnded = false;

  /**
   * Makes a pool in new sealed memory, which only processes of this user can open. Throws as `SharedPool.create`, and
   * `ERR_UNSUPPORTED` (no koffi, no memfd: the reason is in the message and in `details`) or `ERR_ALLOCATION_FAILED`.
   */
  static override create(options: ProcessPoolOptions): ProcessPool {
    return createProcess(options, construct);
  }

  /**
   * Attaches this process, or a thread of it, to a pool that another process made: by a descriptor that was inherited
   * or received (taken over, and closed on failure), by the name that it was published under, by its block, or by a
   * handle that `reserve()` gave.
   *
   * Throws `ERR_BAD_DATA` for memory that is not sealed, of another user, too short, or that holds no pool of this
   * version (`details.errno` names what the native layer refused), `ERR_UNSUPPORTED` with the reason where nothing
   * native runs, `ERR_INACTIVE` when the name's publisher is gone, `ERR_POOL_DEAD` for a pool that was closed or a
   * reservation that was taken back, `ERR_POOL_FULL`.
   * That one at once when all memberships are those of processes that run; where one is of a process that has ended,
   * this thread blocks until a member has cleared up after it, and for 360 ms at most.
   */
  static override attach(
    source: number | string | SharedMemory | SharedHandle,
    options: ProcessOpenOptions = {},
  ): ProcessPool {
    return attachProcess(source, options, construct);
  }

  /** @internal Made by {@link ProcessPool.create} and {@link ProcessPool.attach}. */
  constructor({ made, table, word, block, isInherited }: ProcessMade, options: ProcessAttachOptions) {
    const { ops = nativeOps(), asyncWait = "thread", stop, clock, watch = WATCH_MS } = options;
    const i32 = new Int32Array(made.memory, 0, made.layout.slotsAt >>> 2);
    const waiter = new ProcessWaiter({ i32, ops, asyncWait, stop, look: () => this.lookNow() });
    super(made, made.membership, clock === undefined ? { waiter } : { waiter, clock }, "ProcessPool");
    this.block = block;
    if (block !== undefined) blocks.set(`${block.inode}:${made.membership.member}`, new WeakRef(block));
    this.ops = ops;
    this.#table = table;
    this.#self = ownIdentity();
    this.#row = word;
    this.#layout = made.layout;
    this.#waiter = waiter;
    const { pid, start } = judged(table, this.#self);
    noteProcess(this.core, pid, start);
    this.#watchMs = watch;
    this.#lastLook = performance.now();
    this.#timer = undefined;
    if (watch !== Number.POSITIVE_INFINITY) this.#timer = watchWeakly(new WeakRef(this), watch);
    if (isInherited === true) {
      disown(this.core);
      this.reclaimEnded();
    }
    this.beginRegistration();
  }

  /** The block's descriptor, to hand to a child: `stdio: [0, 1, 2, pool.descriptor]`. -1 where there is none. */
  get descriptor(): number {
    return this.block?.descriptor ?? -1;
  }

  /** @internal This thread's membership, for the other end of a lane. */
  get membership(): Membership {
    return { member: this.member, status: this.core.status };
  }

  /** @internal Whether the pool was closed, or this thread takes part no more. */
  get isOver(): boolean {
    return !isAlive(this.core) || isEvicted(this.core);
  }

  /** How blocking waits sleep: "futex", or "poll" where there is none. */
  get waits(): "futex" | "poll" {
    return this.#waiter.kind;
  }

  /**
   * Gives the pool a name by which processes of this user open it while this one lives. Answers "EEXIST" when it is
   * taken, "BAD_NAME_FILE" when what lies in its place is no name's file.
   */
  publish(name: string): Outcome<PublishedName> {
    if (this.block === undefined) return notDone("refused", "NO_BLOCK", "this thread has a handle and not the block");
    return publishName(name, this.block, this.ops);
  }

  /**
   * A handle with a membership of its own, for a thread or child of this process; when this process ends, so does the
   * membership. Throws `ERR_POOL_FULL`, `ERR_POOL_DEAD`.
   */
  override reserve(): SharedHandle & { readonly membership: Membership } {
    // Refuses a dead pool and an evicted member, as a pool of threads does.
    if (this.isOver) return super.reserve();
    this.#self = knownIdentity(`cannot reserve a membership of shared pool "${this.name}"`);
    this.#freeRows();
    let claim = this.#claim();
    if (claim === null) {
      // The dead may have the memberships.
      this.reclaimEnded();
      claim = this.#claim();
    }
    if (claim === null) throw poolFullError(this.name, this.#layout.members);
    // Which thread of the process it is for, is not known.
    noteThread(this.#table, claim.membership.member, claim.word, undefined);
    return { ...this.handle, membership: claim.membership };
  }

  /** As {@link SharedPool.reclaim}: for a process in another PID namespace, and for threads. */
  override reclaim(member: number | SharedHandle): number {
    const freed = super.reclaim(member);
    this.#freeRows();
    return freed;
  }

  /**
   * As {@link SharedPool.acquireSync}; also throws `ERR_INACTIVE` when the stop word is set. Ended processes are looked
   * for between the slices, so that no wait is for a dead process.
   */
  override acquireSync(timeout: number = Number.POSITIVE_INFINITY): Lease {
    try {
      return super.acquireSync(timeout);
    } catch (error) {
      const { cause } = error as { cause?: { code?: unknown } };
      throw cause?.code === "ERR_INACTIVE" ? cause : error;
    }
  }

  /**
   * Clears up after processes that have ended: what only they held is free. It is done by itself (see
   * {@link ProcessAttachOptions.watch}); processes in another PID namespace cannot be judged and are left alone.
   * O(memberships), 20 us each, and O(count) for each that ended.
   */
  reclaimEnded(): Reclaimed {
    this.#lastLook = performance.now();
    return this.isOver ? { freed: 0, members: 0 } : reclaimProcesses(this.#table, this.core, this.#self);
  }

  /** @internal A peer's connection is gone: looks soon and often, for its process may need some moments to end. */
  expectEnd(): void {
    for (const ms of SOON_MS) setTimeout(() => this.isOver || this.reclaimEnded(), ms).unref();
  }

  /** @internal */
  override processOf(member: number): number {
    return pidOf(this.#table, this.core.i32, this.#layout, member);
  }

  /** The process of each member: its number, or 0. */
  processes(): readonly number[] {
    return Array.from({ length: this.#layout.members }, (_, member) =>
      pidOf(this.#table, this.core.i32, this.#layout, member),
    );
  }

  /**
   * As {@link SharedPool.leave}; the place is free for another process. The last member of this process at the block
   * also ends its sharing here: views that were kept read zeros of their own. Throws `ERR_IN_USE` while it holds slots,
   * unless `force`; nothing has changed then.
   */
  override leave(options: { force?: boolean } = {}): void {
    super.leave(options);
    if (this.#hasEnded) return;
    // Of what it had reserved.
    this.#freeRows();
    const { block } = this;
    const others = block === undefined ? [] : this.#othersAt(block);
    this.#end();
    if (others.length === 0) block?.retire();
    // One that came by the block has the descriptor, too; a thread with a handle has not.
    else if (!others.includes("block")) block?.closeDescriptor();
  }

  /**
   * As {@link SharedPool.close}, for every process; then ends the sharing of the block for this one, as {@link leave}
   * does.
   */
  override close(options: { force?: boolean } = {}): void {
    super.close(options);
    this.#endSharing();
  }

  /** @internal A pool that has ended for all needs no memory here, nor a thread that waits, nor a timer. */
  override giveUp(): void {
    super.giveUp();
    this.#endSharing();
  }

  #endSharing(): void {
    this.#end();
    this.block?.retire();
  }

  #end(): void {
    this.#hasEnded = true;
    clearInterval(this.#timer);
    this.#waiter.close();
    if (this.#row !== undefined) dropRow(this.#table, this.member, this.#row);
    if (this.block !== undefined) blocks.delete(`${this.block.inode}:${this.member}`);
  }

  /** This thread may have left: what it looks at is the pool's still, and stays that. */
  #freeRows(): void {
    const { i32, pool } = this.core;
    if (!visit(i32, pool)) return;
    freeRows(this.#table, i32, this.#layout);
    endVisit(i32);
  }

  /** By what the other members of this process came to the memory of this block. In doubt it is theirs. */
  #othersAt(block: SharedMemory): ("block" | "handle")[] {
    const found: ("block" | "handle")[] = [];
    for (const member of othersOf(this.#table, this.core, this.#self, this.member)) {
      const at = blocks.get(`${block.inode}:${member}`);
      if (at === undefined) found.push("handle");
      else if (at.deref() === block) found.push("block");
    }
    return found;
  }

  /** @internal Looks for ended processes unless that was done just now. */
  lookNow(): true {
    // Half: a timer that is a little early must not lose its turn.
    if (performance.now() - this.#lastLook >= this.#watchMs / 2) this.reclaimEnded();
    return true;
  }

  /** @internal What the timer does: also a pool that ended elsewhere ends here. */
  lookAround(): true {
    this.seeEnd();
    return this.lookNow();
  }

  #claim(): Claim | null {
    return claimRow(this.#table, this.core.i32, this.#layout, this.#self, MemberState.RESERVED, this.core);
  }
}

const construct: Construct<ProcessPool> = (made, options) => new ProcessPool(made, options);

/**
 * A pool that was forgotten must not be kept by its timer. A function of its own: a closure holds all that any closure
 * of its function uses, and the constructor's others use `this`.
 */
function watchWeakly(pool: WeakRef<ProcessPool>, ms: number): ReturnType<typeof setInterval> {
  const timer = setInterval(() => pool.deref()?.lookAround() ?? clearInterval(timer), ms);
  timer.unref();
  return timer;
}
