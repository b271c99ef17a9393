/** millpond/inspect/page: the inspector's page inside a web application, for that application's own pools. */
export { MountedInspector, type MountOptions, mountInspector } from "./adapters/inspect/page/mount.ts";
export type { InspectorTheme } from "./adapters/inspect/page/page.ts";
export type { PoolCounts, PoolHolder, PoolKind, PoolMember, PoolPhase } from "./observe/pool-info.ts";
export type { RecordedEvent, RecordedType } from "./observe/recorder.ts";
export type {
  InspectorSource,
  InspectorUpdate,
  PoolSnapshot,
  PoolSnapshotCounts,
  ProcessSnapshot,
  RealmEvent,
  RealmSnapshot,
  StarvedReport,
} from "./observe/snapshot.ts";
