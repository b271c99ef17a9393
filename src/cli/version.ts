/** The version of the package that this file belongs to. */
import { readFileSync } from "node:fs";

/** As package.json has it; both the source tree and the built one lie one folder below it. */
export const MILLPOND_VERSION: string = (
  JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string }
).version;
