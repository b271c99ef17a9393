/** Linux, 64 bits. Everything here has been run; docs/native.md says where. */
import { readFileSync } from "node:fs";
import type { Koffi, KoffiLibrary } from "../koffi.ts";
import type { Limits, NativeOps } from "../native-ops.ts";
import { PosixMemory, type PosixNumbers, recyclesRanges } from "../posix/posix.ts";
import { LINUX_SOCKETS, posixSockets } from "../posix/sockets.ts";
import { done, notDone } from "../result.ts";
import { absentDma, absentFutex, absentShared, absentSockets } from "../unsupported.ts";
import { linuxDma } from "./dma.ts";
import { linuxFutex } from "./futex.ts";
import { linuxShared } from "./memfd.ts";

const NUMBERS: PosixNumbers = {
  mapAnon: 0x20,
  mapNoReserve: 0x4000,
  // MADV_HUGEPAGE, MADV_POPULATE_WRITE (Linux 5.14), MADV_DONTNEED, MADV_REMOVE, MADV_DONTDUMP.
  advice: { huge: 14, populate: 23, release: 4, punch: 9, nodump: 16 },
  scPageSize: 30,
  rlimitMemlock: 8,
  rlimitAddressSpace: 9,
  unlimited: 2n ** 64n - 1n,
};

/** Bit of CAP_IPC_LOCK in a capability set: a process that has it may lock without limit. */
const CAP_IPC_LOCK = 14n;

/** The Linux operations. Throws what koffi throws when libc lacks a call. */
export function linuxOps(koffi: Koffi): NativeOps {
  const libc: KoffiLibrary = koffi.load(null);
  const memory = new PosixMemory(koffi, libc, NUMBERS);
  return {
    name: "koffi",
    platform: "linux",
    availability: done(0),
    proven: process.arch === "x64",
    pageSize: memory.pageSize,
    hugePageSize: hugePageSize(),
    releaseZeroes: true,
    recyclesRanges: recyclesRanges(),
    limits: () => effectiveLimits(memory.limits()),
    addressOf: (view) => memory.addressOf(view),
    lock: (bytes) => memory.lock(bytes),
    unlock: (bytes) => memory.unlock(bytes),
    advise: (bytes, advice) => memory.advise(bytes, advice),
    map: (bytes, align) => memory.map(bytes, align),
    retire: (address, bytes) => memory.retire(address, bytes),
    shared: orAbsent("shared memory", absentShared, () => linuxShared(libc, memory)),
    sockets: orAbsent("descriptor sockets", absentSockets, () => posixSockets(libc, memory, LINUX_SOCKETS)),
    futex: orAbsent("futex", absentFutex, () => linuxFutex(libc, memory)),
    dma: orAbsent("DMA buffers", absentDma, () => linuxDma(libc, memory)),
  };
}

/** A part whose calls an old libc lacks is absent by itself and takes nothing else along. */
function orAbsent<T>(what: string, absent: (why: ReturnType<typeof notDone>) => T, build: () => T): T {
  try {
    return build();
  } catch (error) {
    return absent(notDone("unsupported", "NO_SYMBOL", `${what}: ${(error as Error).message}`));
  }
}

function effectiveLimits(limits: Limits): Limits {
  const mask = /^CapEff:\s*([0-9a-f]+)/m.exec(read("/proc/self/status"))?.[1];
  if (mask === undefined || ((BigInt(`0x${mask}`) >> CAP_IPC_LOCK) & 1n) === 0n) return limits;
  return { ...limits, memlock: Number.POSITIVE_INFINITY };
}

/** 0 where the kernel has no transparent huge pages, or where they are switched off for everybody. */
function hugePageSize(): number {
  if (!/\[(?:always|madvise)\]/.test(read("/sys/kernel/mm/transparent_hugepage/enabled"))) return 0;
  return Number.parseInt(read("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"), 10) || 0;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
