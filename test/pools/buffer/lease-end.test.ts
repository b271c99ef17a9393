/**
 * One way for a lease to end: whatever ends it, and whatever a hook does meanwhile, nobody gets two buffers in one
 * slot.
 */
import { describe, expect, it } from "vitest";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { type Meta, registerMeta } from "../../../src/media/meta/meta.ts";
import { Allocator, SystemAllocator, systemAllocator, wrapMemory } from "../../../src/memory/allocator.ts";
import type { Mapping, Memory } from "../../../src/memory/memory.ts";
import { Region } from "../../../src/memory/region.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import type { BufferPoolConfig } from "../../../src/pools/buffer/config.ts";
import { PagePool } from "../../../src/pools/page/page-pool.ts";
import { lateErrors } from "../../helpers/late-errors.ts";
import { code, openPool } from "./pools.ts";

type Hooks = Partial<Record<"populate" | "reset" | "dispose", ((buffer: MediaBuffer) => unknown) | undefined>> &
  Partial<Record<"start" | "stop" | "adjust", (() => unknown) | undefined>> & {
    recycle?: ((buffer: MediaBuffer) => unknown) | undefined;
  };

/** A pool whose hooks are given as functions. */
class HookPool extends BufferPool {
  readonly hooks: Hooks = {};
  protected override populate(buffer: MediaBuffer, config: never): void {
    super.populate(buffer, config);
    this.hooks.populate?.(buffer);
  }
  protected override reset(buffer: MediaBuffer): void {
    this.hooks.reset?.(buffer);
  }
  protected override recycle(buffer: MediaBuffer): boolean {
    return (this.hooks.recycle?.(buffer) ?? true) as boolean;
  }
  protected override dispose(buffer: MediaBuffer): void {
    this.hooks.dispose?.(buffer);
  }
  protected override start(): void {
    this.hooks.start?.();
    super.start();
  }
  protected override stop(): void {
    this.hooks.stop?.();
  }
  protected override adjust<T>(wanted: T): T {
    this.hooks.adjust?.();
    return wanted;
  }
}

function hookPool(hooks: Hooks, config: Partial<BufferPoolConfig> = {}): HookPool {
  const pool = new HookPool({ name: "hooked" });
  Object.assign(pool.hooks, hooks);
  pool.configure({ size: 64, max: 4, ...config });
  pool.activate();
  return pool;
}

/** The pool is whole, and two acquires get two slots. */
function expectWhole(pool: BufferPool): void {
  pool.validate();
  if (!pool.isActive) return;
  const [one, two] = [pool.tryAcquire(), pool.tryAcquire()];
  if (one !== undefined && two !== undefined) expect(one.slotIndex).not.toBe(two.slotIndex);
  pool.validate();
  one?.release();
  two?.release();
  pool.validate();
}

let serial = 0;
function metaWith(hooks: {
  init?: (meta: Meta, params: unknown, buffer: MediaBuffer) => boolean | undefined;
  free?: (meta: Meta, buffer: MediaBuffer) => void;
  clear?: (meta: Meta, buffer: MediaBuffer) => void;
  transform?: (target: MediaBuffer, meta: Meta, source: MediaBuffer) => boolean;
}) {
  return registerMeta<object, unknown>({ api: `lease-end-${serial++}`, ...hooks });
}

