/** One worker of the stress: takes, keeps, gives, sends, as fast as it can, and checks that what it has is its own. */
import { workerData } from "node:worker_threads";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { LEDGER, type StressJob } from "./stress.ts";

const { handle, ledger, uid, seed, most } = workerData as StressJob;
const pool = SharedPool.attach(handle);
const words = new Int32Array(ledger);
const { core } = pool;
const held = new Float64Array(most);
let holding = 0;
let random = seed | 1;
let done = 0;

/** xorshift32: the same as bench/lib/trace.ts. */
function next(limit: number): number {
  random ^= random << 13;
  random ^= random >>> 17;
  random ^= random << 5;
  return (random >>> 0) % limit;
}

/** A slot's bytes hold who has it; so does the ledger, where a second holder would be seen at once. */
function enter(id: number): void {
  const index = id & core.indexMask;
  if (Atomics.exchange(words, LEDGER.SLOTS + index, uid) !== 0) Atomics.add(words, LEDGER.VIOLATIONS, 1);
  pool.viewOf(index)[0] = uid & 255;
  held[holding++] = id;
  done++;
}

function leave(at: number): void {
  const id = held[at]!;
  held[at] = held[--holding]!;
  const index = id & core.indexMask;
  if (pool.viewOf(index)[0] !== (uid & 255)) Atomics.add(words, LEDGER.VIOLATIONS, 1);
  if (Atomics.exchange(words, LEDGER.SLOTS + index, 0) !== uid) Atomics.add(words, LEDGER.VIOLATIONS, 1);
  pool.releaseId(id);
  done++;
}

function round(): void {
  for (let i = 0; i < 1000; i++) {
    const what = next(16);
    if (what < 8 && holding < most) {
      const id = pool.tryAcquireId();
      if (id >= 0) enter(id);
      else if (what === 0 && holding === 0) {
        // Only one with empty hands waits, or all might wait for each other.
        try {
          enter(pool.acquireSync(1).id);
        } catch {
          // Nothing came within the millisecond; that is allowed.
        }
      }
    } else if (holding > 0) {
      const at = next(holding);
      if (what === 8) {
        pool.retainId(held[at]!);
        pool.releaseId(held[at]!);
        done += 2;
      }
      leave(at);
    }
  }
}

while (Atomics.load(words, LEDGER.STOP) === 0) {
  done = 0;
  round();
  Atomics.add(words, LEDGER.OPERATIONS, done);
}
while (holding > 0) leave(holding - 1);
pool.leave();
