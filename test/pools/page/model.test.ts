// Shares its realm with other files: nothing that it changes outlives it.
/**
 * PagePool against a naive model: random walks over allocations of several sizes, waits, releases, sub-memories,
 * transfers, trims, pressure, pauses and a clock that goes back. The model keeps plain lists and reads the clock at
 * every call; after every step the counters, the very blocks that were leased, and the order in which waits settled
 * must agree.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import type { Memory } from "../../../src/memory/memory.ts";
import type { Region } from "../../../src/memory/region.ts";
import { PagePool, type PressureLevel } from "../../../src/pools/page/page-pool.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { MillpondError } from "../../../src/util/errors.ts";
import { REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { code } from "../buffer/pools.ts";

const PAGE = 4096;

interface Idle {
  readonly pages: number;
  readonly block: number;
  readonly at: number;
}

interface Lease {
  readonly pages: number;
  readonly block: number;
  refs: number;
  children: number;
  lost: boolean;
}

interface Wait {
  readonly id: number;
  readonly pages: number;
  readonly due: number;
}

interface Bounds {
  readonly maxBytes: number;
  readonly max: number;
  readonly min: number;
  readonly ageOut: number;
}

class Model {
  now = 0;
  idle: Idle[] = [];
  readonly leases: Lease[] = [];
  readonly waits: Wait[] = [];
  readonly settled: string[] = [];
  recycling = true;
  pressure: PressureLevel = "low";
  blocks = 0;
  aged = 0;
  evicted = 0;
  readonly bounds: Bounds;

  constructor(bounds: Bounds) {
    this.bounds = bounds;
  }

  get count(): number {
    return this.idle.length + this.leases.length;
  }

  get bytes(): number {
    return [...this.idle, ...this.leases].reduce((sum, block) => sum + block.pages * PAGE, 0);
  }

  sweep(): void {
    const floor = this.pressure === "high" ? 0 : this.bounds.min;
    const age = this.pressure === "high" ? 0 : this.bounds.ageOut * (this.pressure === "medium" ? 0.5 : 1);
    while (this.idle.length > floor && this.now - this.idle[0]!.at >= age) {
      this.idle.shift();
      this.aged++;
    }
  }

  exceeds(pages: number): boolean {
    return this.bytes + pages * PAGE > this.bounds.maxBytes || this.count + 1 > this.bounds.max;
  }

  hasRoom(pages: number): boolean {
    const leased = this.leases.reduce((sum, lease) => sum + lease.pages * PAGE, 0);
    return leased + pages * PAGE <= this.bounds.maxBytes && this.leases.length + 1 <= this.bounds.max;
  }

  /** The lease, or undefined when the bounds forbid it. */
  take(pages: number, hasWaiters: boolean): Lease | undefined {
    this.sweep();
    if (hasWaiters) return undefined;
    const at = this.idle.findLastIndex((block) => block.pages === pages);
    let block: number;
    if (at >= 0) block = this.idle.splice(at, 1)[0]!.block;
    else if (!this.hasRoom(pages)) return undefined;
    else {
      while (this.exceeds(pages)) {
        this.idle.shift();
        this.evicted++;
      }
      block = this.blocks++;
    }
    const lease: Lease = { pages, block, refs: 1, children: 0, lost: false };
    this.leases.push(lease);
    return lease;
  }

  serve(): void {
    while (this.waits.length > 0) {
      const { id, pages } = this.waits[0]!;
      const canServe = this.idle.some((block) => block.pages === pages) || this.hasRoom(pages);
      if (!canServe) return;
      this.waits.shift();
      this.settled.push(`${id} granted`);
      this.take(pages, false);
    }
  }

  back(lease: Lease): void {
    this.leases.splice(this.leases.indexOf(lease), 1);
    const kept = this.recycling && !lease.lost && this.pressure !== "high";
    if (kept) {
      this.sweep();
      if (this.bounds.ageOut > 0 || this.bounds.min > 0)
        this.idle.push({ pages: lease.pages, block: lease.block, at: this.now });
      // One more is idle now, so that an older one may have lost its place under the floor.
      this.sweep();
    }
    this.serve();
  }
}

