// Shares its realm with other files: nothing that it changes outlives it.
/**
 * Random streams into random pools, ended in random ways: what was handed out is the beginning of what was sent, in
 * pieces of the size that was asked for, and afterwards the pool is whole.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { readInto, toReadable } from "../../src/adapters/web-streams.ts";
import { SharedAllocator } from "../../src/allocators/shared.ts";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { REPEATED, seedOf, times } from "../helpers/effort.ts";
import { openPool } from "../pools/buffer/pools.ts";

type Step = { readonly bytes: number; readonly waits: boolean };

const steps = fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 150 }), waits: fc.boolean() }), { maxLength: 20 });

const plan = fc.record({
  steps,
  isByte: fc.boolean(),
  isShared: fc.boolean(),
  size: fc.integer({ min: 1, max: 100 }),
  max: fc.integer({ min: 1, max: 4 }),
  min: fc.option(fc.integer({ min: 1, max: 120 }), { nil: undefined }),
  /** Leases that the consumer keeps before it releases the oldest. */
  keeps: fc.integer({ min: 0, max: 3 }),
  end: fc.constantFrom("end", "break", "abort", "abort under way", "return under way", "error"),
  after: fc.integer({ min: 0, max: 12 }),
});

const later = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const byteAt = (place: number): number => (place * 2_654_435_761) >>> 24;

/** A stream that gives the steps, one a pull, and then fails or ends. */
function streamOf(all: readonly Step[], isByte: boolean, failure: Error | undefined) {
  let step = 0;
  let left = 0;
  let at = 0;
  const seen = { canceled: 0, ended: false };
  const take = (most: number): Uint8Array => {
    const bytes = Uint8Array.from({ length: Math.min(left, most) }, (_, i) => byteAt(at + i));
    at += bytes.length;
    left -= bytes.length;
    return bytes;
  };
  const next = async (): Promise<boolean> => {
    while (left === 0) {
      const now = all[step++];
      if (now === undefined) return false;
      left = now.bytes;
      if (now.waits) await later();
    }
    return true;
  };
  const cancel = (): void => {
    seen.canceled++;
  };
  if (!isByte) {
    const stream = new ReadableStream(
      {
        async pull(controller) {
          if (await next()) controller.enqueue(take(Number.POSITIVE_INFINITY));
          else if (failure !== undefined) controller.error(failure);
          else controller.close();
        },
        cancel,
      },
      { highWaterMark: 0 },
    );
    return { stream, seen };
  }
  const stream = new ReadableStream({
    type: "bytes",
    async pull(controller) {
      const more = await next();
      const request = controller.byobRequest;
      if (request === null) return;
      if (more) {
        const view = request.view as Uint8Array;
        const bytes = take(view.byteLength);
        new Uint8Array(view.buffer, view.byteOffset).set(bytes);
        request.respond(bytes.length);
      } else if (failure !== undefined) controller.error(failure);
      else {
        controller.close();
        request.respond(0);
      }
    },
    cancel,
  });
  return { stream, seen };
}

