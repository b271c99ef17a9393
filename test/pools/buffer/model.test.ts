// Shares its realm with other files: nothing that it changes outlives it.
/**
 * BufferPool against a naive model: random walks over everything a program may do to a pool, with waits, aborts,
 * timeouts, flushes, deactivations, copies that outlive their source, lost bytes and changed memories interleaved.
 * After every step the counters must agree, every settled wait must have settled in the model's order and way, and the
 * invariants hold.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import type { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { SystemAllocator } from "../../../src/memory/allocator.ts";
import type { Mapping } from "../../../src/memory/memory.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { MillpondError } from "../../../src/util/errors.ts";
import { REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { code } from "./pools.ts";

const SIZE = 64;

interface ModelLease {
  refs: number;
  copies: number;
  mapped: boolean;
  condition: "fit" | "changed" | "detached";
}

interface ModelWait {
  id: number;
  due: number;
}

/** What the pool should do, in the simplest terms. */
class Model {
  state: "inactive" | "active" | "flushing" | "draining" = "inactive";
  count = 0;
  free = 0;
  now = 0;
  readonly leases: ModelLease[] = [];
  readonly awaiting: ModelLease[] = [];
  readonly waits: ModelWait[] = [];
  readonly settled: string[] = [];
  readonly max: number;
  readonly min: number;

  constructor(max: number, min: number) {
    this.max = max;
    this.min = min;
  }

  get open(): boolean {
    return this.state === "active" || this.state === "flushing";
  }

  get outstanding(): number {
    return this.leases.length + this.awaiting.length;
  }

  take(): boolean {
    if (this.free > 0) this.free--;
    else if (this.count < this.max) this.count++;
    else return false;
    this.leases.push({ refs: 1, copies: 0, mapped: false, condition: "fit" });
    return true;
  }

  serve(): void {
    while (this.waits.length > 0 && this.state === "active" && this.take()) this.settle(this.waits.shift()!, "granted");
  }

  settle(wait: ModelWait, how: string): void {
    this.settled.push(`${wait.id} ${how}`);
  }

  rejectAll(how: string): void {
    for (const wait of this.waits.splice(0)) this.settle(wait, how);
  }

  giveBack(lease: ModelLease): void {
    if (this.open && lease.condition === "fit") this.free++;
    else this.count--;
    this.serve();
    if (this.state === "draining" && this.outstanding === 0) this.state = "inactive";
  }

  release(index: number): void {
    const lease = this.leases[index]!;
    if (--lease.refs > 0) return;
    this.leases.splice(index, 1);
    if (lease.copies > 0) this.awaiting.push(lease);
    else this.giveBack(lease);
  }

  releaseCopy(lease: ModelLease): void {
    if (--lease.copies > 0) return;
    const at = this.awaiting.indexOf(lease);
    if (at < 0) return;
    this.awaiting.splice(at, 1);
    this.giveBack(lease);
  }

  advance(ms: number): void {
    this.now += ms;
    const due = this.waits.filter((wait) => wait.due <= this.now).sort((a, b) => a.due - b.due || a.id - b.id);
    for (const wait of due) {
      this.waits.splice(this.waits.indexOf(wait), 1);
      this.settle(wait, "ERR_STARVED");
    }
  }
}

/** The real pool, with what the commands need to remember. */
class Real {
  readonly clock = new FakeClock();
  readonly allocator = new SystemAllocator("model");
  readonly pool: BufferPool;
  readonly leases: { buffer: MediaBuffer; mapping: Mapping | undefined; lease: ModelLease }[] = [];
  readonly copies: { buffer: MediaBuffer; lease: ModelLease; part: boolean }[] = [];
  readonly stale: MediaBuffer[] = [];
  readonly aborts = new Map<number, AbortController>();
  readonly settled: string[] = [];
  readonly granted: MediaBuffer[] = [];
  nextWait = 0;

  constructor(max: number, min: number) {
    this.pool = new BufferPool({ name: "model", clock: this.clock });
    this.pool.configure({ size: SIZE, max, min, allocator: this.allocator });
  }
}

/** Lets promise reactions run; a settled wait needs two turns of the microtask queue, four leave room. */
async function settle(): Promise<void> {
  for (let i = 0; i < 4; i++) await null;
}

type Step = (model: Model, real: Real) => void | Promise<void>;

class Command implements fc.AsyncCommand<Model, Real> {
  readonly name: string;
  readonly args: readonly unknown[];
  readonly ready: (model: Model) => boolean;
  readonly step: Step;

