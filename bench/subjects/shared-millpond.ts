/** SharedPool, integer API, every check on: alone, two threads at once, and from one thread to the other. */

import type { SharedHandle } from "../../src/pools/shared/attach.ts";
import { LeaseRing } from "../../src/pools/shared/lease-ring.ts";
import { SharedPool } from "../../src/pools/shared/shared-pool.ts";
import { measure } from "../lib/subject.ts";
import { dataOfFirst, isSecond, measureTwo, serve } from "../lib/two-threads.ts";

interface Shared {
  readonly handle: SharedHandle;
  readonly which: string;
  readonly ring?: SharedArrayBuffer;
}

/** As many as the lists in C; 32 is what a video pipeline has at most. */
const COUNTS: Readonly<Record<string, number>> = { one: 1024, two: 1024, "two-small": 32, hop: 1024 };

/**
 * Where an identity is left, so that no compiler may prove the work useless: in an object's field it would be garbage
 * once it is large.
 */
const last = new Float64Array(1);

let pool: SharedPool;
let ring: LeaseRing;

function pairs(n: number): void {
  for (let i = 0; i < n; i++) {
    const id = pool.tryAcquireId();
    last[0] = id;
    pool.releaseId(id);
  }
}

function produce(n: number): void {
  for (let i = 0; i < n; i++) {
    let id = pool.tryAcquireId();
    while (id < 0) id = pool.tryAcquireId();
    while (!ring.tryPush(id));
  }
}

function consume(n: number): void {
  for (let i = 0; i < n; i++) {
    let id = ring.tryPop();
    while (id < 0) id = ring.tryPop();
    pool.releaseId(id);
  }
}

if (isSecond) {
  const shared = dataOfFirst<Shared>();
  pool = SharedPool.attach(shared.handle);
  if (shared.which === "hop") ring = LeaseRing.attach(pool, shared.ring!, "pop");
  serve(shared.which === "hop" ? consume : pairs);
} else {
  const which = process.argv[2] ?? "";
  const count = COUNTS[which];
  if (count === undefined) throw new Error(`which one? ${Object.keys(COUNTS).join(", ")}`);
  pool = SharedPool.create({ size: 64, count });
  const { handle } = pool;
  if (which === "one") await measure({ loop: pairs, library: "millpond" });
  else if (which === "hop") {
    ring = LeaseRing.create(pool, 64, "push");
    const data: Shared = { handle, which, ring: ring.memory };
    await measureTwo(import.meta.url, data, produce, "millpond", "one operation needs both");
  } else await measureTwo(import.meta.url, { handle, which } satisfies Shared, pairs, "millpond");
}
