// The same by spawnFrames(), as the doctor says.
import { spawnFrames } from "../../dist/node.js";
import { detect } from "./work.mjs";

const args =
  "-v error -f lavfi -i testsrc=size=1920x1080:rate=25 -frames:v 300 -pix_fmt yuv420p -f rawvideo pipe:1".split(" ");
for await (const frame of spawnFrames("ffmpeg", args, { count: 4, format: "I420", width: 1920, height: 1080 })) {
  detect(frame.bytes);
  frame.release();
}
