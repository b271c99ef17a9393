// Shares its realm with other files: nothing that it changes outlives it.
/**
 * Frames, times, rotation, pixel shape and range in every container that can be made here, held against ffprobe: what
 * the command reads of a file, and what it writes into one. The variants are made with ffmpeg, since the command has to
 * be told from outside.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { FULL, isFullLength, REPEATED } from "../helpers/effort.ts";
import { runCommand } from "./hostile.ts";

const scratch = mkdtempSync(join(tmpdir(), "millpond-carried-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const hasTools = ["ffmpeg", "ffprobe"].every((tool) => spawnSync(tool, ["-version"], { stdio: "ignore" }).status === 0);
if (!hasTools) console.warn("skipped: ffmpeg and ffprobe are not installed, so nothing can be held against them");

const at = (name: string): string => join(scratch, name);
const ffmpeg = (...args: string[]): void =>
  void execFileSync("ffmpeg", ["-v", "error", "-y", ...args], { cwd: scratch });

interface Facts {
  readonly times: readonly number[];
  readonly rotation: number;
  readonly aspect: string;
  readonly range: string;
  readonly matrix: string;
}

function probe(name: string): Facts {
  const show = "stream=sample_aspect_ratio,color_range,color_space:stream_side_data=rotation:frame=pts_time";
  const args = ["-v", "error", "-select_streams", "v:0", "-of", "json", "-show_entries", show, at(name)];
  const { frames, streams } = JSON.parse(execFileSync("ffprobe", args, { encoding: "utf8", maxBuffer: 1 << 26 }));
  const [stream] = streams;
  const side = (stream.side_data_list ?? []).find((data: { rotation?: number }) => data.rotation !== undefined);
  return {
    times: frames.map((frame: { pts_time: string }) => Number(frame.pts_time)),
    rotation: ((-(side?.rotation ?? 0) % 360) + 360) % 360,
    aspect: stream.sample_aspect_ratio ?? "1:1",
    range: stream.color_range ?? "unknown",
    matrix: stream.color_space ?? "unknown",
  };
}

/** The fast lane has each kind of picture and each container once. */
const ONCE = ["rotated.mov", "anamorphic.mkv", "variable.ts", "alpha.webm"];

const SIZE = "160x120";
const H264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p"];
if (hasTools) {
  ffmpeg("-f", "lavfi", "-i", `testsrc2=size=${SIZE}:rate=25:duration=${isFullLength ? 2 : 1}`, ...H264, "plain.mp4");
  ffmpeg("-i", "plain.mp4", "-c", "copy", "-metadata:s:v:0", "rotate=90", "rotated.mp4");
  ffmpeg("-i", "plain.mp4", "-vf", "setsar=16/15", ...H264, "anamorphic.mp4");
  ffmpeg("-i", "plain.mp4", "-vf", "select='not(mod(n,3))+not(mod(n,7))'", "-vsync", "vfr", ...H264, "variable.mp4");
  ffmpeg(
    "-i",
    "plain.mp4",
    "-vf",
    "scale=out_range=full:out_color_matrix=bt709",
    "-color_range",
    "pc",
    "-colorspace",
    "bt709",
    ...H264,
    "full.mp4",
  );
  const alpha = `testsrc2=size=${SIZE}:rate=25:duration=1,format=yuva420p`;
  ffmpeg("-f", "lavfi", "-i", alpha, "-c:v", "libvpx-vp9", "-b:v", "100k", "-pix_fmt", "yuva420p", "alpha.webm");
  for (const kind of ["plain", "rotated", "anamorphic", "variable", "full"]) {
    for (const container of ["mov", "mkv", "ts"]) {
      // Only these are looked at in the fast lane.
      if (!isFullLength && !ONCE.includes(`${kind}.${container}`)) continue;
      const filter = container === "ts" ? ["-bsf:v", "h264_mp4toannexb"] : [];
      ffmpeg("-i", `${kind}.mp4`, "-c", "copy", ...filter, `${kind}.${container}`);
    }
  }
  if (isFullLength) {
    ffmpeg("-i", "variable.mp4", "-c:v", "libvpx", "-b:v", "200k", "-vsync", "vfr", "variable.webm");
    ffmpeg("-i", "plain.mp4", "-c:v", "libvpx", "-b:v", "200k", "plain.webm");
  }
}
const KINDS = ["plain", "rotated", "anamorphic", "variable", "full"];
const FILES = [
  ...KINDS.flatMap((kind) => ["mp4", "mov", "mkv", "ts"].map((container) => `${kind}.${container}`)),
  "plain.webm",
  "variable.webm",
  "alpha.webm",
];

const isMore = (name: string): boolean => !ONCE.includes(name);

