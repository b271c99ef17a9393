/** A frame of 8 MB to a worker and back, 4 under way, one byte touched on each side: by lane, and by hand. */
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { leasePool, receiveLane } from "../../src/shared.ts";
import { effortFromEnvironment } from "../lib/protocol.ts";
import { median } from "../lib/statistics.ts";
import { emit, openWindow } from "../lib/subject.ts";
import { FRAME_BYTES } from "../lib/trace.ts";

const IN_FLIGHT = 4;
const which = isMainThread ? process.argv[2] : (workerData as string);

/** Sends `n` frames there and back. */
type Trip = (n: number) => Promise<void>;

async function byLane(worker: Worker, transport: "shared" | "transfer"): Promise<Trip> {
  const pool = leasePool({ size: FRAME_BYTES, count: IN_FLIGHT, transport });
  const lane = await pool.connect(worker, { window: IN_FLIGHT });
  return async (n) => {
    for (let sent = 0, back = 0; back < n; ) {
      for (
        let lease = sent < n ? pool.tryAcquire() : undefined;
        lease !== undefined;
        lease = sent < n ? pool.tryAcquire() : undefined
      ) {
        pool.bytes(lease)[0] = sent++;
        await lane.send(lease);
      }
      const { lease } = (await lane.receive())!;
      pool.bytes(lease)[0]!++;
      pool.release(lease);
      back++;
    }
  };
}

function byHand(worker: Worker, move: boolean): Trip {
  const frames = Array.from({ length: IN_FLIGHT }, () => new Uint8Array(FRAME_BYTES));
  let done = (): void => {};
  let left = 0;
  let under = 0;
  const post = (frame: Uint8Array<ArrayBuffer>): void => {
    frame[0]!++;
    left--;
    under++;
    worker.postMessage(frame, move ? [frame.buffer] : []);
  };
  worker.on("message", (frame: Uint8Array<ArrayBuffer>) => {
    under--;
    frame[0]!++;
    if (left > 0) post(frame);
    else {
      frames.push(frame);
      if (under === 0) done();
    }
  });
  return (n) =>
    new Promise((resolve) => {
      done = resolve;
      left = n;
      for (const frame of frames.splice(0).slice(0, IN_FLIGHT)) post(frame);
    });
}

async function far(): Promise<void> {
  if (which === "clone" || which === "move") {
    parentPort!.on("message", (frame: Uint8Array<ArrayBuffer>) => {
      frame[0]!++;
      parentPort!.postMessage(frame, which === "move" ? [frame.buffer] : []);
    });
    return;
  }
  const lane = await receiveLane(parentPort!);
  for await (const { lease } of lane) {
    lane.pool.bytes(lease)[0]!++;
    await lane.send(lease);
  }
}

async function near(): Promise<void> {
  if (which !== "shared" && which !== "transfer" && which !== "clone" && which !== "move") {
    throw new Error("which one? shared, transfer, clone, move");
  }
  const worker = new Worker(new URL(import.meta.url), { workerData: which });
  const trip = which === "clone" || which === "move" ? byHand(worker, which === "move") : await byLane(worker, which);
  const effort = effortFromEnvironment();
  // 24 ms a repetition, as the other subjects of two threads.
  let n = 2 * IN_FLIGHT;
  let elapsed = 0;
  const end = performance.now() + effort.warmUpNs / 1e6 + 200;
  do {
    const started = performance.now();
    await trip(n);
    elapsed = (performance.now() - started) * 1e6;
    if (elapsed < effort.repetitionNs * 20) n *= 2;
  } while (performance.now() < end);
  const window = openWindow();
  const times: number[] = [];
  for (let i = 0; i < effort.repetitions; i++) {
    const started = performance.now();
    await trip(n);
    times.push(((performance.now() - started) * 1e6) / n);
  }
  const counted = await window.close();
  emit({
    ns: median(times),
    p999: null,
    ops: n * times.length,
    ...counted,
    library: which.length > 5 ? "millpond" : "node",
  });
  await worker.terminate();
}

await (isMainThread ? near() : far());
