/** mediabunny's samples into slots and out of them with the decoders and encoders of @mediabunny/server. */
import { createHash } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { loadMediabunny } from "../../src/adapters/mediabunny/load.ts";
import { pooledSamples } from "../../src/adapters/mediabunny/node-samples.ts";
import { PooledSampleResource } from "../../src/adapters/mediabunny/sample-resource.ts";
import { openVideoFile } from "../../src/adapters/mediabunny/video-file.ts";
import { pooledFrames } from "../../src/adapters/node/frame-source.ts";
import { allocators } from "../../src/allocators/registry.ts";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { VideoMeta } from "../../src/media/meta/layout-metas.ts";
import { REPEATED } from "../helpers/effort.ts";
import { openPool } from "../pools/buffer/pools.ts";
import { type Film, film } from "./film.ts";

let clip: Film;
let size = 0;
beforeAll(async () => {
  clip = await film();
  size = (clip.width * clip.height * 3) / 2;
});
afterAll(() => clip.remove());

afterEach(() => {
  vi.restoreAllMocks();
});

/** Time and bytes of each frame. */
async function told(frames: AsyncIterable<MediaBuffer>): Promise<string[]> {
  const facts: string[] = [];
  for await (const buffer of frames) {
    facts.push(`${buffer.pts} ${buffer.duration} ${createHash("sha1").update(buffer.bytes).digest("hex")}`);
    buffer.release();
  }
  return facts;
}

async function openTrack() {
  const mediabunny = await loadMediabunny();
  const input = new mediabunny.Input({
    source: new mediabunny.FilePathSource(clip.path),
    formats: mediabunny.ALL_FORMATS,
  });
  return { mediabunny, input, track: (await input.getPrimaryVideoTrack())! };
}

describe("samples of @mediabunny/server", REPEATED, () => {
  it("are what the frames of the file are, natively copied, into plain and shared slots", async () => {
    const { mediabunny, input, track } = await openTrack();
    const copyTo = vi.spyOn(mediabunny.VideoSample.prototype, "copyTo");
    const plain = openPool({ size, max: 2 });
    const shared = openPool({ size, max: 2, allocator: allocators.find("shared")! });
    const expected = await told(pooledFrames(await openVideoFile(clip.path), plain));
    expect(expected.length).toBe(clip.frames);
    for (const pool of [plain, shared]) {
      expect(await told(pooledSamples(track, pool))).toEqual(expected);
      pool.validate();
      expect(pool.stats()).toMatchObject({ outstanding: 0, waiting: 0 });
    }
    expect(copyTo).not.toHaveBeenCalled();
    // In another format they are not: the platform converts.
    const rgba = openPool({ size: clip.width * clip.height * 4, max: 1 });
    for await (const buffer of pooledSamples(track, rgba, { format: "RGBA", end: 0.08 })) {
      expect(buffer.getMeta(VideoMeta)!.info).toMatchObject({
        format: "RGBA",
        width: clip.width,
        height: clip.height,
      });
      buffer.release();
    }
    expect(copyTo).toHaveBeenCalled();
    input.dispose();
  });

  it("are made of leases that go to an encoder, and come back when it has them", async () => {
    const { mediabunny, input, track } = await openTrack();
    const { BufferTarget, Mp4OutputFormat, Output, VideoSample, VideoSampleSource } = mediabunny;
    const output = new Output({ format: new Mp4OutputFormat(), target: new BufferTarget() });
    const source = new VideoSampleSource({ codec: "avc", bitrate: 500_000 });
    output.addVideoTrack(source);
    await output.start();
    const pool = openPool({ size, max: 2 });
    let frames = 0;
    for await (const buffer of pooledSamples(track, pool, { end: 0.4 })) {
      const timestamp = Number(buffer.pts!) / 1e9;
      const sample = new VideoSample(await PooledSampleResource.create(buffer), { timestamp, duration: 0.04 });
      await source.add(sample);
      sample.close();
      frames++;
    }
    await output.finalize();
    expect([frames, output.target.buffer!.byteLength > 1000]).toEqual([10, true]);
    pool.validate();
    expect(pool.stats()).toMatchObject({ outstanding: 0, waiting: 0 });
    input.dispose();
  });
});
