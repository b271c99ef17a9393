/**
 * The table of docs/hooks.md, walked: every hook x every public call on the buffer, its memory, its metas and its pool.
 * After each cell the pool is whole, the next two leases are two slots, nothing that the hook kept reaches them, no
 * memory is lost, and the call was answered as the table says. A public member without a row here fails the test.
 */
import { describe, expect, it } from "vitest";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { Meta, type MetaType, registerMeta } from "../../../src/media/meta/meta.ts";
import { Allocator, systemAllocator, wrapMemory } from "../../../src/memory/allocator.ts";
import { Mapping, Memory } from "../../../src/memory/memory.ts";
import { Region } from "../../../src/memory/region.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import type { ActualPoolConfig } from "../../../src/pools/buffer/config.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { MillpondError } from "../../../src/util/errors.ts";

/** What a cell acts on. */
interface Cell {
  pool: BufferPool;
  /**
   * The hook's own handle; in a hook without one, another lease of the pool (`start`, `stop`, `adjust`: a buffer of its
   * own).
   */
  buffer: MediaBuffer;
}

/**
 * Which row of the table a hook belongs to.
 * - making: populate. The pool is busy, the buffer is the hook's.
 * - returning: the lease is over. The pool is busy, the buffer is the hook's until the last hook has returned.
 * - emptied: as returning, and the buffer's memory has been freed.
 * - busy: a hook of the pool that has no buffer of its own. Other leases are what they always are.
 * - held: a copy is under way; its buffers cannot go meanwhile.
 * - free: nothing is under way: an `init` of a meta, an event. Everything is allowed.
 */
type Kind = "making" | "returning" | "emptied" | "busy" | "held" | "free";

const HOOKS: Record<string, Kind> = {
  populate: "making",
  reset: "returning",
  recycle: "returning",
  dispose: "returning",
  "meta clear": "returning",
  "meta free": "returning",
  "meta free of a pooled meta": "emptied",
  "meta init": "free",
  "meta transform, its target": "held",
  "meta transform, its source": "held",
  onRelease: "busy",
  allocateRegion: "busy",
  freeRegion: "busy",
  start: "busy",
  stop: "busy",
  adjust: "busy",
  "now of a clock": "free",
  "setTimer of a clock": "free",
  'on("release")': "free",
  'on("discard")': "free",
  'on("starved")': "free",
  'on("drained")': "free",
};

type Answers = Partial<Record<Kind, string>>;
interface Row {
  call: (cell: Cell) => unknown;
  answers?: Answers;
}

const LEASE: Answers = {
  making: "ERR_REENTRANT",
  returning: "ERR_REENTRANT",
  emptied: "ERR_REENTRANT",
  held: "ERR_REENTRANT",
};
const HOLD: Answers = { making: "ERR_REENTRANT", returning: "ERR_REENTRANT", emptied: "ERR_REENTRANT" };
const METAS: Answers = { returning: "ERR_REENTRANT", emptied: "ERR_REENTRANT" };
const POOL: Answers = {
  making: "ERR_REENTRANT",
  returning: "ERR_REENTRANT",
  emptied: "ERR_REENTRANT",
  busy: "ERR_REENTRANT",
};

const read = (call: (buffer: MediaBuffer) => unknown): Row => ({ call: ({ buffer }) => call(buffer) });
const extra = (): Memory => systemAllocator().allocate(8);

let serial = 0;
type Hooks = Parameters<typeof registerMeta<object, unknown>>[0];
function metaType(hooks: Omit<Hooks, "api">): MetaType<object, unknown> {
  return registerMeta<object, unknown>({ api: `hook-table-${serial++}`, ...hooks });
}
const plainMeta = metaType({});

function appended(buffer: MediaBuffer): MediaBuffer {
  const other = new MediaBuffer();
  other.append(buffer);
  return other;
}

