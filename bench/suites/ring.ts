import type { Suite } from "../lib/suite.ts";

export const suite: Suite = {
  title: "A queue of handles between two threads",
  what: "push an integer in one thread and pop it in the other, one at a time, 64 places",
  unit: "ns per push + pop",
  anchor: "ringbuf.js",
  // Both sides spin: a round in which one of them lost its core measures the scheduler.
  across: "minimum",
  subjects: [
    { name: "millpond HandleRing", kind: "ours", file: "subjects/ring-millpond.ts" },
    {
      name: "ringbuf.js",
      kind: "peer",
      file: "subjects/ringbuf.ts",
      note: "made for blocks of samples; 64 at once cost it 3 ns each",
    },
  ],
  goals: [
    {
      what: "2.5 times faster than ringbuf.js",
      subject: "millpond HandleRing",
      against: "ringbuf.js",
      maxRatio: 1 / 2.5,
    },
  ],
};
