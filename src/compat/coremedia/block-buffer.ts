/**
 * CMBlockBuffer: bytes from 0 to a length, in blocks of memory and in parts of other block buffers, over the core's
 * memories.
 *
 * ```
 *   CMBlockBuffer          parts, in order
 *   offset 0 ............. part of block A (allocated)
 *   offset 1,000 ......... part of another CMBlockBuffer, which is retained
 *   offset 5,000 ......... part of block B (promised; CMBlockBufferAssureBlockMemory() allocates it)
 * ```
 * Life-cycle: counted by CFRetain and CFRelease; the last release frees its blocks and releases the buffers that it
 * refers to. Invariants: no buffer refers to itself, however far around; the length is the sum of its parts' lengths
 * and a safe integer. Every call but the appends is O(parts), with the parts of buffers that it refers to.
 */

import { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { Allocator } from "../../memory/allocator.ts";
import { isMemory } from "../../memory/memory.ts";
import { PageAllocator } from "../../pools/page/page-allocator.ts";
import type { ErrorCode } from "../../util/errors.ts";
import { isMade } from "../../util/validate.ts";
import { argumentCode, DoorError, inDoor, MAKE, messageOf, wants } from "../door-error.ts";
import {
  assure,
  Block,
  type BlockSource,
  type CMBlockBufferCustomBlockSource,
  type CMMemoryBlock,
  checkBlock,
} from "./block.ts";
import { assertAlive, CFRetain, CFType, dropReference, isFinalized } from "./cf-type.ts";
import {
  kCMBlockBufferAlwaysCopyDataFlag,
  kCMBlockBufferAssureMemoryNowFlag,
  kCMBlockBufferBadCustomBlockSourceErr,
  kCMBlockBufferBadLengthParameterErr,
  kCMBlockBufferBadOffsetParameterErr,
  kCMBlockBufferBadPointerParameterErr,
  kCMBlockBufferDontOptimizeDepthFlag,
  kCMBlockBufferEmptyBBufErr,
  kCMBlockBufferPermitEmptyReferenceFlag,
  kCMBlockBufferStructureAllocationFailedErr,
} from "./codes.ts";
import { type CFAllocator, kCFAllocatorNull } from "./memory-pool.ts";

/** Bytes of a block, or of another buffer. */
interface Part {
  readonly from: Block | CMBlockBuffer;
  readonly offset: number;
  readonly length: number;
}

/** Bytes of a block that follow each other. */
interface Run {
  readonly block: Block;
  readonly offset: number;
  length: number;
}

let makeBuffer: () => CMBlockBuffer;
let isBuffer: (value: unknown) => value is CMBlockBuffer;
let partsOf: (buffer: CMBlockBuffer) => Part[];
let markReferredTo: (buffer: CMBlockBuffer) => void;
let isReferredTo: (buffer: CMBlockBuffer) => boolean;

const KIND = {
  name: "CMBlockBuffer",
  maker: "CMBlockBufferCreateEmpty(), CMBlockBufferCreateWithMemoryBlock(), or one of the other creators",
  // "CMBB"
  typeID: 0x434d4242,
  status: kCMBlockBufferBadPointerParameterErr,
  check(buffer: CMBlockBuffer): void {
    for (const { from } of partsOf(buffer)) if (from instanceof Block) from.assertFreeable("CFRelease");
  },
  finalize(buffer: CMBlockBuffer): void {
    let failure: { error: unknown } | undefined;
    for (const { from } of partsOf(buffer).splice(0)) {
      try {
        if (from instanceof Block) from.release();
        else dropReference(from);
      } catch (error) {
        failure ??= { error };
      }
    }
    if (failure !== undefined) throw failure.error;
  },
};

/** A block buffer, opaque; {@link CMBlockBufferCreateWithMemoryBlock} and the other creators make it. */
export class CMBlockBuffer extends CFType {
  readonly #parts: Part[] = [];
  /** True once another buffer refers to this one: only then can an append close a circle. */
  #referredTo = false;

  private constructor(key: symbol) {
    super(key, KIND);
  }

  /**
   * Beyond the original: a buffer of the core over the same bytes; what is written to it goes to a copy. It holds the
   * memory on its own; the caller releases it. Throws a `DoorError`: -12706, -12707, -12705 where bytes are mapped for
   * writing.
   */
  toMediaBuffer(): MediaBuffer {
    const runs = runsOf("CMBlockBuffer.toMediaBuffer", liveBuffer("CMBlockBuffer.toMediaBuffer", "theBuffer", this));
    const made = new MediaBuffer();
    try {
      for (const { block, offset, length } of runs) {
        const memory = block.memory("CMBlockBuffer.toMediaBuffer");
        inDoor(
          () => {
            const part = memory.share(offset, length);
            try {
              made.append(part);
            } catch (error) {
              part.release();
              throw error;
            }
          },
          (cause) => bad(kCMBlockBufferBadPointerParameterErr, cause.code, messageOf(cause)),
        );
      }
      return made;
    } catch (error) {
      made.release();
      throw error;
    }
  }

  /** What this buffer is and holds. */
  override toString(): string {
    if (isFinalized(this)) return "CMBlockBuffer (released)";
    const parts = this.#parts.length;
    return `CMBlockBuffer of ${totalOf(this)} bytes (${parts === 1 ? "1 part" : `${parts} parts`})`;
  }

  static {
    makeBuffer = () => new CMBlockBuffer(MAKE);
    isBuffer = (value): value is CMBlockBuffer => typeof value === "object" && value !== null && #parts in value;
    partsOf = (buffer) => buffer.#parts;
    markReferredTo = (buffer) => {
      buffer.#referredTo = true;
    };
    isReferredTo = (buffer) => buffer.#referredTo;
  }
}

/**
 * An empty buffer, to be filled by the appends.
 * @param structureAllocator null, or an allocator other than a memory pool's
 * @param subBlockCapacity how many parts are expected; a hint
 * Throws a `DoorError`: -12700, -12705.
 */
export function CMBlockBufferCreateEmpty(
  structureAllocator: CFAllocator | null = null,
  subBlockCapacity = 0,
  flags = 0,
): CMBlockBuffer {
  const call = "CMBlockBufferCreateEmpty";
  checkStructureAllocator(call, structureAllocator);
  wholeNumber(call, "subBlockCapacity", subBlockCapacity, kCMBlockBufferBadLengthParameterErr);
  checkFlags(call, flags);
  return makeBuffer();
}

/**
 * A buffer over one block.
 * @param structureAllocator null, or an allocator other than a memory pool's: pools are for payload
 * @param memoryBlock the block, which the buffer frees; null: it is promised, and allocated when needed
 * @param blockLength bytes of the block
 * @param blockAllocator allocates what is promised and frees the block; null: the default one, or, for a block that is
 * there, its own; {@link kCFAllocatorNull}: the block is the caller's to free
 * @param customBlockSource allocates and frees in the place of the allocator
 * @param offsetToData where in the block the buffer begins
 * @param dataLength how many bytes it has
 * @param flags {@link kCMBlockBufferAssureMemoryNowFlag}
 * Throws a `DoorError`: -12700 to -12705; the block is the caller's then.
 */
export function CMBlockBufferCreateWithMemoryBlock(
  structureAllocator: CFAllocator | null,
  memoryBlock: CMMemoryBlock | null,
  blockLength: number,
  blockAllocator: CFAllocator | null,
  customBlockSource: CMBlockBufferCustomBlockSource | null,
  offsetToData: number,
  dataLength: number,
  flags = 0,
): CMBlockBuffer {
  const call = "CMBlockBufferCreateWithMemoryBlock";
  checkStructureAllocator(call, structureAllocator);
  const part = blockPart(
    call,
    memoryBlock,
    blockLength,
    blockAllocator,
    customBlockSource,
    offsetToData,
    dataLength,
    flags,
  );
  const buffer = makeBuffer();
  partsOf(buffer).push(part);
  return buffer;
}

/**
 * A buffer that refers to a part of another one, which it retains. A length of 0: all from the offset on.
 * Throws a `DoorError`: -12700, -12703 to -12706.
 */
export function CMBlockBufferCreateWithBufferReference(
  structureAllocator: CFAllocator | null,
  bufferReference: CMBlockBuffer,
  offsetToData: number,
  dataLength: number,
  flags = 0,
): CMBlockBuffer {
  const call = "CMBlockBufferCreateWithBufferReference";
  checkStructureAllocator(call, structureAllocator);
  liveBuffer(call, "bufferReference", bufferReference);
  const part = referencePart(call, bufferReference, offsetToData, dataLength, flags);
  const buffer = makeBuffer();
  partsOf(buffer).push(part);
  return buffer;
}

/**
 * A buffer whose bytes are in one run: a reference where they are already, else a copy in a block of its own. A length
 * of 0: all from the offset on. Throws a `DoorError`: -12700 to -12707.
 * @param flags {@link kCMBlockBufferAlwaysCopyDataFlag}: a copy in any case
 */
export function CMBlockBufferCreateContiguous(
  structureAllocator: CFAllocator | null,
  sourceBuffer: CMBlockBuffer,
  blockAllocator: CFAllocator | null,
  customBlockSource: CMBlockBufferCustomBlockSource | null,
  offsetToData: number,
  dataLength: number,
  flags = 0,
): CMBlockBuffer {
  const call = "CMBlockBufferCreateContiguous";
  checkStructureAllocator(call, structureAllocator);
  checkFlags(call, flags);
  liveBuffer(call, "sourceBuffer", sourceBuffer);
  const length = rangeOf(call, sourceBuffer, offsetToData, dataLength, true);
  const runs = runsOf(call, sourceBuffer, offsetToData, length);
  if (runs.length === 1 && (flags & kCMBlockBufferAlwaysCopyDataFlag) === 0)
    return CMBlockBufferCreateWithBufferReference(null, sourceBuffer, offsetToData, length, flags);
  // Before anything is allocated.
  for (const { block } of runs) block.memory(call);
  // The source of the caller's may release the buffer that is read.
  CFRetain(sourceBuffer);
  try {
    const now = flags | kCMBlockBufferAssureMemoryNowFlag;
    const part = blockPart(call, null, length, blockAllocator, customBlockSource, 0, length, now);
    try {
      copyOut(call, runs, (part.from as Block).bytes("write", call));
    } catch (error) {
      (part.from as Block).release();
      throw error;
    }
    const buffer = makeBuffer();
    partsOf(buffer).push(part);
    return buffer;
  } finally {
    dropReference(sourceBuffer);
  }
}

/** Appends a block; as {@link CMBlockBufferCreateWithMemoryBlock}. Nothing has changed when it throws. */
export function CMBlockBufferAppendMemoryBlock(
  theBuffer: CMBlockBuffer,
  memoryBlock: CMMemoryBlock | null,
  blockLength: number,
  blockAllocator: CFAllocator | null,
  customBlockSource: CMBlockBufferCustomBlockSource | null,
  offsetToData: number,
  dataLength: number,
  flags = 0,
): void {
  const call = "CMBlockBufferAppendMemoryBlock";
  liveBuffer(call, "theBuffer", theBuffer);
  checkTotal(call, theBuffer, dataLength);
  const part = blockPart(
    call,
    memoryBlock,
    blockLength,
    blockAllocator,
    customBlockSource,
    offsetToData,
    dataLength,
    flags,
    theBuffer,
  );
  partsOf(theBuffer).push(part);
}

/**
 * Appends a part of another buffer, which is retained until this one is finalized. A length of 0: all from the offset
 * on. Throws a `DoorError`: -12703, -12704, -12705 (also for a buffer that refers to this one), -12706.
 * @param flags {@link kCMBlockBufferPermitEmptyReferenceFlag}, {@link kCMBlockBufferDontOptimizeDepthFlag}
 */
export function CMBlockBufferAppendBufferReference(
  theBuffer: CMBlockBuffer,
  targetBBuf: CMBlockBuffer,
  offsetToData: number,
  dataLength: number,
  flags = 0,
): void {
  const call = "CMBlockBufferAppendBufferReference";
  liveBuffer(call, "theBuffer", theBuffer);
  liveBuffer(call, "targetBBuf", targetBBuf);
  if (refersTo(targetBBuf, theBuffer)) {
    throw bad(
      kCMBlockBufferBadPointerParameterErr,
      "ERR_INVALID_ARG_VALUE",
      `${call}(): targetBBuf is, or refers to, the buffer that it is appended to; neither would ever be freed`,
    );
  }
  const part = referencePart(call, targetBBuf, offsetToData, dataLength, flags, theBuffer);
  partsOf(theBuffer).push(part);
}

/**
 * Allocates what is promised, also in buffers that it refers to. When one block cannot be had, none is allocated.
 * Throws a `DoorError`: -12701, -12702, -12705, -12706; and what AllocateBlock throws.
 */
export function CMBlockBufferAssureBlockMemory(theBuffer: CMBlockBuffer): void {
  const call = "CMBlockBufferAssureBlockMemory";
  assureRuns(call, theBuffer, runsOf(call, liveBuffer(call, "theBuffer", theBuffer)));
}

/**
 * The bytes of a range in one run: the buffer's own where they are, else copied together in `temporaryBlock`, from its
 * start. Throws a `DoorError`: -12703 to -12707.
 */
export function CMBlockBufferAccessDataBytes(
  theBuffer: CMBlockBuffer,
  offset: number,
  length: number,
  temporaryBlock: Uint8Array,
): Uint8Array {
  const call = "CMBlockBufferAccessDataBytes";
  liveBuffer(call, "theBuffer", theBuffer);
  const runs = runsOf(call, theBuffer, offset, rangeOf(call, theBuffer, offset, length, false));
  checkBytes(call, "temporaryBlock", temporaryBlock, length);
  const [first] = runs;
  if (runs.length === 1 && first !== undefined)
    return first.block.bytes("read", call).subarray(first.offset, first.offset + first.length);
  copyOut(call, runs, temporaryBlock);
  return temporaryBlock.subarray(0, length);
}

/** Copies a range, 1 byte or more, out. Throws a `DoorError`: -12703 to -12707; nothing is copied then. */
export function CMBlockBufferCopyDataBytes(
  theSourceBuffer: CMBlockBuffer,
  offsetToData: number,
  dataLength: number,
  destination: Uint8Array,
): void {
  const call = "CMBlockBufferCopyDataBytes";
  liveBuffer(call, "theSourceBuffer", theSourceBuffer);
  const length = rangeOf(call, theSourceBuffer, offsetToData, dataLength, false);
  checkBytes(call, "destination", destination, length);
  copyOut(call, runsOf(call, theSourceBuffer, offsetToData, length), destination);
}

/**
 * Copies bytes in; what is promised is allocated first. Throws a `DoorError`: -12701 to -12706, and what AllocateBlock
 * throws; nothing is replaced then.
 */
export function CMBlockBufferReplaceDataBytes(
  sourceBytes: Uint8Array,
  destinationBuffer: CMBlockBuffer,
  offsetIntoDestination: number,
  dataLength: number,
): void {
  const call = "CMBlockBufferReplaceDataBytes";
  liveBuffer(call, "destinationBuffer", destinationBuffer);
  const length = rangeOf(call, destinationBuffer, offsetIntoDestination, dataLength, false);
  checkBytes(call, "sourceBytes", sourceBytes, length);
  let at = 0;
  for (const target of targets(call, destinationBuffer, offsetIntoDestination, length)) {
    target.set(sourceBytes.subarray(at, at + target.length));
    at += target.length;
  }
}

/** Fills a range (length 0: to the end); as {@link CMBlockBufferReplaceDataBytes}. */
export function CMBlockBufferFillDataBytes(
  fillByte: number,
  destinationBuffer: CMBlockBuffer,
  offsetIntoDestination: number,
  dataLength: number,
): void {
  const call = "CMBlockBufferFillDataBytes";
  liveBuffer(call, "destinationBuffer", destinationBuffer);
  // A char of C: signed or not.
  if (typeof fillByte !== "number" || !Number.isInteger(fillByte) || fillByte < -128 || fillByte > 255) {
    const message = `${call}(): ${wants("fillByte", "a whole number from -128 to 255", fillByte)}`;
    throw bad(kCMBlockBufferBadPointerParameterErr, argumentCode(fillByte), message);
  }
  const length = rangeOf(call, destinationBuffer, offsetIntoDestination, dataLength, true);
  for (const target of targets(call, destinationBuffer, offsetIntoDestination, length)) target.fill(fillByte);
}

/** What {@link CMBlockBufferGetDataPointer} answers. */
export interface CMBlockBufferDataPointer {
  /** The bytes from the offset to the end of their run, to read and to write; good until the buffer is finalized. */
  readonly dataPointer: Uint8Array;
  /** How many they are. */
  readonly lengthAtOffset: number;
  /** Bytes of the whole buffer. */
  readonly totalLength: number;
}

/** The bytes at an offset, without a copy. Throws a `DoorError`: -12703, -12705, -12706, -12707. */
export function CMBlockBufferGetDataPointer(theBuffer: CMBlockBuffer, offset: number): CMBlockBufferDataPointer {
  const call = "CMBlockBufferGetDataPointer";
  liveBuffer(call, "theBuffer", theBuffer);
  const run = runsOf(call, theBuffer, offset, rangeOf(call, theBuffer, offset, 0, true))[0]!;
  // Bytes that buffers of the core share are for reading.
  const mode = run.block.memory(call).isWritable ? "readwrite" : "read";
  const dataPointer = run.block.bytes(mode, call).subarray(run.offset, run.offset + run.length);
  return { dataPointer, lengthAtOffset: run.length, totalLength: totalOf(theBuffer) };
}

/** Bytes of the buffer; 0 for null. Throws a `DoorError`: -12705. */
export function CMBlockBufferGetDataLength(theBuffer: CMBlockBuffer | null): number {
  if (theBuffer === null) return 0;
  return totalOf(liveBuffer("CMBlockBufferGetDataLength", "theBuffer", theBuffer));
}

/**
 * Whether a range (length 0: to the end) lies in one run; false for null, for an empty buffer, and for a range that is
 * not inside. Throws a `DoorError`: -12703 to -12705 for what is not a number, or no buffer.
 */
export function CMBlockBufferIsRangeContiguous(
  theBuffer: CMBlockBuffer | null,
  offset: number,
  length: number,
): boolean {
  const call = "CMBlockBufferIsRangeContiguous";
  if (theBuffer === null) return false;
  liveBuffer(call, "theBuffer", theBuffer);
  wholeNumber(call, "offset", offset, kCMBlockBufferBadOffsetParameterErr);
  wholeNumber(call, "length", length, kCMBlockBufferBadLengthParameterErr);
  const left = totalOf(theBuffer) - offset;
  if (left <= 0 || length > left) return false;
  return runsOf(call, theBuffer, offset, length === 0 ? left : length).length === 1;
}

/** Whether a buffer has no part at all; a promised block is one. False for null. Throws a `DoorError`: -12705. */
export function CMBlockBufferIsEmpty(theBuffer: CMBlockBuffer | null): boolean {
  if (theBuffer === null) return false;
  return partsOf(liveBuffer("CMBlockBufferIsEmpty", "theBuffer", theBuffer)).length === 0;
}

/** The number of this kind of object; the same at every call, never 0. @realtime */
export function CMBlockBufferGetTypeID(): number {
  return KIND.typeID;
}

function totalOf(buffer: CMBlockBuffer): number {
  let total = 0;
  for (const { length } of partsOf(buffer)) total += length;
  return total;
}

/**
 * The runs of a range; absent: of all. Throws -12706 for an empty buffer, -12704 where a buffer that is referred to has
 * not the bytes yet.
 */
function runsOf(call: string, buffer: CMBlockBuffer, offset = 0, length: number = totalOf(buffer)): Run[] {
  if (partsOf(buffer).length === 0) throw empty(call, "the buffer");
  const runs: Run[] = [];
  // Not by recursion: buffers may refer to each other a hundred thousand deep.
  const work = clip(partsOf(buffer), offset, length).reverse();
  for (let part = work.pop(); part !== undefined; part = work.pop()) {
    const { from } = part;
    if (from instanceof Block) addRun(runs, from, part.offset, part.length);
    else {
      const has = totalOf(from);
      if (part.offset + part.length > has) {
        const message = `${call}(): it refers to ${part.length} bytes at ${part.offset} of ${from}, which has only ${has} yet`;
        throw bad(
          has === 0 ? kCMBlockBufferEmptyBBufErr : kCMBlockBufferBadLengthParameterErr,
          "ERR_OUT_OF_RANGE",
          message,
        );
      }
      work.push(...clip(partsOf(from), part.offset, part.length).reverse());
    }
  }
  return runs;
}

function addRun(runs: Run[], block: Block, offset: number, length: number): void {
  const last = runs.at(-1);
  if (last !== undefined && last.block === block && last.offset + last.length === offset) last.length += length;
  else runs.push({ block, offset, length });
}

function clip(parts: readonly Part[], offset: number, length: number): Part[] {
  const clipped: Part[] = [];
  let at = 0;
  for (const part of parts) {
    const skip = Math.max(0, offset - at);
    const count = Math.min(part.length - skip, offset + length - at - skip);
    if (count > 0) clipped.push({ from: part.from, offset: part.offset + skip, length: count });
    at += part.length;
    if (at >= offset + length) break;
  }
  return clipped;
}

/** True when `target` is `buffer`, or leads to it. */
function refersTo(target: CMBlockBuffer, buffer: CMBlockBuffer): boolean {
  if (target !== buffer && !isReferredTo(buffer)) return false;
  const seen = new Set([target]);
  for (const one of seen) {
    if (one === buffer) return true;
    for (const { from } of partsOf(one)) if (!(from instanceof Block)) seen.add(from);
  }
  return false;
}

/** Allocates what is promised in the runs, and holds the buffer meanwhile. */
function assureRuns(call: string, buffer: CMBlockBuffer, runs: readonly Run[]): void {
  assure([...new Set(runs.map(({ block }) => block))]);
  assertAlive(call, buffer);
}

/** The bytes to write to; what is promised is allocated. All are at hand before the first one is changed. */
function targets(call: string, buffer: CMBlockBuffer, offset: number, length: number): Uint8Array[] {
  assureRuns(call, buffer, runsOf(call, buffer));
  return runsOf(call, buffer, offset, length).map((run) =>
    run.block.bytes("write", call).subarray(run.offset, run.offset + run.length),
  );
}

function copyOut(call: string, runs: readonly Run[], destination: Uint8Array): void {
  const sources = runs.map((run) => run.block.bytes("read", call).subarray(run.offset, run.offset + run.length));
  let at = 0;
  for (const source of sources) {
    destination.set(source, at);
    at += source.length;
  }
}

/** A part that is a block, held once. */
function blockPart(
  call: string,
  memoryBlock: CMMemoryBlock | null,
  blockLength: number,
  blockAllocator: CFAllocator | null,
  customBlockSource: CMBlockBufferCustomBlockSource | null,
  offsetToData: number,
  dataLength: number,
  flags: number,
  holder?: CMBlockBuffer,
): Part {
  checkFlags(call, flags);
  const length = wholeNumber(call, "blockLength", blockLength, kCMBlockBufferBadLengthParameterErr);
  if (length === 0) throw tooLong(`${call}(): blockLength must not be 0`);
  wholeNumber(call, "offsetToData", offsetToData, kCMBlockBufferBadOffsetParameterErr);
  wholeNumber(call, "dataLength", dataLength, kCMBlockBufferBadLengthParameterErr);
  if (offsetToData > length) {
    const message = `${call}(): offsetToData is ${offsetToData}, and the block has ${length} bytes`;
    throw bad(kCMBlockBufferBadOffsetParameterErr, "ERR_OUT_OF_RANGE", message);
  }
  if (dataLength > length - offsetToData)
    throw tooLong(
      `${call}(): the block has ${length - offsetToData} bytes from offsetToData on, and dataLength is ${dataLength}`,
    );
  const source = readSource(call, customBlockSource, memoryBlock === null || memoryBlock === undefined);
  const allocator = source === null ? checkAllocator(call, blockAllocator) : null;
  const block = new Block(length, allocator, source);
  if (memoryBlock !== null && memoryBlock !== undefined) {
    checkBlock(`${call}(): memoryBlock`, memoryBlock, length, kCMBlockBufferBadPointerParameterErr);
    if (source === null) checkFreer(call, memoryBlock, allocator);
    block.adopt(memoryBlock, allocator === kCFAllocatorNull);
  } else if ((flags & kCMBlockBufferAssureMemoryNowFlag) !== 0) {
    block.make();
    // AllocateBlock may have released the buffer that the block is for.
    if (holder !== undefined) {
      try {
        assertAlive(call, holder);
      } catch (error) {
        block.unmake();
        throw error;
      }
    }
  }
  block.retain();
  return { from: block, offset: offsetToData, length: dataLength };
}

/** A part that is a piece of another buffer, which is retained. */
function referencePart(
  call: string,
  target: CMBlockBuffer,
  offsetToData: number,
  dataLength: number,
  flags: number,
  holder?: CMBlockBuffer,
): Part {
  checkFlags(call, flags);
  let length = dataLength;
  if ((flags & kCMBlockBufferPermitEmptyReferenceFlag) === 0) {
    length = rangeOf(call, target, offsetToData, dataLength, true);
  } else {
    wholeNumber(call, "offsetToData", offsetToData, kCMBlockBufferBadOffsetParameterErr);
    wholeNumber(call, "dataLength", dataLength, kCMBlockBufferBadLengthParameterErr);
    if (dataLength === 0) length = Math.max(0, totalOf(target) - offsetToData);
  }
  if (holder !== undefined) checkTotal(call, holder, length);
  let offset = offsetToData;
  let from = target;
  // A reference to a reference goes to what is behind it, so that a chain of them stays one deep.
  const [only] = partsOf(target);
  const isOne = partsOf(target).length === 1 && only !== undefined && offset + length <= only.length;
  if (isOne && !(only.from instanceof Block) && (flags & kCMBlockBufferDontOptimizeDepthFlag) === 0) {
    from = only.from;
    offset += only.offset;
  }
  markReferredTo(from);
  return { from: CFRetain(from), offset, length };
}

/** The length of a range that has to be inside; 0 is the rest where that is allowed. Throws -12703, -12704, -12706. */
function rangeOf(call: string, buffer: CMBlockBuffer, offset: number, length: number, isRest: boolean): number {
  wholeNumber(call, "an offset", offset, kCMBlockBufferBadOffsetParameterErr);
  wholeNumber(call, "a length", length, kCMBlockBufferBadLengthParameterErr);
  if (partsOf(buffer).length === 0) throw empty(call, "the buffer");
  const total = totalOf(buffer);
  if (offset >= total) {
    const message = `${call}(): the offset is ${offset}, and the buffer has ${total} bytes`;
    throw bad(kCMBlockBufferBadOffsetParameterErr, "ERR_OUT_OF_RANGE", message);
  }
  if (length === 0 && !isRest) throw tooLong(`${call}(): the length must not be 0`);
  if (length > total - offset)
    throw tooLong(`${call}(): the buffer has ${total - offset} bytes from ${offset} on, and the length is ${length}`);
  return length === 0 ? total - offset : length;
}

function checkTotal(call: string, buffer: CMBlockBuffer, more: number): void {
  if (typeof more === "number" && totalOf(buffer) + more > Number.MAX_SAFE_INTEGER)
    throw tooLong(`${call}(): the buffer would have more than ${Number.MAX_SAFE_INTEGER} bytes`);
}

function readSource(
  call: string,
  source: CMBlockBufferCustomBlockSource | null,
  allocates: boolean,
): BlockSource | null {
  if (source === null || source === undefined) return null;
  const refuse = (name: string, expected: string, value: unknown, code: ErrorCode): DoorError =>
    bad(kCMBlockBufferBadCustomBlockSourceErr, code, `${call}(): ${wants(name, expected, value)}`);
  if (typeof source !== "object")
    throw refuse("customBlockSource", "an object or null", source, "ERR_INVALID_ARG_TYPE");
  const { version = 0, AllocateBlock: allocate = null, FreeBlock: free = null, refCon = null } = source;
  if (version !== 0) throw refuse("customBlockSource.version", "0", version, argumentCode(version));
  if (allocate !== null && typeof allocate !== "function")
    throw refuse("customBlockSource.AllocateBlock", "a function or null", allocate, "ERR_INVALID_ARG_TYPE");
  if (free !== null && typeof free !== "function")
    throw refuse("customBlockSource.FreeBlock", "a function or null", free, "ERR_INVALID_ARG_TYPE");
  if (allocate === null && allocates)
    throw refuse(
      "customBlockSource.AllocateBlock",
      "a function, as there is no block",
      allocate,
      "ERR_INVALID_ARG_TYPE",
    );
  return { allocate, free, refCon };
}

/** The system would free the block with that allocator: it has to be the one that made it. */
function checkFreer(call: string, given: CMMemoryBlock, allocator: Allocator | null): void {
  if (allocator === null || allocator === kCFAllocatorNull) return;
  if (isMemory(given) && given.allocator === allocator) return;
  const message = `${call}(): memoryBlock is not of ${allocator}, which is to free it; pass the allocator that made it, or kCFAllocatorNull`;
  throw bad(kCMBlockBufferBadPointerParameterErr, "ERR_FOREIGN_RELEASE", message);
}

function checkAllocator(call: string, allocator: CFAllocator | null): Allocator | null {
  if (allocator === null) return null;
  if (isMade(Allocator, allocator, "name")) return allocator;
  const message = `${call}(): ${wants("blockAllocator", "an allocator or null", allocator)}`;
  throw bad(kCMBlockBufferBadPointerParameterErr, "ERR_INVALID_ARG_TYPE", message);
}

function checkStructureAllocator(call: string, allocator: CFAllocator | null): void {
  if (allocator === null) return;
  if (!isMade(Allocator, allocator, "name")) {
    const message = `${call}(): ${wants("structureAllocator", "an allocator or null", allocator)}`;
    throw bad(kCMBlockBufferBadPointerParameterErr, "ERR_INVALID_ARG_TYPE", message);
  }
  if (!(allocator instanceof PageAllocator) && allocator !== kCFAllocatorNull) return;
  throw bad(
    kCMBlockBufferStructureAllocationFailedErr,
    "ERR_INVALID_ARG_VALUE",
    `${call}(): structureAllocator is ${allocator}, which is not for structures: a CMMemoryPool's gives whole pages, for payload; pass it as blockAllocator`,
  );
}

function liveBuffer(call: string, name: string, buffer: CMBlockBuffer): CMBlockBuffer {
  if (!isBuffer(buffer)) {
    const message = `${call}(): ${wants(name, "a CMBlockBuffer", buffer)}`;
    throw bad(kCMBlockBufferBadPointerParameterErr, "ERR_INVALID_ARG_TYPE", message);
  }
  assertAlive(call, buffer);
  return buffer;
}

function checkBytes(call: string, name: string, bytes: Uint8Array, length: number): void {
  if (!(bytes instanceof Uint8Array)) {
    const message = `${call}(): ${wants(name, "a Uint8Array", bytes)}`;
    throw bad(kCMBlockBufferBadPointerParameterErr, "ERR_INVALID_ARG_TYPE", message);
  }
  if (bytes.byteLength < length)
    throw tooLong(`${call}(): ${name} has ${bytes.byteLength} bytes, and the length is ${length}`);
}

function checkFlags(call: string, flags: number): void {
  if (typeof flags === "number" && Number.isInteger(flags) && flags >= 0 && flags <= 0xffffffff) return;
  throw bad(
    kCMBlockBufferBadPointerParameterErr,
    argumentCode(flags),
    `${call}(): ${wants("flags", "a CMBlockBufferFlags", flags)}`,
  );
}

function wholeNumber(call: string, name: string, value: number, status: number): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw bad(status, argumentCode(value), `${call}(): ${wants(name, "a whole number of bytes, 0 or more", value)}`);
}

function empty(call: string, what: string): DoorError {
  return bad(kCMBlockBufferEmptyBBufErr, "ERR_INVALID_ARG_VALUE", `${call}(): ${what} is empty; append to it first`);
}

function tooLong(message: string): DoorError {
  return bad(kCMBlockBufferBadLengthParameterErr, "ERR_OUT_OF_RANGE", message);
}

function bad(status: number, code: DoorError["code"], message: string): DoorError {
  return new DoorError(status, code, message);
}
