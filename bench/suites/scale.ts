import type { Subject, Suite } from "../lib/suite.ts";

const subject = (way: string, name: string, kind: "ours" | "peer", note?: string): Subject => ({
  name,
  kind,
  file: "subjects/decode.ts",
  args: [way, "720"],
  translated: true,
  ...(note === undefined ? {} : { note }),
});

export const suite: Suite = {
  title: "Scaled frames, 720p to 320 x 180",
  what: "375 frames of H.264 decoded and scaled, one thread; the time is processor time, decoding included but where it says so",
  unit: "ns of processor time per frame",
  anchor: "ffmpeg, decode and scale",
  subjects: [
    subject("scale", "millpond, decode ! scale, libav", "ours"),
    subject("scale-portable", "millpond, decode ! scale, portable", "ours", "this package's own code"),
    subject("pipeline", "millpond, decode ! null", "ours", "no scaling"),
    subject("sheet", "millpond, decode ! contactsheet", "ours", "20 pictures"),
    subject("ffmpeg-scale", "ffmpeg, decode and scale", "peer", "one thread, to nothing; bilinear as ours"),
    subject("picture", "millpond, one picture, portable", "ours", "scaling alone"),
  ],
  goals: [
    {
      what: "0.7 of the frames that ffmpeg decodes and scales",
      subject: "millpond, decode ! scale, libav",
      against: "ffmpeg, decode and scale",
      maxRatio: 1 / 0.7,
    },
    { what: "4 ms a picture by our own code", subject: "millpond, one picture, portable", metric: "ns", atMost: 4e6 },
    {
      what: "a contact sheet costs the pictures that it shows: a tenth of decoding at most",
      subject: "millpond, decode ! contactsheet",
      against: "millpond, decode ! null",
      maxRatio: 1.1,
    },
    { what: "two major GCs at most", subject: "millpond, decode ! scale, libav", metric: "gcMajor", atMost: 2 },
  ],
};
