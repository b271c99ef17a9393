/**
 * A process with threads below it, for process-tree.test.ts: `process-tree.child.ts PATH JOB`. It does what each line
 * of its input says, and answers with a line.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { type MessagePort, parentPort, Worker, workerData } from "node:worker_threads";
import { connectProcess, connectToPool } from "../../../src/native.ts";

const WORKERS = new URL("../lane/lineage.worker.ts", import.meta.url);
const [path = "", job = ""] = process.argv.slice(2);

function below(line: string): { worker: Worker; holds: Promise<unknown> } {
  const worker = new Worker(WORKERS, { workerData: { line }, execArgv: [] });
  return { worker, holds: once(worker, "message") };
}

/** Each answers when it is done; "done" is one line of output. */
const jobs: Record<string, () => Promise<void>> = {
  /** Its worker has a worker, which holds two slots, and is there by this letter. */
  async line() {
    const { pool } = await connectToPool(path, { asyncWait: "poll" });
    const { worker, holds } = below(process.argv[4] ?? "");
    await pool.connect(worker);
    await holds;
    if (process.argv[5] === "leaves") pool.leave();
  },
  /** Joins, connects a worker, leaves; and the worker ends. */
  async "left before its worker"() {
    const { pool } = await connectToPool(path, { asyncWait: "poll" });
    const { worker, holds } = below("");
    await pool.connect(worker);
    await holds;
    pool.leave();
    await worker.terminate();
  },
  /** Leaves while a child that never answers is connected. */
  async "left while it connected"() {
    const { pool } = await connectToPool(path, { asyncWait: "poll" });
    const child = mute();
    const pending = connectProcess(pool, child).then(
      () => "connected",
      (error: { code?: string }) => error.code,
    );
    pool.leave();
    await pending;
  },
  /** A thread that joined as a process does, with a worker; all four slots are theirs. */
  async "thread ends"() {
    const worker = new Worker(new URL(import.meta.url), { workerData: { path }, execArgv: [] });
    await once(worker, "message");
    await worker.terminate();
  },
};

let silent: ChildProcess | undefined;
function mute(): ChildProcess {
  silent ??= fork(new URL(import.meta.url), ["", "mute"], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  return silent;
}

if (parentPort !== null) {
  const { path: served } = workerData as { path: string };
  const { pool } = await connectToPool(served, { asyncWait: "poll" });
  pool.tryAcquire();
  pool.tryAcquire();
  const { worker, holds } = below("");
  await pool.connect(worker);
  await holds;
  (parentPort as MessagePort).postMessage("holds");
  setInterval(() => pool, 1e6);
} else if (job === "mute") {
  process.on("message", () => {});
} else {
  console.log("up");
  for await (const said of createInterface({ input: process.stdin })) {
    try {
      await jobs[said]!();
      console.log("done");
    } catch (error) {
      console.log(`${(error as { code?: string }).code}: ${(error as Error).message}`);
    }
  }
  silent?.kill("SIGKILL");
}
