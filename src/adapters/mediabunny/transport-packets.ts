/**
 * Where the whole packets of an MPEG transport stream are. Each has 188 bytes and begins with 0x47; a reader that loses
 * that beat finds it again, and what lies between is lost.
 */
import type { FileHandle } from "node:fs/promises";

const PACKET = 188;
const SYNC = 0x47;
// So many packets in a row do not begin as they should by chance.
const SURE = 4;
const BLOCK = PACKET * 4096;

/** The whole packets of a damaged stream, as runs without a gap. */
export interface WholePackets {
  /** Bytes of all runs. */
  readonly size: number;
  /** Where a run is in the whole stream, where in the file, and how long. */
  readonly runs: readonly { readonly at: number; readonly from: number; readonly length: number }[];
  /** Bytes that are in none, and where in the file the first one is. */
  readonly lost: { readonly bytes: number; readonly at: number };
}

/**
 * Reads the file once. Undefined for what is not a transport stream of 188-byte packets, and for one that is whole.
 * Rejects with the file system's error. O(bytes).
 */
export async function packetsOf(file: FileHandle, actual: number): Promise<WholePackets | undefined> {
  const block = Buffer.alloc(BLOCK + PACKET * SURE);
  const head = await file.read(block, 0, PACKET * SURE, 0);
  if (head.bytesRead < PACKET * 2 || !isBeat(block, 0, head.bytesRead)) return undefined;
  const runs: { at: number; from: number; length: number }[] = [];
  let size = 0;
  let lostAt = -1;
  for (let place = 0; place < actual; ) {
    const { bytesRead } = await file.read(block, 0, block.length, place);
    if (bytesRead === 0) break;
    const isLast = place + bytesRead >= actual;
    // The last packets of a block are looked at again with what follows them.
    const stop = isLast ? bytesRead : BLOCK;
    let at = 0;
    let inStep = runs.length > 0 && runs.at(-1)!.from + runs.at(-1)!.length === place;
    while (at < stop) {
      const isWhole = at + PACKET <= bytesRead && block[at] === SYNC && (inStep || isBeat(block, at, bytesRead));
      if (isWhole) {
        const run = runs.at(-1);
        if (run !== undefined && run.from + run.length === place + at) run.length += PACKET;
        else runs.push({ at: size, from: place + at, length: PACKET });
        size += PACKET;
        at += PACKET;
        inStep = true;
        continue;
      }
      if (lostAt < 0) lostAt = place + at;
      inStep = false;
      const next = block.indexOf(SYNC, at + 1);
      at = next === -1 || next > stop ? stop : next;
    }
    place += at;
  }
  if (lostAt < 0) return undefined;
  return { size, runs, lost: { bytes: actual - size, at: lostAt } };
}

/** Whether packets follow each other from here, as far as the bytes go. */
function isBeat(bytes: Buffer, at: number, end: number): boolean {
  for (let i = at; i < Math.min(end, at + PACKET * SURE); i += PACKET) if (bytes[i] !== SYNC) return false;
  return true;
}
