/** BeOS's front door, after the reference: the function table, sizes, realloc, and what Haiku got wrong. */
import { describe, expect, it } from "vitest";
import {
  B_BAD_VALUE,
  B_NO_MEMORY,
  B_OK,
  EALREADY,
  rtm_alloc,
  type rtm_block,
  rtm_create_default_pool,
  rtm_create_pool,
  rtm_default_pool,
  rtm_delete_pool,
  rtm_free,
  rtm_phys_size_for,
  rtm_realloc,
  rtm_size_for,
} from "../../src/compat/realtime.ts";
import { SystemAllocator, setDefaultAllocator, systemAllocator } from "../../src/memory/allocator.ts";
import { code } from "../pools/buffer/pools.ts";

/** The status that `fn` throws, or B_OK; misuse that Haiku does not notice has one too. */
function status(fn: () => unknown): number {
  try {
    fn();
    return B_OK;
  } catch (error) {
    return (error as { status: number }).status;
  }
}

describe("codes", () => {
  it("are the numbers of the reference's header", () => {
    expect([B_OK, B_NO_MEMORY | 0, B_BAD_VALUE | 0, EALREADY | 0]).toEqual([
      0,
      0x80000000 | 0,
      0x80000005 | 0,
      0x80007025 | 0,
    ]);
  });
});

describe("rtm_create_pool", () => {
  it("creates an unnamed pool, where Haiku's fails with B_BAD_ADDRESS", () => {
    for (const name of [undefined, null, "", "mixer"]) rtm_delete_pool(rtm_create_pool(65_536, name));
  });

  it("takes a name of 32 bytes and refuses a longer one", () => {
    rtm_delete_pool(rtm_create_pool(4096, "n".repeat(32)));
    expect(status(() => rtm_create_pool(4096, "n".repeat(33)))).toBe(B_BAD_VALUE);
  });

  // Haiku: 2400 of the totals from 1 to 40960 fail, the first is 3841.
  it("has room for one allocation of the total, for every total from 1 to 40960", () => {
    for (let total = 1; total <= 40_960; total += 97) {
      const pool = rtm_create_pool(total);
      const block = rtm_alloc(pool, total);
      if (block === null) throw new Error(`total ${total}`);
      rtm_free(block);
      rtm_delete_pool(pool);
    }
    for (const total of [3841, 4080, 4081, 8192]) expect(rtm_alloc(rtm_create_pool(total), total)).not.toBe(null);
  });

  it("says B_NO_MEMORY when there is none, and B_BAD_VALUE for what is not a size", () => {
    class Empty extends SystemAllocator {
      protected override allocateRegion(): undefined {
        return undefined;
      }
    }
    setDefaultAllocator(new Empty());
    try {
      expect(status(() => rtm_create_pool(4096))).toBe(B_NO_MEMORY);
    } finally {
      setDefaultAllocator(systemAllocator());
    }
    for (const size of [0, -1, Number.NaN, "8"])
      expect(status(() => rtm_create_pool(size as number))).toBe(B_BAD_VALUE);
  });
});

describe("rtm_delete_pool", () => {
  it("answers B_BAD_VALUE for a pool that is null", () => {
    expect(status(() => rtm_delete_pool(null))).toBe(B_BAD_VALUE);
  });

  it("refuses with live blocks, where Haiku's deletes under them", () => {
    const pool = rtm_create_pool(4096);
    const block = rtm_alloc(pool, 8);
    expect(code(() => rtm_delete_pool(pool))).toBe("ERR_LIVE_OBJECTS");
    rtm_free(block);
    rtm_delete_pool(pool);
    expect(code(() => rtm_delete_pool(pool))).toBe("ERR_POOL_DEAD");
    expect(code(() => rtm_alloc(pool, 8))).toBe("ERR_POOL_DEAD");
  });
});

describe("rtm_alloc and rtm_free", () => {
  it("a size of 0 gives null, as in the reference", () => {
    expect(rtm_alloc(rtm_create_pool(4096), 0)).toBe(null);
  });

  it("a full pool is null, and so is a request near the largest number", () => {
    const pool = rtm_create_pool(4096);
    for (const size of [4097, 65_536, 2 ** 32 - 1, 2 ** 32 - 200, 2 ** 53 - 1])
      expect(rtm_alloc(pool, size)).toBe(null);
    expect(status(() => rtm_alloc(pool, -1))).toBe(B_BAD_VALUE);
    rtm_free(rtm_alloc(pool, 4096));
  });

  it("rtm_free(null) is B_BAD_VALUE, where Haiku's answers B_OK", () => {
    expect(status(() => rtm_free(null))).toBe(B_BAD_VALUE);
  });

  it("a double free is an error, where Haiku's next walk never ends", () => {
    const pool = rtm_create_pool(4096);
    const block = rtm_alloc(pool, 8);
    rtm_free(block);
    expect(code(() => rtm_free(block))).toBe("ERR_DOUBLE_RELEASE");
    expect(code(() => block?.bytes)).toBe("ERR_USE_AFTER_RELEASE");
    expect(rtm_alloc(pool, 8)?.bytes.length).toBe(8);
  });

  it("what is free can be had: accounts never drift, however often a block of odd size comes and goes", () => {
    const pool = rtm_create_pool(8184);
    const before = pool.pool.stats().available;
    for (let i = 0; i < 1000; i++) rtm_free(rtm_alloc(pool, 512 + (i % 300)));
    expect(pool.pool.stats().available).toBe(before);
    rtm_free(rtm_alloc(pool, 8184));
  });

  it("scattered free bytes are no block: every other one of thirty 256-byte blocks freed", () => {
    const pool = rtm_create_pool(30 * 256 + 29 * 8);
    const blocks = Array.from({ length: 30 }, () => rtm_alloc(pool, 256));
    for (let i = 0; i < 30; i += 2) rtm_free(blocks[i]!);
    expect(pool.pool.stats().available).toBeGreaterThan(3800);
    expect(rtm_alloc(pool, 512)).toBe(null);
    expect(rtm_alloc(pool, 256)).not.toBe(null);
  });

  it("payloads are aligned to 8 at least, and the bytes are the caller's until freed", () => {
    const pool = rtm_create_pool(65_536);
    const blocks = Array.from({ length: 20 }, (_, i) => rtm_alloc(pool, 100 + i)!);
    for (const [i, block] of blocks.entries()) {
      expect(block.bytes.byteOffset % 8).toBe(0);
      block.bytes.fill(i);
    }
    for (const [i, block] of blocks.entries()) expect(block.bytes.every((byte) => byte === i)).toBe(true);
  });
});

