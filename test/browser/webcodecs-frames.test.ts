// Shares its realm with other files: nothing that it changes outlives it.
/**
 * The built frame adapter in a real browser: a real decoder of few frames, conversions, and frames without a format.
 */
import { describe, expect, it } from "vitest";
import { chromium, runInChromium } from "./chromium.ts";

if (chromium === undefined)
  console.log("browser tests are skipped: no Chromium here (Debian: apt-get install chromium, or set CHROMIUM)");

describe.skipIf(chromium === undefined)("frames in Chromium", () => {
  it("a VP8 decoder goes on while a program keeps its leases, because each frame is closed at once", async (context) => {
    const result = (await runInChromium(`
      if (typeof VideoDecoder === "undefined") send({ frames: null });
      else {
        const { BufferPool, VideoInfo } = await import("/dist/index.js");
        const { VideoMeta } = await import("/dist/meta.js");
        const { copyFrame, toVideoFrame } = await import("/dist/webcodecs.js");
        const [width, height, count] = [128, 96, 60];
        const I420 = VideoInfo.of({ format: "I420", width, height });
        const source = BufferPool.create({ name: "source", size: I420.size, max: 1 });
        const chunks = [];
        const encoder = new VideoEncoder({ output: (chunk) => chunks.push(chunk), error: (error) => send({ error: String(error) }) });
        encoder.configure({ codec: "vp8", width, height, bitrate: 500000 });
        for (let i = 0; i < count; i++) {
          const buffer = source.tryAcquire();
          buffer.bytes.fill(100 + i);
          buffer.pts = BigInt(i) * 40000000n;
          buffer.duration = 40000000n;
          const frame = toVideoFrame(buffer, { info: I420 });
          buffer.release();                      // the frame has a copy
          encoder.encode(frame, { keyFrame: i % 30 === 0 });
          frame.close();
        }
        await encoder.flush();
        // More leases are kept than a decoder has frames: 20.
        const pool = BufferPool.create({ name: "decoded", size: I420.size + 4096, max: 24 });
        const kept = [], times = [], lumas = [];
        let live = 0, mostLive = 0, layouts = 0;
        const copies = [];
        const decoder = new VideoDecoder({
          output(frame) {
            mostLive = Math.max(mostLive, ++live);
            copies.push(copyFrame(frame, pool).then((buffer) => {
              live -= 1;
              times.push(Number(buffer.pts / 1000n));
              const { info } = buffer.getMeta(VideoMeta);
              layouts += info.format === frame.format || frame.format === null ? 1 : 0;
              lumas.push(Math.abs(buffer.bytes[info.planes[0].offset + 40 * info.planes[0].stride + 60] - (100 + times.length - 1)));
              if (kept.push(buffer) === 20) for (const lease of kept.splice(0)) lease.release();
            }));
          },
          error: (error) => send({ error: String(error) }),
        });
        decoder.configure({ codec: "vp8" });
        for (const chunk of chunks) decoder.decode(chunk);
        await decoder.flush();
        await Promise.all(copies);
        decoder.close();
        encoder.close();
        for (const lease of kept) lease.release();
        pool.validate();
        const { outstanding, highWater } = pool.stats();
        send({ frames: times.length, ordered: times.every((time, i) => time === i * 40000), off: Math.max(...lumas), layouts,
          outstanding, highWater, live });
      }`)) as { frames: number | null; off: number; highWater: number };
    if (result.frames === null) {
      console.log("WebCodecs is skipped: this Chromium has none");
      context.skip();
    }
    expect(result).toMatchObject({ frames: 60, ordered: true, layouts: 60, outstanding: 0, live: 0 });
    // VP8 is lossy; a picture of one gray comes out within a few steps of it.
    expect(result.off).toBeLessThanOrEqual(4);
    expect(result.highWater).toBeGreaterThanOrEqual(20);
  });

  it("copies frames as they are, converted, through a canvas, into shared slots, and back to a VideoFrame", async (context) => {
    const result = (await runInChromium(`
      if (typeof VideoFrame === "undefined") send({ frames: null });
      else {
        const { BufferPool, VideoInfo, allocators } = await import("/dist/index.js");
        const { VideoMeta } = await import("/dist/meta.js");
        const { copyFrame, toVideoFrame } = await import("/dist/webcodecs.js");
        const [width, height] = [64, 48];
        const red = () => {
          const bytes = new Uint8Array(width * height * 4);
          for (let i = 0; i < bytes.length; i += 4) bytes.set([200, 30, 10, 255], i);
          return new VideoFrame(bytes, { format: "RGBA", codedWidth: width, codedHeight: height, timestamp: 1000, duration: 500 });
        };
        const gray = () => new VideoFrame(new Uint8Array(width * height * 3 / 2).fill(128), { format: "I420", codedWidth: width, codedHeight: height, timestamp: 2000 });
        const pool = BufferPool.create({ size: width * height * 4, max: 2 });
        const shared = BufferPool.create({ size: width * height * 4, max: 2, allocator: allocators.find("shared") });
        const told = async (frame, to = pool, options) => {
          const buffer = await copyFrame(frame, to, options);
          const { info } = buffer.getMeta(VideoMeta);
          const result = [info.format, info.width, info.height, buffer.size === info.size, [...buffer.bytes.subarray(0, 4)],
            String(buffer.pts), String(buffer.duration), frame.format === null && frame.codedWidth === 0];
          buffer.release();
          return result;
        };
        const gpu = red();
        Object.defineProperty(gpu, "format", { value: null });
        // A platform that has no conversion for such a frame.
        const drawn = red();
        Object.defineProperty(drawn, "format", { value: null });
        Object.defineProperty(drawn, "allocationSize", { value: () => { throw new TypeError("no format"); } });
        const cropped = new VideoFrame(red(), { visibleRect: { x: 2, y: 2, width: 20, height: 10 }, timestamp: 0 });
        const closed = red();
        closed.close();
        const answers = {
          same: await told(red()),
          shared: await told(red(), shared),
          converted: await told(gray(), pool, { format: "RGBA" }),
          bgra: await told(red(), shared, { format: "BGRA" }),
          gpu: (await told(gpu)).slice(0, 7),
          drawn: (await told(drawn)).slice(0, 7),
          cropped: (await told(cropped)).slice(0, 4),
          closed: await copyFrame(closed, pool).catch((error) => error.code),
          small: await copyFrame(red(), BufferPool.create({ size: 100, max: 1 })).catch((error) => [error.code, error.details.needed]),
        };
        const buffer = await copyFrame(gray(), shared);
        const again = toVideoFrame(buffer);
        buffer.bytes.fill(7);                     // the frame has a copy
        buffer.release();
        const back = await copyFrame(again, pool);
        answers.back = [back.getMeta(VideoMeta).info.format, back.bytes[0], String(back.pts), String(back.duration)];
        back.release();
        pool.validate(); shared.validate();
        send({ frames: 1, answers, outstanding: pool.outstanding + shared.outstanding });
      }`)) as { frames: number | null };
    if (result.frames === null) {
      console.log("WebCodecs is skipped: this Chromium has none");
      context.skip();
    }
    const red = [200, 30, 10, 255];
    expect(result).toEqual({
      frames: 1,
      answers: {
        same: ["RGBA", 64, 48, true, red, "1000000", "500000", true],
        shared: ["RGBA", 64, 48, true, red, "1000000", "500000", true],
        converted: ["RGBA", 64, 48, true, [130, 130, 130, 255], "2000000", "undefined", true],
        bgra: ["BGRA", 64, 48, true, [10, 30, 200, 255], "1000000", "500000", true],
        gpu: ["RGBA", 64, 48, true, red, "1000000", "500000"],
        drawn: ["RGBA", 64, 48, true, red, "1000000", "500000"],
        cropped: ["RGBA", 20, 10, true],
        closed: "ERR_USE_AFTER_RELEASE",
        small: ["ERR_OUT_OF_RANGE", 12_288],
        back: ["I420", 128, "2000000", "undefined"],
      },
      outstanding: 0,
    });
  });
});
