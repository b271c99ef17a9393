/**
 * mediabunny alone, wherever it runs: an optional peer, loaded on first use, and its times. Decoders for Node are in
 * load.ts.
 */
import { MillpondError } from "../../util/errors.ts";

/** The package, as it is loaded. */
export type Mediabunny = typeof import("mediabunny");

/** The package that a program's tracks come from. Rejects with `ERR_UNSUPPORTED` and the command that installs it. */
export async function importMediabunny(): Promise<Mediabunny> {
  try {
    return await import("mediabunny");
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      `mediabunny, which is optional, cannot be loaded (${why}). Install it with "npm install mediabunny"`,
      { missing: "mediabunny" },
      { cause },
    );
  }
}

/** Seconds to nanoseconds, to the nearest: mediabunny's times are exact to far below a microsecond. */
export function nanoseconds(seconds: number): bigint {
  return BigInt(Math.round(seconds * 1e9));
}
