/**
 * A program that a test makes up for the inspector's page: pools, leases over time, and the updates that tell of them.
 */

import { HOLDERS_MS } from "../../src/adapters/inspect/page/source.ts";
import type { PoolHolder, PoolKind, PoolMember } from "../../src/observe/pool-info.ts";
import type { InspectorUpdate, PoolSnapshot, RealmEvent, RealmSnapshot } from "../../src/observe/snapshot.ts";

/** What a made-up pool is. */
export interface FakePoolOptions {
  readonly name: string;
  readonly kind?: PoolKind;
  readonly count: number;
  readonly size?: number;
  readonly thread?: number;
  readonly shared?: number;
  readonly members?: readonly PoolMember[];
}

/** One made-up pool. */
export class FakePool {
  readonly options: FakePoolOptions;
  readonly id: number;
  readonly leases: Map<number, { since: number; lease: number; tag: string | undefined; site: string | undefined }> =
    new Map();
  waiting = 0;
  acquires = 0;
  starvedLast: PoolSnapshot["starvedLast"];
  readonly #program: FakeProgram;

  constructor(program: FakeProgram, id: number, options: FakePoolOptions) {
    this.#program = program;
    this.id = id;
    this.options = options;
  }

  get thread(): number {
    return this.options.thread ?? 0;
  }

  acquire(slot: number, tag?: string, site?: string): void {
    const lease = ++this.acquires;
    this.leases.set(slot, { since: this.#program.time, lease, tag, site });
    this.#program.tell(this, {
      type: "acquire",
      subject: slot,
      value: lease,
      ...(tag === undefined ? {} : { text: tag }),
    });
  }

  release(slot: number): void {
    this.leases.delete(slot);
    this.#program.tell(this, { type: "release", subject: slot, value: 0 });
  }

  starve(waited: number, waiting: number): void {
    this.starvedLast = { time: this.#program.time, waited, waiting, holders: this.holders() };
    this.#program.tell(this, { type: "starved", subject: waiting, value: waited });
  }

  holders(): PoolHolder[] {
    const { time } = this.#program;
    return [...this.leases]
      .map(([slot, { since, lease, tag, site }]) => ({
        slot,
        lease,
        size: this.options.size ?? 1000,
        age: time - since,
        ...(tag === undefined ? {} : { tag }),
        ...(site === undefined ? {} : { site }),
        ...(this.options.members === undefined ? {} : { members: [this.options.members[slot % 2]!.member] }),
      }))
      .sort((a, b) => b.age - a.age);
  }

  snapshot(isListed: boolean): PoolSnapshot {
    const { name, kind = "BufferPool", count, size = 1000, shared, members = [] } = this.options;
    const leased = this.leases.size;
    return {
      id: this.id,
      kind,
      name,
      ...(shared === undefined ? {} : { shared }),
      phase: "active",
      size,
      count,
      max: count,
      bytes: count * size,
      maxBytes: null,
      free: count - leased,
      leased,
      waiting: this.waiting,
      acquires: this.acquires,
      misses: 0,
      waits: 0,
      starved: 0,
      discarded: 0,
      highWater: leased,
      taken: this.acquires,
      ...(isListed ? { holders: this.holders().slice(0, 256) } : { holders: [], unlisted: true }),
      members,
      ...(this.starvedLast === undefined ? {} : { starvedLast: this.starvedLast }),
    };
  }
}

/** See the module text. */
export class FakeProgram {
  time = 1_700_000_000_000;
  readonly pools: FakePool[] = [];
  /** Milliseconds of collections, by thread. */
  readonly gc: Map<number, number> = new Map();
  readonly pid: number;
  readonly title: string;
  readonly #threads: readonly number[];
  readonly #ids: Map<number, number> = new Map();
  #events: RealmEvent[] = [];

  constructor(options: { readonly pid?: number; readonly title?: string; readonly threads?: readonly number[] } = {}) {
    this.pid = options.pid ?? 4242;
    this.title = options.title ?? "transcode.js input.mp4";
    this.#threads = options.threads ?? [0];
  }

  /** A pool in one of the threads. */
  pool(options: FakePoolOptions): FakePool {
    const thread = options.thread ?? 0;
    const id = (this.#ids.get(thread) ?? 0) + 1;
    this.#ids.set(thread, id);
    const pool = new FakePool(this, id, options);
    this.pools.push(pool);
    return pool;
  }

  tell(pool: FakePool, event: Pick<RealmEvent, "type" | "subject" | "value" | "text">): void {
    this.#events.push({ ...event, time: this.time, pool: pool.id, thread: pool.thread });
  }

  /** Everything until now; without a list of the leases, as a server leaves it out that was asked for that. */
  update(isListed = true): InspectorUpdate {
    const events = this.#events;
    this.#events = [];
    const realms = this.#threads.map((thread): RealmSnapshot => {
      const ms = this.gc.get(thread) ?? 0;
      return {
        version: 1,
        time: this.time,
        thread,
        runtime: "Node 24.1.0",
        pools: this.pools.filter((pool) => pool.thread === thread).map((pool) => pool.snapshot(isListed)),
        gc: { count: Math.ceil(ms / 2), major: 0, ms },
        heap: { used: 31_000_000, external: 210_000_000 },
        recording: true,
      };
    });
    const cpu = { user: 12.4, system: 1.1 };
    const snapshot = {
      version: 1,
      pid: this.pid,
      title: this.title,
      uptime: 83,
      rss: 412_000_000,
      cpu,
      realms,
    } as const;
    return { snapshot: { ...snapshot, time: this.time }, events, dropped: 0 };
  }
}

/**
 * Pools of 256 slots, half of them held; `step` goes on by one update in which some are given back and others taken.
 * Leases are listed as the served page asks for it, unless `isListed` says.
 */
export function crowd(
  pools: number,
  slots = 256,
): { readonly program: FakeProgram; step(ms: number, isListed?: boolean): InspectorUpdate } {
  const program = new FakeProgram({ title: "server.js --workers 4" });
  const all = Array.from({ length: pools }, (_, i) =>
    program.pool({ name: `stage ${i + 1}`, count: slots, size: 65_536 }),
  );
  let seed = 1;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (seed >> 8) % below;
  };
  for (const pool of all) for (let slot = 0; slot < slots; slot += 2) pool.acquire(slot, "encode");
  let listedAt = Number.NEGATIVE_INFINITY;
  return {
    program,
    step(ms, isListed) {
      for (const pool of all) {
        for (let i = 0; i < 16; i++) {
          const slot = random(slots);
          if (pool.leases.has(slot)) pool.release(slot);
          else pool.acquire(slot, random(4) === 0 ? undefined : "encode");
        }
      }
      program.time += ms;
      const isDue = program.time - listedAt >= HOLDERS_MS;
      if (isDue) listedAt = program.time;
      return program.update(isListed ?? isDue);
    },
  };
}
