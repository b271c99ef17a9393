import type { RatioGoal, Subject, Suite } from "../lib/suite.ts";

const WORK: readonly (readonly [which: string, label: string, note?: string])[] = [
  ["pair", "64 bytes"],
  ["frame", "8 MB"],
  ["pages", "eight sizes"],
  ["live", "100 live"],
  ["many", "10k live", "a mark on each freed array: 40 bytes of garbage, in a loop that waits for memory"],
  ["mesh", "mesh of four types"],
  ["arraybuffer", "ArrayBuffer"],
  ["buffer", "Buffer", "a fresh Buffer each time, so that a second free is found; the package hands out one object"],
];

function both([which, label, note]: (typeof WORK)[number]): Subject[] {
  const file = "subjects/typedarray-door.ts";
  return [
    {
      name: `drop-in, ${label}`,
      kind: "ours",
      file,
      args: [which, "millpond"],
      ...(note === undefined ? {} : { note }),
    },
    { name: `typedarray-pool, ${label}`, kind: "peer", file, args: [which, "package"], note: "no checks" },
  ];
}

const goals = WORK.map(
  ([, label]): RatioGoal => ({
    what: `${label}: at most 1.2 x the package, with every check on`,
    subject: `drop-in, ${label}`,
    against: `typedarray-pool, ${label}`,
    maxRatio: 1.2,
  }),
);

export const suite: Suite = {
  title: "The drop-in for typedarray-pool",
  what: "malloc and free at once, or (live) free and malloc in the place of a random one; bytes untouched",
  unit: "ns per malloc + free (mesh: four of each)",
  anchor: "typedarray-pool, 64 bytes",
  subjects: [
    ...WORK.flatMap(both),
    {
      name: "drop-in, 64 bytes, Node 20",
      kind: "ours",
      file: "subjects/typedarray-door.ts",
      args: ["pair", "millpond"],
      runtime: "node20",
    },
  ],
  goals,
};
