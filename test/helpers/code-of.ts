import { isMillpondError } from "../../src/util/errors.ts";

/** "ok", or the code with which a promise rejects; what is no error of millpond is told in its own words. */
export function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "ok",
    (error: unknown) => (isMillpondError(error) ? error.code : String(error)),
  );
}
