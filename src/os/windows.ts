/**
 * Windows. Written from its documentation and NOT RUN: `proven` is false until somebody runs `npm run test:native`
 * there and says so. Sharing between processes is not offered: a section cannot be laid over memory that the engine
 * owns.
 */
import { alignUp } from "../util/align.ts";
import { isResizable } from "./bytes.ts";
import type { Koffi } from "./koffi.ts";
import { absentDma, absentFutex, absentShared, absentSockets, type NativeOps } from "./native-ops.ts";
import { bytesToBoundary, innerPages, outerPages } from "./pages.ts";
import { done, made, type NotDone, notDone, type Result } from "./result.ts";

const MEM_COMMIT_RESERVE = 0x3000;
const PAGE_READWRITE = 4;
/** QUOTA_LIMITS_HARDWS_MIN_ENABLE and QUOTA_LIMITS_HARDWS_MAX_DISABLE: guaranteed below, not capped above. */
const WORKING_SET_FLAGS = 0x1 | 0x8;
/** Room in the working set beside what is locked, so that locking does not starve the rest of the process. */
const WORKING_SET_SLACK: number = 16 * 1024 * 1024;
/** As on the other platforms: smaller blocks share their pages with other people's data. */
const MIN_LOCK: number = 64 * 1024;

const ERROR_NAMES: Readonly<Record<number, readonly [name: string, status: NotDone["status"]]>> = {
  5: ["ERROR_ACCESS_DENIED", "forbidden"],
  8: ["ERROR_NOT_ENOUGH_MEMORY", "limit"],
  87: ["ERROR_INVALID_PARAMETER", "failed"],
  487: ["ERROR_INVALID_ADDRESS", "failed"],
  1314: ["ERROR_PRIVILEGE_NOT_HELD", "forbidden"],
  1453: ["ERROR_WORKING_SET_QUOTA", "limit"],
};

