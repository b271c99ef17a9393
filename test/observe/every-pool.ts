/** One pool of each kind, with the same five verbs, so that each test says once what holds of all. */
import { SharedAllocator } from "../../src/allocators/shared.ts";
import type { PoolKind } from "../../src/observe/pool-info.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { TransferPool } from "../../src/pools/lane/transfer-pool.ts";
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { RealtimePool } from "../../src/pools/realtime/realtime-pool.ts";
import { SharedBufferPool } from "../../src/pools/shared/shared-buffer-pool.ts";
import { SharedPool } from "../../src/pools/shared/shared-pool.ts";
import { SlabPool } from "../../src/pools/slab/slab-pool.ts";

/** A pool under test. */
export interface AnyPool {
  /** Takes a lease; returns what gives it back. */
  take(): () => void;
  /** What has to hold at every moment. */
  validate(): void;
  /** Ends it by force. */
  close(): void;
}

function lease(take: () => { release(): void } | undefined): () => () => void {
  return () => {
    const taken = take()!;
    return () => taken.release();
  };
}

function slab(name: string, options: { generations?: boolean; trace?: boolean }): AnyPool {
  const pool = SlabPool.create({ name, elementSize: 64, ...options });
  let isTry = false;
  const take = (): (() => void) => {
    isTry = !isTry;
    const pointer = isTry ? pool.tryAlloc()! : pool.alloc();
    return () => pool.free(pointer);
  };
  return { take, validate: () => pool.validate(), close: () => pool.close({ force: true }) };
}

function buffers(pool: BufferPool): AnyPool {
  return {
    take: lease(() => pool.tryAcquire()),
    validate: () => pool.validate(),
    close: () => pool.close({ force: true }),
  };
}

/** Each kind, and each of its ways that differ in how they are watched. */
export const EVERY_POOL: readonly (readonly [what: string, kind: PoolKind, make: (name: string) => AnyPool])[] = [
  ["BufferPool", "BufferPool", (name) => buffers(BufferPool.create({ name, size: 4096, max: 8 }))],
  [
    "BufferPool that is traced",
    "BufferPool",
    (name) => buffers(BufferPool.create({ name, size: 64, max: 8, trace: true })),
  ],
  [
    "BufferPool that zeroes",
    "BufferPool",
    (name) => buffers(BufferPool.create({ name, size: 64, max: 8, zero: "release" })),
  ],
  [
    "BufferPool over shared memory",
    "BufferPool",
    (name) => buffers(BufferPool.create({ name, size: 64, max: 8, allocator: new SharedAllocator() })),
  ],
  ["SharedBufferPool", "BufferPool", (name) => buffers(SharedBufferPool.create({ name, size: 64, max: 8 }))],
  [
    "PagePool",
    "PagePool",
    (name) => {
      const pool = PagePool.create({ name });
      const close = (): unknown => pool.close({ force: true });
      return { take: lease(() => pool.allocate(5000)), validate: () => pool.validate(), close };
    },
  ],
  ["SlabPool", "SlabPool", (name) => slab(name, {})],
  ["SlabPool with generations", "SlabPool", (name) => slab(name, { generations: true })],
  ["SlabPool that is traced", "SlabPool", (name) => slab(name, { trace: true })],
  ["SlabPool with generations, traced", "SlabPool", (name) => slab(name, { generations: true, trace: true })],
  [
    "RealtimePool, by integers",
    "RealtimePool",
    (name) => {
      const pool = RealtimePool.create({ name, totalSize: 65_536 });
      const take = (): (() => void) => {
        const pointer = pool.alloc(100);
        return () => pool.free(pointer);
      };
      return { take, validate: () => pool.validate(), close: () => pool.close({ force: true }) };
    },
  ],
  [
    "RealtimePool, by memories",
    "RealtimePool",
    (name) => {
      const pool = RealtimePool.create({ name, totalSize: 65_536 });
      const close = (): void => pool.close({ force: true });
      return { take: lease(() => pool.allocate(100)), validate: () => pool.validate(), close };
    },
  ],
  ...(["never", "release", "acquire"] as const).map(
    (zero) =>
      [
        `SharedPool, zero: ${zero}`,
        "SharedPool",
        (name: string): AnyPool => {
          const pool = SharedPool.create({ name, size: 64, count: 8, zero });
          const close = (): void => pool.close({ force: true });
          return { take: lease(() => pool.tryAcquire()), validate: () => pool.validate(), close };
        },
      ] as const,
  ),
  [
    "TransferPool",
    "TransferPool",
    (name) => {
      const pool = TransferPool.create({ name, size: 64, count: 8 });
      const close = (): void => pool.close({ force: true });
      return { take: lease(() => pool.tryAcquire()), validate: () => pool.validate(), close };
    },
  ],
];
