/** SpscRing: integers, one at a time, from one thread to the other, and in one thread alone. */
import { SpscRing } from "../../src/pools/shared/ring.ts";
import { measure, sink } from "../lib/subject.ts";
import { dataOfFirst, isSecond, measureTwo, serve } from "../lib/two-threads.ts";

const ring = isSecond ? SpscRing.attach(dataOfFirst<SharedArrayBuffer>()) : SpscRing.create(64);

function push(n: number): void {
  for (let i = 0; i < n; i++) while (!ring.tryPush(i & 0xffff));
}

function pop(n: number): void {
  for (let i = 0; i < n; i++) while (ring.tryPop() < 0);
}

function both(n: number): void {
  for (let i = 0; i < n; i++) {
    ring.tryPush(i & 0xffff);
    sink.value = ring.tryPop();
  }
}

if (isSecond) serve(pop);
else if (process.argv[2] === "one") await measure({ loop: both, library: "millpond" });
else await measureTwo(import.meta.url, ring.memory, push, "millpond", "one operation needs both");
