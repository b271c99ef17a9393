/**
 * Rounds up to a multiple of a step. By division and not by bit masks: sizes beyond 2^31 are usual here. Exact up to
 * 2^53.
 */
export function alignUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}
