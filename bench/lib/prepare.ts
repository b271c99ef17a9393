/** Turns a subject into a command to run: builds C, and translates TypeScript for a Node that cannot read it. */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { findSystemNode, type SystemNode } from "../../scripts/lib/system-node.ts";
import type { NativeSubject, ScriptSubject, Subject } from "./suite.ts";

/** A subject that can run, or the reason why it cannot here. */
export type Prepared =
  | { readonly command: string; readonly args: readonly string[]; readonly runtime: string }
  | { readonly skipped: string };

const PROJECT = join(import.meta.dirname, "..", "..");

/** @param benchRoot folder that the subjects' paths are relative to */
export function prepare(subject: Subject, benchRoot: string): Prepared {
  const source = join((subject.kind === "native" ? undefined : subject.root) ?? benchRoot, subject.file);
  if (!existsSync(source)) return { skipped: `${subject.file} is not written yet` };
  return subject.kind === "native" ? prepareNative(subject, source, benchRoot) : prepareScript(subject, source);
}

function prepareNative(subject: NativeSubject, source: string, benchRoot: string): Prepared {
  const flags: string[] = [...(subject.flags ?? [])];
  if (subject.packages !== undefined && subject.packages.length > 0) {
    const found = spawnSync("pkg-config", ["--cflags", "--libs", ...subject.packages], { encoding: "utf8" });
    if (found.error !== undefined) return { skipped: "pkg-config is not installed" };
    if (found.status !== 0) return { skipped: `not installed: ${subject.packages.join(", ")}` };
    flags.push(...found.stdout.trim().split(/\s+/));
  }
  const cache = join(benchRoot, ".cache");
  mkdirSync(cache, { recursive: true });
  if (subject.fetches !== undefined) fetchSource(subject.fetches, cache);
  // One source serves several libraries, so the flags are part of the name.
  const label = [basename(subject.file, ".c"), ...(subject.flags ?? [])].join("").replace(/[^\w.-]/g, "_");
  const binary = join(cache, label);
  const newest = Math.max(...[source, join(source, "..", "bench.h")].filter((file) => existsSync(file)).map(modified));
  if (!existsSync(binary) || modified(binary) < newest) {
    const built = spawnSync("gcc", ["-O2", "-std=gnu11", source, "-o", binary, ...flags, "-lm", "-pthread"], {
      encoding: "utf8",
    });
    if (built.error !== undefined) return { skipped: "gcc is not installed" };
    if (built.status !== 0) return { skipped: `does not build here: ${firstError(built.stderr)}` };
  }
  return { command: binary, args: subject.args ?? [], runtime: "C, gcc -O2" };
}

/**
 * Puts a peer's source into the cache, from a folder or by git, if its variable says where; the build says so if that
 * failed.
 */
function fetchSource({ variable, folder }: NonNullable<NativeSubject["fetches"]>, cache: string): void {
  const from = process.env[variable];
  const target = join(cache, folder);
  if (from === undefined || existsSync(target)) return;
  if (existsSync(from)) cpSync(from, target, { recursive: true });
  else spawnSync("git", ["clone", "--quiet", "--depth", "1", from, target]);
}

function prepareScript(subject: ScriptSubject, source: string): Prepared {
  const args = [...(subject.nodeFlags ?? []), source, ...(subject.args ?? [])];
  const own = Number.parseInt(process.versions.node, 10);
  const wanted = subject.runtime === undefined ? own : Number(subject.runtime.slice("node".length));
  if (wanted === own && subject.translated === true) {
    return prepareTranslated(subject, source, { path: process.execPath, version: process.version });
  }
  if (wanted === own) return { command: process.execPath, args, runtime: `node ${process.version}` };
  if (subject.root !== undefined) return { skipped: "an earlier commit runs on the project's own Node only" };
  const system = findSystemNode();
  if (system?.major !== wanted) {
    return { skipped: `needs Node ${wanted}; here are ${own}${system === undefined ? "" : ` and ${system.major}`}` };
  }
  return prepareTranslated(subject, source, system);
}

/**
 * Type stripping came with Node 22.18, and takes some 40 MB of the process that does it: for an older Node, and for a
 * subject whose memory is compared, tsc writes the subject and what it imports to .cache/js.
 */
function prepareTranslated(
  subject: ScriptSubject,
  source: string,
  node: Pick<SystemNode, "path" | "version">,
): Prepared {
  const failure = translated.get(source) ?? translate(source);
  translated.set(source, failure);
  if (failure !== "") return { skipped: `does not translate: ${failure}` };
  const script = join(PROJECT, "bench", ".cache", "js", source.slice(PROJECT.length + 1).replace(/\.ts$/, ".js"));
  return {
    command: node.path,
    args: [...(subject.nodeFlags ?? []), script, ...(subject.args ?? [])],
    runtime: `node ${node.version}`,
  };
}

/** What went wrong with each source that was translated in this process; empty: nothing. */
const translated: Map<string, string> = new Map();

function translate(source: string): string {
  const cache = join(PROJECT, "bench", ".cache");
  mkdirSync(cache, { recursive: true });
  const config = join(cache, `tsconfig.${basename(source, ".ts")}.json`);
  writeFileSync(
    config,
    JSON.stringify({
      extends: "../../tsconfig.json",
      compilerOptions: {
        noEmit: false,
        noCheck: true,
        declaration: false,
        isolatedDeclarations: false,
        allowImportingTsExtensions: false,
        rewriteRelativeImportExtensions: true,
        rootDir: "../..",
        outDir: "./js",
      },
      files: [source],
      include: [],
    }),
  );
  const tsc = join(PROJECT, "node_modules", "typescript", "bin", "tsc");
  const built = spawnSync(process.execPath, [tsc, "-p", config], { encoding: "utf8" });
  return built.status === 0 ? "" : firstError(built.stdout) || "tsc says nothing";
}

function modified(file: string): number {
  return statSync(file).mtimeMs;
}

function firstError(text: string): string {
  const line = text.split("\n").find((candidate) => /error|undefined reference|cannot find/i.test(candidate));
  // Only the message: what stands before it is a path of this machine.
  return (line ?? text.split("\n")[0] ?? "").replace(/^.*?(?:fatal )?error:?\s*/i, "").slice(0, 160);
}
