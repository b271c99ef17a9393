/**
 * The one interface between millpond and an operating system. It works on memory that already exists, by address, and
 * so never owns bytes that a view could outlive; what it maps itself it *retires* instead of unmapping.
 *
 * There is always a NativeOps: where nothing native can run, one whose every step answers `unsupported` with the
 * reason.
 */
import { type NotDone, notDone, type Outcome, type Result } from "./result.ts";

/** What can be said to the kernel about pages. */
export type Advice =
  /** Back these pages by huge ones (2 MiB on x86-64); best before they are first touched. */
  | "huge"
  /** Make every page present now, so that no later access faults. */
  | "populate"
  /**
   * Give the physical pages of private memory back. It reads zero afterwards where {@link PageOps.releaseZeroes}, else
   * anything. Refused while locked.
   */
  | "release"
  /** Give the physical pages of shared memory back, in every process that maps it. Refused while locked. */
  | "punch"
  /** Leave these pages out of core dumps. */
  | "nodump";

/** Every {@link Advice}. */
export const ADVICE: readonly Advice[] = ["huge", "populate", "release", "punch", "nodump"];

/** What this process may do. */
export interface Limits {
  /** Bytes that it may lock; Infinity without a limit. */
  readonly memlock: number;
  /** Bytes of address space that it may map; Infinity without a limit. */
  readonly addressSpace: number;
}

/** Address space that this layer mapped; freed by {@link NativeOps.retire} only. */
export interface MappedPages {
  /** A view of exactly the pages asked for, rounded up to whole pages. */
  readonly bytes: Uint8Array;
  /** Where they are. */
  readonly address: bigint;
}

/** Who is at the other end of a Unix socket. */
export interface Peer {
  /** Process id, as the kernel says. */
  readonly pid: number;
  /** User id, as the kernel says. */
  readonly uid: number;
}

/** What the kernel says about a descriptor of shared memory. */
export interface DescriptorFacts {
  /** Bytes in the object. */
  readonly bytes: number;
  /** Its inode: the same object has the same number through every descriptor. */
  readonly inode: bigint;
  /** The user that made it. */
  readonly uid: number;
  /** True when that is this process's user. */
  readonly isOwn: boolean;
  /** Permission bits, as in 0o600. */
  readonly mode: number;
  /** True when its size can never change again (F_SEAL_SHRINK and F_SEAL_GROW). */
  readonly sizeSealed: boolean;
  /** True when no seal can be added any more (F_SEAL_SEAL). */
  readonly sealsSealed: boolean;
}

/** Shared objects and their descriptors. Descriptors are plain numbers of this process; close what you get. */
export interface SharedOps {
  /** Makes a sealed object of whole pages; the answer is its descriptor. Not inherited by children unless passed. */
  create(bytes: number, label: string): Outcome<number>;
  /** Asks the kernel what a descriptor is. */
  inspect(descriptor: number): Outcome<DescriptorFacts>;
  /** Lays the object over memory that this process made: page aligned, whole pages, not yet used. */
  overlay(target: Uint8Array, descriptor: number, offset?: number): Result;
  /** Opens the object that another process of the same user has as `descriptor`. */
  openOf(pid: number, descriptor: number): Outcome<number>;
  /**
   * Takes the kernel's lock on a folder. The answer is a descriptor that has it until it is closed; "EAGAIN": another
   * one has it.
   */
  lockFolder(path: string): Outcome<number>;
  /** Says that a descriptor which the program opened, by `fs` perhaps, is closed by {@link close} from now on. */
  takeOver(descriptor: number): void;
  /** Closes a descriptor. */
  close(descriptor: number): Result;
}

/** Unix sockets that carry descriptors; the runtimes' own sockets cannot. */
export interface SocketOps {
  /** A connected pair, one end to hand to a child. */
  pair(): Outcome<readonly [number, number]>;
  /** Listens at a path; the socket file is for this user only. */
  listen(path: string): Outcome<number>;
  /** Connects to a path. */
  connect(path: string): Outcome<number>;
  /** Takes the next connection, waiting at most so many milliseconds (0: not at all). */
  accept(socket: number, milliseconds: number): Outcome<number>;
  /** Who is at the other end. */
  peer(socket: number): Outcome<Peer>;
  /** Sends a descriptor and a few bytes (at least one). */
  send(socket: number, descriptor: number, note: Uint8Array): Result;
  /** Receives a descriptor and the bytes sent with it, waiting at most so many milliseconds (0: not at all). */
  receive(socket: number, milliseconds: number): Outcome<{ readonly descriptor: number; readonly note: Uint8Array }>;
}

/** How a wait on a word ended. */
export type WaitOutcome = "woken" | "changed" | "timeout";

/** Waiting for a 32-bit word in memory that several processes share. Atomics.wait works inside one process only. */
export interface FutexOps {
  /**
   * Blocks this thread while `words[index]` is `expected`, at most so many milliseconds; a wake without a change
   * happens. The thread cannot be interrupted meanwhile: wait in slices (`waitForChange` does).
   */
  wait(words: Int32Array, index: number, expected: number, milliseconds: number): Outcome<WaitOutcome>;
  /** Wakes at most `count` waiters in every process; the answer's `value` is how many there were. */
  wake(words: Int32Array, index: number, count: number): Outcome<number>;
}

