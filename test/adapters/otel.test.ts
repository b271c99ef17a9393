/** Metrics of pools, in the real SDK, as its Prometheus exporter serves them. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { metrics as api, type Meter } from "@opentelemetry/api";
import { PrometheusExporter } from "@opentelemetry/exporter-prometheus";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import { afterEach, describe, expect, it, onTestFinished } from "vitest";
import { instrument } from "../../src/adapters/otel.ts";
import { pools } from "../../src/observe/pools.ts";
import {
  beginWait,
  type PoolRegistration,
  registerPool,
  registrations,
  tellLeaked,
} from "../../src/observe/registry.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { SharedPool } from "../../src/pools/shared/shared-pool.ts";
import { SlabPool } from "../../src/pools/slab/slab-pool.ts";
import { FakeClock } from "../../src/util/clock.ts";
import { lateErrors } from "../helpers/late-errors.ts";
import { code } from "../pools/buffer/pools.ts";

const endings: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

interface Scrape {
  readonly meter: Meter;
  /** What a scraper gets: series to value, of the pools of this name. */
  read(): Promise<Record<string, number>>;
  text(): Promise<string>;
}

/** An SDK whose exporter answers on a port that was free. */
async function scrape(name: string): Promise<Scrape> {
  const exporter = new PrometheusExporter({ preventServerStart: true });
  const provider = new MeterProvider({ readers: [exporter] });
  const server = createServer((request, response) => exporter.getMetricsRequestHandler(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  endings.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await provider.shutdown();
  });
  const { port } = server.address() as AddressInfo;
  const text = async (): Promise<string> =>
    (await fetch(`http://127.0.0.1:${port}/metrics`, { headers: { connection: "close" } })).text();
  return {
    meter: provider.getMeter("test"),
    text,
    async read() {
      const found: Record<string, number> = {};
      for (const line of (await text()).split("\n")) {
        const [, metric, labels, value] = /^(millpond_\w+)\{(.*)\} (\S+)/.exec(line) ?? [];
        if (metric === undefined || !labels!.includes(`millpond_pool_name="${name}"`)) continue;
        const rest = labels!
          .split(",")
          .filter((label) => !/^(millpond_pool_name|otel_scope\w*)=/.test(label))
          .sort();
        found[`${metric.replace("millpond_pool_", "")} ${rest.join(" ")}`] = Number(value);
      }
      return found;
    },
  };
}

function measure(...given: Parameters<typeof instrument>): () => void {
  const stop = instrument(...given);
  endings.push(stop);
  return stop;
}

let count = 0;
const freshName = (): string => `metered ${++count}`;
const KIND = 'millpond_pool_kind="BufferPool"';

