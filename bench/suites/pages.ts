import type { Subject, Suite } from "../lib/suite.ts";

const ours = (source: string, way: "fresh" | "pooled"): Subject => ({
  name: way === "fresh" ? `${source}, fresh` : `${source}, from a pool`,
  kind: "ours",
  file: "subjects/pages-millpond.ts",
  args: [source, way],
});

export const suite: Suite = {
  title: "Where pages come from",
  what: "an 8 MiB block: allocate, write one byte of every page, free; or acquire and release it from a pool of four",
  unit: "ns per block",
  anchor: "system, fresh",
  subjects: [
    ours("system", "fresh"),
    ours("wasm", "fresh"),
    ours("pages", "fresh"),
    ours("prefault", "fresh"),
    ours("huge-prefault", "fresh"),
    ours("mapped", "fresh"),
    ours("mapped-huge-prefault", "fresh"),
    ours("locked", "fresh"),
    ours("shared", "fresh"),
    ours("system", "pooled"),
    ours("huge-prefault", "pooled"),
    ours("locked", "pooled"),
  ],
  goals: [
    {
      what: "huge pages, made present: a third of small ones from the same source",
      subject: "mapped-huge-prefault, fresh",
      against: "mapped, fresh",
      maxRatio: 1 / 3,
    },
    {
      what: "a pool on locked pages is as fast as one on ordinary ones",
      subject: "locked, from a pool",
      against: "system, from a pool",
      maxRatio: 1.2,
    },
  ],
};
