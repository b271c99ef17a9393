/**
 * What Linux and macOS have in common: mapping, locking and advising pages by address. The numbers that differ come
 * from the platform's own file. Every failing call reads errno at once, because any other system call overwrites it.
 */
import { constants } from "node:buffer";
import { alignUp } from "../util/align.ts";
import { wrongType } from "../util/validate.ts";
import { isResizable } from "./bytes.ts";
import type { Koffi, KoffiLibrary, NativeFunction } from "./koffi.ts";
import type { Advice, Limits, MappedPages } from "./native-ops.ts";
import { bytesToBoundary, innerPages, outerPages } from "./pages.ts";
import { done, made, type NotDone, notDone, type Outcome, type Result, systemFailure } from "./result.ts";

/** The numbers of one POSIX platform. */
export interface PosixNumbers {
  /** MAP_ANONYMOUS. */
  readonly mapAnon: number;
  /** MAP_NORESERVE: a retired range costs no memory commitment. */
  readonly mapNoReserve: number;
  /** Each advice's number for madvise; absent: there is none. */
  readonly advice: Readonly<Partial<Record<Advice, number>>>;
  /** _SC_PAGESIZE for sysconf. */
  readonly scPageSize: number;
  /** RLIMIT_MEMLOCK. */
  readonly rlimitMemlock: number;
  /** RLIMIT_AS. */
  readonly rlimitAddressSpace: number;
  /** RLIM_INFINITY. */
  readonly unlimited: bigint;
}

/** The same on every POSIX platform that koffi has. */
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 16;

/**
 * 64 KiB: below it an ArrayBuffer lives among other people's data in the malloc heap, and locking it would pin (and
 * unlocking it would unpin) whole foreign pages.
 */
const MIN_LOCK = 64 * 1024;

/** Views above 4 GiB abort the process on Node up to 20 and on Bun. */
const SAFE_VIEW: number = 4 * 1024 ** 3;

/** Memory calls of one POSIX platform. */
export class PosixMemory {
  /** Bytes in a page. */
  readonly pageSize: number;
  readonly #koffi: Koffi;
  readonly #numbers: PosixNumbers;
  readonly #mmap: NativeFunction;
  readonly #munmap: NativeFunction;
  readonly #mlock: NativeFunction;
  readonly #munlock: NativeFunction;
  readonly #madvise: NativeFunction;
  readonly #getrlimit: NativeFunction;

  /** Declares the calls; throws what koffi throws when one is missing. */
  constructor(koffi: Koffi, libc: KoffiLibrary, numbers: PosixNumbers) {
    this.#koffi = koffi;
    this.#numbers = numbers;
    // intptr_t, not void *: as a pointer MAP_FAILED would come back as a huge bigint.
    this.#mmap = libc.func("mmap", "intptr_t", ["uintptr_t", "size_t", "int", "int", "int", "int64_t"]);
    this.#munmap = libc.func("munmap", "int", ["uintptr_t", "size_t"]);
    this.#mlock = libc.func("mlock", "int", ["uintptr_t", "size_t"]);
    this.#munlock = libc.func("munlock", "int", ["uintptr_t", "size_t"]);
    this.#madvise = libc.func("madvise", "int", ["uintptr_t", "size_t", "int"]);
    this.#getrlimit = libc.func("getrlimit", "int", ["int", "void *"]);
    this.pageSize = Number(libc.func("sysconf", "long", ["int"])(numbers.scPageSize));
  }

