import type { Suite } from "../lib/suite.ts";

export const suite: Suite = {
  title: "After the first detach",
  what: "sum the bytes of 8 MiB in a loop, in an isolate where no ArrayBuffer was ever detached, and where one was",
  unit: "ns per 8 MiB",
  anchor: "never detached",
  subjects: [
    { name: "never detached", kind: "ours", file: "subjects/detach-millpond.ts", args: ["before"] },
    { name: "after one revocation", kind: "ours", file: "subjects/detach-millpond.ts", args: ["after"] },
    {
      name: "never detached, Node 20",
      kind: "ours",
      file: "subjects/detach-millpond.ts",
      args: ["before"],
      runtime: "node20",
    },
    {
      name: "after one revocation, Node 20",
      kind: "ours",
      file: "subjects/detach-millpond.ts",
      args: ["after"],
      runtime: "node20",
    },
  ],
  goals: [],
};
