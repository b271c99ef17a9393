// Shares its realm with other files: nothing that it changes outlives it.
/**
 * libswscale as a converter: what this package's own code makes, within a code value or two, and nothing left behind.
 */
import { beforeAll, describe, expect, it } from "vitest";
import {
  type AvFrame,
  type AvScaler,
  DirectCopier,
  importLibav,
  type Libav,
  StagedCopier,
} from "../../src/adapters/mediabunny/libav.ts";
import { converterMaker } from "../../src/adapters/mediabunny/libav-converter.ts";
import { loadMediabunny } from "../../src/adapters/mediabunny/load.ts";
import { VideoInfo, type VideoPixelFormat } from "../../src/media/video/info.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { PatternSource } from "../../src/pipeline/elements/pattern-source.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { FrameConverter } from "../../src/video/convert.ts";
import type { ConverterMaker } from "../../src/video/picture-converter.ts";
import { VideoScale } from "../../src/video/scale.ts";
import { REPEATED, times } from "../helpers/effort.ts";
import { generator } from "../helpers/random.ts";

let av: Libav;
let make: ConverterMaker;

/** A maker of a node-av, which it has to work with. */
function makerOf(
  libav: Libav,
  Copier = DirectCopier as new (
    av: Libav,
  ) => DirectCopier | StagedCopier,
): ConverterMaker {
  const maker = converterMaker(libav, Copier);
  if (typeof maker === "string") throw new Error(maker);
  return maker;
}

beforeAll(async () => {
  await loadMediabunny();
  av = (await importLibav(import.meta.resolve("@mediabunny/server")))!;
  make = makerOf(av);
});

function infoOf(format: VideoPixelFormat, width: number, height: number, strideAlign = 1): VideoInfo {
  return VideoInfo.of({ format, width, height, strideAlign });
}

function bitsOf({ format }: VideoInfo): number {
  return Number(/P(1\d)$/.exec(format)?.[1] ?? 8);
}

/** Waves and a lot of noise, in every component, within the limited range. */
function picture(info: VideoInfo, isShared = false): Uint8Array {
  const bytes = new Uint8Array(isShared ? new SharedArrayBuffer(info.size) : new ArrayBuffer(info.size));
  const bits = bitsOf(info);
  const samples = bits > 8 ? new Uint16Array(bytes.buffer) : bytes;
  const unit = bits > 8 ? 2 : 1;
  const random = generator(info.width);
  for (const { offset, stride, height, rowBytes } of info.planes) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < rowBytes / unit; x++) {
        const wave = 0.45 + 0.2 * Math.sin(x / 7 + offset) + 0.15 * Math.cos(y / 5);
        samples[(offset + y * stride) / unit + x] = Math.round((wave + random(100) / 1000) * 2 ** bits);
      }
    }
  }
  return bytes;
}

/** The largest difference in code values: inside, and in the outermost two rows and columns of the planes. */
function worst(a: Uint8Array, b: Uint8Array, { planes, format }: VideoInfo): { inside: number; edge: number } {
  const unit = /P1\d$/.test(format) ? 2 : 1;
  const samples = (bytes: Uint8Array) => (unit === 2 ? new Uint16Array(bytes.buffer) : bytes);
  const [x, y] = [samples(a), samples(b)];
  const most = { inside: 0, edge: 0 };
  for (const { offset, stride, width, height, sampleBytes } of planes) {
    const lanes = sampleBytes / unit;
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const isEdge = Math.min(row, column, height - 1 - row, width - 1 - column) < 2;
        for (let lane = 0; lane < lanes; lane++) {
          const at = (offset + row * stride) / unit + column * lanes + lane;
          const difference = Math.abs(x[at]! - y[at]!);
          if (isEdge) most.edge = Math.max(most.edge, difference);
          else most.inside = Math.max(most.inside, difference);
        }
      }
    }
  }
  return most;
}

const PAIRS: readonly (readonly [VideoPixelFormat, VideoPixelFormat, number])[] = [
  ["I420", "I420", 1],
  ["I422", "I422", 1],
  ["I444A", "I444A", 1],
  ["NV12", "NV12", 1],
  ["RGBA", "RGBA", 1],
  ["BGRA", "RGBA", 1],
  ["GRAY8", "GRAY8", 1],
  ["I420P10", "I420P10", 1],
  ["I422P10", "I444P10", 1],
  ["I420P12", "I420P12", 1],
  ["I420", "I444", 1],
  ["I422", "I420", 1],
  ["NV12", "I420", 1],
  ["I420", "NV12", 1],
  ["I420", "I420A", 1],
  ["I420A", "I420", 1],
  ["I420", "RGBA", 3],
  ["NV12", "BGRA", 3],
  ["I420A", "RGBA", 3],
  ["RGBA", "I420", 3],
  ["RGBX", "NV12", 3],
  ["BGRA", "I444A", 3],
];

