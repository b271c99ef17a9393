/**
 * The example page in a real browser: an oscillator in a worker, played by an AudioWorklet through pooled slots.
 * Counted over a number of blocks: garbage collections of the worker and of the audio thread. Collections follow from
 * what was allocated; how many blocks came too late is the machine's affair too, and printed.
 */
import { describe, expect, it } from "vitest";
import { FULL, REPEATED, times } from "../helpers/effort.ts";
import { chromium, runInChromium } from "./chromium.ts";

if (chromium === undefined) {
  console.log("the AudioWorklet test is skipped: no Chromium here (Debian: apt-get install chromium, or set CHROMIUM)");
}

interface Heard {
  readonly before: { readonly played: number; readonly missed: number };
  readonly after: { readonly played: number; readonly missed: number };
  /** Seconds on the audio clock. */
  readonly seconds: number;
  readonly sampleRate: number;
  readonly held: number;
}

/**
 * Blocks that the worker may be ahead: 2.7 s. The example has 16 (43 ms), which a machine that runs other tests at the
 * same time cannot always keep; what is shown here, no block lost and nothing allocated, is the same with more.
 */
const BLOCKS = 1024;

// Without the zygote the renderer's output, where V8 writes its trace, is the browser's.
const FLAGS = ["--autoplay-policy=no-user-gesture-required", "--js-flags=--trace-gc", "--no-zygote"];

/** Plays so many blocks, whatever time the machine takes for them. */
async function listen(careless: boolean, blocks: number): Promise<{ heard: Heard; collections: number[] }> {
  let output = "";
  const heard = (await runInChromium(
    `
    const { play } = await import("/examples/audio-worklet/main.js");
    const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const playing = await play({ careless: ${careless}, blocks: ${BLOCKS} });
    while (playing.counts.played < 50) await wait(10);
    const [before, start] = [playing.counts, playing.context.currentTime];
    while (playing.counts.played < before.played + ${blocks}) await wait(20);
    const [after, end] = [playing.counts, playing.context.currentTime];
    const { held } = playing.pool.stats();
    const { sampleRate } = playing.context;
    await playing.stop();
    // The trace is written 4 KB at a time: this page's own collections, 50 at 100 bytes and more, push out the others'
    // before.
    for (let i = 0; i < 60_000; i++) globalThis.litter = Array.from({ length: 100 }, (_, k) => ({ i, k }));
    send({ before, after, seconds: end - start, sampleRate, held });`,
    100_000,
    {
      flags: FLAGS,
      onOutput: (text) => {
        output += text;
      },
    },
  )) as Heard;
  const byThread = new Map<string, number>();
  for (const [, isolate] of output.matchAll(/\[\d+:(0x[\da-f]+)\][^\n]*?(?:Scavenge|Mark-Compact|Minor)/g)) {
    byThread.set(isolate!, (byThread.get(isolate!) ?? 0) + 1);
  }
  return { heard, collections: [...byThread.values()].sort((a, b) => b - a) };
}

/** 375 are a second. */
const PLAYED = times(750, 3750);
/** Collections that the start of a thread and of its loop may cost. */
const STARTING = 8;

describe.skipIf(chromium === undefined)("an oscillator through a pooled queue, in an AudioWorklet", () => {
  it("plays block after block without collections in the worker or the audio thread", REPEATED, async () => {
    const { heard, collections } = await listen(false, PLAYED);
    const missed = heard.after.missed - heard.before.missed;
    const played = heard.after.played - heard.before.played;
    console.log(
      `${played} blocks played in ${heard.seconds.toFixed(1)} s, ${missed} missed; collections by thread: ${collections}`,
    );
    expect(played).toBeGreaterThanOrEqual(PLAYED);
    expect(heard.held).toBeGreaterThan(0);
    // The page itself litters at the end, so that the trace is written out. A thread's start costs it a collection, and
    // its first blocks some more until the engine has compiled the loop, which a busy machine puts off; then there are
    // none, however many blocks are played. A loop that litters has 17 for 1,000 blocks (below).
    expect(collections.slice(1).filter((count) => count > STARTING)).toEqual([]);
  });

  // What shows that the count above can fail; it costs a browser of its own.
  it("sees it when the audio thread does allocate", FULL, async () => {
    const { collections } = await listen(true, PLAYED);
    console.log(`collections by thread, with garbage on purpose: ${collections}`);
    expect(collections[1]).toBeGreaterThan(STARTING);
  });
});