/** DMA buffers: memory that devices reach too. */
export interface DmaOps {
  /** From a dma-heap of the kernel. */
  fromHeap(bytes: number, heap?: string): Outcome<number>;
  /** Over the pages of a sealed shared object, by /dev/udmabuf. */
  fromShared(descriptor: number, bytes: number): Outcome<number>;
  /** Views a DMA buffer's pages; ended by {@link NativeOps.retire}. */
  map(descriptor: number, bytes: number): Outcome<MappedPages>;
  /** Brackets an access of the processor. */
  sync(descriptor: number, phase: "start" | "end", mode: "read" | "write" | "readwrite"): Result;
}

/** What can be asked for pages that a program has already. */
export interface PageOps {
  /** What the calls go through: "koffi", or "none" where nothing native can run. */
  readonly name: "koffi" | "none";
  /** The platform that the calls are written for. */
  readonly platform: string;
  /** Ok, or why nothing native can run here. */
  readonly availability: Result;
  /** True when this platform's file has been run and tested; false: written from its documentation only. */
  readonly proven: boolean;
  /** Bytes in a page. */
  readonly pageSize: number;
  /** Bytes in a huge page that {@link Advice} "huge" asks for; 0 where there are none. */
  readonly hugePageSize: number;
  /** True when what {@link Advice} "release" gave back reads zero. */
  readonly releaseZeroes: boolean;
  /** What this process may do. */
  limits(): Limits;
  /** Pins the pages that these bytes are on. At least 64 KiB, or whole pages. */
  lock(bytes: Uint8Array): Result;
  /** Takes the pin away. */
  unlock(bytes: Uint8Array): Result;
  /** Says something about the whole pages inside these bytes. */
  advise(bytes: Uint8Array, advice: Advice): Result;
}

/** Everything native, behind one object. */
export interface NativeOps extends PageOps {
  /**
   * True when the engine uses the address ranges of memory that it collected again and resets them itself (Bun does):
   * an overlay has to be retired before that, and locked memory ends the process.
   */
  readonly recyclesRanges: boolean;
  /** Where a view starts; 0n where it cannot be known. Valid while the view lives. */
  addressOf(view: ArrayBufferView): bigint;
  /** Maps fresh zero pages, on a boundary of `align` bytes (a power of two, at least a page). */
  map(bytes: number, align?: number): Outcome<MappedPages>;
  /**
   * Ends what {@link map} or an overlay began without unmapping: fresh zero pages that cost nothing are laid over the
   * range, so that a view which was kept reads zeros and writes to nobody.
   */
  retire(address: bigint, bytes: number): Result;
  /** Shared objects and descriptors. */
  readonly shared: SharedOps;
  /** Sockets that carry descriptors. */
  readonly sockets: SocketOps;
  /** Waiting across processes. */
  readonly futex: FutexOps;
  /** Memory of devices. */
  readonly dma: DmaOps;
}

/* The operations of a place where nothing native can run: every step says so, with the reason, and nothing throws. */

/** Shared objects where there are none. */
export function absentShared(why: NotDone): SharedOps {
  const no = (): NotDone => why;
  return { create: no, inspect: no, overlay: no, openOf: no, lockFolder: no, takeOver: no, close: no };
}

/** Descriptor sockets where there are none. */
export function absentSockets(why: NotDone): SocketOps {
  const no = (): NotDone => why;
  return { pair: no, listen: no, connect: no, accept: no, peer: no, send: no, receive: no };
}

/** Waiting across processes where it cannot be done. */
export function absentFutex(why: NotDone): FutexOps {
  const no = (): NotDone => why;
  return { wait: no, wake: no };
}

/** Memory of devices where there is none. */
export function absentDma(why: NotDone): DmaOps {
  const no = (): NotDone => why;
  return { fromHeap: no, fromShared: no, map: no, sync: no };
}

/** A part whose calls an old libc lacks is absent by itself and takes nothing else along. */
export function orAbsent<T>(what: string, absent: (why: NotDone) => T, build: () => T): T {
  try {
    return build();
  } catch (error) {
    return absent(notDone("unsupported", "NO_SYMBOL", `${what}: ${(error as Error).message}`));
  }
}

/** Operations of which every one answers `why`. */
export function absentOps(why: NotDone, platform = "none"): NativeOps {
  const no = (): NotDone => why;
  return {
    name: "none",
    platform,
    availability: why,
    proven: true,
    // 4 KiB: nothing is done with it but rounding, and every page size is a multiple of it.
    pageSize: 4096,
    hugePageSize: 0,
    releaseZeroes: false,
    recyclesRanges: false,
    limits: () => ({ memlock: 0, addressSpace: Number.POSITIVE_INFINITY }),
    addressOf: () => 0n,
    lock: no,
    unlock: no,
    advise: no,
    map: no,
    retire: no,
    shared: absentShared(why),
    sockets: absentSockets(why),
    futex: absentFutex(why),
    dma: absentDma(why),
  };
}