class Real {
  readonly clock = new FakeClock();
  readonly pool: PagePool;
  readonly leases: { memory: Memory; children: Memory[]; lease: Lease }[] = [];
  readonly stale: Memory[] = [];
  readonly settled: string[] = [];
  readonly granted: Memory[] = [];
  readonly aborts: Map<number, AbortController> = new Map();
  readonly names: Map<Region, number> = new Map();
  waits = 0;

  constructor(bounds: Bounds) {
    this.pool = PagePool.create({ ...bounds, clock: this.clock, pageSize: PAGE, timer: false });
  }
}

class Command implements fc.AsyncCommand<Model, Real> {
  readonly name: string;
  readonly args: readonly unknown[];
  readonly step: (model: Model, real: Real) => void;

  constructor(name: string, args: readonly unknown[], step: (model: Model, real: Real) => void) {
    this.name = name;
    this.args = args;
    this.step = step;
  }

  check(): boolean {
    return true;
  }

  async run(model: Model, real: Real): Promise<void> {
    this.step(model, real);
    // Two turns: a promise that was settled, and what is chained to it.
    for (let turn = 0; turn < 4; turn++) await undefined;
    adopt(model, real);
    compare(model, real);
  }

  toString(): string {
    return `${this.name}(${this.args.join(", ")})`;
  }
}

/** Waits that were granted are leases of the model already, in the same order. */
function adopt(model: Model, real: Real): void {
  const known = new Set(real.leases.map(({ lease }) => lease));
  const fresh = model.leases.filter((lease) => !known.has(lease));
  expect(real.granted.length).toBe(fresh.length);
  for (const [index, memory] of real.granted.splice(0).entries()) note(real, memory, fresh[index]!);
}

function note(real: Real, memory: Memory, lease: Lease): void {
  const named = real.names.get(memory.region);
  if (named === undefined) real.names.set(memory.region, lease.block);
  else expect(named).toBe(lease.block);
  expect([memory.maxSize, memory.refCount]).toEqual([lease.pages * PAGE, 1]);
  real.leases.push({ memory, children: [], lease });
}

function compare(model: Model, real: Real): void {
  real.pool.validate();
  const stats = real.pool.stats();
  expect(real.settled).toEqual(model.settled);
  expect({
    idle: stats.idle,
    live: stats.live,
    bytes: stats.bytes,
    misses: stats.misses,
    agedOut: stats.agedOut,
    evicted: stats.evicted,
    waiting: stats.waiting,
    liveMemories: stats.liveMemories,
    holders: real.pool.holders().length,
  }).toEqual({
    idle: model.idle.length,
    live: model.leases.length,
    bytes: model.bytes,
    misses: model.blocks,
    agedOut: model.aged,
    evicted: model.evicted,
    waiting: model.waits.length,
    liveMemories: model.leases.reduce((sum, lease) => sum + 1 + lease.children, 0),
    holders: model.leases.length,
  });
}

const sizeOf = (pages: number, slack: number): number => pages * PAGE - (slack % PAGE);

const allocate = (pages: number, slack: number) =>
  new Command("allocate", [pages, slack], (model, real) => {
    const lease = model.take(pages, model.waits.length > 0);
    if (lease === undefined)
      expect(code(() => real.pool.allocator.allocate(sizeOf(pages, slack)))).toBe("ERR_POOL_FULL");
    else note(real, real.pool.allocator.allocate(sizeOf(pages, slack)), lease);
  });

