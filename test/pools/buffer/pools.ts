/** What the pool tests share. */

import { BufferPool, type BufferPoolOptions } from "../../../src/pools/buffer/buffer-pool.ts";
import type { BufferPoolConfig } from "../../../src/pools/buffer/config.ts";
import { MillpondError } from "../../../src/util/errors.ts";

/** An active pool of four buffers of 64 bytes, unless told otherwise. */
export function openPool(config: Partial<BufferPoolConfig> = {}, options: BufferPoolOptions = {}): BufferPool {
  const pool = new BufferPool({ name: "test", ...options });
  pool.configure({ size: 64, max: 4, ...config });
  pool.activate();
  return pool;
}

/** The code of the error that `fn` throws, or "ok". */
export function code(fn: () => unknown): string {
  try {
    fn();
    return "ok";
  } catch (error) {
    return error instanceof MillpondError ? error.code : `not a MillpondError: ${error}`;
  }
}

/** Everything that a refused call must leave alone. */
export function snapshot(pool: BufferPool): unknown {
  return [pool.stats(), pool.config, pool.isActive, pool.isFlushing, pool.isDraining];
}
