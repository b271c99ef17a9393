/**
 * One block of memory that several processes see, as a real SharedArrayBuffer: a sealed memfd laid over the pages of a
 * shared WebAssembly.Memory. `Atomics` work on it across threads and processes, it can be posted to workers (which need
 * no koffi for it), and every view API takes it. `Atomics.wait` wakes within one process only; between processes there
 * is `waitForChange`.
 *
 * The memory stays valid for as long as anything refers to it. A block that is forgotten closes its descriptor when it
 * is collected; its pages are the engine's to unmap, which waits for the last view. So keep the block while you use the
 * number of its descriptor. {@link SharedMemory.retire} ends the sharing at once: from then on every view that was
 * kept, in this process, reads zeros of its own.
 */

import { alignUp } from "../util/align.ts";
import { wholeNumber, word } from "../util/validate.ts";
import { nativeOps } from "./load.ts";
import type { NativeOps } from "./native-ops.ts";
import { done, made, notDone, type Outcome, type Result } from "./result.ts";

/** Bytes in a page of WebAssembly; an object of whole such pages fills its SharedArrayBuffer exactly. */
const WASM_PAGE: number = 64 * 1024;
/** 65536 pages, 4 GiB: the most that one WebAssembly memory has. */
const MAX_PAGES = 65536;

/** The most bytes that a block has. */
export const MAX_SHARED_BYTES: number = MAX_PAGES * WASM_PAGE;

interface WasmMemory {
  readonly buffer: SharedArrayBuffer;
}
interface WasmNamespace {
  Memory: new (descriptor: { initial: number; maximum: number; shared: boolean }) => WasmMemory;
}

/** A block that processes share. */
export interface SharedMemory {
  /**
   * The block; it may end in a few bytes that are not shared when a foreign object's size is not a multiple of 64 KiB.
   */
  readonly buffer: SharedArrayBuffer;
  /** A view of exactly the shared bytes. */
  readonly bytes: Uint8Array;
  /** Bytes that are shared, whole pages. */
  readonly size: number;
  /** The object's number: the same in every process that has it. */
  readonly inode: bigint;
  /** This process's descriptor of it, to hand on; -1 once closed. */
  readonly descriptor: number;
  /** Closes the descriptor; the bytes stay. */
  closeDescriptor(): void;
  /** Ends the sharing for this process and closes the descriptor; views that were kept read zeros. */
  retire(): Result;
}

/**
 * Blocks that are not retired yet, where the engine hands address ranges out again with what is mapped under them
 * (Bun): a block that was merely forgotten must not become somebody else's private array.
 */
const kept: Set<SharedMemory> = new Set();

/** A descriptor, apart from its block, so that it can be closed when the block is collected; -1 once closed. */
interface Descriptor {
  readonly ops: NativeOps;
  readonly inode: bigint;
  number: number;
}

/**
 * The descriptors that blocks of this thread have. A number has one owner, or the second one to close it closes a file
 * that got it in between.
 */
const owned: Map<number, Descriptor> = new Map();

function closeNumber(descriptor: Descriptor): void {
  const { number, ops, inode } = descriptor;
  descriptor.number = -1;
  if (number < 0) return;
  owned.delete(number);
  const facts = ops.shared.inspect(number);
  // Who closed it by its number may have opened another file, which has that number now.
  if (facts.ok && facts.value.inode === inode) ops.shared.close(number);
}

/** Whether a block of this thread has that descriptor. */
function isOwned(number: number, ops: NativeOps): boolean {
  const owner = owned.get(number);
  if (owner === undefined) return false;
  const facts = ops.shared.inspect(number);
  if (facts.ok && facts.value.inode === owner.inode) return true;
  // Somebody closed it by its number, which is another file's by now.
  owner.number = -1;
  owned.delete(number);
  return false;
}