const BUFFER: Record<string, Row> = {
  pool: read((b) => b.pool),
  slotIndex: read((b) => b.slotIndex),
  isLive: read((b) => b.isLive),
  refCount: read((b) => b.refCount),
  isWritable: read((b) => b.isWritable),
  size: read((b) => b.size),
  bytes: read((b) => b.bytes),
  memoryCount: read((b) => b.memoryCount),
  memories: read((b) => b.memories[0]),
  memoryAt: read((b) => b.memoryAt(0)),
  joined: read((b) => b.joined()),
  insert: read((b) => b.insert(0, extra())),
  prepend: read((b) => b.prepend(extra())),
  append: read((b) => b.append(extra())),
  "append, to another buffer": { call: ({ buffer }) => appended(buffer), answers: LEASE },
  replace: read((b) => b.replace(0, 1, extra())),
  remove: read((b) => b.remove()),
  find: read((b) => b.find(0)),
  getSizes: read((b) => b.getSizes()),
  resize: read((b) => b.resize(4, 8)),
  map: read((b) => b.map("readwrite")),
  mapRange: read((b) => b.mapRange(0, 1, "write")),
  lock: read((b) => b.lock("write")),
  unlock: read((b) => {
    b.lock("read");
    b.unlock("read");
  }),
  fill: read((b) => b.fill(0, new Uint8Array(4).fill(1))),
  memset: read((b) => b.memset(0, 1)),
  extract: read((b) => b.extract(0, new Uint8Array(4))),
  compare: read((b) => b.compare(0, new Uint8Array(4))),
  copy: read((b) => b.copy()),
  "copy, deep": read((b) => b.copy({ deep: true })),
  copyRange: read((b) => b.copyRange(0, 4)),
  copyFrom: read((b) => b.copyFrom(MediaBuffer.allocate(4))),
  makeWritable: read((b) => void b.makeWritable()),
  addMeta: { call: ({ buffer }) => void buffer.addMeta(plainMeta, 0), answers: METAS },
  getMeta: read((b) => b.getMeta(plainMeta)),
  removeMeta: { call: ({ buffer }) => buffer.removeMeta({} as Meta), answers: METAS },
  metas: read((b) => void b.metas()),
  retain: { call: ({ buffer }) => buffer.retain(), answers: HOLD },
  release: { call: ({ buffer }) => buffer.release(), answers: LEASE },
  toString: read((b) => b.toString()),
};
for (const field of ["pts", "dts", "duration", "offset", "offsetEnd", "flags"] as const) {
  BUFFER[field] = read((b) => {
    (b as unknown as Record<string, unknown>)[field] = field === "flags" ? 1 : 1n;
    return b[field];
  });
}

const ofMemory = (call: (memory: Memory) => unknown, answers?: Answers): Row => ({
  call: ({ buffer }) => call(buffer.memoryAt(0)),
  ...(answers === undefined ? {} : { answers }),
});
const FOREIGN: Answers = {
  making: "ERR_FOREIGN_RELEASE",
  returning: "ERR_FOREIGN_RELEASE",
  busy: "ERR_FOREIGN_RELEASE",
  held: "ERR_FOREIGN_RELEASE",
};
const MEMORY: Record<string, Row> = {
  bytes: ofMemory((m) => m.bytes, {
    making: "ERR_UNSUPPORTED",
    returning: "ERR_UNSUPPORTED",
    busy: "ERR_UNSUPPORTED",
    held: "ERR_UNSUPPORTED",
  }),
  offset: ofMemory((m) => m.offset),
  size: ofMemory((m) => m.size),
  flags: ofMemory((m) => m.flags),
  refCount: ofMemory((m) => m.refCount),
  owners: ofMemory((m) => m.owners),
  isMapped: ofMemory((m) => m.isMapped),
  isExclusive: ofMemory((m) => m.isExclusive),
  isWritable: ofMemory((m) => m.isWritable),
  isType: ofMemory((m) => m.isType("x")),
  map: ofMemory((m) => m.map("readwrite")),
  lock: ofMemory((m) => m.lock("write")),
  unlock: ofMemory((m) => {
    m.lock("read");
    m.unlock("read");
  }),
  mapAsync: ofMemory((m) => m.mapAsync("write")),
  share: ofMemory((m) => m.share(0, 4)),
  copy: ofMemory((m) => m.copy()),
  resize: ofMemory((m) => m.resize(4, 8)),
  isSpan: ofMemory((m) => m.isSpan(m)),
  retain: ofMemory((m) => m.retain()),
  release: ofMemory((m) => m.release(), FOREIGN),
  makeWritable: ofMemory((m) => m.makeWritable()),
  toString: ofMemory((m) => m.toString()),
};

const ofMapping = (call: (mapping: Mapping) => unknown): Row => ({
  call: ({ buffer }) => {
    const mapping = buffer.map("readwrite");
    call(mapping);
    return mapping;
  },
});
const MAPPING: Record<string, Row> = {
  bytes: ofMapping((m) => m.bytes),
  memory: ofMapping((m) => m.memory),
  size: ofMapping((m) => m.size),
  mode: ofMapping((m) => m.mode),
  isLive: ofMapping((m) => m.isLive),
  unmap: ofMapping((m) => m.unmap()),
};
const META: Record<string, Row> = { api: read((b) => b.metas().map((meta) => meta.api)[0]) };

