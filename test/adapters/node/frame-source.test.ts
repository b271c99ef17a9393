/** Sources of frames that do what they should not: every lease is home, and every error is told, once. */
import { describe, expect, it, onTestFinished } from "vitest";
import {
  type FrameLayout,
  type FrameSource,
  pooledFrames,
  type SourceFrame,
} from "../../../src/adapters/node/frame-source.ts";
import { FramesElement } from "../../../src/adapters/node/frames-element.ts";
import { VideoInfo } from "../../../src/media/video/info.ts";
import { NullSink } from "../../../src/pipeline/elements/null-sink.ts";
import { Pipeline } from "../../../src/pipeline/pipeline.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";

const LAYOUT: FrameLayout = VideoInfo.of({ format: "GRAY8", width: 10, height: 10 });
const PLAIN = { rotation: 0, flip: false, pixelAspect: 1, matrix: undefined, fullRange: false } as const;

type Place = "next" | "layout" | "pts" | "copyTo" | "close" | "source.close";

/** Three frames, the second of which throws at one place. */
class Hostile implements FrameSource {
  readonly starvedMs = 0;
  readonly shortfall = undefined;
  readonly #place: Place | undefined;
  frames = 0;
  closed = 0;

  constructor(place?: Place) {
    this.#place = place;
  }

  #at(place: Place): void {
    if (this.#place === place && (this.frames === 2 || place === "source.close")) throw new Error(`in ${place}`);
  }

  async next(): Promise<SourceFrame | undefined> {
    if (this.frames === 3) return undefined;
    this.frames++;
    this.#at("next");
    const at = (place: Place): void => this.#at(place);
    return {
      get layout() {
        at("layout");
        return LAYOUT;
      },
      presentation: PLAIN,
      get pts() {
        at("pts");
        return 0n;
      },
      duration: undefined,
      copyTo: async () => {
        at("copyTo");
        return true;
      },
      close: () => {
        this.closed++;
        at("close");
      },
    };
  }

  async close(): Promise<void> {
    this.#at("source.close");
  }
}

const PLACES: readonly Place[] = ["next", "layout", "pts", "copyTo", "close", "source.close"];

describe("a source of frames that throws", () => {
  it.each(PLACES)("in %s: the loop tells it, and every lease is home", async (place) => {
    const pool = BufferPool.create({ size: 100, max: 1 });
    const source = new Hostile(place);
    const read = async (): Promise<void> => {
      for await (const buffer of pooledFrames(source, pool, { timeout: 1000 })) buffer.release();
    };
    await expect(read()).rejects.toThrow(`in ${place}`);
    expect(pool.outstanding).toBe(0);
    expect(source.closed).toBe(place === "next" ? 1 : place === "source.close" ? 3 : 2);
    pool.close();
  });

  it.each(PLACES)("in %s: a pipeline's run tells it, and every lease is home", async (place) => {
    const source = new Hostile(place);
    const stage = new FramesElement(async () => ({ frames: source }), "frames");
    const pipeline = new Pipeline().link(stage, new NullSink());
    // Their pools are retired with the run; what is still out would be listed.
    await expect(pipeline.run()).rejects.toThrow(`in ${place}`);
    expect(stage.outputs[0]!.pool?.outstanding ?? 0).toBe(0);
  });

  it("in the close() of a frame that comes when nobody waits any more: no rejection is left over", async () => {
    const unhandled: unknown[] = [];
    const note = (error: unknown): void => void unhandled.push(error);
    process.on("unhandledRejection", note);
    onTestFinished(() => void process.off("unhandledRejection", note));
    let give = (_frame: SourceFrame): void => {};
    const source = new Hostile();
    const frame = (await source.next())!;
    const late: FrameSource = {
      starvedMs: 0,
      shortfall: undefined,
      next: () =>
        new Promise((resolve) => {
          give = resolve;
        }),
      close: async () => {},
    };
    const pool = BufferPool.create({ size: 100, max: 1 });
    const loop = pooledFrames(late, pool, { signal: AbortSignal.abort(new Error("enough")) });
    const other = new AbortController();
    const waiting = pooledFrames(late, pool, { signal: other.signal }).next();
    await new Promise((resolve) => setImmediate(resolve));
    other.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    await expect(loop.next()).rejects.toThrow("enough");
    give({
      ...frame,
      close: () => {
        throw new Error("too late");
      },
    });
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(unhandled).toEqual([]);
    expect(pool.outstanding).toBe(0);
    pool.close();
  });
});
