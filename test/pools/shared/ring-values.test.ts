// Shares its realm with other files: nothing that it changes outlives it.
/** What a ring takes: integers that come out as they went in, and no others. */
import { expect, it } from "vitest";
import { PagePool } from "../../../src/pools/page/page-pool.ts";
import { SpscRing } from "../../../src/pools/shared/ring.ts";

it("tryPush() refuses a number that would come out as another, or as empty", async () => {
  const ring = SpscRing.create(4);
  for (const value of [-1, -2, 1.5, Number.NaN, Infinity, 2 ** 31, 2 ** 32 + 5, -(2 ** 31)]) {
    expect(() => ring.tryPush(value)).toThrow(expect.objectContaining({ code: "ERR_OUT_OF_RANGE" }));
    await expect(ring.push(value)).rejects.toMatchObject({ code: "ERR_OUT_OF_RANGE" });
    expect(() => ring.pushSync(value)).toThrow(expect.objectContaining({ code: "ERR_OUT_OF_RANGE" }));
  }
  for (const value of [5n, "5", null, undefined, {}, Symbol("5")]) {
    expect(() => ring.tryPush(value as number)).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE" }));
  }
  expect(ring.length).toBe(0);
  for (const value of [0, 7, 2 ** 31 - 1]) expect(ring.tryPush(value) && ring.tryPop()).toBe(value);
  expect(ring.tryPush(-0)).toBe(true);
  expect(ring.tryPop()).toBe(0);
});

it("a page pool refuses a bigint with an error of its own", () => {
  const pool = PagePool.create();
  for (const size of [5n, "5", null, Symbol("5"), {}]) {
    for (const ask of [() => pool.allocate(size as number), () => pool.allocator.allocate(size as number)]) {
      expect(ask).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE" }));
    }
  }
});
