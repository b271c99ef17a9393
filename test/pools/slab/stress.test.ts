/**
 * Real workers, each with a SlabPool of its own over the blocks of one shared memory; and what a process keeps of its
 * pools.
 */
import { execFileSync } from "node:child_process";
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { HANGS_MS, REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { makeSharedBlocks } from "./shared-blocks.ts";

const seed = seedOf("slab-pool workers");
const WORKERS = 4;

it(`no element and no block is ever two workers', and all go back, in ${WORKERS} workers`, REPEATED, async () => {
  // Fewer blocks than the workers' bounds together, so that they take them from each other.
  const handle = makeSharedBlocks(96, 1024);
  const ends = Array.from({ length: WORKERS }, (_, index) => {
    const workerData = { handle, owner: index + 1, seed: seed + index, steps: times(4_000, 60_000) };
    // Node 24 strips the types of a worker's file by itself.
    const worker = new Worker(new URL("worker.child.ts", import.meta.url), { workerData });
    return new Promise<Record<string, number>>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
  });
  const results = await Promise.all(ends);
  for (const { takes, wrong, missed, carved, slots, inits, dones, blocks } of results) {
    expect({ wrong, missed, blocks }).toEqual({ wrong: 0, missed: 0, blocks: 0 });
    expect([inits, dones]).toEqual([slots, slots]);
    expect(takes).toBeGreaterThan(times(1_000, 20_000));
    // More than it may have at once: blocks went back by age.
    expect(carved).toBeGreaterThan(times(16, 40));
  }
  expect(new Int32Array(handle.owners).every((owner) => owner === 0)).toBe(true);
});

/**
 * Runs a script in a process of its own that may collect garbage when it likes, with `SlabPool`, `struct` and `heap()`
 * at hand.
 */
function inProcess(script: string): unknown {
  const root = new URL("../../../src/pools/slab/", import.meta.url);
  const source = `
    const { SlabPool } = await import("${new URL("slab-pool.ts", root)}");
    const { struct } = await import("${new URL("struct.ts", root)}");
    // A WeakRef's target lives to the end of the turn that made the reference.
    const heap = async () => { await new Promise((resolve) => setTimeout(resolve, 1)); gc(); gc(); const { heapUsed, arrayBuffers } = process.memoryUsage(); return heapUsed + arrayBuffers; };
    ${script}`;
  const args = ["--expose-gc", "--input-type=module", "-e", source];
  // A process that does not end by itself within that time has something that keeps it.
  return JSON.parse(execFileSync(process.execPath, args, { encoding: "utf8", timeout: HANGS_MS }));
}

describe("what a process keeps", () => {
  it("a thousand pools that were closed leave nothing behind (leak gate)", () => {
    const grown = inProcess(`
      const life = () => {
        const pool = SlabPool.create({ elementSize: 64, blockSize: 65536, ageOut: 1000, trace: false, init() {}, destroy() {} });
        const pointers = Array.from({ length: 200 }, () => pool.alloc());
        for (const pointer of pointers) pool.free(pointer);
        pool.close();
      };
      // The engine's own code and feedback take some 70 kB in the first thousand lives, and nothing after them.
      for (let i = 0; i < 1000; i++) life();
      const before = await heap();
      for (let i = 0; i < 1000; i++) life();
      console.log(await heap() - before);`);
    // 32 bytes a pool; one block of one such pool is 65,536.
    expect(grown).toBeLessThan(32_000);
  });

  it("a pool that is forgotten with elements live and a timer set is garbage, and its process ends", () => {
    const left = inProcess(`
      const refs = [];
      for (let i = 0; i < 50; i++) {
        const pool = SlabPool.create({ elementSize: 64, ageOut: 3600000 });
        pool.alloc();
        refs.push(new WeakRef(pool));
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
      gc();
      await new Promise((resolve) => setTimeout(resolve, 1));
      console.log(refs.filter((ref) => ref.deref() !== undefined).length);`);
    // The loop's last pool may still lie in a register.
    expect(left).toBeLessThanOrEqual(1);
  });

  it("alloc, free and a cursor's numbers make no garbage", () => {
    const grown = inProcess(`
      const pool = SlabPool.create({ struct: struct({ time: "f64", sequence: "u32", level: "i16" }) });
      const held = Array.from({ length: 500 }, () => pool.alloc());
      function turn(i) {
        const pointer = pool.alloc();
        const element = pool.at(pointer);
        element.sequence = i;
        element.time = i * 0.5;
        // In another block, so that the cursor goes from block to block.
        const sum = element.time + pool.at(held[i % 500]).level;
        pool.free(pointer);
        return sum < 0;
      }
      function work(n) {
        let count = 0;
        for (let i = 0; i < n; i++) if (turn(i)) count++;
        return count;
      }
      for (let i = 0; i < 50; i++) work(10000);
      // The least of several rounds: until the compiler is through, on a thread of its own, numbers are boxed.
      let least = Infinity;
      for (let round = 0; round < 50 && least > 100000; round++) {
        gc();
        const before = process.memoryUsage().heapUsed;
        work(200000);
        least = Math.min(least, process.memoryUsage().heapUsed - before);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      console.log(least);`);
    // An object of the smallest kind at each turn would be 2.4 MB.
    expect(grown).toBeLessThan(100_000);
  });
});
