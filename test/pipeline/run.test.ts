// Shares its realm with other files: nothing that it changes outlives it.
import { describe, expect, test } from "vitest";
import { nextTurn } from "../../src/pipeline/base/element.ts";
import { Funnel } from "../../src/pipeline/elements/funnel.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat } from "../../src/pipeline/stream-format.ts";
import { FakeClock } from "../../src/util/clock.ts";
import { Collector, expectHome, Numbers, runOrStall, Step } from "./kit.ts";

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

describe("a run", () => {
  test("takes every buffer from the source to the sink, in order, and all come back", async () => {
    const [source, sink] = [new Numbers("src", 100), new Collector("sink")];
    const pipeline = new Pipeline({ clock: new FakeClock() });
    pipeline.link(source, new Step("pass", "passthrough"), new Step("copy", "copy"), sink);
    const summary = await pipeline.run();
    expect(sink.seen).toEqual(upTo(100));
    expect(sink.finishes).toBe(1);
    expect(summary.sinks).toEqual({ sink: 100 });
    expect(summary.holders).toEqual([]);
    expectHome(pipeline);
  });

  test("in place changes the source's own buffer; no second pool", async () => {
    const [source, sink] = [new Numbers("src", 10), new Collector("sink")];
    const pipeline = new Pipeline().link(source, new Step("inc", "in-place"), sink);
    await pipeline.run();
    expect(sink.seen).toEqual(upTo(10).map((n) => n + 1));
    expect(pipeline.describe().decisions).toHaveLength(1);
  });

  test("behind a tee, in place works on copies, so that the other branch sees the original", async () => {
    const source = new Numbers("src", 20);
    const tee = new Tee("tee");
    const inc = new Step("inc", "in-place");
    const [a, b] = [new Collector("a"), new Collector("b")];
    const pipeline = new Pipeline().link(source, tee, inc, a).link(tee, b);
    await pipeline.run();
    expect(a.seen).toEqual(upTo(20).map((n) => n + 1));
    expect(b.seen).toEqual(upTo(20));
    expect(inc.copiesFirst).toBe(true);
    expectHome(pipeline);
  });

  test("a queue lets both sides run, and is bounded", async () => {
    const source = new Numbers("src", 50);
    const queue = new Queue({ max: 3 });
    let longest = 0;
    const sink = new Collector("sink", { slow: 2 });
    const pipeline = new Pipeline().link(source, queue, sink);
    const watch = setInterval(() => {}, 1000);
    const done = pipeline.run({});
    for (let i = 0; i < 40; i++) {
      await nextTurn();
      longest = Math.max(longest, queue.length);
    }
    await done;
    clearInterval(watch);
    expect(longest).toBe(3);
    expect(sink.seen).toEqual(upTo(50));
    expectHome(pipeline);
  });

  test("a funnel joins two streams and ends with the last", async () => {
    const [a, b] = [new Numbers("a", 30), new Numbers("b", 50)];
    const funnel = new Funnel("funnel");
    const sink = new Collector("sink", { slow: 1 });
    const pipeline = new Pipeline().link(a, funnel, sink).link(b, new Queue(), funnel);
    await pipeline.run();
    expect(sink.seen.toSorted((x, y) => x - y)).toEqual([...upTo(30), ...upTo(50)].toSorted((x, y) => x - y));
    expect(sink.finishes).toBe(1);
    expectHome(pipeline);
  });

  test("an empty stream ends cleanly", async () => {
    const sink = new Collector("sink");
    await new Pipeline().link(new Numbers("src", 0), new Queue(), new Step("copy", "copy"), sink).run();
    expect(sink.finishes).toBe(1);
  });

  test("a pipeline that has run can run again", async () => {
    const [source, sink] = [new Numbers("src", 5), new Collector("sink")];
    const pipeline = new Pipeline().link(source, new Queue(), sink);
    await pipeline.run();
    source.made = 0;
    await pipeline.run();
    expect(sink.seen).toEqual([...upTo(5), ...upTo(5)]);
  });

  test("a sink that has enough ends its stream, and the source stops making it", async () => {
    const source = new Numbers("src", 1_000_000);
    const sink = new Collector("sink", { limit: 7 });
    const pipeline = new Pipeline().link(source, new Queue({ max: 2 }), new Step("copy", "copy"), sink);
    await pipeline.run();
    expect(sink.seen).toEqual(upTo(7));
    expect(source.made).toBeLessThan(20);
    expectHome(pipeline);
  });

  test("one branch that has enough does not stop the other", async () => {
    const tee = new Tee("tee");
    const [few, all] = [new Collector("few", { limit: 3 }), new Collector("all")];
    const pipeline = new Pipeline().link(new Numbers("src", 40), tee, new Queue(), few).link(tee, all);
    await pipeline.run();
    expect(few.seen).toEqual(upTo(3));
    expect(all.seen).toEqual(upTo(40));
    expectHome(pipeline);
  });

  test("a delay comes out at the end of the stream", async () => {
    const sink = new Collector("sink");
    const pipeline = new Pipeline().link(new Numbers("src", 12), new Step("delay", "passthrough", 5), sink);
    await pipeline.run();
    expect(sink.seen).toEqual(upTo(12));
    expectHome(pipeline);
  });

  test("progress is told, and at the end all of it", async () => {
    const clock = new FakeClock();
    const told: number[] = [];
    const sink = new Collector("sink", { slow: 1 });
    const pipeline = new Pipeline({ clock }).link(new Numbers("src", 10), sink);
    const done = pipeline.run({ onProgress: ({ buffers }) => told.push(buffers) });
    for (let i = 0; i < 5; i++) {
      await nextTurn();
      clock.advance(100);
    }
    await done;
    expect(told.at(-1)).toBe(10);
    expect(told.length).toBeGreaterThan(1);
    expect(clock.pending).toBe(0);
  });

  test("queues that drop keep what they say", async () => {
    for (const full of ["drop-new", "drop-old"] as const) {
      const queue = new Queue({ max: 2, full });
      const sink = new Collector("sink", { slow: 1 });
      const pipeline = new Pipeline().link(new Numbers("src", 50), queue, sink);
      await pipeline.run();
      expect(sink.seen.length + queue.dropped).toBe(50);
      expect(queue.dropped).toBeGreaterThan(0);
      if (full === "drop-old") expect(sink.seen.at(-1)).toBe(49);
      expectHome(pipeline);
    }
  });
});

