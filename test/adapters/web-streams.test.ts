/**
 * Streams of the platform into slots and out of them: what lands where, and that every way out brings all leases back.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { readInto, toReadable } from "../../src/adapters/web-streams.ts";
import { SharedAllocator } from "../../src/allocators/shared.ts";
import { WasmAllocator } from "../../src/allocators/wasm.ts";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { SystemAllocator, wrapMemory } from "../../src/memory/allocator.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { codeOf } from "../helpers/code-of.ts";
import { watchedSignal } from "../helpers/watched-signal.ts";
import { code, openPool } from "../pools/buffer/pools.ts";

/** Bytes that tell their place: no two runs of a slot's length are alike. */
function pattern(length: number, from = 0): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => ((from + i) * 2_654_435_761) >>> 24);
}

/**
 * A byte stream over `bytes` that counts what it is asked, gives at most `piece` bytes a read, and can be told to stop.
 */
function byteSource(bytes: Uint8Array, piece: number = Number.POSITIVE_INFINITY) {
  const seen = {
    given: 0,
    views: [] as number[],
    buffers: [] as number[],
    canceled: [] as unknown[],
    /** Set: the next pull waits for it. */
    hold: undefined as Promise<unknown> | undefined,
    pulls: 0,
  };
  const stream = new ReadableStream({
    type: "bytes",
    async pull(controller) {
      seen.pulls++;
      await seen.hold;
      const request = controller.byobRequest!;
      const view = request.view as Uint8Array;
      seen.views.push(view.byteLength);
      seen.buffers.push(view.buffer.byteLength);
      const part = bytes.subarray(seen.given, seen.given + Math.min(piece, view.byteLength));
      if (part.length === 0) {
        controller.close();
        request.respond(0);
        return;
      }
      new Uint8Array(view.buffer, view.byteOffset, part.length).set(part);
      seen.given += part.length;
      request.respond(part.length);
    },
    cancel(reason) {
      seen.canceled.push(reason);
    },
  });
  return { stream, seen };
}

/** A stream of chunks. */
function chunkSource(chunks: readonly unknown[]) {
  const seen = { given: 0, canceled: [] as unknown[] };
  const stream = new ReadableStream(
    {
      pull(controller) {
        if (seen.given === chunks.length) controller.close();
        else controller.enqueue(chunks[seen.given++]);
      },
      cancel(reason) {
        seen.canceled.push(reason);
      },
    },
    { highWaterMark: 0 },
  );
  return { stream, seen };
}

const never = (): Promise<never> => new Promise(() => {});

/** Lets everything that is under way get as far as it can. */
async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Reads a stream to its end; the pieces, each released before the next. */
async function pieces(stream: ReadableStream, pool: BufferPool, options = {}): Promise<Uint8Array[]> {
  const read: Uint8Array[] = [];
  for await (const buffer of readInto(stream, pool, options)) {
    read.push(buffer.bytes.slice());
    buffer.release();
  }
  return read;
}

const joined = (parts: readonly Uint8Array[]): Buffer => Buffer.concat(parts as Uint8Array[]);

/**
 * All leases are back, and the pool is whole: so many slots lost their memory, and each that there is has its bytes.
 */
function expectWhole(pool: BufferPool, detached = 0): void {
  pool.validate();
  const { outstanding, awaitingMemory, waiting, discards, count, max, bytes, size } = pool.stats();
  expect({ outstanding, awaitingMemory, waiting, discards }).toEqual({
    outstanding: 0,
    awaitingMemory: 0,
    waiting: 0,
    discards: detached === 0 ? {} : { detached },
  });
  const { prefix, padding } = pool.config!.params;
  expect(bytes).toBe(count * (prefix + size + padding));
  const all = Array.from({ length: max }, () => pool.tryAcquire()!);
  for (const buffer of all) expect(buffer.bytes.length).toBe(size);
  for (const buffer of all) buffer.release();
}

const memories: Record<string, () => Parameters<typeof openPool>[0]> = {
  "the system's memory": () => ({}),
  "the system's memory with a prefix and padding": () => ({ prefix: 24, padding: 8 }),
  "memory that is revoked": () => ({ revoke: true }),
  "shared memory": () => ({ allocator: new SharedAllocator() }),
  "WebAssembly memory": () => ({ allocator: new WasmAllocator() }),
  "a page pool's memory": () => ({ allocator: PagePool.create().allocator }),
};

