/**
 * A thread of a workers stage: loads the module once, and calls its function with frames that lie in shared memory.
 *
 * Life: it says "loading" when its own files are there, and "ready" or "broken" when the module is loaded; messages
 * that come earlier wait. A frame in a pool's slot is retained before the function sees it and released after, so that
 * no other thread can get the slot meanwhile. "stop" closes the port, which ends the thread when nothing of the
 * module's is left to do.
 */
import { workerData } from "node:worker_threads";
import { stagesWatched, watchedCall } from "../../observe/stages.ts";
import { SharedPool } from "../../pools/shared/shared-pool.ts";
import type { FromThread, ThreadData, ToThread, WorkerFormat, WorkerFrame } from "./protocol.ts";
import { describeThrown } from "./thrown.ts";

type WorkerFunction = (frame: WorkerFrame, options: unknown) => unknown;

const given = workerData as ThreadData;
const { module, options, record } = given;
// Not parentPort: that one is the module's, whatever it does with it. Nor does the module need to find this one.
const port = given.port!;
delete given.port;
const memories: Map<number, SharedArrayBuffer> = new Map();
const pools: Map<number, SharedPool> = new Map();
let format: WorkerFormat = { kind: "bytes" };

// Most threads record nothing, and load nothing for it.
const recorder =
  record === undefined
    ? undefined
    : (await import("../../observe/recorder.ts")).record({ thread: record.thread, capacity: record.capacity });
const stage = { name: record?.stage ?? "" };
const call = (run: WorkerFunction, frame: WorkerFrame): unknown =>
  stagesWatched ? watchedCall(stage, `frame ${frame.index}`, () => run(frame, options)) : run(frame, options);

function post(message: FromThread): void {
  port.postMessage(message);
}

async function load(): Promise<WorkerFunction | undefined> {
  post({ type: "loading" });
  try {
    const loaded = (await import(module)) as { default?: unknown };
    if (typeof loaded.default === "function") return loaded.default as WorkerFunction;
    post({ type: "broken", message: "it has no default export that is a function" });
  } catch (error) {
    post({ type: "broken", message: isAbsent(error) ? "there is no such file" : describeThrown(error, module) });
  }
  return undefined;
}

/** True where the module itself is missing, and not one that it imports. */
function isAbsent(error: unknown): boolean {
  if (typeof error !== "object" || error === null) return false;
  try {
    const { code, url } = error as { readonly code?: unknown; readonly url?: unknown };
    return code === "ERR_MODULE_NOT_FOUND" && url === module;
  } catch {
    return false;
  }
}

async function work(
  run: WorkerFunction,
  message: Extract<ToThread, { type: "work" }>,
  present: WorkerFormat,
): Promise<void> {
  const { index, place, offset, length, pts, duration } = message;
  try {
    let result: unknown;
    if (!("lease" in place)) {
      const memory = "moved" in place ? place.moved : memories.get(place.memory)!;
      const bytes = new Uint8Array(memory, offset, length);
      result = await call(run, { bytes, index, pts, duration, format: present });
    } else {
      const pool = pools.get(place.pool)!;
      // Throws when the lease is over; from here on nobody else can get the slot.
      pool.retainId(place.lease);
      try {
        const bytes = pool.bytesOf(place.lease).subarray(offset, offset + length);
        result = await call(run, { bytes, index, pts, duration, format: present });
      } finally {
        pool.releaseId(place.lease);
      }
    }
    post({ type: "done", index, result });
  } catch (error) {
    // A result that cannot be cloned arrives here too.
    post({ type: "failed", index, message: describeThrown(error, module) });
  }
}

/** Messages wait here until the module is loaded. */
const run = load();
port.on("message", (message: ToThread) => {
  if (message.type === "memory") memories.set(message.id, message.buffer);
  else if (message.type === "pool") pools.set(message.handle.pool, SharedPool.attach(message.handle));
  else if (message.type === "leave") pools.delete(message.pool);
  else if (message.type === "format") format = message.format;
  else if (message.type === "stop") port.close();
  else if (message.type === "recording") recorder && post({ type: "recording", recording: recorder.recording() });
  else {
    const present = format;
    void run.then((loaded) => (loaded === undefined ? undefined : work(loaded, message, present)));
  }
});
void run.then((loaded) => loaded !== undefined && post({ type: "ready" }));
