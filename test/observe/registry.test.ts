/** The registry: which pools it knows, what they say in common words, and that looking changes nothing. */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import type { PoolMessage } from "../../src/observe/channels.ts";
import { type PoolInfo, pools } from "../../src/observe/pools.ts";
import { record } from "../../src/observe/recorder.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { SharedPool } from "../../src/pools/shared/shared-pool.ts";
import {
  commitTransfer,
  dropLost,
  prepareTransfer,
  senderWord,
  TransferResult,
} from "../../src/pools/shared/transfer.ts";
import { code } from "../pools/buffer/pools.ts";
import { EVERY_POOL } from "./every-pool.ts";

let count = 0;
const freshName = (): string => `registry ${++count}`;
const find = (name: string, kind: string): PoolInfo | undefined =>
  pools().find((info) => info.name === name && info.kind === kind);

describe.each(EVERY_POOL)("%s", (_what, kind, make) => {
  it("is in the registry from its making to its end, and counts its leases", () => {
    const name = freshName();
    const pool = make(name);
    const info = find(name, kind)!;
    const start = info.counts();
    expect([start.phase, start.leased, start.waiting, info.holders()]).toEqual(["active", 0, 0, []]);
    const gives = [pool.take(), pool.take(), pool.take()];
    const out = info.counts();
    expect([out.leased, info.holders().length, info.holders(2).length]).toEqual([3, 3, 2]);
    expect(new Set(info.holders().map(({ slot }) => slot)).size).toBe(3);
    if (out.free !== null) expect(out.free).toBe(out.count - 3);
    expect(out.bytes).toBeLessThanOrEqual(out.maxBytes);
    expect(info.bytes).toBe(out.bytes);
    pool.validate();
    for (const give of gives) give();
    expect([info.counts().leased, info.holders()]).toEqual([0, []]);
    pool.validate();
    pool.close();
    expect(find(name, kind)).toBeUndefined();
    expect([info.counts().phase, info.counts().leased, info.holders()]).toEqual(["closed", 0, []]);
  });
});

