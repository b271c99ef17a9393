/**
 * A film of 15 seconds, decoded on one thread: what it takes to get each frame into memory of one's own, and to scale it.
 * The figure is the processor time a frame, of the whole film from its opening to its end; the decoder's packages are
 * loaded before. The film is made by ffmpeg, once, into bench/.cache.
 *
 *     decode.ts <way> <height>
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { VideoSample } from "mediabunny";
import type { AvFrame, Libav } from "../../src/adapters/mediabunny/libav.ts";
import { loadMediabunny } from "../../src/adapters/mediabunny/load.ts";
import { openVideoFile } from "../../src/adapters/mediabunny/video-file.ts";
import { FileSource } from "../../src/adapters/node/file-elements.ts";
import { pooledFrames } from "../../src/adapters/node/frame-source.ts";
import { DecodeElement } from "../../src/adapters/node/frames-element.ts";
import { VideoInfo } from "../../src/media/video/info.ts";
import type { Element } from "../../src/pipeline/base/element.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { SharedBufferPool } from "../../src/pools/shared/shared-buffer-pool.ts";
import { ContactSheetSink } from "../../src/video/contact-sheet-sink.ts";
import { FrameConverter } from "../../src/video/convert.ts";
import { VideoScale } from "../../src/video/scale.ts";
import { effortFromEnvironment, FULL } from "../lib/protocol.ts";
import { emit, openWindow, packageVersion, sink } from "../lib/subject.ts";

const [way = "", lines = ""] = process.argv.slice(2);
const height = Number(lines);
if (!(height > 0)) throw new Error("how high? 720, 1080");
const width = (height * 16) / 9;
const size = (width * height * 3) / 2;
const isFull = effortFromEnvironment().repetitions === FULL.repetitions;
const seconds = isFull ? 15 : 2;
const count = seconds * 25;
const film = makeFilm();

function makeFilm(): string {
  const folder = join(import.meta.dirname, "..", ".cache");
  const path = join(folder, `film-${height}-${seconds}.mp4`);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  const picture = `testsrc2=size=${width}x${height}:rate=25:duration=${seconds}`;
  const coder = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-f", "mp4"];
  const half = `${path}.${process.pid}`;
  const made = spawnSync("ffmpeg", ["-v", "error", "-y", "-f", "lavfi", "-i", picture, ...coder, half]);
  if (made.status !== 0)
    throw new Error(`ffmpeg with libx264 is needed: ${made.error?.message ?? String(made.stderr)}`);
  renameSync(half, path);
  return path;
}

/** What each sample of the film is given to; it is closed then. */
async function samples(each: (sample: VideoSample) => unknown): Promise<number> {
  const file = await openVideoFile(film);
  let frames = 0;
  for (;;) {
    const frame = await file.next();
    if (frame === undefined) break;
    await each(frame.sample);
    frame.close();
    frames++;
  }
  await file.close();
  return frames;
}

async function pooled(pool: BufferPool): Promise<number> {
  let frames = 0;
  for await (const buffer of pooledFrames(await openVideoFile(film), pool)) {
    sink.value = buffer.bytes[0];
    buffer.release();
    frames++;
  }
  pool.close();
  return frames;
}

async function play(...stages: Element[]): Promise<number> {
  const pipeline = new Pipeline();
  const all = [new FileSource(film), new DecodeElement(), ...stages];
  all.slice(1).forEach((stage, i) => void pipeline.link(all[i]!, stage));
  const { sinks } = await pipeline.run();
  return Object.values(sinks)[0]!;
}

/** node-av, for what a program does by hand. */
async function nodeAv(): Promise<Libav> {
  return (await import(createRequire(import.meta.resolve("@mediabunny/server")).resolve("node-av"))) as Libav;
}

