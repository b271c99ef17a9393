/**
 * Pages: their size, and which of them a range of bytes is on. The size is read at run time: 4 KiB on most machines, 16
 * KiB on Apple's own processors, 4 to 64 KiB on other ARM machines. Nothing in the language tells it, so it is asked
 * for where there is somebody to ask.
 */
import { alignUp } from "../util/align.ts";

interface HostProcess {
  readonly platform?: string;
  readonly arch?: string;
  getBuiltinModule?: (id: string) => { readFileSync?: (path: string) => Uint8Array } | undefined;
}

/** 4 KiB: x86, and what most 64-bit ARM kernels are built with. */
const COMMON_PAGE = 4096;

/** 16 KiB: every process that runs natively on Apple's own processors. */
const APPLE_PAGE = 16_384;

/** The entry of the auxiliary vector that Linux hands every process with its page size in it. */
const AT_PAGESZ = 6;

let known: number | undefined;

/**
 * Bytes in a page, a power of two. Exact on Linux (the kernel's own word) and macOS; elsewhere, and in browsers, the
 * common 4096, which only means that rounding may be finer than the system's. O(1) after the first call.
 */
export function pageSize(): number {
  known ??= findPageSize((globalThis as { process?: HostProcess }).process);
  return known;
}

/** What {@link pageSize} finds on a host; apart, so that tests can be other hosts. */
export function findPageSize(host: HostProcess | undefined): number {
  if (host === undefined) return COMMON_PAGE;
  if (host.platform === "darwin") return host.arch === "arm64" ? APPLE_PAGE : COMMON_PAGE;
  if (host.platform !== "linux") return COMMON_PAGE;
  try {
    const vector = host.getBuiltinModule?.("node:fs")?.readFileSync?.("/proc/self/auxv");
    return (vector === undefined ? undefined : readAuxv(vector)) ?? COMMON_PAGE;
  } catch {
    // A sandbox without /proc, or a permission model that forbids reading: nobody to ask.
    return COMMON_PAGE;
  }
}

/** Pairs of 64-bit words, key and value, up to key 0. */
function readAuxv(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 16 <= bytes.length; at += 16) {
    if (view.getBigUint64(at, true) !== BigInt(AT_PAGESZ)) continue;
    const size = Number(view.getBigUint64(at + 8, true));
    return size >= 512 && (size & (size - 1)) === 0 ? size : undefined;
  }
  return undefined;
}

/* Which pages a range of bytes is on: all of them (to lock), or only those it has to itself (to give back). */

/** A run of whole pages. */
interface PageRange {
  /** Where it starts, a multiple of the page size. */
  readonly address: bigint;
  /** Bytes in it, a multiple of the page size. */
  readonly bytes: number;
}

/** Every page that holds at least one of the bytes. */
export function outerPages(address: bigint, bytes: number, pageSize: number): PageRange {
  const lead = Number(address % BigInt(pageSize));
  return { address: address - BigInt(lead), bytes: alignUp(lead + bytes, pageSize) };
}

/** Every page whose bytes are all in the range; may be none. */
export function innerPages(address: bigint, bytes: number, pageSize: number): PageRange {
  const lead = Number(address % BigInt(pageSize));
  const skip = lead === 0 ? 0 : pageSize - lead;
  return {
    address: address + BigInt(skip),
    bytes: bytes <= skip ? 0 : Math.floor((bytes - skip) / pageSize) * pageSize,
  };
}

/** Bytes from `address` to the next multiple of `align`. */
export function bytesToBoundary(address: bigint, align: number): number {
  const past = Number(address % BigInt(align));
  return past === 0 ? 0 : align - past;
}
