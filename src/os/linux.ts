/**
 * What Linux can do, 64 bits: pages, futexes, memory that processes share, memory of devices. Everything but the last
 * has been run; docs/native.md says where.
 */
import { readFileSync, readlinkSync } from "node:fs";
import { alignUp } from "../util/align.ts";
import type { Koffi, KoffiLibrary, NativeFunction } from "./koffi.ts";
import {
  absentDma,
  absentFutex,
  absentShared,
  absentSockets,
  type DescriptorFacts,
  type DmaOps,
  type FutexOps,
  type Limits,
  type NativeOps,
  orAbsent,
  type SharedOps,
} from "./native-ops.ts";
import { PosixMemory, type PosixNumbers, recyclesRanges } from "./posix.ts";
import { process } from "./process.ts";
import { done, made, type NotDone, notDone, type Outcome, systemFailure } from "./result.ts";
import { LINUX_SOCKETS, posixSockets } from "./sockets.ts";
import { ThreadDescriptors } from "./thread-descriptors.ts";

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
  const descriptors = new ThreadDescriptors(libc, memory);
  const own = (descriptor: number): Outcome<number> => descriptors.own(descriptor);
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
    shared: orAbsent("shared memory", absentShared, () => linuxShared(libc, memory, descriptors)),
    sockets: orAbsent("descriptor sockets", absentSockets, () => posixSockets(libc, memory, LINUX_SOCKETS, own)),
    futex: orAbsent("futex", absentFutex, () => linuxFutex(libc, memory)),
    dma: orAbsent("DMA buffers", absentDma, () => linuxDma(libc, memory)),
  };
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

/* Linux futexes on memory that several processes share (the non-private kind), by the bare system call. */

/** The number of the call on each 64-bit architecture. */
const FUTEX_NUMBER: Readonly<Record<string, number>> = { x64: 202, arm64: 98, riscv64: 98, loong64: 98, ppc64: 221 };

const FUTEX_WAIT = 0;
const FUTEX_WAKE = 1;

