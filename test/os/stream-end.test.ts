// Shares its realm with other files: nothing that it changes outlives it.
import { EventEmitter } from "node:events";
import { Readable, Writable } from "node:stream";
import { describe, expect, it } from "vitest";
import { collect } from "../../src/adapters/node/collect.ts";
import { frameWriter } from "../../src/adapters/node/streams/frame-writer.ts";
import { BufferPool, PagePool } from "../../src/index.ts";
import { onReadEnd, watchWrites } from "../../src/os/stream-end.ts";
import { codeOf } from "../helpers/code-of.ts";

/** A Readable as readable-stream@2 and 3 have it: no `readableEnded`, no `errored`, and destroy() "ends" it. */
class Legacy extends EventEmitter {
  readonly _readableState: { endEmitted: boolean } = { endEmitted: false };
  destroyed = false;
  pipe(): void {}
  pause(): void {}
  resume(): void {}
  destroy(): void {
    this.destroyed = true;
    this.emit("end");
  }
}

const legacy = (change: (stream: Legacy) => void = () => {}): Readable => {
  const stream = new Legacy();
  change(stream);
  return stream as unknown as Readable;
};

const pages = (): PagePool => PagePool.create({ maxBytes: 65536 });

/** The stream, with a `_destroy()` of its class that nobody can assign. */
function fixed<T extends Readable | Writable>(stream: T): T {
  const { _destroy: destroy } = stream;
  const between: object = Object.create(Object.getPrototypeOf(stream) as object, { _destroy: { get: () => destroy } });
  delete (stream as Partial<T>)._destroy;
  return Object.setPrototypeOf(stream, between) as T;
}

describe("the end of a stream", () => {
  it("is told once of a stream that fails twice, or behind its end, and no error is left without a receiver", () => {
    for (const first of ["error", "end"]) {
      const readable = new Readable({ read() {} });
      let calls = 0;
      onReadEnd(readable, () => {
        calls++;
      });
      readable.emit(first, new Error("first"));
      expect(() => readable.emit("error", new Error("second")), first).not.toThrow();
      expect([calls, readable.listenerCount("error")], first).toEqual([1, 1]);
      readable.emit("close");
      expect(readable.listenerCount("error"), first).toBe(0);
    }
  });

  it("leaves a receiver of errors until the close of a Writable whose watch was stopped", () => {
    const writable = new Writable({ write() {} });
    const nothing = (): void => {};
    watchWrites(writable, { onFinish: nothing, onError: nothing, onClose: nothing }).stop();
    expect(() => writable.emit("error", new Error("late"))).not.toThrow();
    writable.emit("close");
    expect(writable.listenerCount("error")).toBe(0);
  });

  it("is a cut where an older class of stream ends because it was destroyed", async () => {
    const stream = legacy();
    const collected = codeOf(collect(stream, pages()));
    stream.destroy();
    expect(await collected).toContain("cut off before its end");
  });

  it("is known of an older class of stream that was destroyed or read to its end before", async () => {
    const destroyed = legacy((stream) => stream.destroy());
    const read = legacy((stream) => {
      stream._readableState.endEmitted = true;
    });
    expect(await codeOf(collect(destroyed, pages()))).toBe("ERR_ENDED");
    expect(await codeOf(collect(read, pages()))).toBe("ERR_ENDED");
  });

  it("is seen of a Writable that does not know emitClose, and destroyed by others", async () => {
    const writable = new Writable({ emitClose: false, write() {} });
    const { _writableState: state } = writable as unknown as { _writableState: object };
    Object.defineProperty(state, "emitClose", { value: undefined });
    const pool = BufferPool.create({ size: 10, max: 1 });
    const write = codeOf(frameWriter(writable).write(pool.tryAcquire()!));
    writable.destroy();
    expect(await write).toBe("ERR_ENDED");
    expect(pool.outstanding).toBe(0);
  });

  it("is seen of a silent stream whose _destroy() cannot be assigned", async () => {
    const writable = fixed(new Writable({ emitClose: false, write() {} }));
    const pool = BufferPool.create({ size: 10, max: 1 });
    const write = codeOf(frameWriter(writable).write(pool.tryAcquire()!));
    writable.destroy();
    expect(await write).toBe("ERR_ENDED");
    const readable = fixed(new Readable({ emitClose: false, read() {} }));
    const collected = codeOf(collect(readable, pages()));
    readable.destroy();
    expect(await collected).toContain("cut off before its end");
  });

  it("is not waited for of a Writable whose write() takes no callback, which is refused untouched", () => {
    const streamx = Object.assign(new EventEmitter(), {
      _writableState: { queue: [], buffered: 0 },
      write: (_chunk: unknown) => true,
      end() {},
      destroy() {},
      cork() {},
      uncork() {},
    });
    expect(() => frameWriter(streamx as unknown as Writable)).toThrow(/write\(\) calls back/);
    expect(streamx.eventNames()).toEqual([]);
  });
});