describe("release() inside a hook", () => {
  for (const hook of ["reset", "recycle", "dispose", "populate"] as const) {
    it(`of the pool, ${hook}, is refused with ERR_REENTRANT and gives nobody the slot twice`, () => {
      const answers: string[] = [];
      const act = (buffer: MediaBuffer): boolean => {
        answers.push(code(() => buffer.release()));
        answers.push(code(() => pool?.release(buffer)));
        return true;
      };
      let pool: HookPool | undefined;
      pool = hookPool({ [hook]: act });
      const buffer = pool.tryAcquire()!;
      buffer.release();
      if (hook === "dispose") pool.deactivate();
      expect(new Set(answers)).toEqual(new Set(["ERR_REENTRANT"]));
      expect(pool.outstanding).toBe(0);
      expectWhole(pool);
    });
  }

  it("in every reset does not overflow the stack, and the outer release hears of it", () => {
    const pool = hookPool({ reset: (buffer: MediaBuffer) => buffer.release() });
    expect(code(() => pool.tryAcquire()!.release())).toBe("ERR_REENTRANT");
    expect([pool.outstanding, pool.stats().discards]).toEqual([0, { hook: 1 }]);
    pool.validate();
  });

  for (const hook of ["free", "clear"] as const) {
    it(`of a meta, ${hook}, is refused with ERR_REENTRANT and gives nobody the slot twice`, () => {
      const answers: string[] = [];
      const type = metaWith({
        [hook]: (_meta: Meta, buffer: MediaBuffer) => answers.push(code(() => buffer.release())),
      });
      const pool = hookPool(hook === "clear" ? { populate: (buffer: MediaBuffer) => buffer.addMeta(type, 0) } : {});
      const buffer = pool.tryAcquire()!;
      if (hook === "free") buffer.addMeta(type, 0);
      buffer.release();
      expect(answers).toEqual(["ERR_REENTRANT"]);
      expectWhole(pool);
    });
  }

  it("onRelease of wrapped bytes finds the buffer released, and later buffers do not share a slot", () => {
    const answers: string[] = [];
    const b = MediaBuffer.wrap(new Uint8Array(8), { onRelease: () => answers.push(code(() => b.release())) });
    b.release();
    expect(answers).toEqual(["ERR_DOUBLE_RELEASE"]);
    const [one, two] = [MediaBuffer.allocate(8), MediaBuffer.allocate(8)];
    expect(one.slot).not.toBe(two.slot);
    one.fill(0, new Uint8Array(8).fill(1));
    expect([one.size, two.size, two.bytes[0]]).toEqual([8, 8, 0]);
    one.release();
    two.release();
  });

  it("free of a meta on a buffer without a pool is refused, and later buffers do not share a slot", () => {
    const answers: string[] = [];
    const extra = wrapMemory(new Uint8Array(4));
    const type = metaWith({
      free: (_meta, buffer) => {
        answers.push(
          code(() => buffer.release()),
          code(() => buffer.retain()),
          code(() => buffer.addMeta(type, 0)),
        );
        buffer.append(extra);
      },
    });
    const b = MediaBuffer.allocate(8);
    b.addMeta(type, 0);
    b.release();
    expect(answers).toEqual(["ERR_REENTRANT", "ERR_REENTRANT", "ERR_REENTRANT"]);
    expect(extra.refCount).toBe(0);
    const [one, two] = [new MediaBuffer(), new MediaBuffer()];
    expect([one.slot === two.slot, one.memoryCount, two.memoryCount]).toEqual([false, 0, 0]);
    one.release();
    two.release();
  });

  it("an onRelease that throws, a MillpondError too, surfaces later and the release succeeds", async () => {
    const b = MediaBuffer.wrap(new Uint8Array(8), { onRelease: () => b.release() });
    const late = await lateErrors(() => b.release());
    expect(b.isLive).toBe(false);
    expect(late).toHaveLength(1);
  });

  it("a chain of 20,000 onRelease callbacks, each releasing the next buffer, ends", () => {
    let freed = 0;
    let next: MediaBuffer | undefined;
    for (let i = 0; i < 20_000; i++) {
      const inner = next;
      next = MediaBuffer.wrap(new Uint8Array(1), {
        onRelease: () => {
          freed++;
          inner?.release();
        },
      });
    }
    next!.release();
    expect(freed).toBe(20_000);
  });

  it("a chain of metas, each releasing the next lease of the pool, ends without nesting hooks", () => {
    const type = metaWith({
      init: (meta, parent) => {
        Object.assign(meta, { parent });
        return true;
      },
      free: (meta) => (meta as Meta & { parent?: MediaBuffer }).parent?.release(),
    });
    let depth = 0;
    let deepest = 0;
    const pool = hookPool(
      {
        reset: () => {
          deepest = Math.max(deepest, ++depth);
          depth--;
        },
      },
      { max: 5000, size: 8 },
    );
    let next: MediaBuffer | undefined;
    for (let i = 0; i < 5000; i++) {
      const buffer = pool.tryAcquire()!;
      buffer.addMeta(type, next);
      next = buffer;
    }
    next!.release();
    expect([pool.outstanding, pool.free, deepest]).toEqual([0, 5000, 1]);
    pool.validate();
  });
});