/** The back-stop for blocks that nobody retired: closes the descriptor and touches no memory. */
const forgotten: FinalizationRegistry<Descriptor> = new FinalizationRegistry(closeNumber);

/**
 * Blocks that are found by their descriptor, which nobody may hold but the files of their names, and what withdraws
 * those; see {@link keepDescriptor}.
 */
const published: Map<SharedMemory, Set<() => void>> = new Map();

/**
 * @internal Keeps a block, and so its descriptor, until {@link dropDescriptor}. `withdraw` is called when the
 * descriptor is closed, or the thread ends.
 */
export function keepDescriptor(memory: SharedMemory, withdraw: () => void): void {
  if (published.size === 0) process.once("exit", withdrawAll);
  const names = published.get(memory) ?? new Set();
  published.set(memory, names.add(withdraw));
}

/** @internal Undoes {@link keepDescriptor}. */
export function dropDescriptor(memory: SharedMemory, withdraw: () => void): void {
  const names = published.get(memory);
  if (names?.delete(withdraw) !== true || names.size > 0) return;
  published.delete(memory);
  if (published.size === 0) process.removeListener("exit", withdrawAll);
}

function withdrawNames(memory: SharedMemory): void {
  for (const withdraw of [...(published.get(memory) ?? [])]) withdraw();
}

function withdrawAll(): void {
  for (const memory of [...published.keys()]) withdrawNames(memory);
}

/**
 * Makes a block of at least `bytes` bytes (rounded up to 64 KiB), zeroed, sealed against any change of its size, for
 * this user only. `label` shows in /proc/PID/maps. Answers `unsupported`, `limit` or `refused`; does not throw.
 */
export function createSharedMemory(
  bytes: number,
  label = "millpond",
  ops: NativeOps = nativeOps(),
): Outcome<SharedMemory> {
  if (!Number.isInteger(bytes) || bytes < 1 || bytes > MAX_SHARED_BYTES) {
    return notDone("refused", "BAD_SIZE", `a shared block has 1 to ${MAX_SHARED_BYTES} bytes, not ${bytes}`);
  }
  word("label", label);
  const created = ops.shared.create(alignUp(bytes, Math.max(WASM_PAGE, ops.pageSize)), label);
  if (!created.ok) return created;
  return openSharedMemory(created.value, ops);
}

/** Standard input, output and error: where another file gets one of their numbers, the runtime ends the process. */
const LAST_STANDARD_DESCRIPTOR = 2;

/**
 * Opens a block by a descriptor that was received, inherited or made, and takes the descriptor over (on failure it is
 * closed, unless it is one of the standard streams' or another block's, "OWNED"). Refused unless the kernel says that
 * the size is sealed ("NOT_SEALED") and that it belongs to this user ("FOREIGN_USER").
 */
export function openSharedMemory(descriptor: number, ops: NativeOps = nativeOps()): Outcome<SharedMemory> {
  const opened = borrowSharedMemory(descriptor, ops);
  if (descriptor <= LAST_STANDARD_DESCRIPTOR || (!opened.ok && opened.errno === "OWNED")) return opened;
  ops.shared.takeOver(descriptor);
  if (!opened.ok) ops.shared.close(descriptor);
  return opened;
}

/**
 * @internal As {@link openSharedMemory}, but on failure the descriptor stays open, and also behind {@link
 * leaveDescriptor}.
 */
export function borrowSharedMemory(descriptor: number, ops: NativeOps = nativeOps()): Outcome<SharedMemory> {
  wholeNumber("descriptor", descriptor, 0, 0x7fffffff);
  if (isOwned(descriptor, ops)) {
    return notDone(
      "refused",
      "OWNED",
      `descriptor ${descriptor} is that of a block of this thread already; use the block, or a descriptor of its own`,
    );
  }
  const opened = lay(descriptor, ops);
  if (opened.ok && ops.recyclesRanges) keep(opened.value);
  return opened;
}