const ofPool = (call: (pool: BufferPool) => unknown, answers: Answers = {}): Row => ({
  call: ({ pool }) => call(pool),
  answers,
});
const POOLS: Record<string, Row> = {
  isActive: ofPool((p) => p.isActive),
  spareBuffers: ofPool((p) => p.spareBuffers),
  askedConfig: ofPool((p) => p.askedConfig),
  isFlushing: ofPool((p) => p.isFlushing),
  isDraining: ofPool((p) => p.isDraining),
  config: ofPool((p) => void p.config),
  free: ofPool((p) => p.free),
  outstanding: ofPool((p) => p.outstanding),
  trace: ofPool((p) => {
    p.trace = !p.trace;
  }),
  stats: ofPool((p) => void p.stats()),
  holders: ofPool((p) => void p.holders()),
  on: ofPool((p) => void p.on("leak", () => {})),
  drained: ofPool((p) => p.drained()),
  validate: ofPool((p) => p.validate()),
  tryAcquire: ofPool((p) => p.tryAcquire(), POOL),
  "tryAcquire, tagged": ofPool((p) => p.tryAcquire({ tag: "hook" }), POOL),
  acquire: ofPool((p) => p.acquire({ timeout: 0 }), POOL),
  configure: ofPool((p) => void p.configure({ size: 128, max: 2 }), POOL),
  activate: ofPool((p) => p.activate(), POOL),
  deactivate: ofPool((p) => p.deactivate(), POOL),
  setFlushing: ofPool((p) => p.setFlushing(true), POOL),
  retire: ofPool((p) => void p.retire(), POOL),
  close: ofPool((p) => void p.close(), POOL),
  "close, by force": ofPool((p) => void p.close({ force: true }), POOL),
  release: { call: ({ pool, buffer }) => pool.release(buffer), answers: HOLD },
};

/** What is no business of users: internal members, and the hooks themselves. */
const INTERNAL = new Set([
  ...[
    "constructor",
    "live",
    "writable",
    "assertReleasable",
    "releaseWhenUnmapped",
    "unlockUnit",
    "setExtent",
    "acquireOwnership",
    "dropOwnership",
    "show",
    "endByForce",
    "releaseOrLater",
    "markInUse",
  ],
  ...[
    "onRelease",
    "onPassed",
    "onReturned",
    "staleLease",
    "populate",
    "reset",
    "recycle",
    "dispose",
    "start",
    "stop",
    "adjust",
    "adjusted",
    "offerSpare",
  ],
]);

/** The hooks of a pool, its allocator and its metas, each a function that a scenario sets. */
interface Switches {
  hook: string;
  act: ((buffer: MediaBuffer | undefined) => void) | undefined;
  keeps: boolean;
  wraps: boolean;
}

class TableAllocator extends Allocator {
  readonly #run: (hook: string) => void;
  constructor(run: (hook: string) => void) {
    super("table");
    this.#run = run;
  }
  protected override allocateRegion(size: number): Region {
    this.#run("allocateRegion");
    return new Region(new Uint8Array(size));
  }
  protected override freeRegion(): void {
    this.#run("freeRegion");
  }
}

const current: { switches: Switches | undefined } = { switches: undefined };
function run(hook: string, buffer?: MediaBuffer): void {
  const { switches } = current;
  if (switches === undefined || switches.hook !== hook || switches.act === undefined) return;
  const { act } = switches;
  switches.act = undefined;
  act(buffer);
}

const pooled = metaType({
  clear: (_meta, buffer) => run("meta clear", buffer),
  free: (_meta, buffer) => run("meta free of a pooled meta", buffer),
});
const leased = metaType({
  init: (_meta, _params, buffer) => {
    run("meta init", buffer);
    return true;
  },
  free: (_meta, buffer) => run("meta free", buffer),
  transform: (target, _meta, source) => {
    run("meta transform, its target", target);
    run("meta transform, its source", source);
    return true;
  },
});

class TableClock extends FakeClock {
  override now(): number {
    run("now of a clock");
    return super.now();
  }
  override setTimer(fn: () => void, ms: number, background: boolean): unknown {
    run("setTimer of a clock");
    return super.setTimer(fn, ms, background);
  }
}