/** Four native frames whose planes are looked at once, and set into shared memory: the best with documented calls. */
async function byHand(): Promise<number> {
  const av = await nodeAv();
  const { toAvFrame } = await import("@mediabunny/server");
  const slots = [0, 1, 2, 3].map(() => new Uint8Array(new SharedArrayBuffer(size)));
  const [reference, own] = [new av.Frame(), new av.Frame()];
  for (const frame of [reference, own]) frame.alloc();
  Object.assign(own, { format: av.AV_PIX_FMT_YUV420P, width, height });
  own.getBuffer(1);
  const planes = own.data!;
  let turn = 0;
  return await samples(async (sample) => {
    await toAvFrame(sample, reference as never);
    (own as AvFrame).copy(reference);
    const slot = slots[turn++ & 3]!;
    let at = 0;
    for (const plane of planes) {
      slot.set(plane, at);
      at += plane.length;
    }
  });
}

const reused = new Uint8Array(size);

/** One picture over and over, down to 320 wide by this package's own code, after a warm-up: nothing is decoded. */
async function pictures(): Promise<number> {
  const from = VideoInfo.of({ format: "I420", width, height });
  const to = VideoInfo.of({ format: "I420", width: 320, height: (height * 320) / width });
  const converter = new FrameConverter(from, to);
  const [source, target] = [Uint8Array.from({ length: from.size }, (_, i) => (i * 31) >> 2), new Uint8Array(to.size)];
  for (let i = 0; i < count; i++) converter.run(source, target);
  return count;
}

const ways: Record<string, () => Promise<number>> = {
  picture: pictures,

  decode: () => samples(() => {}),
  "copy-fresh": () => samples((sample) => sample.copyTo(new Uint8Array(size))),
  "copy-reused": () => samples((sample) => sample.copyTo(reused)),
  "by-hand": byHand,
  pooled: () => pooled(BufferPool.create({ size, max: 4 })),
  "pooled-shared": () => pooled(SharedBufferPool.create({ size, min: 4, max: 4 })),
  pipeline: () => play(new NullSink()),
  scale: () => play(new VideoScale({ width: 320 }), new NullSink()),
  "scale-portable": () => play(new VideoScale({ width: 320, portable: true }), new NullSink()),
  sheet: () => play(new ContactSheetSink({ tiles: 20 })),
};

/** Processor time of ffmpeg, in nanoseconds, as it says itself. */
function ffmpegTime(...filters: string[]): number {
  const threads = ["-threads", "1", "-filter_threads", "1"];
  const { stderr } = spawnSync("ffmpeg", ["-benchmark", ...threads, "-i", film, ...filters, "-f", "null", "-"]);
  const times = /utime=([\d.]+)s stime=([\d.]+)s/.exec(String(stderr));
  if (times === null) throw new Error(`ffmpeg does not say its time: ${String(stderr).slice(-500)}`);
  return (Number(times[1]) + Number(times[2])) * 1e9;
}

if (way === "ffmpeg" || way === "ffmpeg-scale") {
  const ns = ffmpegTime(...(way === "ffmpeg" ? [] : ["-vf", "scale=320:-2:flags=bilinear"])) / count;
  emit({
    ns,
    p999: null,
    ops: count,
    gc: null,
    gcMajor: null,
    faultsMinor: 0,
    faultsMajor: 0,
    rss: 0,
    library: "ffmpeg",
  });
} else {
  const run = ways[way];
  if (run === undefined) throw new Error(`which way? ${Object.keys(ways).join(", ")}, ffmpeg, ffmpeg-scale`);
  await loadMediabunny();
  // The optimizing compiler's work is no picture's.
  if (run === pictures) await pictures();
  const window = openWindow();
  const begin = performance.now();
  const before = process.cpuUsage();
  const frames = await run();
  const { user, system } = process.cpuUsage(before);
  const elapsed = performance.now() - begin;
  const counted = await window.close();
  if (frames !== count) throw new Error(`${frames} of ${count} frames arrived`);
  emit({
    ns: ((user + system) * 1000) / count,
    p999: null,
    ops: count,
    ...counted,
    library: packageVersion("@mediabunny/server"),
    extra: { framesPerSecond: Math.round((count / elapsed) * 1000) },
  });
}
