/** Every runtime that is found here: the system's Node, the project's, and those that `npm run test:native` fetched. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { findSystemNode } from "../../scripts/lib/system-node.ts";
import { FULL } from "../helpers/effort.ts";

export interface Runtime {
  readonly name: string;
  /** Absent: the runtime is not here, and `reason` says how to get it. */
  readonly command?: readonly string[];
  readonly reason?: string;
}

/** Where `npm run test:native` puts them. */
export const RUNTIMES: string = join(import.meta.dirname, "..", "..", "node_modules", ".cache", "millpond-runtimes");

/** The runtimes by name, in a fixed order; those that are not here have a reason instead of a command. */
export function runtimes(): Runtime[] {
  const system = findSystemNode();
  return [
    system === undefined
      ? { name: "system node", reason: "no node on PATH outside node_modules" }
      : { name: `system node`, command: [system.path, "--expose-gc"] },
    { name: "project node", command: [process.execPath, "--expose-gc"] },
    fetched("node 22", [["n22", "bin", "node"]], ["--expose-gc"]),
    fetched("node 26", [["n26", "bin", "node"]], ["--expose-gc"]),
    fetched("deno", filesBelow("@deno", "deno"), ["run", "--allow-all", "--v8-flags=--expose-gc"]),
    // Bun would otherwise fetch a package that is missing, where the test is that it is missing.
    fetched("bun", filesBelow("@oven", join("bin", "bun")), ["--no-install"]),
  ];
}

/** In the fast lane the project's Node stands for all of them; the rest lane and `npm run test:native` have each. */
export function tagOf({ name }: Runtime): object {
  return name === "project node" ? {} : FULL;
}

function fetched(name: string, candidates: readonly string[][], flags: readonly string[]): Runtime {
  for (const parts of candidates) {
    for (const extension of ["", ".exe"]) {
      const path = join(RUNTIMES, "node_modules", ...parts) + extension;
      if (existsSync(path)) return { name, command: [path, ...flags] };
    }
  }
  return { name, reason: `${name} is not here: npm run test:native fetches it` };
}

function filesBelow(scope: string, file: string): string[][] {
  const folder = join(RUNTIMES, "node_modules", scope);
  return existsSync(folder) ? readdirSync(folder).map((name) => [scope, name, file]) : [];
}