class TablePool extends BufferPool {
  readonly allocator = new TableAllocator((hook) => run(hook));
  protected override populate(buffer: MediaBuffer, config: ActualPoolConfig): void {
    if (current.switches?.wraps) buffer.append(wrapMemory(new Uint8Array(64), { onRelease: () => run("onRelease") }));
    else super.populate(buffer, config);
    buffer.addMeta(pooled, 0);
    run("populate", buffer);
  }
  protected override reset(buffer: MediaBuffer): void {
    run("reset", buffer);
  }
  protected override recycle(buffer: MediaBuffer): boolean {
    run("recycle", buffer);
    return current.switches?.keeps ?? true;
  }
  protected override dispose(buffer: MediaBuffer): void {
    run("dispose", buffer);
  }
  protected override start(): void {
    run("start");
    super.start();
  }
  protected override stop(): void {
    run("stop");
  }
  protected override adjust(wanted: ActualPoolConfig): ActualPoolConfig {
    run("adjust");
    return wanted;
  }
}

function attempt(fn: () => unknown): string {
  try {
    fn();
    return "ok";
  } catch (error) {
    if (error instanceof MillpondError) return error.code;
    throw error;
  }
}

/** Writes through whatever a call gave; what is over refuses, and must. */
function poke(what: unknown): void {
  // A detached view has length 0 and refuses to be filled.
  if (what instanceof Uint8Array) for (let i = 0; i < what.length; i++) what[i] = 0xee;
  else if (what instanceof Mapping) attempt(() => what.bytes.fill(0xee));
  else if (what instanceof MediaBuffer) attempt(() => what.memset(0, 0xee));
  else if (what instanceof Memory) {
    attempt(() => {
      const mapping = what.map("readwrite");
      mapping.bytes.fill(0xee);
      mapping.unmap();
    });
  }
}

function letGo(what: unknown): void {
  if (what instanceof Mapping) attempt(() => what.unmap());
  else if (what instanceof MediaBuffer || what instanceof Memory) attempt(() => what.release());
}

async function walk(hook: string, name: string, row: Row): Promise<string> {
  const where = `${name} in ${hook}`;
  const pool = new TablePool({ name: "table", clock: new TableClock() });
  const held: MediaBuffer[] = [];
  let answer = "the hook did not run";
  let result: unknown;
  const act = (buffer: MediaBuffer | undefined): void => {
    answer = attempt(() => {
      result = row.call({ pool, buffer: buffer ?? held[0]! });
    });
  };
  const switches: Switches = { hook, act: undefined, keeps: true, wraps: hook === "onRelease" };
  current.switches = switches;
  const config = { size: 64, min: 1, max: 4, revoke: true, zero: "release", allocator: pool.allocator } as const;
  const own = hook === "start" || hook === "stop" || hook === "adjust";
  if (hook === "start" || hook === "adjust") held.push(MediaBuffer.allocate(64));
  if (hook === "start" || hook === "adjust") switches.act = act;
  pool.configure(config);
  pool.activate();
  if (hook === "stop") held.push(MediaBuffer.allocate(64));
  else if (!own) held.push(pool.tryAcquire()!);
  const lease = own ? undefined : pool.tryAcquire();
  lease?.bytes.fill(7);
  switches.act = act;
  const outer = attempt(() => {
    if (hook === "populate" || hook === "allocateRegion") letGo(pool.tryAcquire());
    if (hook === "now of a clock") letGo(pool.tryAcquire({ tag: "timed" }));
    if (hook === "setTimer of a clock") {
      held.push(pool.tryAcquire()!, pool.tryAcquire()!);
      void pool.acquire({ timeout: 1000 }).then(letGo, () => {});
    }
    if (hook === "meta init" || hook === "meta free" || hook.startsWith("meta transform")) lease!.addMeta(leased, 0);
    if (hook.startsWith("meta transform")) held.push(lease!.copy());
    if (hook.startsWith("on(")) {
      const event = hook.slice(4, -2) as "release";
      pool.on(event, () => run(hook, held[0]));
      if (event !== "release") switches.keeps = false;
    }
    if (hook === "dispose" || hook === "freeRegion" || hook === "onRelease" || hook.endsWith("pooled meta"))
      switches.keeps = false;
    if (hook === 'on("starved")') void pool.acquire({ timeout: 0 }).then(letGo, () => {});
    if (hook === 'on("starved")') for (let i = 0; i < 4; i++) void pool.acquire({ timeout: 0 }).then(letGo, () => {});
    if (hook === "stop") pool.deactivate();
    if (hook === 'on("drained")') {
      held.splice(0)[0]!.release();
      held.push(MediaBuffer.allocate(64));
      lease!.release();
      pool.deactivate();
    } else if (lease?.isLive) lease.release();
  });
  switches.act = undefined;
  switches.keeps = true;
  if (result instanceof Promise) {
    try {
      result = await result;
    } catch (error) {
      if (!(error instanceof MillpondError)) throw error;
      answer = error.code;
    }
  } else if (hook === 'on("starved")') await Promise.resolve();
  expect(outer, `${where}: what the call that ran the hook ended with`).toMatch(/^(ok|ERR_[A-Z_]+)$/);
  pool.validate();
  // What the hook kept writes first; two fresh leases must not see it.
  if (pool.isActive && !pool.isFlushing) {
    const [one, two] = [pool.tryAcquire(), pool.tryAcquire()];
    poke(result);
    if (one !== undefined && two !== undefined) expect(one.slotIndex, where).not.toBe(two.slotIndex);
    for (const next of [one, two]) {
      if (next === undefined) continue;
      expect([next.size, next.memoryCount, next.isWritable, next.pts, next.flags], where).toEqual([
        64,
        1,
        true,
        undefined,
        0,
      ]);
      // What populate() adds belongs to the pool; nobody else's meta is left.
      expect(next.metas().filter((meta) => meta.type !== (pooled as MetaType)).length, where).toBe(
        hook === "populate" && name === "addMeta" ? next.metas().length - 1 : 0,
      );
      expect(next.bytes.includes(0xee), `${where}: a lease sees what was written through what the hook kept`).toBe(
        false,
      );
      expect(next.bytes.includes(7), `${where}: a lease sees the last holder's bytes`).toBe(false);
      next.release();
    }
    pool.validate();
  }
  letGo(result);
  for (const buffer of held) while (buffer.isLive) if (attempt(() => buffer.release()) !== "ok") break;
  if (lease?.isLive) letGo(lease);
  pool.validate();
  attempt(() => pool.close({ force: true }));
  expect([pool.outstanding, pool.stats().count], where).toEqual([0, 0]);
  if (result instanceof Uint8Array && name.startsWith("lock")) return answer;
  expect(pool.allocator.stats().liveMemories, `${where}: memory is lost`).toBe(0);
  return answer;
}

