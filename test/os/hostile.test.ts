/**
 * Limits, deaths and stopped peers: each ends in bounded time with a typed error, and what there was before goes on.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { openSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, describe, expect, it } from "vitest";
import { ProcessPool } from "../../src/native.ts";
import { nativeOps } from "../../src/os/load.ts";
import { createSharedMemory, type SharedMemory } from "../../src/os/shared-memory.ts";
import { LeaseRing } from "../../src/pools/shared/lease-ring.ts";
import { SpscRing } from "../../src/pools/shared/ring.ts";
import { isMillpondError } from "../../src/util/errors.ts";
import { answerOf, kill, run } from "../helpers/child.ts";
import { REPEATED, SOAK_MS, times } from "../helpers/effort.ts";
import { code } from "../pools/buffer/pools.ts";

const CHILD = join(import.meta.dirname, "hostile.child.ts");

const pools: ProcessPool[] = [];
const blocks: SharedMemory[] = [];
const children: ChildProcess[] = [];

afterEach(async () => {
  await Promise.all(children.splice(0).map(kill));
  for (const pool of pools.splice(0)) pool.leave({ force: true });
  for (const block of blocks.splice(0)) block.retire();
});

/** A pool, a ring's memory, and this side of it. */
function shared(capacity: number): { pool: ProcessPool; block: SharedMemory; ring: LeaseRing } {
  const pool = ProcessPool.create({ size: 256, count: 8, members: 4, zero: "never" });
  pools.push(pool);
  const made = createSharedMemory(65536);
  if (!made.ok) throw new Error(made.hint);
  blocks.push(made.value);
  // A ring makes its own memory; its first words are all that there is to an empty one.
  new Uint8Array(made.value.buffer).set(new Uint8Array(SpscRing.create(capacity).memory));
  return { pool, block: made.value, ring: LeaseRing.attach(pool, made.value.buffer, "pop") };
}

function start(job: string, ...descriptors: number[]): ChildProcess {
  const child = spawn(process.execPath, [CHILD, job], { stdio: ["ignore", "pipe", "inherit", ...descriptors] });
  children.push(child);
  return child;
}

/** Takes leases, which must come in order from `first` on, or from wherever a new process begins. */
function takeSome(pool: ProcessPool, ring: LeaseRing, count: number): void {
  let last = -1;
  for (let i = 0; i < count; i++) {
    const id = ring.popSync(60_000);
    const bytes = pool.bytesOf(id);
    if (bytes.some((byte) => byte !== bytes[0])) throw new Error(`lease ${id} has bytes of two`);
    if (last >= 0 && bytes[0] !== ((last + 1) & 255)) throw new Error(`${bytes[0]} came after ${last}`);
    last = bytes[0]!;
    pool.releaseId(id);
  }
}

describe.runIf(nativeOps().availability.ok && process.platform === "linux")("a limit of the process", () => {
  it.each([
    ["descriptors (ulimit -n 60)", "ulimit -n 60", { status: "limit", errno: "EMFILE" }],
    ["the size of a file (ulimit -f 1)", "ulimit -f 1", { status: "limit", errno: "EFBIG" }],
  ])("%s: a typed error, every pool that there is goes on, and no descriptor is left", async (_, limit, details) => {
    const first = limit.endsWith("-f 1");
    const exit = await run(["sh", "-c", `${limit} && exec "$@"`, "sh", process.execPath, CHILD, "descriptors"]);
    if (first) {
      // Not even the first pool can be made.
      expect([exit.signal, exit.stderr]).toEqual([null, expect.stringContaining("ERR_ALLOCATION_FAILED")]);
      return;
    }
    const answer = answerOf<{ made: number }>(exit);
    expect(answer).toMatchObject({
      refused: { code: "ERR_ALLOCATION_FAILED", details },
      block: "limit",
      works: true,
      left: 0,
    });
    expect(answer.made).toBeGreaterThan(5);
  });
});