  constructor(name: string, args: readonly unknown[], ready: (model: Model) => boolean, step: Step) {
    this.name = name;
    this.args = args;
    this.ready = ready;
    this.step = step;
  }

  check(model: Readonly<Model>): boolean {
    return this.ready(model as Model);
  }

  async run(model: Model, real: Real): Promise<void> {
    await this.step(model, real);
    await settle();
    adoptGranted(model, real);
    compare(model, real);
  }

  toString(): string {
    return `${this.name}(${this.args.join(", ")})`;
  }
}

/** Buffers that waiters got become leases, in the order in which the model granted them. */
function adoptGranted(model: Model, real: Real): void {
  for (const buffer of real.granted.splice(0)) {
    const lease = model.leases[real.leases.length];
    if (lease === undefined) throw new Error("a waiter was granted a buffer that the model did not grant");
    checkFresh(buffer);
    real.leases.push({ buffer, mapping: undefined, lease });
  }
}

function checkFresh(buffer: MediaBuffer): void {
  expect([buffer.pts, buffer.flags, buffer.size, buffer.metas().length, buffer.isWritable]).toEqual([
    undefined,
    0,
    SIZE,
    0,
    true,
  ]);
  expect(buffer.bytes.length).toBe(SIZE);
}

function compare(model: Model, real: Real): void {
  const { pool } = real;
  pool.validate();
  const stats = pool.stats();
  const state = [
    pool.outstanding,
    pool.free,
    stats.count,
    stats.waiting,
    stats.awaitingMemory,
    pool.isActive,
    pool.isFlushing,
  ];
  const wanted = [
    model.outstanding,
    model.free,
    model.count,
    model.waits.length,
    model.awaiting.length,
    model.open,
    model.state === "flushing",
  ];
  expect(state).toEqual(wanted);
  expect(real.settled).toEqual(model.settled);
  expect(pool.holders()).toHaveLength(model.outstanding);
  // Each slot has one memory, a changed one two, and each region copy is a sub-memory.
  const changed = [...model.leases, ...model.awaiting].filter((lease) => lease.condition === "changed").length;
  const parts = real.copies.filter((copy) => copy.part).length;
  expect(real.allocator.stats().liveMemories).toBe(model.count + changed + parts);
}

function noteLease(model: Model, real: Real, buffer: MediaBuffer | undefined): void {
  const got = model.take();
  expect(buffer !== undefined).toBe(got);
  if (buffer === undefined) return;
  checkFresh(buffer);
  real.leases.push({ buffer, mapping: undefined, lease: model.leases.at(-1)! });
}

const any = (): boolean => true;
const pick = (n: number, length: number): number => n % length;

const tryAcquire = () =>
  new Command("tryAcquire", [], any, (model, real) => {
    if (model.state === "active") noteLease(model, real, real.pool.tryAcquire());
    else expect(code(() => real.pool.tryAcquire())).toBe(model.state === "flushing" ? "ERR_FLUSHING" : "ERR_INACTIVE");
  });

const acquire = (timeout: number | undefined, tag: string | undefined) =>
  new Command("acquire", [timeout, tag], any, async (model, real) => {
    const id = real.nextWait++;
    const abort = new AbortController();
    const promise = real.pool.acquire({ signal: abort.signal, timeout, ...(tag === undefined ? {} : { tag }) });
    const note = (how: string): void => void real.settled.push(`${id} ${how}`);
    promise.then(
      (buffer) => {
        real.granted.push(buffer);
        note("granted");
      },
      (error: unknown) => note(error instanceof MillpondError ? error.code : String(error)),
    );
    const wait = { id, due: timeout === undefined ? Infinity : model.now + timeout };
    if (model.state !== "active") model.settle(wait, model.state === "flushing" ? "ERR_FLUSHING" : "ERR_INACTIVE");
    else if (model.take()) model.settle(wait, "granted");
    else if (timeout === 0) model.settle(wait, "ERR_STARVED");
    else {
      model.waits.push(wait);
      real.aborts.set(id, abort);
    }
  });

