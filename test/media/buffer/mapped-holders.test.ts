/**
 * One rule for whatever holds the last reference of something mapped: it refuses before anything has changed, or the
 * reference passes to the mapping. Every holder of the library against every way to hold the bytes.
 */
import { Writable } from "node:stream";
import { describe, expect, it } from "vitest";
import { frameWriter } from "../../../src/adapters/node/streams/frame-writer.ts";
import { toReadable } from "../../../src/adapters/web-streams.ts";
import {
  CFGetRetainCount,
  CFRelease,
  type CFTypeRef,
  CMBlockBufferAppendBufferReference,
  CMBlockBufferCreateEmpty,
  CMBlockBufferCreateWithBufferReference,
  CMBlockBufferCreateWithMemoryBlock,
  type CMBufferCallbacks,
  CMBufferQueueCreate,
  CMBufferQueueEnqueue,
  CMBufferQueueGetBufferCount,
  CMBufferQueueGetCallbacksForUnsortedSampleBuffers,
  CMBufferQueueInstallTriggerWithIntegerThreshold,
  CMBufferQueueReset,
  CMBufferQueueResetWithCallback,
  kCMBufferQueueTrigger_WhenBufferCountBecomesGreaterThan,
} from "../../../src/compat/coremedia.ts";
import { Memory as GstMemory, MapFlags } from "../../../src/compat/gstreamer.ts";
import { BufferPool, MediaBuffer, MediaBufferList, type Memory, PagePool } from "../../../src/index.ts";
import { ParentBufferMeta } from "../../../src/meta.ts";
import { AppSource, byteFormat, Caps, NullSink, Pipeline, Sink, Transform } from "../../../src/pipeline.ts";
import { uncaughtErrors } from "../../helpers/late-errors.ts";

/** What an end did: nothing is decided by the time that it took. */
interface Holder {
  /** Takes over the reference, the only one. */
  take(buffer: MediaBuffer): (() => unknown) | Promise<() => unknown>;
  /** True where the end is refused, and may be tried again. */
  refuses?: boolean;
}

const queueOf = <T extends CFTypeRef>(...items: T[]) => {
  const callbacks = { getDuration: () => 0n } as unknown as CMBufferCallbacks<T>;
  const queue = CMBufferQueueCreate<T>(0, callbacks);
  for (const item of items) {
    CMBufferQueueEnqueue(queue, item);
    CFRelease(item);
  }
  return queue;
};

const childOf = (parent: MediaBuffer, child = MediaBuffer.wrap(new Uint8Array(8))): MediaBuffer => {
  child.addMeta(ParentBufferMeta, parent);
  parent.release();
  return child;
};