describe("revoke and zero at every end of a lease", () => {
  /** A pool over a PagePool whose one block the next owner gets. */
  function over(hooks: Hooks = {}): { pages: PagePool; pool: HookPool } {
    const pages = PagePool.create({ name: "pages", ageOut: Number.POSITIVE_INFINITY, timer: false } as never);
    const pool = hookPool(hooks, { size: 4096, max: 1, allocator: pages.allocator, revoke: true, zero: "release" });
    return { pages, pool };
  }
  const ends: Record<string, (pool: HookPool, buffer: MediaBuffer) => void> = {
    "a release": (_pool, buffer) => buffer.release(),
    "a drain": (pool, buffer) => {
      pool.deactivate();
      buffer.release();
    },
    "retire()": (pool, buffer) => {
      pool.retire();
      buffer.release();
    },
    "close({ force })": (pool) => pool.close({ force: true }),
    "a discard because its memories changed": (_pool, buffer) => {
      buffer.append(systemAllocator().allocate(8));
      buffer.release();
    },
    "recycle() => false": (pool, buffer) => {
      pool.hooks.recycle = () => false;
      buffer.release();
    },
    "a reset() that throws": (pool, buffer) => {
      pool.hooks.reset = () => {
        throw new Error("no");
      };
      expect(() => buffer.release()).toThrow("no");
      pool.hooks.reset = undefined;
    },
    "releasing the last copy": (_pool, buffer) => {
      const copy = buffer.copy();
      buffer.release();
      copy.release();
    },
    "releasing the last copy after close({ force })": (pool, buffer) => {
      const copy = buffer.copy();
      pool.close({ force: true });
      copy.release();
    },
    "releasing the last sub-memory after retire()": (pool, buffer) => {
      const part = buffer.memoryAt(0).share(8, 8);
      pool.retire();
      buffer.release();
      part.release();
    },
    "taking its memory out": (_pool, buffer) => {
      buffer.remove(0);
      buffer.release();
    },
    "keeping its memory beyond the lease": (_pool, buffer) => {
      const memory = buffer.memoryAt(0).retain();
      buffer.remove(0);
      buffer.release();
      memory.release();
    },
    "unmapping after close({ force })": (pool, buffer) => {
      const mapping = buffer.map("readwrite");
      pool.close({ force: true });
      expect(mapping.bytes.length).toBe(4096);
      mapping.unmap();
    },
  };
  for (const [how, end] of Object.entries(ends)) {
    it(`${how} zeroes the bytes and detaches the views before the pages go on`, () => {
      const { pages, pool } = over();
      const buffer = pool.tryAcquire()!;
      const view = buffer.bytes;
      view.fill(7);
      end(pool, buffer);
      expect(view.length).toBe(0);
      if (pool.isActive) {
        const next = pool.tryAcquire()!;
        expect(next.bytes.every((byte) => byte === 0)).toBe(true);
        next.release();
        pool.close({ force: true });
      }
      expect(pages.allocator.stats().liveMemories).toBe(0);
      const owner = pages.allocator.allocate(4096);
      const mapping = owner.map("read");
      expect(mapping.bytes.every((byte) => byte === 0)).toBe(true);
      mapping.unmap();
      owner.release();
      pages.trim();
    });
  }

  it("pages whose views were revoked go back to their source whole when the page pool lets them go", () => {
    const freed: number[] = [];
    const source = new (class extends Allocator {
      constructor() {
        super("source");
      }
      protected override allocateRegion(size: number): Region {
        return new Region(new Uint8Array(size));
      }
      protected override freeRegion(region: Region): void {
        freed.push(region.bytes.length);
      }
    })();
    const pages = PagePool.create({ source, timer: false } as never);
    const pool = hookPool({}, { size: 4096, max: 1, allocator: pages.allocator, revoke: true });
    pool.tryAcquire()!.release();
    pool.close();
    pages.trim();
    expect(freed).toEqual([pages.allocator.allocate(1).maxSize]);
  });
});

