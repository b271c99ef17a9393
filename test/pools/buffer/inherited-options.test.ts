// Shares its realm with other files: nothing that it changes outlives it.
/** Options are read through the prototype chain, once each; unknown own ones are refused. */
import { describe, expect, it } from "vitest";
import { BufferPool, type BufferPoolOptions } from "../../../src/pools/buffer/buffer-pool.ts";
import type { BufferPoolConfig } from "../../../src/pools/buffer/config.ts";
import { leasePool } from "../../../src/pools/lane/receive.ts";
import { PagePool } from "../../../src/pools/page/page-pool.ts";
import { SharedBufferPool } from "../../../src/pools/shared/shared-buffer-pool.ts";
import { SlabPool } from "../../../src/pools/slab/slab-pool.ts";
import { code } from "./pools.ts";

class Options implements BufferPoolConfig, BufferPoolOptions {
  size = 64;
  max = 2;
  get name(): string {
    return "inherited";
  }
  get zero(): "release" {
    return "release";
  }
  get revoke(): boolean {
    return true;
  }
}

const protections = (pool: BufferPool): unknown => [pool.config?.size, pool.config?.zero, pool.config?.mustRevoke];

describe("options that an object inherits", () => {
  it("create() honors a protection that a class declares as a getter", () => {
    const pool = BufferPool.create(new Options());
    expect(protections(pool)).toEqual([64, "release", true]);
    expect(pool.name).toBe("inherited");
  });

  it("configure() honors them too", () => {
    const pool = new BufferPool();
    pool.configure({ size: 64, max: 2 });
    class Config {
      size = 64;
      max = 2;
      get zero(): "release" {
        return "release";
      }
      get revoke(): boolean {
        return true;
      }
    }
    pool.configure(new Config());
    expect(protections(pool)).toEqual([64, "release", true]);
  });

  it("create() accepts an object whose options are all its prototype's", () => {
    const pool = BufferPool.create(Object.create({ size: 64, max: 2, revoke: true }));
    expect(protections(pool)).toEqual([64, "fresh", true]);
  });

  it("a subclass gets those of its own, and only those that it asks for are read", () => {
    const read: string[] = [];
    class Threads {
      size = 64;
      max = 2;
      get threads(): number {
        read.push("threads");
        return 1;
      }
      get zero(): "release" {
        read.push("zero");
        return "release";
      }
      get somethingElse(): number {
        read.push("somethingElse");
        return 1;
      }
    }
    using pool = SharedBufferPool.create(new Threads());
    expect(pool.shared.count).toBe(3);
    expect(pool.config?.zero).toBe("release");
    expect(read.sort()).toEqual(["threads", "zero"]);
  });

  it("every pool refuses an unknown own option beside inherited ones", () => {
    const makers: ((extra: object) => unknown)[] = [
      (extra) => BufferPool.create(Object.assign(new Options(), extra)),
      (extra) => SharedBufferPool.create(Object.assign(Object.create({ size: 64, max: 2 }), extra)),
      (extra) => PagePool.create(Object.assign(Object.create({ max: 2 }), extra)),
      (extra) => SlabPool.create(Object.assign(Object.create({ elementSize: 8 }), extra)),
      (extra) => leasePool(Object.assign(Object.create({ size: 8, count: 1 }), extra)),
    ];
    expect(makers.map((make) => code(() => make({})))).toEqual(makers.map(() => "ok"));
    expect(makers.map((make) => code(() => make({ revok: true })))).toEqual(makers.map(() => "ERR_INVALID_ARG_VALUE"));
  });

  it("a missing argument is named by what it must be", () => {
    const none = undefined as never;
    for (const make of [() => BufferPool.create(none), () => SlabPool.create(none), () => leasePool(none)]) {
      expect(make).toThrow("options must be a plain object, but it is undefined");
    }
    expect(() => new BufferPool().configure(none)).toThrow("config must be a plain object, but it is undefined");
  });
});
