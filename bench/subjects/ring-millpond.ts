/** HandleRing: integers from one thread to the other, one at a time. */
import { HandleRing } from "../../src/pools/shared-ring.ts";
import { dataOfFirst, isSecond, measureTwo, serve } from "../lib/two-threads.ts";

const ring = isSecond ? HandleRing.attach(dataOfFirst<SharedArrayBuffer>()) : HandleRing.create(64);

function push(n: number): void {
  for (let i = 0; i < n; i++) while (!ring.push(i & 0xffff));
}

function pop(n: number): void {
  for (let i = 0; i < n; i++) while (ring.pop() < 0);
}

if (isSecond) serve(pop);
else await measureTwo(import.meta.url, ring.memory, push, "millpond", "one operation needs both");