describe("what a hook leaves is judged", () => {
  for (const hook of ["reset", "recycle"] as const) {
    it(`a mapping made in ${hook} does not write into the next lease, and its memory is freed when it ends`, () => {
      const allocator = new SystemAllocator("judged");
      let mapping: Mapping | undefined;
      const pool = hookPool(
        {
          [hook]: (buffer: MediaBuffer) => {
            mapping ??= buffer.map("readwrite");
            return true;
          },
        },
        { max: 1, allocator },
      );
      pool.tryAcquire()!.release();
      const next = pool.tryAcquire()!;
      mapping!.bytes.fill(9);
      expect(next.bytes.every((byte) => byte === 0)).toBe(true);
      expect(allocator.stats().liveMemories).toBe(2);
      mapping!.unmap();
      expect(allocator.stats().liveMemories).toBe(1);
      next.release();
      expectWhole(pool);
    });

    const changes: Record<string, (buffer: MediaBuffer, kept: (MediaBuffer | Memory)[]) => void> = {
      append: (buffer) => buffer.append(systemAllocator().allocate(10)),
      resize: (buffer) => buffer.resize(0, 4),
      remove: (buffer) => buffer.remove(),
      "a copy that is kept": (buffer, kept) => kept.push(buffer.copy()),
      "a region that is kept": (buffer, kept) => kept.push(buffer.copyRange(0, 4)),
      "a memory that is kept": (buffer, kept) => kept.push(buffer.memoryAt(0).retain()),
      "a part that is kept": (buffer, kept) => kept.push(buffer.memoryAt(0).share(0, 4)),
      "a lock that is kept": (buffer) => void buffer.lock("read"),
      times: (buffer) => {
        buffer.pts = 5n;
        buffer.flags = 3;
      },
    };
    for (const [what, change] of Object.entries(changes)) {
      it(`${what} in ${hook} gives the next holder a fresh buffer of full size`, () => {
        const kept: (MediaBuffer | Memory)[] = [];
        let on = true;
        const pool = hookPool({
          [hook]: (buffer: MediaBuffer) => {
            if (on) change(buffer, kept);
            return true;
          },
        });
        pool.tryAcquire()!.release();
        on = false;
        pool.validate();
        const next = pool.tryAcquire()!;
        expect([next.size, next.memoryCount, next.isWritable, next.pts, next.flags]).toEqual([
          64,
          1,
          true,
          undefined,
          0,
        ]);
        next.bytes.fill(1);
        for (const one of kept) one.release();
        next.release();
        expectWhole(pool);
      });
    }

    it(`a transfer in ${hook} frees the buffer, and the releaser hears of it`, () => {
      let on = true;
      const pool = hookPool({
        [hook]: (buffer: MediaBuffer) => {
          if (on) structuredClone(buffer.bytes.buffer, { transfer: [buffer.bytes.buffer as ArrayBuffer] });
          return true;
        },
      });
      expect(code(() => pool.tryAcquire()!.release())).toBe("ERR_DETACHED");
      on = false;
      const next = pool.tryAcquire()!;
      expect(next.bytes.length).toBe(64);
      next.release();
      expectWhole(pool);
    });

    it(`the handle that ${hook} got is void when it has returned, also in a later turn`, async () => {
      const answers: string[] = [];
      const pool = hookPool(
        {
          [hook]: async (buffer: MediaBuffer) => {
            await Promise.resolve();
            answers.push(
              code(() => buffer.release()),
              code(() => buffer.bytes),
              code(() => buffer.retain()),
            );
          },
        },
        { max: 1 },
      );
      pool.tryAcquire()!.release();
      const next = pool.tryAcquire()!;
      await Promise.resolve();
      expect(answers).toEqual(["ERR_DOUBLE_RELEASE", "ERR_USE_AFTER_RELEASE", "ERR_USE_AFTER_RELEASE"]);
      expect(next.isLive).toBe(true);
      pool.hooks[hook] = undefined;
      next.release();
    });
  }

  it("the memory of a mapping that a holder kept does not reach the next lease's bytes", () => {
    const pool = openPool({ max: 1 });
    const buffer = pool.tryAcquire()!;
    const mapping = buffer.map("read");
    const { memory } = mapping;
    mapping.unmap();
    expect(code(() => mapping.memory)).toBe("ERR_USE_AFTER_RELEASE");
    buffer.release();
    const next = pool.tryAcquire()!;
    expect(code(() => memory.map("write"))).toBe("ERR_USE_AFTER_RELEASE");
    next.release();
    expectWhole(pool);
  });

  it("a populate that keeps a mapping or a copy of its buffer is refused", () => {
    for (const keep of [
      (b: MediaBuffer) => b.map("write"),
      (b: MediaBuffer) => b.copy(),
      (b: MediaBuffer) => b.memoryAt(0).retain(),
    ]) {
      const pool = hookPool({ populate: (buffer: MediaBuffer) => void keep(buffer) });
      expect(code(() => pool.tryAcquire())).toBe("ERR_ALLOCATION_FAILED");
      expect([pool.stats().count, pool.outstanding]).toEqual([0, 0]);
    }
  });

  it("reset that deactivates, reconfigures or closes its pool is refused, and 64 bytes stay 64 bytes", () => {
    const answers: string[] = [];
    const pool = hookPool({
      reset: () => {
        answers.push(
          code(() => pool.deactivate()),
          code(() => pool.configure({ size: 128, max: 4 })),
        );
        answers.push(
          code(() => pool.close({ force: true })),
          code(() => pool.retire()),
          code(() => pool.close()),
        );
        answers.push(
          code(() => pool.activate()),
          code(() => pool.setFlushing(true)),
          code(() => pool.tryAcquire()),
        );
      },
    });
    pool.tryAcquire()!.release();
    expect(answers).toEqual(new Array(8).fill("ERR_REENTRANT"));
    expect([pool.isActive, pool.config?.size, pool.outstanding, pool.free]).toEqual([true, 64, 0, 1]);
    expectWhole(pool);
  });
});