/** The Windows operations. Throws what koffi throws when kernel32 lacks a call. */
export function windowsOps(koffi: Koffi): NativeOps {
  const kernel = koffi.load("kernel32.dll");
  const virtualAlloc = kernel.func("VirtualAlloc", "uintptr_t", ["uintptr_t", "size_t", "uint32_t", "uint32_t"]);
  const virtualLock = kernel.func("VirtualLock", "int", ["uintptr_t", "size_t"]);
  const virtualUnlock = kernel.func("VirtualUnlock", "int", ["uintptr_t", "size_t"]);
  const discard = kernel.func("DiscardVirtualMemory", "uint32_t", ["uintptr_t", "size_t"]);
  const prefetch = kernel.func("PrefetchVirtualMemory", "int", ["intptr_t", "size_t", "void *", "uint32_t"]);
  const currentProcess = kernel.func("GetCurrentProcess", "intptr_t", []);
  const getWorkingSet = kernel.func("GetProcessWorkingSetSizeEx", "int", ["intptr_t", "void *", "void *", "void *"]);
  const setWorkingSet = kernel.func("SetProcessWorkingSetSizeEx", "int", ["intptr_t", "size_t", "size_t", "uint32_t"]);
  const getSystemInfo = kernel.func("GetSystemInfo", "void", ["void *"]);
  const getLastError = kernel.func("GetLastError", "uint32_t", []);

  // SYSTEM_INFO: u16, u16, u32 page size, ...; 48 bytes on 64-bit Windows.
  const info = new DataView(new ArrayBuffer(64));
  getSystemInfo(new Uint8Array(info.buffer));
  const pageSize = info.getUint32(4, true);
  let lockedBytes = 0;

  const addressOf = (view: ArrayBufferView): bigint =>
    BigInt(koffi.address(new Uint8Array(view.buffer, view.byteOffset, view.byteLength)));
  const answer = (call: string, code: number): NotDone => {
    const [name, status] = ERROR_NAMES[code] ?? [`error ${code}`, "failed" as const];
    return notDone(status, name, call);
  };
  const failed = (call: string): NotDone => answer(call, Number(getLastError()));
  const unfit = (bytes: Uint8Array): NotDone | undefined => {
    if (isResizable(bytes.buffer)) {
      return notDone("refused", "RESIZABLE", "a resizable ArrayBuffer must not be locked");
    }
    return bytes.length >= MIN_LOCK ? undefined : notDone("refused", "TOO_SMALL", `lock at least ${MIN_LOCK} bytes`);
  };
  const growWorkingSet = (bytes: number): void => {
    const least = new BigUint64Array(1);
    const most = new BigUint64Array(1);
    getWorkingSet(currentProcess(), least, most, new Uint32Array(1));
    const wanted = lockedBytes + bytes + WORKING_SET_SLACK;
    if (Number(least[0]) >= wanted) return;
    setWorkingSet(currentProcess(), wanted, Math.max(Number(most[0]), wanted + WORKING_SET_SLACK), WORKING_SET_FLAGS);
  };

  const why = (what: string): NotDone => notDone("unsupported", "NO_WINDOWS", `${what} is not offered on Windows`);
  return {
    name: "koffi",
    platform: "win32",
    availability: done(0),
    proven: false,
    pageSize,
    hugePageSize: 0,
    releaseZeroes: false,
    recyclesRanges: process.versions.bun !== undefined,
    limits: () => ({ memlock: Number.POSITIVE_INFINITY, addressSpace: Number.POSITIVE_INFINITY }),
    addressOf,
    lock(bytes) {
      const no = unfit(bytes);
      if (no !== undefined) return no;
      const range = outerPages(addressOf(bytes), bytes.length, pageSize);
      growWorkingSet(range.bytes);
      if (Number(virtualLock(range.address, range.bytes)) === 0) return failed("VirtualLock");
      lockedBytes += range.bytes;
      return done(range.bytes);
    },
    unlock(bytes) {
      const no = unfit(bytes);
      if (no !== undefined) return no;
      const range = outerPages(addressOf(bytes), bytes.length, pageSize);
      if (Number(virtualUnlock(range.address, range.bytes)) === 0) return failed("VirtualUnlock");
      lockedBytes -= range.bytes;
      return done(range.bytes);
    },
    advise(bytes, advice): Result {
      const range = innerPages(addressOf(bytes), bytes.length, pageSize);
      if (advice === "release") {
        const code = Number(discard(range.address, range.bytes));
        return code === 0 ? done(range.bytes) : answer("DiscardVirtualMemory", code);
      }
      if (advice === "populate") {
        const entry = new BigUint64Array([range.address, BigInt(range.bytes)]);
        return Number(prefetch(currentProcess(), 1, entry, 0)) === 0
          ? failed("PrefetchVirtualMemory")
          : done(range.bytes);
      }
      return notDone("unsupported", "NO_ADVICE", `"${advice}" has no equivalent on Windows`);
    },
    map(bytes, align = pageSize) {
      // VirtualAlloc cannot give an inner part back, so the slack stays reserved; it is committed but never touched.
      const whole = alignUp(Math.max(bytes, 1), pageSize);
      const slack = align > pageSize ? align : 0;
      const start = BigInt(virtualAlloc(0, whole + slack, MEM_COMMIT_RESERVE, PAGE_READWRITE));
      if (start === 0n) return failed("VirtualAlloc");
      const address = start + BigInt(slack === 0 ? 0 : bytesToBoundary(start, align));
      try {
        return made({ bytes: new Uint8Array(koffi.view(address, whole)), address });
      } catch (error) {
        return notDone("unsupported", "NO_EXTERNAL_BUFFERS", (error as Error).message);
      }
    },
    // Decommitted pages fault when a stale view reads them, so they stay committed and only their contents go.
    retire(address, bytes) {
      const code = Number(discard(address, bytes));
      return code === 0 ? done(bytes) : answer("DiscardVirtualMemory", code);
    },
    shared: absentShared(why("sharing memory between processes")),
    sockets: absentSockets(why("passing descriptors over a socket")),
    futex: absentFutex(why("waiting on a word across processes")),
    dma: absentDma(why("a DMA buffer")),
  };
}
