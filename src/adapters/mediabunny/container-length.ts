/**
 * How long a media file says it is. A file that was cut short in copying still opens, and decodes up to the cut; only
 * this comparison tells it from a short film.
 */
import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";
import { MillpondError } from "../../util/errors.ts";
import { type Patch, sampleTablePatches } from "./sample-tables.ts";
import { packetsOf, type WholePackets } from "./transport-packets.ts";

/** What the outermost structure of a file says. */
export interface ContainerLength {
  /** Bytes that are there. */
  readonly actual: number;
  /** Bytes that its structure announces; undefined for an unknown container or a live one without a length. */
  readonly declared: number | undefined;
  /** True when it is ISO media (MP4, MOV) without the index that makes it playable. */
  readonly lacksIndex: boolean;
  /**
   * How a Matroska file that is cut short, or ends with a cluster of unknown size, is to be read; undefined: as it is.
   */
  readonly cut?: MatroskaCut | undefined;
  /**
   * What has to stand in place of numbers in the index of ISO media that announce more than there can be; undefined:
   * nothing.
   */
  readonly patches?: readonly Patch[] | undefined;
  /** Where the whole packets of a damaged MPEG transport stream are; undefined: everywhere. */
  readonly packets?: WholePackets | undefined;
  /** Bytes in the file that belong to none of them, and where the first one is. */
  readonly lost?: { readonly bytes: number; readonly at: number } | undefined;
}

/** How a Matroska file that is cut short, or has clusters of unknown size, reads as a whole one with known sizes. */
export interface MatroskaCut {
  /** Bytes up to the end of the last whole block. */
  readonly end: number;
  /** What stands in place of lengths that are unknown or beyond the cut. */
  readonly patches: readonly Patch[];
  /** What follows the end. */
  readonly tail?: Uint8Array | undefined;
}

/** What an MP4 or MOV file begins with: any four letters would do for a later box, and for a text. */
const FIRST_BOXES: ReadonlySet<string> = new Set([
  "ftyp",
  "moov",
  "mdat",
  "free",
  "skip",
  "wide",
  "styp",
  "pnot",
  "moof",
]);

/**
 * Reads the outermost structure of an MP4/MOV or Matroska/WebM file: some bytes a top-level box, never the media.
 * Rejects with the file system's own error. O(top-level boxes).
 */
export async function containerLength(path: string): Promise<ContainerLength> {
  const file = await open(path, "r");
  try {
    const actual = (await file.stat()).size;
    const head = await read(file, 0, 64);
    if (head.length >= 8 && FIRST_BOXES.has(head.toString("latin1", 4, 8))) {
      const patches = await indexPatches(file, path, actual);
      return { ...(await isoLength(file, actual)), patches: patches.length === 0 ? undefined : patches };
    }
    if (isEbml(head)) return await matroskaLength(file, head, actual);
    const packets = await packetsOf(file, actual);
    if (packets !== undefined) {
      return { actual, declared: undefined, lacksIndex: false, packets, lost: packets.lost };
    }
    return { actual, declared: undefined, lacksIndex: false };
  } finally {
    await file.close();
  }
}

// An hour of fragments with one frame each has 432,000.
const MAX_BOXES = 1e6;
// Ten million samples have less than this.
const MAX_INDEX_BYTES = 2 ** 28;

/** What has to be replaced in the index and in the fragments. O(top-level boxes, and the bytes of the index). */
async function indexPatches(file: FileHandle, path: string, actual: number): Promise<Patch[]> {
  const patches: Patch[] = [];
  let boxes = 0;
  // As mediabunny goes from box to box, whatever they are called.
  for (let at = 0; at + 8 <= actual; ) {
    const header = await read(file, at, 16);
    if (header.length < 8) break;
    const isLong = header.readUInt32BE(0) === 1 && header.length === 16;
    const size = isLong ? Number(header.readBigUInt64BE(8)) : header.readUInt32BE(0);
    if (size < (isLong ? 16 : 8)) break;
    const type = header.toString("latin1", 4, 8);
    if (type === "moov" || type === "moof") {
      // A reader needs the whole index, and gives up where the file ends before it does.
      if (at + size > actual) break;
      if (size > MAX_INDEX_BYTES) {
        throw new MillpondError("ERR_BAD_DATA", `${path} is damaged: its index announces ${size} bytes at byte ${at}`, {
          at,
        });
      }
      for (const patch of sampleTablePatches(await read(file, at, size), at, actual)) patches.push(patch);
    }
    if (++boxes > MAX_BOXES) {
      throw new MillpondError("ERR_BAD_DATA", `${path} is damaged: it has more than ${MAX_BOXES} parts`, { boxes });
    }
    at += size;
  }
  return patches;
}