describe("metas", () => {
  it("an init that releases its buffer puts the meta on nobody's buffer", () => {
    let freed = 0;
    const type = metaWith({
      init: (_meta, _params, buffer) => {
        buffer.release();
        return true;
      },
      free: () => {
        freed++;
      },
    });
    const pool = openPool({ max: 1 });
    expect(code(() => pool.tryAcquire()!.addMeta(type, 0))).toBe("ERR_USE_AFTER_RELEASE");
    const next = pool.tryAcquire()!;
    expect([next.metas().length, freed]).toEqual([0, 1]);
    next.release();
    expectWhole(pool);
  });

  it("an init that releases and acquires again does not find the meta on the new lease", () => {
    const pool = openPool({ max: 1 });
    let again: MediaBuffer | undefined;
    const type = metaWith({
      init: (_meta, _params, buffer) => {
        buffer.release();
        again = pool.tryAcquire();
        return true;
      },
    });
    expect(code(() => pool.tryAcquire()!.addMeta(type, 0))).toBe("ERR_USE_AFTER_RELEASE");
    expect(again!.metas()).toEqual([]);
    again!.release();
  });

  it("an init that shares its buffer is refused, because nobody may change it then", () => {
    const type = metaWith({
      init: (_meta, _params, buffer) => {
        buffer.retain();
        return true;
      },
    });
    const pool = openPool();
    const buffer = pool.tryAcquire()!;
    expect(code(() => buffer.addMeta(type, 0))).toBe("ERR_NOT_WRITABLE");
    expect(buffer.metas()).toEqual([]);
    buffer.release();
    buffer.release();
    expectWhole(pool);
  });

  it("a transform that releases the target is refused, and the copy is the caller's", () => {
    const answers: string[] = [];
    let other: MediaBuffer | undefined;
    const type = metaWith({
      transform: (target) => {
        answers.push(code(() => target.release()));
        other = MediaBuffer.allocate(4);
        return true;
      },
    });
    const pool = openPool();
    const buffer = pool.tryAcquire()!;
    buffer.addMeta(type, 0);
    const copy = buffer.copy();
    expect(answers).toEqual(["ERR_REENTRANT"]);
    expect([copy.isLive, copy.size, copy.slot === other!.slot]).toEqual([true, 64, false]);
    copy.release();
    other!.release();
    buffer.release();
    expectWhole(pool);
  });

  it("a transform that releases the source is refused, and both buffers live on", () => {
    const answers: string[] = [];
    const type = metaWith({
      transform: (_target, _meta, source) => {
        answers.push(code(() => source.release()));
        return true;
      },
    });
    const pool = openPool();
    const [buffer, target] = [pool.tryAcquire()!, pool.tryAcquire()!];
    buffer.addMeta(type, 0);
    buffer.copy().release();
    target.copyFrom(buffer);
    expect(answers).toEqual(["ERR_REENTRANT", "ERR_REENTRANT"]);
    expect([buffer.isLive, target.isLive]).toEqual([true, true]);
    buffer.release();
    target.release();
    expectWhole(pool);
  });
});

