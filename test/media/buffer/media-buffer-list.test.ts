// Shares its realm with other files: nothing that it changes outlives it.
/** A list of buffers whose buffers misbehave, or call back: nothing is lost, and nothing is released twice. */
import { describe, expect, it } from "vitest";
import { Allocator, BufferPool, MediaBuffer, MediaBufferList, Region } from "../../../src/index.ts";
import { code } from "../../pools/buffer/pools.ts";

function detach(buffer: MediaBuffer): void {
  const bytes = buffer.bytes.buffer as ArrayBuffer;
  structuredClone(bytes, { transfer: [bytes] });
}

const make = (): BufferPool => BufferPool.create({ size: 64, max: 3 });

describe("a list with a buffer whose release fails", () => {
  it.each([
    ["release", (list: MediaBufferList) => list.release()],
    ["using", (list: MediaBufferList) => list[Symbol.dispose]()],
  ])("releases all the others, says what failed, and is over: %s", (_, end) => {
    const pool = make();
    const list = new MediaBufferList([1, 2, 3].map(() => pool.tryAcquire()!));
    detach(list.at(0));
    expect(code(() => end(list))).toBe("ERR_DETACHED");
    expect([pool.outstanding, list.refCount]).toEqual([0, 0]);
    expect(code(() => list.release())).toBe("ERR_DOUBLE_RELEASE");
    for (let i = 0; i < 3; i++) expect(pool.tryAcquire()).toBeDefined();
    pool.validate();
  });

  it("takes all of them out", () => {
    const pool = make();
    const list = new MediaBufferList([1, 2, 3].map(() => pool.tryAcquire()!));
    detach(list.at(0));
    expect(code(() => list.remove(0, 2))).toBe("ERR_DETACHED");
    expect([pool.outstanding, list.length]).toEqual([1, 1]);
    list.release();
  });

  it("releases those that were not released behind its back", () => {
    const pool = make();
    const list = new MediaBufferList([1, 2, 3].map(() => pool.tryAcquire()!));
    list.at(1).release();
    expect(code(() => list.release())).toBe("ERR_DOUBLE_RELEASE");
    expect([pool.outstanding, list.refCount]).toEqual([0, 0]);
  });

  it("says all that failed at once", () => {
    const pool = make();
    const list = new MediaBufferList([1, 2].map(() => pool.tryAcquire()!));
    for (const buffer of list) detach(buffer);
    expect(() => list.release()).toThrow(AggregateError);
    expect(pool.outstanding).toBe(0);
  });
});

describe("a list with a mapped buffer", () => {
  it("is not released, also when the buffer stands in it twice, and can be released afterwards", () => {
    const pool = make();
    const buffer = pool.tryAcquire()!;
    const list = new MediaBufferList([pool.tryAcquire()!, buffer, buffer.retain()]);
    const mapping = buffer.map("read");
    expect(code(() => list.release())).toBe("ERR_MAPPED");
    expect(list.refCount).toBe(1);
    mapping.unmap();
    list.release();
    expect([pool.outstanding, list.refCount]).toEqual([0, 0]);
  });
});

describe("a listener of a buffer's release", () => {
  it("finds a list that is over", () => {
    const pool = make();
    const other = pool.tryAcquire()!;
    const list = new MediaBufferList([pool.tryAcquire()!]);
    const said: unknown[] = [];
    pool.on("release", () =>
      said.push(
        code(() => list.release()),
        code(() => list.insert(other)),
        list.refCount,
      ),
    );
    list.release();
    expect(said).toEqual(["ERR_DOUBLE_RELEASE", "ERR_USE_AFTER_RELEASE", 0]);
    expect([list.refCount, pool.outstanding]).toEqual([0, 1]);
    expect(code(() => list.length)).toBe("ERR_USE_AFTER_RELEASE");
  });
});

describe("a copy that fails", () => {
  it("gives back the memory of the buffers that it had copied", () => {
    let made = 0;
    class Fourth extends Allocator {
      constructor() {
        super("fourth");
      }
      protected override allocateRegion(size: number): Region | undefined {
        return ++made === 4 ? undefined : new Region(new Uint8Array(size));
      }
      protected override freeRegion(): void {}
    }
    const allocator = new Fourth();
    const list = new MediaBufferList([8, 8].map((size) => MediaBuffer.allocate(size, { allocator })));
    expect(code(() => list.copy({ deep: true }))).toBe("ERR_ALLOCATION_FAILED");
    list.release();
    expect(allocator.stats().liveMemories).toBe(0);
  });

  it("gives back the references that it took", () => {
    const pool = make();
    const first = pool.tryAcquire()!;
    const second = pool.tryAcquire()!;
    const list = new MediaBufferList([first, second]);
    second.release();
    expect(code(() => list.copy())).toBe("ERR_USE_AFTER_RELEASE");
    expect(first.refCount).toBe(1);
  });

  it("is not disturbed by an allocator that calls back into the list", () => {
    const said: unknown[] = [];
    let list: MediaBufferList | undefined;
    class Calls extends Allocator {
      constructor() {
        super("calls");
      }
      protected override allocateRegion(size: number): Region {
        if (list !== undefined)
          said.push(
            code(() => list!.release()),
            code(() => list!.remove(0)),
          );
        return new Region(new Uint8Array(size));
      }
      protected override freeRegion(): void {}
    }
    const allocator = new Calls();
    const made = new MediaBufferList([8, 8].map((size) => MediaBuffer.allocate(size, { allocator })));
    list = made;
    const copy = made.copy({ deep: true });
    expect(said).toEqual(Array(4).fill("ERR_REENTRANT"));
    list = undefined;
    made.release();
    copy.release();
    expect(allocator.stats().liveMemories).toBe(0);
  });
});
