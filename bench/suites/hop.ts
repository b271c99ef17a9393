import type { Suite } from "../lib/suite.ts";

export const suite: Suite = {
  title: "A buffer from one thread to another",
  what: "acquire in one thread, hand over, release in the other; a queue of 64 places between them, bytes untouched",
  unit: "ns per buffer",
  anchor: "GstBufferPool",
  // Both sides spin: a round in which one of them lost its core measures the scheduler.
  across: "minimum",
  subjects: [
    {
      name: "millpond SharedPool",
      kind: "ours",
      file: "subjects/shared-millpond.ts",
      args: ["hop"],
      note: "the lease changes its owner on the way, so that a thread's death loses none",
    },
    { name: "GstBufferPool", kind: "native", file: "native/gst.c", args: ["hop"], packages: ["gstreamer-1.0"] },
  ],
  goals: [
    { what: "a quarter of GstBufferPool", subject: "millpond SharedPool", against: "GstBufferPool", maxRatio: 1 / 4 },
  ],
};
