// Shares its realm with other files: nothing that it changes outlives it.
/**
 * The rule: a handle of a slot's memory that code may keep beyond the lease ends with the lease. Walked here: every way
 * to such a handle x every end of a lease x every kind of slot. A handle is a Memory, or a Mapping; whatever a way
 * gives (buffers, lists, memories, mappings) is searched for all of them. After the end the next leases over the same
 * allocator are taken and filled, and nothing that was kept may read or write them, or end their mappings. What a lease
 * hands out itself is in hook-table.test.ts too; here its memory also goes into other buffers first.
 */
import { describe, expect, it } from "vitest";
import { allocators } from "../../../src/allocators/registry.ts";
import { CopyFlags } from "../../../src/media/buffer/flags.ts";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { MediaBufferList } from "../../../src/media/buffer/media-buffer-list.ts";
import { registerMeta } from "../../../src/media/meta/meta.ts";
import { Allocator, systemAllocator } from "../../../src/memory/allocator.ts";
import { Mapping, Memory } from "../../../src/memory/memory.ts";
import { Region } from "../../../src/memory/region.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import type { ActualPoolConfig, BufferPoolConfig } from "../../../src/pools/buffer/config.ts";
import { PagePool } from "../../../src/pools/page/page-pool.ts";
import { RealtimePool } from "../../../src/pools/realtime/realtime-pool.ts";
import { isFullLength, REPEATED, times } from "../../helpers/effort.ts";
import { code } from "./pools.ts";

const SIZE = 64;

/** What happens in hooks of the present cell. */
const hooks: {
  pool: ((hook: string, buffer: MediaBuffer) => void) | undefined;
  allocator: ((hook: string, ...memories: Memory[]) => void) | undefined;
  meta: ((...buffers: MediaBuffer[]) => void) | undefined;
  discard: "recycle" | "reset" | undefined;
} = { pool: undefined, allocator: undefined, meta: undefined, discard: undefined };

class MatrixPool extends BufferPool {
  static parts = 1;
  protected override populate(buffer: MediaBuffer, config: ActualPoolConfig): void {
    for (let i = 0; i < MatrixPool.parts; i++) buffer.append(config.allocator.allocate(SIZE / MatrixPool.parts));
    hooks.pool?.("populate", buffer);
  }
}

class HookedPool extends MatrixPool {
  protected override reset(buffer: MediaBuffer): void {
    hooks.pool?.("reset", buffer);
    if (hooks.discard === "reset") buffer.append(systemAllocator().allocate(2));
  }
  protected override recycle(buffer: MediaBuffer): boolean {
    hooks.pool?.("recycle", buffer);
    return hooks.discard !== "recycle";
  }
  protected override dispose(buffer: MediaBuffer): void {
    hooks.pool?.("dispose", buffer);
  }
}

