/**
 * How long the tests run, said in one place.
 *
 * `npm test` is the fast lane: every behavior once. What repeats itself (models, fuzzers, kills, soaks) runs short
 * there and is tagged `repeated`; what shows something only at full length is tagged `full` and left out; so is what
 * tests the tools of this repository, its examples and its tarball by running them, which takes as long as all pools
 * together and says nothing of a pool. `npm run test:all` runs everything once, at full length. `.ci/run` runs the fast
 * lane first and then the rest: the two tags at full length. The closing line (test/closing-line.ts) says how many
 * tests ran short and how many were left out.
 */

/** Which lane runs; vitest.config.ts sets it from vitest's `--mode`. */
export const isFullLength: boolean = process.env.MILLPOND_TESTS === "all";

/** How long a test that is soaked goes on after its least rounds: `npm run soak:processes` sets it. */
export const SOAK_MS: number = Number(process.env.MILLPOND_SOAK_MS ?? 0);

/**
 * The time that a test may take, far above the need, and beyond the time that it is soaked: it ends what hangs, and
 * judges nothing. A test that uses {@link SOAK_MS} is to have {@link REPEATED}, whose limit this is.
 */
export const HANGS_MS: number = SOAK_MS + Number(process.env.MILLPOND_TIMEOUT ?? (isFullLength ? 600_000 : 120_000));

/**
 * A number that a test repeats itself by. The test, or the describe around it, is to have {@link REPEATED}.
 *
 * @param variable an environment variable that sets the number, for a longer search by hand
 */
export function times(fast: number, full: number, variable?: string): number {
  const given = variable === undefined ? undefined : process.env[variable];
  if (given !== undefined) return Number(given);
  return isFullLength ? full : fast;
}

/** The tag of a test that runs short in the fast lane: `it(name, REPEATED, () => ...)`. */
export const REPEATED: { readonly tags: string[]; readonly timeout: number } = {
  tags: ["repeated"],
  timeout: HANGS_MS,
};

/** The tag of a test that only `npm run test:all` and CI run. */
export const FULL: { readonly tags: string[]; readonly timeout: number } = { tags: ["full"], timeout: HANGS_MS };

/**
 * The seed of a random test. The fast lane has always the same one, so that two runs of one tree do the same; at full
 * length it is a new one each time, printed. MILLPOND_SEED repeats a run, or is "random".
 */
export function seedOf(what: string): number {
  const given = process.env.MILLPOND_SEED ?? (isFullLength ? "random" : undefined);
  if (given === undefined) return 20_260_101;
  const seed = given === "random" ? Math.floor(Math.random() * 2 ** 30) : Number(given);
  console.log(`${what}: MILLPOND_SEED=${seed} repeats this run`);
  return seed;
}
