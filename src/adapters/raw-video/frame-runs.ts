/**
 * Where the bytes of a tightly packed frame go in a slot whose rows or planes are padded: runs of equal rows, in the
 * order in which a stream has them. Rows that lie one behind the other in the slot too are one row, so that a packed
 * slot is one run of one row.
 */
import { MillpondError } from "../../util/errors.ts";
import type { FrameLayout } from "../node/frame-source.ts";

/** Equal rows of a slot, which follow each other in the stream. */
export interface Run {
  /** First byte of the first row in the slot. */
  readonly offset: number;
  /** Bytes from one row to the next in the slot. */
  readonly stride: number;
  /** Bytes of each row in the stream. */
  readonly rowBytes: number;
  /** Rows. */
  readonly rows: number;
}

/**
 * The runs that a frame of the layout `packed` has in a slot of the layout `slot`. O(planes). Throws
 * `ERR_INVALID_ARG_VALUE` when the two are not the same picture.
 */
export function runsOf(packed: FrameLayout, slot: FrameLayout): Run[] {
  const isSame = packed.format === slot.format && packed.width === slot.width && packed.height === slot.height;
  if (!isSame || packed.planes.length !== slot.planes.length) {
    throw new MillpondError(
      "ERR_INVALID_ARG_VALUE",
      `the stream has ${pictureOf(packed)} frames, and the pool is configured for ${pictureOf(slot)}; ` +
        "configure the pool for the stream's format, or without a format",
    );
  }
  const runs: Run[] = [];
  packed.planes.forEach((plane, i) => {
    const { offset, stride } = slot.planes[i]!;
    const rowBytes = plane.stride;
    const rows = plane.height;
    const run =
      stride === rowBytes ? { offset, stride: rowBytes * rows, rowBytes: rowBytes * rows, rows: 1 } : undefined;
    const last = runs.at(-1);
    if (run !== undefined && last?.rows === 1 && last.offset + last.rowBytes === offset) {
      const length = last.rowBytes + run.rowBytes;
      runs[runs.length - 1] = { offset: last.offset, stride: length, rowBytes: length, rows: 1 };
    } else runs.push(run ?? { offset, stride, rowBytes, rows });
  });
  return runs;
}

/** Behind the last byte of the slot that a run touches. */
export function endOf(runs: readonly Run[]): number {
  return runs.reduce(
    (end, { offset, stride, rowBytes, rows }) => Math.max(end, offset + (rows - 1) * stride + rowBytes),
    0,
  );
}

/** `I420 1920x1080`. */
export function pictureOf({ format, width, height }: FrameLayout): string {
  return `${format} ${width}x${height}`;
}
