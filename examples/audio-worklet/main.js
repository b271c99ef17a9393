/**
 * An oscillator in a worker, played by an AudioWorklet, through a pool: no block is copied between threads, none is
 * allocated after the start, and the audio thread never waits. Needs a page that is cross-origin isolated (COOP and COEP).
 */
import { SharedPool, SpscRing } from "../../dist/shared.js";

/** The Web Audio API's block. */
const BLOCK = 128;

/** 16 blocks of 128 samples are 43 ms at 48 kHz: what the worker may be late. */
const BLOCKS = 16;

/** Plays; answers how to look at it and how to stop it. */
export async function play({ frequency = 440, blocks = BLOCKS, careless = false } = {}) {
  const context = new AudioContext();
  const pool = SharedPool.create({ name: "audio", size: BLOCK * Float32Array.BYTES_PER_ELEMENT, count: blocks });
  const ring = SpscRing.create(blocks).memory;
  const counters = new SharedArrayBuffer(8);
  const [producer, player] = [pool.reserve(), pool.reserve()];
  const worker = new Worker(new URL("./oscillator.js", import.meta.url), { type: "module" });
  worker.postMessage({ handle: producer, ring, sampleRate: context.sampleRate, frequency });
  await context.audioWorklet.addModule(new URL("./processor.js", import.meta.url));
  const node = new AudioWorkletNode(context, "pooled-player", {
    numberOfInputs: 0,
    outputChannelCount: [1],
    processorOptions: { handle: player, ring, counters, careless },
  });
  node.connect(context.destination);
  await context.resume();
  const words = new Int32Array(counters);
  return {
    context,
    pool,
    node,
    /** Blocks so far: played, and missed. */
    get counts() {
      return { played: Atomics.load(words, 0), missed: Atomics.load(words, 1) };
    },
    async stop() {
      node.disconnect();
      await context.close();
      worker.terminate();
      // A page sees no worker's end: it says so itself.
      pool.reclaim(producer);
      pool.reclaim(player);
      pool.close({ force: true });
    },
  };
}
