// Shares its realm with other files: nothing that it changes outlives it.
/** `using` gives back what is still held; what is over already adds no error to the block's own. */
import { describe, expect, it } from "vitest";
import { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { MediaBufferList } from "../../src/media/buffer/media-buffer-list.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { TransferPool } from "../../src/pools/lane/transfer-pool.ts";
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { SharedPool } from "../../src/pools/shared/shared-pool.ts";

interface Releasable extends Disposable {
  release(): void;
}

const buffers = BufferPool.create({ size: 8, max: 2 });
const shared = SharedPool.create({ size: 8, count: 2 });
const transfer = TransferPool.create({ size: 8, count: 2 });
const pages = PagePool.create();
const makers: [name: string, make: () => Releasable][] = [
  ["buffer of a pool", () => buffers.tryAcquire()!],
  ["buffer without a pool", () => MediaBuffer.allocate(8)],
  ["list of buffers", () => new MediaBufferList()],
  ["memory", () => pages.allocate(8)],
  ["lease of a shared pool", () => shared.tryAcquire()!],
  ["lease of a transfer pool", () => transfer.tryAcquire()!],
];

describe.each(makers)("using a %s", (_name, make) => {
  it("that was released explicitly lets the block's own error through", () => {
    expect(() => {
      using held = make();
      held.release();
      throw new Error("the block's own");
    }).toThrow("the block's own");
  });

  it("that is still held gives it back", () => {
    let after: Releasable | undefined;
    {
      using held = make();
      after = held;
    }
    expect(() => after.release()).toThrow(expect.objectContaining({ code: "ERR_DOUBLE_RELEASE" }));
  });

  it("whose place has another holder by now leaves that one alone", () => {
    const next: Releasable[] = [];
    {
      using held = make();
      held.release();
      next.push(make());
    }
    for (const one of next) expect(() => one.release()).not.toThrow();
  });
});

it("using a buffer still tells what stands against giving it back", () => {
  const buffer = buffers.tryAcquire()!;
  const mapping = buffer.map("read");
  expect(() => buffer[Symbol.dispose]()).toThrow(expect.objectContaining({ code: "ERR_MAPPED" }));
  mapping.unmap();
  buffer[Symbol.dispose]();
  expect(buffers.outstanding).toBe(0);
});

it("using a lease that its pool took back by force lets the block's own error through", () => {
  for (const pool of [BufferPool.create({ size: 8, max: 1 }), SharedPool.create({ size: 8, count: 1 })]) {
    expect(() => {
      using _held = pool.tryAcquire()!;
      pool.close({ force: true });
      throw new Error("the block's own");
    }).toThrow("the block's own");
  }
});
