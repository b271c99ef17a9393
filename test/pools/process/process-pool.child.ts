/**
 * The other process of the pool's tests: `process-pool.child.ts JOB ...`. Descriptor 3 is the pool's block; 4, where
 * there is one, a block of the test's own, with what a holder of each slot calls itself.
 */
import { openSync, readFileSync } from "node:fs";
import { ProcessPool } from "../../../src/native.ts";
import { nativeOps } from "../../../src/os/load.ts";
import { parseStat } from "../../../src/os/process-liveness.ts";
import { openSharedMemory } from "../../../src/os/shared-memory.ts";
import type { Lease } from "../../../src/pools/common/lease.ts";
import { isMillpondError } from "../../../src/util/errors.ts";

const [job = "", ...rest] = process.argv.slice(2);

function answer(value: unknown): never {
  console.log(JSON.stringify(value));
  process.exit(0);
}

function tried(what: () => unknown): unknown {
  try {
    what();
    return "done";
  } catch (error) {
    if (!isMillpondError(error)) throw error;
    return { code: error.code, details: error.details, message: error.message };
  }
}

if (rest.includes("nobody")) {
  process.setgid!(65534);
  process.setuid!(65534);
}

// Has every descriptor that it may have; "early": and has been asked before which process it is.
if (rest.includes("full")) {
  nativeOps();
  if (rest.includes("early")) ProcessPool.create({ size: 64, count: 1 }).close();
  try {
    for (;;) openSync("/dev/null", "r");
  } catch {
    // That was the last one.
  }
}

if (job === "open") answer(tried(() => ProcessPool.attach(3)));
if (job === "create") answer(tried(() => ProcessPool.create({ size: 64, count: 2 })));
if (job === "name") {
  const pool = ProcessPool.attach(rest[0]!);
  const lease = pool.tryAcquire()!;
  pool.bytes(lease).fill(9);
  answer({ member: pool.member, pid: pool.processes()[pool.member] === process.pid, waits: pool.waits });
}
if (job === "create and hold") {
  const pool = ProcessPool.create({ size: 4096, count: 3, members: Number(rest[1]), watch: Number.POSITIVE_INFINITY });
  console.log(JSON.stringify({ descriptor: pool.descriptor }));
  hold(pool);
}
if (job === "hold") hold(ProcessPool.attach(3));
if (job === "wait") await wait(ProcessPool.attach(3));
if (job === "load") load(ProcessPool.attach(3), Number(rest[0]));

if (job === "scribble") scribble(Number(rest[0]));

/** Writes anything anywhere into the pool's words, until it is killed. */
function scribble(seed: number): void {
  const opened = openSharedMemory(3);
  if (!opened.ok) throw new Error(opened.hint);
  const words = new Int32Array(opened.value.buffer);
  let random = seed | 1;
  console.log("scribbling");
  for (;;) {
    random = (Math.imul(random, 1664525) + 1013904223) | 0;
    const at = (random >>> 8) % words.length;
    random = (Math.imul(random, 1664525) + 1013904223) | 0;
    // Half of them small: those pass more checks.
    words[at] = (random & 256) === 0 ? random : (random >>> 16) & 31;
  }
}

/** Takes so many, says so, and stays. */
function hold(pool: ProcessPool): void {
  const slots: Lease[] = [];
  for (let i = 0; i < Number(rest[0]); i++) slots.push(pool.tryAcquire()!);
  for (const lease of slots) pool.bytes(lease).fill(7);
  console.log(JSON.stringify({ holds: slots.length }));
  setInterval(() => {}, 1e6);
}

/** Waits for a slot as it is told, gives it back at once, as often as it is told; answers the time of the slowest. */
async function wait(pool: ProcessPool): Promise<void> {
  let worst = 0;
  console.log(JSON.stringify({ ready: true }));
  for (let i = 0; i < Number(rest[1]); i++) {
    const began = performance.now();
    const lease = rest[0] === "sync" ? pool.acquireSync(100_000) : await pool.acquire({ timeout: 100_000 });
    worst = Math.max(worst, performance.now() - began);
    pool.release(lease);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  pool.leave();
  answer({ worst });
}

/**
 * Takes and gives as fast as it can until it is killed, or told to end. Word 0: end; 1: slots found with two holders;
 * 2: slots with somebody's bytes in them; 3: operations; from 16 on, by slot, who has it.
 */
function load(pool: ProcessPool, seed: number): void {
  const opened = openSharedMemory(4);
  if (!opened.ok) throw new Error(opened.hint);
  const words = new Int32Array(opened.value.buffer);
  // Killed, and perhaps not waited for yet. Anybody else who stands there has the slot at this moment.
  const ended = (pid: number): boolean => {
    try {
      const state = parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"))?.state;
      return state === "Z" || state === "X";
    } catch {
      return true;
    }
  };
  let random = seed | 1;
  const next = (below: number): number => {
    random = (Math.imul(random, 1664525) + 1013904223) | 0;
    return (random >>> 8) % below;
  };
  const held: Lease[] = [];
  const take = (lease: Lease): void => {
    const before = Atomics.exchange(words, 16 + lease.index, process.pid);
    if (before !== 0 && !ended(before)) Atomics.add(words, 1, 1);
    const bytes = pool.bytes(lease);
    for (let i = 0; i < bytes.length; i += 8) if (bytes[i] !== 0) Atomics.add(words, 2, 1);
    bytes.fill(1 + (lease.index & 63));
    held.push(lease);
  };
  const give = (lease: Lease): void => {
    if (Atomics.compareExchange(words, 16 + lease.index, process.pid, 0) !== process.pid) Atomics.add(words, 1, 1);
    if (pool.bytes(lease)[0] !== 1 + (lease.index & 63)) Atomics.add(words, 1, 1);
    pool.release(lease);
  };
  while (Atomics.load(words, 0) === 0) {
    const choice = next(8);
    if (choice < 3 && held.length < 4) {
      const lease = pool.tryAcquire();
      if (lease !== undefined) take(lease);
    } else if (choice === 3 && held.length < 4) {
      try {
        take(pool.acquireSync(1 + next(4)));
      } catch (error) {
        if (!isMillpondError(error, "ERR_STARVED")) throw error;
      }
    } else if (choice === 4 && held.length > 0) {
      const lease = held[next(held.length)]!;
      pool.retain(lease);
      pool.release(lease);
    } else if (held.length > 0) give(held.splice(next(held.length), 1)[0]!);
    Atomics.add(words, 3, 1);
  }
  for (const lease of held) give(lease);
  pool.leave();
  answer("ended");
}
