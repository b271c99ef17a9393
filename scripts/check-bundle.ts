/**
 * What users download, and no more: what one import costs in a browser's bundle (minified, brotli), what the package
 * takes on disk, and what `import "millpond"` reads. Limits are what is reached now, a little rounded up: a change that
 * makes something larger says so here. Needs a built dist/.
 *
 * `--why BufferPool` says where the bytes of one name come from, file by file, and what imports each; with
 * `--file slots.ts` what is kept of one file. `--why NAME@millpond/video` is a name that has no limit here.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import type { SourceMapPayload } from "node:module";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { brotliCompressSync, constants } from "node:zlib";
import { type OutputChunk, rolldown } from "rolldown";
import ts from "typescript";
import { readPage } from "../src/adapters/inspect/page-file.ts";
import { entryPoints } from "./lib/api.ts";
import { type BundlePart, bundleParts } from "./lib/bundle-parts.ts";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { moduleReferences } from "./lib/imports.ts";

/** Bytes of brotli for one name of an entry point, alone. */
export interface BundleLimit {
  readonly entry: string;
  readonly name: string;
  readonly bytes: number;
}

const KB = 1000;

/** Goals that are not reached: BufferPool 9 kB, SlabPool 4 kB (docs/architecture.md says what stands in the way). */
const BUNDLES: readonly BundleLimit[] = [
  { entry: "millpond", name: "BufferPool", bytes: 25.3 * KB },
  { entry: "millpond", name: "MediaBuffer", bytes: 13.9 * KB },
  { entry: "millpond", name: "PagePool", bytes: 16.9 * KB },
  { entry: "millpond", name: "SlabPool", bytes: 8.8 * KB },
  { entry: "millpond", name: "RealtimePool", bytes: 18.8 * KB },
  { entry: "millpond", name: "VideoInfo", bytes: 2.8 * KB },
  { entry: "millpond", name: "MillpondError", bytes: 0.4 * KB },
  { entry: "millpond/shared", name: "SharedPool", bytes: 24 * KB },
  { entry: "millpond/shared", name: "TransferPool", bytes: 11 * KB },
  { entry: "millpond/shared", name: "SpscRing", bytes: 5.3 * KB },
  { entry: "millpond/arena", name: "TlsfArena", bytes: 6.8 * KB },
  { entry: "millpond/pipeline", name: "Pipeline", bytes: 47.6 * KB },
  { entry: "millpond/webcodecs", name: "copyFrame", bytes: 6.8 * KB },
  { entry: "millpond/web-streams", name: "readInto", bytes: 4.0 * KB },
  { entry: "millpond/inspect/page", name: "mountInspector", bytes: 48 * KB },
];

/** The page that is served, brotli; 60 kB is the promise. */
const PAGE = "dist/inspector.html";
const PAGE_BYTES = 41 * KB;

/**
 * Unpacked, without source maps and pages: 1.5 MB without the adapters of streams, files and frames, which may be 300
 * kB, and what looks at pools: 500 kB. What ends with a thread, a lane and a settlement has taken 40 kB since.
 */
const PACKAGE_BYTES = 2340 * KB;
/**
 * README, docs/ and its pictures: README links to the pages, so they are in the package, 140 kB of pictures among them.
 * They are not code: no program reads them, and the limit above is without them.
 */
const PAGES_BYTES = 515 * KB;
/**
 * `import "millpond"`: each file costs some 1 ms, each 100 kB some 3 ms (Node 20). 25 ms is the goal, 16 are reached.
 */
const IMPORT_FILES = 10;
const IMPORT_BYTES = 334 * KB;

/** An application that imports one name of a built entry point, minified. */
async function bundled(file: string, name: string): Promise<OutputChunk[]> {
  const bundle = await rolldown({
    input: "application",
    platform: "browser",
    external: /^(node:|koffi$)/,
    plugins: [
      {
        name: "application",
        resolveId: (id) => (id === "application" ? "\0application" : null),
        load(id) {
          if (id === "\0application") return `export { ${name} } from ${JSON.stringify(file)};`;
          // Nothing in dist/ points at the maps beside it: they are not shipped.
          const map = `${id}.map`;
          return existsSync(map) ? { code: readFileSync(id, "utf8"), map: readFileSync(map, "utf8") } : null;
        },
      },
    ],
  });
  const { output } = await bundle.generate({
    dir: dirname(file),
    format: "esm",
    minify: true,
    comments: false,
    sourcemap: "hidden",
  });
  await bundle.close();
  return output.filter((part) => part.type === "chunk");
}

/** The bytes of brotli that one name of a built entry point costs in an application's bundle. */
export async function bundledBytes(file: string, name: string): Promise<number> {
  return (await bundled(file, name)).reduce((sum, { code }) => sum + brotliBytes(code), 0);
}

/** What one name of a built entry point brings along, by source file, the largest first. */
export async function bundledParts(root: string, file: string, name: string): Promise<BundlePart[]> {
  return (await bundled(file, name)).flatMap(({ code, map, fileName }) =>
    bundleParts(root, join(dirname(file), fileName), code, map as unknown as SourceMapPayload, brotliBytes),
  );
}

