// Shares its realm with other files: nothing that it changes outlives it.
/** libcork's front door: its numbers, its order, its hooks, and what replaces its silence when it is misused. */
import { describe, expect, it } from "vitest";
import {
  cork_mempool,
  cork_mempool_bytes,
  cork_mempool_done,
  cork_mempool_free,
  cork_mempool_init,
  cork_mempool_init_ex,
  cork_mempool_init_size,
  cork_mempool_init_size_ex,
  cork_mempool_new,
  cork_mempool_set_done_object,
  cork_mempool_set_init_object,
  cork_mempool_set_user_data,
} from "../../src/compat/cork.ts";
import { struct } from "../../src/pools/slab/struct.ts";
import { isMillpondError } from "../../src/util/errors.ts";
import { code } from "../pools/buffer/pools.ts";
import { CORK_CAPACITIES } from "../pools/slab/cork-capacities.ts";
import { thrownBy } from "./thrown-by.ts";

function poolOf(element_size: number, block_size: number): cork_mempool {
  const mp = new cork_mempool();
  cork_mempool_init_size_ex(mp, element_size, block_size);
  return mp;
}

describe("the numbers of the 64-bit model", () => {
  it.each(CORK_CAPACITIES)(
    "blocks of %i, objects of %i: %i a block, the last slot first, then the next block",
    (block, element, capacity) => {
      const mp = poolOf(element, block);
      const stride = element + 8;
      const expected = Array.from({ length: capacity }, (_, i) => (capacity - 1 - i) * stride);
      expect(Array.from({ length: capacity }, () => cork_mempool_new(mp))).toEqual(expected);
      expect(Array.from({ length: capacity }, () => cork_mempool_new(mp))).toEqual(expected.map((ptr) => ptr + block));
    },
  );

  it.each([
    [4096, 4081],
    [64, 49],
    [8, 8],
  ])("blocks of %i, objects of %i: not one fits, ERR_OUT_OF_RANGE and no pool", (block, element) => {
    const mp = new cork_mempool();
    expect(code(() => cork_mempool_init_size_ex(mp, element, block))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => cork_mempool_new(mp))).toBe("ERR_NOT_CONFIGURED");
  });

  it("strict LIFO over all blocks: free a, free b, and the next two are b and a", () => {
    const mp = poolOf(8, 64);
    const ptrs = Array.from({ length: 6 }, () => cork_mempool_new(mp)!);
    expect(ptrs).toEqual([32, 16, 0, 96, 80, 64]);
    cork_mempool_free(mp, 16);
    cork_mempool_free(mp, 80);
    expect([cork_mempool_new(mp), cork_mempool_new(mp)]).toEqual([80, 16]);
  });

  it("initializes by size and by layout, in blocks of 4096 unless told", () => {
    const [a, b, c] = [new cork_mempool(), new cork_mempool(), new cork_mempool()];
    cork_mempool_init_size(a, 64);
    cork_mempool_init(b, struct({ x: "f64" }));
    cork_mempool_init_ex(c, { size: 8 }, 64);
    expect([cork_mempool_new(a), cork_mempool_new(b), cork_mempool_new(c)]).toEqual([55 * 72, 254 * 16, 32]);
  });
});

describe("the life of objects", () => {
  it("init once a slot at carving, done once a slot at the end from the one freed last, user data destroyed when replaced and at the end", () => {
    const calls: unknown[] = [];
    const mp = poolOf(8, 64);
    cork_mempool_set_user_data(mp, "one", (data) => calls.push(`destroy ${data}`));
    cork_mempool_set_user_data(mp, "two", (data) => calls.push(`destroy ${data}`));
    cork_mempool_set_init_object(mp, (data, ptr) => calls.push(`init ${data} ${ptr}`));
    const ptr = cork_mempool_new(mp)!;
    cork_mempool_set_done_object(mp, (data, ptr) => calls.push(`done ${data} ${ptr}`));
    expect(() => cork_mempool_done(mp)).toThrow(
      expect.objectContaining({ code: "ERR_LIVE_OBJECTS", details: expect.objectContaining({ live: 1 }) }),
    );
    cork_mempool_free(mp, ptr);
    cork_mempool_done(mp);
    expect(calls).toEqual([
      "destroy one",
      "init two 0",
      "init two 16",
      "init two 32",
      "done two 32",
      "done two 16",
      "done two 0",
      "destroy two",
    ]);
  });

  it("an object that is freed and taken again is as its last user left it", () => {
    const mp = poolOf(8, 64);
    cork_mempool_set_init_object(mp, (_, ptr) => cork_mempool_bytes(mp, ptr).fill(12));
    const ptr = cork_mempool_new(mp)!;
    expect(cork_mempool_bytes(mp, ptr)[7]).toBe(12);
    cork_mempool_bytes(mp, ptr).fill(42);
    cork_mempool_free(mp, ptr);
    expect([cork_mempool_new(mp), cork_mempool_bytes(mp, ptr)[7]]).toEqual([ptr, 42]);
  });

  it("hooks that are set late: init for later blocks only, done for all", () => {
    const [inits, dones]: [number[], number[]] = [[], []];
    const mp = poolOf(8, 64);
    const first = cork_mempool_new(mp)!;
    cork_mempool_set_init_object(mp, (_, ptr) => inits.push(ptr));
    cork_mempool_set_done_object(mp, (_, ptr) => dones.push(ptr));
    const more = [cork_mempool_new(mp)!, cork_mempool_new(mp)!, cork_mempool_new(mp)!];
    for (const ptr of [first, ...more]) cork_mempool_free(mp, ptr);
    cork_mempool_done(mp);
    expect([inits, dones.toSorted((a, b) => a - b)]).toEqual([
      [64, 80, 96],
      [0, 16, 32, 64, 80, 96],
    ]);
  });

  it("a struct that is done may be initialized again; one that is not may not", () => {
    const mp = poolOf(8, 64);
    const ptr = cork_mempool_new(mp)!;
    expect(code(() => cork_mempool_init_size(mp, 16))).toBe("ERR_ALREADY_EXISTS");
    cork_mempool_free(mp, ptr);
    cork_mempool_done(mp);
    cork_mempool_init_size(mp, 4080);
    expect(cork_mempool_new(mp)).toBe(0);
  });
});

