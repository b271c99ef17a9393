/**
 * A ParentBufferMeta ends with the lease of its buffer: what it keeps comes back, or is gone already, and in silence.
 */
import { describe, expect, it } from "vitest";
import { Buffer as GstBuffer } from "../../../src/compat/gstreamer.ts";
import { BufferPool, MediaBuffer } from "../../../src/index.ts";
import { ParentBufferMeta, registerMeta } from "../../../src/meta.ts";
import { uncaughtErrors } from "../../helpers/late-errors.ts";
import { code } from "../../pools/buffer/pools.ts";

const uncaught = uncaughtErrors();
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("a parent whose pool was closed by force", () => {
  it("is let go of by removeMeta() and by the child's end, and nothing is thrown", async () => {
    const pool = BufferPool.create({ size: 64, max: 2 });
    const children = [MediaBuffer.wrap(new Uint8Array(8)), MediaBuffer.wrap(new Uint8Array(8))];
    const metas = children.map((child) => {
      const parent = pool.tryAcquire()!;
      const meta = child.addMeta(ParentBufferMeta, parent)!;
      parent.release();
      return meta;
    });
    pool.close({ force: true });
    expect(children[0]!.removeMeta(metas[0]!)).toBe(true);
    expect(children[0]!.removeMeta(metas[0]!)).toBe(false);
    for (const child of children) child.release();
    await turn();
    expect(uncaught).toEqual([]);
  });

  it("is not carried by a copy of the child, which is made all the same", async () => {
    const pool = BufferPool.create({ size: 64, max: 1 });
    const child = MediaBuffer.wrap(new Uint8Array(8));
    child.addMeta(ParentBufferMeta, pool.tryAcquire()!);
    pool.close({ force: true });
    const copy = child.copy();
    expect([copy.size, copy.getMeta(ParentBufferMeta)]).toEqual([8, undefined]);
    copy.release();
    child.release();
    await turn();
    expect(uncaught).toEqual([]);
  });

  it.each([
    ["the parent first", false, true],
    ["the child first", true, true],
    ["the parent first, kept by its holder too", false, false],
    ["the child first, the parent kept by its holder too", true, false],
  ])("with the child: %s", async (_name, swapped, lets) => {
    const pool = BufferPool.create({ size: 64, max: 2 });
    const [first, second] = [pool.tryAcquire()!, pool.tryAcquire()!];
    const [parent, child] = swapped ? [second, first] : [first, second];
    child.addMeta(ParentBufferMeta, parent);
    if (lets) parent.release();
    pool.close({ force: true });
    await turn();
    expect([pool.outstanding, uncaught]).toEqual([0, []]);
  });

  it("that a holder released once too often is still told of", async () => {
    const child = MediaBuffer.wrap(new Uint8Array(8));
    const parent = MediaBuffer.wrap(new Uint8Array(8));
    child.addMeta(ParentBufferMeta, parent);
    parent.release();
    parent.release();
    child.release();
    await turn();
    expect(uncaught).toMatchObject([{ code: "ERR_DOUBLE_RELEASE" }]);
  });
});

/** Makes a buffer that has bytes of `buffer`. */
const SHARERS: Record<string, (buffer: MediaBuffer) => MediaBuffer> = {
  "a copy": (buffer) => buffer.copy(),
  "a part": (buffer) => buffer.copyRange(0, 8),
  "a buffer with a sub-memory": (buffer) => {
    const other = MediaBuffer.wrap(new Uint8Array(1));
    other.append(buffer.memoryAt(0).share(0, 8));
    return other;
  },
  "a buffer with the memory": (buffer) => {
    const other = MediaBuffer.wrap(new Uint8Array(1));
    other.append(buffer.memoryAt(0).retain());
    return other;
  },
  "a pool's buffer with a sub-memory": (buffer) => {
    const other = BufferPool.create({ size: 8, max: 1 }).tryAcquire()!;
    other.append(buffer.memoryAt(0).share(0, 8));
    return other;
  },
  "a buffer whose parent is a copy": (buffer) => {
    const other = MediaBuffer.wrap(new Uint8Array(1));
    const copy = buffer.copy();
    other.addMeta(ParentBufferMeta, copy);
    copy.release();
    return other;
  },
};

