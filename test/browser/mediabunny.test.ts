// Shares its realm with other files: nothing that it changes outlives it.
/** The built adapter of mediabunny in a real browser: leases into an encoder, and its film back into leases. */
import { describe, expect, it } from "vitest";
import { chromium, runInChromium } from "./chromium.ts";

if (chromium === undefined)
  console.log("browser tests are skipped: no Chromium here (Debian: apt-get install chromium, or set CHROMIUM)");

describe.skipIf(chromium === undefined)("mediabunny in Chromium", () => {
  it("encodes leases and decodes into leases, more of them than a decoder has frames", async (context) => {
    const result = (await runInChromium(`
      if (typeof VideoEncoder === "undefined") send({ frames: null });
      else {
        const map = document.createElement("script");
        map.type = "importmap";
        map.textContent = JSON.stringify({ imports: { mediabunny: "/node_modules/mediabunny/dist/bundles/mediabunny.mjs" } });
        document.head.append(map);
        const { BufferPool, VideoInfo } = await import("/dist/index.js");
        const { VideoMeta } = await import("/dist/meta.js");
        const { pooledSamples, PooledSampleResource } = await import("/dist/mediabunny-browser.js");
        const { ALL_FORMATS, BufferSource, BufferTarget, Input, Output, VideoSample, VideoSampleSource, WebMOutputFormat } = await import("mediabunny");
        const info = VideoInfo.of({ format: "I420", width: 128, height: 96 });
        const output = new Output({ format: new WebMOutputFormat(), target: new BufferTarget() });
        const source = new VideoSampleSource({ codec: "vp8", bitrate: 500000 });
        output.addVideoTrack(source);
        await output.start();
        const made = BufferPool.create({ name: "made", size: info.size, max: 2 });
        for (let i = 0; i < 40; i++) {
          const buffer = await made.acquire();
          buffer.bytes.fill(100 + i);
          const sample = new VideoSample(await PooledSampleResource.create(buffer, { info }), { timestamp: i / 25, duration: 1 / 25 });
          await source.add(sample);
          sample.close();
        }
        await output.finalize();
        const input = new Input({ source: new BufferSource(output.target.buffer), formats: ALL_FORMATS });
        const track = await input.getPrimaryVideoTrack();
        const pool = BufferPool.create({ name: "read", size: info.size, max: 24 });
        const kept = [];
        let frames = 0, off = 0;
        for await (const buffer of pooledSamples(track, pool)) {
          const { planes, format } = buffer.getMeta(VideoMeta).info;
          off = Math.max(off, Math.abs(buffer.bytes[planes[0].offset + 50 * planes[0].stride + 60] - (100 + frames)));
          frames++;
          if (kept.push(buffer) === 20) for (const lease of kept.splice(0)) lease.release();
        }
        for (const lease of kept) lease.release();
        // Left early, and aborted under a wait for a slot.
        for await (const buffer of pooledSamples(track, pool)) { buffer.release(); break; }
        const one = BufferPool.create({ name: "one", size: info.size, max: 1 });
        const stop = new AbortController();
        const loop = pooledSamples(track, one, { signal: stop.signal });
        const held = (await loop.next()).value;
        const next = loop.next().catch((error) => error.message);
        while (one.stats().waiting === 0) await new Promise((resolve) => setTimeout(resolve));
        stop.abort(new Error("stop"));
        const reason = await next;
        held.release();
        input.dispose();
        for (const each of [made, pool, one]) each.validate();
        send({ frames, off, reason, made: made.outstanding, read: pool.outstanding, one: one.outstanding, highWater: pool.stats().highWater });
      }`)) as { frames: number | null; off: number };
    if (result.frames === null) {
      console.log("WebCodecs is skipped: this Chromium has none");
      context.skip();
    }
    expect(result).toMatchObject({ frames: 40, reason: "stop", made: 0, read: 0, one: 0, highWater: 20 });
    expect(result.off).toBeLessThanOrEqual(4);
  });
});