describe("the registry", () => {
  it("holds pools weakly: one that the program forgot is collected and gone, also while it is recorded", async () => {
    setFlagsFromString("--expose-gc");
    const gc = runInNewContext("gc") as () => void;
    const name = freshName();
    const forget = async (): Promise<void> => {
      (() => BufferPool.create({ name, size: 64, max: 1 }))();
      expect(find(name, "BufferPool")).toBeDefined();
      for (let i = 0; i < 50 && find(name, "BufferPool") !== undefined; i++) {
        await new Promise((resolve) => setImmediate(resolve));
        gc();
      }
      expect(find(name, "BufferPool")).toBeUndefined();
    };
    await forget();
    const recorder = record();
    await forget();
    recorder.stop();
  });

  it("says who waits, who takes part in a shared pool, and what a holder called itself", async () => {
    const name = freshName();
    const pool = BufferPool.create({ name, size: 64, max: 1 });
    const held = pool.tryAcquire({ tag: "encoder" })!;
    const wait = pool.acquire();
    const info = find(name, "BufferPool")!;
    expect([info.counts().waiting, info.holders()[0]!.tag]).toEqual([1, "encoder"]);
    held.release();
    (await wait).release();
    pool.close();
    const shared = SharedPool.create({ name, size: 64, count: 2 });
    const id = shared.tryAcquireId();
    const members = find(name, "SharedPool")!.members();
    expect(members).toMatchObject([{ member: shared.member, self: true, state: "live", holds: 1 }]);
    expect(find(name, "SharedPool")!.holders()).toMatchObject([{ lease: id, members: [shared.member] }]);
    shared.close({ force: true });
  });

  it("tells a pool that another thread closed, or that this one left, from a live one", () => {
    const name = freshName();
    const pool = SharedPool.create({ name, size: 64, count: 2 });
    const other = SharedPool.attach(pool.handle);
    const infos = pools().filter((info) => info.name === name);
    expect(infos.length).toBe(2);
    other.leave();
    expect(pools().filter((info) => info.name === name).length).toBe(1);
    const late = SharedPool.attach(pool.handle);
    pool.close();
    expect(find(name, "SharedPool")).toBeUndefined();
    expect(code(() => late.tryAcquireId())).toBe("ERR_POOL_DEAD");
  });

  it.each(["close", "retire", "reclaim"] as const)(
    "ends what another thread ended by %s, when somebody looks",
    (how) => {
      const name = freshName();
      const pool = SharedPool.create({ name, size: 64, count: 2 });
      const [info] = pools().filter((one) => one.name === name);
      const other = SharedPool.attach(pool.handle);
      const recorder = record({ pools: [info!] });
      if (how === "reclaim") {
        const id = pool.tryAcquireId();
        other.reclaim(pool.member);
        expect(info!.counts()).toMatchObject({ phase: "closed", free: 0, leased: 0 });
        expect([info!.holders(), info!.members()]).toEqual([[], []]);
        expect(code(() => pool.releaseId(id))).toBe("ERR_POOL_DEAD");
      } else other[how]();
      expect(pools().filter((one) => one.id === info!.id)).toEqual([]);
      expect(recorder.events().map(({ type }) => type)).toEqual(how === "reclaim" ? ["acquire", "end"] : ["end"]);
      pool.leave();
      expect(recorder.events().at(-1)!.type).toBe("end");
      recorder.stop();
      other.leave();
    },
  );

  it.each(["close", "retire"] as const)("changes nothing that retire() of a pool does which ended by %s", (how) => {
    const pool = SharedPool.create({ name: freshName(), size: 64, count: 2 });
    const other = SharedPool.attach(pool.handle);
    other[how]();
    pools();
    const next = SharedPool.create({ size: 64, count: 2, memory: pool.memory });
    expect(pool.retire()).toEqual([]);
    expect(next.stats()).toMatchObject({ free: 2 });
    expect(code(() => next.releaseId(next.tryAcquireId()))).toBe("ok");
    next.close();
  });

  it.each(["leave", "close"] as const)("ends a membership that was reclaimed at %s()", (how) => {
    const name = freshName();
    const pool = SharedPool.create({ name, size: 64, count: 2 });
    const other = SharedPool.attach(pool.handle);
    const recorder = record({ pools: [pools().find((one) => one.name === name)!] });
    other.reclaim(pool.member);
    expect(code(() => pool[how]({ force: true }))).toBe(how === "close" ? "ERR_POOL_DEAD" : "ok");
    expect(recorder.events().map(({ type }) => type)).toEqual(["end"]);
    recorder.stop();
    other.close();
  });

  it("ends a shared pool that retires with its last lease, without a look or a call more", async () => {
    const name = freshName();
    const told: string[] = [];
    const hear = (message: unknown): void => {
      const { name: of, event } = message as PoolMessage;
      if (of === name) told.push(event);
    };
    subscribe("millpond:pool", hear);
    const pool = SharedPool.create({ name, size: 64, count: 2 });
    const recorder = record({ pools: [find(name, "SharedPool")!] });
    const lease = pool.tryAcquire()!;
    pool.retain(lease);
    pool.retire();
    lease.release();
    lease.release();
    await Promise.resolve();
    expect(told).toEqual(["create", "close"]);
    expect(recorder.events().map(({ type }) => type)).toEqual(["acquire", "release", "end"]);
    expect(find(name, "SharedPool")).toBeUndefined();
    unsubscribe("millpond:pool", hear);
    recorder.stop();
  });

  it("hears of both ends of a lease whose message was lost, or of none", () => {
    const name = freshName();
    const pool = SharedPool.create({ name, size: 64, count: 2 });
    const other = SharedPool.attach(pool.handle);
    const recorder = record({ pools: pools().filter((one) => one.name === name) });
    const id = other.tryAcquireId();
    const { core } = other;
    const { member, status } = pool.core;
    expect(prepareTransfer(core, id, member, status)).toBe(TransferResult.DONE);
    expect(commitTransfer(core, id, member, status, senderWord(core))).toBe(TransferResult.DONE);
    expect(dropLost(pool.core, pool.indexOf(id), senderWord(core))).toBe(true);
    const [here, there] = pools().filter((one) => one.name === name);
    const typesOf = (of: number): string[] =>
      recorder
        .events()
        .filter((one) => one.pool === of)
        .map(({ type }) => type);
    expect(typesOf(here!.id)).toEqual(["acquire", "release"]);
    expect(typesOf(there!.id)).toEqual(["acquire", "release"]);
    recorder.stop();
    pool.close();
  });

  it("gives no memory to another pool by a look while a thread may be at its leases' bytes", () => {
    const name = freshName();
    const pool = SharedPool.create({ name, size: 64, count: 2 });
    const other = SharedPool.attach(pool.handle);
    pool.tryAcquireId();
    other.close({ force: true });
    expect(find(name, "SharedPool")).toBeUndefined();
    const { memory } = pool;
    expect(code(() => SharedPool.create({ name, size: 64, count: 2, memory }))).toBe("ERR_IN_USE");
    pool.leave();
    SharedPool.create({ name, size: 64, count: 2, memory }).close();
  });

  it("refuses a number of holders that is none", () => {
    const name = freshName();
    const pool = BufferPool.create({ name, size: 64, max: 1 });
    expect(code(() => find(name, "BufferPool")!.holders(-1))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => find(name, "BufferPool")!.holders("1" as never))).toBe("ERR_INVALID_ARG_TYPE");
    pool.close();
  });
});
