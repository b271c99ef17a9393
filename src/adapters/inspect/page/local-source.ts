/**
 * The source inside a web application: the pools of the page itself. It records while somebody is subscribed, and has
 * no timer and no recorder when nobody is.
 */
import { RealmInspector } from "../../../observe/realm-inspector.ts";
import type { InspectorUpdate } from "../../../observe/snapshot.ts";
import { systemClock } from "../../../util/clock.ts";
import { Share } from "../share.ts";
import { traceFileSteps } from "../trace-file.ts";
import { HOLDERS_MS, type PageSource } from "./source.ts";

/** Chrome's own; others have none. */
interface MemoryInfo {
  readonly usedJSHeapSize: number;
}

/** A trace takes a fifth of the page's thread while it is made. */
const TRACE_RESTS = 4;

/** See the module text. */
export class LocalSource implements PageSource {
  readonly #interval: number;
  readonly #realm: RealmInspector;

  /** An update in `interval` milliseconds. */
  constructor(interval: number) {
    this.#interval = interval;
    const { memory } = performance as { readonly memory?: MemoryInfo };
    const heap = (): { used: number; external: number } => ({ used: memory!.usedJSHeapSize, external: 0 });
    this.#realm = new RealmInspector({
      runtime: browserName(navigator.userAgent),
      ...(memory === undefined ? {} : { heap }),
    });
  }

  /** See {@link PageSource}. */
  subscribe(onUpdate: (update: InspectorUpdate) => void): () => void {
    const endLook = this.#realm.look();
    let next = 0;
    let listedAt = Number.NEGATIVE_INFINITY;
    let isOver = false;
    const tell = (): void => {
      const told = this.#realm.eventsFrom(next);
      next = told.next;
      const { events, dropped } = told;
      const now = performance.now();
      const isListed = dropped > 0 || now - listedAt >= HOLDERS_MS;
      if (isListed) listedAt = now;
      onUpdate({ snapshot: this.#snapshot(isListed), events, dropped });
    };
    const timer = setInterval(tell, this.#interval);
    // Not at once: who subscribes has not got the function that ends it.
    queueMicrotask(() => {
      if (!isOver) tell();
    });
    return () => {
      if (isOver) return;
      isOver = true;
      clearInterval(timer);
      endLook();
    };
  }

  /** See {@link PageSource}. */
  async trace(seconds?: number): Promise<Blob> {
    const share = new Share(TRACE_RESTS, systemClock);
    const steps = this.#realm.recordingSteps();
    const recording = steps === undefined ? undefined : await share.finish(steps);
    const about = { title: document.title, pid: 0 };
    const file = traceFileSteps(recording === undefined ? [] : [recording], about, seconds);
    const pieces: string[] = [];
    for (;;) {
      const { done, value } = await share.slice(file);
      if (done) return new Blob(pieces, { type: "application/json" });
      if (value !== undefined) pieces.push(value);
    }
  }

  #snapshot(isListed: boolean): InspectorUpdate["snapshot"] {
    const realm = this.#realm.snapshot(isListed);
    return {
      version: 1,
      time: realm.time,
      pid: 0,
      title: document.title,
      uptime: performance.now() / 1000,
      rss: 0,
      cpu: { user: 0, system: 0 },
      realms: [realm],
    };
  }
}

/** "Chrome 143", from what a browser calls itself. */
function browserName(agent: string): string {
  for (const name of ["Firefox", "Edg", "Chrome"]) {
    const version = new RegExp(`\\b${name}/(\\d+)`).exec(agent)?.[1];
    if (version !== undefined) return `${name === "Edg" ? "Edge" : name} ${version}`;
  }
  const safari = /\bVersion\/([\d.]+).*\bSafari\//.exec(agent)?.[1];
  return safari === undefined ? "Browser" : `Safari ${safari}`;
}