const acquire = (pages: number, timeout: number | undefined) =>
  new Command("acquire", [pages, timeout], (model, real) => {
    const id = real.waits++;
    const abort = new AbortController();
    const said = (how: string): void => void real.settled.push(`${id} ${how}`);
    const { maxBytes, max } = model.bounds;
    const hasIdle = model.recycling && model.idle.some((block) => block.pages === pages);
    const servable = model.waits.length === 0 && (hasIdle || model.hasRoom(pages));
    let settled: string | undefined;
    if (servable) {
      // The sweep inside may take the idle block that was seen; fresh pages then need the room.
      const lease = model.take(pages, model.waits.length > 0);
      settled = lease === undefined ? "ERR_POOL_FULL" : "granted";
    } else if (pages * PAGE > maxBytes || max === 0) settled = "ERR_POOL_FULL";
    else if (timeout === 0) settled = "ERR_STARVED";
    if (settled === undefined) {
      model.waits.push({ id, pages, due: timeout === undefined ? Number.POSITIVE_INFINITY : model.now + timeout });
      real.aborts.set(id, abort);
    } else model.settled.push(`${id} ${settled}`);
    real.pool.acquire(pages * PAGE, { signal: abort.signal, timeout }).then(
      (memory) => {
        real.granted.push(memory);
        said("granted");
      },
      (error: unknown) => said(error instanceof MillpondError ? error.code : String(error)),
    );
  });

const withLoan = (name: string, n: number, step: (model: Model, real: Real, at: number) => void) =>
  new Command(name, [n], (model, real) => {
    if (real.leases.length > 0) step(model, real, n % real.leases.length);
  });

const release = (n: number) =>
  withLoan("release", n, (model, real, at) => {
    const { memory, children, lease } = real.leases[at]!;
    if (lease.refs > 1 && lease.refs > children.length) {
      lease.refs--;
      memory.release();
      return;
    }
    if (children.length > 0) {
      // Every reference left is a sub-memory's.
      expect(code(() => memory.release())).toBe("ERR_FOREIGN_RELEASE");
      return;
    }
    real.leases.splice(at, 1);
    real.stale.push(memory);
    expect(code(() => memory.release())).toBe(lease.lost ? "ERR_DETACHED" : "ok");
    model.back(lease);
  });

const retain = (n: number) =>
  withLoan("retain", n, (_model, real, at) => {
    real.leases[at]!.memory.retain();
    real.leases[at]!.lease.refs++;
  });

const share = (n: number) =>
  withLoan("share", n, (_model, real, at) => {
    const { memory, children, lease } = real.leases[at]!;
    // A sub-memory holds a reference of its own on the whole.
    children.push(memory.share(0, 1));
    lease.children++;
    lease.refs++;
  });

const dropChild = (n: number) =>
  withLoan("dropChild", n, (model, real, at) => {
    const { children, lease, memory } = real.leases[at]!;
    const child = children.pop();
    if (child === undefined) return;
    const last = lease.refs === 1;
    lease.children--;
    if (!last) lease.refs--;
    if (last) {
      real.leases.splice(at, 1);
      real.stale.push(memory);
    }
    expect(code(() => child.release())).toBe(last && lease.lost ? "ERR_DETACHED" : "ok");
    if (last) model.back(lease);
  });

const transfer = (n: number) =>
  withLoan("transfer", n, (_model, real, at) => {
    const { memory, lease } = real.leases[at]!;
    if (lease.lost) return;
    const { buffer } = memory.region.bytes;
    structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
    lease.lost = true;
  });

const misuse = (n: number) =>
  new Command("misuse", [n], (_model, real) => {
    const memory = real.stale[n % Math.max(1, real.stale.length)];
    if (memory === undefined) return;
    expect(code(() => memory.release())).toBe("ERR_DOUBLE_RELEASE");
    expect(code(() => memory.map("read"))).toBe("ERR_USE_AFTER_RELEASE");
    expect(code(() => memory.retain())).toBe("ERR_USE_AFTER_RELEASE");
  });