describe("a source that calls back into the pool it serves", () => {
  class CallingBack extends Allocator {
    call: (() => void) | undefined;
    constructor() {
      super("calling back");
    }
    protected override allocateRegion(size: number): Region {
      this.call?.();
      return new Region(new Uint8Array(size));
    }
    protected override freeRegion(): void {
      this.call?.();
    }
  }

  it("gets ERR_REENTRANT, and a pool with max 1 leases one", () => {
    const allocator = new CallingBack();
    const pool = openPool({ max: 1, allocator });
    const got: unknown[] = [];
    allocator.call = () => got.push(code(() => got.push(pool.tryAcquire())));
    const buffer = pool.tryAcquire()!;
    expect(got).toEqual(["ERR_REENTRANT"]);
    expect([pool.outstanding, pool.stats().count]).toEqual([1, 1]);
    buffer.release();
    allocator.call = undefined;
    expectWhole(pool);
  });

  it("that does not catch ERR_REENTRANT makes the acquire fail with it, and nothing has changed", async () => {
    const allocator = new CallingBack();
    const pool = openPool({ max: 1, allocator });
    allocator.call = () => pool.tryAcquire();
    expect(code(() => pool.tryAcquire())).toBe("ERR_REENTRANT");
    await expect(pool.acquire()).rejects.toMatchObject({ code: "ERR_REENTRANT" });
    expect([pool.outstanding, pool.stats().count]).toEqual([0, 0]);
    allocator.call = undefined;
    expectWhole(pool);
  });

  it("activate() re-entered makes `min` buffers, not one more", () => {
    const allocator = new CallingBack();
    const pool = new BufferPool({ name: "twice" });
    pool.configure({ size: 64, min: 2, max: 2, allocator });
    const answers: string[] = [];
    allocator.call = () => answers.push(code(() => pool.activate()));
    pool.activate();
    expect(answers).toEqual(["ERR_REENTRANT", "ERR_REENTRANT"]);
    expect([pool.stats().count, pool.free]).toEqual([2, 2]);
    allocator.call = undefined;
    expectWhole(pool);
  });

  it("configure() re-entered changes nothing: every buffer has the size of its pool", () => {
    const allocator = new CallingBack();
    const pool = new BufferPool({ name: "resized" });
    pool.configure({ size: 64, min: 1, max: 2, allocator });
    const answers: string[] = [];
    allocator.call = () => answers.push(code(() => pool.configure({ size: 128, max: 2 })));
    pool.activate();
    expect(answers).toEqual(["ERR_REENTRANT"]);
    const buffer = pool.tryAcquire()!;
    expect([pool.config?.size, buffer.size]).toEqual([64, 64]);
    buffer.release();
    allocator.call = undefined;
  });

  it("configure() called by adjust() is refused", () => {
    const answers: string[] = [];
    const pool = hookPool({});
    pool.deactivate();
    pool.hooks.adjust = () => answers.push(code(() => pool.configure({ size: 32, max: 1 })));
    pool.configure({ size: 16, max: 1 });
    expect([answers, pool.config?.size]).toEqual([["ERR_REENTRANT"], 16]);
  });

  it("may give back another lease: it is returned when the hook is done", () => {
    const allocator = new CallingBack();
    const pool = openPool({ max: 2, allocator });
    const first = pool.tryAcquire()!;
    let during = -1;
    allocator.call = () => {
      first.release();
      during = pool.outstanding;
    };
    const second = pool.tryAcquire()!;
    allocator.call = undefined;
    expect([second.slotIndex === first.slotIndex, pool.outstanding, pool.free]).toEqual([false, 1, 1]);
    expect(during).toBeGreaterThanOrEqual(0);
    second.release();
    expectWhole(pool);
  });

  it("two pools whose hooks call each other answer ERR_REENTRANT to each other, and both stay whole", () => {
    const answers: string[] = [];
    const a: HookPool = hookPool({ reset: () => answers.push(code(() => b.tryAcquire()!.release())) });
    const b: HookPool = hookPool({ reset: () => answers.push(code(() => a.tryAcquire()!.release())) });
    a.tryAcquire()!.release();
    expect(answers).toEqual(["ERR_REENTRANT", "ok"]);
    a.hooks.reset = undefined;
    b.hooks.reset = undefined;
    expectWhole(a);
    expectWhole(b);
  });
});