async function isoLength(file: FileHandle, actual: number): Promise<ContainerLength> {
  let offset = 0;
  let hasIndex = false;
  while (offset < actual) {
    const header = await read(file, offset, 16);
    // Fewer than eight bytes are the start of a box whose length nobody can know any more.
    if (header.length < 8) return { actual, declared: offset + 8, lacksIndex: !hasIndex };
    if (!isBoxType(header, 4)) return { actual, declared: undefined, lacksIndex: !hasIndex };
    let size = header.readUInt32BE(0);
    if (size === 1 && header.length === 16) size = Number(header.readBigUInt64BE(8));
    // Size 0 is "to the end of the file"; a size below 8 is damage.
    if (size === 0) size = actual - offset;
    if (size < 8) return { actual, declared: undefined, lacksIndex: !hasIndex };
    if (header.toString("latin1", 4, 8) === "moov" && offset + size <= actual) hasIndex = true;
    offset += size;
  }
  return { actual, declared: offset, lacksIndex: !hasIndex };
}

const EMPTY_TAGS = Uint8Array.of(0x12, 0x54, 0xc3, 0x67, 0x80);
const SEGMENT = 0x18538067;
const CLUSTER = 0x1f43b675;
/** What stands in a Segment beside clusters: SeekHead, Info, Tracks, Cues, Attachments, Chapters, Tags. */
const LEVEL_1: ReadonlySet<number> = new Set([
  CLUSTER,
  0x114d9b74,
  0x1549a966,
  0x1654ae6b,
  0x1c53bb6b,
  0x1941a469,
  0x1043a770,
  0x1254c367,
]);
/** What stands in a cluster: Timestamp, SimpleBlock, BlockGroup, PrevSize, Position, SilentTracks, EncryptedBlock. */
const LEVEL_2: ReadonlySet<number> = new Set([0xe7, 0xa3, 0xa0, 0xab, 0xa7, 0x5854, 0xaf]);
/** Padding and checksum, which may stand anywhere. */
const ANYWHERE: ReadonlySet<number> = new Set([0xec, 0xbf]);

/** EBML header, then the Segment, which holds all the rest. */
async function matroskaLength(file: FileHandle, head: Buffer, actual: number): Promise<ContainerLength> {
  const whole: ContainerLength = { actual, declared: undefined, lacksIndex: false };
  const header = vint(head, 4);
  if (header === undefined) return whole;
  const segment = await element(file, 4 + header.length + header.value);
  if (segment === undefined || segment.id !== SEGMENT) return whole;
  const declared = segment.isUnknown ? undefined : segment.start + segment.size;
  // A Segment of unknown size is how a live stream is written; only its parts say whether it was cut.
  if (declared !== undefined && declared <= actual) return { ...whole, declared };
  const found = await lastWhole(file, segment.start, actual);
  if (found === undefined) return { ...whole, declared };
  const announced = Math.max(declared ?? 0, found.announced);
  return { ...whole, declared: announced > actual ? announced : declared, cut: found.cut };
}

/**
 * Walks the parts of a Segment up to the one that the file ends in. Undefined for what is not understood: the reader
 * has ways to find its place again, and no length would be right. O(clusters), and the blocks of the last one.
 */
async function lastWhole(
  file: FileHandle,
  start: number,
  actual: number,
): Promise<{ announced: number; cut: MatroskaCut | undefined } | undefined> {
  const patches: { at: number; bytes: Uint8Array }[] = [];
  const setSize = (part: MatroskaElement, end: number): boolean => {
    const [size, length] = [end - part.start, part.start - part.sizeAt];
    // All ones mean "unknown".
    if (size >= 2 ** (7 * length) - 1) return false;
    patches.push({ at: part.sizeAt, bytes: writeVint(size, length) });
    return true;
  };
  let at = start;
  while (at < actual) {
    const part = await element(file, at);
    // A few bytes at the end are the beginning of a part of which nothing is known.
    if (part === undefined) return actual - at < 12 ? { announced: actual + 1, cut: { end: at, patches } } : undefined;
    if (!LEVEL_1.has(part.id) && !ANYWHERE.has(part.id)) return undefined;
    if (!part.isUnknown && part.start + part.size <= actual) {
      at = part.start + part.size;
      continue;
    }
    if (part.id !== CLUSTER) return { announced: part.start + part.size, cut: { end: at, patches } };
    const blocks = await lastBlock(file, part.start, actual);
    if (blocks === undefined) return undefined;
    // Where the length of a cluster is wrong, its last block that makes sense is where the whole part ends.
    if (blocks.isDamaged && part.isUnknown) return undefined;
    if (blocks.isClosed) {
      // A cluster of unknown size ends where the next one begins.
      setSize(part, blocks.end);
      at = blocks.end;
      continue;
    }
    const announced = Math.max(part.isUnknown ? 0 : part.start + part.size, blocks.announced);
    // Where there is no room for a length, the reader finds the end by what follows it.
    const tail = setSize(part, blocks.end) ? undefined : EMPTY_TAGS;
    return { announced, cut: { end: blocks.end, patches, tail } };
  }
  return { announced: at, cut: patches.length === 0 ? undefined : { end: actual, patches } };
}

