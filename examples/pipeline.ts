/** A pipeline of stages of your own and of millpond's: test pictures, halved, inverted in place, counted by a loop. */

import type { MediaBuffer } from "../src/index.ts";
import { AppSink, Caps, PatternSource, Pipeline, Queue, Transform } from "../src/pipeline.ts";
import { VideoScale } from "../src/video.ts";

class Invert extends Transform {
  constructor() {
    super("invert", {
      mode: "in-place",
      input: Caps.video({ format: "GRAY8" }),
      output: Caps.video({ format: "GRAY8" }),
    });
  }

  override transformInPlace(buffer: MediaBuffer): void {
    const { bytes } = buffer;
    for (let i = 0; i < bytes.length; i++) bytes[i] = 255 - bytes[i]!;
  }
}

const sink = new AppSink({ name: "loop" });
const pipeline = new Pipeline({ name: "example" }).link(
  new PatternSource({ name: "pattern", format: "I420", width: 640, height: 360, frames: 25 }),
  new VideoScale({ name: "half", width: 320 }),
  new Invert(),
  new Queue({ name: "queue", max: 2 }),
  sink,
);

const run = pipeline.run();
let frames = 0;
let sum = 0;
for await (const buffer of sink) {
  frames++;
  sum += buffer.bytes[0]!;
  buffer.release();
}
await run;
console.log(`${frames} frames, first pixels add up to ${sum}\n`);
console.log(pipeline.describe().text());
