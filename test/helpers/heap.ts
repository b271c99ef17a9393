/** Bytes of this thread's heap that can be reached, as the engine's collector tells: no verdict by time. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let collect: (() => void) | undefined;

/** Collects, and lets what hears of it run. */
export async function reachableBytes(): Promise<number> {
  if (collect === undefined) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
  }
  for (let n = 0; n < 3; n++) {
    collect();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().heapUsed;
}

/** By how many bytes a piece of work lets the heap grow. */
export async function growthOf(work: () => unknown): Promise<number> {
  const before = await reachableBytes();
  await work();
  return (await reachableBytes()) - before;
}
