/**
 * A peer may write anything anywhere in the shared words, at any time. What it writes is refused or answered by a typed
 * error; nothing else is thrown, nothing hangs, and no view lies outside the pool's slots.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { ProcessPool } from "../../../src/native.ts";
import { nativeOps } from "../../../src/os/load.ts";
import { createSharedMemory, type SharedMemory } from "../../../src/os/shared-memory.ts";
import type { Lease } from "../../../src/pools/common/lease.ts";
import { statusAt } from "../../../src/pools/process/process-table.ts";
import { Header, PoolState, type SharedLayout } from "../../../src/pools/shared/layout.ts";
import { isMillpondError } from "../../../src/util/errors.ts";
import { REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { generator } from "../../helpers/random.ts";

const CHILD = join(import.meta.dirname, "process-pool.child.ts");

const seed = seedOf("process fuzz");
const next = generator(seed);

/** What breaks arithmetic, and what is merely wrong. */
const NASTY = [0, 1, -1, 2, 3, 16, 0x7fffffff, -(2 ** 31), 2 ** 30, 2 ** 30 - 1, 0xffff, 64, 4096, 1 << 20];
const nasty = (): number => (next(3) === 0 ? (next(2 ** 24) << 8) ^ next(256) : NASTY[next(NASTY.length)]!);

const blocks: SharedMemory[] = [];
const pools: ProcessPool[] = [];
const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const pool of pools.splice(0)) pool.block?.retire();
  for (const block of blocks.splice(0)) block.retire();
});

function blockOf(bytes: number): SharedMemory {
  const made = createSharedMemory(bytes);
  if (!made.ok) throw new Error(made.hint);
  blocks.push(made.value);
  return made.value;
}

/** Runs it; anything but a typed error is a failure, with what led to it. */
function typed<T>(what: string, run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    if (isMillpondError(error)) return undefined;
    throw new Error(`seed ${seed}: ${what} threw ${error}`, { cause: error });
  }
}

/** Everything that a program may do, once, at random. */
function act(pool: ProcessPool, held: Lease[]): void {
  const { slotsAt, stride, count } = pool.core.layout as SharedLayout;
  const inside = (view: Uint8Array | undefined): void => {
    if (view === undefined) return;
    const end = view.byteOffset + view.length;
    if (view.byteOffset < slotsAt || end > slotsAt + stride * count || view.length !== pool.size) {
      throw new Error(`seed ${seed}: a view of ${view.byteOffset} to ${end}`);
    }
    view[0] = 1;
    view[view.length - 1] = 1;
  };
  const lease = held[next(held.length)];
  switch (next(13)) {
    case 0:
    case 1:
    case 2: {
      const taken = typed("tryAcquire", () => pool.tryAcquire());
      if (taken !== undefined && held.push(taken) > 8) held.shift();
      break;
    }
    case 3:
    case 4:
      if (lease !== undefined) typed("release", () => pool.release(lease));
      break;
    case 5:
      if (lease !== undefined) inside(typed("bytes", () => pool.bytes(lease)));
      break;
    case 6:
      if (lease !== undefined) typed("retain", () => pool.retain(lease));
      break;
    case 7: {
      const taken = typed("acquireSync", () => pool.acquireSync(0));
      if (taken !== undefined) held.push(taken);
      break;
    }
    case 8:
      typed("stats", () => pool.stats());
      break;
    case 9:
      typed("reclaimEnded", () => pool.reclaimEnded());
      break;
    case 10:
      typed("reclaim", () => pool.reclaim(next(pool.core.memberBits)));
      break;
    case 11: {
      const handle = typed("reserve", () => pool.reserve());
      if (handle !== undefined) typed("reclaim it", () => pool.reclaim(handle));
      break;
    }
    case 12:
      typed("validate", () => pool.validate());
      if (lease !== undefined) typed("offsetOf", () => pool.offsetOf(lease.id));
      break;
  }
}

/**
 * Most damage ends the pool or this thread's part in it: mended each time but now and then, so that more than that is
 * tried.
 */
function heal(pool: ProcessPool, words: Int32Array): void {
  if (next(20) === 0) return;
  words[Header.STATE] = PoolState.LIVE;
  words[statusAt(pool.core.layout, pool.member)] = pool.core.status;
}

describe.runIf(nativeOps().availability.ok)("a damaged pool", () => {
  it("its header: refused by a typed error, or the pool in it is whole", REPEATED, () => {
    const pool = ProcessPool.create({ size: 256, count: 5, members: 4 });
    pools.push(pool);
    const bytes = pool.block!.size;
    const good = new Uint8Array(pool.memory).slice();
    let opened = 0;
    let refused = 0;
    const block = blockOf(bytes);
    for (let round = 0; round < times(800, 3000); round++) {
      new Uint8Array(block.buffer).set(good);
      const words = new Int32Array(block.buffer);
      for (let n = 1 + next(3); n > 0; n--) words[next(3) === 0 ? next(Header.END) : next(Header.ZERO + 1)] = nasty();
      const joined = typed("attach", () => ProcessPool.attach(block, { watch: 60_000 }));
      if (joined === undefined) refused++;
      else {
        opened++;
        const { layout } = joined.core;
        expect(layout.slotsAt + layout.stride * layout.count).toBeLessThanOrEqual(bytes);
        const held: Lease[] = [];
        for (let n = 0; n < 10; n++) act(joined, held);
        typed("leave", () => joined.leave({ force: true }));
      }
    }
    console.log(`damaged headers: ${JSON.stringify({ opened, refused })}`);
    expect(Math.min(opened, refused)).toBeGreaterThan(100);
  });

  it.each([
    [5, "few slots"],
    [300, "slots by the word"],
  ])("its words, between any two calls: %i (%s)", REPEATED, (count) => {
    for (let round = 0; round < times(20, 60); round++) {
      const pool = ProcessPool.create({ size: 128, count, members: 5, watch: 60_000 });
      pools.push(pool);
      const end = pool.core.layout.slotsAt >>> 2;
      const words = new Int32Array(pool.memory);
      const table = new Int32Array(pool.memory, pool.core.layout.slotsAt + pool.core.layout.stride * count);
      const held: Lease[] = [];
      for (let n = 0; n < 150; n++) {
        const target = next(4) === 0 ? table : words;
        target[next(target === table ? 16 * 6 : end)] = nasty();
        heal(pool, words);
        act(pool, held);
      }
      typed("close", () => pool.close({ force: true }));
      typed("leave", () => pool.leave({ force: true }));
    }
  });

  it("its words, while another process writes into them without end", REPEATED, async () => {
    const pool = ProcessPool.create({ size: 128, count: 20, members: 5 });
    pools.push(pool);
    const child = spawn(process.execPath, [CHILD, "scribble", String(next(2 ** 30))], {
      stdio: ["ignore", "pipe", "inherit", pool.descriptor],
    });
    children.push(child);
    await once(child.stdout!, "data");
    const held: Lease[] = [];
    const words = new Int32Array(pool.memory);
    const most = times(600, 40_000);
    let acts = 0;
    while (acts < most) {
      for (let n = 0; n < 20; n++, acts++) {
        heal(pool, words);
        act(pool, held);
      }
      // Joined anew when it was declared dead, as a program would.
      const joined = typed("attach", () => ProcessPool.attach(pool.block!, { watch: 60_000 }));
      if (joined !== undefined) typed("leave", () => joined.leave({ force: true }));
    }
    expect(child.exitCode).toBeNull();
  });
});
