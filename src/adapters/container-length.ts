/**
 * How long a media file says it is. A file that was cut short in copying still opens, and decodes up to the cut; only
 * this comparison tells it from a short film.
 */
import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";

/** What the outermost structure of a file says. */
export interface ContainerLength {
  /** Bytes that are there. */
  readonly actual: number;
  /** Bytes that its structure announces; undefined for an unknown container or a live one without a length. */
  readonly declared: number | undefined;
  /** True when it is ISO media (MP4, MOV) without the index that makes it playable. */
  readonly lacksIndex: boolean;
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
    if (head.length >= 8 && FIRST_BOXES.has(head.toString("latin1", 4, 8))) return await isoLength(file, actual);
    if (isEbml(head)) return { actual, declared: matroskaLength(head), lacksIndex: false };
    return { actual, declared: undefined, lacksIndex: false };
  } finally {
    await file.close();
  }
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
    // Size 0 is "to the end of the file"; below 8 it is no box.
    if (size === 0) size = actual - offset;
    if (size < 8) return { actual, declared: undefined, lacksIndex: !hasIndex };
    if (header.toString("latin1", 4, 8) === "moov" && offset + size <= actual) hasIndex = true;
    offset += size;
  }
  return { actual, declared: offset, lacksIndex: !hasIndex };
}

/** EBML header, then the Segment, which holds all the rest. */
function matroskaLength(head: Buffer): number | undefined {
  const header = vint(head, 4);
  if (header === undefined) return undefined;
  const segment = 4 + header.length + header.value;
  // 0x18538067 is the Segment's id.
  if (segment + 12 > head.length || head.readUInt32BE(segment) !== 0x18538067) return undefined;
  const size = vint(head, segment + 4);
  // A Segment of unknown size is how a live stream is written.
  if (size === undefined || size.isUnknown) return undefined;
  return segment + 4 + size.length + size.value;
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