describe("an error", () => {
  test("of a sink ends the run with that error, and every buffer is back", async () => {
    const sink = new Collector("sink");
    sink.failAt = 5;
    const pipeline = new Pipeline().link(
      new Numbers("src", 100),
      new Queue({ max: 2 }),
      new Step("copy", "copy"),
      sink,
    );
    await expect(pipeline.run()).rejects.toThrow("sink fails at 5");
    expect(pipeline.failedIn).toBe("sink");
    expectHome(pipeline);
  });

  test("behind a queue drops what is in line, so that a producer that waits for the same pool can go on", async () => {
    const sink = new Collector("sink", { slow: 3 });
    sink.failAt = 1;
    const pipeline = new Pipeline().link(new Numbers("src", 100), new Queue({ max: 4 }), sink);
    const result = await runOrStall(pipeline);
    expect((result as Error).message).toMatch("fails at");
    expectHome(pipeline);
  });

  test("of a source, of a transform, or in one branch of a tee ends the run", async () => {
    const source = new Numbers("src", 100);
    source.failAt = 3;
    await expect(new Pipeline().link(source, new Collector("sink")).run()).rejects.toThrow("src fails at 3");

    const tee = new Tee();
    const bad = new Collector("bad");
    bad.failAt = 4;
    const pipeline = new Pipeline()
      .link(new Numbers("n", 100), tee, new Queue(), bad)
      .link(tee, new Queue(), new Collector("ok", { slow: 1 }));
    await expect(pipeline.run()).rejects.toThrow("bad fails at 4");
    expectHome(pipeline);
  });

  test("in opening closes what was opened", async () => {
    const stopped: string[] = [];
    class Door extends Collector {
      override start(): void {
        if (this.name === "bad") throw new Error("will not open");
      }
      override stop(): void {
        super.stop();
        stopped.push(this.name);
      }
    }
    const tee = new Tee();
    const pipeline = new Pipeline().link(new Numbers("n", 1), tee, new Door("bad")).link(tee, new Door("good"));
    await expect(pipeline.run()).rejects.toThrow("will not open");
    expect(stopped.sort()).toEqual(["bad", "good"]);
  });
});

