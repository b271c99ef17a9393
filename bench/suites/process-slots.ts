import type { Suite } from "../lib/suite.ts";

const file = "subjects/processes.ts";

export const suite: Suite = {
  title: "A pool that two processes share",
  what: "take and give back, alone and while another process does the same (wall time over the operations of both); 1,024 slots",
  unit: "ns per take + give",
  anchor: "SharedPool in one thread",
  subjects: [
    { name: "one process", kind: "ours", file, args: ["acquire-one"] },
    { name: "two processes", kind: "ours", file, args: ["acquire-two"] },
    { name: "SharedPool in one thread", kind: "ours", file: "subjects/shared-millpond.ts", args: ["one"] },
    { name: "SharedPool in two threads", kind: "ours", file: "subjects/shared-millpond.ts", args: ["two"] },
  ],
  goals: [
    {
      what: "a pool between processes is as fast as one between threads",
      subject: "two processes",
      against: "SharedPool in two threads",
      maxRatio: 1.25,
    },
  ],
};
