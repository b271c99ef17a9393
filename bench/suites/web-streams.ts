import type { Suite } from "../lib/suite.ts";

const file = "subjects/web-streams.ts";

export const suite: Suite = {
  title: "Frames from a byte stream",
  what: "1080p frames (3.1 MB) of a file's ReadableStream, four in flight, one byte of each is looked at; the file is in memory; the time is processor time",
  unit: "ns of processor time per frame",
  anchor: "default reader, a fresh buffer a frame",
  subjects: [
    { name: "millpond readInto", kind: "ours", file, args: ["slots"], note: "byob, 4 slots" },
    { name: "millpond readInto, shared memory", kind: "ours", file, args: ["shared"], note: "byob, one copy, 4 slots" },
    { name: "default reader, a fresh buffer a frame", kind: "peer", file, args: ["chunks"], note: "one copy" },
    { name: "byob reader, a fresh buffer a frame", kind: "peer", file, args: ["fresh-byob"] },
    {
      name: "byob reader, a ring by hand",
      kind: "peer",
      file,
      args: ["ring-byob"],
      note: "4 buffers; nobody checks who still looks",
    },
  ],
  goals: [
    {
      what: "readInto, a quarter of the processor time of a default reader",
      subject: "millpond readInto",
      against: "default reader, a fresh buffer a frame",
      maxRatio: 0.25,
    },
    {
      what: "readInto, 0.7 of its peak RSS",
      subject: "millpond readInto",
      against: "default reader, a fresh buffer a frame",
      metric: "rss",
      maxRatio: 0.7,
    },
    {
      what: "readInto, within a quarter of a ring by hand",
      subject: "millpond readInto",
      against: "byob reader, a ring by hand",
      maxRatio: 1.25,
    },
    { what: "readInto, no major GC", subject: "millpond readInto", metric: "gcMajor", atMost: 0 },
  ],
};
