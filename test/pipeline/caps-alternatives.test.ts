// Shares its realm with other files: nothing that it changes outlives it.
/** Alternatives of caps: what an intersection leaves of them, and in which order. */
import { describe, expect, test } from "vitest";
import { VideoInfo, type VideoPixelFormat } from "../../src/index.ts";
import { Transform } from "../../src/pipeline/base/transform.ts";
import { Caps, type CapsStructure, type CapsValue, type Range } from "../../src/pipeline/caps.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { CapsFilter } from "../../src/pipeline/elements/pass-through.ts";
import { PatternSource } from "../../src/pipeline/elements/pattern-source.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat, type StreamFormat, videoFormat } from "../../src/pipeline/stream-format.ts";
import { REPEATED, times } from "../helpers/effort.ts";
import { generator } from "../helpers/random.ts";

const LAYOUTS: readonly VideoPixelFormat[] = ["I420", "NV12", "RGBA"];
const SIZES = [16, 20, 24, 32];
const MEMORIES = ["memory:SystemMemory", "memory:DMABuf"];
const RATES = [
  { num: 25, den: 1 },
  { num: 30_000, den: 1001 },
  { num: 30, den: 1 },
];

/** Every format that the random caps below can tell from another; one that leaves a field open fits any value of it. */
const FORMATS: readonly StreamFormat[] = [
  ...LAYOUTS.flatMap((format) =>
    SIZES.flatMap((width) =>
      [16, 32].flatMap((height) =>
        RATES.flatMap((frameRate) =>
          MEMORIES.map((memory) => videoFormat(VideoInfo.of({ format, width, height }), { frameRate, memory })),
        ),
      ),
    ),
  ),
  ...["a", "b"].flatMap((type) => MEMORIES.map((memory) => byteFormat(64, type, { memory }))),
];

function randomCaps(below: (n: number) => number): Caps {
  const some = <T>(from: readonly T[]): T => from[below(from.length)]!;
  const value = <T extends CapsValue>(from: readonly T[], ranges: readonly Range[]): CapsValue => {
    if (below(3) === 0 && ranges.length > 0) return some(ranges);
    return below(2) === 0 ? some(from) : ([some(from), some(from)] as CapsValue);
  };
  const video = (): CapsStructure => {
    const fields: Record<string, CapsValue> = {};
    if (below(2) === 0) fields.format = value(LAYOUTS, []);
    if (below(2) === 0) {
      fields.width = value(SIZES, [
        { min: 10, max: 24 },
        { min: 16, max: 40, step: 8 },
        { min: 20, max: 64, step: 4 },
      ]);
    }
    if (below(4) === 0) fields.height = some([16, 32]);
    if (below(3) === 0) {
      fields.frameRate = value(RATES, [
        { min: 20, max: 30 },
        { min: 30, max: 60 },
        { min: 1, max: 29 },
      ]);
    }
    if (below(3) === 0) fields.memory = value(MEMORIES, []);
    return { kind: "video", fields };
  };
  const bytes = (): CapsStructure => ({ kind: "bytes", fields: below(2) === 0 ? {} : { type: some(["a", "b"]) } });
  return new Caps(Array.from({ length: 1 + below(4) }, () => (below(5) === 0 ? bytes() : video())));
}

const isAmong = (one: CapsStructure, others: Caps): boolean =>
  FORMATS.every((format) => !new Caps([one]).accepts(format) || others.accepts(format));

