/**
 * Memory over allocators that misbehave: hooks that throw, answer late, or answer nonsense; regions that change under
 * it.
 */
import { describe, expect, it } from "vitest";
import { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { Allocator, SystemAllocator, wrapMemory } from "../../src/memory/allocator.ts";
import type { MapMode } from "../../src/memory/memory.ts";
import { opaqueRegion, Region } from "../../src/memory/region.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { MillpondError } from "../../src/util/errors.ts";
import { lateErrors } from "../helpers/late-errors.ts";
import { code } from "../pools/buffer/pools.ts";

type Hook = "map" | "map write" | "unmap" | "free" | "none";

/** Opaque memory that logs its hooks, fails in one of them, and maps asynchronously only when it is told to. */
class Device extends Allocator {
  readonly log: string[] = [];
  fails: Hook = "none";
  readonly #waits: { resolve(): void; reject(error: unknown): void }[] = [];

  protected override allocateRegion(size: number): Region {
    return opaqueRegion(size, new Uint8Array(size));
  }
  protected override freeRegion(): void {
    this.#say("free", "free");
  }
  protected override mapRegion(region: Region, mode: MapMode): Uint8Array {
    this.#say("map", mode === "write" ? "map write" : "map");
    return region.handle as Uint8Array;
  }
  protected override async mapRegionAsync(region: Region): Promise<Uint8Array> {
    this.log.push("wait");
    await new Promise<void>((resolve, reject) => this.#waits.push({ resolve, reject }));
    return region.handle as Uint8Array;
  }
  protected override unmapRegion(): void {
    this.#say("unmap", "unmap");
  }
  answer(error?: unknown): void {
    for (const wait of this.#waits.splice(0)) error === undefined ? wait.resolve() : wait.reject(error);
  }
  #say(what: string, hook: Hook): void {
    this.log.push(what);
    if (this.fails === hook || (this.fails === "map" && what === "map")) throw new Error(`${what} failed`);
  }
}

const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

describe("hooks that throw", () => {
  it("a map hook that throws is ERR_NOT_MAPPABLE with the cause, and no lock is left", () => {
    const device = new Device("device");
    const memory = device.allocate(4);
    device.fails = "map";
    expect(() => memory.map("read")).toThrow(
      expect.objectContaining({ code: "ERR_NOT_MAPPABLE", cause: new Error("map failed") }),
    );
    expect([memory.isMapped, code(() => memory.release()), device.stats().liveMemories]).toEqual([false, "ok", 0]);
  });

  it.each([
    ["map", "unmap"],
    ["lock", "unlock"],
  ] as const)("unmap, ended by %s/%s: the caller hears of it, and the lock does not outlive it", (begin, _end) => {
    const device = new Device("device");
    const memory = device.allocate(4);
    const mapping = begin === "map" ? memory.map("read") : undefined;
    if (mapping === undefined) memory.lock("read");
    device.fails = "unmap";
    expect(() => (mapping === undefined ? memory.unlock("read") : mapping.unmap())).toThrow("unmap failed");
    expect([memory.isMapped, code(() => memory.release()), device.stats().liveMemories]).toEqual([false, "ok", 0]);
  });

  it("a free hook, or the callback of wrapped bytes, that throws lets the release finish, and the error surfaces after it", async () => {
    const [device, system] = [new Device("device"), new SystemAllocator("system")];
    device.fails = "free";
    const late = await lateErrors(() => {
      const buffer = new MediaBuffer();
      buffer.append(system.allocate(1));
      buffer.append(device.allocate(1));
      buffer.append(
        wrapMemory(new Uint8Array(1), {
          onRelease: () => {
            throw new Error("callback failed");
          },
        }),
      );
      buffer.release();
      expect([buffer.isLive, system.stats().liveMemories, device.stats().liveMemories]).toEqual([false, 0, 0]);
    });
    expect(late).toEqual(["callback failed", "free failed"]);
  });

  it("a MillpondError of free is the allocator's word to the one who released last, when everything else is gone too", () => {
    class Careful extends SystemAllocator {
      protected override freeRegion(): void {
        throw new MillpondError("ERR_DETACHED", "the bytes did not come back");
      }
    }
    const [careful, system] = [new Careful("careful"), new SystemAllocator("system")];
    expect(code(() => careful.allocate(1).release())).toBe("ERR_DETACHED");
    const buffer = new MediaBuffer();
    for (const allocator of [system, careful, system, careful]) buffer.append(allocator.allocate(1));
    expect(code(() => buffer.release())).toBe("ERR_DETACHED");
    expect([buffer.isLive, system.stats().liveMemories, careful.stats().liveMemories]).toEqual([false, 0, 0]);
    expect(code(() => buffer.release())).toBe("ERR_DOUBLE_RELEASE");
  });

  it("bytes that were lost are reported once through two pools, and both go on", async () => {
    const pages = PagePool.create();
    const pool = new BufferPool();
    pool.configure({ size: 4096, max: 1, allocator: pages.allocator });
    pool.activate();
    const late = await lateErrors(() => {
      const buffer = pool.tryAcquire()!;
      const { buffer: bytes } = buffer.memoryAt(0).region.bytes;
      structuredClone(bytes, { transfer: [bytes as ArrayBuffer] });
      expect(code(() => buffer.release())).toBe("ERR_DETACHED");
    });
    expect([late, pool.stats().discards, pages.stats().detached, pages.stats().liveMemories]).toEqual([
      [],
      { detached: 1 },
      1,
      0,
    ]);
    pool.validate();
    pool.tryAcquire()!.release();
  });

  it("a free hook that throws for a region that was refused leaves the refusal as the error, and its own surfaces after it", async () => {
    class Small extends Device {
      protected override allocateRegion(): Region {
        return opaqueRegion(1, undefined);
      }
    }
    const small = new Small("small");
    small.fails = "free";
    const late = await lateErrors(() => expect(code(() => small.allocate(4))).toBe("ERR_ALLOCATION_FAILED"));
    expect([late, small.stats().liveMemories]).toEqual([["free failed"], 0]);
  });

  it("a copy whose target cannot be mapped gives the target back", () => {
    const device = new Device("device");
    const memory = device.allocate(4);
    device.fails = "map write";
    expect(code(() => memory.copy())).toBe("ERR_NOT_MAPPABLE");
    expect([device.stats().liveMemories, memory.isMapped]).toEqual([1, false]);
  });
});

describe("hooks that answer nonsense", () => {
  it.each([
    ["null", null],
    ["a number", 5],
    ["bytes instead of a region", new Uint8Array(64)],
    ["an object", {}],
  ])("allocateRegion gives %s: ERR_ALLOCATION_FAILED", (_what, answer) => {
    class Nonsense extends SystemAllocator {
      protected override allocateRegion(): Region {
        return answer as never;
      }
    }
    const allocator = new Nonsense("nonsense");
    expect(code(() => allocator.allocate(4))).toBe("ERR_ALLOCATION_FAILED");
    expect(allocator.stats()).toMatchObject({ liveMemories: 0, failures: 1 });
  });

  it.each([
    ["null", null],
    ["too few bytes", new Uint8Array(3)],
    ["nothing", undefined],
  ])("mapRegion gives %s: ERR_NOT_MAPPABLE, no lock is left", (_what, answer) => {
    class Nonsense extends Device {
      protected override mapRegion(): Uint8Array {
        return answer as never;
      }
    }
    const memory = new Nonsense("nonsense").allocate(4);
    expect([code(() => memory.map("read")), memory.isMapped]).toEqual(["ERR_NOT_MAPPABLE", false]);
  });

  it.each([
    ["options null", () => new SystemAllocator("x") && new Device("x", null as never), "ERR_INVALID_ARG_TYPE"],
    ["memoryType no string", () => new Device("x", { memoryType: 3 as never }), "ERR_INVALID_ARG_TYPE"],
    ["flags no number", () => new Device("x", { flags: "1" as never }), "ERR_INVALID_ARG_TYPE"],
    ["flags negative", () => new Device("x", { flags: -1 }), "ERR_OUT_OF_RANGE"],
    ["no name", () => new Device(""), "ERR_INVALID_ARG_TYPE"],
  ])("an allocator made with %s is refused", (_what, make, wanted) => expect(code(make)).toBe(wanted));
});

describe("lock and unlock", () => {
  it("an allocator of opaque memory hears the end of a lock", () => {
    const device = new Device("device");
    const memory = device.allocate(4);
    memory.lock("read");
    memory.unlock("read");
    expect(device.log).toEqual(["map", "unmap"]);
    memory.release();
  });

  it("unlock() ends what lock() took and no mapping, in any order of both", () => {
    const memory = wrapMemory(new Uint8Array(4));
    const mapping = memory.map("read");
    expect([code(() => memory.unlock("read")), memory.isMapped]).toEqual(["ERR_OUT_OF_RANGE", true]);
    memory.lock("read");
    mapping.unmap();
    expect(memory.isMapped).toBe(true);
    memory.unlock("read");
    memory.lock("readwrite");
    const [both, write] = [memory.map("readwrite"), memory.map("write")];
    expect(code(() => memory.unlock("write"))).toBe("ERR_OUT_OF_RANGE");
    memory.unlock("readwrite");
    expect(code(() => memory.unlock("readwrite"))).toBe("ERR_OUT_OF_RANGE");
    both.unmap();
    expect([write.isLive, memory.isMapped]).toEqual([true, true]);
    write.unmap();
    expect(memory.isMapped).toBe(false);
    for (const mode of ["read", "write", "readwrite"] as const) memory.map(mode).unmap();
    memory.release();
  });
});

describe("mapping that takes time", () => {
  it("unlock() ends neither a mapping that opens nor one that took time: the region is closed once, after it was opened", async () => {
    const device = new Device("device");
    const memory = device.allocate(4);
    const later = memory.mapAsync("read");
    expect([code(() => memory.unlock("read")), device.log]).toEqual(["ERR_OUT_OF_RANGE", ["wait"]]);
    memory.release();
    device.answer();
    const mapping = await later;
    expect(code(() => memory.unlock("read"))).toBe("ERR_OUT_OF_RANGE");
    mapping.unmap();
    expect([device.log, device.stats().liveMemories]).toEqual([["wait", "unmap", "free"], 0]);
  });

  it("a memory that is released while it waits keeps its region until the mapping ends", async () => {
    const device = new Device("device");
    const memory = device.allocate(4);
    const later = memory.mapAsync("read");
    memory.release();
    expect(code(() => memory.release())).toBe("ERR_MAPPED");
    device.answer();
    const mapping = await later;
    expect([mapping.bytes.length, device.log]).toEqual([4, ["wait"]]);
    mapping.unmap();
    expect([device.log, device.stats().liveMemories]).toEqual([["wait", "unmap", "free"], 0]);
  });

  it("a memory that is released while it waits, with another live mapping, keeps its region until both have ended, in any order", async () => {
    for (const first of [0, 1]) {
      const device = new Device("device");
      const memory = device.allocate(4);
      const now = memory.map("read");
      const later = memory.mapAsync("read");
      memory.release();
      device.answer();
      const both = [now, await later];
      both[first]!.unmap();
      expect(device.log).not.toContain("free");
      both[1 - first]!.unmap();
      expect([device.log.at(-1), device.stats().liveMemories]).toEqual(["free", 0]);
    }
  });

  it("a failure ends lock and reference, with the cause, and a memory that was released meanwhile is freed then", async () => {
    const device = new Device("device");
    const memory = device.allocate(4);
    const later = memory.mapAsync("read");
    const check = expect(later).rejects.toMatchObject({ code: "ERR_NOT_MAPPABLE", cause: new Error("lost") });
    memory.release();
    device.answer(new Error("lost"));
    await check;
    expect([device.log, device.stats().liveMemories]).toEqual([["wait", "free"], 0]);
  });

  it("an abort ends the wait at once; what comes later is given back, and only then is the memory free", async () => {
    const device = new Device("device");
    const memory = device.allocate(4);
    const stop = new AbortController();
    const later = memory.mapAsync("read", { signal: stop.signal });
    stop.abort("enough");
    await expect(later).rejects.toBe("enough");
    expect([memory.isMapped, code(() => memory.map("write"))]).toEqual([true, "ERR_MAPPED"]);
    device.answer();
    await soon();
    expect([memory.isMapped, memory.refCount, device.log]).toEqual([false, 1, ["wait", "unmap"]]);
    const again = memory.mapAsync("read", { signal: new AbortController().signal });
    device.answer();
    (await again).unmap();
    await expect(memory.mapAsync("read", { signal: {} as never })).rejects.toMatchObject({
      code: "ERR_INVALID_ARG_TYPE",
    });
    expect([memory.isMapped, memory.refCount]).toEqual([false, 1]);
    memory.release();
  });

  it("a signal whose addEventListener throws ends the wait with that; the bytes that come later are given back", async () => {
    const device = new Device("device");
    const memory = device.allocate(4);
    const broken = new Error("no listeners");
    const { signal } = new AbortController();
    signal.addEventListener = () => {
      throw broken;
    };
    await expect(memory.mapAsync("read", { signal })).rejects.toBe(broken);
    expect(memory.isMapped).toBe(true);
    device.answer();
    await soon();
    expect([memory.isMapped, memory.refCount, device.log]).toEqual([false, 1, ["wait", "unmap"]]);
    memory.release();
  });

  it.each([
    ["succeeds", undefined],
    ["fails", new Error("lost")],
  ])("a pool's buffer that is released while it waits comes back when the wait %s", async (_how, error) => {
    const device = new Device("device");
    const pool = new BufferPool();
    pool.configure({ size: 4, max: 1, allocator: device, zero: "never" });
    pool.activate();
    const buffer = pool.tryAcquire()!;
    const later = buffer.memoryAt(0).mapAsync("read");
    const done = later.then(
      (mapping) => mapping.unmap(),
      () => {},
    );
    buffer.release();
    expect([pool.free, pool.stats().awaitingMemory]).toEqual([0, 1]);
    device.answer(error);
    await done;
    await soon();
    expect([pool.free, pool.stats().awaitingMemory]).toEqual([1, 0]);
    pool.validate();
  });
});

describe("regions that change under a memory", () => {
  it("a region at an odd offset is accepted where no alignment forbids it, and refused where one does", () => {
    class Odd extends SystemAllocator {
      protected override allocateRegion(size: number): Region {
        return new Region(new Uint8Array(new ArrayBuffer(size + 16), 5, size));
      }
    }
    const odd = new Odd("odd");
    const memory = odd.allocate(9, { align: 1, prefix: 2 });
    const mapping = memory.map("write");
    mapping.bytes.fill(1);
    mapping.unmap();
    expect([memory.region.bytes.byteOffset, [...memory.region.bytes]]).toEqual([5, [0, 0, ...Array(9).fill(1)]]);
    expect(code(() => odd.allocate(9))).toBe("ERR_ALLOCATION_FAILED");
  });

  it("of a larger region than asked for only the valid part is given out, and maxSize tells the rest", () => {
    class Large extends SystemAllocator {
      protected override allocateRegion(size: number): Region {
        return new Region(new Uint8Array(size + 100));
      }
    }
    const memory = new Large("large").allocate(8, { prefix: 4 });
    expect([memory.maxSize, memory.size, memory.map("read").bytes.length]).toEqual([112, 8, 8]);
  });

  it("a resizable ArrayBuffer may grow; shrunk below the valid part it is ERR_DETACHED, until it has grown back", () => {
    const buffer = new ArrayBuffer(8, { maxByteLength: 32 });
    const memory = wrapMemory(buffer);
    buffer.resize(32);
    expect(memory.map("readwrite").bytes.length).toBe(8);
    buffer.resize(4);
    const again = wrapMemory(buffer);
    expect([code(() => memory.map("read")), again.size]).toEqual(["ERR_DETACHED", 4]);
    buffer.resize(16);
    expect(memory.map("read").bytes.length).toBe(8);
  });

  it("a memory over a growable SharedArrayBuffer keeps the length that it had", () => {
    const shared = new SharedArrayBuffer(8, { maxByteLength: 32 });
    const memory = wrapMemory(shared);
    shared.grow(32);
    expect([memory.size, memory.map("readwrite").bytes.length, memory.copy().map("read").bytes.length]).toEqual([
      8, 8, 8,
    ]);
  });

  it.each(["share", "copy", "lock", "map"] as const)("detached while a sub-memory lives: %s", (method) => {
    const bytes = new Uint8Array(8);
    const memory = wrapMemory(bytes);
    const part = memory.share(2, 4);
    structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
    const use = {
      share: () => part.share(0).map("read"),
      copy: () => part.copy(),
      lock: () => part.lock("read"),
      map: () => part.map("read"),
    };
    expect(code(use[method])).toBe("ERR_DETACHED");
    expect([part.isMapped, memory.isMapped]).toEqual([false, false]);
  });
});
