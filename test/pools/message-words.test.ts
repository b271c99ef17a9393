// Shares its realm with other files: nothing that it changes outlives it.
/** Messages name the pool that was misused, and count in words. */
import { expect, it } from "vitest";
import { RealtimePool } from "../../src/pools/realtime/realtime-pool.ts";
import { SharedPool } from "../../src/pools/shared/shared-pool.ts";

it("a pointer that is freed twice, used after, or made up is refused in the name of its RealtimePool", () => {
  const pool = RealtimePool.create({ totalSize: 65_536, name: "mixer" });
  const pointer = pool.alloc(16);
  pool.free(pointer);
  expect(() => pool.free(pointer)).toThrow(`cannot free ${pointer} of realtime pool "mixer": it is free already`);
  expect(() => pool.physicalSizeOf(pointer)).toThrow('of realtime pool "mixer"');
  expect(() => pool.free(3)).toThrow('cannot free 3 of realtime pool "mixer": it is not a pointer');
});

it("a thread that holds one slot is refused in the singular", () => {
  const pool = SharedPool.create({ size: 8, count: 2, name: "frames" });
  pool.tryAcquire();
  expect(() => pool.leave()).toThrow('holds 1 slot of shared pool "frames"');
  pool.tryAcquire();
  expect(() => pool.leave()).toThrow('holds 2 slots of shared pool "frames"');
});
