// Shares its realm with other files: nothing that it changes outlives it.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decode } from "fast-png";
import { afterAll, describe, expect, it } from "vitest";
import type { RunSummary } from "../../src/cli/run/report.ts";
import { REPEATED } from "../helpers/effort.ts";
import { bigBuckBunny, CLIP, filesIn, millpond, scratchFolder } from "./command.ts";
import { type ProbedFacts, probe, recordedClip } from "./facts.ts";

const scratch = scratchFolder();
afterAll(scratch.remove);

interface FramesFile {
  readonly schema: string;
  readonly frames: readonly {
    readonly frame: number;
    readonly time: number;
    readonly duration: number;
    readonly lumaMean: number;
    readonly cutScore: number;
    readonly isCut: boolean;
    readonly histogram: readonly number[];
  }[];
  readonly summary: RunSummary;
}

interface Played {
  readonly summary: RunSummary;
  readonly file: FramesFile;
}
let clipPlayed: Promise<Played> | undefined;

/** The shipped clip, played once for all who look at what came of it; in the folder "clip". */
function playClip(): Promise<Played> {
  clipPlayed ??= play(CLIP, "clip");
  return clipPlayed;
}

async function play(path: string, folder: string): Promise<Played> {
  const out = join(scratch.path, folder);
  const { code, stdout, stderr } = await millpond(["run", path, "--json", "--out", out]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return {
    summary: JSON.parse(stdout) as RunSummary,
    file: JSON.parse(readFileSync(join(out, "frames.json"), "utf8")) as FramesFile,
  };
}

function expectRightFrames(facts: ProbedFacts, summary: RunSummary, file: FramesFile): void {
  expect(summary.complete).toBe(true);
  expect(summary.measures.frames).toBe(facts.frames);
  expect(file.frames.map(({ frame }) => frame)).toEqual(facts.times.map((_, i) => i));
  expect(summary.source.width).toBe(facts.width);
  expect(summary.source.height).toBe(facts.height);
  expect(summary.source.rotation).toBe(facts.rotation);
  for (const { histogram } of file.frames) {
    expect(histogram.reduce((sum, count) => sum + count, 0)).toBe(facts.width * facts.height);
  }
}

describe("millpond run on the shipped clip", REPEATED, () => {
  it("measures every frame at the time and in the order that ffprobe says", async () => {
    const facts = probe(CLIP);
    const { summary, file } = await playClip();
    expectRightFrames(facts, summary, file);
    for (const [i, time] of facts.times.entries()) expect(file.frames[i]!.time).toBeCloseTo(time, 6);
    expect(file.schema).toBe("millpond.frames/1");
    expect(file.summary.measures).toEqual(summary.measures);
  });

  it("finds the two cuts that the clip was made with, and nothing else", async () => {
    const { summary } = await playClip();
    expect(summary.measures.cuts.map(({ frame }) => frame)).toEqual([25, 50]);
  });

  it("allocates the pool's buffers once and has every one back at the end", async () => {
    const { summary } = await playClip();
    expect(summary.supply.allocated).toBe(summary.supply.buffers);
    expect(summary.supply.outstanding).toBe(0);
    expect(summary.supply.holders).toEqual([]);
    expect(summary.measures.frames).toBeGreaterThan(summary.supply.buffers);
  });

  it("draws a contact sheet in the colors of the test pattern, and leaves nothing else in the folder", async () => {
    await playClip();
    expect(filesIn(join(scratch.path, "clip"))).toEqual(["contact-sheet.png", "frames.json"]);
    const png = decode(readFileSync(join(scratch.path, "clip", "contact-sheet.png")));
    // The first picture begins 8 pixels in; its bars are red, green, yellow, blue, magenta, cyan.
    const bars = [0, 1, 2, 3, 4, 5].map((bar) => pixel(png, 8 + 256 * ((bar + 0.5) / 6), 8 + 15));
    const expected = [
      [255, 0, 0],
      [0, 255, 0],
      [255, 255, 0],
      [0, 0, 255],
      [255, 0, 255],
      [0, 255, 255],
    ];
    for (const [i, bar] of bars.entries()) {
      for (const [channel, value] of bar.entries()) {
        const wanted = expected[i]![channel]!;
        expect(Math.abs(value - wanted), `bar ${i}, channel ${channel}: ${value}`).toBeLessThan(60);
      }
    }
  });

  it("gives the same measures whatever the number of workers and buffers", async () => {
    const film = join(scratch.path, "small.mp4");
    await millpond(["run", `pattern width=64 height=48 frames=60 ! encode ${film}`, "--quiet"]);
    const few = await millpond(["run", film, "--json", "--workers", "1", "--buffers", "1"]);
    const many = await millpond(["run", film, "--json", "--workers", "3", "--buffers", "16"]);
    expect((JSON.parse(few.stdout) as RunSummary).measures.frames).toBe(60);
    expect((JSON.parse(few.stdout) as RunSummary).measures).toEqual((JSON.parse(many.stdout) as RunSummary).measures);
  });

  it("is described by facts that were recorded with it, for machines without ffprobe", () => {
    const facts = recordedClip();
    expect(facts.frames).toBe(75);
    expect(facts.times).toHaveLength(75);
    expect(facts).toEqual(probe(CLIP));
  });
});

describe("millpond run on big-buck-bunny.mp4", REPEATED, () => {
  const path = bigBuckBunny();

  it.skipIf(path === undefined)("has ffprobe's frames and rotation, and its times but for one constant", async () => {
    const facts = probe(path!);
    const { summary, file } = await play(path!, "bunny");
    expectRightFrames(facts, summary, file);
    expect([summary.source.displayWidth, summary.source.displayHeight]).toEqual([1080, 1920]);
    // The file has negative composition offsets and no edit list: its first frame is shown at 0 (ISO/IEC 14496-12).
    // ffmpeg shifts such a track so that no frame is shown before it is decoded, here by two frames.
    expect(file.frames[0]!.time).toBe(0);
    const shift = facts.times[0]!;
    expect(shift).toBeCloseTo(2 / 24, 5);
    for (const [i, time] of facts.times.entries()) expect(file.frames[i]!.time).toBeCloseTo(time - shift, 5);
  });

  it.skipIf(path === undefined)("draws upright pictures, and takes the fade from black for no cut", async () => {
    const { summary, file } = await play(path!, "upright");
    const png = decode(readFileSync(join(scratch.path, "upright", "contact-sheet.png")));
    // Last picture, shown 144 x 256: bright sky in the upper right, the dark bush in the lower left.
    const tiles = tileCorners(png.width, png.height, 144, 256 + 18, Math.min(20, summary.measures.frames));
    const [left, top] = tiles.at(-1)!;
    const sky = luma(pixel(png, left + 120, top + 30));
    const bush = luma(pixel(png, left + 12, top + 220));
    expect(sky).toBeGreaterThan(bush + 40);
    expect(file.frames[44]!.lumaMean).toBeGreaterThan(file.frames[0]!.lumaMean + 50);
    expect(summary.measures.cuts.length).toBeLessThan(3);
  });
});

interface Picture {
  readonly width: number;
  readonly data: ArrayLike<number>;
}

function pixel(png: Picture, x: number, y: number): [number, number, number] {
  const at = 3 * (Math.round(y) * png.width + Math.round(x));
  return [png.data[at]!, png.data[at + 1]!, png.data[at + 2]!];
}

function luma([red, green, blue]: readonly [number, number, number]): number {
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** Upper left corners of the pictures of a sheet with gaps of eight pixels. */
function tileCorners(
  width: number,
  height: number,
  cellWidth: number,
  cellHeight: number,
  count: number,
): [number, number][] {
  const columns = (width - 8) / (cellWidth + 8);
  expect(Number.isInteger(columns)).toBe(true);
  expect(height).toBe(8 + Math.ceil(count / columns) * (cellHeight + 8));
  return Array.from({ length: count }, (_, i) => [
    8 + (i % columns) * (cellWidth + 8),
    8 + Math.floor(i / columns) * (cellHeight + 8),
  ]);
}