function brotliBytes(text: string | Uint8Array): number {
  return brotliCompressSync(text, { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } })
    .length;
}

function isPage(path: string): boolean {
  return path === "README.md" || path.startsWith("docs/");
}

/** Every file that Node reads before an import of this one is there. */
function filesRead(file: string, found: Map<string, number> = new Map()): Map<string, number> {
  if (found.has(file)) return found;
  const text = readFileSync(file, "utf8");
  found.set(file, Buffer.byteLength(text));
  const ast = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS);
  for (const { kind, specifier } of moduleReferences({ path: file, text, ast })) {
    if (kind === "static" && specifier.startsWith(".")) filesRead(join(dirname(file), specifier), found);
  }
  return found;
}

/** What is larger than its limit in the package at root, and a line for each measurement. */
export async function checkBundle(
  root: string,
  limits: readonly BundleLimit[] = BUNDLES,
  pageBytes: number = PAGE_BYTES,
): Promise<{ readonly findings: Finding[]; readonly measured: string[] }> {
  const findings: Finding[] = [];
  const measured: string[] = [];
  const judge = (what: string, value: number, limit: number, unit: "kB" | "files"): void => {
    const [is, most] = unit === "files" ? [value, limit] : [(value / KB).toFixed(1), (limit / KB).toFixed(1)];
    measured.push(`${what}: ${is} of ${most} ${unit}`);
    if (value > limit)
      findings.push({ file: "package.json", line: 0, message: `${what}: ${is} ${unit}, at most ${most}` });
  };
  const files = new Map(entryPoints(root).map(({ name, code }) => [name, join(root, code)]));
  for (const { entry, name, bytes } of limits) {
    const file = files.get(entry);
    if (file === undefined) throw new Error(`package.json has no entry point ${entry}`);
    judge(`{ ${name} } from "${entry}", brotli`, await bundledBytes(file, name), bytes, "kB");
  }
  if (files.has("millpond/inspect/page") || existsSync(join(root, PAGE)))
    judge(`${PAGE} with its script, brotli`, brotliBytes(readPage(join(root, "dist")).html), pageBytes, "kB");
  const packed = execFileSync("npm", ["pack", "--dry-run", "--ignore-scripts", "--json"], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [{ files: shipped }] = JSON.parse(packed) as [{ files: readonly { path: string; size: number }[] }];
  const total = (which: typeof shipped): number => which.reduce((sum, { size }) => sum + size, 0);
  judge("the package, unpacked", total(shipped.filter(({ path }) => !isPage(path))), PACKAGE_BYTES, "kB");
  judge("its pages, unpacked", total(shipped.filter(({ path }) => isPage(path))), PAGES_BYTES, "kB");
  const read = filesRead([...files.values()][0]!);
  judge("an import of the package", read.size, IMPORT_FILES, "files");
  judge(
    "an import of the package",
    [...read.values()].reduce((sum, bytes) => sum + bytes, 0),
    IMPORT_BYTES,
    "kB",
  );
  return { findings, measured };
}

/** What `--why` prints. */
async function explain(root: string, wanted: string, within: string | undefined): Promise<void> {
  const [own, entry] = wanted.split("@") as [string, string?];
  const points = entryPoints(root);
  const point = BUNDLES.find(({ name, entry: from }) => name === own && (entry === undefined || from === entry));
  const from = entry ?? point?.entry ?? points[0]!.name;
  const file = points.find(({ name }) => name === from);
  if (file === undefined) throw new Error(`package.json has no entry point ${from}`);
  const parts = await bundledParts(root, join(root, file.code), own);
  const sum = (of: (part: BundlePart) => number): number => parts.reduce((total, part) => total + of(part), 0);
  const row = (minified: number, brotli: number | undefined, text: string): void =>
    console.log(
      `${(minified / KB).toFixed(2).padStart(7)} ${brotli === undefined ? "" : (brotli / KB).toFixed(2).padStart(7)}  ${text}`,
    );
  console.log(`{ ${own} } from "${from}": kB minified, kB of brotli (a share), source file, and what imports it`);
  row(
    sum(({ minified }) => minified),
    sum(({ brotli }) => brotli),
    "all",
  );
  for (const { file: part, minified, brotli, importers, declarations } of parts) {
    if (within !== undefined && !part.includes(within)) continue;
    row(minified, brotli, part);
    if (within === undefined) {
      for (const { file: importer, names } of importers)
        console.log(`${" ".repeat(19)}${importer} (${names.join(", ")})`);
    } else for (const { name, minified: bytes } of declarations) row(bytes, undefined, `         ${name}`);
  }
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    options: { why: { type: "string" }, file: { type: "string" } },
    allowPositionals: true,
  });
  const root = positionals[0] ?? process.cwd();
  if (values.why === undefined) {
    const { findings, measured } = await checkBundle(root);
    for (const line of measured) console.log(line);
    reportFindings("bundle", findings, "every size is within its limit");
  } else await explain(root, values.why, values.file);
}