describe("canceling", () => {
  test("rejects with the signal's reason, and every buffer is back", async () => {
    const stop = new AbortController();
    const reason = new Error("enough");
    const pipeline = new Pipeline().link(new Numbers("src", 1e9), new Queue(), new Collector("sink", { slow: 1 }));
    const run = pipeline.run({ signal: stop.signal });
    for (let i = 0; i < 20; i++) await nextTurn();
    stop.abort(reason);
    await expect(run).rejects.toBe(reason);
    expectHome(pipeline);
  });

  test("is felt by a pipeline that never waits", async () => {
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error("timer")), 5);
    const pipeline = new Pipeline().link(new Numbers("src", 1e9), new Collector("sink"));
    await expect(pipeline.run({ signal: stop.signal })).rejects.toThrow("timer");
    expectHome(pipeline);
  });

  test("before the start does nothing", async () => {
    const source = new Numbers("src", 5);
    const signal = AbortSignal.abort(new Error("never"));
    await expect(new Pipeline().link(source, new Collector("sink")).run({ signal })).rejects.toThrow("never");
    expect(source.made).toBe(0);
    const { DecodeElement } = await import("../../src/adapters/node/frames-element.ts");
    const { FileSource } = await import("../../src/adapters/node/file-elements.ts");
    const film = new Pipeline().link(new FileSource("absent.mp4"), new DecodeElement(), new Collector("sink"));
    await expect(film.run({ signal })).rejects.toThrow("never");
    await expect(film.run()).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("wakes a source that waits for a buffer that an application keeps", async () => {
    const stop = new AbortController();
    const kept: { release(): void }[] = [];
    class Keeper extends Collector {
      override render(buffer: Parameters<Collector["render"]>[0]): void {
        kept.push(buffer.retain());
      }
    }
    const pipeline = new Pipeline().link(new Numbers("src", 100), new Keeper("sink"));
    const run = pipeline.run({ signal: stop.signal });
    for (let i = 0; i < 5; i++) await nextTurn();
    stop.abort(new Error("stop"));
    await expect(run).rejects.toThrow("stop");
    expect(kept).toHaveLength(1);
    for (const buffer of kept) buffer.release();
    expectHome(pipeline);
  });

  test("a wait longer than acquireTimeout is ERR_STARVED and says who holds the buffers", async () => {
    const clock = new FakeClock();
    const kept: { release(): void }[] = [];
    class Keeper extends Collector {
      override render(buffer: Parameters<Collector["render"]>[0]): void {
        kept.push(buffer.retain());
      }
    }
    const pipeline = new Pipeline({ clock, acquireTimeout: 500 }).link(new Numbers("src", 100), new Keeper("sink"));
    const run = pipeline.run();
    const failed = expect(run).rejects.toMatchObject({ code: "ERR_STARVED" });
    for (let i = 0; i < 5; i++) await nextTurn();
    clock.advance(500);
    await failed;
    for (const buffer of kept) buffer.release();
    expectHome(pipeline);
  });
});

