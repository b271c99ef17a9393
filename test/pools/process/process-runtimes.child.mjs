// A pool between two processes of one runtime, as it is shipped: process-runtimes.child.mjs FOLDER [JOB WHERE]
// JOB: "hold" (takes slots of the pool of that name, and stays), "echo" (a lane at that path), none: the parent.
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [folder, job, where] = process.argv.slice(2);
const native = await import(`file://${folder}/native.js`);

if (job === "hold") {
  const pool = native.ProcessPool.attach(where);
  pool.bytes(pool.acquireSync(5000)).fill(3);
  pool.tryAcquire();
  console.log("holding");
  setInterval(() => {}, 1e6);
} else if (job === "echo") {
  const { lane, pool } = await native.connectToPool(where);
  for await (const { lease, data } of lane) {
    pool.bytes(lease)[0]++;
    await lane.send(lease, data);
  }
  pool.leave();
  process.exit(0);
} else {
  const pool = native.ProcessPool.create({ size: 4096, count: 3 });
  const start = (...args) => {
    // Deno and Bun have flags of their own before the file.
    const flags = process.env.CHILD_FLAGS.split(" ").filter((flag) => flag !== "");
    return spawn(process.execPath, [...flags, process.argv[1], folder, ...args], {
      stdio: ["ignore", "pipe", "inherit"],
    });
  };
  const report = { waits: pool.waits };

  const name = `millpond-runtimes-${process.pid}`;
  const published = pool.publish(name);
  if (!published.ok) throw new Error(published.hint);
  const holder = start("hold", name);
  await new Promise((resolve) => holder.stdout.once("data", resolve));
  const own = pool.tryAcquire();
  const waiting = pool.acquire({ timeout: 10_000 });
  holder.kill("SIGKILL");
  const lease = await waiting;
  report.cleared = pool.bytes(lease).every((byte) => byte === 0);
  pool.release(lease);
  pool.release(own);
  published.value.withdraw();

  const path = join(tmpdir(), name);
  const server = await native.serveProcesses(pool, path);
  const echo = start("echo", path);
  const exit = new Promise((resolve) => echo.once("exit", resolve));
  for await (const lane of server) {
    let right = 0;
    for (let n = 0; n < 50; n++) {
      const sent = pool.tryAcquire();
      pool.bytes(sent)[0] = 1;
      await lane.send(sent, { n });
      const back = await lane.receive();
      if (pool.bytes(back.lease)[0] === 2 && back.data.n === n) right++;
      pool.release(back.lease);
    }
    report.right = right;
    await lane.close();
    break;
  }
  server.close();
  report.exit = await exit;
  pool.reclaimEnded();
  report.free = pool.stats().free;
  report.processes = pool.processes().filter((pid) => pid !== 0).length;
  rmSync(path, { force: true });
  pool.leave();
  console.log(JSON.stringify(report));
  process.exit(0);
}