const HOLDERS: Record<string, Holder> = {
  "a caller": { take: (buffer) => () => buffer.release(), refuses: true },
  "a caller, by the pool": { take: (buffer) => () => (buffer.pool as BufferPool).release(buffer), refuses: true },
  "a MediaBufferList": {
    take: (buffer) => {
      const list = new MediaBufferList([buffer]);
      return () => list.release();
    },
    refuses: true,
  },
  "a MediaBufferList, one removed": {
    take: (buffer) => {
      const list = new MediaBufferList([MediaBuffer.wrap(new Uint8Array(8)), buffer]);
      return () => list.remove(0, 2);
    },
    refuses: true,
  },
  "a ParentBufferMeta whose buffer goes": {
    take: (buffer) => {
      const child = childOf(buffer);
      return () => child.release();
    },
  },
  "a ParentBufferMeta that is removed": {
    take: (buffer) => {
      const child = MediaBuffer.wrap(new Uint8Array(8));
      const meta = child.addMeta(ParentBufferMeta, buffer)!;
      buffer.release();
      return () => expect(child.removeMeta(meta)).toBe(true);
    },
  },
  "two ParentBufferMetas of one buffer": {
    take: (buffer) => {
      const child = MediaBuffer.wrap(new Uint8Array(8));
      child.addMeta(ParentBufferMeta, buffer);
      childOf(buffer, child);
      return () => child.release();
    },
  },
  "a chain of ParentBufferMetas": {
    take: (buffer) => {
      const child = childOf(childOf(childOf(buffer)));
      return () => child.release();
    },
  },
  "a ParentBufferMeta of a pool's buffer": {
    take: (buffer) => {
      const pool = BufferPool.create({ size: 8, max: 1 });
      const child = childOf(buffer, pool.tryAcquire()!);
      return () => child.release();
    },
  },
  "a ParentBufferMeta of a pool that is closed by force": {
    take: (buffer) => {
      const pool = BufferPool.create({ size: 8, max: 1 });
      childOf(buffer, pool.tryAcquire()!);
      return () => pool.close({ force: true });
    },
  },
  "a CMBufferQueue that is reset": {
    take: (buffer) => {
      const queue = queueOf(MediaBuffer.wrap(new Uint8Array(8)), buffer, MediaBuffer.wrap(new Uint8Array(8)));
      return () => {
        CMBufferQueueReset(queue);
        expect(CMBufferQueueGetBufferCount(queue)).toBe(0);
      };
    },
  },
  "a CMBufferQueue that is reset with a callback": {
    take: (buffer) => {
      const queue = queueOf(buffer);
      return () => CMBufferQueueResetWithCallback(queue, () => {}, null);
    },
  },
  "a CMBufferQueue that is released": {
    take: (buffer) => {
      const queue = queueOf(buffer);
      return () => CFRelease(queue);
    },
  },
  "a CMBufferQueue in a CMBufferQueue": {
    take: (buffer) => {
      const queue = queueOf(queueOf(buffer));
      return () => CFRelease(queue);
    },
  },
  "a CMBufferQueue in another one that is released by its own trigger": {
    take: async (buffer) => {
      const inner = CMBufferQueueCreate(0, CMBufferQueueGetCallbacksForUnsortedSampleBuffers());
      const outer = queueOf(inner);
      const condition = kCMBufferQueueTrigger_WhenBufferCountBecomesGreaterThan;
      let armed = false;
      CMBufferQueueInstallTriggerWithIntegerThreshold(inner, () => armed && CFRelease(outer), null, condition, 0);
      armed = true;
      return async () => {
        CMBufferQueueEnqueue(inner, buffer);
        buffer.release();
        await new Promise((resolve) => setImmediate(resolve));
        expect([CFGetRetainCount(outer), CFGetRetainCount(inner)]).toEqual([0, 0]);
      };
    },
  },
  "an AppSource that is stopped": {
    take: (buffer) => async () => {
      const stop = new AbortController();
      class Stops extends NullSink {
        override configure(): void {
          stop.abort(new Error("enough"));
        }
      }
      const pipeline = new Pipeline().link(new AppSource([buffer], { format: byteFormat(64) }), new Stops());
      await expect(pipeline.run({ signal: stop.signal })).rejects.toThrow("enough");
    },
  },
  "a Sink": {
    take: (buffer) => async () => {
      const pipeline = new Pipeline().link(new AppSource([buffer], { format: byteFormat(64) }), new NullSink());
      await expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_MAPPED" });
    },
  },
  "a Sink that throws": {
    take: (buffer) => async () => {
      class Throws extends Sink {
        render(): void {
          throw new Error("render");
        }
      }
      const pipeline = new Pipeline().link(new AppSource([buffer], { format: byteFormat(64) }), new Throws());
      await expect(pipeline.run()).rejects.toThrow("render");
    },
  },
  "a NullSink that retains": {
    take: (buffer) => async () => {
      const sink = new NullSink({ retainedBuffers: 1 });
      await new Pipeline().link(new AppSource([buffer], { format: byteFormat(64) }), sink).run();
    },
  },
  "a Sink that keeps the last": {
    take: (buffer) => async () => {
      class Keeps extends Sink {
        constructor() {
          super("keeps", Caps.any, { keepLast: true });
        }
        render(): void {}
      }
      const pipeline = new Pipeline().link(new AppSource([buffer], { format: byteFormat(64) }), new Keeps());
      await pipeline.run().catch((error: unknown) => expect(error).toMatchObject({ code: "ERR_MAPPED" }));
    },
  },
  "a Transform that drops": {
    take: (buffer) => async () => {
      class Drops extends Transform {
        constructor() {
          super("drops", { mode: "passthrough" });
        }
        override inspect(): false {
          return false;
        }
      }
      const source = new AppSource([buffer], { format: byteFormat(64) });
      const pipeline = new Pipeline().link(source, new Drops(), new NullSink());
      await expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_MAPPED" });
    },
  },
  "toReadable of a list that is canceled": {
    take: (buffer) => async () => {
      await toReadable([buffer]).cancel();
    },
  },
  "a frameWriter": {
    take: (buffer) => async () => {
      const writer = frameWriter(new Writable({ write: (_chunk, _encoding, done) => done() }));
      await expect(writer.write(buffer)).rejects.toMatchObject({ code: "ERR_MAPPED" });
    },
  },
};

/** How the bytes are in use while the holder ends. */
const USES: Record<string, (buffer: MediaBuffer) => () => void> = {
  "map()": (buffer) => {
    const mapping = buffer.map("read");
    return () => {
      expect(mapping.bytes[0]).toBe(7);
      mapping.unmap();
    };
  },
  "two map()": (buffer) => {
    const both = [buffer.map("read"), buffer.map("read")];
    return () => {
      for (const mapping of both) {
        expect(mapping.bytes[0]).toBe(7);
        mapping.unmap();
      }
    };
  },
  "lock()": (buffer) => {
    const view = buffer.lock("read");
    return () => {
      expect(view[0]).toBe(7);
      buffer.unlock("read");
      expect(() => buffer.unlock("read")).toThrow();
    };
  },
};

