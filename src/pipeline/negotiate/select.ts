/**
 * The core of every negotiation: candidates are tried in order, the first one that serves wins, and each learns why it won or
 * lost. Synchronous, and blind to what the candidates are: pools for a pad, allocators for a DirectShow pin.
 */

/** One way in which buffers could have come, and what became of it. */
export interface Verdict {
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

/** What {@link chooseFirst} found. */
export interface Choice<T> {
  /** What won; undefined when nothing served. */
  readonly chosen: T | undefined;
  /** Every candidate, in order. */
  readonly verdicts: readonly Verdict[];
  /** What the last candidate that was tried threw. */
  readonly error: unknown;
}

/** Tries candidates in order; those behind the winner are not tried. O(candidates). */
export function chooseFirst<T>(candidates: readonly Candidate<T>[]): Choice<T> {
  const verdicts: Verdict[] = [];
  let chosen: { readonly value: T } | undefined;
  let error: unknown;
  for (const { by, what, why, take } of candidates) {
    if (chosen !== undefined) {
      verdicts.push({ by, what, won: false, why: "an earlier one was taken" });
      continue;
    }
    try {
      chosen = { value: take() };
      verdicts.push({ by, what, won: true, why });
    } catch (thrown) {
      error = thrown;
      verdicts.push({ by, what, won: false, why: thrown instanceof Error ? thrown.message : String(thrown) });
    }
  }
  return { chosen: chosen?.value, verdicts, error };
}