describe("metrics of a pool", () => {
  it("are scraped: buffers by state, bytes, waiters, counters, and what waits took", async () => {
    const name = freshName();
    const clock = new FakeClock();
    const pool = BufferPool.create({ name, size: 1000, max: 2, clock });
    const { meter, read, text } = await scrape(name);
    measure(meter);
    const first = pool.tryAcquire()!;
    const second = pool.tryAcquire()!;
    const served = pool.acquire();
    const starved = pool.acquire({ timeout: 10 }).catch(() => {});
    const aborted = pool.acquire({ signal: AbortSignal.abort() }).catch(() => {});
    await aborted;
    const bytes = pool.stats().bytes;
    expect(await read()).toMatchObject({
      [`buffers ${KIND} state="free"`]: 0,
      [`buffers ${KIND} state="leased"`]: 2,
      [`limit ${KIND}`]: 2,
      [`bytes ${KIND}`]: bytes,
      [`waiting ${KIND}`]: 2,
      [`acquires_total ${KIND}`]: 2,
      [`starved_total ${KIND}`]: 0,
      [`discarded_total ${KIND}`]: 0,
    });
    clock.advance(10);
    await starved;
    first.release();
    const third = await served;
    const after = await read();
    expect(after).toMatchObject({
      [`waiting ${KIND}`]: 0,
      [`acquires_total ${KIND}`]: 3,
      [`starved_total ${KIND}`]: 1,
      [`wait_duration_count ${KIND}`]: 1,
      [`wait_duration_count error_type="ERR_STARVED" ${KIND}`]: 1,
    });
    expect(after[`wait_duration_sum ${KIND}`]).toBeGreaterThan(0);
    // It does not look for leaks, so there is no zero that could be believed.
    expect(Object.keys(after).filter((key) => key.startsWith("leaked"))).toEqual([]);
    const all = await text();
    expect(all).toContain("# UNIT millpond_pool_bytes By");
    expect(all).toContain("# TYPE millpond_pool_wait_duration histogram");
    expect(all).toContain("# TYPE millpond_pool_buffers gauge");
    expect(all).toContain("# TYPE millpond_pool_acquires_total counter");
    for (const lease of [second, third]) lease.release();
    pool.close();
  });

  it("do not watch it: its fast paths stay open, and it is not told of anything", async () => {
    const name = freshName();
    const pool = BufferPool.create({ name, size: 64, max: 1 });
    let told = 0;
    const counts = pools()
      .find((info) => info.name === name)!
      .counts();
    const probe = { counts: () => counts, stats: () => ({}), holders: () => [], watch: () => void told++ };
    const registration: PoolRegistration = registerPool("BufferPool", name, probe);
    registration.begin();
    endings.push(() => registration.end());
    const { meter, read } = await scrape(name);
    measure(meter);
    pool.tryAcquire()!.release();
    await read();
    expect(registrations().filter(({ observer }) => observer !== null)).toEqual([]);
    expect(told).toBe(0);
    pool.close();
  });

  it("leave out what a kind does not count, and count leaks where they are looked for", async () => {
    const name = freshName();
    const [slab, pages, shared] = [
      SlabPool.create({ name, elementSize: 64 }),
      PagePool.create({ name }),
      SharedPool.create({ name, size: 64, count: 4 }),
    ];
    const leaky = BufferPool.create({ name, size: 64, max: 1, leaks: "all" });
    const { meter, read } = await scrape(name);
    measure(meter);
    const view = SharedPool.attach(shared.reserve());
    slab.alloc();
    const keys = await read();
    const of = (kind: string): string[] =>
      Object.keys(keys)
        .filter((key) => key.includes(`"${kind}"`))
        .map((key) => key.split(" ")[0]!);
    expect(of("SlabPool").sort()).toEqual(["buffers", "buffers", "bytes", "limit", "waiting"]);
    expect(of("PagePool")).toEqual(expect.arrayContaining(["acquires_total", "discarded_total"]));
    expect(of("PagePool")).not.toContain("starved_total");
    expect(keys[`leaked_total ${KIND}`]).toBe(0);
    // Two views of one shared pool: it counts once.
    expect(keys['buffers millpond_pool_kind="SharedPool" state="free"']).toBe(4);
    const registration = registrations().find((one) => one.name === name && one.kind === "BufferPool")!;
    tellLeaked(registration, { slot: 0, lease: 1, size: 64, age: 1 });
    expect((await read())[`leaked_total ${KIND}`]).toBe(1);
    view.leave();
    slab.close({ force: true });
    for (const pool of [pages, shared, leaky]) pool.close();
  });

  it("add up pools of one name, and do not fall when one of them ends", async () => {
    const name = freshName();
    const make = (): BufferPool => BufferPool.create({ name, size: 64, max: 2 });
    const [first, second] = [make(), make()];
    const { meter, read } = await scrape(name);
    measure(meter);
    for (let i = 0; i < 5; i++) first.tryAcquire()!.release();
    const lease = second.tryAcquire()!;
    expect(await read()).toMatchObject({
      [`acquires_total ${KIND}`]: 6,
      [`limit ${KIND}`]: 4,
      [`buffers ${KIND} state="leased"`]: 1,
    });
    // What it counted since the last collection is not lost.
    first.tryAcquire()!.release();
    first.close();
    expect(await read()).toMatchObject({ [`acquires_total ${KIND}`]: 7, [`limit ${KIND}`]: 2 });
    const third = make();
    third.tryAcquire()!.release();
    expect((await read())[`acquires_total ${KIND}`]).toBe(8);
    lease.release();
    second.close();
    third.close();
    // The series goes on: nothing is there, and no counter falls.
    expect(await read()).toEqual({
      [`acquires_total ${KIND}`]: 8,
      [`starved_total ${KIND}`]: 0,
      [`discarded_total ${KIND}`]: expect.any(Number) as number,
      [`buffers ${KIND} state="free"`]: 0,
      [`buffers ${KIND} state="leased"`]: 0,
      [`limit ${KIND}`]: 0,
      [`bytes ${KIND}`]: 0,
      [`waiting ${KIND}`]: 0,
    });
  });

  it("tell pools of one name apart where ids are wanted", async () => {
    const name = freshName();
    const made = [1, 2].map(() => BufferPool.create({ name, size: 64, max: 2 }));
    made[1]!.tryAcquire()!.release();
    const { meter, read } = await scrape(name);
    measure(meter, { ids: true });
    const ids = pools()
      .filter((info) => info.name === name)
      .map(({ id }) => id);
    const found = await read();
    expect(ids.map((id) => found[`acquires_total millpond_pool_id="${id}" ${KIND}`])).toEqual([0, 1]);
    expect(code(() => instrument(meter))).toBe("ERR_INVALID_ARG_VALUE");
    for (const pool of made) pool.close();
  });

  it("come from several calls without being counted twice, until the last has ended", async () => {
    const name = freshName();
    const make = (): BufferPool => BufferPool.create({ name, size: 64, max: 1 });
    const [one, other, third] = [make(), make(), make()];
    const infos = pools().filter((info) => info.name === name);
    const { meter, read } = await scrape(name);
    const elsewhere = await scrape(name);
    const stops = [measure(meter, { pools: [infos[0]!] }), measure(meter, { pools: infos.slice(0, 2) })];
    measure(elsewhere.meter);
    const max = async (from: Scrape["read"]): Promise<unknown> => (await from())[`limit ${KIND}`];
    expect([await max(read), await max(elsewhere.read)]).toEqual([2, 3]);
    const held = one.tryAcquire()!;
    const waiting = one.acquire();
    const apart = third.tryAcquire()!;
    const ignored = third.acquire();
    held.release();
    apart.release();
    (await waiting).release();
    (await ignored).release();
    expect((await read())[`wait_duration_count ${KIND}`]).toBe(1);
    expect((await elsewhere.read())[`wait_duration_count ${KIND}`]).toBe(2);
    stops[0]!();
    stops[0]!();
    expect(await max(read)).toBe(2);
    stops[1]!();
    // The SDK goes on with what it was told last.
    expect(await max(read)).toBe(2);
    expect(await max(elsewhere.read)).toBe(3);
    // It can begin anew, also with other pools.
    measure(meter, { pools: infos.slice(2) });
    expect(await max(read)).toBe(1);
    for (const pool of [one, other, third]) pool.close();
  });

  it("count a pool once that is chosen, left out and chosen again, also when it ends meanwhile", async () => {
    const name = freshName();
    const [one, other] = [1, 2].map(() => BufferPool.create({ name, size: 64, max: 2 })) as [BufferPool, BufferPool];
    const infos = pools().filter((info) => info.name === name);
    const { meter, read } = await scrape(name);
    const lease = (pool: BufferPool, times: number): void => {
      for (let i = 0; i < times; i++) pool.tryAcquire()!.release();
    };
    const found = async (): Promise<unknown> => {
      const series = await read();
      return [series[`acquires_total ${KIND}`], series[`limit ${KIND}`]];
    };
    measure(meter, { pools: [infos[1]!] });
    lease(one, 10);
    for (let round = 0; round < 3; round++) {
      const stop = measure(meter, { pools: [infos[0]!] });
      expect(await found()).toEqual([10 + round, 4]);
      stop();
      // The counter does not fall, and nothing of the pool is there.
      expect(await found()).toEqual([10 + round, 2]);
      lease(one, 1);
    }
    expect(one.stats().acquires).toBe(13);
    one.close();
    expect(await found()).toEqual([12, 2]);
    other.close();
    expect(await found()).toEqual([12, 0]);
  });

  it("are of the others when one pool cannot be asked", async () => {
    const name = freshName();
    const pool = BufferPool.create({ name, size: 64, max: 1 });
    const throwing = registerPool("BufferPool", name, {
      counts: () => {
        throw new Error("its clock is broken");
      },
      stats: () => ({}),
      holders: () => [],
      watch: () => {},
    });
    throwing.begin();
    const { meter, read } = await scrape(name);
    measure(meter);
    expect((await read())[`limit ${KIND}`]).toBe(1);
    throwing.end();
    expect((await read())[`limit ${KIND}`]).toBe(1);
    pool.close();
  });

  it("of a meter that throws reach nobody's acquire", async () => {
    const name = freshName();
    const pool = BufferPool.create({ name, size: 64, max: 1 });
    const { meter, read } = await scrape(name);
    measure(meter);
    const noop = api.getMeter("none");
    const record = (): never => {
      throw new Error("no room");
    };
    const createHistogram = (): object => ({ record });
    measure(Object.assign(Object.create(noop) as Meter, { createHistogram }) as Meter);
    const errors = await lateErrors(async () => {
      const held = pool.tryAcquire()!;
      const waiting = pool.acquire();
      held.release();
      (await waiting).release();
    });
    expect(errors).toEqual(["no room"]);
    expect((await read())[`wait_duration_count ${KIND}`]).toBe(1);
    pool.close();
  });

  it("have names that need escapes", async () => {
    const name = 'a"b\\c\nd';
    const pool = BufferPool.create({ name, size: 64, max: 1 });
    const { meter, text } = await scrape(name);
    measure(meter);
    expect(await text()).toContain('millpond_pool_name="a\\"b\\\\c\\nd"');
    pool.close();
  });
});