describe("life", () => {
  it("reactivating while draining does not run start again, and makes `min` buffers", () => {
    const ran: string[] = [];
    const pool = hookPool({ start: () => ran.push("start"), stop: () => ran.push("stop") }, { min: 2 });
    const buffer = pool.tryAcquire()!;
    pool.deactivate();
    expect(pool.isDraining).toBe(true);
    pool.activate();
    expect([ran, pool.stats().count, pool.free]).toEqual([["start"], 2, 1]);
    buffer.release();
    pool.deactivate();
    expect(ran).toEqual(["start", "stop"]);
    pool.activate();
    expect(ran).toEqual(["start", "stop", "start"]);
  });

  it("a pool is stopped before a drained listener can activate it again, also by force", () => {
    const ran: string[] = [];
    const pool = hookPool({ start: () => ran.push("start"), stop: () => ran.push("stop") });
    const off = pool.on("drained", () => {
      ran.push("drained");
      pool.activate();
    });
    pool.deactivate();
    expect([ran, pool.isActive]).toEqual([["start", "stop", "drained", "start"], true]);
    off();
    pool.tryAcquire();
    pool.close({ force: true });
    expect(ran.slice(4)).toEqual(["stop"]);
  });

  it("a dispose that releases another lease while the pool is closed by force finds it taken back", () => {
    const leases: MediaBuffer[] = [];
    const answers: string[] = [];
    const pool = hookPool({
      dispose: () => {
        for (const lease of leases) answers.push(code(() => lease.release()));
      },
    });
    leases.push(pool.tryAcquire()!, pool.tryAcquire()!, pool.tryAcquire()!);
    pool.close({ force: true });
    expect(new Set(answers)).toEqual(new Set(["ERR_POOL_DEAD"]));
    expect([pool.outstanding, pool.stats().count, pool.stats().discards]).toEqual([0, 0, { closed: 3 }]);
    pool.validate();
  });
});