  /** Where a view starts. */
  addressOf(view: ArrayBufferView): bigint {
    if (!ArrayBuffer.isView(view)) throw wrongType("bytes", "a typed array", view);
    // A Uint8Array, because koffi refuses a DataView over shared memory on Deno.
    return BigInt(this.#koffi.address(new Uint8Array(view.buffer, view.byteOffset, view.byteLength)));
  }

  /** The limits of this process. */
  limits(): Limits {
    return {
      memlock: this.limit(this.#numbers.rlimitMemlock),
      addressSpace: this.limit(this.#numbers.rlimitAddressSpace),
    };
  }

  /** One limit of this process; Infinity without one. */
  limit(resource: number): number {
    const pair = new BigUint64Array(2);
    if (Number(this.#getrlimit(resource, pair)) !== 0) return Number.POSITIVE_INFINITY;
    return pair[0]! >= this.#numbers.unlimited ? Number.POSITIVE_INFINITY : Number(pair[0]);
  }

  /** Pins pages; a refused call leaves none of them pinned. */
  lock(bytes: Uint8Array): Result {
    const unfit = this.#unfitToLock(bytes);
    if (unfit !== undefined) return unfit;
    const range = outerPages(this.addressOf(bytes), bytes.length, this.pageSize);
    if (Number(this.#mlock(range.address, range.bytes)) === 0) return done(range.bytes);
    const errno = this.errno();
    // mlock marks a range before it makes the pages present, and leaves the mark when that fails.
    this.#munlock(range.address, range.bytes);
    const { memlock } = this.limits();
    const hint = `${range.bytes} bytes are more than may be locked (limit ${memlock}); raise it: ulimit -l, LimitMEMLOCK=`;
    // With a limit of zero Linux says EPERM, which is still the limit's doing.
    if (errno === "ENOMEM" || errno === "EPERM" || errno === "EAGAIN") return notDone("limit", errno, `mlock: ${hint}`);
    return systemFailure("mlock", errno, `${range.bytes} bytes could not be locked`);
  }

  /** Unpins pages. */
  unlock(bytes: Uint8Array): Result {
    const unfit = this.#unfitToLock(bytes);
    if (unfit !== undefined) return unfit;
    const range = outerPages(this.addressOf(bytes), bytes.length, this.pageSize);
    if (Number(this.#munlock(range.address, range.bytes)) === 0) return done(range.bytes);
    return this.failed("munlock", `${range.bytes} bytes could not be unlocked`);
  }

  #unfitToLock(bytes: Uint8Array): NotDone | undefined {
    if (isResizable(bytes.buffer)) {
      // V8 gives the pages of a shrunk buffer back with a call that fails on locked pages, and aborts when it fails.
      return notDone(
        "refused",
        "RESIZABLE",
        "a resizable ArrayBuffer must not be locked: shrinking it aborts the process",
      );
    }
    if (bytes.length >= MIN_LOCK) return undefined;
    const whole = bytes.length > 0 && bytes.length % this.pageSize === 0;
    if (whole && this.addressOf(bytes) % BigInt(this.pageSize) === 0n) return undefined;
    return notDone(
      "refused",
      "TOO_SMALL",
      `${bytes.length} bytes share their pages with other data; lock at least ${MIN_LOCK} bytes, or whole pages`,
    );
  }

  /** Says something about the whole pages inside the bytes; none inside is done with 0 bytes. */
  advise(bytes: Uint8Array, advice: Advice): Result {
    const number = this.#numbers.advice[advice];
    if (number === undefined)
      return notDone("unsupported", "NO_ADVICE", `"${advice}" has no equivalent on this platform`);
    if (bytes.length === 0) return done(0);
    const range = innerPages(this.addressOf(bytes), bytes.length, this.pageSize);
    if (range.bytes === 0) return done(0);
    if (Number(this.#madvise(range.address, range.bytes, number)) === 0) return done(range.bytes);
    const errno = this.errno();
    const hint = errno === "EINVAL" ? "; this kernel does not know it, or the pages are locked (unlock first)" : "";
    return systemFailure("madvise", errno, `"${advice}" over ${range.bytes} bytes${hint}`);
  }

  /** Maps fresh zero pages and views them. */
  map(bytes: number, align: number = this.pageSize): Outcome<MappedPages> {
    const whole = alignUp(Math.max(bytes, 1), this.pageSize);
    const most = largestView();
    if (whole > most) return notDone("refused", "VIEW_TOO_LARGE", `${whole} bytes; one view has at most ${most} here`);
    const slack = align > this.pageSize ? align : 0;
    const start = this.#mapAnonymous(whole + slack);
    if (typeof start !== "bigint") return start;
    const lead = slack === 0 ? 0 : bytesToBoundary(start, align);
    const address = start + BigInt(lead);
    // What sticks out was never viewed: this is the one place that may unmap.
    if (lead > 0) this.#munmap(start, lead);
    if (slack > lead) this.#munmap(address + BigInt(whole), slack - lead);
    try {
      return made({ bytes: new Uint8Array(this.#koffi.view(address, whole)), address });
    } catch (error) {
      this.#munmap(address, whole);
      return notDone(
        "unsupported",
        "NO_EXTERNAL_BUFFERS",
        `this runtime allows no ArrayBuffer over foreign memory (${(error as Error).message})`,
      );
    }
  }

  #mapAnonymous(bytes: number): bigint | NotDone {
    const start = this.#mmap(0, bytes, PROT_READ_WRITE, MAP_PRIVATE | this.#numbers.mapAnon, -1, 0);
    if (Number(start) === -1) return this.failed("mmap", `${bytes} bytes of address space could not be mapped`);
    return BigInt(start);
  }

  /** Lays fresh zero pages over a range. */
  retire(address: bigint, bytes: number): Result {
    const flags = MAP_PRIVATE | MAP_FIXED | this.#numbers.mapAnon | this.#numbers.mapNoReserve;
    if (Number(this.#mmap(address, bytes, PROT_READ_WRITE, flags, -1, 0)) === -1) {
      return this.failed("mmap", `${bytes} bytes could not be retired`);
    }
    return done(bytes);
  }

  /** Lays a shared object over a range that the caller made. */
  overlay(address: bigint, bytes: number, descriptor: number, offset: number): Result {
    if (Number(this.#mmap(address, bytes, PROT_READ_WRITE, MAP_SHARED | MAP_FIXED, descriptor, offset)) === -1) {
      return this.failed("mmap", `${bytes} bytes of descriptor ${descriptor} could not be mapped`);
    }
    return done(bytes);
  }

  /** The name of the error that the last call left. Read it before anything else happens. */
  errno(): string {
    const number = this.#koffi.errno();
    for (const [name, value] of Object.entries(this.#koffi.os.errno)) if (value === number) return name;
    return `errno ${number}`;
  }

  /** The answer of a call that failed just now. */
  failed(call: string, hint: string): NotDone {
    return systemFailure(call, this.errno(), hint);
  }
}

/** Bytes in the largest view that does not abort the process. */
function largestView(): number {
  const { bun, node } = process.versions;
  const old = bun !== undefined || Number.parseInt(node, 10) <= 20;
  return old ? Math.min(SAFE_VIEW, constants.MAX_LENGTH) : constants.MAX_LENGTH;
}

/** True on Bun, which hands freed address ranges out again with whatever is mapped under them. */
export function recyclesRanges(): boolean {
  return process.versions.bun !== undefined;
}
