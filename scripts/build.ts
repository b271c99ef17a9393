/**
 * `npm run build`: the package in dist/. Every entry point of package.json is one file, what several of them use is in
 * shared chunks, and files that run-time code loads by URL (`new URL("./x.ts", import.meta.url)`) are entries of their
 * own. The declarations are bundled in the same way. Source maps lie beside the code and are not shipped. The page of
 * the inspector is one module and the frame of a document around it.
 */
import { createHash } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { type OutputChunk, type Plugin, rolldown } from "rolldown";
import { dts } from "rolldown-plugin-dts";
import { browserFiles, entryPoints, sourceOf } from "./lib/api.ts";
import { inlineTables } from "./lib/inline-tables.ts";

const ROOT = join(import.meta.dirname, "..");
const DIST = join(ROOT, "dist");
/** The inspector's page: the module, and the frame of the document that a server shows it in. */
const PAGE = "inspector.html";
const PAGE_MODULE = "_inspector.js";
const PAGE_ENTRY = join(import.meta.dirname, "../src/adapters/inspect/page/app.ts");
const PAGE_SOURCE = dirname(PAGE_ENTRY);
/** The one package that is part of what is built; its notice goes with it. */
const BUNDLED = "uplot";

/** Built file to source, for every file whose name is promised: by package.json, or by a URL in the code. */
interface Entries {
  readonly [name: string]: string;
}

/** The sources of what package.json names: entry points, and the command. */
function entrySources(): Entries {
  const points = [...entryPoints(ROOT).map(({ code }) => code), ...browserFiles(ROOT)].map(
    (code) => [basename(code, ".js"), sourceOf(ROOT, code)] as const,
  );
  return { cli: "src/cli/main.ts", ...Object.fromEntries(points) };
}

/**
 * `new URL(<expression with "./x.ts">, import.meta.url)` in a source file: the file it stands for, and the text to
 * replace.
 */
const BY_URL =
  /new URL\(\s*(?:import\.meta\.url\.endsWith\("\.ts"\) \? "([^"]+)" : "[^"]+"|"([^"]+)"),\s*import\.meta\.url,?\s*\)/g;

/** Files that code loads by URL as CommonJS, because `node --require` takes nothing else on Node 20: name to source. */
const commonJs = new Map<string, string>();

/** Makes what code loads by URL an entry, and rewrites its URL: everything built lies in one folder. */
function filesByUrl(sources: Entries): Plugin {
  const names = new Map(Object.entries(sources).map(([name, source]) => [join(ROOT, source), name]));
  return {
    name: "files-by-url",
    transform(code, id) {
      if (!id.startsWith(join(ROOT, "src")) || !code.includes("new URL(")) return null;
      const rewritten = code.replaceAll(BY_URL, (text, script: string | undefined, plain: string | undefined) => {
        const target = resolve(dirname(id), (script ?? plain)!);
        const required = /"(\.\/[\w-]+\.cjs)"/.exec(text)?.[1];
        // As many lines as before: the map of lines stays right.
        const url = (path: string): string =>
          `new URL(${JSON.stringify(path)}, import.meta.url${text.replaceAll(/[^\n]/g, "")})`;
        if (!target.endsWith(".ts")) return url(relative(DIST, target));
        if (required !== undefined) {
          commonJs.set(basename(required, ".cjs"), target);
          return url(required);
        }
        let name = names.get(target);
        if (name === undefined) {
          name = basename(target, ".ts");
          if ([...names.values()].includes(name)) throw new Error(`two files by URL would be dist/${name}.js`);
          names.set(target, name);
          this.emitFile({ type: "chunk", id: target, fileName: `${name}.js` });
        }
        return url(`./${name}.js`);
      });
      return rewritten === code ? null : { code: rewritten, map: null };
    },
  };
}

