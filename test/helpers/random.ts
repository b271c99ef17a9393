/**
 * Numbers from 0 to `below - 1`, the same for the same seed: a linear congruential generator, whose low bits are not
 * used.
 */
export function generator(seed: number): (below: number) => number {
  let state = seed | 1;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) % below;
  };
}
