import type { Subject, Suite } from "../lib/suite.ts";

const gst = (name: string, what: string): Subject => ({
  name,
  kind: "native",
  file: "native/gst.c",
  args: [what],
  packages: ["gstreamer-1.0"],
});
const list = (name: string, what: string): Subject => ({
  name,
  kind: "native",
  file: "native/freelist.c",
  args: [what],
});
const ours = (name: string, what: string): Subject => ({
  name,
  kind: "ours",
  file: "subjects/shared-millpond.ts",
  args: [what],
});

export const suite: Suite = {
  title: "A pool that two threads share",
  what: "acquire and release from one thread, and from two at once (wall time over all operations); bytes untouched",
  unit: "ns per acquire + release",
  anchor: "GstBufferPool, two threads",
  subjects: [
    ours("millpond SharedPool, one thread", "one"),
    ours("millpond SharedPool, two threads", "two"),
    ours("millpond SharedPool, two threads, 32 slots", "two-small"),
    gst("GstBufferPool, one thread", "pool"),
    gst("GstBufferPool, two threads", "pool-two-threads"),
    list("C mutex list, one thread", "mutex"),
    list("C mutex list, two threads", "mutex-two-threads"),
    list("C Treiber stack, one thread", "stack"),
    list("C Treiber stack, two threads", "stack-two-threads"),
  ],
  goals: [
    {
      what: "two threads, a twentieth of GstBufferPool",
      subject: "millpond SharedPool, two threads",
      against: "GstBufferPool, two threads",
      maxRatio: 1 / 20,
    },
    {
      what: "two threads on 32 slots, a sixth of GstBufferPool",
      subject: "millpond SharedPool, two threads, 32 slots",
      against: "GstBufferPool, two threads",
      maxRatio: 1 / 6,
    },
    {
      what: "one thread, a quarter of GstBufferPool",
      subject: "millpond SharedPool, one thread",
      against: "GstBufferPool, one thread",
      maxRatio: 1 / 4,
    },
    {
      what: "one thread, one and a half of a C list under a mutex",
      subject: "millpond SharedPool, one thread",
      against: "C mutex list, one thread",
      maxRatio: 1.5,
    },
  ],
};
