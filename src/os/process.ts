/**
 * The process object, kept from when this was loaded: a program may delete or replace the global one later. It is not
 * imported from `node:process`, because that import reads every property, and reading `stdin` opens it: then
 * `readFileSync(0)` of the program fails with EAGAIN.
 */
export const process: NodeJS.Process = globalThis.process;

/**
 * Calls `listener` when the process ends. It is one listener more than the program has, and must not be the one that
 * Node warns of. Returns what ends that.
 */
export function onExit(listener: () => void): () => void {
  allowListeners(1);
  process.on("exit", listener);
  let isOver = false;
  return () => {
    if (isOver) return;
    isOver = true;
    process.removeListener("exit", listener);
    allowListeners(-1);
  };
}

/** 0 stands for any number of listeners. */
function allowListeners(more: number): void {
  const most = process.getMaxListeners();
  if (most > 0) process.setMaxListeners(Math.max(1, most + more));
}
