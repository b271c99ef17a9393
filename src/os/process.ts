/**
 * The process object, kept from when this was loaded: a program may delete or replace the global one later. It is not
 * imported from `node:process`, because that import reads every property, and reading `stdin` opens it: then
 * `readFileSync(0)` of the program fails with EAGAIN.
 */
export const process: NodeJS.Process = globalThis.process;

// What a program puts in their place later is not called.
const { apply } = Reflect;
const { max } = Math;
const { on, removeListener, getMaxListeners, setMaxListeners } = process;

/**
 * Calls `listener` when the process ends. It is one listener more than the program has, and must not be the one that
 * Node warns of. What it throws is dropped: the program's own listeners come after it, and its exit code is its own.
 * Returns what ends that.
 */
export function onExit(listener: () => void): () => void {
  const quiet = (): void => {
    try {
      listener();
    } catch {
      // Nobody is left who could be told.
    }
  };
  allowListeners(1);
  apply(on, process, ["exit", quiet]);
  let isOver = false;
  return () => {
    if (isOver) return;
    isOver = true;
    apply(removeListener, process, ["exit", quiet]);
    allowListeners(-1);
  };
}

/** 0 stands for any number of listeners. */
function allowListeners(more: number): void {
  const most = apply(getMaxListeners, process, []) as number;
  if (most > 0) apply(setMaxListeners, process, [max(1, most + more)]);
}
