/** Diagnostics channels: what is published, and that subscribers can call anything back. */
import { channel, subscribe, tracingChannel, unsubscribe } from "node:diagnostics_channel";
import { describe, expect, it } from "vitest";
import type { PoolMessage, WaitMessage } from "../../src/observe/channels.ts";
import { type Recorder, record } from "../../src/observe/recorder.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { TransferPool } from "../../src/pools/lane/transfer-pool.ts";
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { SharedPool } from "../../src/pools/shared/shared-pool.ts";
import { FakeClock } from "../../src/util/clock.ts";

import { EVERY_POOL } from "./every-pool.ts";

let count = 0;
const freshName = (): string => `channels ${++count}`;

async function heard(name: string, run: (poolName: string) => unknown): Promise<Record<string, unknown>[]> {
  const poolName = freshName();
  const messages: Record<string, unknown>[] = [];
  const listener = (message: unknown): void => {
    const known = message as Record<string, unknown>;
    if (known.name === poolName) messages.push({ ...known });
  };
  subscribe(name, listener);
  try {
    await run(poolName);
  } finally {
    unsubscribe(name, listener);
  }
  return messages;
}

describe("diagnostics channels", () => {
  it("millpond:pool tells of the making and the end of a pool, each once", async () => {
    const messages = await heard("millpond:pool", (name) => {
      const pool = PagePool.create({ name });
      pool.close();
      pool.close({ force: true });
    });
    expect(messages.map(({ event, kind }) => [event, kind])).toEqual([
      ["create", "PagePool"],
      ["close", "PagePool"],
    ]);
  });

  it("a subscriber of a new pool may record at once, whatever its kind", () => {
    for (const [, kind, make] of EVERY_POOL) {
      const poolName = freshName();
      const recorders: Recorder[] = [];
      const listener = (message: unknown): void => {
        const { name, event } = message as PoolMessage;
        if (name === poolName && event === "create") recorders.push(record());
      };
      subscribe("millpond:pool", listener);
      const pool = make(poolName);
      unsubscribe("millpond:pool", listener);
      const give = pool.take();
      give();
      pool.validate();
      pool.close();
      expect(recorders.length, kind).toBeGreaterThan(0);
      const known = recorders[0]!.recording();
      const ids = new Set(known.pools.filter(({ name }) => name === poolName).map(({ id }) => id));
      for (const recorder of recorders) recorder.stop();
      expect(
        known.events.filter(({ type, pool: id }) => type === "acquire" && ids.has(id)).length,
        kind,
      ).toBeGreaterThan(0);
    }
  });

  it("millpond:starved tells who holds what, once a limit and at each wait that ends in vain", async () => {
    const messages = await heard("millpond:starved", async (name) => {
      const clock = new FakeClock();
      const pool = BufferPool.create({ name, size: 64, max: 1, clock, starvedAfter: 10 });
      const held = pool.tryAcquire({ tag: "slow" })!;
      const wait = pool.acquire({ timeout: 15 });
      clock.advance(15);
      await expect(wait).rejects.toMatchObject({ code: "ERR_STARVED" });
      held.release();
      pool.close();
    });
    expect(messages).toMatchObject([
      { waited: 10, waiting: 1, holders: [{ slot: 0, tag: "slow" }] },
      { waited: 15, holders: [{ slot: 0, tag: "slow" }] },
    ]);
  });

  it("millpond:starved tells of a wait in vain for pages, and for slots that threads share or that travel", async () => {
    const clock = new FakeClock();
    const inVain = async (acquire: () => Promise<unknown>): Promise<void> => {
      const wait = acquire();
      clock.advance(5);
      await expect(wait).rejects.toMatchObject({ code: "ERR_STARVED" });
    };
    const messages = await heard("millpond:starved", async (name) => {
      const pages = PagePool.create({ name, max: 1, clock });
      const page = pages.allocate(64);
      await inVain(() => pages.acquire(64, { timeout: 5 }));
      page.release();
      pages.close();
      for (const pool of [
        SharedPool.create({ name, size: 64, count: 1, clock }),
        TransferPool.create({ name, size: 64, count: 1, clock }),
      ]) {
        const lease = pool.tryAcquire()!;
        await inVain(() => pool.acquire({ timeout: 5 }));
        lease.release();
        pool.close();
      }
    });
    expect(messages.map(({ kind, waited, waiting }) => [kind, waited, waiting])).toEqual([
      ["PagePool", 5, 1],
      ["SharedPool", 5, 1],
      ["TransferPool", 5, 1],
    ]);
  });

  it("millpond:discard tells the slot and the reason", async () => {
    const messages = await heard("millpond:discard", (name) => {
      class Choosy extends BufferPool {
        protected override recycle(): boolean {
          return false;
        }
      }
      const pool = Choosy.create({ name, size: 64, max: 1 });
      pool.tryAcquire()!.release();
      pool.close();
    });
    expect(messages.map(({ slot, reason }) => [slot, reason])).toEqual([[0, "hook"]]);
  });

  it("millpond:wait is a tracing channel: start and end at once, asyncStart and asyncEnd when it is over, error in vain", async () => {
    const steps: string[] = [];
    const name = freshName();
    const note = (step: string) => (message: unknown) => {
      if ((message as WaitMessage).name === name) steps.push(step);
    };
    const subscribers = {
      start: note("start"),
      end: note("end"),
      asyncStart: note("asyncStart"),
      asyncEnd: note("asyncEnd"),
      error: note("error"),
    };
    const waits = tracingChannel("millpond:wait");
    waits.subscribe(subscribers);
    try {
      const clock = new FakeClock();
      const pool = BufferPool.create({ name, size: 64, max: 1, clock });
      const held = pool.tryAcquire()!;
      const served = pool.acquire();
      expect(steps).toEqual(["start", "end"]);
      held.release();
      (await served).release();
      expect(steps.splice(0)).toEqual(["start", "end", "asyncStart", "asyncEnd"]);
      const again = pool.tryAcquire()!;
      const vain = pool.acquire({ timeout: 5 });
      clock.advance(5);
      await expect(vain).rejects.toMatchObject({ code: "ERR_STARVED" });
      await Promise.resolve();
      expect(steps).toEqual(["start", "end", "error", "asyncStart", "asyncEnd"]);
      again.release();
      pool.close();
    } finally {
      waits.unsubscribe(subscribers);
    }
  });

  it("a subscriber that releases the buffer, acquires, or closes the pool finds every promise kept", async () => {
    for (const what of ["release", "acquire", "close"] as const) {
      const name = freshName();
      const pool = BufferPool.create({ name, size: 64, max: 1 });
      const held = pool.tryAcquire()!;
      const late: Promise<unknown>[] = [];
      let isDone = false;
      const start = channel("tracing:millpond:wait:start");
      const listener = (message: unknown): void => {
        if ((message as WaitMessage).name !== name || isDone) return;
        isDone = true;
        if (what === "release") held.release();
        else if (what === "acquire") late.push(pool.acquire());
        else pool.close({ force: true });
      };
      start.subscribe(listener);
      const first = pool.acquire();
      start.unsubscribe(listener);
      if (what === "close") {
        await expect(first).rejects.toMatchObject({ code: "ERR_POOL_DEAD" });
        continue;
      }
      if (held.isLive) held.release();
      (await first).release();
      for (const promise of late) ((await promise) as { release(): void }).release();
      pool.validate();
      expect(pool.stats()).toMatchObject({ outstanding: 0, waiting: 0 });
      pool.close();
    }
  });
});