const release = (n: number) =>
  new Command(
    "release",
    [n],
    (model) => model.leases.length > 0,
    (model, real) => {
      const index = pick(n, real.leases.length);
      const { buffer, mapping, lease } = real.leases[index]!;
      if (mapping?.isLive && lease.refs === 1 && lease.copies === 0) {
        expect(code(() => buffer.release())).toBe("ERR_MAPPED");
        return;
      }
      if (mapping?.isLive && lease.refs === 1) mapping.unmap();
      const last = lease.refs === 1;
      const spoilt = last && lease.condition === "detached" && lease.copies === 0 && model.open;
      expect(code(() => real.pool.release(buffer))).toBe(spoilt ? "ERR_DETACHED" : "ok");
      if (last) {
        real.leases.splice(index, 1);
        real.stale.push(buffer);
      }
      model.release(index);
    },
  );

const misuse = (n: number) =>
  new Command("misuse", [n], any, (_model, real) => {
    const buffer = real.stale[pick(n, Math.max(real.stale.length, 1))];
    if (buffer === undefined) return;
    expect(code(() => buffer.release())).toBe("ERR_DOUBLE_RELEASE");
    expect(code(() => buffer.bytes)).toBe("ERR_USE_AFTER_RELEASE");
    expect(code(() => buffer.retain())).toBe("ERR_USE_AFTER_RELEASE");
    expect(code(() => new BufferPool({ name: "other" }).release(buffer))).toBe("ERR_FOREIGN_RELEASE");
  });

const withLoan = (
  name: string,
  n: number,
  fits: (lease: ModelLease) => boolean,
  step: (real: Real, at: number, model: Model) => void,
) =>
  new Command(
    name,
    [n],
    (model) => model.leases.length > 0,
    (model, real) => {
      const at = pick(n, real.leases.length);
      if (fits(real.leases[at]!.lease)) step(real, at, model);
    },
  );

const retain = (n: number) =>
  withLoan("retain", n, any, (real, at) => {
    real.leases[at]!.buffer.retain();
    real.leases[at]!.lease.refs++;
  });

const copy = (n: number, part: boolean) =>
  withLoan(
    part ? "region" : "copy",
    n,
    (lease) => lease.condition === "fit",
    (real, at) => {
      const { buffer, lease, mapping } = real.leases[at]!;
      if (mapping?.isLive) return;
      real.copies.push({ buffer: part ? buffer.copyRange(1, 8) : buffer.copy(), lease, part });
      lease.copies++;
    },
  );

const releaseCopy = (n: number) =>
  new Command("releaseCopy", [n], any, (model, real) => {
    if (real.copies.length === 0) return;
    const [entry] = real.copies.splice(pick(n, real.copies.length), 1);
    const spoilt =
      entry!.lease.condition === "detached" &&
      model.awaiting.includes(entry!.lease) &&
      entry!.lease.copies === 1 &&
      model.open;
    expect(code(() => entry!.buffer.release())).toBe(spoilt ? "ERR_DETACHED" : "ok");
    model.releaseCopy(entry!.lease);
  });

const map = (n: number) =>
  withLoan(
    "map",
    n,
    (lease) => lease.condition === "fit",
    (real, at) => {
      const entry = real.leases[at]!;
      if (entry.mapping?.isLive) entry.mapping.unmap();
      else entry.mapping = entry.buffer.map("read");
    },
  );

const write = (n: number) =>
  withLoan(
    "write",
    n,
    (lease) => lease.refs === 1 && lease.condition === "fit",
    (real, at) => {
      const { buffer } = real.leases[at]!;
      buffer.pts = BigInt(n);
      buffer.flags = n & 0xff;
    },
  );

const taint = (n: number) =>
  withLoan(
    "taint",
    n,
    (lease) => lease.refs === 1 && lease.condition === "fit" && lease.copies === 0,
    (real, at) => {
      const { buffer, lease, mapping } = real.leases[at]!;
      if (mapping?.isLive) return;
      buffer.append(real.allocator.allocate(8));
      lease.condition = "changed";
    },
  );

const detach = (n: number) =>
  withLoan(
    "detach",
    n,
    (lease) => lease.refs === 1 && lease.condition === "fit" && lease.copies === 0,
    (real, at) => {
      const { buffer, lease, mapping } = real.leases[at]!;
      if (mapping?.isLive) return;
      const { buffer: bytes } = buffer.bytes;
      structuredClone(bytes, { transfer: [bytes as ArrayBuffer] });
      lease.condition = "detached";
      expect(code(() => buffer.bytes)).toBe("ERR_DETACHED");
    },
  );

const advance = (ms: number) =>
  new Command("advance", [ms], any, (model, real) => {
    real.clock.advance(ms);
    model.advance(ms);
  });

