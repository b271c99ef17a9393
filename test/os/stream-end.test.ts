import { EventEmitter } from "node:events";
import { createReadStream } from "node:fs";
import { Socket } from "node:net";
import { Duplex, type DuplexOptions, PassThrough, Readable, Writable } from "node:stream";
import { describe, expect, it } from "vitest";
import { collect } from "../../src/adapters/node/collect.ts";
import { RawVideoElement } from "../../src/adapters/node/frames-element.ts";
import { frameWriter } from "../../src/adapters/node/streams/frame-writer.ts";
import { frames } from "../../src/adapters/node/streams/frames.ts";
import { ChunkReader } from "../../src/adapters/raw-video/chunk-reader.ts";
import { openRawVideo } from "../../src/adapters/raw-video/raw-video.ts";
import { BufferPool, PagePool } from "../../src/index.ts";
import { onReadEnd, watchWrites } from "../../src/os/stream-end.ts";
import { codeOf } from "../helpers/code-of.ts";
import { lateErrors } from "../helpers/late-errors.ts";

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

describe("a stream that was destroyed before it is handed over", () => {
  type Make = (error: Error | undefined) => Readable & Writable;
  const destroyed: readonly [string, Make][] = [
    ["a Duplex", (error) => new PassThrough().destroy(error) as never],
    ["a Readable", (error) => new Readable({ read() {} }).destroy(error) as never],
    [
      "without close events",
      (error) => new Duplex({ read() {}, write() {}, emitClose: false }).destroy(error) as never,
    ],
    ["a socket", (error) => new Socket().destroy(error) as never],
    ["a file", (error) => createReadStream("/nonexistent").destroy(error) as never],
    [
      "that fails as it closes",
      (error) => {
        const destroy: DuplexOptions["destroy"] = (first, done) => void setImmediate(done, first ?? error ?? null);
        return new Duplex({ read() {}, write() {}, destroy }).destroy() as never;
      },
    ],
  ];
  const takers: readonly [string, (stream: Readable & Writable) => unknown][] = [
    ["collect", (stream) => collect(stream, pages())],
    ["frames", (stream) => frames(stream, 1, { format: "gray", width: 4, height: 4 }).next()],
    ["frames, not asked", (stream) => void frames(stream, 1, { format: "gray", width: 4, height: 4 })],
    ["openRawVideo", (stream) => openRawVideo(stream, { format: "gray", width: 4, height: 4 })],
    ["RawVideoElement", (stream) => void new RawVideoElement(stream)],
    ["ChunkReader, not read", (stream) => new ChunkReader(stream).close()],
  ];

  it("leaves its error to nobody else, in the same tick or later, and rejects with it", async () => {
    for (const [name, make] of destroyed) {
      for (const [taker, take] of takers) {
        for (const turns of [0, 1, 5]) {
          const boom = new Error("boom");
          let rejected: unknown;
          let stream: Readable | undefined;
          const late = await lateErrors(async () => {
            stream = make(boom);
            if (turns > 0) stream.on("error", () => {});
            for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
            await Promise.resolve(take(stream as never)).catch((error: unknown) => {
              rejected = error;
            });
            for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
          });
          const what = `${taker} of ${name}, ${turns} turns after`;
          expect(late, what).toEqual([]);
          const isTold = !["frames, not asked", "RawVideoElement", "ChunkReader, not read"].includes(taker);
          // One that is destroyed without an error, and fails later, says so only to who waits.
          // A file adds what its open() fails with.
          if (isTold && name !== "that fails as it closes") expect(String(rejected), what).toContain("boom");
        }
      }
    }
  });

  it("is refused by frameWriter with its error as the cause, in the same tick or later", async () => {
    const makes: readonly ((error: Error) => Writable)[] = [
      (error) => new Writable({ write() {} }).destroy(error),
      (error) => new Writable({ write() {}, emitClose: false }).destroy(error),
      (error) => new Socket().destroy(error),
    ];
    for (const make of makes) {
      for (const turns of [0, 1, 5]) {
        const boom = new Error("boom");
        let thrown: unknown;
        const late = await lateErrors(async () => {
          const writable = make(boom);
          if (turns > 0) writable.on("error", () => {});
          for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
          try {
            frameWriter(writable);
          } catch (error) {
            thrown = error;
          }
        });
        expect(late).toEqual([]);
        expect(thrown).toMatchObject({ code: "ERR_ENDED", cause: boom });
      }
    }
  });

  it("keeps no listener of errors once it has said that it is closed", async () => {
    for (const turns of [0, 5]) {
      const readable = new Readable({ read() {} });
      readable.on("error", () => {});
      readable.destroy(new Error("boom"));
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
      expect(await codeOf(collect(readable, pages()))).toContain("boom");
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
      expect(readable.listenerCount("error")).toBe(1);
    }
  });

  it("keeps its errors where an argument is refused: then it is still the caller's", async () => {
    const late = await lateErrors(async () => {
      const readable = new Readable({ read() {} }).destroy(new Error("boom"));
      expect(await codeOf(collect(readable, {} as never))).toBe("ERR_INVALID_ARG_TYPE");
    });
    expect(late).toEqual(["boom"]);
  });
});
