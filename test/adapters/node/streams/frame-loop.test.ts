/**
 * The loop behind the readers of frames, over an origin that is a stream in this thread: what it waits for, it says in
 * turns.
 */
import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { FrameLoop } from "../../../../src/adapters/node/streams/frame-loop.ts";
import { FrameSlots } from "../../../../src/adapters/node/streams/frame-slots.ts";
import { ChunkReader } from "../../../../src/adapters/raw-video/chunk-reader.ts";
import { planRawVideo } from "../../../../src/adapters/raw-video/layout.ts";
import { BufferPool } from "../../../../src/pools/buffer/buffer-pool.ts";
import { turns } from "../../../pipeline/kit.ts";

const GRAY = { format: "gray", width: 10, height: 10 } as const;

/** A loop over frames that are all here, and whether its origin was left. */
function loopOf(pool: BufferPool, signal?: AbortSignal): { loop: FrameLoop; ends: () => number } {
  const stream = Readable.from(
    Array.from({ length: 20 }, () => Buffer.alloc(100)),
    { objectMode: false },
  );
  const reader = new ChunkReader(stream);
  let ends = 0;
  const origin = {
    open: () => Promise.resolve(reader),
    stop: () => void reader.close(),
    end: async (thrown: { readonly error: unknown } | undefined) => {
      ends++;
      await reader.close();
      return thrown;
    },
  };
  const options = { signal, timeout: undefined, ahead: 1 };
  return { loop: new FrameLoop(origin, new FrameSlots(pool), planRawVideo(GRAY), options), ends: () => ends };
}

async function settles(promise: Promise<unknown>): Promise<unknown> {
  return await Promise.race([
    promise.then(
      () => "ended",
      (error: unknown) => error,
    ),
    turns(200).then(() => "waits"),
  ]);
}

describe("a loop of frames that reads one ahead", () => {
  it("ends while its caller holds every slot, at whatever step of the read-ahead it is left", async () => {
    for (const max of [1, 2]) {
      for (const way of ["return", "stop", "abort"]) {
        // Before the read-ahead has begun, while it asks for bytes, and when it waits for a call.
        for (let step = 0; step < 12; step++) {
          const pool = BufferPool.create({ size: 100, max });
          const aborter = new AbortController();
          const { loop, ends } = loopOf(pool, aborter.signal);
          const held = [];
          for (let i = 0; i < max; i++) held.push((await loop.next()).value!);
          for (let i = 0; i < step; i++) await Promise.resolve();
          if (step === 11) await turns(5);
          const reason = new Error("enough");
          if (way === "stop") loop.stop();
          if (way === "abort") aborter.abort(reason);
          const end = await settles(way === "return" ? loop.return() : loop.next());
          expect([max, way, step, end]).toEqual([max, way, step, way === "abort" ? reason : "ended"]);
          expect(ends()).toBe(1);
          for (const lease of held) lease.release();
          expect(pool.outstanding).toBe(0);
          pool.close();
        }
      }
    }
  });

  it("ends when a hook of the pool ends it while a frame that is read ahead looks for a slot", async () => {
    const pool = BufferPool.create({ size: 100, max: 2 });
    const { loop, ends } = loopOf(pool);
    const first = (await loop.next()).value!;
    const other = pool.tryAcquire()!;
    const tryAcquire = pool.tryAcquire.bind(pool);
    pool.tryAcquire = () => {
      loop.stop();
      return tryAcquire();
    };
    await turns(10);
    expect(ends()).toBe(1);
    expect(await settles(loop.return())).toBe("ended");
    first.release();
    other.release();
    expect(pool.outstanding).toBe(0);
  });
});
