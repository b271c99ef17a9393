/**
 * Work in steps: a generator that yields wherever its caller may stop for a while. What takes a second as a whole can
 * be done in turns of some milliseconds, or at once.
 */

/** Work whose result is `T`, and which yields `Y` on the way; undefined: nothing but a place to stop at. */
export type Steps<T, Y = undefined> = Generator<Y, T, undefined>;

/** A step is made after so many items: one is some microseconds of work, 30 of them where a stack is formatted. */
export const ITEMS_A_STEP = 32;
/** Items that are sorted at once: 2 ms. */
const RUN = 4096;

/** All of it at once. */
export function finish<T>(steps: Steps<T, unknown>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

/** Sorts an array in place, stable, in steps: runs of {@link RUN}, merged two by two. O(n log n), O(n) if sorted. */
export function* sortSteps<T>(list: T[], compare: (a: T, b: T) => number): Steps<T[]> {
  const { length } = list;
  for (let from = 0; from < length; from += RUN) {
    const run = list.slice(from, from + RUN).sort(compare);
    for (let i = 0; i < run.length; i++) list[from + i] = run[i]!;
    yield;
  }
  for (let width = RUN; width < length; width *= 2) {
    for (let from = 0; from + width < length; from += 2 * width) {
      yield* mergeSteps(list, from, from + width, Math.min(from + 2 * width, length), compare);
    }
  }
  return list;
}

function* mergeSteps<T>(
  list: T[],
  from: number,
  middle: number,
  end: number,
  compare: (a: T, b: T) => number,
): Steps<void> {
  if (compare(list[middle - 1]!, list[middle]!) <= 0) return;
  const left = list.slice(from, middle);
  for (let at = from, i = 0, j = middle; i < left.length; at++) {
    list[at] = j < end && compare(list[j]!, left[i]!) < 0 ? list[j++]! : left[i++]!;
    if (at % RUN === 0) yield;
  }
}
