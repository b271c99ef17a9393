/**
 * millpond/native: memory that is locked, huge-paged, made present beforehand, shared between processes, or shared with
 * devices. It needs koffi (`npm install koffi`, no compiler); without it everything here loads, and each step answers
 * `unsupported`.
 *
 * Importing it registers "pages", "locked", "processShared" and "dmabuf" in `allocators`, where a pool finds them by
 * name. The core never imports it, and browsers cannot: it is for Node, Deno and Bun. Nothing native is loaded before
 * one of them is asked for.
 */
import { DmabufAllocator } from "./allocators/native/dmabuf.ts";
import { LockedAllocator, PagesAllocator } from "./allocators/native/pages.ts";
import { ProcessSharedAllocator } from "./allocators/native/process-shared.ts";
import { registerLazily } from "./allocators/registry.ts";

registerLazily("pages", () => new PagesAllocator());
registerLazily("locked", () => new LockedAllocator());
registerLazily("processShared", () => new ProcessSharedAllocator());
registerLazily("dmabuf", () => new DmabufAllocator());

export { DmabufAllocator, type DmabufKind, type DmabufOptions, type DmabufReport } from "./allocators/native/dmabuf.ts";
export {
  LockedAllocator,
  PagesAllocator,
  type PagesBacking,
  type PagesOptions,
  type PagesReport,
} from "./allocators/native/pages.ts";
export { ProcessSharedAllocator, type ProcessSharedOptions } from "./allocators/native/process-shared.ts";
export type { PinningAllocator, StepResult } from "./memory/pinning.ts";
export { type LockReport, lockReportOf, reportLock } from "./memory/pinning.ts";
export { pageOps } from "./os/load.ts";
export type { PublishedName } from "./os/names.ts";
export type { Advice, Limits, PageOps } from "./os/native-ops.ts";
export { pageSize } from "./os/pages.ts";
export { type Done, describeResult, type FailureStatus, type NotDone, type Outcome, type Result } from "./os/result.ts";
export type { SharedMemory } from "./os/shared-memory.ts";
export {
  type ChildEnd,
  connectProcess,
  type ProcessConnection,
  type ReceiveProcessOptions,
  receiveProcess,
} from "./pools/process/connect.ts";
export type { AsyncWait, StopWord } from "./pools/process/futex-waiter.ts";
export type { ProcessAttachOptions, ProcessOpenOptions, ProcessPoolOptions } from "./pools/process/open.ts";
export type { IpcEnd } from "./pools/process/ports.ts";
export { ProcessPool } from "./pools/process/process-pool.ts";
export type { Reclaimed } from "./pools/process/process-table.ts";
export {
  type ConnectToPoolOptions,
  connectToPool,
  type ProcessServer,
  serveProcesses,
} from "./pools/process/server.ts";
