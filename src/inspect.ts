/**
 * millpond/inspect: serves what `millpond top` and the page show, from inside the program that they look at; also as
 * `node --import millpond/inspect app.js`. Looking changes nothing.
 */
import { isPreloaded, servePreloaded } from "./adapters/inspect/preload.ts";

export { type InspectorOptions, InspectorServer, serveInspector } from "./adapters/inspect/server.ts";
export type { PoolCounts, PoolHolder, PoolKind, PoolMember, PoolPhase } from "./observe/pool-info.ts";
export type { RecordedEvent, RecordedType } from "./observe/recorder.ts";
export type {
  InspectorUpdate,
  PoolSnapshot,
  PoolSnapshotCounts,
  ProcessSnapshot,
  RealmEvent,
  RealmSnapshot,
  StarvedReport,
} from "./observe/snapshot.ts";

if (isPreloaded(import.meta.url)) servePreloaded();
