// Shares its realm with other files: nothing that it changes outlives it.
/** SlabPool against a naive model that predicts every pointer, hook, error and block. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { SystemAllocator } from "../../../src/memory/allocator.ts";
import type { ResolvedParams } from "../../../src/memory/params.ts";
import type { Region } from "../../../src/memory/region.ts";
import { SlabPool } from "../../../src/pools/slab/slab-pool.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { code } from "../buffer/pools.ts";

const AGE = 50;

/** Fails when it is told to. */
class MoodyAllocator extends SystemAllocator {
  empty = false;
  protected override allocateRegion(size: number, params: ResolvedParams): Region | undefined {
    return this.empty ? undefined : super.allocateRegion(size, params);
  }
}

/** What a pool is, in arrays and maps. */
class Model {
  readonly capacity: number;
  readonly span: number;
  readonly maxBlocks: number;
  readonly live = new Set<number>();
  /** The top of the list is the end. */
  free: number[] = [];
  pending: number[] = [];
  /** Block number: since when it was seen empty. */
  readonly blocks = new Map<number, number>();
  readonly bytes = new Map<number, number>();
  readonly expected: string[] = [];
  now = 0;
  failIn = 0;
  constructor(elementSize: number, blockSize: number, maxBlocks: number) {
    this.capacity = Math.floor((blockSize - 8) / (elementSize + 8));
    this.span = 1;
    while (this.span < this.capacity) this.span *= 2;
    this.maxBlocks = maxBlocks;
  }
  blockOf(pointer: number): number {
    return Math.floor(pointer / this.span);
  }
  /** The code or the pointer that alloc must answer. */
  alloc(empty: boolean): string | number {
    if (this.free.length === 0) {
      if (this.pending.length === 0 && this.blocks.size >= this.maxBlocks) return "ERR_POOL_FULL";
      for (const number of this.blocks.keys()) this.blocks.set(number, Number.POSITIVE_INFINITY);
      if (this.pending.length === 0) {
        if (empty) return "ERR_ALLOCATION_FAILED";
        let number = 0;
        while (this.blocks.has(number)) number++;
        this.blocks.set(number, Number.POSITIVE_INFINITY);
        this.pending = Array.from({ length: this.capacity }, (_, slot) => number * this.span + slot);
      }
      while (this.pending.length > 0) {
        const pointer = this.pending.shift()!;
        if (--this.failIn === 0) return "init failed";
        this.expected.push(`init ${pointer}`);
        this.bytes.set(pointer, 0xaa);
        this.free.push(pointer);
      }
    }
    const pointer = this.free.pop()!;
    this.live.add(pointer);
    return pointer;
  }
  maintain(): void {
    const gone = new Set<number>();
    for (const [number, since] of this.blocks) {
      if ([...this.live].some((pointer) => this.blockOf(pointer) === number)) {
        this.blocks.set(number, Number.POSITIVE_INFINITY);
        continue;
      }
      this.blocks.set(number, Math.min(since, this.now));
      if (this.now - Math.min(since, this.now) >= AGE) gone.add(number);
    }
    for (const pointer of this.free.toReversed())
      if (gone.has(this.blockOf(pointer))) this.expected.push(`destroy ${pointer}`);
    this.free = this.free.filter((pointer) => !gone.has(this.blockOf(pointer)));
    this.pending = this.pending.filter((pointer) => !gone.has(this.blockOf(pointer)));
    for (const number of gone) this.blocks.delete(number);
  }
}

class Real {
  readonly clock = new FakeClock();
  readonly allocator = new MoodyAllocator("slab-model");
  readonly calls: string[] = [];
  failIn = 0;
  readonly pool: SlabPool;
  constructor(elementSize: number, blockSize: number, maxBlocks: number) {
    this.pool = SlabPool.create({
      elementSize,
      blockSize,
      maxBlocks,
      ageOut: AGE,
      timer: false,
      clock: this.clock,
      source: this.allocator,
      init: (pointer) => {
        if (--this.failIn === 0) throw new Error("init failed");
        this.pool.bytes(pointer).fill(0xaa);
        this.calls.push(`init ${pointer}`);
      },
      destroy: (pointer) => this.calls.push(`destroy ${pointer}`),
    });
  }
}

/** The pointer, or the code or message of what was thrown. */
function outcome(fn: () => number | undefined): string | number | undefined {
  try {
    return fn();
  } catch (error) {
    return (error as { code?: string }).code ?? (error as Error).message;
  }
}

function compare(model: Model, { pool, calls, allocator }: Real): void {
  pool.validate();
  expect(calls).toEqual(model.expected);
  const { live, free, blocks } = pool.stats();
  expect([live, free, blocks, allocator.stats().liveMemories]).toEqual([
    model.live.size,
    model.free.length,
    model.blocks.size,
    model.blocks.size,
  ]);
}

type Step = readonly [what: string, n: number];

class Command implements fc.Command<Model, Real> {
  readonly step: Step;
  constructor(step: Step) {
    this.step = step;
  }
  check(): boolean {
    return true;
  }
  run(model: Model, real: Real): void {
    const [what, n] = this.step;
    STEPS[what]!(model, real, n);
    compare(model, real);
  }
  toString(): string {
    return this.step.join(" ");
  }
}

