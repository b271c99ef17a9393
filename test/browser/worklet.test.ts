// Shares its realm with other files: nothing that it changes outlives it.
/**
 * The real AudioWorklet, headless: a processor that allocates and frees in every callback, from the built package, and
 * one that makes plain arrays of the same sizes, each for two seconds of sound with the same heap of other objects
 * beside it. How long callbacks took is printed; that is the machine's affair too.
 */
import { describe, expect, it } from "vitest";
import { chromium, runInChromium } from "./chromium.ts";

if (chromium === undefined)
  console.log("no Chromium here: the worklet test is skipped (set CHROMIUM to a browser's path)");

interface Run {
  readonly callbacks: number;
  /** Callbacks that took 4 ms or more by the worklet's clock, which counts whole milliseconds; there are 2.67. */
  readonly late: number;
  readonly longest: number;
  readonly live: number;
  readonly misuse: string;
  readonly isWorklet: boolean;
  readonly heard: number;
}

interface Found {
  readonly error?: string;
  readonly seconds: number;
  readonly pooled: Run;
  readonly plain: Run;
}

/** 16 voices take scratch blocks of changing sizes, mix from there, and give them back. */
const PROCESSOR = `
  import { RealtimePool, SharedAllocator, isMillpondError } from "ORIGIN/dist/index.js";
  const pool = RealtimePool.create({ totalSize: 4 << 20, name: "worklet", source: new SharedAllocator() });
  const memory = new Float32Array(pool.buffer, pool.byteOffset);
  const application = Array.from({ length: 300_000 }, (_, id) => ({ id, name: "clip " + id, tags: [id % 7] }));
  const blocks = new Int32Array(16);
  const arrays = [];
  class Mixer extends AudioWorkletProcessor {
    callbacks = 0; late = 0; longest = 0; seed = 1; on = true;
    constructor({ processorOptions }) {
      super();
      this.pooled = processorOptions.pooled;
      this.port.onmessage = () => {
        this.on = false;
        let misuse = "none";
        const pointer = pool.alloc(8);
        pool.free(pointer);
        try { pool.free(pointer); } catch (error) { misuse = isMillpondError(error) ? error.code : String(error); }
        pool.validate();
        this.port.postMessage({ callbacks: this.callbacks, late: this.late, longest: this.longest, live: pool.stats().liveBlocks,
          misuse, isWorklet: typeof TextEncoder === "undefined" && typeof setTimeout === "undefined" && application.length > 0 });
      };
    }
    size() {
      this.seed = (Math.imul(this.seed, 1103515245) + 12345) >>> 0;
      return 128 + (this.seed >>> 8) % 32000;
    }
    process(inputs, [[output]]) {
      const began = Date.now();
      for (let voice = 0; voice < blocks.length; voice++) {
        let samples = memory, start = 0;
        if (this.pooled) start = (blocks[voice] = pool.alloc(this.size() * 4)) >> 2;
        else samples = arrays[voice] = new Float32Array(this.size());
        for (let i = 0; i < output.length; i++) samples[start + i] = 0.001;
        for (let i = 0; i < output.length; i++) output[i] += samples[start + i];
      }
      if (this.pooled) for (let voice = 0; voice < blocks.length; voice++) pool.free(blocks[voice]);
      this.callbacks++;
      const took = Date.now() - began;
      if (took >= 4) this.late++;
      if (took > this.longest) this.longest = took;
      return this.on;
    }
  }
  registerProcessor("mixer", Mixer);`;

describe.skipIf(chromium === undefined)("in an AudioWorklet", () => {
  it("a callback allocates and frees, with the samples heard, and no block left", async () => {
    const found = (await runInChromium(`
      const source = ${JSON.stringify(PROCESSOR)}.replace("ORIGIN", location.origin);
      const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      const ask = (node) => new Promise((resolve) => { node.port.onmessage = ({ data }) => resolve(data); node.port.postMessage("?"); });
      const seconds = 2;
      const run = async (pooled) => {
        // Rendered as fast as it goes, so that there are as many callbacks on any machine.
        const context = new OfflineAudioContext(1, 48000 * seconds, 48000);
        await context.audioWorklet.addModule(url);
        const node = new AudioWorkletNode(context, "mixer", { processorOptions: { pooled } });
        node.connect(context.destination);
        const rendered = await context.startRendering();
        return { ...(await ask(node)), heard: rendered.getChannelData(0)[4800] };
      };
      send({ seconds, pooled: await run(true), plain: await run(false) });`)) as Found;
    expect(found.error).toBe(undefined);
    const { pooled, plain, seconds } = found;
    for (const [name, { callbacks, late, longest }] of Object.entries({ pooled, plain })) {
      console.log(`AudioWorklet, ${name}: ${late} of ${callbacks} callbacks late, the longest ${longest} ms`);
    }
    expect(pooled).toMatchObject({ live: 0, misuse: "ERR_DOUBLE_RELEASE", isWorklet: true });
    expect(pooled.callbacks).toBe((seconds * 48_000) / 128);
    expect(pooled.heard).toBeCloseTo(0.016, 4);
  });
});
