// Shares its realm with other files: nothing that it changes outlives it.
/** The queue between stages is bounded by count, bytes and time, in code and in text, and lets every buffer go back. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { COMMON_ELEMENTS } from "../../src/pipeline/elements/factories.ts";
import { Queue, type QueueOptions } from "../../src/pipeline/elements/queue.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { parsePipeline } from "../../src/pipeline/text.ts";
import { code } from "../pools/buffer/pools.ts";
import { Collector, expectHome, Numbers } from "./kit.ts";

/** Buffers of 64 bytes, by default of 1 ms each. */
class Frames extends Numbers {
  ns: bigint | undefined = 1_000_000n;
  override fill(buffer: MediaBuffer): void {
    super.fill(buffer);
    buffer.duration = this.ns;
  }
}

/** The most buffers that were in line, and what came out. */
async function longest(
  options: QueueOptions,
  ns?: bigint | null,
): Promise<{ most: number; seen: number[]; queue: Queue }> {
  const source = new Frames("src", 60);
  if (ns !== undefined) source.ns = ns ?? undefined;
  const queue = new Queue({ max: 20, ...options });
  const sink = new Collector("sink", { slow: 2 });
  const pipeline = new Pipeline().link(source, queue, sink);
  let most = 0;
  let isDone = false;
  const done = pipeline.run().finally(() => {
    isDone = true;
  });
  while (!isDone) {
    most = Math.max(most, queue.length);
    await nextTurn();
  }
  await done;
  expectHome(pipeline);
  return { most, seen: sink.seen, queue };
}

const all = Array.from({ length: 60 }, (_, n) => n);

describe("a queue", () => {
  test("is bounded by bytes, and nothing is lost", async () => {
    const { most, seen } = await longest({ maxBytes: 64 * 3 + 63 });
    expect([most, seen]).toEqual([3, all]);
  });

  test("is bounded by time: the durations, or the distances where there are none", async () => {
    const durations = await longest({ maxTime: 5 });
    expect([durations.most, durations.seen]).toEqual([5, all]);
    const distances = await longest({ maxTime: 3e-6 }, null);
    // 1 ns from each to the next; the first of all has no distance.
    expect([distances.most >= 3 && distances.most <= 4, distances.seen]).toEqual([true, all]);
  });

  test("lets a buffer that exceeds a bound by itself pass, alone", async () => {
    const bytes = await longest({ maxBytes: 1 });
    const time = await longest({ maxTime: 0.5 });
    expect([bytes.most, bytes.seen, time.most, time.seen]).toEqual([1, all, 1, all]);
  });

  test("without a bound on bytes or time is bounded by count alone", async () => {
    const { most, seen } = await longest({ max: 4, maxTime: Number.POSITIVE_INFINITY });
    expect([most, seen]).toEqual([4, all]);
  });

  test("that drops keeps inside the bound, and counts what it dropped", async () => {
    for (const full of ["drop-new", "drop-old"] as const) {
      const { most, seen, queue } = await longest({ full, maxBytes: 130 });
      expect([most <= 2, seen.length + queue.dropped, queue.dropped > 0]).toEqual([true, 60, true]);
      if (full === "drop-old") expect(seen.at(-1)).toBe(59);
    }
  });

  test("says its bounds in the description, and refuses those that cannot be", () => {
    expect(new Queue({ maxBytes: 1000, maxTime: 500 }).role).toBe("up to 4 in line, 1000 bytes, 500 ms");
    for (const options of [
      { maxBytes: 0 },
      { maxBytes: 1.5 },
      { maxTime: 0 },
      { maxTime: -1 },
      { maxTime: Number.NaN },
    ])
      expect(code(() => new Queue(options))).toBe("ERR_OUT_OF_RANGE");
    for (const options of [{ maxBytes: "1" }, { maxTime: 5n }])
      expect(code(() => new Queue(options as never))).toBe("ERR_INVALID_ARG_TYPE");
  });

  test("takes its bounds from text, and an impossible one points at its word", async () => {
    const text = "pattern frames=5 width=16 height=16 ! queue max=8 maxBytes=1000 maxTime=250.5 name=q ! null";
    const { pipeline } = parsePipeline(text, COMMON_ELEMENTS);
    expect(pipeline.elements.find((one) => one.name === "q")?.role).toBe("up to 8 in line, 1000 bytes, 250.5 ms");
    await pipeline.run();
    expectHome(pipeline);
    for (const wrong of ["queue maxBytes=0", "queue maxTime=0", "queue maxTime=no"])
      expect(code(() => parsePipeline(`pattern ! ${wrong} ! null`, COMMON_ELEMENTS))).toBe("ERR_INVALID_ARG_VALUE");
  });
});
