// Shares its realm with other files: nothing that it changes outlives it.
/**
 * Who owns a memory, a buffer, a list: what cannot be given is refused when it is given, not at an innocent call later.
 */
import { describe, expect, it } from "vitest";
import { allocators, MediaBuffer, MediaBufferList } from "../../../src/index.ts";
import { ParentBufferMeta } from "../../../src/meta.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { code } from "../../pools/buffer/pools.ts";

const memoryOf = (size = 16) => allocators.find("system")!.allocate(size);
const counts = (memory: { refCount: number; owners: number }): number[] => [memory.refCount, memory.owners];

describe("a memory that its giver holds no reference of", () => {
  const GIVE: Readonly<Record<string, (buffer: MediaBuffer, memory: ReturnType<typeof memoryOf>) => void>> = {
    append: (buffer, memory) => buffer.append(memory),
    prepend: (buffer, memory) => buffer.prepend(memory),
    insert: (buffer, memory) => buffer.insert(1, memory),
    replace: (buffer, memory) => buffer.replace(0, 1, memory),
  };
  for (const [verb, give] of Object.entries(GIVE)) {
    it(`is refused by ${verb}, and nothing has changed`, () => {
      const owner = new MediaBuffer();
      const memory = memoryOf();
      owner.append(memory);
      const other = MediaBuffer.allocate(16);
      const before = other.memories;
      expect(code(() => give(other, memory))).toBe("ERR_FOREIGN_RELEASE");
      expect(other.memories).toEqual(before);
      expect(counts(memory)).toEqual([1, 1]);
      give(other, memory.retain());
      expect(counts(memory)).toEqual([2, 2]);
      other.release();
      owner.release();
      expect(memory.refCount).toBe(0);
    });
  }

  it("is refused when only its sub-memories hold it", () => {
    const memory = memoryOf();
    const part = memory.share(0, 4);
    memory.release();
    const buffer = new MediaBuffer();
    expect(code(() => buffer.append(memory))).toBe("ERR_FOREIGN_RELEASE");
    part.release();
    expect(memory.refCount).toBe(0);
  });

  it("is refused by a full list before anything is merged", () => {
    const buffer = new MediaBuffer();
    for (let i = 0; i < MediaBuffer.maxMemories; i++) buffer.append(memoryOf(1));
    const owner = new MediaBuffer();
    const memory = memoryOf(1);
    owner.append(memory);
    expect(code(() => buffer.insert(3, memory))).toBe("ERR_FOREIGN_RELEASE");
    expect(buffer.memoryCount).toBe(MediaBuffer.maxMemories);
  });
});

describe("the same memory twice in one buffer", () => {
  it("needs a reference for each place, is counted for each, and cannot be written", () => {
    const buffer = new MediaBuffer();
    const memory = memoryOf();
    buffer.append(memory);
    expect(code(() => buffer.append(memory))).toBe("ERR_FOREIGN_RELEASE");
    buffer.append(memory.retain());
    expect(counts(memory)).toEqual([2, 2]);
    expect(memory.isWritable).toBe(false);
    buffer.remove(1, 1);
    expect(counts(memory)).toEqual([1, 1]);
    expect(memory.isWritable).toBe(true);
    buffer.release();
    expect(memory.refCount).toBe(0);
  });

  it("lets a pool's buffer come back", () => {
    const pool = new BufferPool({ name: "twice" });
    pool.configure({ size: 64, max: 1 });
    pool.activate();
    const lease = pool.tryAcquire()!;
    lease.append(lease.memoryAt(0).retain());
    lease.release();
    expect(pool.outstanding).toBe(0);
    pool.validate();
    const copied = pool.tryAcquire()!;
    const copy = copied.copy();
    copied.append(copy);
    expect(copied.memoryCount).toBe(2);
    copied.release();
    expect(pool.outstanding).toBe(0);
    pool.tryAcquire()!.release();
    pool.validate();
  });

  it("and mapped cannot be dropped from under the mapping", () => {
    const buffer = new MediaBuffer();
    const memory = memoryOf();
    buffer.append(memory);
    buffer.append(memory.retain());
    const mapping = memory.map("read");
    expect(code(() => buffer.release())).toBe("ERR_MAPPED");
    expect(code(() => buffer.remove())).toBe("ERR_MAPPED");
    expect(counts(memory)).toEqual([2, 2]);
    buffer.remove(1, 1);
    mapping.unmap();
    buffer.release();
    expect(memory.refCount).toBe(0);
  });
});

