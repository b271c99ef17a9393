/**
 * macOS. Written from its documentation and headers and NOT RUN: `proven` is false until somebody runs `npm run
 * test:native` there and says so.
 */
import type { Koffi, KoffiLibrary } from "./koffi.ts";
import {
  absentDma,
  absentFutex,
  absentShared,
  absentSockets,
  type FutexOps,
  type NativeOps,
  orAbsent,
  type SharedOps,
} from "./native-ops.ts";
import { PosixMemory, type PosixNumbers, recyclesRanges } from "./posix.ts";
import { done, made, notDone } from "./result.ts";
import { DARWIN_SOCKETS, posixSockets } from "./sockets.ts";

const NUMBERS: PosixNumbers = {
  mapAnon: 0x1000,
  mapNoReserve: 0x40,
  // MADV_FREE_REUSABLE: what is read afterwards is undefined until it is written. There are no huge pages to ask for on
  // arm64, and MADV_WILLNEED only reads ahead, so neither "huge" nor "populate" is claimed.
  advice: { release: 7 },
  scPageSize: 29,
  rlimitMemlock: 6,
  rlimitAddressSpace: 5,
  unlimited: 2n ** 63n - 1n,
};

/** OS_SYNC_WAIT_ON_ADDRESS_SHARED and OS_CLOCK_MACH_ABSOLUTE_TIME. */
const SHARED = 1;
const MACH_ABSOLUTE_TIME = 32;

/** The macOS operations. Throws what koffi throws when libSystem lacks a call. */
export function darwinOps(koffi: Koffi): NativeOps {
  const libc = koffi.load(null);
  const memory = new PosixMemory(koffi, libc, NUMBERS);
  return {
    name: "koffi",
    platform: "darwin",
    availability: done(0),
    proven: false,
    pageSize: memory.pageSize,
    hugePageSize: 0,
    releaseZeroes: false,
    recyclesRanges: recyclesRanges(),
    limits: () => memory.limits(),
    addressOf: (view) => memory.addressOf(view),
    lock: (bytes) => memory.lock(bytes),
    unlock: (bytes) => memory.unlock(bytes),
    advise: (bytes, advice) => memory.advise(bytes, advice),
    map: (bytes, align) => memory.map(bytes, align),
    retire: (address, bytes) => memory.retire(address, bytes),
    shared: darwinShared(),
    sockets: orAbsent("descriptor sockets", absentSockets, () => posixSockets(libc, memory, DARWIN_SOCKETS)),
    futex: orAbsent("os_sync_wait_on_address (macOS 14.4)", absentFutex, () => darwinFutex(libc, memory)),
    dma: absentDma(notDone("unsupported", "NO_DMABUF", "DMA buffers are a Linux thing")),
  };
}

/**
 * macOS has no seals. A POSIX shared memory object can be sized once only, which would do as well, but nobody has shown
 * here that it holds and that such an object may be laid over engine memory: until then this says so instead of
 * guessing.
 */
function darwinShared(): SharedOps {
  return absentShared(
    notDone(
      "unsupported",
      "NOT_PROVEN",
      "sharing between processes is not offered on macOS before it has been tested there",
    ),
  );
}

function darwinFutex(libc: KoffiLibrary, memory: PosixMemory): FutexOps {
  const wait = libc.func("os_sync_wait_on_address_with_timeout", "int", [
    "uintptr_t",
    "uint64_t",
    "size_t",
    "uint32_t",
    "uint32_t",
    "uint64_t",
  ]);
  const wakeAny = libc.func("os_sync_wake_by_address_any", "int", ["uintptr_t", "size_t", "uint32_t"]);
  const wakeAll = libc.func("os_sync_wake_by_address_all", "int", ["uintptr_t", "size_t", "uint32_t"]);
  const addressOfWord = (words: Int32Array, index: number): bigint => memory.addressOf(words) + BigInt(index * 4);
  return {
    wait(words, index, expected, milliseconds) {
      const nanoseconds = BigInt(Math.max(1, Math.round(milliseconds * 1e6)));
      const address = addressOfWord(words, index);
      if (Number(wait(address, expected >>> 0, 4, SHARED, MACH_ABSOLUTE_TIME, nanoseconds)) >= 0) return made("woken");
      const errno = memory.errno();
      if (errno === "ETIMEDOUT") return made("timeout");
      if (errno === "EINTR" || errno === "EFAULT") return made("woken");
      return notDone("failed", errno, "os_sync_wait_on_address");
    },
    wake(words, index, count) {
      const call = count === 1 ? wakeAny : wakeAll;
      if (Number(call(addressOfWord(words, index), 4, SHARED)) === 0) return made(1);
      const errno = memory.errno();
      return errno === "ENOENT" ? made(0) : notDone("failed", errno, "os_sync_wake_by_address");
    },
  };
}
