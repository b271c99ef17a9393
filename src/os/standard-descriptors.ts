/**
 * Whether the descriptors 0, 1 and 2 are open. Until libuv 1.49 what reads /proc for the platform (memoryUsage(),
 * memoryUsage.rss()) ends the process when it gets one of these numbers, which it does once the program has closed one.
 */
import { existsSync } from "node:fs";
import { process } from "./process.ts";

// What the program puts in its place later is not called.
const exists = existsSync;
const isLinux = process.platform === "linux";

/** True as well where the platform reads no file for it. Three system calls; throws nothing. */
export function areStandardDescriptorsOpen(): boolean {
  return !isLinux || (exists("/proc/self/fd/0") && exists("/proc/self/fd/1") && exists("/proc/self/fd/2"));
}
