import type { Suite } from "../lib/suite.ts";

export const suite: Suite = {
  title: "Pipeline: 1080p frames through three identities",
  what: "one 3.1 MB frame from a source through three stages that do nothing to a sink; bytes untouched, but where it says so",
  unit: "ns per frame",
  anchor: "gst-launch",
  subjects: [
    {
      name: "millpond pipeline",
      kind: "ours",
      file: "subjects/pipeline-millpond.ts",
      args: ["chain"],
      note: "negotiated pool, one thread",
    },
    {
      name: "millpond pipeline, a queue in it",
      kind: "ours",
      file: "subjects/pipeline-millpond.ts",
      args: ["queue"],
      note: "two loops on one thread",
    },
    {
      name: "gst-launch",
      kind: "native",
      file: "native/gst-pipeline.c",
      packages: ["gstreamer-1.0"],
      note: "fakesrc allocates each buffer; a thread of its own",
    },
    {
      name: "by hand, fresh buffers",
      kind: "peer",
      file: "subjects/pipeline-fresh.ts",
      args: ["chain"],
      note: "no checks, no stages that could wait",
    },
    {
      name: "millpond pipeline, written",
      kind: "ours",
      file: "subjects/pipeline-millpond.ts",
      args: ["touched"],
      note: "every byte of the frame written",
    },
    {
      name: "gst-launch, written",
      kind: "native",
      file: "native/gst-pipeline.c",
      args: ["zero"],
      packages: ["gstreamer-1.0"],
      note: "filltype=zero",
    },
    {
      name: "by hand, fresh buffers, written",
      kind: "peer",
      file: "subjects/pipeline-fresh.ts",
      args: ["touched"],
      note: "every byte of the frame written",
    },
  ],
  goals: [
    {
      what: "no slower than gst-launch, identities and fakesink",
      subject: "millpond pipeline",
      against: "gst-launch",
      maxRatio: 1,
    },
    {
      what: "written: half of fresh buffers by hand",
      subject: "millpond pipeline, written",
      against: "by hand, fresh buffers, written",
      maxRatio: 1 / 2,
    },
    {
      what: "written: no slower than gst-launch",
      subject: "millpond pipeline, written",
      against: "gst-launch, written",
      maxRatio: 1,
    },
    { what: "written: no major GC", subject: "millpond pipeline, written", metric: "gcMajor", atMost: 0 },
  ],
};