describe("readInto", () => {
  describe.each(Object.entries(memories))("into %s", (_, config) => {
    it("fills each slot whole, the last one with what is left", async () => {
      const bytes = pattern(1000);
      for (const stream of [
        new Blob([bytes]).stream(),
        byteSource(bytes).stream,
        byteSource(bytes, 7).stream,
        byteSource(bytes, 1).stream,
        chunkSource([bytes]).stream,
        chunkSource([bytes.subarray(0, 5), bytes.subarray(5, 500), new Uint8Array(0), bytes.subarray(500)]).stream,
        chunkSource(Array.from(bytes, (byte) => new Uint8Array([byte]))).stream,
      ]) {
        const pool = openPool({ size: 64, max: 2, ...config() });
        const read = await pieces(stream, pool);
        expect(read.map(({ length }) => length)).toEqual([...Array(15).fill(64), 40]);
        expect(joined(read).equals(bytes)).toBe(true);
        expect(stream.locked).toBe(false);
        pool.validate();
        expect(pool.stats()).toMatchObject({ outstanding: 0, discards: {} });
      }
    });
  });

  it("reads a byte stream into the slot itself, whose ArrayBuffer goes and comes back", async () => {
    const pool = openPool({ size: 64, max: 1, padding: 16 });
    const lease = await pool.acquire();
    const kept = lease.bytes;
    lease.release();
    const { stream, seen } = byteSource(pattern(100));
    const read = readInto(stream, pool);
    const first = (await read.next()).value as MediaBuffer;
    // As clean as a fresh lease: its release takes the fast path.
    expect(first.slot.isClean()).toBe(true);
    // All of the slot, in a buffer as long as the slot's, padding included.
    expect([seen.views, seen.buffers]).toEqual([[64], [80]]);
    // A view that an earlier lease kept has lost its bytes.
    expect([kept.length, first.bytes.length, first.memoryAt(0).offset]).toEqual([0, 64, 0]);
    expect(first.bytes).toEqual(pattern(64));
    first.release();
    const last = (await read.next()).value as MediaBuffer;
    expect([last.size, last.bytes]).toEqual([36, pattern(36, 64)]);
    last.release();
    expect(await read.next()).toEqual({ done: true, value: undefined });
    expectWhole(pool);
    // A slot that was read into is as clean as a fresh one: nothing is new.
    expect(pool.stats()).toMatchObject({ misses: 1, count: 1 });
  });

  it("copies into bytes that are not the slot's own, and leaves their ArrayBuffer where it is", async () => {
    const mine = new ArrayBuffer(64);
    class OverMine extends BufferPool {
      protected override populate(buffer: MediaBuffer): void {
        buffer.append(wrapMemory(mine));
      }
    }
    const pool = OverMine.create({ size: 64, max: 1 });
    const { stream, seen } = byteSource(pattern(100));
    expect(await pieces(stream, pool)).toEqual([pattern(64), pattern(36, 64)]);
    expect([mine.byteLength, seen.buffers]).toEqual([64, [64, 64, 64]]);
    // Several memories in one slot.
    class InParts extends BufferPool {
      protected override populate(buffer: MediaBuffer): void {
        for (const size of [10, 20, 34]) buffer.append(new SystemAllocator().allocate(size));
      }
    }
    const parts = InParts.create({ size: 64, max: 1 });
    for await (const buffer of readInto(byteSource(pattern(64)).stream, parts)) {
      expect(buffer.compare(0, pattern(64))).toBe(0);
      buffer.release();
    }
    for (const each of [pool, parts]) {
      each.validate();
      expect(each.stats()).toMatchObject({ outstanding: 0, discards: {} });
    }
  });

  it("hands out what has arrived where min says so", async () => {
    const pool = openPool({ size: 64, max: 2 });
    const byob = await pieces(byteSource(pattern(100), 30).stream, pool, { min: 1 });
    expect(byob.map(({ length }) => length)).toEqual([30, 30, 30, 10]);
    const some = await pieces(byteSource(pattern(100), 30).stream, pool, { min: 40 });
    expect(some.map(({ length }) => length)).toEqual([60, 40]);
    const chunks = await pieces(chunkSource([pattern(5), pattern(100)]).stream, pool, { min: 1 });
    expect(chunks.map(({ length }) => length)).toEqual([5, 64, 36]);
    expectWhole(pool);
  });

  it("hands out all that one answer brought, also when no slot was free for it", async () => {
    for (const [size, piece, lengths] of [
      [65_536, Number.POSITIVE_INFINITY, [65_536, 34_464]],
      [65_536, 30_000, [30_000, 30_000, 30_000, 10_000]],
      [300_000, Number.POSITIVE_INFINITY, [100_000]],
      [30_000, 40_000, [30_000, 30_000, 30_000, 10_000]],
    ] as const) {
      for (const config of Object.values(memories)) {
        const pool = openPool({ size, max: 1, ...config() });
        const bytes = pattern(100_000);
        // Out before the loop begins, so that the first is waited for, too.
        const held = pool.tryAcquire()!;
        setImmediate(() => held.release());
        const read: Uint8Array[] = [];
        for await (const buffer of readInto(byteSource(bytes, piece).stream, pool, { min: 1 })) {
          read.push(buffer.bytes.slice());
          setImmediate(() => buffer.release());
        }
        expect(read.map(({ length }) => length)).toEqual(lengths);
        expect(joined(read).equals(bytes)).toBe(true);
        await settle();
        expectWhole(pool);
      }
    }
  });

  it("hands out in order what was read for a larger slot than came, and nothing of it behind an abort", async () => {
    for (const min of [undefined, 1, 40]) {
      for (const isAborted of [false, true]) {
        const pool = openPool({ size: 64, max: 2 });
        // A pool that does not say how large its slots are: 256 KiB are asked for.
        let asked = 0;
        const sizeless = {
          acquire: (options: object) => pool.acquire(options),
          tryAcquire: () => (asked++ === 0 ? undefined : pool.tryAcquire()),
          configure: () => {},
        } as unknown as BufferPool;
        const stop = new AbortController();
        const { stream, seen } = byteSource(pattern(1000), 150);
        const options = { signal: stop.signal, ...(min === undefined ? {} : { min }) };
        const loop = readInto(stream, sizeless, options);
        const read: Uint8Array[] = [];
        for (let i = 0; ; i++) {
          if (isAborted && i === 1) stop.abort(new Error("enough"));
          const step = loop.next();
          if (isAborted && i === 1) {
            await expect(step).rejects.toThrow("enough");
            break;
          }
          const { done, value } = await step;
          if (done === true) break;
          read.push(value.bytes.slice());
          value.release();
        }
        expect(seen.views[0]).toBe(2 ** 18);
        expect(joined(read).equals(pattern(isAborted ? 64 : 1000))).toBe(true);
        expect(read.every(({ length }) => length > 0)).toBe(true);
        expectWhole(pool);
      }
    }
  });

  it("reads nothing while every slot is out, but for what tells the end", async () => {
    for (const [make, ahead] of [
      [() => byteSource(pattern(10_000)), 64],
      [() => chunkSource(Array.from({ length: 100 }, () => pattern(64))), 64],
    ] as const) {
      const pool = openPool({ size: 64, max: 3 });
      const { stream, seen } = make();
      const read = readInto(stream, pool);
      const held = [await read.next(), await read.next(), await read.next()].map(({ value }) => value as MediaBuffer);
      const fourth = read.next();
      await settle();
      const given = "views" in seen ? seen.given : seen.given * 64;
      expect(given).toBe(3 * 64 + ahead);
      expect(pool.stats()).toMatchObject({ outstanding: 3, waiting: 1 });
      held[0]!.release();
      ((await fourth).value as MediaBuffer).release();
      await read.return!();
      for (const buffer of held.slice(1)) buffer.release();
      expectWhole(pool);
      expect(seen.canceled.length).toBe(1);
    }
  });

  it("comes to the end without a free slot", async () => {
    for (const stream of [
      new Blob([pattern(128)]).stream(),
      byteSource(pattern(128)).stream,
      chunkSource([pattern(128)]).stream,
    ]) {
      const pool = openPool({ size: 64, max: 2 });
      const held: MediaBuffer[] = [];
      for await (const buffer of readInto(stream, pool)) held.push(buffer);
      expect(held.map(({ bytes }) => bytes)).toEqual([pattern(64), pattern(64, 64)]);
      for (const buffer of held) buffer.release();
      expectWhole(pool);
    }
  });

  it("gives nothing for an empty stream, and keeps its slot", async () => {
    for (const stream of [new Blob([]).stream(), byteSource(new Uint8Array(0)).stream, chunkSource([]).stream]) {
      const pool = openPool({ max: 1 });
      expect(await pieces(stream, pool)).toEqual([]);
      expectWhole(pool);
    }
  });

  it("cancels the stream when the loop is left, by break and by a throw", async () => {
    for (const make of [() => byteSource(pattern(1000)), () => chunkSource([pattern(1000)])]) {
      const pool = openPool({ max: 2 });
      const left = make();
      for await (const buffer of readInto(left.stream, pool)) {
        buffer.release();
        break;
      }
      const thrown = make();
      await expect(async () => {
        for await (const buffer of readInto(thrown.stream, pool)) {
          buffer.release();
          throw new Error("the consumer's own");
        }
      }).rejects.toThrow("the consumer's own");
      expect([left.seen.canceled.length, thrown.seen.canceled.length]).toEqual([1, 1]);
      expect([left.stream.locked, thrown.stream.locked]).toEqual([false, false]);
      expectWhole(pool);
    }
  });

  it("ends a read that waits, by return(), and replaces the slot that the stream keeps", async () => {
    const pool = openPool({ max: 2 });
    const { stream, seen } = byteSource(pattern(1000));
    seen.hold = never();
    const read = readInto(stream, pool);
    const waiting = read.next();
    await settle();
    expect(pool.outstanding).toBe(1);
    expect(await read.return!()).toEqual({ done: true, value: undefined });
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect([seen.canceled.length, stream.locked]).toEqual([1, false]);
    expectWhole(pool, 1);
  });

  it("ends by its signal, while it reads, while it waits for a slot, and between two turns", async () => {
    const reason = new Error("stop");
    for (const make of [() => byteSource(pattern(1000), 30), () => chunkSource([pattern(1000)])]) {
      // While it reads.
      const pool = openPool({ max: 2 });
      const stop = new AbortController();
      const { stream, seen } = make();
      let detached = 0;
      if ("hold" in seen) {
        const read = readInto(stream, pool, { signal: stop.signal });
        ((await read.next()).value as MediaBuffer).release();
        seen.hold = never();
        const waiting = read.next();
        await settle();
        stop.abort(reason);
        await expect(waiting).rejects.toBe(reason);
        expect([seen.canceled, stream.locked]).toEqual([[reason], false]);
        detached = 1;
        expectWhole(pool, detached);
      }
      // While it waits for a slot.
      const wait = new AbortController();
      const second = make();
      const waits = readInto(second.stream, pool, { signal: wait.signal });
      const held = [await waits.next(), await waits.next()].map(({ value }) => value as MediaBuffer);
      const third = waits.next();
      await settle();
      expect(pool.stats().waiting).toBe(1);
      wait.abort(reason);
      await expect(third).rejects.toBe(reason);
      expect(second.seen.canceled).toEqual([reason]);
      for (const buffer of held) buffer.release();
      expectWhole(pool, detached);
      // Between two turns: the stream hears at once, the loop at its next turn.
      const between = new AbortController();
      const last = make();
      const loop = readInto(last.stream, pool, { signal: between.signal });
      const buffer = (await loop.next()).value as MediaBuffer;
      between.abort(reason);
      expect(last.seen.canceled).toEqual([reason]);
      expect(buffer.bytes.length).toBe(64);
      buffer.release();
      await expect(loop.next()).rejects.toBe(reason);
      expect(await loop.next()).toEqual({ done: true, value: undefined });
      expect(last.stream.locked).toBe(false);
      // Before the first turn.
      const before = make();
      await expect(readInto(before.stream, pool, { signal: AbortSignal.abort(reason) }).next()).rejects.toBe(reason);
      expect(before.seen.canceled).toEqual([reason]);
      expectWhole(pool, detached);
    }
  });

  it("closes a stream that it never began to read", async () => {
    const pool = openPool();
    const { stream, seen } = byteSource(pattern(10));
    expect(await readInto(stream, pool).return!()).toEqual({ done: true, value: undefined });
    expect([seen.canceled.length, stream.locked]).toEqual([1, false]);
    expectWhole(pool);
  });

  it("takes its listener off the signal, whatever ends it", async () => {
    for (const way of ["end", "break", "error"]) {
      const { signal, listeners } = watchedSignal();
      const stream = way === "error" ? chunkSource(["text"]).stream : byteSource(pattern(200)).stream;
      const read = (async () => {
        for await (const buffer of readInto(stream, openPool(), { signal })) {
          buffer.release();
          if (way === "break") break;
        }
      })();
      await read.catch(() => {});
      expect([way, listeners()]).toEqual([way, 0]);
    }
  });

  it("throws what the stream fails with, and replaces the slot that went with it", async () => {
    const failure = new Error("the disk is gone");
    for (const [given, lost] of [
      [0, 1],
      [2, 0],
    ] as const) {
      let pulls = 0;
      const stream = new ReadableStream({
        type: "bytes",
        pull(controller) {
          if (pulls++ < given) controller.byobRequest!.respond(10);
          else controller.error(failure);
        },
      });
      const pool = openPool({ max: 1 });
      await expect(pieces(stream, pool)).rejects.toBe(failure);
      expect(stream.locked).toBe(false);
      expectWhole(pool, lost);
    }
    const pool = openPool({ max: 1 });
    const chunks = new ReadableStream({ start: (controller) => controller.error(failure) });
    await expect(pieces(chunks, pool)).rejects.toBe(failure);
    expectWhole(pool);
  });

  it("ends where a source closes under a read and does not answer it, with every byte that came before", async () => {
    for (const [given, lost] of [
      [0, 1],
      [10, 0],
      [64, 1],
    ] as const) {
      let isFirst = true;
      const stream = new ReadableStream({
        type: "bytes",
        pull(controller) {
          if (isFirst && given > 0) controller.byobRequest!.respond(given);
          else controller.close();
          isFirst = false;
        },
      });
      const pool = openPool({ max: 1 });
      expect((await pieces(stream, pool)).map(({ length }) => length)).toEqual(given === 0 ? [] : [given]);
      expect(stream.locked).toBe(false);
      expectWhole(pool, lost);
    }
  });

  it("goes on in whatever plain buffer a source responds with, and in no other", async () => {
    const answers: Record<string, (length: number) => Uint8Array> = {
      another: (length) => new Uint8Array(length).fill(5),
      resizable: (length) => new Uint8Array(new ArrayBuffer(length, { maxByteLength: length * 2 })).fill(5),
    };
    for (const [kind, make] of Object.entries(answers)) {
      let view: Uint8Array | undefined;
      const stream = new ReadableStream({
        type: "bytes",
        pull(controller) {
          view = make(controller.byobRequest!.view!.byteLength);
          controller.byobRequest!.respondWithNewView(view);
        },
      });
      const pool = openPool({ max: 1 });
      const read = readInto(stream, pool);
      if (kind === "resizable") expect(await codeOf(read.next())).toBe("ERR_DETACHED");
      else {
        const buffer = (await read.next()).value as MediaBuffer;
        expect(buffer.bytes.every((byte) => byte === 5)).toBe(true);
        // What the source keeps is empty: the platform has transferred it.
        expect(view!.length).toBe(0);
        buffer.release();
        await read.return!();
      }
      expectWhole(pool, kind === "resizable" ? 1 : 0);
    }
  });

  it("answers turns that are asked for at once one after the other", async () => {
    for (const stream of [byteSource(pattern(200)).stream, chunkSource([pattern(200)]).stream]) {
      const pool = openPool({ max: 4 });
      const read = readInto(stream, pool);
      const steps = await Promise.all([
        read.next(),
        read.next(),
        read.next(),
        read.next(),
        read.next(),
        read.return!(),
      ]);
      const buffers = steps.filter(({ done }) => done !== true).map(({ value }) => value as MediaBuffer);
      // What was asked for before the end came is given; nothing else is taken.
      for (const [i, buffer] of buffers.entries()) {
        expect(buffer.bytes).toEqual(pattern(buffer.size, i * 64));
        buffer.release();
      }
      expect(stream.locked).toBe(false);
      pool.validate();
      expect(pool.stats()).toMatchObject({ outstanding: 0, waiting: 0 });
    }
  });

  it("gives nothing when its source ends the pool, or the loop, in the middle of a read", async () => {
    for (const way of ["close", "return", "abort"] as const) {
      const pool = openPool({ max: 1 });
      const stop = new AbortController();
      let read: AsyncIterator<MediaBuffer> | undefined;
      let left: Promise<unknown> | undefined;
      const stream = new ReadableStream({
        type: "bytes",
        pull(controller) {
          if (way === "close") pool.close({ force: true });
          else if (way === "return") left = read!.return!();
          else stop.abort(new Error("stop"));
          if (controller.byobRequest !== null) controller.byobRequest.respond(10);
        },
      });
      read = readInto(stream, pool, { signal: stop.signal });
      const outcome = await read.next().then(
        ({ done }) => done,
        (error: Error) => error.message,
      );
      await left;
      expect(outcome).toEqual(
        { close: expect.stringContaining("ERR_POOL_DEAD"), return: true, abort: "stop" }[way] as unknown,
      );
      expect([stream.locked, pool.stats().outstanding]).toEqual([false, 0]);
    }
  });

  it("refuses chunks that are not bytes, and bytes that are gone", async () => {
    const gone = new Uint8Array(8);
    structuredClone(gone, { transfer: [gone.buffer] });
    const pool = openPool({ max: 1 });
    for (const [chunk, outcome] of [
      ["text", "ERR_INVALID_ARG_TYPE"],
      [7, "ERR_INVALID_ARG_TYPE"],
      [null, "ERR_INVALID_ARG_TYPE"],
      [new Map(), "ERR_INVALID_ARG_TYPE"],
    ] as const) {
      const { stream, seen } = chunkSource([pattern(10), chunk]);
      expect(await codeOf(pieces(stream, pool))).toBe(outcome);
      expect([seen.canceled.length, stream.locked]).toEqual([1, false]);
      expectWhole(pool);
    }
    const late = pattern(100);
    const read = readInto(chunkSource([late]).stream, pool);
    const first = (await read.next()).value as MediaBuffer;
    structuredClone(late, { transfer: [late.buffer] });
    first.release();
    expect(await codeOf(read.next())).toBe("ERR_DETACHED");
    expectWhole(pool);
  });

  it("takes other views than Uint8Array, and shared ones", async () => {
    const shared = new Uint8Array(new SharedArrayBuffer(10));
    shared.set(pattern(10));
    const floats = new Float32Array([1, 2, 3]);
    const pool = openPool();
    const { stream } = chunkSource([shared, floats, new DataView(pattern(5).buffer, 2), pattern(3).buffer]);
    const expected = joined([pattern(10), new Uint8Array(floats.buffer), pattern(3, 2), pattern(3)]);
    expect(joined(await pieces(stream, pool)).equals(expected)).toBe(true);
  });

  it("ends with the pool, and gives nothing to a pool that is closed", async () => {
    for (const make of [() => byteSource(pattern(1000)), () => chunkSource([pattern(1000), pattern(100)])]) {
      const { stream, seen } = make();
      const pool = openPool({ max: 2 });
      const read = readInto(stream, pool);
      ((await read.next()).value as MediaBuffer).release();
      pool.close({ force: true });
      expect(await codeOf(read.next())).toBe("ERR_POOL_DEAD");
      expect([seen.canceled.length, stream.locked]).toEqual([1, false]);
    }
    // Closed by force under a read: the bytes that come then belong to nobody.
    const { stream, seen } = byteSource(pattern(1000));
    let go = (): void => {};
    seen.hold = new Promise<void>((resolve) => {
      go = resolve;
    });
    const pool = openPool({ max: 1 });
    const reading = readInto(stream, pool).next();
    await settle();
    pool.close({ force: true });
    go();
    expect(await codeOf(reading)).toBe("ERR_POOL_DEAD");
    expect([seen.canceled.length, stream.locked, pool.stats().outstanding]).toEqual([1, false, 0]);
  });

  it("starves with the pool's own report", async () => {
    const pool = openPool({ max: 1 });
    const lease = await pool.acquire({ tag: "keeper" });
    const { stream, seen } = byteSource(pattern(10));
    expect(await codeOf(readInto(stream, pool, { timeout: 0 }).next())).toBe("ERR_STARVED");
    expect([seen.canceled.length, stream.locked]).toEqual([1, false]);
    lease.release();
    expectWhole(pool);
  });

  it("refuses wrong arguments at the call, before it touches the stream", () => {
    const pool = openPool();
    const { stream } = byteSource(pattern(10));
    const locked = byteSource(pattern(10)).stream;
    locked.getReader();
    expect([
      code(() => readInto(null as never, pool)),
      code(() => readInto(new Uint8Array(4) as never, pool)),
      code(() => readInto(locked, pool)),
      code(() => readInto(stream, {} as never)),
      code(() => readInto(stream, PagePool.create() as never)),
      code(() => readInto(stream, pool, null as never)),
      code(() => readInto(stream, pool, { sginal: undefined } as never)),
      code(() => readInto(stream, pool, { timeout: -1 })),
      code(() => readInto(stream, pool, { min: 0 })),
      code(() => readInto(stream, pool, { signal: {} as never })),
    ]).toEqual([
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_VALUE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_VALUE",
      "ERR_OUT_OF_RANGE",
      "ERR_OUT_OF_RANGE",
      "ERR_INVALID_ARG_TYPE",
    ]);
    expect(stream.locked).toBe(false);
  });

  it("says at its first turn that somebody else has locked the stream meanwhile", async () => {
    const { stream } = byteSource(pattern(10));
    const read = readInto(stream, openPool());
    const reader = stream.getReader();
    expect(await codeOf(read.next())).toBe("ERR_INVALID_ARG_VALUE");
    reader.releaseLock();
  });

  it("reads from a stream of another make with a reader of its own, and never gives it a slot", async () => {
    const chunks = [pattern(100), pattern(28, 100)];
    const asked: unknown[] = [];
    const foreign = {
      locked: false,
      getReader: (options?: unknown) => {
        asked.push(options);
        return {
          closed: never(),
          read: () => Promise.resolve(chunks.length > 0 ? { done: false, value: chunks.shift() } : { done: true }),
          cancel: () => Promise.resolve(),
          releaseLock: () => {},
        };
      },
    };
    const pool = openPool();
    const read = await pieces(foreign as never, pool);
    expect([read.length, joined(read).equals(pattern(128)), asked]).toEqual([2, true, [undefined]]);
    expectWhole(pool);
  });

  it("copies where the platform has no BYOB reader", async () => {
    vi.stubGlobal("ReadableStreamBYOBReader", undefined);
    onTestFinished(() => void vi.unstubAllGlobals());
    const pool = openPool({ max: 1 });
    const view = pool.tryAcquire()!;
    const kept = view.bytes;
    view.release();
    const read = await pieces(new Blob([pattern(100)]).stream(), pool);
    expect([joined(read).equals(pattern(100)), kept.length]).toEqual([true, 64]);
    expectWhole(pool);
  });

  it("reads the body of a fetch, and hangs up when it is left", async () => {
    const bytes = pattern(300_000);
    const closed: Promise<unknown>[] = [];
    const url = await serve((request, response) => {
      if (request.url === "/endless") {
        closed.push(new Promise((resolve) => response.once("close", resolve)));
        const write = (): void => {
          while (response.write(bytes));
          response.once("drain", write);
        };
        write();
      } else response.end(bytes);
    });
    const pool = openPool({ size: 65_536, max: 2 });
    const read = await pieces((await fetch(url)).body!, pool);
    expect(read.map(({ length }) => length)).toEqual([65_536, 65_536, 65_536, 65_536, 37_856]);
    expect(joined(read).equals(bytes)).toBe(true);
    for await (const buffer of readInto((await fetch(`${url}/endless`)).body!, pool)) {
      buffer.release();
      break;
    }
    await Promise.all(closed);
    expect(closed.length).toBe(1);
    expect(pool.stats()).toMatchObject({ outstanding: 0 });
  });
});

