// Shares its realm with other files: nothing that it changes outlives it.
/** Seeks while stages hang, fail, or want nothing: every promise settles, and what was missed is caught up. */
import { describe, expect, it } from "vitest";
import type { MediaBuffer } from "../../src/index.ts";
import {
  AppSink,
  byteFormat,
  NullSink,
  Pipeline,
  Sink,
  Source,
  type StreamFormat,
  Tee,
  Transform,
} from "../../src/pipeline.ts";
import { FakeClock } from "../../src/testing.ts";
import { codeOf } from "../helpers/code-of.ts";

const never = (): Promise<never> => new Promise(() => {});
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** What became of a run by 500 turns of the event loop; one that still goes on is aborted by nobody. */
async function outcome(run: Promise<unknown>): Promise<string> {
  let became = "waits";
  run.then(
    () => {
      became = "done";
    },
    (error: Error) => {
      became = error.message;
    },
  );
  for (let i = 0; i < 500 && became === "waits"; i++) await turn();
  return became;
}

/** Buffers of 64 bytes, then of 128, a turn of the event loop each. */
class Steps extends Source {
  at = 0;
  readonly #count: number;
  readonly #onSeek: () => void | Promise<void>;

  constructor(count: number, onSeek: () => void | Promise<void> = () => {}) {
    super("steps");
    this.#count = count;
    this.#onSeek = onSeek;
  }

  override next(): StreamFormat | undefined {
    return this.at < this.#count ? byteFormat(this.at < this.#count / 2 ? 64 : 128) : undefined;
  }

  override async fill(_buffer: MediaBuffer): Promise<undefined> {
    this.at++;
    await turn();
    return undefined;
  }

  override seek(position: unknown): void | Promise<void> {
    this.at = position as number;
    return this.#onSeek();
  }
}

