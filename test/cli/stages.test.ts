// Shares its realm with other files: nothing that it changes outlives it.
import { describe, expect, it } from "vitest";
import type { FrameSource, SourceFrame } from "../../src/adapters/node/frame-source.ts";
import { rawLayout } from "../../src/adapters/raw-video/raw-video.ts";
import { type RunOptions, VARIANTS } from "../../src/cli/args.ts";
import { FramePools, type SupplyReport } from "../../src/cli/run/frame-pools.ts";
import { createMeter } from "../../src/cli/run/meter.ts";
import type { OpenSource } from "../../src/cli/run/source.ts";
import { playStages, type StagesResult } from "../../src/cli/run/stages.ts";
import { PLAIN_PRESENTATION } from "../../src/media/video/frame-layout.ts";
import { FULL, REPEATED, times } from "../helpers/effort.ts";

/** What the film is made of: a frame's number is its luma, so that a mixed-up buffer or result shows. */
interface Film {
  readonly frames: number;
  /** Frames of one size in a row. */
  readonly run?: number;
  /** The frame that cannot be read. */
  readonly brokenAt?: number;
  /** The frame whose format cannot be measured. */
  readonly strangeAt?: number;
}

class Numbered implements FrameSource {
  readonly shortfall = undefined;
  readonly starvedMs = 0;
  readonly #film: Film;
  #next = 0;
  open = 0;

  constructor(film: Film) {
    this.#film = film;
  }

  async next(): Promise<SourceFrame | undefined> {
    const { frames, run = frames, brokenAt, strangeAt } = this.#film;
    const number = this.#next++;
    if (number === frames) return undefined;
    if (number === brokenAt) throw new Error("bytes are missing");
    const side = 32 + 16 * (Math.floor(number / run) % 3);
    const layout = rawLayout("I420", side, side);
    this.open++;
    let isOpen = true;
    return {
      layout: number === strangeAt ? { ...layout, format: "YUYV", planes: layout.planes, size: layout.size } : layout,
      presentation: PLAIN_PRESENTATION,
      pts: BigInt(number) * 1_000_000n,
      duration: 1_000_000n,
      copyTo: async (bytes) => {
        bytes.fill(number + 1, 0, layout.size);
        return true;
      },
      close: () => {
        if (isOpen) this.open--;
        isOpen = false;
      },
    };
  }

  async close(): Promise<void> {}
}

interface Played {
  readonly result: StagesResult | undefined;
  readonly error: unknown;
  /** Luma by frame. */
  readonly measured: Map<number, number>;
  readonly supply: SupplyReport;
  readonly source: Numbered;
  /** Frames in the order in which they were done with. */
  readonly done: readonly number[];
}

async function play(
  film: Film,
  options: Partial<RunOptions> = {},
  signal?: AbortSignal,
  onMeasured?: (frames: number) => void,
): Promise<Played> {
  const { variant = "pooled", buffers = 6, workers = 2 } = options;
  const meter = createMeter();
  const pools = new FramePools(variant, buffers, meter);
  const source = new Numbered(film);
  const measured = new Map<number, number>();
  const done: number[] = [];
  let result: StagesResult | undefined;
  let error: unknown;
  try {
    result = await playStages(
      {
        options: { workers, buffers, variant, patience: 60_000, ...options } as RunOptions,
        source: { facts: { name: "the film", kind: "file" }, frames: source, isPaced: false } as unknown as OpenSource,
        pools,
        meter,
        signal: signal ?? new AbortController().signal,
        onFrame: () => {},
        onResult: ({ frame, lumaMean }) => {
          measured.set(frame, lumaMean);
          onMeasured?.(measured.size);
        },
        afterFrame: (frames) => {
          expect(measured.has(frames - 1)).toBe(true);
          done.push(frames - 1);
          return undefined;
        },
        fault: undefined,
        leakAt: undefined,
      },
      () => {},
    );
  } catch (thrown) {
    error = thrown;
  }
  return { result, error, measured, supply: pools.close(), source, done };
}

/** The luma that `count` frames must have. */
function lumas(count: number): [number, number][] {
  return Array.from({ length: count }, (_, n) => [n, n + 1]);
}

function inOrder(measured: Map<number, number>): [number, number][] {
  return [...measured].sort(([a], [b]) => a - b);
}

describe("the stages of a run", () => {
  it.each(VARIANTS)(
    "%s: measure each frame as it was read, whatever the number of buffers and workers",
    REPEATED,
    async (variant) => {
      const numbers = [
        [1, 2],
        [5, 3],
        [1, 1],
        [1, 3],
        [2, 2],
      ] as const;
      for (const [buffers, workers] of numbers.slice(0, times(variant === "pooled" ? 2 : 1, 5))) {
        const { error, result, measured, supply, done } = await play({ frames: 60 }, { variant, buffers, workers });
        expect(error).toBeUndefined();
        expect(inOrder(measured)).toEqual(lumas(60));
        expect(done).toEqual(lumas(60).map(([n]) => n));
        expect(result?.frames).toBe(60);
        expect(supply).toMatchObject({ buffers, outstanding: 0, holders: [] });
        expect(supply.allocated).toBe(variant === "fresh" ? 60 : buffers);
      }
    },
  );

  for (const variant of VARIANTS) {
    // The fast lane has the pool, whose buffers are of one size.
    const tag = variant === "pooled" ? {} : FULL;
    it(`${variant}: keep frames apart when the size changes in the middle, again and again`, tag, async () => {
      const played = await play({ frames: 40, run: 3 }, { variant, buffers: 4, workers: 2 });
      const { error, measured, supply, source } = played;
      expect(error).toBeUndefined();
      expect(inOrder(measured)).toEqual(lumas(40));
      expect(supply.outstanding).toBe(0);
      expect(source.open).toBe(0);
    });
  }

  it("keep what came before an input broke off, and say after which frame", async () => {
    const { result, measured, supply } = await play({ frames: 40, brokenAt: 25 });
    expect(result).toMatchObject({
      frames: 25,
      shortfall: expect.stringContaining("broke off after frame 25: bytes are"),
    });
    expect(inOrder(measured)).toEqual(lumas(25));
    expect(supply.outstanding).toBe(0);
  });

  it("fail where there is no frame at all, and where one cannot be measured, with every buffer back", async () => {
    const fail = async (film: Film, message: RegExp): Promise<void> => {
      const { error, supply, source } = await play(film);
      expect(String(error)).toMatch(message);
      expect(supply.outstanding).toBe(0);
      expect(source.open).toBe(0);
    };
    await fail({ frames: 0 }, /no frame could be read from the film: its video track is empty/);
    await fail({ frames: 5, brokenAt: 0 }, /bytes are missing/);
    await fail({ frames: 20, strangeAt: 7 }, /frames in YUYV cannot be measured/);
  });

  for (const variant of VARIANTS) {
    it(
      `${variant}: end with the signal's reason, with every buffer back`,
      variant === "pooled" ? {} : FULL,
      async () => {
        const stop = new AbortController();
        const reason = new Error("stopped");
        const { error, supply, source } = await play({ frames: 1_000_000 }, { variant }, stop.signal, (frames) => {
          if (frames === 30) stop.abort(reason);
        });
        expect(error).toBe(reason);
        expect(supply.outstanding).toBe(0);
        expect(source.open).toBe(0);
      },
    );
  }
});