/** A URL that is not rewritten would point beside the built files. */
function checkUrls(chunks: readonly OutputChunk[]): void {
  const files = new Set([
    PAGE,
    ...chunks.map(({ fileName }) => fileName),
    ...[...commonJs.keys()].map((name) => `${name}.cjs`),
  ]);
  for (const { fileName, code } of chunks) {
    for (const [, target] of code.matchAll(/new URL\(\s*"([^"]+)"\s*,\s*import\.meta\.url/g)) {
      if (target !== "../package.json" && !files.has(target!.replace(/^\.\//, ""))) {
        throw new Error(`dist/${fileName} loads ${target} by URL, which is not built`);
      }
    }
    const others = code.match(/import\.meta\.url\.endsWith/g);
    if (others !== null)
      throw new Error(`dist/${fileName} chooses a file by import.meta.url in a form that the build does not know`);
  }
}

/**
 * What the declarations need of libraries that a user may not have: `Symbol.dispose` of newer engines, `AbortSignal`,
 * `ReadableStream`, `VideoFrame`, `HTMLElement` and `Blob` of the platforms. Where they are known, these lines add
 * nothing to them.
 */
const GLOBALS = `/** What the declarations name of newer libraries; where a program's own libraries have it, this adds nothing. */
interface SymbolConstructor {
  readonly dispose: unique symbol;
}
interface AbortSignal {}
interface ReadableStream<R = any> {}
interface VideoFrame {}
interface HTMLElement {}
interface Blob {}
`;

/**
 * What stays together, bottom up: a chunk takes what its files import, unless a chunk before it has that. `stack` has
 * its own, because the library's own frames are told by the place of that file. Each file that an import loads costs
 * about 1 ms, and bundlers drop whole files of what a program does not use; so there is a chunk for each pool, and one
 * for what all of them stand on.
 */
const CHUNKS: readonly (readonly [chunk: string, files: RegExp])[] = [
  ["stack", /^util\/stack\.ts/],
  // Nothing in it runs when it is loaded but what is marked, so a bundler takes single functions of it.
  [
    "base",
    /^(util|memory\/(region|default|claims)\.|pools\/common\/(?!lease\.|timed-queue)|observe\/(registry|channels|pool-info)\.|media\/(video|audio)\/|media\/meta\/meta\.)/,
  ],
  ["memory", /^memory\/|^allocators\/registry\.ts/],
  // What only readers of streams need, or programs with lists of buffers, does not come with every buffer.
  ["media", /^media\/buffer\/(?!exchange\.|media-buffer-list)/],
  ["buffer-pool", /^pools\/buffer\//],
  ["page-pool", /^pools\/page\//],
  ["slab-pool", /^pools\/slab\//],
  ["tlsf", /^arena\/tlsf\//],
  ["realtime-pool", /^pools\/realtime\//],
  [
    "shared",
    /^pools\/shared\/(core|layout|wait|waiter|member-status|lineage|transfer|pool-state|reclaim|membership|errors)\.ts/,
  ],
  ["ring", /^pools\/shared\/ring/],
  ["lane", /^pools\/(lane\/(lane|connect|liveness)|common\/lease)\.ts/],
  ["transfer-pool", /^pools\/lane\/transfer-pool\.ts/],
  ["shared-pool", /^pools\/shared\//],
  // `--import millpond/inspect` is a part of each start of a program: two files instead of six.
  ["own-files", /^os\/(own-file|private-folder|process|result)\.ts/],
  ["inspect-start", /^adapters\/inspect\/(threads|listener|sockets)\.ts/],
];

/** What is imported and not built: everything but our own files. */
const EXTERNAL = /^[^./]/;

/** The page is built apart, so that its server and `mountInspector()` have the same module. */
const builtPage: Plugin = {
  name: "built-page",
  resolveId(id, importer) {
    if (importer === undefined || resolve(dirname(importer), id) !== join(PAGE_SOURCE, "page.ts")) return null;
    return { id: `./${PAGE_MODULE}`, external: "relative" };
  },
};

/** The notice of {@link BUNDLED}, as its licence asks for it in every copy. */
function bundledNotice(): string {
  const folder = join(ROOT, "node_modules", BUNDLED);
  const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { readonly version: string };
  return `/*! ${BUNDLED} ${version}\n\n${readFileSync(join(folder, "LICENSE"), "utf8").trim()}\n*/`;
}

/** The declarations' plugin reads 150 files, and a warning that it takes 3 s helps nobody. */
const checks = { pluginTimings: false, bundlerTimings: false };

async function buildCode(entries: Entries): Promise<void> {
  const bundle = await rolldown({
    input: { ...entries },
    external: EXTERNAL,
    platform: "neutral",
    checks,
    transform: { target: "es2022" },
    plugins: [filesByUrl(entries), builtPage, inlineTables(join(ROOT, "src"))],
  });
  const { output } = await bundle.write({
    dir: DIST,
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "_[name].js",
    sourcemap: "hidden",
    minifyInternalExports: false,
    comments: { legal: false, annotation: true, jsdoc: false },
    codeSplitting: {
      groups: CHUNKS.map(([name, files], index) => ({
        name,
        test: (id: string) => files.test(relative(join(ROOT, "src"), id)),
        priority: CHUNKS.length - index,
      })),
    },
  });
  await bundle.close();
  checkUrls(output.filter((part) => part.type === "chunk"));
}

async function buildDeclarations(entries: Entries): Promise<void> {
  const browser = browserFiles(ROOT).map((code) => basename(code, ".js"));
  const bundle = await rolldown({
    input: Object.fromEntries(Object.entries(entries).filter(([name]) => name !== "cli" && !browser.includes(name))),
    external: EXTERNAL,
    platform: "neutral",
    checks,
    plugins: [dts({ oxc: { stripInternal: true }, emitDtsOnly: true, tsconfig: join(ROOT, "tsconfig.build.json") })],
  });
  const { output } = await bundle.write({
    dir: DIST,
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "_[name].js",
    minifyInternalExports: false,
  });
  await bundle.close();
  writeFileSync(join(DIST, "globals.d.ts"), GLOBALS);
  for (const { fileName } of output) {
    const file = join(DIST, fileName);
    const text = readFileSync(file, "utf8");
    if (/\b(?:AbortSignal|ReadableStream|VideoFrame|HTMLElement|Blob)\b|Symbol\.dispose/.test(text))
      writeFileSync(file, `/// <reference path="./globals.d.ts" />\n${text}`);
  }
}

/**
 * The inspector's page: a module, minified, for nobody reads another project's code in ours, and no frame of a user's
 * stack is in it. Its last line says what it exports, which is what the served document leaves out; that calls
 * `showServer()` instead. The document's policy names the hashes of its one script, which is known when it is put
 * together, and of its one style; a server may add a policy of its own, and both hold.
 */
async function buildPage(): Promise<void> {
  const bundle = await rolldown({
    input: PAGE_ENTRY,
    platform: "browser",
    checks,
    transform: { target: "es2022" },
  });
  const { output } = await bundle.generate({ format: "esm", minify: true, comments: false, sourcemap: "hidden" });
  await bundle.close();
  const [built, ...others] = output.filter((part) => part.type === "chunk");
  if (others.length > 0) throw new Error(`the page is ${1 + others.length} files instead of one`);
  // The end of the element, wherever it stands: in strings only, where a backslash changes nothing.
  const code = built!.code.replaceAll(/<\/(?=script)/gi, "<\\/").replaceAll("<!--", "<\\!--");
  const [, body, names] = /^(.*)(export\{[^{}]*\};?)\s*$/s.exec(code)!;
  const start = /([\w$]+) as showServer\b/.exec(names!)![1]!;
  writeFileSync(join(DIST, PAGE_MODULE), `${bundledNotice()}\n${body!.trimEnd()}\n${names}\n`);
  writeFileSync(
    join(DIST, `${PAGE_MODULE}.map`),
    JSON.stringify({
      ...built!.map,
      mappings: `${";".repeat(bundledNotice().split("\n").length)}${built!.map!.mappings}`,
    }),
  );
  const frame = readFileSync(join(PAGE_SOURCE, "index.html"), "utf8");
  const style = /<style>(.*?)<\/style>/s.exec(frame)![1]!;
  const hash = createHash("sha256").update(style).digest("base64");
  writeFileSync(
    join(DIST, PAGE),
    frame.replace(/\s*"%CODE%";\s*/, () => `%CODE%${start}();`).replace("%STYLE%", `sha256-${hash}`),
  );
}

/** The entry points that package.json has files of their own for when they are required. */
function requiredEntries(entries: Entries): [name: string, source: string][] {
  const { exports } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
    readonly exports: Readonly<Record<string, { readonly require?: { readonly default: string } }>>;
  };
  return Object.values(exports).flatMap(({ require }): [string, string][] => {
    if (require === undefined) return [];
    const name = basename(require.default, ".cjs");
    return [[name, entries[name]!]];
  });
}

/**
 * What require() gets: one file each, because Node before 22.12 cannot load the modules beside it. As strict as the
 * modules that it was: code that is not strict passes over what it may not write.
 */
async function buildCommonJs(inputs: Iterable<readonly [name: string, source: string]>): Promise<void> {
  const transform = { target: "es2022" };
  const comments = { legal: false, annotation: false, jsdoc: false };
  for (const [name, input] of inputs) {
    const bundle = await rolldown({ input, external: EXTERNAL, platform: "neutral", checks, transform });
    await bundle.write({ file: join(DIST, `${name}.cjs`), format: "cjs", comments, banner: '"use strict";' });
    await bundle.close();
  }
}

/** The same declarations as for import, which say that the declarations beside them are those of ES modules. */
function writeRequiredDeclarations(entries: Entries): void {
  for (const [name] of requiredEntries(entries)) {
    const text = readFileSync(join(DIST, `${name}.d.ts`), "utf8");
    const types = text.replaceAll(
      /^import (\{.*\} from ".*");$/gm,
      'import type $1 with { "resolution-mode": "import" };',
    );
    writeFileSync(join(DIST, `${name}.d.cts`), types);
  }
}

const entries = entrySources();
process.chdir(ROOT);
rmSync(DIST, { recursive: true, force: true });
await Promise.all([
  buildCode(entries),
  buildDeclarations(entries),
  buildCommonJs(requiredEntries(entries)),
  buildPage(),
]);
await buildCommonJs(commonJs);
writeRequiredDeclarations(entries);