it("streams of all kinds end in all ways with the right bytes and a whole pool", REPEATED, async () => {
  const seed = seedOf("web-streams-model");
  await fc.assert(
    fc.asyncProperty(plan, async ({ steps: all, isByte, isShared, size, max, min, keeps, end, after }) => {
      const total = all.reduce((sum, { bytes }) => sum + bytes, 0);
      const failure = end === "error" ? new Error("the source's own") : undefined;
      const { stream, seen } = streamOf(all, isByte, failure);
      const pool = openPool({ size, max, ...(isShared ? { allocator: new SharedAllocator() } : {}) });
      const stop = new AbortController();
      const reason = new Error("stop");
      const loop = readInto(stream, pool, { signal: stop.signal, ...(min === undefined ? {} : { min }) });
      const kept: MediaBuffer[] = [];
      let at = 0;
      let turns = 0;
      let outcome: unknown = "end";
      let left: Promise<unknown> | undefined;
      try {
        for (;;) {
          const turn = loop.next();
          if (turns === after && end === "abort under way") stop.abort(reason);
          if (turns === after && end === "return under way") left = loop.return!();
          const { done, value } = await turn;
          if (done === true) break;
          turns++;
          // As long as was asked for, but for the last one.
          if (value.size < Math.min(min ?? size, size)) expect(at + value.size).toBe(total);
          for (const [i, byte] of value.bytes.entries()) if (byte !== byteAt(at + i)) expect(i).toBe("another byte");
          at += value.size;
          kept.push(value);
          if (kept.length > Math.min(keeps, max - 1)) kept.shift()!.release();
          if (turns === after && end === "abort") stop.abort(reason);
          if (turns === after && end === "break") {
            await loop.return!();
            outcome = "break";
            break;
          }
        }
      } catch (error) {
        outcome = error;
      }
      await left;
      for (const buffer of kept) buffer.release();
      if (outcome === "end") expect(at === total || end === "return under way").toBe(true);
      else if (outcome !== "break") expect(outcome).toBe(end === "error" ? failure : reason);
      expect(stream.locked).toBe(false);
      await later();
      pool.validate();
      const { outstanding, waiting, count, bytes, discards } = pool.stats();
      expect([outstanding, waiting, bytes]).toEqual([0, 0, count * size]);
      // A slot is lost only under a read that was ended: one a loop, and never where bytes are copied.
      expect(discards.detached ?? 0).toBeLessThanOrEqual(isByte && !isShared && outcome !== "break" ? 1 : 0);
      if (isByte && outcome === "end" && end !== "return under way") expect([discards, seen.canceled]).toEqual([{}, 0]);
      for (let i = 0; i < max; i++) expect(pool.tryAcquire()!.bytes.length).toBe(size);
    }),
    { seed, numRuns: times(300, 20_000) },
  );
});

it("leases through a stream and back are the same bytes, whatever the buffers are", REPEATED, async () => {
  const seed = seedOf("web-streams-model, out");
  const out = fc.record({
    sizes: fc.array(fc.integer({ min: 0, max: 64 }), { maxLength: 12 }),
    reads: fc.array(fc.integer({ min: 1, max: 150 }), { minLength: 1, maxLength: 8 }),
    chunkSize: fc.integer({ min: 1, max: 100 }),
    isByob: fc.boolean(),
    isList: fc.boolean(),
    cancelAfter: fc.option(fc.integer({ min: 0, max: 10 }), { nil: undefined }),
  });
  await fc.assert(
    fc.asyncProperty(out, async ({ sizes, reads, chunkSize, isByob, isList, cancelAfter }) => {
      const pool = openPool({ size: 64, max: Math.max(1, isList ? sizes.length : 1) });
      let at = 0;
      const make = (size: number): MediaBuffer => {
        const buffer = pool.tryAcquire()!;
        buffer.fill(
          0,
          Uint8Array.from({ length: size }, (_, i) => byteAt(at + i)),
        );
        buffer.resize(0, size);
        at += size;
        return buffer;
      };
      function* source(): Generator<MediaBuffer> {
        for (const size of sizes) yield make(size);
      }
      const stream = toReadable(isList ? sizes.map(make) : source(), { chunkSize });
      const total = sizes.reduce((sum, size) => sum + size, 0);
      let read = 0;
      const reader = isByob ? undefined : stream.getReader();
      const byob = isByob ? stream.getReader({ mode: "byob" }) : undefined;
      for (let i = 0; ; i++) {
        if (i === cancelAfter) {
          await (reader ?? byob)!.cancel();
          break;
        }
        const { done, value } = await (reader?.read() ?? byob!.read(new Uint8Array(reads[i % reads.length]!)));
        if (done) {
          expect(read).toBe(total);
          break;
        }
        if (value.length > (isByob ? reads[i % reads.length]! : chunkSize)) expect(value.length).toBe("less");
        for (const [place, byte] of value.entries()) {
          if (byte !== byteAt(read + place)) expect(place).toBe("another byte");
        }
        read += value.length;
      }
      pool.validate();
      expect(pool.stats()).toMatchObject({ outstanding: 0, discards: {} });
    }),
    { seed, numRuns: times(300, 20_000) },
  );
});
