/** What this thread is called, for people. */

interface Worker {
  readonly isMainThread: boolean;
  readonly threadId: number;
}

interface Platform {
  readonly process?: { getBuiltinModule?: (name: string) => unknown };
  readonly WorkerGlobalScope?: unknown;
  readonly name?: unknown;
}

/** "main", "worker 2", a web worker's own name. Node before 20.16 does not say: "thread". */
export function threadName(): string {
  const { process, WorkerGlobalScope, name } = globalThis as Platform;
  if (process === undefined) {
    if (WorkerGlobalScope === undefined) return "main";
    return typeof name === "string" && name !== "" ? name : "worker";
  }
  try {
    const threads = process.getBuiltinModule?.("node:worker_threads") as Worker | undefined;
    if (threads === undefined) return "thread";
    return threads.isMainThread ? "main" : `worker ${threads.threadId}`;
  } catch {
    return "thread";
  }
}
