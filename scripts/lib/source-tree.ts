import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

/** A parsed source file of the tree under check. */
export interface SourceFile {
  /** Path relative to the root, with forward slashes. */
  readonly path: string;
  readonly text: string;
  readonly ast: ts.SourceFile;
}

/** The root that a check runs on: the first argument that is no flag, else the current folder. */
export function rootFromArguments(): string {
  return process.argv.slice(2).find((argument) => !argument.startsWith("-")) ?? process.cwd();
}

/** Paths (relative to root) of every `.ts` file under root/folder, declaration files left out, in a stable order. */
export function listTypeScript(root: string, folder: string): string[] {
  const top = join(root, folder);
  if (!existsSync(top)) return [];
  return readdirSync(top, { recursive: true, encoding: "utf8" })
    .map((name) => `${folder}/${name.replaceAll("\\", "/")}`)
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts"))
    .sort();
}

/** Every `.ts` file under root/folder, parsed (not type-checked: the checks are about what is written). */
export function parseTree(root: string, folder: string): SourceFile[] {
  return listTypeScript(root, folder).map((path) => {
    const text = readFileSync(join(root, path), "utf8");
    // setParentNodes: the docblock look-up climbs from a variable to the statement that carries its comment.
    return { path, text, ast: ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.TS) };
  });
}

/** Line number (from 1) of a node's first token. */
export function lineOf(ast: ts.SourceFile, node: ts.Node): number {
  return ast.getLineAndCharacterOfPosition(node.getStart(ast)).line + 1;
}
