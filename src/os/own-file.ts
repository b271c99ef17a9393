/**
 * The file of a socket that this process listens at, which is removed with it, or when the process ends by itself: that
 * file, and not another one that has its path by then. A socket that is open keeps its inode from being used again, so
 * remove the file before the socket is closed.
 */
import { lstatSync, rmSync } from "node:fs";
import { resolve } from "node:path";
import { onExit } from "./process.ts";

// What the program puts in their place later is not called.
const [look, removeFile] = [lstatSync, rmSync];

/**
 * Removes the file, unless it is gone, or another one's, or may not be removed: a socket without a server is harmless.
 */
export type RemoveOwn = () => void;

/** For the file that is at that path now. Throws what the file system throws. */
export function ownFile(path: string): RemoveOwn {
  // The working directory may be another one when it is removed.
  const absolute = resolve(path);
  const { dev, ino } = look(absolute, { bigint: true });
  const remove = (): void => {
    forget();
    try {
      const now = look(absolute, { bigint: true });
      if (now.dev === dev && now.ino === ino) removeFile(absolute);
    } catch {
      // It is left behind then: who ends a server has no use for this error.
    }
  };
  const forget = onExit(remove);
  return remove;
}
