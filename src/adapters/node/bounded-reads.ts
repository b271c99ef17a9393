/** A bound on what a demuxer may ask of a file: a damaged one can send it in a circle, and then it would never come back. */
import type { Source } from "mediabunny";
import { MillpondError } from "../../util/errors.ts";

// Whole files of every container are asked for the same bytes twice in a row at most.
const MAX_SAME_READS = 1_000;
// A demuxer asks mostly for bytes that are there already: 10^6 such requests take a second or less.
const MIN_READS = 1e6;
// MPEG-TS asks most often, once for every 35 bytes; video in MP4 once for some hundred.
const BYTES_PER_READ = 8;

/** What mediabunny's Reader calls for every slice that it looks at, whether the bytes are cached or not. */
interface Readable {
  _read?: (start: number, end: number, ...positions: number[]) => unknown;
}

/**
 * Bounds the requests to a source for a file of `size` bytes. Who asks for the same bytes 1,000 times in a row does not get
 * on, and is told that the file ends there; going on after more requests than all packets of such a file can need throws
 * `ERR_BAD_DATA`. Each loop of a demuxer either reads or walks tables in memory, which are checked before (see
 * sample-tables.ts); so both kinds end.
 */
export function boundReads<T extends Source>(source: T, path: string, size: number): T {
  const inside = source as unknown as Readable;
  const read = inside._read?.bind(source);
  if (read === undefined) return source;
  let left = MIN_READS + Math.ceil(size / BYTES_PER_READ);
  let same = 0;
  let lastStart = -1;
  let lastEnd = -1;
  inside._read = (start, end, ...positions) => {
    // Once used up it stays so: a reader that catches the error may not go on.
    if (left-- <= 0) {
      left = 0;
      throw new MillpondError(
        "ERR_BAD_DATA",
        `${path} is damaged: its parts refer to each other in a circle, at byte ${start}, so that reading it would not end`,
        { at: start },
      );
    }
    same = start === lastStart && end === lastEnd ? same + 1 : 0;
    lastStart = start;
    lastEnd = end;
    // Null is what a source says of bytes behind its end.
    return same > MAX_SAME_READS ? null : read(start, end, ...positions);
  };
  return source;
}
