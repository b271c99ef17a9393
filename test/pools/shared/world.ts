/**
 * A pool for interleaving tests: its shared words, a core for each thread, and a model of who may believe to hold what.
 */
import { type Core, createCore } from "../../../src/pools/shared/core.ts";
import {
  checkShape,
  Header,
  layoutOf,
  MemberState,
  type SharedLayout,
  writePool,
} from "../../../src/pools/shared/layout.ts";
import { activateReservation, claimMembership } from "../../../src/pools/shared/membership.ts";
import { alone, notify, type Run, type Step, steps, type Thread } from "./interleave.ts";

/** How a world is made. */
export interface WorldOptions {
  readonly count: number;
  readonly threads: number;
  /** Workers take whole words, as in large pools. */
  readonly batch?: boolean;
  readonly zero?: "fresh" | "release" | "acquire";
  /** Bits of the low part of a generation: with 2, each third release carries. */
  readonly generationBits?: number;
  /** Bytes of a slot. They are not there: only who clears how much of them is looked at. */
  readonly size?: number;
}

/** One pool, several threads, and what each is entitled to. */
export class World {
  readonly layout: SharedLayout;
  readonly i32: Int32Array;
  readonly cores: Core[] = [];
  /** By slot: the threads that hold it. */
  readonly holders: Set<number>[];
  /** By slot: how often it was cleared. */
  readonly cleared: number[];
  /** By slot: how far the last clearing came. */
  readonly clearedTo: number[];
  /** By slot: whether somebody had it since it was cleared. */
  readonly dirty: boolean[];
  /** Every lease that was handed out: none is handed out again. */
  readonly seen: Set<number> = new Set();

  constructor({ count, threads, batch = false, zero = "fresh", generationBits, size = 1 }: WorldOptions) {
    // One membership more than threads, for one who comes later.
    const shape = checkShape({ size: 1, count, members: threads + 1 }, zero);
    const layout = layoutOf(shape);
    this.layout = { ...layout, size, batch, generationBits: generationBits ?? layout.generationBits };
    this.i32 = new Int32Array(this.layout.slotsAt >>> 2);
    writePool(this.i32, this.layout, 1);
    this.holders = Array.from({ length: count }, () => new Set());
    this.cleared = new Array<number>(count).fill(0);
    this.dirty = new Array<boolean>(count).fill(false);
    this.clearedTo = new Array<number>(count).fill(0);
    for (let i = 0; i < threads; i++) this.join();
  }

  /** Another thread, on a free membership. */
  join(): number {
    const membership = claimMembership(this.i32, this.layout, MemberState.LIVE)!;
    const clear = (index: number, from: number, to: number): void => {
      const holders = this.holders[index]!;
      if (holders.size > 0) throw new Error(`slot ${index} is cleared while ${[...holders]} hold it`);
      if (from > this.clearedTo[index]!)
        throw new Error(`slot ${index} is cleared from ${from} on, and was not up to there`);
      this.clearedTo[index] = to;
      if (to < this.layout.size) return;
      this.cleared[index]!++;
      this.dirty[index] = false;
    };
    // One look where it spins: eight would be eight times the same.
    const core = createCore(this.i32, this.layout, membership.member, membership.status, clear, notify);
    this.cores.push({ ...core, spins: 1 });
    return this.cores.length - 1;
  }

  /** A thread that gets the membership which a reservation promised. */
  reserve(): { member: number; status: number } {
    return claimMembership(this.i32, this.layout, MemberState.RESERVED)!;
  }

  activate(member: number, reserved: number): number {
    const status = activateReservation(this.i32, this.layout, member, reserved);
    this.cores.push(createCore(this.i32, this.layout, member, status, () => {}, notify));
    return this.cores.length - 1;
  }

  /** Takes a slot: fails the run when somebody else believes to hold it. */
  *take(thread: number): Step<number> {
    const id = yield* steps.tryAcquire(this.cores[thread]!);
    if (id >= 0) this.took(thread, id);
    return id;
  }

  took(thread: number, id: number): void {
    const index = id & this.cores[thread]!.indexMask;
    const holders = this.holders[index]!;
    if (holders.size > 0) throw new Error(`slot ${index} was handed out twice: to ${[...holders]} and ${thread}`);
    if (this.seen.has(id)) throw new Error(`lease ${id} was handed out before`);
    this.seen.add(id);
    if (this.layout.zero !== "fresh" && this.dirty[index]) throw new Error(`slot ${index} was not cleared`);
    this.dirty[index] = true;
    this.clearedTo[index] = 0;
    holders.add(thread);
  }

  /** Gives one hold back; `last`: the thread has no other hold. Fails the run when the pool does not believe it. */
  *give(thread: number, id: number, last = true): Step<void> {
    const core = this.cores[thread]!;
    if (last) this.holders[id & core.indexMask]!.delete(thread);
    const given = yield* this.giveStep(thread, id);
    if (!given) throw new Error(`thread ${thread} could not give lease ${id} back`);
  }

  /** As SharedPool.give: the fast way, then the other. */
  *giveStep(thread: number, id: number): Step<boolean> {
    const core = this.cores[thread]!;
    if (yield* steps.release(core, id)) return true;
    return yield* steps.releaseSlow(core, id);
  }

  /** Declares a thread dead: what it held may come free from now on. */
  *reclaim(by: number, thread: number): Step<number> {
    this.forget(thread);
    const { member, status } = this.cores[thread]!;
    return yield* steps.reclaim(this.cores[by]!, member, status);
  }

  forget(thread: number): void {
    for (const holders of this.holders) holders.delete(thread);
  }

  /** Takes everything that is free, alone, and gives it back. */
  drain(thread: number): number[] {
    const ids: number[] = [];
    for (;;) {
      const id = alone(steps.tryAcquire(this.cores[thread]!));
      if (id < 0) break;
      ids.push(id);
    }
    for (const id of ids) if (!alone(this.giveStep(thread, id))) throw new Error(`lease ${id} did not come back`);
    return ids.map((id) => id & this.cores[thread]!.indexMask).sort((a, b) => a - b);
  }

  /** At rest: every slot is with exactly those who believe to hold it, or free and to be had by `survivor`. */
  check(survivor: number): void {
    const { layout, i32 } = this;
    const free: number[] = [];
    for (let index = 0; index < layout.count; index++) {
      const state = i32[layout.statesAt + (index << layout.stateShift)]!;
      const held = this.cores.flatMap(({ me }, thread) =>
        (state & me) !== 0 && this.holders[index]!.has(thread) ? [thread] : [],
      );
      const bits = [...this.holders[index]!].reduce((mask, thread) => mask | this.cores[thread]!.me, 0);
      if ((state & this.cores[0]!.takenMask) !== bits) {
        throw new Error(`slot ${index} is ${state.toString(2)}, and ${[...this.holders[index]!]} hold it (${held})`);
      }
      if (bits === 0) free.push(index);
    }
    if (i32[Header.WAITING] !== 0) throw new Error(`${i32[Header.WAITING]} waits, and nobody does`);
    const drained = this.drain(survivor);
    if (drained.join() !== free.join()) throw new Error(`free are ${free}, and to be had ${drained}`);
  }

  /** A run of these programs; `survivor` checks at the end. */
  run(programs: readonly Thread[], survivor = 0, extra: Partial<Run> = {}): Run {
    return { threads: programs, i32: this.i32, check: () => this.check(survivor), ...extra };
  }
}