/** Where the buffer is from, and whether it is back. */
const ORIGINS: Record<string, () => { buffer: MediaBuffer; out: () => number; close: () => unknown }> = {
  "a pool": () => {
    const pool = BufferPool.create({ size: 64, max: 1 });
    const buffer = pool.tryAcquire()!;
    return {
      buffer,
      close: () => pool.close({ force: true }),
      out: () => {
        pool.validate();
        const next = pool.tryAcquire();
        next?.release();
        expect(next === undefined).toBe(pool.outstanding === 1);
        return pool.outstanding;
      },
    };
  },
  "a pool with hooks": () => {
    class Hooked extends BufferPool {
      protected override recycle(): boolean {
        return true;
      }
    }
    const pool = Hooked.create({ size: 64, max: 1 });
    const close = () => pool.close({ force: true });
    return { buffer: pool.tryAcquire()!, close, out: () => pool.outstanding };
  },
  "an allocator": () => {
    const pages = PagePool.create({ max: 1 });
    return {
      buffer: MediaBuffer.allocate(64, { allocator: pages.allocator }),
      close: () => pages.close({ force: true }),
      out: () => pages.stats().live,
    };
  },
};

const uncaught = uncaughtErrors();

describe.each(Object.keys(ORIGINS))("a buffer of %s", (origin) => {
  describe.each(Object.keys(USES))("that %s has in use", (use) => {
    it.each(Object.keys(HOLDERS))("is refused as it was, or comes back with the last unmap(): %s", async (name) => {
      const { buffer, out } = ORIGINS[origin]!();
      if (name === "a caller, by the pool" && origin === "an allocator") return;
      const { take, refuses = false } = HOLDERS[name]!;
      buffer.bytes[0] = 7;
      const end = await take(buffer);
      const stop = USES[use]!(buffer);
      let error: { code?: string } | undefined;
      try {
        await end();
      } catch (thrown) {
        if (!refuses) throw thrown;
        error = thrown as { code?: string };
      }
      expect([error?.code, buffer.isLive, out()]).toEqual([refuses ? "ERR_MAPPED" : undefined, refuses, 1]);
      stop();
      if (refuses) await end();
      await new Promise((resolve) => setImmediate(resolve));
      expect([buffer.isLive, out(), uncaught]).toEqual([false, 0, []]);
    });
  });
});

describe.each(Object.keys(ORIGINS))("a buffer of %s that was closed by force", (origin) => {
  it.each(Object.keys(HOLDERS))("is gone for its holder, and nothing is thrown in a later turn: %s", async (name) => {
    const { buffer, close } = ORIGINS[origin]!();
    if (name === "a caller, by the pool" && origin === "an allocator") return;
    const { take } = HOLDERS[name]!;
    const end = await take(buffer);
    close();
    let error: { code?: string } | undefined;
    try {
      await end();
    } catch (thrown) {
      error = thrown as { code?: string };
    }
    await new Promise((resolve) => setImmediate(resolve));
    // Who releases by hand hears of it, at once; the assertions of some holders are for what is mapped.
    expect([undefined, "ERR_POOL_DEAD"]).toContain(error?.code);
    expect([buffer.isLive, uncaught]).toEqual([false, []]);
  });
});

it("a queue that ends in a later turn with a buffer whose pool was closed by force throws nothing there", async () => {
  const pool = BufferPool.create({ size: 64, max: 1 });
  const inner = CMBufferQueueCreate(0, CMBufferQueueGetCallbacksForUnsortedSampleBuffers());
  const outer = queueOf(inner);
  const condition = kCMBufferQueueTrigger_WhenBufferCountBecomesGreaterThan;
  let armed = false;
  const end = (): void => {
    if (!armed) return;
    CFRelease(outer);
    pool.close({ force: true });
  };
  CMBufferQueueInstallTriggerWithIntegerThreshold(inner, end, null, condition, 0);
  armed = true;
  CMBufferQueueEnqueue(inner, pool.tryAcquire()!);
  await new Promise((resolve) => setImmediate(resolve));
  expect([CFGetRetainCount(outer), CFGetRetainCount(inner), uncaught]).toEqual([0, 0, []]);
});

