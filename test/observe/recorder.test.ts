/** The recorder: every lease, wait and end of every kind of pool, in a ring; and pools that go on as before. */
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { pools } from "../../src/observe/pools.ts";
import { type RecordedEvent, type Recorder, record } from "../../src/observe/recorder.ts";
import { watchedCall } from "../../src/observe/stages.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { RealtimePool } from "../../src/pools/realtime/realtime-pool.ts";
import { SlabPool } from "../../src/pools/slab/slab-pool.ts";
import { FakeClock } from "../../src/util/clock.ts";
import { growthOf } from "../helpers/heap.ts";
import { code } from "../pools/buffer/pools.ts";
import { EVERY_POOL } from "./every-pool.ts";

let count = 0;
const freshName = (): string => `recorder ${++count}`;
const recorders: Recorder[] = [];
const start = (...given: Parameters<typeof record>): Recorder => {
  const recorder = record(...given);
  recorders.push(recorder);
  return recorder;
};
afterEach(() => {
  for (const recorder of recorders.splice(0)) recorder.stop();
});

const infoOf = (name: string, kind: string) => pools().find((info) => info.name === name && info.kind === kind)!;
const typesOf = (events: readonly RecordedEvent[]): string[] =>
  events.map(({ type }) => type).filter((type) => type !== "resize");

/** What the events say is out: by slot. */
function openSlots(events: readonly RecordedEvent[]): Set<number> {
  const open = new Set<number>();
  for (const { type, subject } of events) {
    if (type === "acquire") {
      expect(open.has(subject), `slot ${subject} is leased twice`).toBe(false);
      open.add(subject);
    } else if (type === "release") open.delete(subject);
    else if (type === "end") open.clear();
  }
  return open;
}

describe.each(EVERY_POOL)("%s", (_what, kind, make) => {
  it("is recorded: what is out before, each lease, the end", () => {
    const name = freshName();
    const pool = make(name);
    const early = pool.take();
    const recorder = start({ pools: [infoOf(name, kind)] });
    const late = pool.take();
    late();
    early();
    const info = infoOf(name, kind);
    expect(typesOf(recorder.events())).toEqual(["acquire", "acquire", "release", "release"]);
    expect(openSlots(recorder.events()).size).toBe(info.counts().leased);
    pool.take();
    pool.close();
    expect(typesOf(recorder.events()).at(-1)).toBe("end");
    expect(openSlots(recorder.events()).size).toBe(0);
  });

  it("keeps every promise while recorders come and go at any moment", () => {
    const step = fc.constantFrom("take", "give", "record", "stop");
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const name = freshName();
        const pool = make(name);
        const info = infoOf(name, kind);
        const gives: (() => void)[] = [];
        const running: Recorder[] = [];
        for (const what of steps) {
          if (what === "take" && gives.length < 6) gives.push(pool.take());
          else if (what === "give") gives.shift()?.();
          else if (what === "record" && running.length < 3) running.push(start({ pools: [info], capacity: 256 }));
          else if (what === "stop") running.shift()?.stop();
          pool.validate();
          expect(info.counts().leased).toBe(gives.length);
          for (const recorder of running) expect(openSlots(recorder.events()).size).toBe(gives.length);
        }
        for (const recorder of running) recorder.stop();
        for (const give of gives.splice(0)) give();
        pool.validate();
        expect(info.counts().leased).toBe(0);
        pool.close();
      }),
      { numRuns: 30 },
    );
  });
});

