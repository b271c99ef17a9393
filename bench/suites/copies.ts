import type { Suite } from "../lib/suite.ts";

const file = "subjects/copies.ts";

export const suite: Suite = {
  title: "1080p frames copied in, four in flight",
  what: "a 3.1 MB frame is copied into memory that is fresh or comes from a pool; four frames are in use at a time",
  unit: "ns per frame",
  anchor: "new Uint8Array",
  subjects: [
    { name: "millpond BufferPool", kind: "ours", file, args: ["pool"], translated: true, note: "five slots" },
    { name: "arrays by hand", kind: "peer", file, args: ["hand"], translated: true, note: "five, in turn; no checks" },
    { name: "new Uint8Array", kind: "peer", file, args: ["uint8array"], translated: true, note: "zeroed, then copied" },
    { name: "Buffer.allocUnsafeSlow", kind: "peer", file, args: ["unsafe"], translated: true, note: "not zeroed" },
  ],
  goals: [
    {
      what: "at least three times as fast as fresh Uint8Arrays",
      subject: "millpond BufferPool",
      against: "new Uint8Array",
      maxRatio: 1 / 3,
    },
    {
      what: "peak RSS at most 0.4 of fresh Uint8Arrays'",
      subject: "millpond BufferPool",
      against: "new Uint8Array",
      metric: "rss",
      maxRatio: 0.4,
    },
    { what: "no major GC", subject: "millpond BufferPool", metric: "gcMajor", atMost: 0 },
    {
      what: "no slower than arrays by hand, within 3 %",
      subject: "millpond BufferPool",
      against: "arrays by hand",
      maxRatio: 1.03,
    },
  ],
};
