/**
 * The core of every negotiation: candidates are tried in order, the first one that serves wins, and each learns why it
 * won or lost. It is synchronous and does not know what the candidates are: pools for a pad, allocators for a
 * DirectShow pin.
 */

/** One way in which buffers could have come, and what became of it. */
export interface CandidateResult {
  /** Who offered it. */
  readonly by: string;
  /** What it is. */
  readonly what: string;
  /** Whether it was taken. */
  readonly won: boolean;
  /** Why. */
  readonly why: string;
}

/** One way in which buffers could come. */
export interface Candidate<T> {
  /** Who offers it. */
  readonly by: string;
  /** What it is, in words. */
  readonly what: string;
  /** Why it is taken when it serves. */
  readonly why: string;
  /** Makes it ready. Throws why it does not serve; what it has begun, it has undone then. */
  take(): T;
}

/** What {@link selectFirst} found. */
interface Selection<T> {
  /** What won; undefined when nothing served. */
  readonly selected: T | undefined;
  /** Every candidate, in order. */
  readonly results: readonly CandidateResult[];
  /** What the last candidate that was tried threw. */
  readonly error: unknown;
}

/** Tries candidates in order; those behind the winner are not tried. O(candidates). */
export function selectFirst<T>(candidates: readonly Candidate<T>[]): Selection<T> {
  const results: CandidateResult[] = [];
  let chosen: { readonly value: T } | undefined;
  let error: unknown;
  for (const { by, what, why, take } of candidates) {
    if (chosen !== undefined) {
      results.push({ by, what, won: false, why: "an earlier one was taken" });
      continue;
    }
    try {
      chosen = { value: take() };
      results.push({ by, what, won: true, why });
    } catch (thrown) {
      error = thrown;
      results.push({ by, what, won: false, why: thrown instanceof Error ? thrown.message : String(thrown) });
    }
  }
  return { selected: chosen?.value, results, error };
}