describe("what two sets of alternatives have in common", () => {
  test(
    "is what both take, in their order, and no alternative is within an earlier one, whatever the sets are",
    REPEATED,
    () => {
      const below = generator(20_261_122);
      for (let round = 0; round < times(120, 400); round++) {
        const [a, b] = [randomCaps(below), randomCaps(below)];
        const both = a.intersect(b);
        const text = `${a} and ${b}: ${both}`;
        for (const format of FORMATS) expect(both.accepts(format), text).toBe(a.accepts(format) && b.accepts(format));
        // The order is that of all pairs: each alternative is one of them, at the first place where it is.
        const pairs = a.structures.flatMap((mine) =>
          b.structures.flatMap((theirs) => new Caps([mine]).intersect(new Caps([theirs])).structures),
        );
        const texts = pairs.map((pair) => String(new Caps([pair])));
        const places = both.structures.map((one) => texts.indexOf(String(new Caps([one]))));
        expect(places.includes(-1), text).toBe(false);
        expect(
          places.every((place, i) => i === 0 || place > places[i - 1]!),
          text,
        ).toBe(true);
        // What was left out is within one that comes before it.
        pairs.forEach((pair, i) => {
          if (places.includes(i)) return;
          const earlier = both.structures.filter((_, n) => places[n]! < i);
          expect(
            earlier.some((one) => isAmong(pair, new Caps([one]))),
            text,
          ).toBe(true);
        });
        expect(String(both.intersect(both)), text).toBe(String(both));
        expect(String(both.intersect(Caps.any)), text).toBe(String(both));
        // Also where it is not known to be the same set.
        for (const again of [b, new Caps(b.structures)]) expect(String(both.intersect(again)), text).toBe(String(both));
      }
    },
  );

  test("has each alternative once where one is within another: it does not grow with the number of stages", () => {
    const liked = Caps.video({ format: "I420" })
      .or(Caps.video({ format: ["I420", "NV12"] }))
      .or(Caps.video());
    let caps = liked;
    for (let i = 0; i < 50; i++) caps = caps.intersect(liked);
    expect(String(caps)).toBe("video { format: I420 } or video { format: I420|NV12 } or video");
    expect(caps.fixate({ format: "NV12" })?.fields.format).toBe("NV12");
    expect(caps.fixate({})?.fields.format).toBe("I420");
  });

  test("is in the memory that both mean, also where one of them does not say it", () => {
    const dma = videoFormat(VideoInfo.of({ format: "I420", width: 16, height: 16 }), { memory: "memory:DMABuf" });
    const silent = Caps.video({ width: 16 });
    const both = Caps.video({ memory: MEMORIES });
    expect([silent.accepts(dma), silent.intersect(both).accepts(dma), both.intersect(silent).accepts(dma)]).toEqual([
      false,
      false,
      false,
    ]);
  });

  test("takes a rate with a fraction in it where two ranges of rates meet in one whole number", () => {
    const common = Caps.video({ frameRate: { min: 24, max: 30 } }).intersect(
      Caps.video({ frameRate: { min: 30, max: 60 } }),
    );
    const at = (num: number, den: number) =>
      videoFormat(VideoInfo.of({ format: "I420", width: 16, height: 16 }), { frameRate: { num, den } });
    expect([common.accepts(at(30, 1)), common.accepts(at(60, 2)), common.accepts(at(30_000, 1001))]).toEqual([
      true,
      true,
      false,
    ]);
  });

  test("is frozen all through, as every set is", () => {
    const [one] = Caps.video({ format: ["I420", "NV12", "RGBA"], width: { min: 1, max: 9 } }).intersect(
      Caps.video({ format: ["RGBA", "NV12"], width: { min: 4, max: 99 } }),
    ).structures;
    expect([one, one!.fields, one!.fields.format, one!.fields.width].every(Object.isFrozen)).toBe(true);
  });

  test("is refused with ERR_NOT_NEGOTIATED where it has too many alternatives to be settled", async () => {
    // Of n sets, each way to choose one alternative of each is left: 2^n, none within another.
    const names = Array.from({ length: 16 }, (_, i) => `L${i}`);
    const sets = names.map((one, i) => {
      const widths = names.map((_, n) => n + 1).filter((n) => n !== i + 1);
      return Caps.video({ format: names.filter((other) => other !== one) }).or(Caps.video({ width: widths }));
    });
    const common = (many: readonly Caps[]): Caps => many.reduce((all, one) => all.intersect(one), Caps.any);
    expect(common(sets.slice(0, 8)).structures).toHaveLength(256);
    expect(() => common(sets)).toThrow(/too many in common.*at most 256.*ERR_NOT_NEGOTIATED/);
    const pipeline = new Pipeline();
    const filters = sets.map((caps) => new CapsFilter(caps));
    pipeline.link(new PatternSource({ frames: 1, width: 16, height: 16 }), ...filters, new NullSink());
    await expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_NOT_NEGOTIATED" });
  });

  test("is settled for a camera that has a thousand sizes and layouts", () => {
    const camera = new Caps(
      Array.from({ length: 1200 }, (_, i) => ({
        kind: "video",
        fields: { format: `L${i % 30}`, width: 16 + i, height: 16 },
      })),
    );
    expect(camera.intersect(Caps.any).structures).toEqual(camera.structures);
    expect(camera.intersect(Caps.video()).structures).toHaveLength(1200);
    expect(camera.intersect(Caps.video({ format: "L3" })).structures).toHaveLength(40);
  });
});

const liked = (): Caps => Caps.video({ format: "I420" }).or(Caps.video());

class Look extends Transform {
  constructor() {
    super(undefined, { mode: "passthrough", input: liked(), output: liked() });
  }
}

describe("stages with an alternative that is liked best", () => {
  test.each([
    ["CapsFilter", () => new CapsFilter(liked())],
    ["a stage of one's own", () => new Look()],
  ])("run in a row, however many there are: %s", async (_, make) => {
    const pipeline = new Pipeline();
    const sink = new NullSink();
    pipeline.link(new PatternSource({ frames: 3, width: 64, height: 48 }), ...Array.from({ length: 12 }, make), sink);
    await expect(pipeline.run()).resolves.toMatchObject({ sinks: { [sink.name]: 3 } });
  });

  test("run in each branch of a tee", async () => {
    const pipeline = new Pipeline();
    const tee = new Tee();
    pipeline.link(new PatternSource({ frames: 3, width: 64, height: 48 }), tee);
    for (let branch = 0; branch < 4; branch++)
      pipeline.link(tee, ...Array.from({ length: 8 }, () => new CapsFilter(liked())), new NullSink());
    const { sinks } = await pipeline.run();
    expect(Object.values(sinks)).toEqual([3, 3, 3, 3]);
  });
});
