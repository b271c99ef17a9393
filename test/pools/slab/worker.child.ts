/**
 * One worker of the stress: a SlabPool over blocks that it shares with others; every element is signed, and checked
 * before it is freed.
 */
import { parentPort, workerData } from "node:worker_threads";
import { SlabPool } from "../../../src/pools/slab/slab-pool.ts";
import { bytes, struct } from "../../../src/pools/slab/struct.ts";
import { isMillpondError } from "../../../src/util/errors.ts";
import { mulberry32 } from "../../helpers/random.ts";
import { SharedBlocks, type SharedBlocksHandle } from "./shared-blocks.ts";

const { handle, owner, seed, steps } = workerData as {
  handle: SharedBlocksHandle;
  owner: number;
  seed: number;
  steps: number;
};

const fraction = mulberry32(seed);
function random(below: number): number {
  return Math.floor(fraction() * below);
}

const Element = struct({ owner: "u32", pointer: "u32", serial: "f64", body: bytes(24) });
let inits = 0;
let dones = 0;
const pool = SlabPool.create({
  name: `worker ${owner}`,
  struct: Element,
  blockSize: handle.blockSize,
  source: new SharedBlocks(handle, owner),
  maxBlocks: 40,
  ageOut: 2,
  init: () => void inits++,
  destroy: () => void dones++,
});

const live: { pointer: number; serial: number }[] = [];
const counts = { takes: 0, refused: 0, full: 0, wrong: 0, missed: 0 };

function take(serial: number): void {
  let pointer: number | undefined;
  try {
    pointer = pool.tryAlloc();
  } catch (error) {
    if (!isMillpondError(error, "ERR_ALLOCATION_FAILED")) throw error;
    counts.refused++;
    return;
  }
  if (pointer === undefined) {
    counts.full++;
    return;
  }
  counts.takes++;
  const element = pool.at(pointer);
  element.owner = owner;
  element.pointer = pointer;
  element.serial = serial;
  element.body.fill(serial);
  live.push({ pointer, serial });
}

function give(index: number): void {
  const { pointer, serial } = live[index]!;
  live[index] = live.at(-1)!;
  live.pop();
  const element = pool.at(pointer);
  const signed = element.owner === owner && element.pointer === pointer && element.serial === serial;
  if (!signed || element.body.some((byte) => byte !== (serial & 0xff))) counts.wrong++;
  pool.free(pointer);
  if (!refuses(pointer, "ERR_DOUBLE_RELEASE") || !refuses(pointer + 0.5, "ERR_FOREIGN_RELEASE")) counts.missed++;
}

function refuses(pointer: number, code: "ERR_DOUBLE_RELEASE" | "ERR_FOREIGN_RELEASE"): boolean {
  try {
    pool.free(pointer);
    return false;
  } catch (error) {
    return isMillpondError(error, code);
  }
}

for (let step = 0; step < steps; step++) {
  // Tides: a pool fills up, then empties, so that blocks wander from worker to worker.
  const rising = (step >> 11) % 2 === 0;
  if (live.length === 0 || random(8) < (rising ? 5 : 2)) take(step);
  else give(random(live.length));
  // Real timers give old blocks back, if the event loop gets a turn.
  if (step % 512 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  if (step % 4096 === 0) pool.validate();
}
while (live.length > 0) give(live.length - 1);
pool.validate();
const { carved } = pool.stats();
pool.close();
parentPort?.postMessage({
  ...counts,
  carved,
  slots: carved * pool.capacity,
  inits,
  dones,
  blocks: pool.stats().blocks,
});
