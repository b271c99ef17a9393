import type { Suite } from "../lib/suite.ts";

const file = "subjects/read-blocks.ts";

export const suite: Suite = {
  title: "A file of 4 GiB, block by block",
  what: "a file that the system has in memory, read once from its start to its end; one byte of each piece is looked at",
  unit: "ns per MiB",
  anchor: "createReadStream",
  subjects: [
    { name: "millpond readBlocks, 1 MiB", kind: "ours", file, args: ["blocks"], note: "4 slots" },
    { name: "millpond readBlocks, 64 KiB", kind: "ours", file, args: ["small-blocks"], note: "4 slots" },
    { name: "createReadStream", kind: "peer", file, args: ["stream"], note: "64 KiB, its default" },
    { name: "createReadStream, 1 MiB", kind: "peer", file, args: ["large-stream"], note: "highWaterMark" },
    {
      name: "FileHandle.read, one buffer by hand",
      kind: "peer",
      file,
      args: ["hand"],
      note: "1 MiB, used again; nothing is read ahead",
    },
  ],
  goals: [
    {
      what: "readBlocks, 1.5 times as fast as createReadStream",
      subject: "millpond readBlocks, 1 MiB",
      against: "createReadStream",
      maxRatio: 1 / 1.5,
    },
    {
      what: "readBlocks, peak RSS below createReadStream's with blocks of 1 MiB",
      subject: "millpond readBlocks, 1 MiB",
      against: "createReadStream, 1 MiB",
      metric: "rss",
      maxRatio: 1,
    },
    { what: "readBlocks, no major GC", subject: "millpond readBlocks, 1 MiB", metric: "gcMajor", atMost: 0 },
  ],
};
