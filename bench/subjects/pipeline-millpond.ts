/**
 * 1080p I420 frames through source, three identities and a sink: millpond's pipeline, with every negotiation,
 * generation check and count in place. "touched": the source writes every byte; "queue": a queue in the middle.
 */
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { VideoInfo } from "../../src/media/video/info.ts";
import { Source } from "../../src/pipeline/base/source.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Identity } from "../../src/pipeline/elements/pass-through.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { type VideoStream, videoFormat } from "../../src/pipeline/stream-format.ts";
import { measureRuns } from "../lib/runs.ts";

const kind = process.argv[2];
if (kind !== "chain" && kind !== "touched" && kind !== "queue") throw new Error("which one? chain, touched, queue");

const FORMAT = videoFormat(VideoInfo.of({ format: "I420", width: 1920, height: 1080 }));

class Frames extends Source {
  left = 0;

  next(): VideoStream | undefined {
    return this.left > 0 ? FORMAT : undefined;
  }

  override fill(buffer: MediaBuffer): void {
    this.left--;
    if (kind === "touched") buffer.bytes.fill(0);
  }
}

const source = new Frames("source");
const sink = new NullSink();
const pipeline = new Pipeline();
if (kind === "queue") pipeline.link(source, new Identity(), new Identity(), new Queue(), new Identity(), sink);
else pipeline.link(source, new Identity(), new Identity(), new Identity(), sink);

await measureRuns(async (n) => {
  source.left = n;
  await pipeline.run();
  if (sink.count !== n) throw new Error(`${sink.count} of ${n} frames arrived`);
}, "millpond");