function pick(pointers: Iterable<number>, n: number): number | undefined {
  const all = [...pointers];
  return all[n % all.length];
}

const STEPS: Readonly<Record<string, (model: Model, real: Real, n: number) => void>> = {
  alloc(model, { pool, allocator }, n) {
    const wanted = model.alloc(allocator.empty);
    expect(outcome(() => pool.alloc())).toBe(wanted);
    if (typeof wanted !== "number") return;
    // What the last user, or init, left there is there still.
    expect(pool.bytes(wanted).every((byte) => byte === model.bytes.get(wanted))).toBe(true);
    pool.bytes(wanted).fill(n & 0xff);
    model.bytes.set(wanted, n & 0xff);
  },
  tryAlloc(model, { pool, allocator }) {
    const wanted = model.alloc(allocator.empty);
    expect(outcome(() => pool.tryAlloc())).toBe(wanted === "ERR_POOL_FULL" ? undefined : wanted);
  },
  free(model, { pool }, n) {
    const pointer = pick(model.live, n);
    if (pointer === undefined) return;
    pool.free(pointer);
    model.live.delete(pointer);
    model.free.push(pointer);
  },
  freeAll(model, { pool }) {
    for (const pointer of model.live) {
      pool.free(pointer);
      model.free.push(pointer);
    }
    model.live.clear();
  },
  freeTwice(model, { pool }, n) {
    const pointer = pick(model.free, n);
    if (pointer === undefined) return;
    expect(code(() => pool.free(pointer))).toBe("ERR_DOUBLE_RELEASE");
    expect(code(() => pool.bytes(pointer))).toBe("ERR_USE_AFTER_RELEASE");
  },
  freeForeign(model, { pool }, n) {
    if (model.live.has(n) || model.free.includes(n)) return;
    expect([code(() => pool.free(n)), code(() => pool.bytes(n)), pool.isLive(n)]).toEqual([
      "ERR_FOREIGN_RELEASE",
      "ERR_FOREIGN_RELEASE",
      false,
    ]);
  },
  use(model, { pool }, n) {
    const pointer = pick(model.live, n);
    if (pointer === undefined) return;
    expect(pool.bytes(pointer).every((byte) => byte === model.bytes.get(pointer))).toBe(true);
    pool.bytes(pointer).fill(n & 0xff);
    model.bytes.set(pointer, n & 0xff);
  },
  walk(model, { pool }) {
    expect([...pool]).toEqual([...model.live].sort((a, b) => a - b));
  },
  pass(model, { pool, clock }, n) {
    // One step in eight sets the clock back.
    const ms = n % 8 === 0 ? -20 : n % 60;
    clock.advance(ms);
    model.now += ms;
    model.maintain();
    pool.maintain();
  },
  failInit(model, real, n) {
    model.failIn = real.failIn = 1 + (n % 5);
  },
  failAllocator(_model, { allocator }, n) {
    allocator.empty = n % 2 === 0;
  },
  closeRefused(model, { pool }) {
    if (model.live.size > 0) expect(code(() => pool.close())).toBe("ERR_IN_USE");
  },
};

const steps = [
  fc.oneof(
    { weight: 9, arbitrary: fc.constant("alloc") },
    { weight: 7, arbitrary: fc.constant("free") },
    { weight: 3, arbitrary: fc.constant("pass") },
    ...Object.keys(STEPS).map((name) => ({ weight: 1, arbitrary: fc.constant(name) })),
  ),
].map((name) => fc.tuple(name, fc.nat(1000)).map((step) => new Command(step)));

it("behaves as the naive model over random commands", REPEATED, () => {
  const seed = seedOf("slab-pool model");
  const walks = times(120, 400, "MILLPOND_WALKS");
  let aged = 0;
  let failed = 0;
  fc.assert(
    fc.property(
      fc.nat(40),
      fc.integer({ min: 64, max: 200 }),
      fc.integer({ min: 1, max: 12 }),
      fc.commands(steps, { maxCommands: 150, size: "max" }),
      (elementSize, blockSize, maxBlocks, walk) => {
        const model = new Model(elementSize, blockSize, maxBlocks);
        const real = new Real(elementSize, blockSize, maxBlocks);
        fc.modelRun(() => ({ model, real }), walk);
        const stats = real.pool.stats();
        failed += stats.failed;
        aged += stats.carved - stats.blocks;
        const order = [...model.free.toReversed(), ...[...model.live].sort((a, b) => a - b)];
        model.expected.push(...order.map((pointer) => `destroy ${pointer}`));
        expect(real.pool.close({ force: true }).live).toBe(model.live.size);
        expect([real.calls, real.allocator.stats().liveMemories]).toEqual([model.expected, 0]);
      },
    ),
    { numRuns: walks, seed },
  );
  // The walks have to get where it is interesting.
  if (process.env.MILLPOND_WALKS === undefined)
    expect([aged > times(15, 50), failed > times(6, 20)]).toEqual([true, true]);
});
