/** The real AudioWorklet, headless: a processor that allocates and frees in every callback, from the built package. */
import { describe, expect, it } from "vitest";
import { chromium, runInChromium } from "./chromium.ts";

if (chromium === undefined)
  console.log("no Chromium here: the worklet test is skipped (set CHROMIUM to a browser's path)");

interface Found {
  readonly error?: string;
  readonly callbacks: number;
  readonly late: number;
  readonly live: number;
  readonly misuse: string;
  readonly isWorklet: boolean;
  readonly heard: number;
  readonly sound: string;
  readonly seconds: number;
}

/** The processor: 16 voices take scratch blocks of changing sizes, mix from there, and give them back. */
const PROCESSOR = `
  import { RealtimePool, SharedAllocator, isMillpondError } from "ORIGIN/dist/index.js";
  const pool = RealtimePool.create(1 << 20, { name: "worklet", source: new SharedAllocator() });
  const memory = new Float32Array(pool.buffer, pool.byteOffset);
  const blocks = new Int32Array(16);
  let callbacks = 0, late = 0, seed = 1, before = 0;
  class Mixer extends AudioWorkletProcessor {
    constructor() {
      super();
      this.port.onmessage = () => {
        let misuse = "none";
        const pointer = pool.alloc(8);
        pool.free(pointer);
        try { pool.free(pointer); } catch (error) { misuse = isMillpondError(error) ? error.code : String(error); }
        pool.validate();
        this.port.postMessage({ callbacks, late, live: pool.stats().liveBlocks, misuse,
          isWorklet: typeof TextEncoder === "undefined" && typeof setTimeout === "undefined" });
      };
    }
    process(inputs, [[output]]) {
      const began = Date.now();
      for (let voice = 0; voice < blocks.length; voice++) {
        seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
        const pointer = pool.alloc(512 + (seed >>> 8) % 30000);
        blocks[voice] = pointer;
        const start = pointer >> 2;
        for (let i = 0; i < output.length; i++) memory[start + i] = 0.001;
        for (let i = 0; i < output.length; i++) output[i] += memory[start + i];
      }
      for (let voice = 0; voice < blocks.length; voice++) pool.free(blocks[voice]);
      callbacks++;
      // The worklet's clock counts whole milliseconds: 4 of them are more than the 2.67 there are.
      if (Date.now() - began >= 4) late++;
      return true;
    }
  }
  registerProcessor("mixer", Mixer);`;

describe.skipIf(chromium === undefined)("in an AudioWorklet", () => {
  it("a callback allocates and frees, with the samples heard, no block left and no callback late", async () => {
    const found = (await runInChromium(`
      const source = ${JSON.stringify(PROCESSOR)}.replace("ORIGIN", location.origin);
      const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      const ask = (node) => new Promise((resolve) => { node.port.onmessage = ({ data }) => resolve(data); node.port.postMessage("?"); });
      const seconds = 2;
      let context = new AudioContext({ sampleRate: 48000 });
      const running = await Promise.race([context.resume().then(() => true), new Promise((r) => setTimeout(r, 5000, false))]);
      if (running) {
        await context.audioWorklet.addModule(url);
        const node = new AudioWorkletNode(context, "mixer");
        const analyser = new AnalyserNode(context);
        node.connect(analyser).connect(context.destination);
        const until = context.currentTime + seconds;
        while (context.currentTime < until) await new Promise((r) => setTimeout(r, 20));
        const wave = new Float32Array(1);
        analyser.getFloatTimeDomainData(wave);
        send({ ...(await ask(node)), heard: wave[0], sound: "live", seconds });
      } else {
        context = new OfflineAudioContext(1, 48000 * seconds, 48000);
        await context.audioWorklet.addModule(url);
        const node = new AudioWorkletNode(context, "mixer");
        node.connect(context.destination);
        const rendered = await context.startRendering();
        send({ ...(await ask(node)), heard: rendered.getChannelData(0)[4800], sound: "offline", seconds });
      }`)) as Found;
    expect(found.error).toBe(undefined);
    console.log(
      `AudioWorklet (${found.sound}): ${found.callbacks} callbacks in ${found.seconds} s, ${found.late} late`,
    );
    expect(found).toMatchObject({ live: 0, misuse: "ERR_DOUBLE_RELEASE", isWorklet: true });
    expect(found.callbacks).toBeGreaterThan((0.9 * found.seconds * 48_000) / 128);
    expect(found.heard).toBeCloseTo(0.016, 4);
    // A machine that runs the whole suite beside it may take the core away; a collection in each second would show as more.
    expect(found.late).toBeLessThanOrEqual(found.callbacks / 100);
  });
});
