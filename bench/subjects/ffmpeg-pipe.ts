/**
 * Frames of a program's standard output, four ways by hand and two of ours. The figure is the processor time of this
 * process a frame, because the program at the other end is what limits the frames a second.
 *
 *     ffmpeg-pipe.ts <way> <width> <height> <dd | ffmpeg>
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { frames } from "../../src/adapters/node/streams/frames.ts";
import { spawnFrames } from "../../src/adapters/node/streams/spawn-frames.ts";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { effortFromEnvironment, FULL } from "../lib/protocol.ts";
import { emit, openWindow, sink } from "../lib/subject.ts";

const [way = "", width = 0, height = 0, source = ""] = process.argv
  .slice(2)
  .map((arg) => (/^\d+$/.test(arg) ? +arg : arg)) as [string?, number?, number?, string?];
const size = (width * height * 3) / 2;
if (!(size > 0)) throw new Error("how large? a width and a height");

const pool = BufferPool.create({ size, max: 4 });

/** A program that writes frames as fast as it can, or ffmpeg's test source. */
function program(count: number): [command: string, args: string[]] {
  if (source === "dd") return ["dd", ["if=/dev/zero", `bs=${size}`, `count=${count}`, "status=none"]];
  if (source !== "ffmpeg") throw new Error("which source? dd, ffmpeg");
  const picture = `testsrc2=s=${width}x${height}:r=25`;
  const raw = ["-frames:v", String(count), "-pix_fmt", "yuv420p", "-f", "rawvideo", "pipe:1"];
  return ["ffmpeg", ["-v", "error", "-f", "lavfi", "-i", picture, ...raw]];
}

function started(count: number, stdout: "pipe" | "ignore" = "pipe"): ChildProcess {
  return spawn(...program(count), { stdio: ["ignore", stdout, "inherit"] });
}

/** Each way calls `take` with every whole frame. */
const ways: Record<string, (count: number, take: (frame: Uint8Array) => void) => Promise<void>> = {
  /** What most programs do first: everything so far is joined at each chunk. */
  async concat(count, take) {
    let rest: Buffer = Buffer.alloc(0);
    for await (const chunk of started(count).stdout!) {
      rest = Buffer.concat([rest, chunk as Buffer]);
      for (; rest.length >= size; rest = rest.subarray(size)) take(rest.subarray(0, size));
    }
  },
  /** What they do next: chunks in a list, joined once a frame. */
  async chunks(count, take) {
    let list: Buffer[] = [];
    let have = 0;
    for await (const chunk of started(count).stdout! as AsyncIterable<Buffer>) {
      list.push(chunk);
      have += chunk.length;
      while (have >= size) {
        const all = Buffer.concat(list);
        take(all.subarray(0, size));
        list = have > size ? [all.subarray(size)] : [];
        have -= size;
      }
    }
  },
  /** The best by hand: chunks are copied into four buffers that take turns, with nothing that keeps them apart. */
  async copies(count, take) {
    const ring = [0, 1, 2, 3].map(() => new Uint8Array(size));
    let turn = 0;
    let at = 0;
    for await (const chunk of started(count).stdout! as AsyncIterable<Buffer>) {
      for (let from = 0; from < chunk.length; ) {
        const step = Math.min(chunk.length - from, size - at);
        ring[turn & 3]!.set(chunk.subarray(from, from + step), at);
        from += step;
        at += step;
        if (at < size) continue;
        take(ring[turn++ & 3]!);
        at = 0;
      }
    }
  },
  async frames(count, take) {
    await leases(frames(started(count).stdout!, pool, { format: "I420", width, height }), take);
  },
  async spawnFrames(count, take) {
    await leases(spawnFrames(...program(count), { pool, format: "I420", width, height }), take);
  },
  /** The source by itself; the time that it takes, not this process's. */
  async nothing(count, take) {
    await once(started(count, "ignore"), "close");
    for (let i = 0; i < count; i++) take(new Uint8Array(1));
  },
};

const run = ways[way];
if (run === undefined) throw new Error(`which way? ${Object.keys(ways).join(", ")}`);
const isFull = effortFromEnvironment().repetitions === FULL.repetitions;
/** One gigabyte at full effort. */
const count = Math.ceil((isFull ? 1e9 : 1e8) / size);
let taken = 0;
const take = (frame: Uint8Array): void => {
  taken++;
  sink.value = frame[0];
};

await run(10, take);
taken = 0;
const window = openWindow();
const begin = performance.now();
const before = process.cpuUsage();
await run(count, take);
const { user, system } = process.cpuUsage(before);
const elapsed = performance.now() - begin;
const counted = await window.close();
if (taken !== count) throw new Error(`${taken} of ${count} frames arrived`);
const ns = way === "nothing" ? (elapsed * 1e6) / count : ((user + system) * 1000) / count;
emit({
  ns,
  p999: null,
  ops: count,
  ...counted,
  library: `Node ${process.version}`,
  extra: { framesPerSecond: Math.round((count / elapsed) * 1000), systemNs: Math.round((system * 1000) / count) },
});

async function leases(video: AsyncIterable<MediaBuffer>, take: (frame: Uint8Array) => void): Promise<void> {
  for await (const frame of video) {
    take(frame.bytes);
    frame.release();
  }
}
