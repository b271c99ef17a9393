import type { Goal, Subject, Suite } from "../lib/suite.ts";

const KINDS = ["BufferPool", "SlabPool", "SharedPool"] as const;

const subjects = KINDS.flatMap((kind) =>
  (["off", "registered", "recording"] as const).map(
    (mode): Subject => ({
      name: `${kind}, ${mode}`,
      kind: "ours",
      file: "subjects/observe-millpond.ts",
      args: [kind, mode],
    }),
  ),
);

const goals = KINDS.flatMap((kind): Goal[] => [
  {
    what: `${kind} that nobody watches, within 1 %`,
    subject: `${kind}, registered`,
    against: `${kind}, off`,
    maxRatio: 1.01,
  },
  {
    what: `${kind} while it is recorded, 150 ns more than the 15 to 30 ns that it takes`,
    subject: `${kind}, recording`,
    atMost: 175,
    metric: "ns",
  },
]);

export const suite: Suite = {
  title: "What it costs to be looked at",
  what: "acquire and release of a pool that is as it was made, that `pools()` has listed, and that a recorder records",
  unit: "ns per acquire + release",
  anchor: "BufferPool, off",
  subjects,
  goals,
};