describe.each(Object.keys(SHARERS))("a lease whose parent has its own bytes (%s)", (name) => {
  const share = SHARERS[name]!;

  it.each(["the parent first", "the lease first"])("comes back when all is released, %s", async (order) => {
    const pool = BufferPool.create({ size: 64, max: 1 });
    const lease = pool.tryAcquire()!;
    const parent = share(lease);
    lease.addMeta(ParentBufferMeta, parent);
    const both = [parent, lease];
    for (const buffer of order === "the parent first" ? both : both.reverse()) buffer.release();
    expect(pool.stats()).toMatchObject({ outstanding: 0, awaitingMemory: 0, free: 1 });
    pool.validate();
    expect(pool.tryAcquire()!.metas()).toEqual([]);
    await turn();
    expect(uncaught).toEqual([]);
  });

  it("comes back with the last unmap()", async () => {
    const pool = BufferPool.create({ size: 64, max: 1 });
    const lease = pool.tryAcquire()!;
    const parent = share(lease);
    lease.addMeta(ParentBufferMeta, parent);
    parent.release();
    const mapping = lease.map("read");
    lease.releaseWhenUnmapped();
    expect([pool.outstanding, mapping.bytes.length]).toEqual([1, 64]);
    mapping.unmap();
    expect(pool.outstanding).toBe(0);
    await turn();
    expect(uncaught).toEqual([]);
  });

  it("comes back from inside a hook of its pool, and of a pool that gives its parent a hook", async () => {
    const inside: (() => void)[] = [];
    class Hooked extends BufferPool {
      protected override recycle(): boolean {
        inside.pop()?.();
        return true;
      }
    }
    const pool = Hooked.create({ size: 64, max: 2 });
    const lease = pool.tryAcquire()!;
    const parent = share(lease);
    lease.addMeta(ParentBufferMeta, parent);
    parent.release();
    const other = pool.tryAcquire()!;
    inside.push(() => lease.release());
    other.release();
    expect(pool.stats()).toMatchObject({ outstanding: 0, awaitingMemory: 0 });
    pool.validate();
    await turn();
    expect(uncaught).toEqual([]);
  });
});

it("a parent that gets the lease's bytes through the meta only is no cycle either", () => {
  const pool = BufferPool.create({ size: 64, max: 1 });
  const lease = pool.tryAcquire()!;
  const parent = MediaBuffer.wrap(new Uint8Array(1));
  const meta = lease.addMeta(ParentBufferMeta, parent)!;
  parent.release();
  meta.buffer.append(lease.memoryAt(0).share(0, 8));
  lease.release();
  expect(pool.outstanding).toBe(0);
});

it("a parent goes with the lease while others have its bytes, and other metas stay until those are back", () => {
  const pool = BufferPool.create({ size: 64, max: 1 });
  const parents = BufferPool.create({ size: 8, max: 1 });
  const ended: string[] = [];
  const Note = registerMeta({ api: "parent-buffer-test-note", free: () => void ended.push("note") });
  const lease = pool.tryAcquire()!;
  const parent = parents.tryAcquire()!;
  lease.addMeta(Note);
  lease.addMeta(ParentBufferMeta, parent);
  parent.release();
  const memory = lease.memoryAt(0).retain();
  lease.release();
  expect([pool.outstanding, parents.outstanding, ended]).toEqual([1, 0, []]);
  memory.release();
  expect([pool.outstanding, ended]).toEqual([0, ["note"]]);
});

it("a buffer that keeps the one that keeps it is refused at once, by metas", () => {
  const [a, b] = [MediaBuffer.wrap(new Uint8Array(1)), MediaBuffer.wrap(new Uint8Array(1))];
  a.addMeta(ParentBufferMeta, b);
  b.release();
  expect(code(() => b.addMeta(ParentBufferMeta, a))).toBe("ERR_INVALID_ARG_VALUE");
  a.release();
});

it("the GStreamer door's parent meta is no cycle either", () => {
  const pool = BufferPool.create({ size: 64, max: 1 });
  const lease = pool.tryAcquire()!;
  const copy = lease.copy();
  GstBuffer.of(lease).add_parent_buffer_meta(GstBuffer.of(copy));
  copy.release();
  lease.release();
  expect(pool.outstanding).toBe(0);
});
