/**
 * Hours of 1080p frames through a pipeline, as fast as the machine can: written, teed, changed in place on copies,
 * queued, held; with a change of size every 5,000 frames and a seek every 7,000. Memory must stay flat: in its second
 * half the run may not have more resident memory than in its first, but for 48 MB. (The pools of former sizes are
 * garbage until the collector comes round; it finds its pace in the first few dozen changes.) `node
 * scripts/soak-pipeline.ts [frames]`; 90,000 frames are an hour at 25 a second, and the default is four hours of them.
 */
import type { MediaBuffer } from "../src/media/buffer/media-buffer.ts";
import { VideoInfo } from "../src/media/video/info.ts";
import { Source } from "../src/pipeline/base/source.ts";
import { Transform } from "../src/pipeline/base/transform.ts";
import { NullSink } from "../src/pipeline/elements/null-sink.ts";
import { Queue } from "../src/pipeline/elements/queue.ts";
import { Tee } from "../src/pipeline/elements/tee.ts";
import { Pipeline } from "../src/pipeline/pipeline.ts";
import { type VideoStream, videoFormat } from "../src/pipeline/stream-format.ts";

// Four times what the garbage collector's own breathing was in any run; an hour that leaked one frame a minute shows
// 186 MB.
const MAY_GROW = 48e6;

const frames = Number(process.argv[2] ?? 360_000);
if (!Number.isInteger(frames) || frames < 100) throw new Error("how many frames? at least 100");
const changeEvery = Math.min(5_000, Math.floor(frames / 4));
const seekEvery = Math.min(7_000, Math.floor(frames / 8));

const sizes: readonly VideoStream[] = [
  videoFormat(VideoInfo.of({ format: "I420", width: 1920, height: 1080 })),
  videoFormat(VideoInfo.of({ format: "I420", width: 1280, height: 720 })),
];

class Frames extends Source {
  made = 0;

  next(): VideoStream | undefined {
    if (this.made === frames) return undefined;
    // Nine tenths of the time it is 1080p.
    return this.made % changeEvery < changeEvery / 10 ? sizes[1] : sizes[0];
  }

  override fill(buffer: MediaBuffer): void {
    buffer.bytes.fill(this.made++ & 255);
  }
}

class Mark extends Transform {
  constructor() {
    super("mark", { mode: "in-place" });
  }

  override transformInPlace(buffer: MediaBuffer): void {
    buffer.bytes[0] = 1;
  }
}

const source = new Frames("frames");
const tee = new Tee("tee");
const pipeline = new Pipeline({ name: "soak", acquireTimeout: 60_000 });
pipeline.link(
  source,
  tee,
  new Queue({ name: "q1", max: 3 }),
  new Mark(),
  new NullSink({ name: "a", retainedBuffers: 2 }),
);
pipeline.link(tee, new Queue({ name: "q2", max: 3 }), new NullSink({ name: "b" }));

const started = performance.now();
const rss: { frame: number; bytes: number }[] = [];
let seeks = 0;
let isSeeking = false;
let nextSample = 0;
const run = pipeline.run();
const watch = setInterval(() => {
  if (source.made >= nextSample) {
    rss.push({ frame: source.made, bytes: process.memoryUsage.rss() });
    nextSample += Math.max(1, Math.floor(frames / 100));
  }
  if (!isSeeking && source.made < frames && source.made > (seeks + 1) * seekEvery) {
    seeks++;
    isSeeking = true;
    pipeline.seek().then(
      () => {
        isSeeking = false;
      },
      () => {},
    );
  }
}, 5);
const summary = await run;
clearInterval(watch);

if (process.env.MILLPOND_TRACE === "1") for (const { frame, bytes } of rss) console.log(frame, bytes);
const most = (of: (frame: number) => boolean): number =>
  Math.max(0, ...rss.filter(({ frame }) => of(frame)).map(({ bytes }) => bytes));
const first = most((frame) => frame <= frames / 2);
const growth = most((frame) => frame > frames / 2) - first;
const out = summary.pools.reduce((sum, pool) => sum + pool.outstanding, 0);
const rounds = pipeline.describe().decisions.at(-1)?.round ?? 0;
const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
console.log(
  `${frames} frames in ${((performance.now() - started) / 1000).toFixed(1)} s, ${seeks} seeks, ${rounds} rounds of negotiation; ` +
    `resident ${mb(first)} at most in the first half, ${growth <= 0 ? "no growth" : `${mb(growth)} more at most`} since; ${out} buffers out`,
);
if (growth > MAY_GROW || out > 0 || summary.holders.length > 0) {
  console.error("soak: memory grew, or buffers did not come back");
  process.exit(1);
}
