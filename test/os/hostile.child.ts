/** The other process of the hostile tests: `hostile.child.ts JOB ...`. Descriptor 3 is the pool's block, 4 a ring's. */
import { readdirSync } from "node:fs";
import { ProcessPool } from "../../src/native.ts";
import { createSharedMemory, openSharedMemory } from "../../src/os/shared-memory.ts";
import { LeaseRing } from "../../src/pools/shared/lease-ring.ts";
import { isMillpondError } from "../../src/util/errors.ts";

const [job = ""] = process.argv.slice(2);

if (job === "descriptors") await descriptors();
if (job === "push") push();
if (job === "inherit") inherit();

/** Makes pools until a limit says no; everything goes on, and afterwards nothing is left. */
async function descriptors(): Promise<void> {
  const open = (): number => readdirSync("/proc/self/fd").length;
  const pools = [];
  // Whatever is loaded at the first pool has its descriptors.
  ProcessPool.create({ size: 64, count: 1 }).leave();
  const before = open();
  let refused: unknown;
  for (let i = 0; i < 500 && refused === undefined; i++) {
    try {
      pools.push(ProcessPool.create({ size: 64, count: 1 }));
    } catch (error) {
      if (!isMillpondError(error)) throw error;
      refused = { code: error.code, details: error.details };
    }
  }
  const block = createSharedMemory(65536);
  const works = [];
  for (const pool of pools) {
    const slot = pool.tryAcquire()!;
    const starved = await pool.acquire({ timeout: 1 }).catch((error) => error.code);
    pool.release(slot);
    works.push(starved === "ERR_STARVED" && pool.acquireSync(0).index === 0);
  }
  for (const pool of pools) pool.leave({ force: true });
  // A thread that slept for asynchronous waits closes its own once it has heard that it is to end.
  for (let i = 0; open() > before && i < 3000; i++) await new Promise((resolve) => setTimeout(resolve, 10));
  const answer = {
    refused,
    block: block.ok ? "made" : block.status,
    made: pools.length,
    works: works.every(Boolean),
    left: open() - before,
  };
  console.log(JSON.stringify(answer));
  process.exit(0);
}

/** Pushes leases without end, each with its number in its bytes. */
function push(): void {
  const pool = ProcessPool.attach(3);
  const memory = openSharedMemory(4);
  if (!memory.ok) throw new Error(memory.hint);
  const ring = LeaseRing.attach(pool, memory.value.buffer, "push");
  for (let n = 0; ; n++) {
    const { id } = pool.acquireSync();
    pool.bytesOf(id).fill(n & 255);
    ring.pushSync(id);
  }
}

/** Hands its descriptor on to a child of its own and is killed: what the child has is not touched. */
function inherit(): void {
  const pool = ProcessPool.attach(3);
  pool.tryAcquire();
  console.log(JSON.stringify({ member: pool.member }));
  setInterval(() => {}, 1e6);
}