async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Leases with a pattern that goes on from one to the next. */
function leasesOf(pool: BufferPool, sizes: readonly number[]): MediaBuffer[] {
  let at = 0;
  return sizes.map((size) => {
    const buffer = pool.tryAcquire()!;
    if (size < buffer.size) buffer.resize(0, size);
    buffer.fill(0, pattern(size, at));
    at += size;
    return buffer;
  });
}

async function bytesOf(stream: ReadableStream): Promise<Uint8Array> {
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

describe("toReadable", () => {
  it("is the bytes of the leases, each released behind its last byte", async () => {
    const pool = openPool({ size: 64, max: 4 });
    expect(await bytesOf(toReadable(leasesOf(pool, [64, 1, 0, 30])))).toEqual(pattern(95));
    expect(await bytesOf(toReadable([]))).toEqual(new Uint8Array(0));
    async function* later(): AsyncGenerator<MediaBuffer> {
      for (const lease of leasesOf(pool, [10, 64])) yield lease;
    }
    expect(await bytesOf(toReadable(later(), { chunkSize: 7 }))).toEqual(pattern(74));
    expectWhole(pool);
  });

  it("writes into the buffers of a BYOB reader, and releases on the way", async () => {
    const pool = openPool({ size: 64, max: 3 });
    const stream = toReadable(leasesOf(pool, [64, 64, 10]));
    const reader = stream.getReader({ mode: "byob" });
    const lengths: number[] = [];
    const outstanding: number[] = [];
    const read: Uint8Array[] = [];
    for (const length of [40, 40, 100, 100, 100]) {
      const { done, value } = await reader.read(new Uint8Array(length));
      if (done) break;
      read.push(value);
      lengths.push(value.length);
      outstanding.push(pool.outstanding);
    }
    // One lease a read, at most.
    expect([lengths, outstanding]).toEqual([
      [40, 24, 64, 10],
      [3, 2, 1, 0],
    ]);
    expect(joined(read).equals(pattern(138))).toBe(true);
    expectWhole(pool);
  });

  it("never gives the reader a slot's memory: what was read and what is leased next are apart", async () => {
    const pool = openPool({ size: 64, max: 1 });
    const [lease] = leasesOf(pool, [64]);
    const view = lease!.bytes;
    const reader = toReadable([lease!]).getReader();
    const { value } = await reader.read();
    expect([value!.length, view.length]).toEqual([64, 64]);
    expect(value!.buffer === view.buffer).toBe(false);
    value!.fill(255);
    expect(pool.tryAcquire()!.bytes).toEqual(pattern(64));
  });

  it("asks for nothing before it is read, and for one lease at a time", async () => {
    const pool = openPool({ size: 64, max: 2 });
    let asked = 0;
    async function* source(): AsyncGenerator<MediaBuffer> {
      for (; asked < 10; ) {
        asked++;
        yield await pool.acquire();
      }
    }
    const reader = toReadable(source(), { chunkSize: 64 }).getReader();
    await settle();
    expect([asked, pool.outstanding]).toEqual([0, 0]);
    for (let read = 1; read <= 4; read++) {
      await reader.read();
      await settle();
      expect([asked, pool.outstanding]).toEqual([read, 0]);
    }
    await reader.cancel();
    expectWhole(pool);
  });

  it("releases everything when it is canceled, and ends its source", async () => {
    const pool = openPool({ size: 64, max: 4 });
    const list = toReadable(leasesOf(pool, [64, 64, 64]), { chunkSize: 10 });
    const reader = list.getReader();
    await reader.read();
    expect(pool.outstanding).toBe(3);
    await reader.cancel("enough");
    expect(pool.outstanding).toBe(0);
    // Canceled before the first read: the list is the stream's all the same.
    await toReadable(leasesOf(pool, [64, 64])).cancel();
    expect(pool.outstanding).toBe(0);
    let ended = 0;
    const iterator: AsyncIterable<MediaBuffer> & AsyncIterator<MediaBuffer> = {
      [Symbol.asyncIterator]: () => iterator,
      next: async () => ({ done: false, value: await pool.acquire() }),
      return: async () => {
        ended++;
        return { done: true, value: undefined };
      },
    };
    const endless = toReadable(iterator, { chunkSize: 10 }).getReader();
    await endless.read();
    expect(pool.outstanding).toBe(1);
    await endless.cancel();
    expect([ended, pool.outstanding]).toEqual([1, 0]);
    expectWhole(pool);
  });

  it("releases a lease that comes after it was canceled", async () => {
    const pool = openPool({ size: 64, max: 1 });
    let give = (_: IteratorResult<MediaBuffer>): void => {};
    let ended = 0;
    const iterator = {
      [Symbol.asyncIterator]: () => iterator,
      next: () =>
        new Promise<IteratorResult<MediaBuffer>>((resolve) => {
          give = resolve;
        }),
      return: () => Promise.resolve({ done: true as const, value: ended++ as never }),
    };
    const reader = toReadable(iterator).getReader();
    const read = reader.read();
    await settle();
    await reader.cancel();
    expect([ended, (await read).done]).toEqual([1, true]);
    give({ done: false, value: pool.tryAcquire()! });
    await settle();
    expectWhole(pool);
  });

  it("fails with the signal's reason, before, during and between reads, with every lease back", async () => {
    const reason = new Error("stop");
    const pool = openPool({ size: 64, max: 4 });
    const before = toReadable(leasesOf(pool, [64, 64]), { signal: AbortSignal.abort(reason) });
    await expect(before.getReader().read()).rejects.toBe(reason);
    expect(pool.outstanding).toBe(0);
    const stop = new AbortController();
    const between = toReadable(leasesOf(pool, [64, 64]), { signal: stop.signal, chunkSize: 10 }).getReader();
    await between.read();
    stop.abort(reason);
    expect(pool.outstanding).toBe(0);
    await expect(between.read()).rejects.toBe(reason);
    let ended = 0;
    const wait = new AbortController();
    const iterator = {
      [Symbol.asyncIterator]: () => iterator,
      next: never,
      return: () => Promise.resolve({ done: true as const, value: ended++ as never }),
    };
    const during = toReadable(iterator, { signal: wait.signal }).getReader().read();
    await settle();
    wait.abort(reason);
    await expect(during).rejects.toBe(reason);
    expect(ended).toBe(1);
    expectWhole(pool);
  });

  it("fails with what its source throws, and with what is not a lease, and releases the rest", async () => {
    const pool = openPool({ size: 64, max: 4 });
    const failure = new Error("no more frames");
    async function* failing(): AsyncGenerator<MediaBuffer> {
      yield pool.tryAcquire()!;
      throw failure;
    }
    await expect(bytesOf(toReadable(failing()))).rejects.toBe(failure);
    async function* strange(): AsyncGenerator<MediaBuffer> {
      yield pool.tryAcquire()!;
      yield new Uint8Array(4) as never;
    }
    expect(await codeOf(bytesOf(toReadable(strange())))).toBe("ERR_INVALID_ARG_TYPE");
    // Released by somebody else under the stream.
    const [first, second] = leasesOf(pool, [64, 64]);
    const stream = toReadable([first!, second!]);
    first!.release();
    expect(await codeOf(bytesOf(stream))).toBe("ERR_USE_AFTER_RELEASE");
    // Twice in one list.
    const [twice] = leasesOf(pool, [64]);
    expect(await codeOf(bytesOf(toReadable([twice!, twice!])))).toBe("ERR_USE_AFTER_RELEASE");
    // A mapping keeps a lease from its release: the stream says so, and the others are back; that one is with unmap().
    const [mapped, other] = leasesOf(pool, [64, 64]);
    const mapping = mapped!.map("read");
    expect(await codeOf(bytesOf(toReadable([mapped!, other!])))).toBe("ERR_MAPPED");
    expect(pool.outstanding).toBe(1);
    mapping.unmap();
    pool.close();
    const dead = openPool({ size: 64, max: 1 });
    const over = toReadable(leasesOf(dead, [64]));
    dead.close({ force: true });
    expect(await codeOf(bytesOf(over))).toBe("ERR_POOL_DEAD");
  });

  it("goes through the platform's own pipes, and into two readers", async () => {
    const pool = openPool({ size: 64, max: 4 });
    const list = leasesOf(pool, [64, 64, 10]);
    const packed = toReadable(list).pipeThrough(new CompressionStream("gzip"));
    expect(await bytesOf(packed.pipeThrough(new DecompressionStream("gzip")))).toEqual(pattern(138));
    const [one, two] = toReadable(leasesOf(pool, [64, 20])).tee();
    expect(await Promise.all([bytesOf(one), bytesOf(two)])).toEqual([pattern(84), pattern(84)]);
    // A pipe that breaks releases what is left.
    const broken = toReadable(leasesOf(pool, [64, 64, 64])).pipeTo(
      new WritableStream({ write: () => Promise.reject(new Error("full")) }),
    );
    await expect(broken).rejects.toThrow("full");
    expectWhole(pool);
  });

  it("says where there are no streams, and takes nothing over", () => {
    const pool = openPool({ size: 64, max: 1 });
    const [lease] = leasesOf(pool, [64]);
    vi.stubGlobal("ReadableStream", undefined);
    onTestFinished(() => void vi.unstubAllGlobals());
    expect(code(() => toReadable([lease!]))).toBe("ERR_UNSUPPORTED");
    lease!.release();
    pool.close();
  });

  it("takes no lease of a list that it refuses", () => {
    const pool = openPool({ size: 64, max: 1 });
    const [lease] = leasesOf(pool, [64]);
    expect([
      code(() => toReadable(null as never)),
      code(() => toReadable(7 as never)),
      code(() => toReadable({} as never)),
      code(() => toReadable("leases" as never)),
      code(() => toReadable([lease!, undefined as never])),
      code(() => toReadable([lease!], { chunkSize: 0 })),
      code(() => toReadable([lease!], { chunksize: 4 } as never)),
      code(() => toReadable([lease!], { signal: 5 as never })),
    ]).toEqual([
      ...Array(5).fill("ERR_INVALID_ARG_TYPE"),
      "ERR_OUT_OF_RANGE",
      "ERR_INVALID_ARG_VALUE",
      "ERR_INVALID_ARG_TYPE",
    ]);
    lease!.release();
    pool.close();
  });

  it("carries a stream through one slot, and an upload out of it", async () => {
    const bytes = pattern(10_000);
    const pool = openPool({ size: 64, max: 1 });
    const { stream, seen } = byteSource(bytes, 50);
    expect(await bytesOf(toReadable(readInto(stream, pool)))).toEqual(bytes);
    // Canceled before it is read: the stream behind it hears of it.
    const unread = byteSource(bytes);
    await toReadable(readInto(unread.stream, pool)).cancel();
    expect([seen.canceled.length, unread.seen.canceled.length]).toEqual([0, 1]);
    const url = await serve(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      response.end(String(Buffer.concat(chunks).equals(bytes)));
    });
    const body = toReadable(readInto(new Blob([bytes]).stream(), pool));
    const answer = await fetch(url, { method: "POST", body, duplex: "half" } as RequestInit);
    expect(await answer.text()).toBe("true");
    expectWhole(pool);
  });
});