/** Holders of memories. */
const MEMORY_HOLDERS: Record<string, { take(memory: Memory): () => unknown; refuses?: boolean }> = {
  "a caller": { take: (memory) => () => memory.release(), refuses: true },
  "a sub-memory": {
    take: (memory) => {
      const part = memory.share(0, 8);
      memory.release();
      return () => part.release();
    },
  },
  "a CMBlockBuffer": {
    take: (memory) => {
      const block = CMBlockBufferCreateWithMemoryBlock(null, memory, 64, memory.allocator, null, 0, 64, 0);
      return () => CFRelease(block);
    },
    refuses: true,
  },
  "a CMBlockBuffer in two others": {
    take: (memory) => {
      let block = CMBlockBufferCreateWithMemoryBlock(null, memory, 64, memory.allocator, null, 0, 64, 0);
      for (let i = 0; i < 2; i++) {
        const outer = CMBlockBufferCreateWithBufferReference(null, block, 0, 64, 0);
        CFRelease(block);
        block = outer;
      }
      return () => CFRelease(block);
    },
  },
  "a CMBlockBuffer with it twice": {
    take: (memory) => {
      const block = CMBlockBufferCreateWithMemoryBlock(null, memory, 64, memory.allocator, null, 0, 64, 0);
      const outer = CMBlockBufferCreateEmpty(null, 0, 0);
      for (const at of [0, 32]) CMBlockBufferAppendBufferReference(outer, block, at, 32, 0);
      CFRelease(block);
      return () => CFRelease(outer);
    },
  },
  "a CMBlockBuffer in a CMBufferQueue": {
    take: (memory) => {
      const block = CMBlockBufferCreateWithMemoryBlock(null, memory, 64, memory.allocator, null, 0, 64, 0);
      const queue = queueOf(block);
      return () => CMBufferQueueReset(queue);
    },
  },
  "a GstMapInfo": {
    take: (memory) => {
      const gst = GstMemory.of(memory);
      const [mapped, info] = gst.map(MapFlags.READ | MapFlags.REF_MEMORY);
      expect(mapped).toBe(true);
      memory.release();
      return () => gst.unmap(info);
    },
  },
};

it.each(Object.keys(MEMORY_HOLDERS))(
  "a mapped memory is refused as it was, or freed by its unmap(): %s",
  async (name) => {
    const pages = PagePool.create({ max: 1 });
    const memory = pages.allocate(64);
    const { take, refuses = false } = MEMORY_HOLDERS[name]!;
    const end = take(memory);
    const mapping = memory.map("read");
    let error: { code?: string } | undefined;
    try {
      end();
    } catch (thrown) {
      if (!refuses) throw thrown;
      error = thrown as { code?: string };
    }
    expect([error?.code, memory.refCount, pages.stats().live]).toEqual([refuses ? "ERR_MAPPED" : undefined, 1, 1]);
    expect(mapping.bytes.length).toBe(64);
    mapping.unmap();
    if (refuses) end();
    await new Promise((resolve) => setImmediate(resolve));
    expect([memory.refCount, pages.stats().live, uncaught]).toEqual([0, 0, []]);
  },
);

it("a lock() that outlives its lease ends by the old handle, once, and no other lease hears of it", () => {
  const pool = BufferPool.create({ size: 64, max: 2 });
  const parent = pool.tryAcquire()!;
  const child = childOf(parent);
  parent.lock("write");
  parent.lock("write");
  child.release();
  expect(() => parent.bytes).toThrow(expect.objectContaining({ code: "ERR_USE_AFTER_RELEASE" }));
  expect(() => parent.release()).toThrow(expect.objectContaining({ code: "ERR_DOUBLE_RELEASE" }));
  expect(() => parent.unlock("read")).toThrow(expect.objectContaining({ code: "ERR_OUT_OF_RANGE" }));
  parent.unlock("write");
  expect(pool.outstanding).toBe(1);
  parent.unlock("write");
  expect(pool.outstanding).toBe(0);
  const next = pool.tryAcquire()!;
  next.lock("write");
  expect(() => parent.unlock("write")).toThrow(expect.objectContaining({ code: "ERR_USE_AFTER_RELEASE" }));
  next.unlock("write");
  next.release();
  pool.validate();
});

it("an end by force takes the bytes back from a lock() that has outlived its lease", () => {
  const pages = PagePool.create({ max: 1 });
  const pool = BufferPool.create({ size: 64, max: 1, allocator: pages.allocator });
  const parent = pool.tryAcquire()!;
  const child = childOf(parent);
  parent.lock("write");
  child.release();
  expect([pool.outstanding, pages.stats().live]).toEqual([1, 1]);
  pool.close({ force: true });
  expect([pool.outstanding, pages.stats().live]).toEqual([0, 0]);
  expect(() => parent.unlock("write")).toThrow(expect.objectContaining({ code: "ERR_POOL_DEAD" }));
  pages.close();
});
