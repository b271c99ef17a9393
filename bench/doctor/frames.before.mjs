// Frames of ffmpeg's raw video, cut out of its output.
import { spawn } from "node:child_process";
import { detect } from "./work.mjs";

const SIZE = (1920 * 1080 * 3) / 2;
const args =
  "-v error -f lavfi -i testsrc=size=1920x1080:rate=25 -frames:v 300 -pix_fmt yuv420p -f rawvideo pipe:1".split(" ");
const ffmpeg = spawn("ffmpeg", args, { stdio: ["ignore", "pipe", "inherit"] });
let chunks = [];
let have = 0;
for await (const chunk of ffmpeg.stdout) {
  chunks.push(chunk);
  have += chunk.length;
  if (have < SIZE) continue;
  const joined = Buffer.concat(chunks);
  detect(joined.subarray(0, SIZE));
  chunks = [joined.subarray(SIZE)];
  have -= SIZE;
}