describe("a recorder", () => {
  it("records pools that are made while it runs, and those only that it was given otherwise", () => {
    const one = freshName();
    const first = BufferPool.create({ name: one, size: 64, max: 2 });
    const all = start();
    const only = start({ pools: [infoOf(one, "BufferPool")] });
    const two = freshName();
    const second = BufferPool.create({ name: two, size: 64, max: 2 });
    second.tryAcquire()!.release();
    expect(all.recording().pools.map(({ name }) => name)).toEqual(expect.arrayContaining([one, two]));
    expect([only.recording().pools.map(({ name }) => name), only.events()]).toEqual([[one], []]);
    first.close();
    second.close();
  });

  it("keeps the newest events of its ring and counts the others", () => {
    const name = freshName();
    const pool = BufferPool.create({ name, size: 64, max: 1 });
    const recorder = start({ pools: [infoOf(name, "BufferPool")], capacity: 16 });
    for (let i = 0; i < 20; i++) pool.tryAcquire()!.release();
    // The slot was made, and 20 leases.
    expect([recorder.length, recorder.dropped]).toEqual([16, 41 - 16]);
    const events = recorder.events();
    expect(events.map(({ type }) => type)).toEqual(Array.from({ length: 8 }, () => ["acquire", "release"]).flat());
    expect(events.every(({ time }, i) => i === 0 || time >= events[i - 1]!.time)).toBe(true);
    pool.close();
  });

  it("notes tags, traced places, discards with their reason, waits and starvation", async () => {
    const name = freshName();
    const clock = new FakeClock();
    const pool = BufferPool.create({ name, size: 64, max: 1, trace: true, clock });
    const recorder = start({ pools: [infoOf(name, "BufferPool")] });
    const held = pool.tryAcquire({ tag: "encoder" })!;
    const served = pool.acquire();
    const starved = pool.acquire({ timeout: 5 });
    clock.advance(5);
    await expect(starved).rejects.toMatchObject({ code: "ERR_STARVED" });
    const { buffer } = held.bytes;
    structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
    expect(code(() => held.release())).toBe("ERR_DETACHED");
    (await served).release();
    const events = recorder.events();
    const acquire = events.find(({ type }) => type === "acquire")!;
    expect([acquire.text, acquire.site]).toEqual(["encoder", expect.stringContaining("recorder.test.ts")]);
    expect(typesOf(events)).toEqual(
      expect.arrayContaining(["acquire", "wait", "wait", "starved", "waitEnd", "release", "discard", "acquire"]),
    );
    expect(events.filter(({ type }) => type === "waitEnd").map(({ value }) => value)).toEqual([0, 1]);
    expect(events.find(({ type }) => type === "discard")!.text).toBe("detached");
    pool.close();
  });

  it("can be started and stopped inside a hook of a SlabPool, which goes on", async () => {
    let recorder: Recorder | undefined;
    const pool = SlabPool.create({
      elementSize: 64,
      init: () => {
        recorder ??= start();
      },
      destroy: () => recorder?.stop(),
    });
    const pointer = pool.alloc();
    await Promise.resolve();
    pool.validate();
    pool.free(pool.alloc());
    expect(typesOf(recorder!.events())).toEqual(expect.arrayContaining(["acquire", "release"]));
    pool.free(pointer);
    pool.validate();
    pool.close();
  });

  it("hears of no wait that ends after it was stopped", async () => {
    const name = freshName();
    const pool = BufferPool.create({ name, size: 64, max: 1 });
    const held = pool.tryAcquire()!;
    const recorder = start({ pools: [infoOf(name, "BufferPool")] });
    const wait = pool.acquire();
    recorder.stop();
    const { length } = recorder;
    held.release();
    (await wait).release();
    expect(recorder.length).toBe(length);
    pool.close();
  });

  it("refuses options that are none, and a capacity out of range", () => {
    expect(code(() => record({ capacity: 15 }))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => record({ pools: {} as never }))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(() => record({ pools: [null] as never }))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(() => record({ pool: [] } as never))).toBe("ERR_INVALID_ARG_VALUE");
  });

  it("stops once, and what it recorded stays", () => {
    const name = freshName();
    const pool = BufferPool.create({ name, size: 64, max: 1 });
    const recorder = record();
    pool.tryAcquire()!.release();
    recorder.stop();
    recorder.stop();
    const { length } = recorder;
    pool.tryAcquire()!.release();
    expect([recorder.length, recorder.isRecording, length > 0]).toEqual([length, false, true]);
    pool.close();
  });

  it("records the other pools when one has lost its bytes, and leaves none of them watched", () => {
    const lost = RealtimePool.create({ name: freshName(), totalSize: 16_384, lock: "off" });
    const name = freshName();
    const pool = BufferPool.create({ name, size: 64, max: 1 });
    structuredClone(lost.buffer, { transfer: [lost.buffer as ArrayBuffer] });
    const recorder = start();
    pool.tryAcquire()!.release();
    const { pools: recorded, events } = recorder.recording();
    const { id } = recorded.find((about) => about.name === name)!;
    expect(typesOf(events.filter((event) => event.pool === id))).toEqual(["acquire", "release"]);
    expect(recorded.find((about) => about.name === lost.name)).toMatchObject({ kind: "RealtimePool", count: 0 });
    recorder.stop();
    const { length } = recorder;
    pool.tryAcquire()!.release();
    expect(recorder.length).toBe(length);
    lost.close({ force: true });
    pool.close();
  });
});