describe("a parent buffer", () => {
  it("is refused when it is the buffer itself", () => {
    const buffer = MediaBuffer.allocate(8);
    expect(code(() => buffer.addMeta(ParentBufferMeta, buffer))).toBe("ERR_INVALID_ARG_VALUE");
    expect(buffer.refCount).toBe(1);
    expect(buffer.metas()).toEqual([]);
    buffer.release();
    expect(buffer.isLive).toBe(false);
  });

  it("is refused when it keeps the buffer over any number of parents", () => {
    const [a, b, c] = [1, 2, 3].map(() => MediaBuffer.allocate(8)) as [MediaBuffer, MediaBuffer, MediaBuffer];
    b.addMeta(ParentBufferMeta, a);
    c.addMeta(ParentBufferMeta, b);
    // The metas hold the only references now, so a and b are writable again through their handles.
    a.release();
    b.release();
    expect(code(() => a.addMeta(ParentBufferMeta, c))).toBe("ERR_INVALID_ARG_VALUE");
    expect(code(() => a.addMeta(ParentBufferMeta, b))).toBe("ERR_INVALID_ARG_VALUE");
    expect(code(() => b.addMeta(ParentBufferMeta, c))).toBe("ERR_INVALID_ARG_VALUE");
    expect([a.refCount, b.refCount, c.refCount]).toEqual([1, 1, 1]);
    c.release();
    expect([a.isLive, b.isLive, c.isLive]).toEqual([false, false, false]);
  });

  it("must be a live buffer", () => {
    const buffer = MediaBuffer.allocate(8);
    for (const parent of [undefined, null, 1, {}, Symbol("b")]) {
      expect(code(() => buffer.addMeta(ParentBufferMeta, parent as unknown as MediaBuffer))).toBe(
        "ERR_INVALID_ARG_TYPE",
      );
    }
    const released = MediaBuffer.allocate(8);
    released.release();
    expect(code(() => buffer.addMeta(ParentBufferMeta, released))).toBe("ERR_USE_AFTER_RELEASE");
    buffer.release();
  });
});

describe("a buffer that its holder has mapped for writing", () => {
  for (const mode of ["write", "readwrite"] as const) {
    it(`("${mode}") can be copied, compared and extracted`, () => {
      for (const memories of [1, 3]) {
        const buffer = new MediaBuffer();
        for (let i = 0; i < memories; i++) buffer.append(memoryOf(4));
        buffer.fill(
          0,
          Uint8Array.from({ length: 4 * memories }, (_, i) => i),
        );
        const mappings = buffer.memories.map((memory) => memory.map(mode));
        mappings[0]!.bytes[1] = 77;
        const want = Uint8Array.from({ length: 4 * memories }, (_, i) => (i === 1 ? 77 : i));
        const out = new Uint8Array(4 * memories);
        expect(buffer.extract(0, out)).toBe(out.length);
        expect(out).toEqual(want);
        expect(buffer.compare(0, want)).toBe(0);
        const copy = buffer.copy();
        const deep = buffer.copy({ deep: true });
        const part = buffer.copyRange(1, 2);
        const whole = buffer.joined()!;
        for (const other of [copy, deep]) {
          expect(other.compare(0, want)).toBe(0);
          expect(other.memoryAt(0)).not.toBe(buffer.memoryAt(0));
          other.release();
        }
        expect(part.compare(0, want.subarray(1, 3))).toBe(0);
        part.release();
        whole.release();
        for (const mapping of mappings) {
          expect(mapping.isLive).toBe(true);
          mapping.unmap();
        }
        expect(buffer.memories.some((memory) => memory.isMapped)).toBe(false);
        buffer.release();
      }
    });
  }
});

describe("the buffers of a list with two references", () => {
  it("are not writable, and are again with one", () => {
    const list = new MediaBufferList([MediaBuffer.allocate(4), MediaBuffer.allocate(4)]);
    expect(list.at(0).isWritable).toBe(true);
    list.retain();
    for (const buffer of list) {
      expect(buffer.isWritable).toBe(false);
      expect(code(() => (buffer.pts = 1n))).toBe("ERR_NOT_WRITABLE");
      expect(code(() => buffer.fill(0, new Uint8Array(1)))).toBe("ERR_NOT_WRITABLE");
      expect(code(() => buffer.memoryAt(0).map("write").unmap())).toMatch(/ok|ERR_NOT_WRITABLE/);
      expect(code(() => buffer.bytes)).toBe("ERR_NOT_WRITABLE");
    }
    list.retain();
    list.release();
    expect(list.at(1).isWritable).toBe(false);
    list.release();
    for (const buffer of list) expect(buffer.isWritable).toBe(true);
    list.at(0).pts = 1n;
    const buffers = [...list];
    list.release();
    expect(buffers.map((buffer) => buffer.isLive)).toEqual([false, false]);
  });

  it("are copied by the list's makeWritable() and writableAt(), and none leaks", () => {
    const pool = new BufferPool({ name: "list" });
    pool.configure({ size: 16, max: 4 });
    pool.activate();
    const list = new MediaBufferList([pool.tryAcquire()!, pool.tryAcquire()!]);
    const other = list.retain().makeWritable();
    expect(other).not.toBe(list);
    expect(other.at(0).isWritable).toBe(false);
    const own = other.writableAt(0);
    expect(own.isWritable).toBe(true);
    expect(list.at(0).isWritable).toBe(true);
    expect(list.at(1).isWritable).toBe(false);
    list.release();
    other.release();
    expect(pool.outstanding).toBe(0);
    pool.validate();
  });

  it("that somebody released over the list's head change nothing when the list is retained", () => {
    const list = new MediaBufferList([MediaBuffer.allocate(4), MediaBuffer.allocate(4)]);
    list.at(1).release();
    expect(code(() => list.retain())).toBe("ERR_USE_AFTER_RELEASE");
    expect(list.refCount).toBe(1);
    expect(list.at(0).isWritable).toBe(true);
  });
});