const SIZES = [
  [96, 64, 48, 32],
  [97, 65, 41, 90],
  [96, 64, 96, 64],
  [97, 65, 97, 65],
  [320, 180, 33, 19],
  [16, 16, 37, 23],
  [50, 31, 16, 16],
] as const;

/** Pixels that share a sample of chroma. */
function chromaOf(format: string): number {
  return /^(I420|NV12)/.test(format) ? 4 : /^I422/.test(format) ? 2 : 1;
}

const COLORS = [
  { matrix: "bt709", fullRange: false },
  { matrix: "smpte170m", fullRange: true },
  { matrix: "bt2020-ncl" },
  {},
];

// One color and packed rows in the fast lane.
const colors = COLORS.slice(0, times(1, COLORS.length));
const aligns = [1, 64].slice(0, times(1, 2));

describe("pixels by libav", () => {
  it.each(PAIRS)(
    "%s to %s: within the bound of this package's own, in every size and color, nothing beside them",
    REPEATED,
    (a, b, bound) => {
      const StagedMake = makerOf(av, StagedCopier);
      let compared = 0;
      for (const [w, h, tw, th] of SIZES) {
        for (const shown of colors) {
          for (const align of aligns) {
            const [from, to] = [infoOf(a, w, h, align), infoOf(b, tw, th, align)];
            const source = picture(from, align === 64);
            const wanted = new Uint8Array(to.size);
            new FrameConverter(from, to, shown).run(source, wanted);
            for (const maker of [make, StagedMake]) {
              const whole = new Uint8Array(new SharedArrayBuffer(to.size + 64)).fill(0xa5);
              const converter = maker(from, to, shown);
              if (converter === undefined) continue;
              compared++;
              expect(converter.by).toBe("libav");
              converter.run(source, whole.subarray(0, to.size));
              converter.close();
              const { inside, edge } = worst(wanted, whole.slice(0, to.size), to);
              expect(inside).toBeLessThanOrEqual(bound);
              expect(edge).toBeLessThanOrEqual(8 * 2 ** (bitsOf(to) - 8));
              expect(whole.subarray(to.size).every((byte) => byte === 0xa5)).toBe(true);
            }
          }
        }
      }
      // Pictures whose size stays, and is even, are libav's where the format changes; others where chroma gets no
      // coarser.
      const others = chromaOf(b) > chromaOf(a) ? 0 : SIZES.length - 2;
      expect(compared).toBe((others + (a === b ? 0 : 1)) * 2 * colors.length * aligns.length);
    },
  );

  it.each([
    ["I420", "I420P10"],
    ["I420P10", "I420"],
    ["GRAY8", "I420"],
    ["RGBA", "GRAY8"],
    ["RGBX", "RGBA"],
    ["RGBA", "BGRX"],
    ["NV12", "BGRX"],
    ["RGBX", "I420A"],
  ] as const)("%s to %s is left to this package's own code, whose result differs", (a, b) => {
    expect(make(infoOf(a, 32, 32), infoOf(b, 32, 32), {})).toBeUndefined();
  });

  it("leaves very small pictures to this package's own code", () => {
    expect(make(infoOf("I420", 15, 32), infoOf("I420", 32, 32), {})).toBeUndefined();
    expect(make(infoOf("I420", 32, 32), infoOf("I420", 32, 15), {})).toBeUndefined();
  });

  it("refuses bytes that end before the picture, odd places of wide samples, and bytes that are gone", () => {
    const converter = make(infoOf("I420P10", 16, 16), infoOf("I420P10", 16, 18), {})!;
    const [source, target] = [new Uint8Array(769), new Uint8Array(864)];
    expect(() => converter.run(source.subarray(0, 767), target)).toThrow(/source\.length must be at least 768/);
    expect(() => converter.run(source, target.subarray(1))).toThrow(/target\.length must be at least 864/);
    expect(() => converter.run(source.subarray(1), target)).toThrow(/source\.byteOffset must be even/);
    structuredClone(target.buffer, { transfer: [target.buffer] });
    expect(() => converter.run(source, target)).toThrow(/ERR_DETACHED/);
    converter.close();
  });
});

describe("a node-av that is another one", () => {
  const withScaler = (Scaler: unknown): Libav => ({ ...av, SoftwareScaleContext: Scaler }) as Libav;

  it("is not used when its scaler fails, or gives other pictures, or is not there", () => {
    const Scaler = av.SoftwareScaleContext;
    class Failing extends Scaler {
      override scaleFrameSync(): number {
        return -22;
      }
    }
    class Gray extends Scaler {
      override scaleFrameSync(target: AvFrame): number {
        for (const plane of target.data ?? []) plane.fill(128);
        return 0;
      }
    }
    class WithoutOptions extends Scaler {
      override setOption(): number {
        return -1;
      }
    }
    for (const one of [Failing, Gray, WithoutOptions]) {
      expect(converterMaker(withScaler(one), DirectCopier)).toBe("its scaler gives other pictures");
    }
    expect(converterMaker(withScaler(undefined), DirectCopier)).toMatch(/not a constructor/);
  });
});