describe.runIf(nativeOps().availability.ok && process.platform === "linux")("a ring between processes", () => {
  it("its waiting forms sleep and wake across processes; a peer that is stopped holds nobody, and goes on", async () => {
    const { pool, block, ring } = shared(4);
    const child = start("push", pool.descriptor, block.descriptor);
    takeSome(pool, ring, 300);
    child.kill("SIGSTOP");
    // What was under way comes out, then nothing.
    let ended = "";
    for (let i = 0; i <= 20 && ended === ""; i++) {
      try {
        pool.releaseId(ring.popSync(100));
      } catch (error) {
        ended = (error as { code: string }).code;
      }
    }
    expect(ended).toBe("ERR_STARVED");
    const waits = ring.pop({ timeout: 50 }).catch((error) => error.code);
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    expect(await waits).toBe("ERR_STARVED");
    clearInterval(timer);
    // A wait that blocked the thread would have let none through.
    expect(turns).toBeGreaterThan(0);
    child.kill("SIGCONT");
    pool.releaseId(await ring.pop({ timeout: 60_000 }));
    takeSome(pool, ring, 100);
  });

  it(
    "its pushing process is killed at any moment, again and again: the next one takes its place, no slot is lost",
    REPEATED,
    async () => {
      const { pool, block, ring } = shared(4);
      const end = performance.now() + SOAK_MS;
      for (let round = 0; round < times(3, 6) || performance.now() < end; round++) {
        const child = start("push", pool.descriptor, block.descriptor);
        takeSome(pool, ring, 20 + ((37 * round) % 1009));
        await kill(child);
        pool.reclaimEnded();
        for (let id = ring.tryPop(); id >= 0; id = ring.tryPop()) pool.releaseId(id);
      }
      expect(code(() => ring.popSync(10))).toBe("ERR_STARVED");
      expect([pool.stats().free, pool.processes().filter((pid) => pid !== 0)]).toEqual([pool.count, [process.pid]]);
      pool.validate();
    },
  );
});

describe.runIf(nativeOps().availability.ok && process.platform === "linux")("descriptors that are inherited", () => {
  it("a child and its sibling have one by the same number: killing one leaves the other's part alone", async () => {
    const { pool } = shared(4);
    const [one, two] = [start("inherit", pool.descriptor), start("inherit", pool.descriptor)];
    const said = [one, two].map(async (child) => {
      for await (const line of createInterface({ input: child.stdout! })) return JSON.parse(line) as { member: number };
      throw new Error("it said nothing");
    });
    const members = (await Promise.all(said)).map(({ member }) => member);
    expect(new Set(members).size).toBe(2);
    await kill(one);
    // The sibling looks for ended processes too, and may be the first, or at it.
    await expect
      .poll(() => {
        pool.reclaimEnded();
        return pool.stats().held;
      })
      .toBe(1);
    const [first, second] = members.map((member) => pool.processes()[member]);
    expect([first === one.pid, second]).toEqual([false, two.pid]);
  });
});

describe.runIf(nativeOps().availability.ok && process.platform === "linux")("a torn handle", () => {
  it("each field missing or hostile: a typed error, no membership is taken, no descriptor is lost", () => {
    const { pool } = shared(4);
    const handle = pool.reserve();
    const rows = pool.processes();
    const nasty = [undefined, null, -1, 0.5, Number.NaN, 2 ** 53, "8", 1n, Symbol("x"), {}, [], () => 0];
    for (const field of [...Object.keys(handle), "membership.member", "membership.status"]) {
      for (const value of nasty) {
        // Another name is only another word in messages; without a membership it is a handle for anybody.
        if ((field === "name" && typeof value === "string") || (field === "membership" && value === undefined))
          continue;
        const torn = field.startsWith("membership.")
          ? { ...handle, membership: { ...handle.membership, [field.slice("membership.".length)]: value } }
          : { ...handle, [field]: value };
        let error: unknown;
        try {
          ProcessPool.attach(torn as never);
        } catch (thrown) {
          error = thrown;
        }
        if (!isMillpondError(error)) throw new Error(`${field} = ${String(value)}: ${String(error)}`, { cause: error });
      }
    }
    expect(pool.processes()).toEqual(rows);
    const thread = ProcessPool.attach(handle);
    expect(thread.member).toBe(handle.membership.member);
    thread.leave();
    expect(code(() => ProcessPool.attach(openSync("/dev/null", "r")))).toBe("ERR_BAD_DATA");
  });
});