describe("the promise of a seek", () => {
  it("rejects with the error of a source that cannot seek, as the run does", async () => {
    const pipeline = new Pipeline();
    pipeline.link(
      new Steps(1e6, () => {
        throw new Error("of the source's own");
      }),
      new NullSink(),
    );
    const run = codeOf(pipeline.run());
    await turn();
    expect(await codeOf(pipeline.seek(0))).toMatch(/of the source's own/);
    expect(await run).toMatch(/of the source's own/);
  });

  it("and the run end when a source seeks for too long, and at an abort", async () => {
    const clock = new FakeClock();
    const pipeline = new Pipeline({ clock, acquireTimeout: 200 });
    let reached: () => void = () => {};
    const isThere = new Promise<void>((resolve) => {
      reached = resolve;
    });
    const hang = (): Promise<void> => {
      reached();
      return never();
    };
    pipeline.link(new Steps(1e6, hang), new NullSink());
    const run = codeOf(pipeline.run());
    await turn();
    const seek = codeOf(pipeline.seek(0));
    await isThere;
    clock.advance(1000);
    expect(await Promise.all([run, seek])).toEqual(["ERR_STARVED", "ERR_STARVED"]);

    const other = new Pipeline();
    other.link(new Steps(1e6, never), new NullSink());
    const aborted = new AbortController();
    const ended = codeOf(other.run({ signal: aborted.signal }));
    await turn();
    const sought = codeOf(other.seek(0));
    await turn();
    aborted.abort();
    expect(await ended).toBe(await sought);
  });

  it("rejects when a stage hangs that it has to wait for", async () => {
    const clock = new FakeClock();
    const pipeline = new Pipeline({ clock, acquireTimeout: 200 });
    let reached: () => void = () => {};
    const isThere = new Promise<void>((resolve) => {
      reached = resolve;
    });
    class Hangs extends Sink {
      override render(): Promise<void> {
        reached();
        return never();
      }
    }
    pipeline.link(new Steps(1e6), new Hangs("hangs"));
    const run = codeOf(pipeline.run());
    await isThere;
    const seek = codeOf(pipeline.seek(0));
    clock.advance(1000);
    expect(await Promise.all([run, seek])).toEqual(["ERR_STARVED", "ERR_STARVED"]);
  });
});

class InPlace extends Transform {
  constructor() {
    super("in place", { mode: "in-place" });
  }
  override transformInPlace(): void {}
}

describe("a branch whose loop was left", () => {
  it("stays left after a seek, and the other branch goes on", async () => {
    const pipeline = new Pipeline();
    const tee = new Tee();
    const app = new AppSink();
    const sink = new NullSink();
    const source = new Steps(60);
    pipeline.link(source, tee);
    pipeline.link(tee, sink);
    pipeline.link(tee, app);
    const run = pipeline.run();
    for await (const buffer of app) {
      buffer.release();
      break;
    }
    await pipeline.seek(30);
    await run;
    expect(sink.count).toBeGreaterThanOrEqual(30);
  });

  it("that is entered again after a seek gets the format that came while it was away", async () => {
    const pipeline = new Pipeline();
    const tee = new Tee();
    const app = new AppSink();
    const source = new Steps(60);
    pipeline.link(source, tee);
    pipeline.link(tee, new NullSink());
    pipeline.link(tee, new InPlace(), app);
    const run = pipeline.run();
    for await (const buffer of app) {
      buffer.release();
      break;
    }
    while (source.at < 40) await turn();
    const sizes = new Set<number>();
    const again = (async () => {
      for await (const buffer of app) {
        sizes.add(buffer.size);
        buffer.release();
      }
    })();
    await pipeline.seek(45);
    await Promise.all([run, again]);
    expect([...sizes]).toEqual([128]);
  });
});

describe("a seek that a source's first fill() begins", () => {
  it.each(["a sink", "an application's loop"])("waits for that fill(): one loop at a time, into %s", async (into) => {
    const pipeline = new Pipeline();
    let fills = 0;
    let most = 0;
    let sought: Promise<void> | undefined;
    class Once extends Steps {
      override async fill(buffer: MediaBuffer): Promise<undefined> {
        most = Math.max(most, ++fills);
        sought ??= pipeline.seek(0);
        await super.fill(buffer);
        await turn();
        fills--;
      }
    }
    const app = new AppSink();
    const sink = into === "a sink" ? new NullSink() : app;
    pipeline.link(new Once(6), sink);
    let taken = 0;
    const loop = (async () => {
      for await (const buffer of app) {
        taken++;
        buffer.release();
      }
    })();
    expect(await outcome(pipeline.run())).toBe("done");
    await sought;
    expect(most).toBe(1);
    if (sink === app) {
      await loop;
      expect(taken).toBe(6);
    } else expect((sink as NullSink).count).toBe(6);
  });
});

describe("a format that a pad missed while the other end wanted nothing", () => {
  it("is negotiated again when a seek makes it want more", async () => {
    const pipeline = new Pipeline();
    const small: number[] = [];
    let sought: Promise<void> | undefined;
    class Grows extends Source {
      at = 0;
      size = 8;
      async next(): Promise<StreamFormat | undefined> {
        await turn();
        if (++this.at === 10 && sought === undefined) {
          this.size = 64;
          sink.end();
          sought = Promise.resolve();
          setImmediate(() => setImmediate(() => (sought = pipeline.seek(0))));
        }
        return this.at > 40 ? undefined : byteFormat(this.size);
      }
      override fill(buffer: MediaBuffer): void {
        if (buffer.size < this.size) small.push(buffer.size);
      }
    }
    class Ends extends Sink {
      end(): void {
        this.requestEos();
      }
      override render(): void {}
      override async finish(): Promise<void> {
        for (let i = 0; i < 20; i++) await turn();
      }
    }
    const sink = new Ends("sink");
    const source = new Grows("src");
    pipeline.link(source, sink);
    expect(await outcome(pipeline.run())).toBe("done");
    await sought;
    expect(source.at).toBe(41);
    expect(small).toEqual([]);
  });
});

describe("a sink that asks for the end while it takes a new format", () => {
  it("gets no further buffer, and the source fills none", async () => {
    let fills = 0;
    let formats = 0;
    class Grows extends Source {
      next(): StreamFormat {
        return byteFormat(fills < 4 ? 8 : 64);
      }
      override fill(): void {
        fills++;
      }
    }
    class Ends extends Sink {
      override render(): void {}
      override async configure(): Promise<void> {
        if (++formats === 2) this.requestEos();
        await turn();
      }
    }
    expect(await outcome(new Pipeline().link(new Grows("src"), new Ends("sink")).run())).toBe("done");
    expect({ fills, formats }).toEqual({ fills: 4, formats: 2 });
  });
});

describe("a seek after the loop over an AppSink has ended", () => {
  const graph = (): { pipeline: Pipeline; app: AppSink; slow: NullSink } => {
    const pipeline = new Pipeline();
    const tee = new Tee();
    const app = new AppSink();
    class Slow extends NullSink {
      override async finish(): Promise<void> {
        for (let i = 0; i < 100; i++) await turn();
      }
    }
    const slow = new Slow();
    pipeline.link(new Steps(6), tee, app);
    pipeline.link(tee, slow);
    return { pipeline, app, slow };
  };
  const take = async (app: AppSink): Promise<number> => {
    let taken = 0;
    for await (const buffer of app) {
      taken++;
      buffer.release();
    }
    return taken;
  };

  it("gives what comes to another loop", async () => {
    const { pipeline, app } = graph();
    const run = outcome(pipeline.run());
    expect(await take(app)).toBe(6);
    await pipeline.seek(2);
    expect(await take(app)).toBe(4);
    expect(await run).toBe("done");
  });

  it("waits for one that never begins until an abort", async () => {
    const { pipeline, app, slow } = graph();
    const abort = new AbortController();
    const run = pipeline.run({ signal: abort.signal });
    expect(await take(app)).toBe(6);
    await pipeline.seek(2);
    for (let i = 0; i < 50; i++) await turn();
    expect(pipeline.isRunning).toBe(true);
    abort.abort(new Error("aborted"));
    expect(await outcome(run)).toBe("aborted");
    expect(slow.in.peer!.pool?.outstanding ?? 0).toBe(0);
  });
});

describe("a hook that seeks", () => {
  it("and goes on is moved; one that waits for the seek is ended by an abort", async () => {
    for (const waits of [false, true]) {
      const pipeline = new Pipeline();
      const abort = new AbortController();
      let sought: Promise<string> | undefined;
      class Seeks extends Sink {
        override async render(): Promise<void> {
          if (sought !== undefined) return;
          sought = codeOf(pipeline.seek(4));
          if (waits) await sought;
        }
      }
      const source = new Steps(6);
      pipeline.link(source, new Seeks("sink"));
      const run = pipeline.run({ signal: abort.signal });
      if (waits) {
        for (let i = 0; i < 20; i++) await turn();
        abort.abort(new Error("aborted"));
      }
      expect(await outcome(run)).toBe(waits ? "aborted" : "done");
      expect(await sought).toBe(waits ? "Error: aborted" : "ok");
      expect(source.at).toBe(waits ? 1 : 6);
    }
  });
});
