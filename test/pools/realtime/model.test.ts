/**
 * RealtimePool against a naive model: integers and Memories mixed, with a validation after each step; and a leak gate.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SystemAllocator } from "../../../src/memory/allocator.ts";
import type { Memory } from "../../../src/memory/memory.ts";
import { RealtimePool } from "../../../src/pools/realtime/realtime-pool.ts";
import { setDebugLevel } from "../../../src/util/debug.ts";
import { stepAbove } from "../../arena/naive-heap.ts";
import { REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { code } from "../buffer/pools.ts";

interface Entry {
  block: number | Memory;
  size: number;
  mark: number;
}

interface Model {
  live: Entry[];
  released: (number | Memory)[];
  mark: number;
}

interface Real {
  pool: RealtimePool;
}

type Command = fc.Command<Model, Real>;

function bytesOf(pool: RealtimePool, { block, size }: Entry): Uint8Array {
  if (typeof block === "number") return pool.bytes(block).subarray(0, size);
  const bytes = block.lock("readwrite");
  block.unlock("readwrite");
  return bytes;
}

function giveBack(pool: RealtimePool, block: number | Memory): void {
  if (typeof block === "number") pool.free(block);
  else pool.release(block);
}

function check(model: Model, { pool }: Real): void {
  pool.validate();
  expect(pool.holders().length).toBe(model.live.length);
  const ranges: [number, number][] = [];
  for (const entry of model.live) {
    const bytes = bytesOf(pool, entry);
    expect(bytes.length).toBe(entry.size);
    for (const byte of bytes) if (byte !== entry.mark) throw new Error("a block lost its contents");
    expect(pool.physicalSizeOf(entry.block)).toBeGreaterThanOrEqual(entry.size);
    if (typeof entry.block !== "number") expect(pool.sizeOf(entry.block)).toBe(entry.size);
    ranges.push([bytes.byteOffset, bytes.byteOffset + bytes.length]);
  }
  if (pool.stats().areas === 1) {
    ranges.sort(([a], [b]) => a - b);
    for (let i = 1; i < ranges.length; i++) if (ranges[i]![0] < ranges[i - 1]![1]) throw new Error("blocks overlap");
  }
}

function enter(model: Model, pool: RealtimePool, block: number | Memory, size: number): void {
  model.mark = (model.mark % 250) + 1;
  const entry = { block, size, mark: model.mark };
  bytesOf(pool, entry).fill(entry.mark);
  model.live.push(entry);
}

class Allocate implements Command {
  readonly size: number;
  readonly asMemory: boolean;
  constructor(size: number, asMemory: boolean) {
    this.size = size;
    this.asMemory = asMemory;
  }
  check = (): boolean => true;
  run(model: Model, real: Real): void {
    const { pool } = real;
    let block: number | Memory | undefined;
    try {
      block = this.asMemory ? pool.allocate(this.size) : pool.alloc(this.size);
    } catch (error) {
      expect(
        code(() => {
          throw error;
        }),
      ).toBe("ERR_POOL_FULL");
      expect(pool.stats().largest).toBeLessThan(stepAbove(this.size + 48));
    }
    if (block !== undefined) enter(model, pool, block, this.size);
    check(model, real);
  }
  toString = (): string => `allocate(${this.size}, ${this.asMemory ? "Memory" : "integer"})`;
}

class Free implements Command {
  readonly pick: number;
  constructor(pick: number) {
    this.pick = pick;
  }
  check = ({ live }: Readonly<Model>): boolean => live.length > 0;
  run(model: Model, real: Real): void {
    const [entry] = model.live.splice(this.pick % model.live.length, 1) as [Entry];
    giveBack(real.pool, entry.block);
    model.released.push(entry.block);
    check(model, real);
  }
  toString = (): string => `free(${this.pick})`;
}

class Reallocate implements Command {
  readonly pick: number;
  readonly size: number;
  constructor(pick: number, size: number) {
    this.pick = pick;
    this.size = size;
  }
  check = ({ live }: Readonly<Model>): boolean => live.length > 0;
  run(model: Model, real: Real): void {
    const { pool } = real;
    const entry = model.live[this.pick % model.live.length]!;
    const old = entry.block;
    try {
      entry.block = typeof old === "number" ? pool.realloc(old, this.size) : pool.reallocate(old, this.size);
    } catch (error) {
      expect(
        code(() => {
          throw error;
        }),
      ).toBe("ERR_POOL_FULL");
      check(model, real);
      return;
    }
    const kept = Math.min(entry.size, this.size);
    entry.size = this.size;
    const bytes = bytesOf(pool, entry);
    if (bytes.subarray(0, kept).some((byte) => byte !== entry.mark)) throw new Error("reallocation lost bytes");
    bytes.fill(entry.mark);
    if (entry.block !== old) model.released.push(old);
    check(model, real);
  }
  toString = (): string => `reallocate(${this.pick}, ${this.size})`;
}

class Misuse implements Command {
  readonly pick: number;
  constructor(pick: number) {
    this.pick = pick;
  }
  check = ({ released }: Readonly<Model>): boolean => released.length > 0;
  run(model: Model, real: Real): void {
    const { pool } = real;
    const block = model.released[this.pick % model.released.length]!;
    const live = new Set(
      pool
        .holders()
        .filter(({ memory }) => memory === undefined)
        .map(({ pointer }) => pointer),
    );
    // A bare integer has no generation: once its place is handed out again it is the new block's.
    if (typeof block === "number" && live.has(block)) return;
    expect(code(() => giveBack(pool, block))).toMatch(/^ERR_(DOUBLE|FOREIGN)_RELEASE$/);
    expect(() => pool.physicalSizeOf(block)).toThrow();
    check(model, real);
  }
  toString = (): string => `misuse(${this.pick})`;
}

class DeleteRefused implements Command {
  check = ({ live }: Readonly<Model>): boolean => live.length > 0;
  run(model: Model, real: Real): void {
    expect(code(() => real.pool.close())).toBe("ERR_IN_USE");
    check(model, real);
  }
  toString = (): string => "delete()";
}

class Debug implements Command {
  readonly level: number;
  constructor(level: number) {
    this.level = level;
  }
  check = (): boolean => true;
  run(model: Model, real: Real): void {
    setDebugLevel(this.level, "model");
    check(model, real);
  }
  toString = (): string => `debug(${this.level})`;
}

describe("RealtimePool against a naive model", () => {
  it.each([false, true])("every walk leaves every block where and what it was; growing: %s", REPEATED, (growing) => {
    const size = fc.oneof(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 2000 }));
    const commands = fc.commands<Model, Real>(
      [
        fc.tuple(size, fc.boolean()).map(([bytes, asMemory]) => new Allocate(bytes, asMemory)),
        fc.tuple(size, fc.boolean()).map(([bytes, asMemory]) => new Allocate(bytes, asMemory)),
        fc.nat(1000).map((pick) => new Free(pick)),
        fc.tuple(fc.nat(1000), size).map(([pick, bytes]) => new Reallocate(pick, bytes)),
        fc.nat(1000).map((pick) => new Misuse(pick)),
        fc.constant(new DeleteRefused()),
        fc.constantFrom(0, 0, 1, 2).map((level) => new Debug(level)),
      ],
      { maxCommands: 80 },
    );
    fc.assert(
      fc.property(commands, (walk) => {
        setDebugLevel(0, "model");
        const source = new SystemAllocator("counted");
        const growth = growing ? { maxBytes: 12_288, growBy: 4096 } : {};
        const pool = RealtimePool.create({ totalSize: 4096, name: "model", source, ...growth });
        const model: Model = { live: [], released: [], mark: 0 };
        fc.modelRun(() => ({ model, real: { pool } }), walk);
        for (const { block } of model.live) giveBack(pool, block);
        expect(pool.stats()).toMatchObject({ used: 0, liveBlocks: 0 });
        expect(pool.allocator.stats()).toMatchObject({ liveMemories: 0, liveBytes: 0 });
        pool.close();
        expect(source.stats()).toMatchObject({ liveMemories: 0, liveBytes: 0 });
      }),
      {
        numRuns: times(30, 200, "MILLPOND_WALKS"),
        seed: seedOf("realtime-pool model"),
      },
    );
  });

  it("a long run of mixed calls leaves nothing behind", REPEATED, () => {
    const pool = RealtimePool.create({ totalSize: 1 << 20, name: "stress" });
    const blocks: (number | Memory)[] = [];
    let state = 12_345;
    const random = (below: number): number => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) % below;
    };
    const calls = times(15_000, 300_000);
    for (let i = 0; i < calls; i++) {
      const size = 1 + random(2 ** (3 + random(9)));
      if (blocks.length < 800 || random(2) === 0) {
        const pointer = i % 8 === 0 ? undefined : pool.tryAlloc(size);
        if (pointer !== undefined) blocks.push(pointer);
        else if (pool.stats().largest >= size) blocks.push(pool.allocate(size));
        else if (blocks.length > 0) giveBack(pool, blocks.pop()!);
      } else {
        const k = random(blocks.length);
        giveBack(pool, blocks[k]!);
        blocks[k] = blocks.at(-1)!;
        blocks.pop();
      }
      if (i % 10_000 === 0) pool.validate();
    }
    for (const block of blocks) giveBack(pool, block);
    expect(pool.stats()).toMatchObject({ used: 0, liveBlocks: 0 });
    pool.close();
  });
});
