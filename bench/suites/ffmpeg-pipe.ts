import type { Goal, Subject, Suite } from "../lib/suite.ts";

const SIZES = [
  ["1080p", "1920", "1080"],
  ["4K", "3840", "2160"],
] as const;
/** dd writes what it reads from /dev/zero: it is faster than any reader. */
const SOURCES = ["dd", "ffmpeg"] as const;

const WAYS: readonly (readonly [way: string, name: string, kind: "ours" | "peer", note?: string])[] = [
  ["spawnFrames", "spawnFrames", "ours", "read into slots"],
  ["frames", "frames", "ours", "chunks copied into slots"],
  ["copies", "pooled copies by hand", "peer", "nothing keeps a frame from being overwritten"],
  ["chunks", "chunk list, one concat a frame", "peer"],
  ["concat", "concat at every chunk", "peer"],
  ["nothing", "the program alone, to nothing", "peer", "its time, not our CPU"],
];

function subjectsOf(size: (typeof SIZES)[number], source: string): Subject[] {
  const [label, width, height] = size;
  // A gigabyte of 4K by ffmpeg's slow source, joined at each of 200 chunks a frame, is minutes.
  const ways = WAYS.filter(([way]) => !(way === "concat" && label === "4K"));
  return ways.map(([way, name, kind, note]) => ({
    name: `${name}, ${label} ${source}`,
    kind,
    file: "subjects/ffmpeg-pipe.ts",
    args: [way, width, height, source],
    translated: true,
    ...(note === undefined ? {} : { note }),
  }));
}

function goalsOf([label]: (typeof SIZES)[number], source: string): Goal[] {
  const subject = `spawnFrames, ${label} ${source}`;
  const against = `chunk list, one concat a frame, ${label} ${source}`;
  return [
    { what: `${label} from ${source}: three quarters of a chunk list's CPU`, subject, against, maxRatio: 0.75 },
    { what: `${label} from ${source}: 0.55 of its memory`, subject, against, maxRatio: 0.55, metric: "rss" },
    { what: `${label} from ${source}: no major GC`, subject, metric: "gcMajor", atMost: 0 },
  ];
}

export const suite: Suite = {
  title: "Frames of a program's output",
  what: "I420 frames that dd or ffmpeg's test source writes, each whole in one run of bytes, four at a time; one byte of each is read",
  unit: "ns of our CPU per frame",
  anchor: "chunk list, one concat a frame, 1080p dd",
  subjects: SIZES.flatMap((size) => SOURCES.flatMap((source) => subjectsOf(size, source))),
  goals: SIZES.flatMap((size) => SOURCES.flatMap((source) => goalsOf(size, source))),
};
