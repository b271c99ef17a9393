/**
 * Frames from one ffmpeg to another, and a look at each on the way: decoded into pooled slots, changed there, encoded
 * from there. Three slots serve the whole film, however slow either is; no
 * frame is copied in this process.
 *
 *     node examples/ffmpeg-frames.ts [film]
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { isMillpondError } from "../src/index.ts";
import { type FrameWriter, frameWriter, spawnFrames } from "../src/node.ts";

const film = process.argv[2] ?? fileURLToPath(new URL("../assets/clip.mp4", import.meta.url));

async function run(): Promise<void> {
  // Y4M says its size and rate itself.
  const decoder = spawnFrames(
    "ffmpeg",
    ["-v", "error", "-i", film, "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "pipe:1"],
    { count: 3 },
  );
  let writer: FrameWriter | undefined;
  let encoded: Promise<unknown> | undefined;
  let darkest = 255;
  for await (const frame of decoder) {
    const { width, height } = decoder.layout!;
    const luma = frame.bytes.subarray(0, width * height);
    let sum = 0;
    for (let i = 0; i < luma.length; i++) {
      const value = luma[i]!;
      sum += value;
      luma[i] = 255 - value;
    }
    darkest = Math.min(darkest, sum / luma.length);
    if (writer === undefined) {
      const raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", `${width}x${height}`, "-r", "25", "-i", "pipe:0"];
      // To a file: put its name in the place of these last three.
      const encoder = spawn("ffmpeg", ["-v", "error", ...raw, "-f", "null", "-"], {
        stdio: ["pipe", "inherit", "inherit"],
      });
      encoded = once(encoder, "close");
      writer = frameWriter(encoder.stdin);
    }
    // The lease is the writer's now; the next frame waits for a slot until this one's bytes are out.
    await writer.write(frame);
  }
  await writer?.end();
  await encoded;
  const { outstanding, highWater } = decoder.pool!.stats();
  console.log(
    `${writer?.written} frames by ${decoder.transport}, the darkest ${darkest.toFixed(0)} of 255; ` +
      `slots used: ${highWater}, still leased: ${outstanding}`,
  );
}

try {
  await run();
} catch (error) {
  if (!isMillpondError(error, "ERR_PROCESS_FAILED")) throw error;
  console.log(error.message);
}