const advance = (ms: number) =>
  new Command("advance", [ms], (model, real) => {
    const end = model.now + ms;
    for (;;) {
      const next = model.waits.filter((wait) => wait.due <= end).sort((a, b) => a.due - b.due || a.id - b.id)[0];
      if (next === undefined) break;
      model.now = Math.max(model.now, next.due);
      model.waits.splice(model.waits.indexOf(next), 1);
      model.settled.push(`${next.id} ERR_STARVED`);
      model.serve();
    }
    model.now = end;
    real.clock.advance(ms);
  });

const abort = (n: number) =>
  new Command("abort", [n], (model, real) => {
    if (model.waits.length === 0) return;
    const [wait] = model.waits.splice(n % model.waits.length, 1);
    model.settled.push(`${wait!.id} enough`);
    model.serve();
    real.aborts.get(wait!.id)!.abort("enough");
  });

const trim = () =>
  new Command("trim", [], (model, real) => {
    model.idle = [];
    real.pool.trim();
    model.serve();
  });

const maintain = () =>
  new Command("maintain", [], (model, real) => {
    model.sweep();
    real.pool.maintain();
    model.serve();
  });

const pressure = (level: PressureLevel) =>
  new Command("pressure", [level], (model, real) => {
    model.pressure = level;
    model.sweep();
    real.pool.setPressure(level);
    model.serve();
  });

const invalidate = () =>
  new Command("invalidate", [], (model, real) => {
    if (model.recycling) model.idle = [];
    model.recycling = false;
    real.pool.invalidate();
    model.serve();
  });

const pages = fc.integer({ min: 1, max: 4 });
const index = fc.nat(20);
const commands = fc.commands(
  [
    fc.tuple(pages, fc.nat(PAGE - 1)).map(([n, slack]) => allocate(n, slack)),
    fc.tuple(pages, fc.nat(PAGE - 1)).map(([n, slack]) => allocate(n, slack)),
    fc.tuple(pages, fc.constantFrom(undefined, undefined, 0, 50, 700)).map(([n, ms]) => acquire(n, ms)),
    index.map(release),
    index.map(release),
    index.map(retain),
    index.map(share),
    index.map(dropChild),
    index.map(transfer),
    index.map(misuse),
    fc.constantFrom(0, 1, 20, 100, 250, 500, 1000).map(advance),
    index.map(abort),
    fc.constant(trim()),
    fc.constant(maintain()),
    fc.constantFrom<PressureLevel>("low", "low", "medium", "high").map(pressure),
  ],
  { size: "+1" },
);

const bounds = fc.record({
  maxBytes: fc.constantFrom(3 * PAGE, 6 * PAGE, 12 * PAGE, Number.POSITIVE_INFINITY),
  max: fc.constantFrom(2, 4, Number.POSITIVE_INFINITY),
  min: fc.constantFrom(0, 0, 1, 2),
  ageOut: fc.constantFrom(0, 100, 500, Number.POSITIVE_INFINITY),
});

const walks = times(80, 300, "MILLPOND_WALKS");
const seed = seedOf("page-pool model");

it("a page pool does what a naive model does, in any order of calls and of the clock", REPEATED, async () => {
  await fc.assert(
    fc.asyncProperty(bounds, commands, fc.boolean(), async (limits, cmds, ends) => {
      const model = new Model(limits);
      const real = new Real(limits);
      await fc.asyncModelRun(() => ({ model, real }), cmds);
      if (ends) await invalidate().run(model, real);
      // The leak gate: once everything is back and old, the pool holds its floor and nothing else.
      while (real.leases.length > 0 || model.waits.length > 0) {
        if (real.leases.length === 0) await abort(0).run(model, real);
        else if (real.leases[0]!.children.length > 0) await dropChild(0).run(model, real);
        else await release(0).run(model, real);
      }
      await pressure("low").run(model, real);
      await trim().run(model, real);
      expect([real.pool.stats().count, real.pool.stats().bytes, real.clock.pending]).toEqual([0, 0, 0]);
    }),
    { numRuns: walks, seed },
  );
});