/** One region, again and again: what is freed is what the next lease gets. */
class RecyclingAllocator extends Allocator {
  readonly #free: Region[] = [];
  constructor() {
    super("recycling");
  }
  protected override allocateRegion(size: number): Region {
    hooks.allocator?.("allocateRegion");
    const at = this.#free.findIndex((region) => region.size === size && !region.isDetached);
    return at < 0 ? new Region(new Uint8Array(size)) : new Region(this.#free.splice(at, 1)[0]!.bytes);
  }
  protected override freeRegion(region: Region): void {
    hooks.allocator?.("freeRegion");
    this.#free.push(region);
  }
  override shareMemory(memory: Memory, offset: number, size: number): Memory {
    hooks.allocator?.("shareMemory", memory);
    return super.shareMemory(memory, offset, size);
  }
  override copyMemory(memory: Memory, offset: number, size: number): Memory {
    hooks.allocator?.("copyMemory", memory);
    return super.copyMemory(memory, offset, size);
  }
  override isSpan(a: Memory, b: Memory): boolean {
    hooks.allocator?.("isSpan", a, b);
    return super.isSpan(a, b);
  }
}

const watched = registerMeta<object, unknown>({
  api: "handle-matrix",
  init: (_meta, _params, buffer) => {
    hooks.meta?.(buffer);
    return true;
  },
  free: (_meta, buffer) => hooks.meta?.(buffer),
  transform: (target, _meta, source) => {
    hooks.meta?.(target, source);
    return true;
  },
});

/** The memories and mappings that code which has `what` can get at, now. */
function handlesOf(what: unknown, found: Set<Memory | Mapping> = new Set()): Set<Memory | Mapping> {
  if (what instanceof Mapping) {
    found.add(what);
    if (what.isLive && code(() => what.memory) === "ok") handlesOf(what.memory, found);
  } else if (what instanceof Memory) {
    found.add(what);
    if (what.parent !== null) found.add(what.parent);
  } else if (what instanceof MediaBuffer) {
    if (what.isLive) for (const memory of what.memories) handlesOf(memory, found);
  } else if (what instanceof MediaBufferList) {
    if (what.refCount > 0) for (const buffer of what) handlesOf(buffer, found);
  } else if (Array.isArray(what)) for (const each of what) handlesOf(each, found);
  return found;
}

/** What a way has: handles to keep, and what holds the lease or its memory and must be released. */
class Cell {
  readonly kept = new Set<Memory | Mapping>();
  /** Released at the end, in this order or the reverse one. */
  readonly holders: { release(): void }[] = [];
  readonly pool: BufferPool;
  constructor(pool: BufferPool) {
    this.pool = pool;
  }
  keep<T>(...what: T[]): T {
    handlesOf(what, this.kept);
    return what[0]!;
  }
  hold<T extends { release(): void }>(holder: T): T {
    this.holders.push(holder);
    return holder;
  }
}

type Way = (lease: MediaBuffer, cell: Cell) => void;

/** The lease is released by itself. */
const plain =
  (way: Way): Way =>
  (lease, cell) => {
    cell.hold(lease);
    way(lease, cell);
  };

const packet = (memories = 0): MediaBuffer => {
  const buffer = new MediaBuffer();
  for (let i = 0; i < memories; i++) buffer.append(systemAllocator().allocate(2));
  return buffer;
};

/** The lease goes into another buffer, which is looked at by `look`. */
const appendedTo =
  (target: () => MediaBuffer, look: Way = (buffer, cell) => void cell.keep(buffer)): Way =>
  (lease, cell) => {
    const buffer = cell.hold(target());
    buffer.append(lease);
    look(buffer, cell);
  };

/** What the hooks of the allocators are given is kept, and the call is refused there when `refuse` says so. */
const inAllocator =
  (way: Way, refuse: boolean): Way =>
  (lease, cell) => {
    const system = allocators.default;
    const own = new RecyclingAllocator();
    hooks.allocator = (_hook, ...memories) => {
      cell.keep(...memories);
      // The lease itself is not asked: that alone would make its handles end with it.
      for (const one of cell.holders) if (one !== lease) cell.keep(one);
      if (refuse) throw new Error("refused");
    };
    allocators.default = own;
    try {
      code(() => way(lease, cell));
    } finally {
      allocators.default = system;
      hooks.allocator = undefined;
    }
  };

const inPoolHook =
  (name: string): Way =>
  (lease, cell) => {
    cell.hold(lease);
    hooks.pool = (hook, buffer) => {
      if (hook !== name) return;
      cell.keep(buffer.memoryAt(0));
      // Without its bytes it cannot be mapped.
      code(() => {
        const mapping = buffer.mapRange(0, 1, "read");
        cell.keep(mapping);
        mapping.unmap();
      });
      const copy = new MediaBuffer();
      if (code(() => copy.copyFrom(buffer, CopyFlags.MEMORY)) === "ok") cell.keep(copy);
      copy.release();
    };
  };

const WAYS: Record<string, Way> = {
  memoryAt: plain((lease, cell) => void cell.keep(lease.memoryAt(0))),
  memories: plain((lease, cell) => void cell.keep(...lease.memories)),
  joined: plain((lease, cell) => void cell.hold(cell.keep(lease.joined()!))),
  "joined, one": plain((lease, cell) => void cell.hold(cell.keep(lease.joined(0, 1)!))),
  "the memory of a mapping": plain((lease, cell) => {
    const mapping = lease.mapRange(0, 1, "read");
    cell.keep(mapping.memory);
    mapping.unmap();
  }),
  "a mapping that was ended": plain((lease, cell) => {
    const mapping = lease.mapRange(0, 1, "readwrite");
    mapping.unmap();
    cell.kept.add(mapping);
  }),
  "a mapping that unlock() of the buffer cannot end": plain((lease, cell) => {
    const mapping = lease.map("write");
    cell.kept.add(mapping);
    expect(code(() => lease.unlock("write"))).toBe("ERR_OUT_OF_RANGE");
    mapping.unmap();
  }),
  "a mapping beside a lock(), and unlock() twice": plain((lease, cell) => {
    lease.lock("read");
    const mapping = lease.map("read");
    cell.kept.add(mapping);
    lease.unlock("read");
    expect(code(() => lease.unlock("read"))).toBe("ERR_OUT_OF_RANGE");
    mapping.unmap();
  }),
  "a lock() beside a mapping, and unlock() twice": plain((lease, cell) => {
    const mapping = lease.map("readwrite");
    cell.kept.add(mapping);
    lease.lock("readwrite");
    mapping.unmap();
    lease.unlock("readwrite");
    expect(code(() => lease.unlock("readwrite"))).toBe("ERR_OUT_OF_RANGE");
  }),
  "a mapping that unlock() of the memory cannot end": plain((lease, cell) => {
    const mapping = lease.mapRange(0, 1, "write");
    cell.kept.add(mapping);
    expect(code(() => lease.memoryAt(0).unlock("write"))).toBe("ERR_OUT_OF_RANGE");
    mapping.unmap();
  }),
  copy: plain((lease, cell) => void cell.keep(cell.hold(lease.copy()))),
  "copy of a copy": plain((lease, cell) => void cell.keep(cell.hold(cell.hold(lease.copy()).copy()))),
  "copy, deep": plain((lease, cell) => void cell.keep(cell.hold(lease.copy({ deep: true })))),
  "copyRange, the parent of its part": plain((lease, cell) => void cell.keep(cell.hold(lease.copyRange(1, 8)))),
  "copyFrom into an empty buffer": plain((lease, cell) => {
    const target = cell.hold(packet());
    target.copyFrom(lease, CopyFlags.MEMORY);
    cell.keep(target);
  }),
  "copyFrom into a full buffer": plain((lease, cell) => {
    const target = cell.hold(packet(16));
    target.copyFrom(lease, CopyFlags.MEMORY);
    cell.keep(target);
  }),
  "copyFrom, merged": plain((lease, cell) => {
    const target = cell.hold(packet(1));
    target.copyFrom(lease, CopyFlags.MEMORY | CopyFlags.MERGE);
    cell.keep(target);
  }),
  "a retained memory": plain((lease, cell) => void cell.hold(cell.keep(lease.memoryAt(0).retain()))),
  "a memory in another buffer": plain((lease, cell) => {
    const target = cell.hold(packet());
    target.append(lease.memoryAt(0).retain());
    cell.keep(target);
  }),
  "a sub-memory": plain((lease, cell) => void cell.keep(cell.hold(lease.memoryAt(0).share(1, 4)))),
  makeWritable: plain((lease, cell) => void cell.keep(cell.hold(lease.retain().makeWritable()))),
  "a mapping of a shared buffer": plain((lease, cell) => {
    cell.hold(lease.retain());
    const mapping = lease.map("read");
    cell.keep(mapping);
    mapping.unmap();
  }),
  "a write to a shared memory": plain((lease, cell) => {
    cell.keep(cell.hold(lease.copy()));
    lease.memset(0, 1);
    cell.keep(lease);
  }),
  "a resize of a shared memory": plain((lease, cell) => {
    cell.keep(cell.hold(lease.copy()));
    lease.resize(1, 8);
    cell.keep(lease);
  }),
  "a list's copy": plain((lease, cell) => {
    const list = cell.hold(new MediaBufferList([lease.retain()]));
    cell.keep(cell.hold(cell.hold(list.copy()).at(0).copy()));
  }),
  "a list's writable buffer": (lease, cell) => {
    const list = cell.hold(new MediaBufferList([lease]));
    const other = cell.hold(list.copy());
    cell.keep(other.writableAt(0));
  },
  append: appendedTo(packet),
  "append, memoryAt": appendedTo(packet, (buffer, cell) => void cell.keep(buffer.memoryAt(0))),
  "append, joined": appendedTo(packet, (buffer, cell) => void cell.hold(cell.keep(buffer.joined()!))),
  "append, copy": appendedTo(packet, (buffer, cell) => void cell.keep(cell.hold(buffer.copy()))),
  "append, the parent of a part": appendedTo(
    packet,
    (buffer, cell) => void cell.keep(cell.hold(buffer.copyRange(1, 8))),
  ),
  "append, the memory of a mapping": appendedTo(packet, (buffer, cell) => {
    const mapping = buffer.mapRange(0, 1, "read");
    cell.keep(mapping);
    mapping.unmap();
  }),
  "append, a mapping only": appendedTo(packet, (buffer, cell) => {
    const mapping = buffer.mapRange(0, 1, "write");
    mapping.unmap();
    cell.kept.add(mapping);
  }),
  "append, after a mapping": appendedTo(packet, (buffer, cell) => {
    if (buffer.memoryCount > 1) return;
    const mapping = buffer.map("write");
    cell.kept.add(mapping);
    mapping.unmap();
  }),
  "append to a buffer of one memory": appendedTo(() => packet(1)),
  "append to a full buffer": appendedTo(() => packet(16)),
  "append to a pool's buffer": appendedTo(() => BufferPool.create({ size: 16, max: 1 }).tryAcquire()!),
  "append twice": appendedTo(packet, (buffer, cell) => {
    cell.holders.length = 0;
    const outer = cell.hold(packet());
    outer.append(buffer);
    cell.keep(outer);
  }),
  "append, and a list": appendedTo(packet, (buffer, cell) => {
    const list = cell.hold(new MediaBufferList([buffer.retain()]));
    cell.keep(list, cell.hold(list.copy({ deep: true })));
  }),
  "append of a retained lease": (lease, cell) => {
    lease.retain();
    appendedTo(packet)(lease, cell);
    cell.hold(lease);
  },
  "memoryAt, then append": (lease, cell) => {
    cell.keep(lease.memoryAt(0));
    appendedTo(packet, () => {})(lease, cell);
  },
  "a refused append": plain((lease, cell) => {
    const target = cell.hold(packet(16));
    const mapping = target.mapRange(3, 1, "read");
    expect(code(() => target.append(lease))).toBe("ERR_MAPPED");
    cell.keep(target);
    mapping.unmap();
  }),
  "hooks of an allocator in append": inAllocator(
    appendedTo(() => packet(16)),
    false,
  ),
};
const CALLS: Record<string, Way> = {
  copy: (lease, cell) => void cell.hold(lease.copy({ deep: true })),
  copyRange: (lease, cell) => void cell.hold(lease.copyRange(1, 8)),
  "copyFrom, merged": (lease, cell) => cell.hold(packet(2)).copyFrom(lease, CopyFlags.MEMORY | CopyFlags.MERGE),
  "copyFrom, deep": (lease, cell) => cell.hold(packet(2)).copyFrom(lease, CopyFlags.MEMORY | CopyFlags.DEEP),
  joined: (lease, cell) => void cell.hold(lease.joined()!),
  memset: (lease, cell) => {
    cell.hold(lease.copy());
    lease.memset(0, 1);
  },
  resize: (lease, cell) => {
    cell.hold(lease.copy());
    lease.resize(1, 8);
  },
  "append of a packet": (lease, cell) => {
    const target = cell.hold(packet(16));
    const copy = lease.copy();
    if (code(() => target.append(copy)) !== "ok") cell.hold(copy);
  },
};
for (const [name, way] of Object.entries(CALLS)) {
  WAYS[`hooks of an allocator in ${name}`] = plain(inAllocator(way, false));
  WAYS[`hooks of an allocator that refuses ${name}`] = plain(inAllocator(way, true));
}
for (const hook of ["populate", "reset", "recycle", "dispose"]) WAYS[`a memory kept by ${hook}`] = inPoolHook(hook);
WAYS["a memory kept by the hooks of a meta"] = plain((lease, cell) => {
  hooks.meta = (...buffers) => {
    for (const buffer of buffers) if (buffer.memoryCount > 0) cell.keep(buffer);
  };
  lease.addMeta(watched, 0);
  cell.hold(lease.copy());
  cell.hold(packet(1)).copyFrom(lease);
});

/** Ends every lease; the pool that the next leases come from, or undefined: a new one. */
type End = (cell: Cell, lease: MediaBuffer) => void;

const releaseAll = (cell: Cell, reversed = false): void => {
  const holders = reversed ? cell.holders.toReversed() : cell.holders;
  for (const holder of holders) code(() => holder.release());
};

const ENDS: Record<string, End> = {
  release: (cell) => releaseAll(cell),
  "release, the last holder first": (cell) => releaseAll(cell, true),
  "pool.release": (cell, lease) => {
    if (lease.isLive) {
      code(() => cell.pool.release(lease));
      const at = cell.holders.indexOf(lease);
      if (at >= 0) cell.holders.splice(at, 1);
    }
    releaseAll(cell);
  },
  "a force close": (cell) => {
    cell.pool.close({ force: true });
    releaseAll(cell);
  },
  "a force close after the release": (cell) => {
    code(() => cell.holders[0]!.release());
    cell.pool.close({ force: true });
    releaseAll(cell);
  },
  "a drain": (cell) => {
    cell.pool.deactivate();
    releaseAll(cell);
  },
  "a drain that is canceled": (cell) => {
    cell.pool.deactivate();
    cell.pool.activate();
    releaseAll(cell);
  },
  "a flush": (cell) => {
    cell.pool.setFlushing(true);
    releaseAll(cell);
    cell.pool.setFlushing(false);
  },
  retire: (cell) => {
    cell.pool.retire();
    releaseAll(cell);
  },
  "recycle() that discards": (cell) => {
    hooks.discard = "recycle";
    releaseAll(cell);
  },
  "reset() that adds a memory": (cell) => {
    hooks.discard = "reset";
    releaseAll(cell);
  },
  "a memory more in the buffer": (cell, lease) => {
    if (lease.isLive) code(() => lease.append(systemAllocator().allocate(2)));
    releaseAll(cell);
  },
  "a transfer of its bytes": (cell, lease) => {
    // With several holders the last of them is not the one who hears of it: another error, in a later turn.
    if (lease.isLive && lease.memoryCount === 1 && lease.slot.memories[0]!.references === 1) {
      const mapping = lease.map("read");
      const { buffer } = mapping.bytes;
      mapping.unmap();
      // Of a realtime pool all leases share one ArrayBuffer.
      if (buffer.byteLength === SIZE) structuredClone(0, { transfer: [buffer as ArrayBuffer] });
    }
    releaseAll(cell);
  },
  "a release that a waiter gets": (cell) => {
    cell.pool.acquire().then(
      (next) => next.release(),
      () => {},
    );
    releaseAll(cell);
  },
};

const SOURCES: Record<string, () => Allocator> = {
  system: systemAllocator,
  recycling: () => new RecyclingAllocator(),
  "page pool": () => PagePool.create({ timer: false }).allocator,
  "realtime pool": () => RealtimePool.create({ totalSize: 1 << 14, lock: "off", prefault: false }).allocator,
};

const KINDS: Record<string, Pick<BufferPoolConfig, "revoke" | "zero">> = {
  plain: {},
  hooks: {},
  wiped: { revoke: true, zero: "release" },
};

/** Everything that a kept handle can try. */
function poke(handle: Memory | Mapping): void {
  if (handle instanceof Mapping) {
    code(() => handle.bytes.fill(0xee));
    code(() => handle.unmap());
    return;
  }
  for (const use of [
    () => {
      const mapping = handle.map("write");
      mapping.bytes.fill(0xee);
      mapping.unmap();
    },
    () => handle.lock("write").fill(0xee),
    () => handle.unlock("write"),
    () => handle.unlock("read"),
    () => handle.resize(1, 2),
  ])
    code(use);
}

async function walk(way: string, end: string, source: string, parts: number, kind: string): Promise<void> {
  const where = `${way}; ${end}; ${source}; ${parts} memories; ${kind}`;
  Object.assign(hooks, { pool: undefined, allocator: undefined, meta: undefined, discard: undefined });
  MatrixPool.parts = parts;
  const allocator = SOURCES[source]!();
  const config = { size: SIZE, max: 1, allocator, ...KINDS[kind] };
  const pool = kind === "hooks" ? HookedPool.create(config) : MatrixPool.create(config);
  const cell = new Cell(pool);
  // A hook that keeps what it gets while the slot is made has to be there before.
  if (way === "a memory kept by populate")
    hooks.pool = (hook, buffer) => hook === "populate" && cell.keep(buffer.memoryAt(0));
  const lease = pool.tryAcquire()!;
  WAYS[way]!(lease, cell);
  ENDS[end]!(cell, lease);
  // A waiter gives back what it got.
  await Promise.resolve();
  await Promise.resolve();
  expect(lease.isLive, `${where}: the lease is over`).toBe(false);
  hooks.pool = hooks.meta = hooks.discard = undefined;
  if (pool.isDraining) expect.fail(`${where}: the pool drains still`);
  const next = code(() => pool.activate()) === "ok" ? pool : MatrixPool.create(config);
  const leases = [next.tryAcquire()!, MatrixPool.create(config).tryAcquire()!];
  const mappings = leases.map((buffer) => buffer.mapRange(0, 1, "readwrite"));
  for (const { bytes } of mappings) bytes.fill(7);
  for (const handle of cell.kept) poke(handle);
  for (const [i, mapping] of mappings.entries()) {
    expect(
      mapping.bytes.every((byte) => byte === 7),
      `${where}: a kept handle writes into the next lease`,
    ).toBe(true);
    expect(mapping.memory.size, `${where}: a kept handle resizes the next lease`).toBe(SIZE / parts);
    expect(
      code(() => leases[i]!.release()),
      `${where}: a kept handle ends the next lease's mapping`,
    ).toBe("ERR_MAPPED");
    mapping.unmap();
    leases[i]!.release();
  }
  next.validate();
}

/**
 * Kinds of slot to walk each way and each end over, in one piece and in two: the fast lane has one kind in turn, and
 * pieces in turn, so that it meets each of them.
 */
const SLOTS = Object.keys(SOURCES)
  .flatMap((source) => Object.keys(KINDS).map((kind) => ({ source, kind })))
  .filter(({ source, kind }) => kind !== "wiped" || source !== "realtime pool");
const OVER = times(1, SLOTS.length);

describe("a handle of a lease's memory ends with the lease", () => {
  for (const [at, way] of Object.keys(WAYS).entries()) {
    it(`by every end: ${way}`, REPEATED, async () => {
      for (const [index, end] of Object.keys(ENDS).entries())
        for (let i = 0; i < OVER; i++) {
          const { source, kind } = SLOTS[(at + index + i) % SLOTS.length]!;
          const parts = way.includes("unlock") ? [1] : isFullLength ? [1, 2] : [1 + (((at >> 1) + index) % 2)];
          for (const part of parts) await walk(way, end, source, part, kind);
        }
    });
  }
});