const abort = (n: number) =>
  new Command(
    "abort",
    [n],
    (model) => model.waits.length > 0,
    (model, real) => {
      const [wait] = model.waits.splice(pick(n, model.waits.length), 1);
      real.aborts.get(wait!.id)!.abort("enough");
      model.settle(wait!, "enough");
    },
  );

const flush = (on: boolean) =>
  new Command("setFlushing", [on], any, (model, real) => {
    expect(code(() => real.pool.setFlushing(on))).toBe(model.open ? "ok" : "ERR_INACTIVE");
    if (!model.open) return;
    model.state = on ? "flushing" : "active";
    if (on) model.rejectAll("ERR_FLUSHING");
  });

const deactivate = () =>
  new Command("deactivate", [], any, (model, real) => {
    real.pool.deactivate();
    if (!model.open) return;
    model.rejectAll("ERR_INACTIVE");
    model.count -= model.free;
    model.free = 0;
    model.state = model.outstanding > 0 ? "draining" : "inactive";
  });

const activate = () =>
  new Command("activate", [], any, (model, real) => {
    real.pool.activate();
    if (model.open) return;
    model.state = "active";
    while (model.count < model.min) {
      model.count++;
      model.free++;
    }
  });

const reconfigure = () =>
  new Command("configure", [], any, (model, real) => {
    const before = real.pool.config;
    const wanted = model.open ? "ERR_ACTIVE" : model.outstanding > 0 ? "ERR_IN_USE" : "ok";
    const config = {
      size: SIZE,
      max: model.max,
      min: model.min,
      allocator: real.allocator,
      format: { again: real.nextWait++ },
    };
    expect(code(() => real.pool.configure(config))).toBe(wanted);
    if (wanted !== "ok") expect(real.pool.config).toBe(before);
  });

const steps = [
  fc.constant(null).map(tryAcquire),
  fc
    .tuple(
      fc.option(fc.constantFrom(0, 5, 20, 100), { nil: undefined }),
      fc.option(fc.constantFrom("a", "b"), { nil: undefined }),
    )
    .map(([timeout, tag]) => acquire(timeout, tag)),
  fc.nat(100).map(release),
  fc.nat(100).map(release),
  fc.nat(100).map(misuse),
  fc.nat(100).map(retain),
  fc.tuple(fc.nat(100), fc.boolean()).map(([n, part]) => copy(n, part)),
  fc.nat(100).map(releaseCopy),
  fc.nat(100).map(map),
  fc.nat(100).map(write),
  fc.nat(100).map(taint),
  fc.nat(100).map(detach),
  fc.constantFrom(0, 1, 7, 50).map(advance),
  fc.nat(100).map(abort),
  fc.boolean().map(flush),
  fc.constant(null).map(deactivate),
  fc.constant(null).map(activate),
  fc.constant(null).map(activate),
  fc.constant(null).map(reconfigure),
];

/** Ends a walk: everything is given back, and then nothing of the pool is left in the allocator. */
async function closeAll(model: Model, real: Real): Promise<void> {
  real.pool.deactivate();
  await settle();
  for (const buffer of real.granted.splice(0)) buffer.release();
  for (const { buffer, mapping, lease } of real.leases) {
    if (mapping?.isLive) mapping.unmap();
    for (let refs = lease.refs; refs > 0; refs--) buffer.release();
  }
  for (const { buffer } of real.copies) buffer.release();
  await real.pool.drained();
  expect(real.pool.stats().count).toBe(0);
  expect(real.allocator.stats().liveMemories).toBe(0);
  expect(real.clock.pending).toBe(0);
  expect(model.settled.length).toBeGreaterThanOrEqual(0);
  real.pool.close();
  expect(code(() => real.pool.activate())).toBe("ERR_POOL_DEAD");
}

it("behaves as the naive model over random commands, 100,000 at full length", REPEATED, async () => {
  const seed = seedOf("buffer-pool model");
  const walks = times(40, 1000, "MILLPOND_WALKS");
  let commands = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.nat(4),
      fc.commands(steps, { maxCommands: 200, size: "max" }),
      async (max, min, walk) => {
        const model = new Model(max, Math.min(min, max));
        const real = new Real(model.max, model.min);
        await fc.asyncModelRun(() => ({ model, real }), walk);
        commands += [...walk].length;
        await closeAll(model, real);
      },
    ),
    { numRuns: walks, seed },
  );
  console.log(`buffer-pool model: ${commands} commands generated`);
  if (process.env.MILLPOND_WALKS === undefined) expect(commands).toBeGreaterThan(times(3_500, 90_000));
});