describe("what a recorder keeps alive of the program", () => {
  /** In memory of its own, as a text that was read is. */
  const long = (n: number): string => Buffer.alloc(100_000, `request ${n} `).toString("latin1");

  it.each([
    ["long tags", (n: number) => long(n)],
    ["short parts of long texts", (n: number) => long(n).slice(0, 20)],
  ])("is 200 characters of a text: %s", async (_what, tagOf) => {
    const pool = BufferPool.create({ name: freshName(), size: 64, min: 1, max: 1 });
    const recorder = start({ capacity: 4096 });
    const grown = await growthOf(() => {
      for (let n = 0; n < 300; n++) pool.tryAcquire({ tag: tagOf(n) })!.release();
    });
    // The program's own would be 30 MB.
    expect(grown).toBeLessThan(5e6);
    expect(recorder.events().filter(({ text = "" }) => text.length > 200)).toEqual([]);
    expect(recorder.events().filter(({ text = "" }) => text.startsWith("request 299"))).toHaveLength(1);
    pool.close();
  });

  it("is 200 characters of the name of a pool that has ended", async () => {
    const recorder = start({ capacity: 4096 });
    const grown = await growthOf(() => {
      for (let n = 0; n < 300; n++) BufferPool.create({ name: long(n), size: 64, max: 1 }).close();
    });
    expect(grown).toBeLessThan(5e6);
    const { pools: recorded } = recorder.recording();
    expect(Math.max(...recorded.map(({ name }) => name.length))).toBe(200);
  });

  it("is no pool that brought nothing and was forgotten, and one that did until its events are overwritten", async () => {
    const recorder = start({ capacity: 16 });
    const names = Array.from({ length: 50 }, () => freshName());
    const recorded = () => recorder.recording().pools.filter(({ name }) => names.includes(name));
    const collect = async () => {
      for (let n = 0; n < 4; n++) {
        await new Promise((resolve) => setImmediate(resolve));
        await growthOf(() => {});
      }
    };
    (() => {
      for (const name of names) BufferPool.create({ name, size: 64, max: 1 });
      BufferPool.create({ name: names[0]!, size: 64, max: 1 }).close();
    })();
    await collect();
    expect(recorded().map(({ name }) => name)).toEqual([names[0]]);
    const pool = BufferPool.create({ name: freshName(), size: 64, min: 1, max: 1 });
    for (let n = 0; n < 8; n++) pool.tryAcquire()!.release();
    expect(recorded()).toEqual([]);
    pool.close();
  });

  it("is no stage of a pipeline", async () => {
    const recorder = start({ capacity: 4096 });
    const grown = await growthOf(() => {
      for (let n = 0; n < 300; n++) {
        const stage = { name: `stage ${n}`, frame: new Array<number>(10_000).fill(n) };
        watchedCall(stage, long(n), () => {});
      }
    });
    expect(grown).toBeLessThan(5e6);
    const { spans } = recorder.recording();
    expect(spans.filter(({ name }) => name === "stage 299")).toMatchObject([
      { type: "work", text: expect.stringMatching(/^request 299 /) },
    ]);
    const rude: { readonly name: string } = {
      get name(): string {
        throw new Error("no name");
      },
    };
    expect(watchedCall(rude, "work", () => 1)).toBe(1);
  });
});