describe("failures and misuse", () => {
  it("null when no memory is left", () => {
    expect(cork_mempool_new(poolOf(2 ** 50, 2 ** 51))).toBe(null);
  });

  it("double free, foreign and misaligned pointers are found, on free and on use, and nothing changes", () => {
    const mp = poolOf(8, 64);
    const [ptr, other] = [cork_mempool_new(mp)!, cork_mempool_new(mp)!];
    cork_mempool_free(mp, ptr);
    expect(code(() => cork_mempool_free(mp, ptr))).toBe("ERR_DOUBLE_RELEASE");
    expect(code(() => cork_mempool_bytes(mp, ptr))).toBe("ERR_USE_AFTER_RELEASE");
    // Into an object, into its header, behind the last slot, a block that there is not, and no offset at all.
    for (const bad of [other + 1, other + 8, 48, 63, 96, -16, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60]) {
      expect(code(() => cork_mempool_free(mp, bad))).toBe("ERR_FOREIGN_RELEASE");
      expect(code(() => cork_mempool_bytes(mp, bad))).toBe("ERR_FOREIGN_RELEASE");
    }
    for (const bad of [null, undefined, "16", {}]) {
      expect(code(() => cork_mempool_free(mp, bad as never))).toBe("ERR_INVALID_ARG_TYPE");
    }
    expect(cork_mempool_new(mp)).toBe(ptr);
  });

  it("anything after done is ERR_POOL_DEAD, in front of init ERR_NOT_CONFIGURED, and each is a MillpondError", () => {
    const mp = poolOf(8, 64);
    const ptr = cork_mempool_new(mp)!;
    cork_mempool_free(mp, ptr);
    cork_mempool_done(mp);
    for (const use of [() => cork_mempool_new(mp), () => cork_mempool_free(mp, ptr), () => cork_mempool_free(mp, 7)])
      expect(code(use)).toBe("ERR_POOL_DEAD");
    const fresh = new cork_mempool();
    for (const use of [() => cork_mempool_new(fresh), () => cork_mempool_done(fresh)])
      expect(code(use)).toBe("ERR_NOT_CONFIGURED");
    expect(code(() => cork_mempool_new({} as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(() => cork_mempool_set_init_object(mp, 3 as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(() => cork_mempool_init(fresh, null as never))).toBe("ERR_INVALID_ARG_TYPE");
  });

  it("an init hook that throws loses its own object only; the next call goes on behind it", () => {
    const mp = poolOf(8, 64);
    cork_mempool_set_init_object(mp, (_, ptr) => {
      if (ptr === 16) throw new Error("no");
    });
    expect(() => cork_mempool_new(mp)).toThrow("no");
    expect([cork_mempool_new(mp), cork_mempool_new(mp)]).toEqual([0, 32]);
  });

  it("a hook cannot take or free objects of its own pool", () => {
    const mp = poolOf(8, 64);
    const codes: unknown[] = [];
    cork_mempool_set_init_object(mp, (_, ptr) => {
      for (const act of [() => cork_mempool_new(mp), () => cork_mempool_free(mp, ptr), () => cork_mempool_done(mp)])
        try {
          act();
        } catch (error) {
          codes.push(isMillpondError(error) && error.code);
        }
    });
    expect(cork_mempool_new(mp)).toBe(32);
    expect(codes).toEqual(Array(9).fill("ERR_REENTRANT"));
  });

  it("an object too large for a block of 4096 is refused by its own size where no block size was given", () => {
    const mp = new cork_mempool();
    for (const call of [() => cork_mempool_init_size(mp, 4081), () => cork_mempool_init(mp, { size: 4081 })]) {
      const error = thrownBy(call);
      expect(error).toMatchObject({ code: "ERR_OUT_OF_RANGE", status: -1 });
      expect(error.message).toMatch(/(element_size|type\.size) must be at most 4080.* but it is 4081/);
      expect(error.message).not.toMatch(/block_size/);
    }
    cork_mempool_init_size(mp, 4080);
  });

  it("a block size that is missing is a wrong type, not the default", () => {
    const mp = new cork_mempool();
    for (const missing of [null, undefined] as never[]) {
      expect(thrownBy(() => cork_mempool_init_size_ex(mp, 8, missing)).code).toBe("ERR_INVALID_ARG_TYPE");
      expect(thrownBy(() => cork_mempool_init_ex(mp, { size: 8 }, missing)).code).toBe("ERR_INVALID_ARG_TYPE");
    }
    expect(String(mp)).toMatch(/not initialized/);
  });

  it("what a hook may not call is refused in libcork's words", () => {
    const mp = poolOf(8, 64);
    const texts: string[] = [];
    cork_mempool_set_init_object(mp, (_, ptr) => {
      for (const call of [() => cork_mempool_new(mp), () => cork_mempool_free(mp, ptr), () => cork_mempool_done(mp)])
        texts.push(thrownBy(call).message);
    });
    cork_mempool_new(mp);
    expect(texts).toHaveLength(9);
    for (const text of texts) {
      expect(text).toMatch(/^cork_mempool_(new|free|done)\(\): it cannot be called from a hook of its own pool/);
      expect(text).not.toMatch(/slab|alloc|close/);
    }
  });
});
