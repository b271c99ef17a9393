/**
 * Imports inside src/ point down only, and only the outer layers may know which runtime they are on.
 * The order is the design: bytes (memory) know nothing of pools, pools know nothing of pipelines.
 */
import { builtinModules } from "node:module";
import { posix } from "node:path";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { type ModuleReference, moduleReferences } from "./lib/imports.ts";
import { parseTree, rootFromArguments, type SourceFile } from "./lib/source-tree.ts";

/** Top to bottom. A layer may import itself and everything below it. */
export const LAYERS = [
  "cli",
  "adapters",
  "compat",
  "video",
  "pipeline",
  "pools",
  "media",
  "arena",
  "allocators",
  "memory",
  "os",
  "observe",
  "util",
] as const;

// Layers that exist to meet a platform; the rest must load in a browser and an AudioWorklet.
const PLATFORM_LAYERS: ReadonlySet<string> = new Set(["cli", "adapters", "os"]);
// Pools between processes stand beside the others, but only programs that have processes import them.
const PLATFORM_FOLDERS: readonly string[] = ["src/pools/process/"];
// An adapter's or the command's users have the package it adapts; os/ must still load where koffi is missing.
const PACKAGE_LAYERS: ReadonlySet<string> = new Set(["cli", "adapters"]);
// Types that a layer may name above itself, as "file -> file": `buffer.pool` is a BufferPool. Nothing of them is there
// at run time.
const TYPES_ABOVE: ReadonlySet<string> = new Set([
  "src/media/buffer/media-buffer.ts -> src/pools/buffer/buffer-pool.ts",
]);
// Builtins that a layer for every runtime may ask the process for, as "file -> module": it goes on where there is none.
const OPTIONAL_BUILTINS: ReadonlySet<string> = new Set([
  "src/observe/channels.ts -> node:diagnostics_channel",
  "src/observe/realm.ts -> node:worker_threads",
]);
const BUILTINS: ReadonlySet<string> = new Set(builtinModules);
const ENTRY = "(entry point)";

/** Every import under root/src that points up, out, or at a platform that its layer must not know. */
export function checkLayers(root: string): Finding[] {
  return parseTree(root, "src").flatMap((file) => checkFile(file));
}

function checkFile(file: SourceFile): Finding[] {
  const layer = layerOf(file.path);
  if (layer !== ENTRY && !isLayer(layer)) {
    return [{ file: file.path, line: 0, message: `folder "${layer}" is no layer; layers are ${LAYERS.join(", ")}` }];
  }
  return moduleReferences(file).flatMap((reference) => {
    const message = problemOf(file, layer, reference);
    return message === undefined ? [] : [{ file: file.path, line: reference.line, message }];
  });
}

function problemOf(file: SourceFile, layer: string, reference: ModuleReference): string | undefined {
  const { specifier } = reference;
  if (specifier.startsWith(".")) return relativeProblem(file, layer, reference);
  if (specifier.startsWith("/") || specifier.startsWith("file:")) return `"${specifier}" is an absolute path`;
  if (specifier.startsWith("node:") || BUILTINS.has(specifier) || reference.kind === "builtin") {
    if (reference.kind === "builtin" && OPTIONAL_BUILTINS.has(`${file.path} -> ${specifier}`)) return undefined;
    if (PLATFORM_LAYERS.has(layer) || PLATFORM_FOLDERS.some((folder) => file.path.startsWith(folder))) return undefined;
    return `"${specifier}" is a Node builtin; only ${[...PLATFORM_LAYERS].join(", ")} may import one`;
  }
  if (PACKAGE_LAYERS.has(layer)) return undefined;
  if (layer === "os" && reference.kind !== "static") return undefined;
  return layer === "os"
    ? `package "${specifier}" is imported statically; os/ must load without it: import it lazily`
    : `package "${specifier}" is imported; ${layer} has no dependencies: put this into adapters/`;
}

function relativeProblem(file: SourceFile, layer: string, { specifier, kind }: ModuleReference): string | undefined {
  const target = posix.join(posix.dirname(file.path), specifier);
  if (!target.startsWith("src/")) return `"${specifier}" leaves src/`;
  const targetLayer = layerOf(target);
  if (layer === ENTRY) return targetLayer === "cli" ? `an entry point must not import cli ("${specifier}")` : undefined;
  if (targetLayer === ENTRY) return `"${specifier}" points up: ${layer} is below the public entry points`;
  if (!isLayer(targetLayer)) return `"${specifier}" is in "${targetLayer}", which is no layer`;
  if (rank(targetLayer) >= rank(layer)) {
    const folder = PLATFORM_FOLDERS.find((candidate) => target.startsWith(candidate));
    if (folder === undefined || PLATFORM_LAYERS.has(layer) || file.path.startsWith(folder)) return undefined;
    return `"${specifier}" is in ${folder}, which knows Node; ${layer} must load without it`;
  }
  if (kind === "type" && TYPES_ABOVE.has(`${file.path} -> ${target}`)) return undefined;
  return `"${specifier}" points up: ${layer} is below ${targetLayer}`;
}

function layerOf(path: string): string {
  const parts = path.split("/");
  return parts.length > 2 ? (parts[1] ?? ENTRY) : ENTRY;
}

function isLayer(name: string): boolean {
  return rank(name) >= 0;
}

function rank(name: string): number {
  return (LAYERS as readonly string[]).indexOf(name);
}

if (import.meta.main) {
  reportFindings("layers", checkLayers(rootFromArguments()), "every import in src/ points down");
}
