/**
 * The sample tables of MP4 and MOV, held against what a file can have. A table says "this many samples" in 32 bits, and
 * a reader that believes a damaged one loops four thousand million times, or runs out of memory. Here such a number is
 * replaced by the largest one that the rest of the index allows; what is smaller costs no more than a whole file does,
 * and is left alone.
 *
 * The boxes are walked as mediabunny walks them, one inside the other. O(bytes of the index).
 */

/** Bytes that stand in place of others. */
export interface Patch {
  /** Where in the file. */
  readonly at: number;
  /** What stands there. */
  readonly bytes: Uint8Array;
}

interface Box {
  readonly type: string;
  /** Where its content begins and ends, counted from the beginning of the index. */
  readonly start: number;
  readonly end: number;
}

/** Boxes whose content is boxes. */
const PARENTS: ReadonlySet<string> = new Set([
  "moov",
  "trak",
  "mdia",
  "minf",
  "dinf",
  "edts",
  "stbl",
  "mvex",
  "moof",
  "traf",
]);

/** A run of samples that have neither a size nor a time of their own: 10^6 are five hours of sound. */
const MAX_UNIFORM_RUN = 1 << 20;

/**
 * What has to be replaced in a `moov` or `moof` box so that no number in it announces more samples than there can be.
 * `index` is the whole box, `at` is where it lies in a file of `fileSize` bytes. Empty for an index that is whole.
 */
export function sampleTablePatches(index: Buffer, at: number, fileSize: number): Patch[] {
  const patches: Patch[] = [];
  const limit = (offset: number, most: number): number => {
    const value = index.readUInt32BE(offset);
    if (value <= most) return value;
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(most);
    patches.push({ at: at + offset, bytes });
    return most;
  };
  for (const box of boxesIn(index, 0, index.length)) {
    if (box.type === "trak") limitTrack(index, boxesIn(index, box.start, box.end), limit, fileSize);
    else if (box.type === "trun") limitRun(index, box, limit);
  }
  return patches;
}

type Limit = (offset: number, most: number) => number;

function limitTrack(index: Buffer, boxes: readonly Box[], limit: Limit, fileSize: number): void {
  const tables = (...types: string[]): Box[] => boxes.filter(({ type }) => types.includes(type));
  let samples = 0;
  for (const { type, start, end } of tables("stsz", "stz2")) {
    if (end - start < 12) continue;
    const bits = type === "stz2" ? index[start + 7]! : 32;
    const size = type === "stz2" ? 0 : index.readUInt32BE(start + 4);
    const room = bits === 0 ? 0 : Math.floor(((end - start - 12) * 8) / bits);
    // Where all have one size, nothing is listed, and the file has to have room for them.
    samples +=
      size === 0 ? limit(start + 8, room) : Math.min(index.readUInt32BE(start + 8), Math.floor(fileSize / size));
  }
  for (const { start, end } of tables("stts", "ctts")) {
    let left = samples;
    for (const entry of entriesOf(limit, start, end, 8)) left -= limit(entry, left);
  }
  let chunks = 0;
  for (const { type, start, end } of tables("stco", "co64")) {
    chunks += entriesOf(limit, start, end, type === "stco" ? 4 : 8).length;
  }
  for (const { start, end } of tables("stsc")) {
    for (const entry of entriesOf(limit, start, end, 12)) {
      limit(entry, chunks + 1);
      limit(entry + 4, Math.max(1, samples));
    }
  }
}

/** A run of a fragment lists its samples, or has a count alone. */
function limitRun(index: Buffer, { start, end }: Box, limit: Limit): void {
  if (end - start < 8) return;
  const flags = index.readUInt32BE(start);
  const fields = [0x100, 0x200, 0x400, 0x800].filter((flag) => (flags & flag) !== 0).length;
  limit(start + 4, fields === 0 ? MAX_UNIFORM_RUN : Math.floor((end - start - 8) / (4 * fields)));
}

/**
 * Where the entries of a table begin. It may announce no more than it has room for: what follows it would be read as
 * entries.
 */
function entriesOf(limit: Limit, start: number, end: number, size: number): number[] {
  if (end - start < 8) return [];
  const count = limit(start + 4, Math.floor((end - start - 8) / size));
  return Array.from({ length: count }, (_, i) => start + 8 + i * size);
}

/** All boxes of a range, those inside others behind them. Ends where a box does not fit. */
function boxesIn(index: Buffer, start: number, end: number, depth = 0): Box[] {
  const found: Box[] = [];
  for (let at = start; at + 8 <= end; ) {
    const short = index.readUInt32BE(at);
    const isLong = short === 1 && at + 16 <= end;
    const size = isLong ? Number(index.readBigUInt64BE(at + 8)) : short;
    const header = isLong ? 16 : 8;
    if (size < header) break;
    // A table may be longer than its parent says, and is read all the same.
    const box = {
      type: index.toString("latin1", at + 4, at + 8),
      start: at + header,
      end: Math.min(at + size, index.length),
    };
    found.push(box);
    // No file has boxes so deep; a damaged one may.
    if (PARENTS.has(box.type) && depth < 16) {
      for (const inner of boxesIn(index, box.start, Math.min(box.end, end), depth + 1)) found.push(inner);
    }
    at += size;
  }
  return found;
}
