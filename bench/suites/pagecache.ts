import type { Suite } from "../lib/suite.ts";

const args = ["pages"];

export const suite: Suite = {
  title: "Page cache",
  what: "get and put a block of one of 8 sizes, 64 KiB to 12 MiB, in a random order; bytes untouched",
  unit: "ns per get + put",
  anchor: "mimalloc",
  subjects: [
    { name: "millpond PagePool", kind: "ours", file: "subjects/pagecache-millpond.ts", args, note: "ages out" },
    {
      name: "millpond PagePool, Node 20",
      kind: "ours",
      file: "subjects/pagecache-millpond.ts",
      args,
      runtime: "node20",
      note: "ages out",
    },
    { name: "glibc malloc", kind: "native", file: "native/malloc.c", args, note: "keeps what its heap top holds" },
    { name: "mimalloc", kind: "native", file: "native/malloc.c", args, flags: ["-DMIMALLOC", "-lmimalloc"] },
    { name: "jemalloc", kind: "native", file: "native/malloc.c", args, flags: ["-DJEMALLOC", "-ljemalloc"] },
    {
      name: "mimalloc, 8 MiB only",
      kind: "native",
      file: "native/malloc.c",
      args: ["frame"],
      flags: ["-DMIMALLOC", "-lmimalloc"],
    },
    {
      name: "jemalloc, 8 MiB only",
      kind: "native",
      file: "native/malloc.c",
      args: ["frame"],
      flags: ["-DJEMALLOC", "-ljemalloc"],
    },
    {
      name: "typedarray-pool",
      kind: "peer",
      file: "subjects/typedarray-pool.ts",
      args,
      note: "never ages out; rounds up to a power of two",
    },
    { name: "new Uint8Array", kind: "peer", file: "subjects/new-uint8array.ts", args, note: "zeroed" },
  ],
  goals: [
    {
      what: "get + put within 40 ns with the age-out on (a bound of the design machine, not a ratio)",
      subject: "millpond PagePool",
      metric: "ns",
      atMost: 40,
    },
    { what: "no slower than mimalloc", subject: "millpond PagePool", against: "mimalloc", maxRatio: 1 },
  ],
};
