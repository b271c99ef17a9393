/** Linux futexes on memory that several processes share (the non-private kind), by the bare system call. */
import { arch } from "node:process";
import type { KoffiLibrary } from "../koffi.ts";
import type { FutexOps } from "../native-ops.ts";
import type { PosixMemory } from "../posix/posix.ts";
import { made, notDone } from "../result.ts";

/** The number of the call on each 64-bit architecture. */
const FUTEX_NUMBER: Readonly<Record<string, number>> = { x64: 202, arm64: 98, riscv64: 98, loong64: 98, ppc64: 221 };

const FUTEX_WAIT = 0;
const FUTEX_WAKE = 1;

/** Throws when this architecture's number is not known, or libc has no `syscall`. */
export function linuxFutex(libc: KoffiLibrary, memory: PosixMemory): FutexOps {
  const number = FUTEX_NUMBER[arch];
  if (number === undefined) throw new Error(`no futex number is known for ${arch}`);
  // Fixed arguments although `syscall` is variadic: on 64-bit Linux both are passed alike.
  const call = libc.func("syscall", "long", ["long", "uintptr_t", "int", "int", "void *", "uintptr_t", "int"]);
  // struct timespec; one a thread suffices, because a wait blocks its thread.
  const timespec = new BigInt64Array(2);
  return {
    wait(words, index, expected, milliseconds) {
      const nanoseconds = BigInt(Math.max(0, Math.round(milliseconds * 1e6)));
      timespec[0] = nanoseconds / 1_000_000_000n;
      timespec[1] = nanoseconds % 1_000_000_000n;
      const address = wordAddress(memory, words, index);
      if (Number(call(number, address, FUTEX_WAIT, expected, timespec, 0, 0)) === 0) return made("woken");
      const errno = memory.errno();
      if (errno === "EAGAIN") return made("changed");
      if (errno === "ETIMEDOUT") return made("timeout");
      // A signal came: nobody woke us, and the caller looks at the word again.
      if (errno === "EINTR") return made("woken");
      return notDone("failed", errno, "futex wait; the word must be in live memory, 4-byte aligned");
    },
    wake(words, index, count) {
      const woken = Number(call(number, wordAddress(memory, words, index), FUTEX_WAKE, count, null, 0, 0));
      return woken < 0 ? memory.failed("futex", "wake; the word must be in live memory, 4-byte aligned") : made(woken);
    },
  };
}

function wordAddress(memory: PosixMemory, words: Int32Array, index: number): bigint {
  return memory.addressOf(words) + BigInt(index * 4);
}
