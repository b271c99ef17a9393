import type { Subject, Suite } from "../lib/suite.ts";

function fixed(which: "pair" | "replace"): Subject[] {
  const label = which === "pair" ? "pair" : "10k live";
  const args = [which];
  return [
    { name: `millpond SlabPool, ${label}`, kind: "ours", file: "subjects/slab-millpond.ts", args },
    {
      name: `millpond SlabPool, ${label}, Node 20`,
      kind: "ours",
      file: "subjects/slab-millpond.ts",
      args,
      runtime: "node20",
    },
    {
      name: `libcork, ${label}`,
      kind: "native",
      file: "native/cork.c",
      args,
      packages: ["libcork"],
      note: "no checks",
    },
    { name: `glibc, ${label}`, kind: "native", file: "native/malloc.c", args },
    { name: `mimalloc, ${label}`, kind: "native", file: "native/malloc.c", args, flags: ["-DMIMALLOC", "-lmimalloc"] },
    { name: `jemalloc, ${label}`, kind: "native", file: "native/malloc.c", args, flags: ["-DJEMALLOC", "-ljemalloc"] },
    { name: `@thi.ng/malloc, ${label}`, kind: "peer", file: "subjects/thi-ng-malloc.ts", args },
    { name: `typedarray-pool, ${label}`, kind: "peer", file: "subjects/typedarray-pool.ts", args },
  ];
}

export const suite: Suite = {
  title: "Fixed 64-byte objects",
  what: "take and give back a 64-byte object at once (pair), and replace a random one of 10,000 live ones; bytes untouched",
  unit: "ns per take + give back",
  anchor: "libcork, pair",
  subjects: [
    ...fixed("pair"),
    { name: "new Uint8Array(64)", kind: "peer", file: "subjects/new-uint8array.ts", args: ["pair"] },
    ...fixed("replace"),
  ],
  goals: [
    {
      what: "pair with checks on, against libcork without",
      subject: "millpond SlabPool, pair",
      against: "libcork, pair",
      maxRatio: 1.25,
    },
    {
      what: "random replacement with checks on, against libcork without",
      subject: "millpond SlabPool, 10k live",
      against: "libcork, 10k live",
      maxRatio: 1.25,
    },
    {
      what: "random replacement at least 1,000 times faster than @thi.ng/malloc",
      subject: "millpond SlabPool, 10k live",
      against: "@thi.ng/malloc, 10k live",
      maxRatio: 0.001,
    },
  ],
};
