import type { Suite } from "../lib/suite.ts";

export const suite: Suite = {
  title: "A queue of handles between two threads",
  what: "push an integer in one thread and pop it in the other, one at a time, 64 places; and both in one thread, where no core waits for another's line",
  unit: "ns per push + pop",
  anchor: "ringbuf.js",
  // Both sides spin: a round in which one of them lost its core measures the scheduler.
  across: "minimum",
  subjects: [
    { name: "millpond SpscRing", kind: "ours", file: "subjects/ring-millpond.ts", args: ["two"] },
    {
      name: "ringbuf.js",
      kind: "peer",
      file: "subjects/ringbuf.ts",
      args: ["two"],
      note: "made for blocks of samples; 64 at once cost it 3 ns each",
    },
    { name: "millpond SpscRing, one thread", kind: "ours", file: "subjects/ring-millpond.ts", args: ["one"] },
    { name: "ringbuf.js, one thread", kind: "peer", file: "subjects/ringbuf.ts", args: ["one"] },
  ],
  goals: [
    {
      what: "two threads, 2.5 times faster than ringbuf.js",
      subject: "millpond SpscRing",
      against: "ringbuf.js",
      maxRatio: 1 / 2.5,
    },
    {
      what: "one thread, 2.5 times faster than ringbuf.js",
      subject: "millpond SpscRing, one thread",
      against: "ringbuf.js, one thread",
      maxRatio: 1 / 2.5,
    },
  ],
};
