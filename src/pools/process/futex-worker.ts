/** The thread that sleeps for one that must not: see futex-waiter.ts. */
import { workerData } from "node:worker_threads";
import { nativeOps } from "../../os/load.ts";
import { waitForChange } from "../../os/wait.ts";
import { Header } from "../shared/layout.ts";
import { Helper, HelperState } from "./futex-waiter.ts";

const { memory, control } = workerData as { memory: SharedArrayBuffer; control: SharedArrayBuffer };
const words = new Int32Array(memory, 0, Header.END);
const orders = new Int32Array(control);
const stop = { words: orders, index: Helper.STOP };

<<<<<<< HEAD
function serve(): void {
  const ops = nativeOps();
  if (!ops.availability.ok) return;
  Atomics.store(orders, Helper.READY, 1);
=======
if (ops.availability.ok) {
  Atomics.store(orders, Helper.STATE, HelperState.READY);
  Atomics.notify(orders, Helper.STATE);
>>>>>>> main
  while (Atomics.load(orders, Helper.STOP) === 0) {
    const asked = Atomics.load(orders, Helper.ASKED);
    if (asked > 0) {
      const seen = waitForChange(words, Header.WAKES, Atomics.load(orders, Helper.VALUE), { ops, stop });
      if (!seen.ok) break;
      Atomics.notify(words, Header.WAKES);
    }
    Atomics.wait(orders, Helper.ASKED, asked);
  }
}
<<<<<<< HEAD

// First the mark, then the look: who stops this thread sees the one, or this thread sees the other.
Atomics.store(orders, Helper.BUSY, 1);
try {
  if (Atomics.load(orders, Helper.STOP) === 0) serve();
} finally {
  Atomics.store(orders, Helper.BUSY, 0);
  Atomics.notify(orders, Helper.BUSY);
}
=======
Atomics.store(orders, Helper.STATE, HelperState.DONE);
Atomics.notify(orders, Helper.STATE);
>>>>>>> main
