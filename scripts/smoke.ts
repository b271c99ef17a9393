/**
 * Runs scripts/smoke-dist.mjs on the system's Node, the oldest one that the library promises to run on.
 * The project's own scripts and tests run on Node 24, which would hide an API that Node 20 lacks.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { findSystemNode } from "./lib/system-node.ts";

const node = findSystemNode();
if (node === undefined) {
  console.error("smoke: no node on PATH outside node_modules; the smoke test needs the system's own");
  process.exit(1);
}
const script = join(import.meta.dirname, "smoke-dist.mjs");
const { status, error } = spawnSync(node.path, [script], { stdio: ["ignore", "inherit", "inherit"] });
if (error !== undefined) console.error(`smoke: ${error.message}`);
process.exit(status ?? 1);