describe("libav that gets no memory", () => {
  it("is asked for none before the first picture, and then gives way to this package's own code", () => {
    let asked = 0;
    let isOut = false;
    class Frame extends av.Frame {
      override getBuffer(align: number): number {
        asked++;
        return isOut ? -12 : super.getBuffer(align);
      }
    }
    const maker = makerOf({ ...av, Frame } as Libav);
    isOut = true;
    asked = 0;
    maker(infoOf("I420", 65_534, 65_534), infoOf("I420", 65_534, 32_000, 64), {})!.close();
    expect(asked).toBe(0);
    const [from, to] = [infoOf("I420", 64, 36), infoOf("I420", 32, 18)];
    const converter = maker(from, to, {})!;
    const [wanted, target] = [new Uint8Array(to.size), new Uint8Array(to.size)];
    new FrameConverter(from, to).run(picture(from), wanted);
    converter.run(picture(from), target);
    converter.run(picture(from), target);
    expect([converter.by, asked]).toEqual(["millpond", 1]);
    expect(Buffer.compare(target, wanted)).toBe(0);
    converter.close();
  });

  it("says so when it fails later", () => {
    let isBroken = false;
    class Scaler extends av.SoftwareScaleContext {
      override scaleFrameSync(target: AvFrame, source: AvFrame): number {
        return isBroken ? -12 : super.scaleFrameSync(target, source);
      }
    }
    const maker = makerOf({ ...av, SoftwareScaleContext: Scaler } as Libav);
    const [from, to] = [infoOf("I420", 64, 36), infoOf("I420", 32, 18)];
    const converter = maker(from, to, {})!;
    converter.run(picture(from), new Uint8Array(to.size));
    isBroken = true;
    expect(() => converter.run(picture(from), new Uint8Array(to.size))).toThrow(/out of memory.*ERR_ALLOCATION_FAILED/);
    converter.close();
  });
});

describe("VideoScale", () => {
  async function run(scale: VideoScale): Promise<string> {
    const sink = new NullSink();
    const pipeline = new Pipeline().link(
      new PatternSource({ format: "I420", width: 64, height: 36, frames: 3 }),
      scale,
      sink,
    );
    await pipeline.run();
    expect(sink.count).toBe(3);
    return scale.role;
  }

  it("takes libav, which the adapter has offered, unless it is to be portable, and says so", async () => {
    expect(await run(new VideoScale({ width: 32 }))).toMatch(/, by libav$/);
    expect(await run(new VideoScale({ width: 32, portable: true }))).toMatch(/, by millpond$/);
    expect(await run(new VideoScale({ format: "I420P10" }))).toMatch(/, by millpond$/);
    expect(await run(new VideoScale())).not.toMatch(/, by /);
    expect(() => new VideoScale({ portable: 1 as never })).toThrow(/options\.portable/);
  });

  it("gives every native frame and context back, also after a change of the format and an error", async () => {
    let [frames, contexts] = [0, 0];
    class CountedFrame extends av.Frame {
      override alloc(): void {
        frames++;
        super.alloc();
      }
      override free(): void {
        frames--;
        super.free();
      }
    }
    class CountedScaler extends av.SoftwareScaleContext {
      override allocContext(): void {
        contexts++;
        super.allocContext();
      }
      override freeContext(): void {
        contexts--;
        super.freeContext();
      }
    }
    const counted = { ...av, Frame: CountedFrame, SoftwareScaleContext: CountedScaler } as unknown as Libav;
    // The pointing frames of a copier own nothing.
    class Copier extends DirectCopier {
      constructor(libav: Libav) {
        super(libav);
        frames--;
      }
    }
    const maker = makerOf(counted, Copier);
    expect([frames, contexts]).toEqual([0, 0]);
    const converter = maker(infoOf("I420", 64, 36), infoOf("I420", 32, 18), {})!;
    expect([frames, contexts]).toEqual([2, 1]);
    expect(() => converter.run(new Uint8Array(1), new Uint8Array(1))).toThrow(/source\.length/);
    converter.close();
    expect([frames, contexts]).toEqual([0, 0]);
    class Failing extends CountedScaler {
      override scaleFrameSync(): number {
        return -12;
      }
    }
    expect(converterMaker({ ...counted, SoftwareScaleContext: Failing } as Libav, Copier)).toBe(
      "its scaler gives other pictures",
    );
    expect([frames, contexts]).toEqual([0, 0]);
    void (Failing satisfies new () => AvScaler);
  });
});
