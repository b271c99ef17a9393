/**
 * Packs the package and looks at the tarball as a consumer's tools do: publint, Are The Types Wrong, and that
 * every file the manifest promises is in it. Needs a built dist/.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ts from "typescript";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { rootFromArguments } from "./lib/source-tree.ts";

const TOOLS = join(import.meta.dirname, "..", "node_modules", ".bin");

interface Manifest {
  readonly exports?: unknown;
  readonly bin?: Readonly<Record<string, string>>;
}

/** What is wrong with the package at root, as it would be published. */
export function checkPackage(root: string): Finding[] {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest;
  const promised = promisedFiles(manifest);
  const missing = promised.filter((file) => !file.includes("*") && !existsSync(join(root, file)));
  if (missing.length > 0) {
    // The tools would say the same in twenty lines each.
    return missing.map((file) => ({
      file: "package.json",
      line: 0,
      message: `names ${file}, which does not exist: run npm run build, or mend the manifest`,
    }));
  }
  const scratch = mkdtempSync(join(tmpdir(), "millpond-pack-"));
  try {
    const tarball = pack(root, scratch);
    const unpacked = join(scratch, "unpacked");
    mkdirSync(unpacked);
    execFileSync("tar", ["-xzf", tarball, "-C", unpacked]);
    return [
      ...promised
        .filter((file) => !file.includes("*") && !existsSync(join(unpacked, "package", file)))
        .map((file) => ({ file: "package.json", line: 0, message: `names ${file}, which the tarball does not carry` })),
      ...checkEmitted(join(unpacked, "package")),
      ...runTool("publint", [tarball, "--strict"]),
      // The package is ESM only, so what a CommonJS require() without require(esm) resolves to is no finding.
      ...runTool("attw", [tarball, "--profile", "esm-only", "--no-definitely-typed", "--no-emoji"]),
    ];
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function pack(root: string, into: string): string {
  execFileSync("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", into], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const name = readdirSync(into).find((file) => file.endsWith(".tgz"));
  if (name === undefined) throw new Error("npm pack left no tarball");
  return join(into, name);
}

/** Every file that `exports` and `bin` point to, relative to the package. */
function promisedFiles(manifest: Manifest): string[] {
  const found = new Set<string>(Object.values(manifest.bin ?? {}));
  const visit = (value: unknown): void => {
    if (typeof value === "string") found.add(value);
    else if (typeof value === "object" && value !== null) Object.values(value).forEach(visit);
  };
  visit(manifest.exports);
  return [...found].map((file) => file.replace(/^\.\//, "")).sort();
}

/** `using` needs a newer Node than the package promises, and a `.ts` import resolves only inside this repository. */
function checkEmitted(root: string): Finding[] {
  const dist = join(root, "dist");
  if (!existsSync(dist)) return [];
  return readdirSync(dist, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".js"))
    .flatMap((name) => {
      const text = readFileSync(join(dist, name), "utf8");
      const ast = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS);
      const found: Finding[] = [];
      const visit = (node: ts.Node): void => {
        const line = ast.getLineAndCharacterOfPosition(node.getStart(ast)).line + 1;
        if (ts.isVariableDeclarationList(node) && (node.flags & ts.NodeFlags.Using) === ts.NodeFlags.Using) {
          found.push({ file: `dist/${name}`, line, message: "ships `using`, which Node 20 cannot parse" });
        }
        if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier !== undefined) {
          const specifier = (node.moduleSpecifier as ts.StringLiteral).text;
          if (specifier.endsWith(".ts")) found.push({ file: `dist/${name}`, line, message: `imports "${specifier}"` });
        }
        ts.forEachChild(node, visit);
      };
      visit(ast);
      return found;
    });
}

function runTool(name: string, args: readonly string[]): Finding[] {
  const { status, stdout, stderr, error } = spawnSync(join(TOOLS, name), args, { encoding: "utf8" });
  if (error !== undefined) return [{ file: name, line: 0, message: `could not run: ${error.message}` }];
  if (status === 0) return [];
  return [{ file: name, line: 0, message: `exit ${status}\n${`${stdout}${stderr}`.trim()}` }];
}

if (import.meta.main) {
  reportFindings("package", checkPackage(rootFromArguments()), "publint, attw and the tarball's files are in order");
}
