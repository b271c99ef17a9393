// Shares its realm with other files: nothing that it changes outlives it.
/** A wait for the end of a drain settles, whatever ends the drain. */
import { expect, it } from "vitest";
import { openPool } from "./pools.ts";

it("drained() rejects when activate() cancels the drain, and a later drain is waited for anew", async () => {
  const pool = openPool({ max: 1 });
  const buffer = pool.tryAcquire()!;
  pool.deactivate();
  const ends = [pool.drained(), pool.drained()].map((end) =>
    end.then(
      () => "drained",
      (error) => error.code,
    ),
  );
  pool.activate();
  expect(await Promise.all(ends)).toEqual(["ERR_ACTIVE", "ERR_ACTIVE"]);
  pool.deactivate();
  const end = pool.drained();
  buffer.release();
  expect(await end).toBeUndefined();
});

it("drained() goes on waiting when activate() fails on a draining pool", async () => {
  const pool = openPool({ max: 1 });
  const buffer = pool.tryAcquire()!;
  pool.deactivate();
  const end = pool.drained();
  pool.retire();
  expect(() => pool.activate()).toThrow(expect.objectContaining({ code: "ERR_POOL_DEAD" }));
  buffer.release();
  expect(await end).toBeUndefined();
});
