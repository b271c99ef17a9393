/** The other side of the process lanes' tests: `process-lane.child.ts JOB WAY`, WAY "ipc", "inherited" or a path. */
import { spawn } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import {
  connectToPool,
  type ProcessConnection,
  ProcessPool,
  receiveProcess,
  serveProcesses,
} from "../../../src/native.ts";
import { isMillpondError } from "../../../src/util/errors.ts";

interface Data {
  readonly n: number;
}

const [job = "", way = ""] = process.argv.slice(2);

const say = (value: unknown): void => {
  console.log(JSON.stringify(value));
};

/** Starts a process that has all sockets of this one, and outlives it. */
function leaveSockets(): void {
  const sockets = readdirSync("/proc/self/fd")
    .map(Number)
    .filter((descriptor) => {
      try {
        return descriptor > 2 && readlinkSync(`/proc/self/fd/${descriptor}`).startsWith("socket:");
      } catch {
        // The one of the listing itself.
        return false;
      }
    });
  say(spawn("sleep", ["1000"], { stdio: ["ignore", "ignore", "ignore", ...sockets] }).pid);
}

async function joined(): Promise<ProcessConnection<Data>> {
  if (way === "ipc") return await receiveProcess<Data>();
  if (way === "inherited") return await receiveProcess<Data>({ descriptor: 4 });
  return await connectToPool<Data>(way);
}

if (job === "deaf") setInterval(() => {}, 1e6);
else if (job === "leave at once") process.exit(0);
else if (job === "serve and leave sockets") {
  const lanes = await serveProcesses(ProcessPool.create({ size: 4096, count: 2 }), way);
  say("serves");
  for await (const lane of lanes) {
    leaveSockets();
    await lane.receive();
  }
} else if (job === "refused") {
  try {
    await joined();
    say("joined");
  } catch (error) {
    say(isMillpondError(error) ? { code: error.code, message: error.message } : String(error));
  }
  process.exit(0);
} else {
  const { lane, pool } = await joined();
  if (job === "report the end") {
    try {
      for await (const { lease } of lane) lease.release();
      say("end");
    } catch (error) {
      say((error as { code?: string }).code);
    }
    process.exit(0);
  } else if (job === "produce") {
    for (let n = 0; n < 20; n++) {
      const lease = await pool.acquire({ timeout: 100_000 });
      pool.bytes(lease).fill(n);
      await lane.send(lease, { n });
    }
    await lane.close();
  } else if (job === "leave sockets") {
    leaveSockets();
    await lane.receive();
  } else if (job === "hold") {
    let held = 0;
    for await (const _ of lane) if (++held === 3) say({ holds: held });
  } else if (job === "send and die") {
    // The lease is the parent's, and the message about it goes with this process.
    lane.trySend(pool.tryAcquire()!, { n: 1 });
    process.kill(process.pid, "SIGKILL");
  } else if (job === "send back and die") {
    lane.trySend((await lane.receive())!.lease, { n: 1 });
    process.kill(process.pid, "SIGKILL");
  } else if (job === "block for a slot") {
    pool.acquireSync(100_000).release();
    say("has it");
  } else if (job === "take and stay") {
    pool.bytes(pool.tryAcquire()!).fill(66);
    await new Promise(() => setInterval(() => {}, 1e6));
  } else if (job === "close at once") await lane.close();
  else if (job === "flood") {
    // Leases go round as fast as they can, until this process is killed.
    for await (const { lease, data } of lane) await lane.send(lease, data);
  } else {
    for await (const { lease, data } of lane) {
      const bytes = pool.bytes(lease);
      const sum = bytes.reduce((total, byte) => total + byte, 0);
      await lane.send(lease, { n: sum + data.n });
      try {
        pool.bytes(lease);
        say("still has it");
      } catch (error) {
        if (!isMillpondError(error, "ERR_USE_AFTER_RELEASE")) say(String(error));
      }
    }
  }
  pool.leave();
  if (process.connected) process.disconnect();
}
