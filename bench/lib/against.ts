/** Two commits in one run: each of our subjects beside the same subject of another checkout. */
import type { Suite } from "./suite.ts";

/** What the other checkout's subject is called. */
export function earlierName(name: string): string {
  return `${name}, earlier`;
}

/**
 * The suite with our subjects only, each followed by the one of the checkout whose bench folder is `root`, and one goal
 * for each pair: at most `limit` times the earlier figure.
 */
export function suiteAgainst(suite: Suite, root: string, limit: number): Suite {
  const ours = suite.subjects.filter((subject) => subject.kind === "ours");
  const subjects = ours.flatMap((subject) => [subject, { ...subject, name: earlierName(subject.name), root }]);
  return {
    ...suite,
    anchor: earlierName(ours[0]?.name ?? ""),
    subjects,
    goals: ours.map(({ name }) => ({
      what: "not slower than it was",
      subject: name,
      against: earlierName(name),
      maxRatio: limit,
    })),
  };
}
