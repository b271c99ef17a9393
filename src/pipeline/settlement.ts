/**
 * Settlement: what the stages of a pipeline compare until they agree on formats, as one sum of work. Caps near their
 * bounds at many stages would otherwise block the thread for the sum of what each comparison may take.
 *
 * Life-cycle: one for the formats of a run that are settled before it plays, one for each format that is announced
 * later, one for each `link()`, and one for a question that belongs to none of these. It is in force while its work
 * runs: what compares caps takes it from {@link currentSettlement}.
 *
 * Invariants: work is counted and not timed, so that the same stages are refused on every machine. What is spent stays
 * spent, also where a hook catches the refusal.
 *
 * Settlements of one run that come one after the other leave turns of the event loop between them, see `Pace`: the
 * thread is blocked by one of them at most.
 *
 * Complexity: O(1) for each comparison.
 */

/**
 * What one settlement may cost, in comparisons of two structures of caps or looks at a value of a list: a quarter of a
 * second. Structures that are neither apart nor in one another cost the square of their number.
 */
export const MAX_STEPS: number = 1 << 22;

/**
 * Work of settlements after which a run lets timers and input have a turn: a millisecond. A format that stages take as
 * it is costs less, so that the formats of a stream wait for nothing.
 */
export const TURN_STEPS: number = 1 << 14;

/** Stages that a message names; the others are counted. */
const NAMED_STAGES = 3;

/** Who is told of the work of settlements. */
interface SpendListener {
  spent(steps: number, settlement: Settlement): void;
}

/** A sum of work with a bound. */
export class Settlement {
  /** What may still be spent; below 0 it was too much. */
  left: number = MAX_STEPS;
  /** The stage whose caps are compared now. */
  stage: string | undefined;
  readonly #spent: Map<string, number> = new Map();
  readonly #pace: SpendListener | undefined;

  /** @param pace of the run that it is a part of */
  constructor(pace?: SpendListener) {
    this.#pace = pace;
  }

  /** Takes work off the sum, on the account of the present stage. */
  spend(steps: number): void {
    this.left -= steps;
    if (this.stage !== undefined) this.#spent.set(this.stage, (this.#spent.get(this.stage) ?? 0) + steps);
    this.#pace?.spent(steps, this);
  }

  /** The stages that compared, those with the most work first. */
  get stages(): readonly string[] {
    return [...this.#spent].sort((a, b) => b[1] - a[1]).map(([name]) => name);
  }
}

let current: Settlement | undefined;

/** The one in force; undefined outside of pipelines. */
export function currentSettlement(): Settlement | undefined {
  return current;
}

/**
 * Work of a stage begins, in the settlement that is in force, else in the one that is given, else in a new one of the
 * run with that pace. What it does in a later turn is outside of it. Returns what ends it, in this turn: a question
 * goes through a thousand stages, and has a few frames of the stack at each.
 */
export function enterSettlement(
  settlement: Settlement | undefined,
  pace: SpendListener | undefined,
  stage: string,
): () => void {
  const outer = current;
  const inner = outer ?? settlement ?? new Settlement(pace);
  const { stage: before } = inner;
  current = inner;
  inner.stage = stage;
  return () => {
    inner.stage = before;
    current = outer;
  };
}

/** Does work of a stage as {@link enterSettlement} has it. */
export function settle<T>(
  settlement: Settlement | undefined,
  pace: SpendListener | undefined,
  stage: string,
  work: () => T,
): T {
  const leave = enterSettlement(settlement, pace, stage);
  try {
    return work();
  } finally {
    leave();
  }
}

/** `"a", "b", "c" and 2 more stages`. */
export function stagesText(names: readonly string[]): string {
  const named = names.slice(0, NAMED_STAGES).map((name) => `"${name}"`);
  const more = names.length - named.length;
  if (more > 0) return `${named.join(", ")} and ${more} more stage${more === 1 ? "" : "s"}`;
  return named.length < 2 ? named.join() : `${named.slice(0, -1).join(", ")} and ${named.at(-1)}`;
}