/**
 * The first byte of a Matroska file that is neither a part of its Segment nor a block of a cluster; undefined when all
 * of it makes sense. Reads the head of every block, and none of the media. Rejects with the file system's error.
 * O(blocks).
 */
export async function matroskaDamage(path: string): Promise<number | undefined> {
  const file = await open(path, "r");
  try {
    const actual = (await file.stat()).size;
    const header = await element(file, 0);
    const segment = header && (await element(file, header.start + header.size));
    if (segment?.id !== SEGMENT) return undefined;
    const end = segment.isUnknown ? actual : Math.min(actual, segment.start + segment.size);
    let isLive = false;
    let inside = 0;
    for (let at = segment.start; at < end; ) {
      const part = await element(file, at);
      if (part === undefined) return at;
      const { id, isUnknown, start, size } = part;
      const isBlock = at < inside || isLive;
      if (ANYWHERE.has(id) || (isBlock && LEVEL_2.has(id))) {
        if (isUnknown || start + size > (at < inside ? inside : end)) return at;
        at = start + size;
      } else if (at >= inside && LEVEL_1.has(id)) {
        isLive = id === CLUSTER && isUnknown;
        inside = id === CLUSTER && !isUnknown ? start + size : 0;
        at = id === CLUSTER ? start : start + size;
      } else if (at >= inside && id === SEGMENT) {
        return undefined;
      } else {
        return at;
      }
    }
    return undefined;
  } finally {
    await file.close();
  }
}

/** The blocks of a cluster: where the last whole one ends, and what the one behind it announces. */
async function lastBlock(
  file: FileHandle,
  start: number,
  actual: number,
): Promise<{ end: number; announced: number; isClosed: boolean; isDamaged?: boolean } | undefined> {
  let at = start;
  while (at < actual) {
    const block = await element(file, at);
    if (block === undefined) {
      const isCut = actual - at < 12;
      return { end: at, announced: isCut ? actual + 1 : at, isClosed: false, isDamaged: !isCut };
    }
    if (LEVEL_1.has(block.id) || block.id === SEGMENT) return { end: at, announced: at, isClosed: true };
    if ((!LEVEL_2.has(block.id) && !ANYWHERE.has(block.id)) || block.isUnknown) {
      return { end: at, announced: at, isClosed: false, isDamaged: true };
    }
    const end = block.start + block.size;
    if (end > actual) return { end: at, announced: end, isClosed: false };
    at = end;
  }
  return { end: at, announced: at, isClosed: false };
}

interface MatroskaElement {
  readonly id: number;
  /** Where its length stands. */
  readonly sizeAt: number;
  /** Where its content begins. */
  readonly start: number;
  readonly size: number;
  readonly isUnknown: boolean;
}

/** The element at a place; undefined when there is none, or not all of its head. */
async function element(file: FileHandle, at: number): Promise<MatroskaElement | undefined> {
  const head = await read(file, at, 12);
  const first = head[0] ?? 0;
  const idLength = Math.clz32(first) - 23;
  if (first === 0 || idLength > 4 || head.length <= idLength) return undefined;
  const size = vint(head, idLength);
  if (size === undefined) return undefined;
  const sizeAt = at + idLength;
  return {
    id: head.readUIntBE(0, idLength),
    sizeAt,
    start: sizeAt + size.length,
    size: size.value,
    isUnknown: size.isUnknown,
  };
}

/** A number in the length that it had before. */
function writeVint(value: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let rest = value;
  for (let i = length - 1; i >= 0; i--) {
    bytes[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  bytes[0]! |= 1 << (8 - length);
  return bytes;
}

/** A Matroska number: the leading zeros of its first byte say how many bytes follow; all ones mean "unknown". */
function vint(bytes: Buffer, at: number): { value: number; length: number; isUnknown: boolean } | undefined {
  const first = bytes[at];
  if (first === undefined || first === 0) return undefined;
  const length = Math.clz32(first) - 23;
  if (at + length > bytes.length) return undefined;
  let value = first & (0xff >> length);
  let isUnknown = value === 0xff >> length;
  for (let i = 1; i < length; i++) {
    const byte = bytes[at + i]!;
    if (byte !== 0xff) isUnknown = false;
    value = value * 256 + byte;
  }
  return { value, length, isUnknown };
}

function isEbml(head: Buffer): boolean {
  return head.length >= 4 && head.readUInt32BE(0) === 0x1a45dfa3;
}

function isBoxType(bytes: Buffer, at: number): boolean {
  for (let i = at; i < at + 4; i++) {
    const byte = bytes[i]!;
    // Types are four letters, digits or a few signs; QuickTime has the copyright sign.
    if ((byte < 0x20 || byte > 0x7e) && byte !== 0xa9) return false;
  }
  return true;
}

async function read(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await file.read(bytes, 0, length, position);
  return bytes.subarray(0, bytesRead);
}
