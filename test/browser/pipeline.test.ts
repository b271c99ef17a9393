// Shares its realm with other files: nothing that it changes outlives it.
/**
 * The built pipeline in a real browser: stages that never wait leave the page its turns, and WebCodecs encodes pooled
 * frames.
 */
import { describe, expect, it } from "vitest";
import { chromium, runInChromium } from "./chromium.ts";

if (chromium === undefined)
  console.log("browser tests are skipped: no Chromium here (Debian: apt-get install chromium, or set CHROMIUM)");

describe.skipIf(chromium === undefined)("a pipeline in Chromium", () => {
  it("scales test pictures behind a tee and a queue, gives way to the page, and brings every buffer back", async () => {
    const result = await runInChromium(`
      const { Pipeline, PatternSource, Queue, Tee, NullSink, AppSink } = await import("/dist/pipeline.js");
      const { VideoScale } = await import("/dist/video.js");
      const tee = new Tee("tee");
      const [sink, loop] = [new NullSink({ name: "null", retainedBuffers: 2 }), new AppSink({ name: "loop" })];
      const pipeline = new Pipeline();
      pipeline.link(new PatternSource({ width: 320, height: 180, frames: 60 }), tee, new Queue(), new VideoScale({ width: 64, format: "RGBA" }), loop);
      pipeline.link(tee, sink);
      let turns = 0;
      const timer = setInterval(() => turns++, 1);
      const run = pipeline.run();
      let sum = 0;
      for await (const buffer of loop) { sum += buffer.bytes[3]; buffer.release(); }
      const { holders } = await run;
      clearInterval(timer);
      send({ count: sink.count, alpha: sum / 60, turned: turns > 0, holders: holders.length, svg: pipeline.describe().svg().startsWith("<svg") });`);
    expect(result).toEqual({ count: 60, alpha: 255, turned: true, holders: 0, svg: true });
  });

  it("encodes and decodes pooled frames with WebCodecs", async (context) => {
    const result = (await runInChromium(`
      if (typeof VideoEncoder === "undefined") send({ packets: null });
      else {
        const { Pipeline, PatternSource, NullSink, AppSink } = await import("/dist/pipeline.js");
        const { WebCodecsEncoder, WebCodecsDecoder } = await import("/dist/webcodecs.js");
        const encoder = new WebCodecsEncoder({ codec: "vp8", bitrate: 500000 });
        const sink = new AppSink({ name: "loop" });
        const pipeline = new Pipeline().link(new PatternSource({ width: 128, height: 96, frames: 30 }), encoder, new WebCodecsDecoder({ codec: "vp8" }), sink);
        const run = pipeline.run();
        const times = [];
        for await (const buffer of sink) { times.push(Number(buffer.pts / 1000000n)); buffer.release(); }
        const { holders } = await run;
        const { info } = sink.in.format;
        send({ packets: encoder.out.buffers, frames: times.length, last: times.at(-1), size: info.width + "x" + info.height, holders: holders.length });
      }`)) as { packets: number | null };
    if (result.packets === null) {
      console.log("WebCodecs is skipped: this Chromium has none");
      context.skip();
    }
    expect(result).toEqual({ packets: 30, frames: 30, last: 1160, size: "128x96", holders: 0 });
  });
});
