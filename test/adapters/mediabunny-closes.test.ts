/** mediabunny's samples where one cannot be closed, or cannot be used: no slot is lost, no sample and no file. */
import { readFileSync } from "node:fs";
import { ALL_FORMATS, BufferSource, Input, VideoSample, VideoSampleSink } from "mediabunny";
import { afterEach, describe, expect, it, vi } from "vitest";
import { pooledSamples } from "../../src/adapters/mediabunny/browser-samples.ts";
import { VideoFile } from "../../src/adapters/mediabunny/video-file.ts";
import { CLIP } from "../cli/command.ts";
import { codeOf } from "../helpers/code-of.ts";
import { lateRejections } from "../helpers/late-errors.ts";
import { turns } from "../pipeline/kit.ts";
import { openPool } from "../pools/buffer/pools.ts";

afterEach(() => void vi.restoreAllMocks());

const picture = (): VideoSample =>
  new VideoSample(new Uint8Array(16 * 16 * 4), { format: "RGBA", codedWidth: 16, codedHeight: 16, timestamp: 0 });

describe("pooledSamples over a sample whose close() throws", () => {
  const cannotClose = (): VideoSample => {
    const sample = picture();
    const close = sample.close.bind(sample);
    sample.close = () => {
      close();
      throw new Error("of close()");
    };
    return sample;
  };

  it("rejects with that error, and the slot is back", async () => {
    const input = new Input({ source: new BufferSource(readFileSync(CLIP)), formats: ALL_FORMATS });
    const pool = openPool({ size: 16 * 16 * 4, max: 1 });
    vi.spyOn(VideoSampleSink.prototype, "samples").mockImplementation(async function* () {
      yield cannotClose();
    } as never);
    expect(await codeOf(pooledSamples((await input.getPrimaryVideoTrack())!, pool).next())).toBe("Error: of close()");
    expect(pool.outstanding).toBe(0);
    // Too small a slot: the error of the copy is the one to mend.
    const small = openPool({ size: 16, max: 1 });
    expect(await codeOf(pooledSamples((await input.getPrimaryVideoTrack())!, small).next())).toBe("ERR_OUT_OF_RANGE");
    expect(small.outstanding).toBe(0);
    input.dispose();
  });

  it("leaves no rejection behind when it comes after an abort", async () => {
    const input = new Input({ source: new BufferSource(readFileSync(CLIP)), formats: ALL_FORMATS });
    let give: () => void = () => {};
    vi.spyOn(VideoSampleSink.prototype, "samples").mockImplementation(async function* () {
      await new Promise<void>((resolve) => {
        give = resolve;
      });
      yield cannotClose();
    } as never);
    const abort = new AbortController();
    const track = (await input.getPrimaryVideoTrack())!;
    const loop = pooledSamples(track, openPool({ size: 16 * 16 * 4, max: 1 }), { signal: abort.signal });
    const late = await lateRejections(async () => {
      const next = codeOf(loop.next());
      await turns(20);
      abort.abort(new Error("aborted"));
      expect(await next).toBe("Error: aborted");
      give();
    });
    expect(late).toEqual([]);
    input.dispose();
  });
});

describe("a video file", () => {
  const fileOf = (samples: () => AsyncGenerator<unknown>): { file: VideoFile; isDisposed: () => boolean } => {
    let disposed = false;
    const mediabunny = {
      VideoSampleSink: class {
        samples = samples;
      },
    };
    const input = {
      dispose: () => {
        disposed = true;
      },
    };
    const facts = { container: "MP4", duration: 1 };
    const file = new VideoFile(mediabunny as never, "x.mp4", input as never, {} as never, facts as never, {} as never);
    return { file, isDisposed: () => disposed };
  };

  it("closes a sample that it cannot give out", async () => {
    for (const [format, code] of [
      [null, "ERR_UNSUPPORTED"],
      ["NEW12", "ERR_INVALID_ARG_VALUE"],
    ] as const) {
      let closes = 0;
      const sample = { format, visibleRect: { width: 4, height: 4 }, timestamp: 0, duration: 0, close: () => closes++ };
      const { file } = fileOf(async function* () {
        yield sample;
      });
      expect(await codeOf(file.next())).toBe(code);
      expect(closes).toBe(1);
      await file.close();
    }
  });

  it("is closed also where its decoder cannot be stopped", async () => {
    const { file, isDisposed } = fileOf(() => {
      const samples = (async function* () {})();
      samples.return = () => Promise.reject(new Error("of the decoder"));
      return samples;
    });
    expect(await codeOf(file.close())).toBe("Error: of the decoder");
    expect(isDisposed()).toBe(true);
  });
});
