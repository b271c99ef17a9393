/** What ffprobe says of a video: asked now where it is installed, as recorded where it is not. */
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CLIP, ROOT } from "./command.ts";

export interface ProbedFacts {
  readonly frames: number;
  readonly width: number;
  readonly height: number;
  /** Degrees clockwise that a player turns the picture by. */
  readonly rotation: number;
  /** Seconds of each frame, in presentation order. */
  readonly times: readonly number[];
}

interface FfprobeOutput {
  readonly frames: readonly { readonly pts_time: string }[];
  readonly streams: readonly {
    readonly width: number;
    readonly height: number;
    readonly nb_read_frames: string;
    readonly side_data_list?: readonly { readonly rotation?: number }[];
  }[];
}

const hasFfprobe = spawnSync("ffprobe", ["-version"], { stdio: "ignore" }).status === 0;

/** What ffprobe says of big-buck-bunny.mp4 (5.1), for machines without ffprobe: 45 frames at 24 a second. */
const RECORDED_BUNNY: ProbedFacts = {
  frames: 45,
  width: 1920,
  height: 1080,
  rotation: 90,
  times: Array.from({ length: 45 }, (_, i) => Math.round(1e6 * (2 / 24 + i / 24)) / 1e6),
};

export function probe(path: string): ProbedFacts {
  if (hasFfprobe) return parse(askFfprobe(path));
  console.warn("ffprobe is not installed: comparing with the facts that were recorded when the clip was made");
  if (path !== CLIP) return RECORDED_BUNNY;
  return recordedClip();
}

/** What scripts/make-clip.sh recorded about the shipped clip. */
export function recordedClip(): ProbedFacts {
  return parse(JSON.parse(readFileSync(join(ROOT, "assets/clip.ffprobe.json"), "utf8")) as FfprobeOutput);
}

function askFfprobe(path: string): FfprobeOutput {
  const show = "stream=width,height,nb_read_frames:stream_tags=rotate:stream_side_data=rotation:frame=pts_time";
  const args = ["-v", "error", "-select_streams", "v:0", "-count_frames", "-of", "json", "-show_entries", show, path];
  return JSON.parse(execFileSync("ffprobe", args, { encoding: "utf8", maxBuffer: 1 << 26 })) as FfprobeOutput;
}

function parse(output: FfprobeOutput): ProbedFacts {
  const stream = output.streams[0]!;
  const turned = stream.side_data_list?.find((data) => data.rotation !== undefined)?.rotation ?? 0;
  return {
    frames: Number(stream.nb_read_frames),
    width: stream.width,
    height: stream.height,
    // ffprobe counts anticlockwise.
    rotation: (((-turned % 360) + 360) % 360) as number,
    times: output.frames.map((frame) => Number(frame.pts_time)),
  };
}