const TABLE: Record<string, Record<string, Row>> = {
  "the buffer": BUFFER,
  "its memory": MEMORY,
  "its mappings": MAPPING,
  "its metas": META,
  "its pool": POOLS,
};

function expected(kind: Kind, hook: string, group: string, name: string, row: Row): string | undefined {
  // Where nothing is under way the answer is the call's own, which other tests hold; it is never ERR_REENTRANT.
  if (kind === "free") return undefined;
  const answer = row.answers?.[kind];
  if (group === "its pool" && name === "release" && answer === undefined) {
    if (hook === "meta transform, its target" || hook === "start" || hook === "stop" || hook === "adjust")
      return "ERR_FOREIGN_RELEASE";
    return kind === "held" ? "ERR_REENTRANT" : "ok";
  }
  if (kind === "held" && group === "its pool") return undefined;
  // Without memory only what the table names has an answer of its own.
  if (kind === "emptied") return answer;
  // A copy shares the memory of its source, so what needs it alone is refused, as for every copy.
  if (kind === "held" && answer === undefined) return undefined;
  return answer ?? "ok";
}

describe("the table of docs/hooks.md", () => {
  it("has a row for every public member", () => {
    const members: [string, object[]][] = [
      ["the buffer", [MediaBuffer.prototype]],
      ["its memory", [Memory.prototype]],
      ["its mappings", [Mapping.prototype]],
      ["its metas", [Meta.prototype]],
      ["its pool", [BufferPool.prototype]],
    ];
    for (const [group, prototypes] of members) {
      const names = prototypes.flatMap((prototype) => Object.getOwnPropertyNames(prototype));
      for (const name of names) {
        if (INTERNAL.has(name)) continue;
        expect(Object.keys(TABLE[group]!), `${group}: ${name} has no row in the hook table`).toContain(name);
      }
    }
  });

  for (const [hook, kind] of Object.entries(HOOKS)) {
    it(`says what each call does in ${hook}`, async () => {
      for (const [group, rows] of Object.entries(TABLE)) {
        for (const [name, row] of Object.entries(rows)) {
          const answer = await walk(hook, name, row);
          const wanted = expected(kind, hook, group, name, row);
          if (wanted !== undefined) expect(answer, `${group}: ${name} in ${hook}`).toBe(wanted);
          else if (kind === "free") expect(answer, `${group}: ${name} in ${hook}`).not.toBe("ERR_REENTRANT");
          expect(answer, `${group}: ${name} in ${hook}`).not.toBe("the hook did not run");
        }
      }
    });
  }
});
