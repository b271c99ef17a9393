/**
 * The descriptors 0, 1 and 2, which a program may have closed: then what is opened next gets the number. Until libuv
 * 1.49 what reads /proc for the platform (memoryUsage(), memoryUsage.rss()) ends the process when that is what it gets.
 */
import { closeSync, existsSync } from "node:fs";
import { process } from "./process.ts";

// What the program puts in their place later is not called.
const exists = existsSync;
const closeDescriptor = closeSync;
const isLinux = process.platform === "linux";

/** True as well where the platform reads no file for it. Three system calls; throws nothing. */
export function areStandardDescriptorsOpen(): boolean {
  return !isLinux || (exists("/proc/self/fd/0") && exists("/proc/self/fd/1") && exists("/proc/self/fd/2"));
}

/** What a socket or server of Node is over; null when it is closed. */
interface Handled {
  _handle: { readonly fd?: unknown; close(): void } | null;
}

/**
 * Closes a socket or server that has got the number of a standard descriptor because the program had closed that:
 * otherwise what the program prints, or opens by that number, goes there. The platform's own close leaves such a
 * descriptor open. True: it is closed.
 */
export function closeOnStandard(owner: object): boolean {
  const { _handle: handle } = owner as Handled;
  const descriptor = handle?.fd;
  if (typeof descriptor !== "number" || descriptor < 0 || descriptor > 2) return false;
  // First the handle: Socket.destroy() looks at process.stderr, which would be made over this very descriptor.
  handle!.close();
  try {
    closeDescriptor(descriptor);
  } catch {
    // A platform that closes it after all.
  }
  return true;
}
