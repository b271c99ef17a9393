/**
 * Frames from one process to another without a copy: a pool that both share, and a lane between them. The camera fills frames,
 * the other process looks at them; then it is killed with a frame in its hands, and the frame comes back by itself.
 *
 *     npm install koffi
 *     node examples/two-process-frames.ts
 */
import { fork } from "node:child_process";
import { connectProcess, ProcessPool, pageOps, receiveProcess } from "../src/native.ts";

const FRAME: number = 1920 * 1080 * 1.5;
const FRAMES = 200;

interface Picture {
  readonly pts: number;
  /** Mean of the samples that were looked at; in the answer. */
  readonly luma?: number;
}

async function viewer(): Promise<void> {
  const { lane, pool } = await receiveProcess<Picture>();
  for await (const { lease, data } of lane) {
    const bytes = pool.bytes(lease);
    let sum = 0;
    for (let at = 0; at < FRAME; at += 4096) sum += bytes[at]!;
    // The slot goes back with the answer: from here on it is the camera's again.
    if (data.pts < FRAMES) await lane.send(lease, { pts: data.pts, luma: sum / Math.ceil(FRAME / 4096) });
  }
}

async function camera(): Promise<void> {
  // Four frames, made once. "never": both processes are one program; between strangers the default clears what comes back.
  const pool = ProcessPool.create({ size: FRAME, count: 4, name: "camera", zero: "never" });
  const child = fork(import.meta.filename, ["viewer"]);
  const lane = await connectProcess<Picture>(pool, child);

  const answers = (async () => {
    let luma = 0;
    for (let n = 0; n < FRAMES; n++) {
      const { lease, data } = (await lane.receive())!;
      luma += data.luma ?? 0;
      pool.release(lease);
    }
    return luma / FRAMES;
  })();

  const began = performance.now();
  for (let pts = 0; pts < FRAMES; pts++) {
    // Waits while the viewer has all four: nothing piles up.
    const lease = await pool.acquire({ timeout: 5000 });
    pool.bytes(lease).fill(pts & 255);
    await lane.send(lease, { pts });
  }
  const luma = await answers;
  const ms = performance.now() - began;
  console.log(`${FRAMES} frames of ${(FRAME / 1e6).toFixed(1)} MB in ${ms.toFixed(0)} ms, mean ${luma.toFixed(1)}`);

  await lane.send(await pool.acquire(), { pts: FRAMES });
  console.log(`the viewer holds ${pool.stats().held} frame, and is killed`);
  const killed = performance.now();
  child.kill("SIGKILL");
  while (pool.stats().free < pool.count) await new Promise((resolve) => setTimeout(resolve, 1));
  console.log(`all ${pool.count} frames are free again after ${(performance.now() - killed).toFixed(0)} ms`);
  pool.leave();
}

const { availability } = pageOps();
if (process.argv[2] === "viewer") await viewer();
else if (availability.ok) await camera();
else console.log(`memory between processes is not to be had here: ${availability.hint}`);
