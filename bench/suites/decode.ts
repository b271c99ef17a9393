import type { Subject, Suite } from "../lib/suite.ts";

const subject = (way: string, name: string, kind: "ours" | "peer", note?: string): Subject => ({
  name,
  kind,
  file: "subjects/decode.ts",
  args: [way, "1080"],
  translated: true,
  ...(note === undefined ? {} : { note }),
});

export const suite: Suite = {
  title: "Decoded frames, 1080p",
  what: "375 frames of H.264 through mediabunny and libav, one thread, each brought into memory of one's own; the time is processor time, decoding included",
  unit: "ns of processor time per frame",
  anchor: "decoding alone",
  subjects: [
    subject("decode", "decoding alone", "peer", "each frame closed at once"),
    subject("pooled", "millpond, pooled frames", "ours", "a BufferPool of four"),
    subject("pooled-shared", "millpond, pooled frames in shared memory", "ours", "what workers read"),
    subject("pipeline", "millpond, file ! decode ! null", "ours"),
    subject(
      "by-hand",
      "native frame, set into shared memory",
      "peer",
      "by hand; nothing keeps a frame from being overwritten",
    ),
    subject("copy-reused", "copyTo into one reused buffer", "peer", "the same"),
    subject("copy-fresh", "copyTo into fresh buffers", "peer"),
    subject("ffmpeg", "ffmpeg to nothing, one thread", "peer", "its own decoder"),
  ],
  goals: [
    {
      what: "pooled frames at 0.85 of decoding alone",
      subject: "millpond, pooled frames",
      against: "decoding alone",
      maxRatio: 1 / 0.85,
    },
    {
      what: "pooled frames 1.35 times as fast as copyTo into fresh buffers",
      subject: "millpond, pooled frames",
      against: "copyTo into fresh buffers",
      maxRatio: 1 / 1.35,
    },
    { what: "two major GCs at most", subject: "millpond, pooled frames", metric: "gcMajor", atMost: 2 },
    {
      what: "two major GCs at most, in shared memory",
      subject: "millpond, pooled frames in shared memory",
      metric: "gcMajor",
      atMost: 2,
    },
    {
      what: "in shared memory as fast as by hand, with every check",
      subject: "millpond, pooled frames in shared memory",
      against: "native frame, set into shared memory",
      maxRatio: 1.05,
    },
  ],
};
