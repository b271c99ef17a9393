// Shares its realm with other files: nothing that it changes outlives it.
import { expect, it } from "vitest";
import { BufferPool, MediaBuffer, PagePool, RealtimePool, SlabPool } from "../../src/index.ts";
import { SharedBufferPool, SharedPool, TransferPool } from "../../src/shared.ts";

/** What posting it to another thread throws, or what arrives there. */
function posted(value: unknown): string {
  const { port1 } = new MessageChannel();
  try {
    port1.postMessage(value);
    return `sent ${Object.keys(structuredClone(value) as object)}`;
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`;
  } finally {
    port1.close();
  }
}

it("a pool, a buffer, a memory and a mapping are not cloned, and the error says what to post instead", async () => {
  const pool = BufferPool.create({ size: 16, max: 2 });
  const shared = SharedPool.create({ size: 16, count: 2 });
  const pages = PagePool.create();
  const memory = pages.allocate(100);
  const over = await pool.acquire();
  over.release();
  const own = MediaBuffer.allocate(8);
  const all = {
    pool,
    pages,
    lease: await pool.acquire(),
    over,
    own,
    wrapped: MediaBuffer.wrap(new Uint8Array(4)),
    copy: own.copy(),
    memory,
    mapping: memory.map("read"),
    slab: SlabPool.create({ elementSize: 8 }),
    realtime: RealtimePool.create({ totalSize: 4096 }),
    block: RealtimePool.create({ totalSize: 4096 }).allocate(8),
    shared,
    buffers: SharedBufferPool.create({ size: 16, max: 2 }),
    transfer: TransferPool.create({ size: 16, count: 1 }),
    inside: { frame: await pool.acquire() },
  };
  for (const [name, value] of Object.entries(all)) {
    expect([name, posted(value)]).toEqual([
      name,
      expect.stringMatching(/^DataCloneError: .*post bytes, or the handle/),
    ]);
  }
});

it("what is made to be posted still arrives: a lease as its numbers, a handle, statistics", () => {
  const pool = SharedPool.create({ size: 16, count: 2 });
  expect([posted(pool.tryAcquire()), posted(pool.handle)]).toEqual([
    "sent id,index,pool",
    `sent ${Object.keys(pool.handle)}`,
  ]);
  expect(posted(BufferPool.create({ size: 16, max: 2 }).stats())).toMatch(/^sent name,active/);
});
