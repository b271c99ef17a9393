/** The thread that sleeps for one that must not: see futex-waiter.ts. */
import { workerData } from "node:worker_threads";
import { nativeOps } from "../../os/load.ts";
import { waitForChange } from "../../os/wait.ts";
import { Header } from "../shared/layout.ts";
import { Helper, HelperState } from "./futex-waiter.ts";

const { memory, control } = workerData as { memory: SharedArrayBuffer; control: SharedArrayBuffer };
const words = new Int32Array(memory, 0, Header.END);
const orders = new Int32Array(control);
const ops = nativeOps();
const stop = { words: orders, index: Helper.STOP };

if (ops.availability.ok) {
  Atomics.store(orders, Helper.STATE, HelperState.READY);
  Atomics.notify(orders, Helper.STATE);
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
Atomics.store(orders, Helper.STATE, HelperState.DONE);
Atomics.notify(orders, Helper.STATE);
