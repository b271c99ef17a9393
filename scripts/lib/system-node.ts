import { execFileSync } from "node:child_process";
import { accessSync, constants, realpathSync } from "node:fs";
import { delimiter, join, sep } from "node:path";

/** A Node binary that the machine has, apart from the one this project installs for its own scripts. */
export interface SystemNode {
  readonly path: string;
  /** As `process.version` says it: `v20.20.2`. */
  readonly version: string;
  readonly major: number;
}

const NAME = process.platform === "win32" ? "node.exe" : "node";

/**
 * The first `node` on PATH that is not from a node_modules folder. `npm run` puts node_modules/.bin first, where the
 * project's own Node 24 stands; a user has neither.
 */
export function findSystemNode(path: string = process.env.PATH ?? ""): SystemNode | undefined {
  for (const folder of path.split(delimiter)) {
    if (folder === "" || folder.split(sep).includes("node_modules")) continue;
    const candidate = join(folder, NAME);
    try {
      accessSync(candidate, constants.X_OK);
      if (realpathSync(candidate).split(sep).includes("node_modules")) continue;
      const version = execFileSync(candidate, ["--version"], { encoding: "utf8" }).trim();
      return { path: candidate, version, major: Number.parseInt(version.slice(1), 10) };
    } catch {
      // Not there, not ours to run, or no Node at all: the next folder may have one.
    }
  }
  return undefined;
}
