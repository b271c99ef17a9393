import type { Subject, Suite } from "../lib/suite.ts";

const both = (us: number): Subject[] => [
  { name: `millpond acquireSync, after ${us} us`, kind: "ours", file: "subjects/wake-millpond.ts", args: [String(us)] },
  {
    name: `pthread cond, after ${us} us`,
    kind: "native",
    file: "native/wake.c",
    args: [String(us)],
    ...(us <= 20 ? { note: "does not spin" } : {}),
  },
];

export const suite: Suite = {
  title: "Waking who waits for a slot",
  what: "from giving a slot back to the waiting thread having it, when the wait had lasted 5 us and 200 us; medians",
  unit: "ns from give to have",
  anchor: "pthread cond, after 5 us",
  subjects: [...both(5), ...both(200)],
  goals: [
    {
      what: "at most 3 us where the wait is short: it spins 20 us first",
      subject: "millpond acquireSync, after 5 us",
      atMost: 3000,
      metric: "ns",
    },
    {
      what: "asleep, one and a half of a condition variable",
      subject: "millpond acquireSync, after 200 us",
      against: "pthread cond, after 200 us",
      maxRatio: 1.5,
    },
  ],
};
