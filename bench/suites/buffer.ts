import type { Subject, Suite } from "../lib/suite.ts";

const gst = (name: string, args: string[], note?: string): Subject => ({
  name,
  kind: "native",
  file: "native/gst.c",
  args,
  packages: ["gstreamer-1.0"],
  ...(note === undefined ? {} : { note }),
});
const ours = (name: string, args: string[]): Subject => ({
  name,
  kind: "ours",
  file: "subjects/buffer-millpond.ts",
  args,
});

export const suite: Suite = {
  title: "Work on one buffer",
  what: "shallow copy + release, map + unmap, add + remove of a meta, on a buffer of 8 MiB; bytes untouched",
  unit: "ns per pair",
  anchor: "gst_buffer_copy + unref",
  subjects: [
    ours("millpond copy + release", ["copy"]),
    ours("millpond buffer map + unmap", ["buffer-map"]),
    ours("millpond buffer lock + unlock", ["buffer-lock"]),
    ours("millpond memory map + unmap", ["memory-map"]),
    ours("millpond add + remove meta", ["meta"]),
    gst("gst_buffer_copy + unref", ["copy"], "counts are atomic"),
    gst("gst_buffer_map + unmap", ["buffer-map"], "locks are atomic"),
    gst("gst_memory_map + unmap", ["memory-map"], "locks are atomic"),
    gst("gst add_meta + remove_meta", ["meta"]),
  ],
  goals: [
    {
      what: "shallow copy, half of GStreamer",
      subject: "millpond copy + release",
      against: "gst_buffer_copy + unref",
      maxRatio: 1 / 2,
    },
    {
      what: "buffer map, a fifth of GStreamer",
      subject: "millpond buffer map + unmap",
      against: "gst_buffer_map + unmap",
      maxRatio: 1 / 5,
    },
    {
      what: "buffer lock (no object), a fifth of GStreamer's map",
      subject: "millpond buffer lock + unlock",
      against: "gst_buffer_map + unmap",
      maxRatio: 1 / 5,
    },
    {
      what: "meta, a fifth of GStreamer",
      subject: "millpond add + remove meta",
      against: "gst add_meta + remove_meta",
      maxRatio: 1 / 5,
    },
  ],
};
