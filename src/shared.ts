/**
 * millpond/shared: pools whose slots several threads use, the lanes that carry leases between threads, and rings that
 * an AudioWorklet can read. Isomorphic; SharedPool needs SharedArrayBuffer, which browsers give to isolated pages only.
 */
export { type Delivery, Lease, type LeaseData, type LeasePool } from "./pools/common/lease.ts";
export type { ConnectOptions, LaneTarget } from "./pools/lane/connect.ts";
export { Lane, type LaneOptions, type LanePort } from "./pools/lane/lane.ts";
export { type LaneSource, type LeasePoolOptions, leasePool, receiveLane } from "./pools/lane/receive.ts";
export { type TransferHolder, TransferPool, type TransferPoolOptions } from "./pools/lane/transfer-pool.ts";
export type {
  AttachOptions,
  SharedHandle,
  SharedHolder,
  SharedMemberStats,
  SharedPoolOptions,
  SharedPoolStats,
} from "./pools/shared/attach.ts";
export type { SharedShape } from "./pools/shared/layout.ts";
export { LeaseRing, type RingSide } from "./pools/shared/lease-ring.ts";
export type { Membership } from "./pools/shared/member-status.ts";
export { limitSharedMemory, sharedMemoryBudget } from "./pools/shared/memory-budget.ts";
export { type RingOptions, SpscRing } from "./pools/shared/ring.ts";
export { SharedBufferPool, type SharedBufferPoolOptions } from "./pools/shared/shared-buffer-pool.ts";
export { SharedPool } from "./pools/shared/shared-pool.ts";
export { atomicsWaiter, type Futex, type SharedWaiter, slicedWaiter } from "./pools/shared/waiter.ts";
