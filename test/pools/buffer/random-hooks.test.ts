/**
 * Random programs against pools whose hooks call anything back and throw, checked after each step against a naive
 * model: every live holder has the bytes that it wrote, views of ended leases are empty where the pool revokes, a lease
 * ends once, and the accounts add up. The seed is printed; MILLPOND_SEED repeats a run.
 */
import { expect, it } from "vitest";
import { CopyFlags } from "../../../src/media/buffer/flags.ts";
import type { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { ParentBufferMeta } from "../../../src/media/meta/built-in.ts";
import { MetaFlags, type MetaType, registerMeta } from "../../../src/media/meta/meta.ts";
import { Allocator } from "../../../src/memory/allocator.ts";
import type { Mapping, Memory } from "../../../src/memory/memory.ts";
import { Region } from "../../../src/memory/region.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import type { ActualPoolConfig } from "../../../src/pools/buffer/config.ts";
import { PagePool } from "../../../src/pools/page/page-pool.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { isMillpondError } from "../../../src/util/errors.ts";
import { REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { lateErrors } from "../../helpers/late-errors.ts";
import { mulberry32 } from "../../helpers/random.ts";

/** What hooks throw. */
class Thrown extends Error {}

let running: Program | undefined;

/** A meta whose every hook may do anything. */
const Chaos: MetaType<object, void> = registerMeta<object>({
  api: "random-hooks",
  init(_meta, _params, buffer) {
    running?.hook(buffer);
    return undefined;
  },
  free: (_meta, buffer) => running?.hook(buffer),
  clear: (_meta, buffer) => running?.hook(buffer),
  transform(target, _meta, source) {
    running?.hook(target, source);
    return target.addMeta(Chaos) !== undefined;
  },
});

/** Bytes of its own; what comes back is overwritten and given out again. */
class Counting extends Allocator {
  readonly live: Set<Region> = new Set();
  readonly #program: Program;
  readonly #back: Map<number, Uint8Array[]> = new Map();

  constructor(program: Program) {
    super("counting");
    this.#program = program;
  }
  protected override allocateRegion(size: number): Region | undefined {
    this.#program.hook();
    if (this.#program.chance(0.03)) return undefined;
    const region = new Region(this.#back.get(size)?.pop() ?? new Uint8Array(size));
    this.live.add(region);
    return region;
  }
  protected override freeRegion(region: Region): void {
    if (!this.live.delete(region)) this.#program.fail("a region was freed twice");
    if (region.bytes.length === region.size) {
      region.bytes.fill(0xee);
      const same = this.#back.get(region.size);
      if (same === undefined) this.#back.set(region.size, [region.bytes]);
      else same.push(region.bytes);
    }
    this.#program.hook();
  }
}

class ChaosPool extends BufferPool {
  program: Program | undefined;
  protected override populate(buffer: MediaBuffer, config: ActualPoolConfig): void {
    super.populate(buffer, config);
    this.program?.hook(buffer);
  }
  protected override reset(buffer: MediaBuffer): void {
    this.program?.hook(buffer);
  }
  protected override recycle(buffer: MediaBuffer): boolean {
    this.program?.hook(buffer);
    return !this.program?.chance(0.1);
  }
  protected override dispose(buffer: MediaBuffer): void {
    this.program?.hook(buffer);
  }
  protected override start(): void {
    this.program?.hook();
    super.start();
  }
  protected override stop(): void {
    this.program?.hook();
  }
}

/** A buffer that the program has, and where its bytes may come from: the leases that had a part in it. */
interface Held {
  readonly buffer: MediaBuffer;
  readonly from: Set<number>;
  /** What it holds, as far as that is known. */
  bytes: Uint8Array | undefined;
  ended: boolean;
}
interface View {
  readonly view: Uint8Array;
  readonly from: ReadonlySet<number>;
}

class Program {
  readonly #random: () => number;
  readonly #clock: FakeClock = new FakeClock();
  readonly #source: Counting;
  readonly #pages: PagePool;
  readonly #pools: ChaosPool[] = [];
  readonly #revoke: boolean;
  readonly #zero: "never" | "acquire" | "release";
  readonly #hooks: number;
  readonly held: Held[] = [];
  readonly #memories: { memory: Memory; from: ReadonlySet<number>; mine: number }[] = [];
  readonly #mappings: { mapping: Mapping; from: ReadonlySet<number> }[] = [];
  #views: View[] = [];
  #depth = 0;
  #fuel = 80;
  #nextLease = 1;
  #waiting = 0;
  #calm = true;
  #fromNow: ReadonlySet<number> = new Set();
  failure: string | undefined;
  readonly log: string[] = [];

  constructor(seed: number) {
    this.#random = mulberry32(seed);
    this.#revoke = this.chance(0.6);
    this.#zero = this.pick(["never", "acquire", "release"]);
    this.#hooks = this.chance(0.2) ? 0 : 0.6 * this.#random();
    this.#source = new Counting(this);
    const [revoke, zero] = [this.#revoke, this.#zero];
    this.#pages = PagePool.create({ source: this.#source, pageSize: 512, clock: this.#clock, revoke, zero });
    for (const allocator of [this.#source, this.#pages.allocator]) {
      const pool = new ChaosPool({ name: allocator.name, clock: this.#clock });
      pool.configure({ size: 64, max: 3, min: this.chance(0.3) ? 2 : 0, allocator, revoke, zero });
      pool.activate();
      pool.program = this;
      pool.on("release", () => this.hook());
      pool.on("discard", () => this.hook());
      this.#pools.push(pool);
    }
    this.#calm = false;
  }

  chance(share: number): boolean {
    return !this.#calm && this.#random() < share;
  }
  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.#random() * list.length)]!;
  }
  fail(why: string): void {
    this.failure ??= `${why}; after ${this.log.slice(-12).join(", ")}`;
  }

  /** What every hook does: a few random calls, perhaps with an error at the end. */
  hook(buffer?: MediaBuffer, source?: MediaBuffer): void {
    if (this.#calm || this.#depth > 3 || this.#random() > this.#hooks) return;
    this.#depth++;
    const before = this.#fromNow;
    try {
      if (buffer !== undefined) {
        const of = this.held.filter(
          (held) => held.buffer === source || (buffer.slotIndex >= 0 && held.buffer.slot === buffer.slot),
        );
        this.#fromNow = new Set([...before, ...of.flatMap((held) => [...held.from])]);
        this.#hold(buffer, [...this.#fromNow, this.#nextLease++]);
      }
      for (let i = 1 + this.#random() * 3; i > 0; i--) this.#call();
      if (this.#random() < 0.1) throw new Thrown("a hook threw");
    } finally {
      this.#depth--;
      this.#fromNow = before;
    }
  }

  #hold(buffer: MediaBuffer, from: Iterable<number>): Held {
    let held = this.held.find((one) => one.buffer === buffer);
    if (held === undefined) {
      held = { buffer, from: new Set(), bytes: undefined, ended: false };
      this.held.push(held);
    }
    for (const lease of from) held.from.add(lease);
    this.#learn(held);
    return held;
  }

  #learn(held: Held): void {
    held.bytes = held.buffer.isLive ? this.#read(held.buffer) : undefined;
  }

  #read(buffer: MediaBuffer): Uint8Array | undefined {
    const bytes = new Uint8Array(buffer.size);
    return this.#try("read", () => buffer.extract(0, bytes)) === undefined ? undefined : bytes;
  }

  /** Calls, and lets only errors pass that may come. */
  #try<T>(what: string, fn: () => T): T | undefined {
    if (what !== "read") this.log.push(`${">".repeat(this.#depth)}${what}`);
    try {
      return fn();
    } catch (error) {
      // What several hooks threw while a pool closed comes as one.
      const errors: unknown[] = error instanceof AggregateError ? error.errors : [error];
      const known = (one: unknown): boolean =>
        isMillpondError(one) ? one.code !== "ERR_CORRUPTED" : one instanceof Thrown;
      if (!errors.every(known)) this.fail(`${what} threw ${(error as Error).stack}`);
      return undefined;
    }
  }

  /** A new lease shows nothing of an earlier one. */
  #lease(buffer: MediaBuffer): void {
    const held = this.#hold(buffer, [this.#nextLease++]);
    if (this.#depth > 0 || !buffer.isLive) return;
    const clean =
      buffer.refCount === 1 &&
      buffer.size === 64 &&
      buffer.memoryCount === 1 &&
      buffer.pts === undefined &&
      buffer.flags === 0;
    if (!clean) this.fail("a lease began with what an earlier one left");
    if (buffer.metas().some((meta) => (meta.flags & MetaFlags.POOLED) === 0)) this.fail("a lease began with a meta");
    const { bytes } = buffer;
    if (this.#zero === "acquire" && bytes.some((byte) => byte !== 0)) this.fail("a lease did not begin with zeros");
    this.#keep(bytes, held.from);
    this.#sign(held);
  }

  #keep(view: Uint8Array, from: ReadonlySet<number>): void {
    this.#views.push({ view, from: new Set(from) });
  }

  /** Writes a signature through a buffer; who shares the written memory object, or has a part of it, sees it. */
  #sign(held: Held): void {
    if (!held.buffer.isLive) return;
    const signature = new Uint8Array(held.buffer.size).fill(1 + this.#random() * 255);
    this.#try("fill", () => held.buffer.fill(0, signature));
    this.#learn(held);
  }

  #learnHoldersOf(memory: Memory): void {
    for (const held of this.held) {
      if (held.buffer.isLive && held.buffer.memories.some((one) => one === memory || one.parent === memory))
        this.#learn(held);
    }
  }

  #call(): void {
    if (this.#fuel-- <= 0) return;
    const pool = this.pick(this.#pools);
    const held = this.held.length > 0 ? this.pick(this.held.slice(-5)) : undefined;
    const kind = Math.floor(this.#random() * (held === undefined ? 4 : 26));
    if (kind < 4) this.#callPool(pool, kind);
    else if (kind < 8) this.#callMemory();
    else this.#callBuffer(held!, kind - 8);
  }

  #callPool(pool: ChaosPool, kind: number): void {
    if (kind < 2) {
      const buffer = this.#try("tryAcquire", () => pool.tryAcquire());
      if (buffer !== undefined) this.#lease(buffer);
    } else if (kind === 2) {
      this.log.push("acquire");
      this.#waiting++;
      pool
        .acquire(this.pick([{}, { timeout: 10 }, { nowait: true }]))
        .then(
          (buffer) => void this.#hold(buffer, [this.#nextLease++]),
          (error) => void this.#try("rejected", () => this.#rethrow(error)),
        )
        .finally(() => this.#waiting--);
    } else {
      const verb = this.pick(["activate", "activate", "deactivate", "seek", "close", "flush", "pressure"] as const);
      this.#try(verb, () => {
        if (verb === "activate") pool.activate();
        else if (verb === "deactivate") pool.deactivate();
        else if (verb === "seek") pool.setFlushing(this.#random() < 0.4);
        else if (verb === "close" && this.#random() < 0.3) pool.close({ force: true });
        else if (verb === "flush") this.#pages.trim();
        else if (verb === "pressure") this.#pages.setPressure(this.pick(["low", "medium", "high"] as const));
      });
    }
  }

  #rethrow(error: unknown): never {
    throw error;
  }

  #callMemory(): void {
    if (this.#memories.length === 0) return;
    const one = this.pick(this.#memories.slice(-4));
    const { memory, from } = one;
    const verb = this.pick(["release", "retain", "map", "share", "copy", "unmap", "unmap"] as const);
    if (verb === "unmap") {
      const last = this.#mappings.at(-1);
      if (last !== undefined) this.#try("unmap", () => last.mapping.unmap());
    } else if (verb === "map") {
      const mapping = this.#try("memory.map", () => memory.map(this.pick(["read", "write"] as const)));
      if (mapping === undefined) return;
      this.#keep(mapping.bytes, from);
      if (mapping.mode === "write") mapping.bytes.fill(1 + this.#random() * 255);
      this.#mappings.push({ mapping, from });
      this.#learnHoldersOf(memory);
    } else if (verb === "retain") {
      if (this.#try(verb, () => memory.retain()) !== undefined) one.mine++;
    } else if (verb === "release") {
      if (one.mine > 0 && this.#try(verb, () => memory.release() ?? true) === true) one.mine--;
    } else {
      const made = this.#try(verb, () => (verb === "share" ? memory.share(0, 8) : memory.copy()));
      if (made !== undefined) this.#memories.push({ memory: made, from, mine: 1 });
    }
  }

  #callBuffer(held: Held, kind: number): void {
    const { buffer, from } = held;
    const other = this.pick(this.held);
    const made = (copy: MediaBuffer | undefined): void => {
      if (copy !== undefined) this.#hold(copy, from);
    };
    if (kind < 4) {
      const live = buffer.isLive;
      const done = this.#try("release", () => buffer.release() ?? true);
      if (done === true && !live) this.fail("a lease ended twice");
    } else if (kind === 4) this.#try("retain", () => buffer.retain());
    else if (kind === 5) {
      const bytes = this.#try("bytes", () => buffer.bytes);
      if (bytes !== undefined) this.#keep(bytes, from);
    } else if (kind === 6) made(this.#try("copy", () => buffer.copy({ deep: this.#random() < 0.2 })));
    else if (kind === 7) made(this.#try("region", () => buffer.copyRange(4, 8)));
    else if (kind === 8) this.#try("times", () => Object.assign(buffer, { pts: 1n, flags: 3 }));
    else if (kind === 9) {
      this.#try("resize", () => buffer.resize(2, 16));
      this.#learn(held);
    } else if (kind === 10) {
      const mapping = this.#try("map", () => buffer.map(this.pick(["read", "readwrite"] as const)));
      if (mapping === undefined) return;
      this.#keep(mapping.bytes, from);
      this.#mappings.push({ mapping, from });
    } else if (kind === 11) {
      for (const memory of this.#try("memories", () => buffer.memories) ?? []) {
        if (this.#try("retain", () => memory.retain()) !== undefined) this.#memories.push({ memory, from, mine: 1 });
      }
    } else if (kind === 12) this.#try("addMeta", () => buffer.addMeta(Chaos));
    else if (kind === 13) {
      for (const lease of other.from) from.add(lease);
      this.#try("parent", () => buffer.addMeta(ParentBufferMeta, other.buffer));
    } else if (kind === 14 && other !== held) {
      for (const lease of other.from) from.add(lease);
      this.#try("append", () => buffer.append(other.buffer));
      this.#learn(held);
    } else if (kind === 15) {
      for (const lease of other.from) from.add(lease);
      this.#try("copyFrom", () =>
        buffer.copyFrom(other.buffer, this.pick([CopyFlags.ALL, CopyFlags.ALL | CopyFlags.MERGE])),
      );
      this.#learn(held);
    } else if (kind === 16) this.#sign(held);
    else {
      this.#try("remove", () => buffer.remove(0, 1));
      this.#learn(held);
    }
  }

  /** Compares everything with everything. */
  #check(): void {
    this.#calm = true;
    for (const pool of this.#pools) {
      this.#try("assertInvariants", () => pool.validate());
      const { count, free, outstanding, awaitingMemory, max } = pool.stats();
      const live = this.held.filter((held) => held.buffer.isLive && held.buffer.pool === pool).length;
      if (count !== free + outstanding || count > max) this.fail(`${count} buffers, ${free} free, ${outstanding} out`);
      if (pool.holders().length !== outstanding) this.fail("the holders are not those that are out");
      if (this.#waiting === 0 && live !== outstanding - awaitingMemory)
        this.fail(`${live} live, ${outstanding - awaitingMemory} out`);
    }
    this.#pages.validate();
    for (const held of this.held) {
      const live = held.buffer.isLive;
      if (live && held.ended) this.fail("an ended lease lives");
      held.ended = !live;
      if (!live) {
        if (this.#try("bytes", () => held.buffer.bytes) !== undefined) this.fail("an ended lease gives bytes");
      } else if (held.bytes !== undefined) {
        const now = this.#read(held.buffer);
        if (now !== undefined && Buffer.compare(now, held.bytes) !== 0) this.fail("somebody wrote into a live buffer");
      }
    }
    if (this.#revoke) this.#checkViews();
    this.#calm = false;
  }

  #checkViews(): void {
    const live = new Set<number>();
    for (const held of this.held) if (held.buffer.isLive) for (const lease of held.from) live.add(lease);
    for (const { memory, from } of this.#memories) if (memory.refCount > 0) for (const lease of from) live.add(lease);
    for (const { mapping, from } of this.#mappings) if (mapping.isLive) for (const lease of from) live.add(lease);
    const leased = new Set([...this.#source.live].map((region) => region.bytes.buffer));
    this.#views = this.#views.filter(({ view, from }) => {
      if (view.length === 0) return false;
      if ([...from].some((lease) => live.has(lease))) return true;
      if (leased.has(view.buffer)) this.fail("a view of an ended lease reaches live bytes");
      return false;
    });
  }

  async run(): Promise<string | undefined> {
    running = this;
    for (let step = 0; step < 30 && this.failure === undefined; step++) {
      this.#call();
      this.#check();
      if (this.#random() < 0.1) await Promise.resolve();
    }
    for (let i = 0; i < 3; i++) await Promise.resolve();
    this.#clock.advance(20);
    await Promise.resolve();
    this.#calm = true;
    for (let i = 0; i < 3; i++) await this.#letGo();
    if (this.failure === undefined) this.#checkEmpty();
    running = undefined;
    return this.failure;
  }

  async #letGo(): Promise<void> {
    for (const { mapping } of this.#mappings) this.#try("unmap", () => mapping.unmap());
    for (const { buffer } of this.held) {
      for (let n = buffer.refCount; n > 0 && buffer.isLive; n--) this.#try("release", () => buffer.release());
    }
    for (const one of this.#memories) {
      while (one.mine > 0 && this.#try("release", () => one.memory.release() ?? true) === true) one.mine--;
    }
    for (let i = 0; i < 3; i++) await Promise.resolve();
  }

  #checkEmpty(): void {
    for (const pool of this.#pools) {
      if (this.#waiting === 0 && pool.outstanding > 0) this.fail(`${pool.outstanding} buffers never came back`);
      this.#try("close", () => pool.close({ force: true }));
    }
    this.#pages.trim();
    if (this.#waiting === 0 && this.#source.live.size > 0)
      this.fail(`${this.#source.live.size} regions never came back`);
  }
}

it(
  "no random program of calls and hooks gets at bytes that are not its own, or breaks an account",
  REPEATED,
  async () => {
    const first = seedOf("random hooks");
    const programs = times(80, 1500);
    const late = await lateErrors(async () => {
      for (let seed = first; seed < first + programs; seed++) {
        const failure = await new Program(seed).run();
        if (failure !== undefined) throw new Error(`MILLPOND_SEED=${seed}: ${failure}`);
      }
    });
    expect(late.filter((message) => !message.includes("a hook threw") && !message.includes("[ERR_"))).toEqual([]);
  },
);
