/**
 * The package as it is shipped, compiled once a run, for child processes on runtimes that cannot read TypeScript (Node 20) and
 * in places where koffi is not to be found.
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");
// Inside node_modules, so that koffi is found from there as it is from an installed millpond.
const CACHE = join(ROOT, "node_modules", ".cache", "millpond-native");

/** A folder with this tree compiled; koffi can be found from it. */
export function compiled(): string {
  mkdirSync(CACHE, { recursive: true });
  const folder = mkdtempSync(join(CACHE, "build-"));
  execFileSync(
    process.execPath,
    [
      join(ROOT, "node_modules", "typescript", "bin", "tsc"),
      "-p",
      "tsconfig.build.json",
      "--outDir",
      folder,
      "--sourceMap",
      "false",
    ],
    { cwd: ROOT, stdio: ["ignore", "inherit", "inherit"] },
  );
  return folder;
}

/** The same, copied to where no package can be found. */
export function withoutPackages(folder: string): string {
  const copy = mkdtempSync(join(tmpdir(), "millpond-bare-"));
  cpSync(folder, copy, { recursive: true });
  return copy;
}