/** Throws when this architecture's number is not known, or libc has no `syscall`. */
function linuxFutex(libc: KoffiLibrary, memory: PosixMemory): FutexOps {
  const { arch } = process;
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

/*
 * Memory that processes share on Linux: a memfd whose size is sealed, so that no peer can shrink it under a view (which
 * would end this process by SIGBUS). Whatever comes from outside is mapped only when the kernel says that it is sealed.
 */

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
/** Linux 6.3: the object can never be executed. Older kernels answer EINVAL. */
const MFD_NOEXEC_SEAL = 8;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const F_SEAL_SEAL = 1;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;
const O_RDWR = 2;
// LOCK_EX | LOCK_NB.
const LOCK_AT_ONCE = 6;
const RLIMIT_FSIZE = 1;
const O_CLOEXEC = 0o2000000;
// statx rather than fstat: its struct is the same on every architecture. Rather than the runtime's own, because that
// wants a permission on Deno, and counts descriptors in its own way there.
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;
const STATX_BYTES = 256;

/** Throws what koffi throws when libc lacks a call (memfd_create: glibc before 2.27). */
function linuxShared(libc: KoffiLibrary, memory: PosixMemory, descriptors: ThreadDescriptors): SharedOps {
  const memfdCreate = libc.func("memfd_create", "int", ["str", "uint"]);
  const ftruncate = libc.func("ftruncate", "int", ["int", "int64_t"]);
  const fchmod = libc.func("fchmod", "int", ["int", "uint"]);
  const fcntl = libc.func("fcntl", "int", ["int", "int", "int"]);
  const open = libc.func("open", "int", ["str", "int"]);
  const flock = libc.func("flock", "int", ["int", "int"]);
  const statx = libc.func("statx", "int", ["int", "str", "int", "uint", "void *"]);
  const geteuid = libc.func("geteuid", "uint", []);
  const closeDescriptor = libc.func("close", "int", ["int"]);

  const inspect = (descriptor: number): Outcome<DescriptorFacts> => {
    const seals = Number(fcntl(descriptor, F_GET_SEALS, 0));
    if (seals < 0) {
      const errno = memory.errno();
      if (errno === "EBADF") return notDone("failed", errno, `descriptor ${descriptor} is not open`);
      return notDone("refused", "NOT_SEALED", `descriptor ${descriptor} is not a memfd: it can have no seals`);
    }
    const facts = new DataView(new ArrayBuffer(STATX_BYTES));
    if (Number(statx(descriptor, "", AT_EMPTY_PATH, STATX_BASIC_STATS, new Uint8Array(facts.buffer))) < 0) {
      return memory.failed("statx", `descriptor ${descriptor}`);
    }
    const uid = facts.getUint32(20, true);
    return made({
      bytes: Number(facts.getBigUint64(40, true)),
      inode: facts.getBigUint64(32, true),
      uid,
      isOwn: uid === Number(geteuid()),
      mode: facts.getUint16(28, true) & 0o777,
      sizeSealed: (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) === (F_SEAL_SHRINK | F_SEAL_GROW),
      sealsSealed: (seals & F_SEAL_SEAL) !== 0,
    });
  };

  return {
    create(bytes, label) {
      const whole = alignUp(bytes, memory.pageSize);
      // Beyond this limit the kernel does not only refuse: it ends the process by SIGXFSZ.
      const most = memory.limit(RLIMIT_FSIZE);
      if (whole > most) {
        return notDone("limit", "EFBIG", `${whole} bytes are more than a file may have (${most}); raise it: ulimit -f`);
      }
      const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
      let descriptor = Number(memfdCreate(label, flags | MFD_NOEXEC_SEAL));
      if (descriptor < 0) descriptor = Number(memfdCreate(label, flags));
      if (descriptor < 0) return memory.failed("memfd_create", "no shared object could be made");
      const sized =
        Number(ftruncate(descriptor, whole)) === 0 &&
        Number(fchmod(descriptor, 0o600)) === 0 &&
        Number(fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) === 0;
      if (sized) return descriptors.own(descriptor);
      const failure = memory.failed("memfd", `${whole} bytes could not be sized and sealed (see ulimit -f)`);
      closeDescriptor(descriptor);
      return failure;
    },
    inspect,
    overlay(target, descriptor, offset = 0) {
      const facts = inspect(descriptor);
      if (!facts.ok) return facts;
      if (!facts.value.sizeSealed) {
        return notDone(
          "refused",
          "NOT_SEALED",
          "a peer could shrink it and end this process by SIGBUS; seal SHRINK and GROW",
        );
      }
      const address = memory.addressOf(target);
      const { pageSize } = memory;
      if (
        target.length === 0 ||
        target.length % pageSize !== 0 ||
        address % BigInt(pageSize) !== 0n ||
        offset % pageSize !== 0
      ) {
        return notDone("refused", "NOT_PAGES", `whole pages of ${pageSize} bytes can be laid over, and nothing else`);
      }
      if (offset + target.length > facts.value.bytes) {
        return notDone(
          "refused",
          "TOO_SHORT",
          `the object has ${facts.value.bytes} bytes, ${offset + target.length} were asked for`,
        );
      }
      return memory.overlay(address, target.length, descriptor, offset);
    },
    openOf(pid, descriptor) {
      const path = `/proc/${pid}/fd/${descriptor}`;
      try {
        // Opening a fifo or a device blocks or acts; only a memfd is opened.
        if (!readlinkSync(path).startsWith("/memfd:")) {
          return notDone("refused", "NOT_SEALED", `descriptor ${descriptor} of process ${pid} is not a memfd`);
        }
      } catch (error) {
        const code = String((error as { code?: unknown }).code ?? "ENOENT");
        const status = code === "EACCES" || code === "EPERM" ? "forbidden" : "failed";
        return notDone(status, code, `process ${pid} has no descriptor ${descriptor} that this process may open`);
      }
      const opened = Number(open(path, O_RDWR | O_CLOEXEC));
      return opened < 0 ? memory.failed("open", `descriptor ${descriptor} of process ${pid}`) : descriptors.own(opened);
    },
    lockFolder(path) {
      const opened = Number(open(path, O_CLOEXEC));
      if (opened < 0) return memory.failed("open", path);
      if (Number(flock(opened, LOCK_AT_ONCE)) === 0) return made(opened);
      const failure = memory.failed("flock", path);
      closeDescriptor(opened);
      return failure;
    },
    takeOver(descriptor) {
      descriptors.takeOver(descriptor);
    },
    close(descriptor) {
      return descriptors.close(descriptor);
    },
  };
}

/*
 * DMA buffers on Linux, by the dma-heap and udmabuf devices. Experimental: written from the kernel's documentation and
 * tried against kernels that have neither device, where each step answers `unsupported`.
 */

/** _IOWR('H', 0, struct dma_heap_allocation_data): u64 length, u32 descriptor, u32 its flags, u64 heap flags. */
const DMA_HEAP_IOCTL_ALLOC = 0xc0184800;
/** _IOW('u', 0x42, struct udmabuf_create): u32 memfd, u32 flags, u64 offset, u64 size. */
const UDMABUF_CREATE = 0x40187542;
const UDMABUF_FLAGS_CLOEXEC = 1;
/** _IOW('b', 0, struct dma_buf_sync): u64 flags. */
const DMA_BUF_IOCTL_SYNC = 0x40086200;
const SYNC_MODE = { read: 1n, write: 2n, readwrite: 3n } as const;
const SYNC_END = 4n;
/** Each try waits for the device's own fence; a signal a try is the usual reason for another. */
const MAX_SYNC_TRIES = 100;

/** Throws what koffi throws when libc lacks a call. */
export function linuxDma(libc: KoffiLibrary, memory: PosixMemory): DmaOps {
  const open = libc.func("open", "int", ["str", "int"]);
  const close = libc.func("close", "int", ["int"]);
  const ioctl = libc.func("ioctl", "int", ["int", "ulong", "void *"]);
  const openDevice = (path: string): number | NotDone => openOrWhy(open, memory, path);
  return {
    fromHeap(bytes, heap = "system") {
      // The heap's name becomes a path.
      if (!/^[\w.-]+$/.test(heap) || heap.startsWith("."))
        return notDone("refused", "BAD_HEAP", `"${heap}" names no heap`);
      const device = openDevice(`/dev/dma_heap/${heap}`);
      if (typeof device !== "number") return device;
      const request = new DataView(new ArrayBuffer(24));
      request.setBigUint64(0, BigInt(alignUp(bytes, memory.pageSize)), true);
      request.setUint32(12, O_RDWR | O_CLOEXEC, true);
      const status = Number(ioctl(device, DMA_HEAP_IOCTL_ALLOC, new Uint8Array(request.buffer)));
      const failure = status < 0 ? memory.failed("ioctl", `${bytes} bytes from the dma-heap "${heap}"`) : undefined;
      close(device);
      return failure ?? made(request.getUint32(8, true));
    },
    fromShared(descriptor, bytes) {
      const device = openDevice("/dev/udmabuf");
      if (typeof device !== "number") return device;
      const request = new DataView(new ArrayBuffer(24));
      request.setUint32(0, descriptor, true);
      request.setUint32(4, UDMABUF_FLAGS_CLOEXEC, true);
      request.setBigUint64(16, BigInt(bytes), true);
      const buffer = Number(ioctl(device, UDMABUF_CREATE, new Uint8Array(request.buffer)));
      const failure = buffer < 0 ? memory.failed("ioctl", `udmabuf over ${bytes} bytes`) : undefined;
      close(device);
      return failure ?? made(buffer);
    },
    map(descriptor, bytes) {
      const mapped = memory.map(bytes);
      if (!mapped.ok) return mapped;
      const laid = memory.overlay(mapped.value.address, bytes, descriptor, 0);
      if (laid.ok) return mapped;
      memory.retire(mapped.value.address, bytes);
      return laid;
    },
    sync(descriptor, phase, mode) {
      const flags = new BigUint64Array([SYNC_MODE[mode] | (phase === "end" ? SYNC_END : 0n)]);
      let errno = "EAGAIN";
      // The driver may be interrupted and wants to be asked again; a device that never lets go must not hang us for
      // ever.
      for (let tries = 0; tries < MAX_SYNC_TRIES && (errno === "EINTR" || errno === "EAGAIN"); tries++) {
        if (Number(ioctl(descriptor, DMA_BUF_IOCTL_SYNC, flags)) === 0) return done(0);
        errno = memory.errno();
      }
      return systemFailure("ioctl", errno, `the ${phase} of an access by the processor`);
    },
  };
}

function openOrWhy(open: NativeFunction, memory: PosixMemory, path: string): number | NotDone {
  const descriptor = Number(open(path, O_RDWR | O_CLOEXEC));
  if (descriptor >= 0) return descriptor;
  const errno = memory.errno();
  if (errno === "ENOENT" || errno === "ENXIO" || errno === "ENODEV") {
    return notDone("unsupported", errno, `this kernel has no ${path}`);
  }
  return memory.failed("open", path);
}
