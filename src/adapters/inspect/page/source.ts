/** What the page asks of a source beyond the updates themselves. */
import type { InspectorSource, InspectorUpdate } from "../../../observe/snapshot.ts";

/** How the connection to the program is. */
export interface SourceStatus {
  /** Whether news come. */
  readonly state: "connecting" | "live" | "lost";
  /** Why not, and what to do. */
  readonly reason?: string;
}

/** A source that can also tell of its connection. */
export interface PageSource extends InspectorSource {
  /** As {@link InspectorSource.subscribe}; `onStatus` hears when the connection changes. */
  subscribe(onUpdate: (update: InspectorUpdate) => void, onStatus?: (status: SourceStatus) => void): () => void;
  /** What was recorded in the last seconds. */
  trace(seconds?: number): Promise<Blob>;
}

/** Milliseconds between two lists of all leases, where there are many: what is between is told by events. */
export const HOLDERS_MS = 1000;
