import type { Suite } from "../lib/suite.ts";

const file = "subjects/handoff.ts";

export const suite: Suite = {
  title: "A frame to a worker and back",
  what: "8 MB there and back, 4 under way, one byte touched on each side: the price of the hand-over, not of the bytes",
  unit: "ns per frame",
  anchor: "postMessage, structured clone",
  subjects: [
    { name: "millpond lane, shared slots", kind: "ours", file, args: ["shared"] },
    { name: "millpond lane, transfer and return", kind: "ours", file, args: ["transfer"] },
    { name: "postMessage, structured clone", kind: "peer", file, args: ["clone"] },
    {
      name: "postMessage, transfer by hand",
      kind: "peer",
      file,
      args: ["move"],
      note: "no pool, no checks, no back-pressure",
    },
  ],
  goals: [
    {
      what: "400 times structured clone, over shared slots",
      subject: "millpond lane, shared slots",
      against: "postMessage, structured clone",
      maxRatio: 1 / 400,
    },
    {
      what: "400 times structured clone, by transfer",
      subject: "millpond lane, transfer and return",
      against: "postMessage, structured clone",
      maxRatio: 1 / 400,
    },
  ],
};
