/** What a benchmark is: subjects that do the same work, and what is claimed about them. Plain data, no code. */

/** A subject written in TypeScript: `bench/subjects/*.ts`, one process for each run. */
export interface ScriptSubject {
  readonly name: string;
  /** `ours` is millpond; `peer` is another package or the bare runtime. */
  readonly kind: "ours" | "peer";
  /** Path below bench/. */
  readonly file: string;
  readonly args?: readonly string[];
  /** Extra flags for Node, such as `--expose-gc`. */
  readonly nodeFlags?: readonly string[];
  /** Major version of Node to run on: the project's own 24, or another one that the machine has. */
  readonly runtime?: `node${number}`;
  /** Runs translated to JavaScript, as users' programs do: stripping types takes 40 MB of the process. */
  readonly translated?: boolean;
  /** Another checkout's bench folder that the file is taken from: the code of an earlier commit, in the same run. */
  readonly root?: string;
  /** What is not like for like about it, in a few words; printed beside the row. */
  readonly note?: string;
}

/** A subject in C: `bench/native/*.c`, built at need, skipped by name where its library is not installed. */
export interface NativeSubject {
  readonly name: string;
  readonly kind: "native";
  /** Path below bench/. */
  readonly file: string;
  readonly args?: readonly string[];
  /** Packages for pkg-config. */
  readonly packages?: readonly string[];
  /**
   * A source that is not kept here: the variable that says where it is (a folder, or what git can clone), its name in
   * .cache.
   */
  readonly fetches?: { readonly variable: string; readonly folder: string };
  /** Flags for gcc beyond -O2, such as `-lmimalloc`. */
  readonly flags?: readonly string[];
  readonly note?: string;
}

export type Subject = ScriptSubject | NativeSubject;

/** A figure that a goal may be about. All are "less is better"; a rate is stated as time per unit. */
export type Metric = "ns" | "p999" | "rss" | "gc" | "gcMajor";

/** A ratio inside one run: the only kind of claim that survives a change of machine. */
export interface RatioGoal {
  /** The claim in words. */
  readonly what: string;
  readonly subject: string;
  readonly against: string;
  readonly maxRatio: number;
  /** Default `ns`. */
  readonly metric?: Metric;
}

/** A bound that is no ratio, such as "no major GC". */
export interface BoundGoal {
  readonly what: string;
  readonly subject: string;
  readonly atMost: number;
  readonly metric: Metric;
}

export type Goal = RatioGoal | BoundGoal;

export interface Suite {
  readonly title: string;
  /** What one operation is, and what is touched. */
  readonly what: string;
  /** Heading of the time column: `ns per acquire + release`. */
  readonly unit: string;
  /** The subject that the ratio column is against. */
  readonly anchor: string;
  /**
   * How the processes' figures become one. `minimum` only where a spinning thread that lost its core spoils a run
   * by a whole time slice; default `median`.
   */
  readonly across?: "median" | "minimum";
  readonly subjects: readonly Subject[];
  readonly goals: readonly Goal[];
}
