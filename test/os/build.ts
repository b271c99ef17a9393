/**
 * The source compiled to JavaScript, one file for each, for child processes on runtimes that cannot read TypeScript
 * (Node 20) and in places where koffi is not to be found. Compiled once for each state of the source: every file is
 * compiled by itself, without types, which takes a second where the whole build takes eight.
 */
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import ts from "typescript";

const ROOT = join(import.meta.dirname, "..", "..");
// Inside node_modules, so that koffi is found from there as it is from an installed millpond.
const CACHE = join(ROOT, "node_modules", ".cache", "millpond-native");

/** A folder with this tree compiled; koffi can be found from it. Others use it too: it is not to be changed. */
export function compiled(): string {
  const source = join(ROOT, "src");
  const config = ts.readConfigFile(join(ROOT, "tsconfig.build.json"), ts.sys.readFile).config as object;
  const { options: own } = ts.parseJsonConfigFileContent(config, ts.sys, ROOT);
  // A file by itself does not say that its package is of ES modules.
  const module = { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler };
  const options = { ...own, ...module, sourceMap: false, declaration: false, isolatedDeclarations: false };
  const files = readdirSync(source, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .sort()
    .map((file) => [file, readFileSync(join(source, file), "utf8")] as const);
  const hash = createHash("sha256")
    .update(JSON.stringify([ts.version, options, files]))
    .digest("hex")
    .slice(0, 16);
  const folder = join(CACHE, hash);
  if (existsSync(folder)) return folder;
  mkdirSync(CACHE, { recursive: true });
  const making = mkdtempSync(join(CACHE, "making-"));
  for (const [file, text] of files) {
    const target = join(making, file.replace(/\.ts$/, ".js"));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, ts.transpileModule(text, { compilerOptions: options, fileName: file }).outputText);
  }
  // At once and whole; another test file may have been quicker.
  try {
    renameSync(making, folder);
  } catch (error) {
    rmSync(making, { recursive: true, force: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

/** The same, copied to where no package can be found. */
export function withoutPackages(folder: string): string {
  const copy = mkdtempSync(join(tmpdir(), "millpond-bare-"));
  cpSync(folder, copy, { recursive: true });
  return copy;
}
