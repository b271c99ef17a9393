import type { Suite } from "../lib/suite.ts";

const file = "subjects/upload.ts";

export const suite: Suite = {
  title: "An upload of 64 MiB",
  what: "a request of 64 MiB to a server of node:http, from another process, until its body is one run of bytes; the time is processor time of the server",
  unit: "ns of processor time per MiB",
  anchor: "Buffer.concat of chunks",
  subjects: [
    { name: "millpond collect", kind: "ours", file, args: ["collect"] },
    {
      name: "millpond collect, detach",
      kind: "ours",
      file,
      args: ["collect-detach"],
      note: "frees each chunk at once; see its price in detach",
    },
    {
      name: "millpond collect, no length",
      kind: "ours",
      file,
      args: ["collect-chunked"],
      note: "chunked; the block grows",
    },
    { name: "Buffer.concat of chunks", kind: "peer", file, args: ["concat"] },
    { name: "Buffer.concat of chunks, no length", kind: "peer", file, args: ["concat-chunked"], note: "chunked" },
    {
      name: "one Buffer of content-length, by hand",
      kind: "peer",
      file,
      args: ["hand"],
      note: "fresh for each; no bound, no back-pressure",
    },
  ],
  goals: [
    {
      what: "collect, 0.6 of the processor time of Buffer.concat",
      subject: "millpond collect",
      against: "Buffer.concat of chunks",
      maxRatio: 0.6,
    },
    {
      what: "collect, 0.6 of the peak RSS of Buffer.concat",
      subject: "millpond collect",
      against: "Buffer.concat of chunks",
      metric: "rss",
      maxRatio: 0.6,
    },
    {
      what: "collect with detach, 0.6 of the processor time of Buffer.concat",
      subject: "millpond collect, detach",
      against: "Buffer.concat of chunks",
      maxRatio: 0.6,
    },
    {
      what: "collect with detach, 0.6 of the peak RSS of Buffer.concat",
      subject: "millpond collect, detach",
      against: "Buffer.concat of chunks",
      metric: "rss",
      maxRatio: 0.6,
    },
    { what: "collect with detach, no major GC", subject: "millpond collect, detach", metric: "gcMajor", atMost: 0 },
    {
      what: "collect without a length, no more processor time than Buffer.concat",
      subject: "millpond collect, no length",
      against: "Buffer.concat of chunks, no length",
      maxRatio: 1,
    },
  ],
};