describe("instrument()", () => {
  it("takes the meter of a program without an SDK, and nothing that is no meter", () => {
    const stop = instrument(api.getMeter("none"));
    stop();
    stop();
    const bad = (...given: unknown[]): string | undefined => code(() => instrument(...(given as [Meter])));
    expect(bad(undefined)).toBe("ERR_INVALID_ARG_TYPE");
    expect(bad({ createHistogram: () => {} })).toBe("ERR_INVALID_ARG_TYPE");
    expect(bad(api.getMeter("none"), { pool: [] })).toBe("ERR_INVALID_ARG_VALUE");
    expect(bad(api.getMeter("none"), { pools: [{}] })).toBe("ERR_INVALID_ARG_TYPE");
    expect(bad(api.getMeter("none"), { ids: 1 })).toBe("ERR_INVALID_ARG_TYPE");
  });

  it("leaves nothing behind when the meter throws", () => {
    const meter = api.getMeter("throws");
    const broken = new Proxy(meter, {
      get: (target, key) =>
        key === "addBatchObservableCallback"
          ? () => {
              throw new Error("no callbacks");
            }
          : Reflect.get(target, key),
    });
    expect(() => instrument(broken)).toThrow("no callbacks");
    const pool = BufferPool.create({ name: freshName(), size: 64, max: 1 });
    onTestFinished(() => void pool.close());
    const lease = pool.tryAcquire()!;
    const registration = registrations().at(-1)!;
    expect(beginWait(registration, 0, { first: null })).toBeNull();
    lease.release();
    expect(() => instrument(broken, { ids: true })).toThrow("no callbacks");
  });
});
