import type { Suite } from "../lib/suite.ts";

const file = "subjects/fill.ts";

export const suite: Suite = {
  title: "8 MiB filled",
  what: "8 MiB are filled with one byte: the same memory each time, fresh memory, or a slot of a pool",
  unit: "ns per fill",
  anchor: "memset alone",
  subjects: [
    { name: "millpond BufferPool", kind: "ours", file, args: ["pool"], note: "acquire, fill, release" },
    { name: "memset alone", kind: "peer", file, args: ["memset"], note: "the same array each time" },
    { name: "new Uint8Array", kind: "peer", file, args: ["fresh"], note: "fresh each time" },
  ],
  goals: [
    {
      what: "within 3 % of the fill alone",
      subject: "millpond BufferPool",
      against: "memset alone",
      maxRatio: 1.03,
    },
    { what: "no major GC", subject: "millpond BufferPool", metric: "gcMajor", atMost: 0 },
  ],
};
