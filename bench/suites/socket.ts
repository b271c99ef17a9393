import type { Suite } from "../lib/suite.ts";

const file = "subjects/socket.ts";

export const suite: Suite = {
  title: "A connection at full speed",
  what: "bytes of a process on the same machine, as fast as they come; one byte of each piece is looked at; the time is processor time of the receiver",
  unit: "ns of processor time per MiB",
  anchor: "data events",
  subjects: [
    { name: "millpond connectSocket", kind: "ours", file, args: ["any"], note: "8 slots of 256 KiB" },
    { name: "millpond connectSocket, whole slots", kind: "ours", file, args: ["full"], note: 'fill: "full"' },
    { name: "data events", kind: "peer", file, args: ["data"] },
    { name: "for await of a Socket", kind: "peer", file, args: ["iterate"] },
    {
      name: "onread, one buffer by hand",
      kind: "peer",
      file,
      args: ["hand"],
      note: "256 KiB, overwritten by the next read",
    },
  ],
  goals: [
    {
      what: "connectSocket, 0.7 of the processor time of data events",
      subject: "millpond connectSocket",
      against: "data events",
      maxRatio: 0.7,
    },
    { what: "connectSocket, no major GC", subject: "millpond connectSocket", metric: "gcMajor", atMost: 0 },
  ],
};