describe("a seek", () => {
  test("drops what is under way, moves the source, and goes on", async () => {
    const source = new Numbers("src", 1000);
    const sink = new Collector("sink", { slow: 1, keepLast: 2 });
    const pipeline = new Pipeline().link(
      source,
      new Queue({ max: 3 }),
      new Step("copy", "copy"),
      new Queue({ max: 3 }),
      sink,
    );
    const run = pipeline.run();
    for (let i = 0; i < 20; i++) await nextTurn();
    await pipeline.seek(990);
    await run;
    expect(source.seeks).toEqual([990]);
    expect(sink.seen.slice(-10)).toEqual([990, 991, 992, 993, 994, 995, 996, 997, 998, 999]);
    expect(sink.seen.length).toBeLessThan(100);
    expectHome(pipeline);
  });

  test("wakes a stage that waits for a buffer", async () => {
    const source = new Numbers("src", 100);
    const pipeline = new Pipeline().link(
      source,
      new Step("delay", "passthrough", 3),
      new Queue({ max: 2 }),
      new Collector("sink", { slow: 50 }),
    );
    const run = pipeline.run();
    for (let i = 0; i < 10; i++) await nextTurn();
    await pipeline.seek(98);
    await run;
    expectHome(pipeline);
  });

  test("after the source has ended makes it begin again", async () => {
    const source = new Numbers("src", 5);
    const sink = new Collector("sink", { slow: 20 });
    const pipeline = new Pipeline().link(source, new Queue({ max: 16 }), sink);
    const run = pipeline.run();
    for (let i = 0; i < 10; i++) await nextTurn();
    expect(source.made).toBe(5);
    await pipeline.seek(0);
    await run;
    expect(sink.seen.slice(-5)).toEqual([0, 1, 2, 3, 4]);
    expect(sink.finishes).toBe(1);
    expectHome(pipeline);
  });

  test("outside of a run is refused", async () => {
    const pipeline = new Pipeline().link(new Numbers("src", 5), new Collector("sink"));
    await expect(pipeline.seek(0)).rejects.toMatchObject({ code: "ERR_INACTIVE" });
  });
});

describe("a change of format in mid-stream", () => {
  test("is served by a new pool while the old one drains; the buffers that are out stay valid", async () => {
    const source = new Numbers("src", 40);
    const original = source.next.bind(source);
    source.next = () => {
      source.format = source.made < 20 ? byteFormat(64) : byteFormat(128);
      return original();
    };
    const sink = new Collector("sink", { slow: 1, keepLast: 2 });
    const pipeline = new Pipeline().link(source, new Queue({ max: 3 }), new Step("copy", "copy"), sink);
    const summary = await pipeline.run();
    expect(sink.seen).toEqual(upTo(40));
    expect(sink.formats.map((format) => (format.kind === "bytes" ? format.size : 0))).toEqual([64, 128]);
    const rounds = pipeline.describe().decisions.map(({ pad, size, round }) => [pad, size, round]);
    expect(rounds).toEqual([
      ["copy.out", 64, 1],
      ["src.out", 64, 1],
      ["copy.out", 128, 2],
      ["src.out", 128, 2],
    ]);
    expect(summary.holders).toEqual([]);
    expectHome(pipeline);
  });

  test("brings out what stages hold of the old format first", async () => {
    const source = new Numbers("src", 12);
    const original = source.next.bind(source);
    source.next = () => {
      source.format = source.made < 6 ? byteFormat(64) : byteFormat(256);
      return original();
    };
    const sizes: number[] = [];
    const sink = new Collector("sink");
    const render = sink.render.bind(sink);
    sink.render = (buffer) => {
      sizes.push(buffer.size);
      return render(buffer);
    };
    const pipeline = new Pipeline().link(source, new Step("delay", "passthrough", 3), new Queue(), sink);
    await pipeline.run();
    expect(sink.seen).toEqual(upTo(12));
    expect(sizes).toEqual([64, 64, 64, 64, 64, 64, 256, 256, 256, 256, 256, 256]);
    expectHome(pipeline);
  });

  test("that changes nothing about memory keeps the pool", async () => {
    const source = new Numbers("src", 10);
    const original = source.next.bind(source);
    source.next = () => {
      source.format = byteFormat(64, source.made < 5 ? "a" : "b");
      return original();
    };
    const pipeline = new Pipeline().link(source, new Collector("sink"));
    const summary = await pipeline.run();
    expect(summary.pools).toHaveLength(1);
    expect(pipeline.describe().decisions[1]!.candidates[0]!.what).toBe("the pool that is there");
  });

  test("that downstream does not take ends the run with the reason", async () => {
    const source = new Numbers("src", 10);
    const original = source.next.bind(source);
    source.next = () => {
      source.format = byteFormat(64, source.made < 5 ? "a" : "b");
      return original();
    };
    const { Caps } = await import("../../src/pipeline/caps.ts");
    const pipeline = new Pipeline().link(
      source,
      new Queue(),
      new Collector("sink", { caps: Caps.bytes({ type: "a" }) }),
    );
    await expect(pipeline.run()).rejects.toThrow(/sink\.in does not take b.*type is b, and a is wanted/);
    expectHome(pipeline);
  });
});
