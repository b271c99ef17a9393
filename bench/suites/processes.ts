import type { Subject, Suite } from "../lib/suite.ts";

const file = "subjects/processes.ts";
const ours = (name: string, which: string): Subject => ({ name, kind: "ours", file, args: [which] });

export const suite: Suite = {
  title: "A frame to another process and back",
  what: "8 MB there and back, one under way, one byte touched on each side; a copy moves every byte twice",
  unit: "ns per frame",
  anchor: "copied through a pipe",
  subjects: [
    ours("millpond lane, Unix socket", "lane-socket"),
    ours("millpond lane, child's IPC channel", "lane-ipc"),
    ours("millpond leases in a ring, futex", "ring"),
    { name: "copied through a pipe", kind: "peer", file, args: ["pipe"] },
    { name: "copied through a Unix socket", kind: "peer", file, args: ["socket"] },
  ],
  goals: [
    {
      what: "a fiftieth of the pipe, by a lane",
      subject: "millpond lane, Unix socket",
      against: "copied through a pipe",
      maxRatio: 1 / 50,
    },
    {
      what: "a hundredth of the pipe, by a ring",
      subject: "millpond leases in a ring, futex",
      against: "copied through a pipe",
      maxRatio: 1 / 100,
    },
  ],
};