describe.skipIf(!hasTools)("what is read of a file", () => {
  for (const name of FILES) {
    it(`${name} has ffprobe's frames, times, rotation and shape`, isMore(name) ? FULL : REPEATED, async () => {
      const facts = probe(name);
      const out = at(`out-${name}`);
      const { code, stdout, stderr } = await runCommand(["run", at(name), "--json", "--workers", "1", "--out", out]);
      expect(code, stderr).toBe(0);
      const { source } = JSON.parse(stdout.toString());
      const { frames } = JSON.parse(readFileSync(join(out, "frames.json"), "utf8"));
      expect(frames).toHaveLength(facts.times.length);
      // MPEG-TS begins at any time; the distance between frames is what counts there.
      const shift = name.endsWith(".ts") ? facts.times[0]! - frames[0].time : 0;
      for (const [i, time] of facts.times.entries()) expect(frames[i].time).toBeCloseTo(time - shift, 4);
      expect(source.rotation).toBe(facts.rotation);
      const [num, den] = facts.aspect.split(":").map(Number);
      const shape =
        facts.rotation % 180 === 0
          ? source.displayWidth / source.displayHeight
          : source.displayHeight / source.displayWidth;
      expect(shape).toBeCloseTo((160 / 120) * (num! / den!), 1);
    });
  }
});

describe.skipIf(!hasTools)("what is written into a file", REPEATED, () => {
  const CONTAINERS = ["mp4", "mov", "mkv", "webm"];
  const cases = KINDS.flatMap((kind) => CONTAINERS.map((container) => [kind, container] as const));
  for (const [kind, container] of cases) {
    const isLeft = !["plain.webm", "rotated.mov", "full.mp4"].includes(`${kind}.${container}`);
    it(`${kind} into .${container}: carried, or said to be lost`, isLeft ? FULL : REPEATED, async () => {
      const name = `written-${kind}.${container}`;
      const text = `file ${at(`${kind}.mp4`)} ! decode ! encode ${at(name)}`;
      const { code, stderr, message } = await runCommand(["run", text, "--quiet"]);
      expect(code, stderr).toBe(0);
      const [before, after] = [probe(`${kind}.mp4`), probe(name)];
      expect(after.times).toHaveLength(before.times.length);
      for (const [i, time] of before.times.entries()) expect(after.times[i]).toBeCloseTo(time, 4);
      expect(after.rotation).toBe(before.rotation);
      expect(after.aspect).toBe(before.aspect);
      expect(after.matrix).toBe(before.matrix);
      if (before.range === "pc" && after.range !== "pc")
        expect(message).toMatch(/warning: .*full range of luma is lost/);
      else expect(stderr).toBe("");
    });
  }

  it.each([
    ["rotated", /the rotation of \d+ degrees is lost: Y4M/],
    ["variable", /the times of the frames are lost: Y4M/],
    ["full", /the color matrix bt709 is lost: Y4M/],
  ] as const)("%s into Y4M is a warning, and an error without a file under --strict", async (kind, pattern) => {
    const text = (name: string): string => `file ${at(`${kind}.mp4`)} ! decode ! y4msink ${at(name)}`;
    const warned = await runCommand(["run", text(`${kind}.y4m`), "--quiet"]);
    expect(warned.code).toBe(0);
    expect(warned.message).toMatch(pattern);
    const settled = await runCommand(["run", text(`${kind}.y4m`), "--dry-run"]);
    expect(settled.message).toMatch(pattern);
    const refused = await runCommand(["run", text(`strict-${kind}.y4m`), "--strict"]);
    expect(refused.code).toBe(1);
    expect(refused.message).toMatch(pattern);
    expect(() => readFileSync(at(`strict-${kind}.y4m`))).toThrow();
  });

  it("pixel shape and full range go into Y4M", async () => {
    for (const kind of ["anamorphic", "full"]) {
      await runCommand(["run", `file ${at(`${kind}.mp4`)} ! decode ! y4msink ${at(`carried-${kind}.y4m`)}`, "--quiet"]);
    }
    expect(probe("carried-anamorphic.y4m").aspect).toBe("16:15");
    expect(probe("carried-full.y4m").range).toBe("pc");
  });

  it("transparency that a conversion drops is a warning, and an error under --strict", async () => {
    const text = `file ${at("alpha.webm")} ! decode ! convert I420 ! encode ${at("opaque.mp4")}`;
    const warned = await runCommand(["run", text, "--quiet"]);
    expect(warned.code).toBe(0);
    expect(warned.message).toMatch(/the transparency of I420A is lost: I420 has none/);
    expect((await runCommand(["run", text, "--strict"])).code).toBe(1);
  });
});
