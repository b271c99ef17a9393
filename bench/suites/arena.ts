import type { Subject, Suite } from "../lib/suite.ts";

function arena(which: "pair" | "mixed"): Subject[] {
  const label = which === "pair" ? "64 B pair" : "mixed";
  const args = [which];
  const malloc = "native/malloc.c";
  return [
    { name: `millpond TlsfArena, ${label}`, kind: "ours", file: "subjects/arena-tlsf.ts", args },
    {
      name: `millpond TlsfArena, ${label}, Node 20`,
      kind: "ours",
      file: "subjects/arena-tlsf.ts",
      args,
      runtime: "node20",
    },
    {
      name: `millpond RealtimePool, ${label}`,
      kind: "ours",
      file: "subjects/arena-realtime-pool.ts",
      args,
      note: "over TlsfArena; debugging is there, and off",
    },
    {
      name: `the same without debugging, ${label}`,
      kind: "ours",
      file: "subjects/arena-bare-pool.ts",
      args,
      note: "no product: RealtimePool without the one comparison",
    },
    {
      name: `millpond SizeClassArena, ${label}`,
      kind: "ours",
      file: "subjects/arena-classes.ts",
      args,
      note: "in an arena of 1.8 times the live bytes",
    },
    {
      name: `TLSF in C, ${label}`,
      kind: "native",
      file: "native/tlsf.c",
      args,
      fetches: { variable: "TLSF_SOURCE", folder: "tlsf-source" },
      note: "without its assertions, in one translation unit with the loop",
    },
    { name: `glibc, ${label}`, kind: "native", file: malloc, args },
    { name: `mimalloc, ${label}`, kind: "native", file: malloc, args, flags: ["-DMIMALLOC", "-lmimalloc"] },
    { name: `jemalloc, ${label}`, kind: "native", file: malloc, args, flags: ["-DJEMALLOC", "-ljemalloc"] },
    { name: `@thi.ng/malloc, ${label}`, kind: "peer", file: "subjects/thi-ng-malloc.ts", args },
  ];
}

export const suite: Suite = {
  title: "Blocks of any size in one arena",
  what: "take and give back 64 bytes at once (pair), and replace a random one of 10,000 live blocks of 16 bytes to 64 KiB (mixed); bytes untouched",
  unit: "ns per take + give back",
  anchor: "glibc, mixed",
  subjects: [...arena("mixed"), ...arena("pair")],
  goals: [
    {
      what: "TLSF in TypeScript, average, against TLSF in C",
      subject: "millpond TlsfArena, mixed",
      against: "TLSF in C, mixed",
      maxRatio: 1.1,
    },
    {
      what: "TLSF in TypeScript, p99.9, against TLSF in C",
      subject: "millpond TlsfArena, mixed",
      against: "TLSF in C, mixed",
      maxRatio: 1.3,
      metric: "p999",
    },
    {
      what: "at least 1,000 times faster than @thi.ng/malloc with 10,000 live blocks",
      subject: "millpond TlsfArena, mixed",
      against: "@thi.ng/malloc, mixed",
      maxRatio: 0.001,
    },
    {
      what: "size classes no slower than mimalloc, within 1.8 times the live bytes",
      subject: "millpond SizeClassArena, mixed",
      against: "mimalloc, mixed",
      maxRatio: 1,
    },
    {
      what: "debugging costs nothing while it is off (5 % is the noise of this bench)",
      subject: "millpond RealtimePool, mixed",
      against: "the same without debugging, mixed",
      maxRatio: 1.05,
    },
    // The harness's own readings of the clock are garbage, and a minor collection or two are theirs.
    { what: "no full collection during the trace", subject: "millpond TlsfArena, mixed", atMost: 0, metric: "gcMajor" },
  ],
};