describe("rtm_realloc", () => {
  it("within the physical size, and down to more than a third of it, the block stays: 1024 and 342 of 1024", () => {
    const pool = rtm_create_pool(65_536);
    const block = rtm_alloc(pool, 1024)!;
    rtm_alloc(pool, 8);
    expect(rtm_phys_size_for(block)).toBe(1024);
    for (const size of [1024, 342, 1000]) {
      expect(rtm_realloc(block, size)).toBe(block);
      expect([rtm_size_for(block), rtm_phys_size_for(block)]).toEqual([size, 1024]);
    }
    // Haiku moves the block; here it stays where it is and gives its tail back.
    expect(rtm_realloc(block, 341)).toBe(block);
    expect([rtm_size_for(block), rtm_phys_size_for(block), block.bytes.length]).toEqual([341, 344, 341]);
  });

  it("takes in a free right neighbor, where Haiku's never does", () => {
    const block = rtm_alloc(rtm_create_pool(65_536), 100)!;
    block.bytes.fill(5);
    expect(rtm_realloc(block, 20_000)).toBe(block);
    expect([block.bytes.length, block.bytes.subarray(0, 100).every((byte) => byte === 5)]).toEqual([20_000, true]);
  });

  it("moves when it must, with the bytes, and does not deadlock as Haiku's does; the old block is dead", () => {
    const pool = rtm_create_pool(65_536);
    const block = rtm_alloc(pool, 100)!;
    rtm_alloc(pool, 8);
    block.bytes.fill(6);
    const moved = rtm_realloc(block, 1000)!;
    expect(moved).not.toBe(block);
    expect(moved.bytes.subarray(0, 100).every((byte) => byte === 6)).toBe(true);
    expect(code(() => block.bytes)).toBe("ERR_USE_AFTER_RELEASE");
    expect(code(() => rtm_free(block))).toBe("ERR_DOUBLE_RELEASE");
  });

  it("null when the pool is full, and the old block is still valid", () => {
    const pool = rtm_create_pool(4096);
    const block = rtm_alloc(pool, 100)!;
    block.bytes.fill(7);
    expect(rtm_realloc(block, 5000)).toBe(null);
    expect([rtm_size_for(block), block.bytes.every((byte) => byte === 7)]).toEqual([100, true]);
    rtm_free(block);
  });

  it("size 0 frees the block; sizes that are none are B_BAD_VALUE and change nothing", () => {
    const pool = rtm_create_pool(4096);
    const block = rtm_alloc(pool, 100)!;
    expect(status(() => rtm_realloc(block, -1))).toBe(B_BAD_VALUE);
    expect(rtm_size_for(block)).toBe(100);
    expect(rtm_realloc(block, 0)).toBe(null);
    expect(code(() => rtm_free(block))).toBe("ERR_DOUBLE_RELEASE");
    rtm_delete_pool(pool);
  });
});

describe("rtm_size_for and rtm_phys_size_for", () => {
  it("tell the size that was asked for from the capacity, where Haiku's are one number", () => {
    const block = rtm_alloc(rtm_create_pool(4096), 13);
    expect([rtm_size_for(block), rtm_phys_size_for(block)]).toEqual([13, 16]);
  });

  it("say B_BAD_VALUE for null, where Haiku's answer 0", () => {
    expect([status(() => rtm_size_for(null)), status(() => rtm_phys_size_for(null))]).toEqual([
      B_BAD_VALUE,
      B_BAD_VALUE,
    ]);
    expect(status(() => rtm_size_for({} as rtm_block))).toBe(B_BAD_VALUE);
  });
});

describe("the default pool", () => {
  it("is null until created, created once, then EALREADY; null stands for it; it is never deleted", () => {
    expect(rtm_default_pool()).toBe(null);
    const pool = rtm_create_default_pool(65_536);
    expect(rtm_default_pool()).toBe(pool);
    expect(status(() => rtm_create_default_pool())).toBe(EALREADY);
    const block = rtm_alloc(null, 100)!;
    expect(block.pool).toBe(pool.pool);
    expect(status(() => rtm_delete_pool(pool))).toBe(B_BAD_VALUE);
    const other = rtm_realloc(null, 50)!;
    expect(other.pool).toBe(pool.pool);
    rtm_free(block);
    rtm_free(other);
  });
});