/** @internal Retires a block, and its descriptor stays open: who had it before has it again. */
export function leaveDescriptor(memory: SharedMemory): void {
  if (memory instanceof Block) memory.leaveDescriptor();
  memory.retire();
}

function keep(memory: SharedMemory): void {
  // The set dies with its thread, and what it kept is collected then.
  if (kept.size === 0) process.once("exit", retireAll);
  kept.add(memory);
}

function retireAll(): void {
  for (const memory of kept) memory.retire();
}

function lay(descriptor: number, ops: NativeOps): Outcome<SharedMemory> {
  const facts = ops.shared.inspect(descriptor);
  if (!facts.ok) return facts;
  const { bytes: size, sizeSealed, uid, isOwn, inode } = facts.value;
  if (!sizeSealed) {
    return notDone("refused", "NOT_SEALED", "its size can change: a peer could end this process by shrinking it");
  }
  if (!isOwn) return notDone("refused", "FOREIGN_USER", `it belongs to user ${uid}; memory is shared within one user`);
  if (size === 0 || size % ops.pageSize !== 0 || size > MAX_SHARED_BYTES) {
    return notDone("refused", "BAD_SIZE", `it has ${size} bytes, which is not a number of whole pages up to 4 GiB`);
  }
  const memory = sharedWasmMemory(size);
  if (!memory.ok) return memory;
  const bytes = new Uint8Array(memory.value.buffer, 0, size);
  const laid = ops.shared.overlay(bytes, descriptor);
  if (!laid.ok) return laid;
  return made(new Block(ops, memory.value, bytes, descriptor, inode));
}

function sharedWasmMemory(size: number): Outcome<WasmMemory> {
  const { WebAssembly: wasm } = globalThis as unknown as { WebAssembly?: WasmNamespace };
  if (wasm === undefined) return notDone("unsupported", "NO_WASM", "this runtime has no WebAssembly");
  const pages = Math.ceil(size / WASM_PAGE);
  try {
    return made(new wasm.Memory({ initial: pages, maximum: pages, shared: true }));
  } catch (error) {
    const hint = `${(error as Error).message}; each one reserves up to 10 GiB of address space, see ulimit -v`;
    return notDone("limit", "NO_ADDRESS_SPACE", hint);
  }
}

class Block implements SharedMemory {
  readonly bytes: Uint8Array;
  readonly inode: bigint;
  readonly #ops: NativeOps;
  readonly #memory: WasmMemory;
  readonly #address: bigint;
  readonly #descriptor: Descriptor;
  #retired = false;

  constructor(ops: NativeOps, memory: WasmMemory, bytes: Uint8Array, descriptor: number, inode: bigint) {
    this.bytes = bytes;
    this.inode = inode;
    this.#ops = ops;
    this.#memory = memory;
    this.#address = ops.addressOf(bytes);
    this.#descriptor = { ops, inode, number: descriptor };
    owned.set(descriptor, this.#descriptor);
    forgotten.register(this, this.#descriptor, this);
  }

  get buffer(): SharedArrayBuffer {
    return this.#memory.buffer;
  }

  get size(): number {
    return this.bytes.length;
  }

  get descriptor(): number {
    return this.#descriptor.number;
  }

  leaveDescriptor(): void {
    withdrawNames(this);
    owned.delete(this.#descriptor.number);
    this.#descriptor.number = -1;
    forgotten.unregister(this);
  }

  closeDescriptor(): void {
    withdrawNames(this);
    closeNumber(this.#descriptor);
    forgotten.unregister(this);
  }

  retire(): Result {
    this.closeDescriptor();
    if (this.#retired) return done(0);
    // This object holds the memory, so the range is still ours and nobody else's.
    const result = this.#ops.retire(this.#address, this.bytes.length);
    if (!result.ok) return result;
    this.#retired = true;
    kept.delete(this);
    if (kept.size === 0) process.removeListener("exit", retireAll);
    return result;
  }
}
