/**
 * Nothing in src/ is exported that no other file names: what a file uses alone is its own business, and what nobody
 * uses is not there. Tests, benchmarks, examples and scripts count as users.
 */
import { posix } from "node:path";
import ts from "typescript";
import { browserFiles, entryPoints, sourceOf } from "./lib/api.ts";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { lineOf, parseTree, rootFromArguments, type SourceFile } from "./lib/source-tree.ts";

const FOLDERS = ["src", "test", "bench", "scripts", "examples"] as const;

/** All names of a file: it is imported as a whole, while the program runs, or by URL. */
const EVERY = "*";

/** Each name that files import, behind the path of the file that it is from: `src/util/align.ts alignUp`. */
function namesUsed(files: readonly SourceFile[]): Set<string> {
  const used = new Set<string>();
  for (const { path, ast } of files) {
    const add = (specifier: ts.Node | undefined, names: readonly string[]): void => {
      if (specifier === undefined || !ts.isStringLiteralLike(specifier) || !specifier.text.startsWith(".")) return;
      const target = posix.join(posix.dirname(path), specifier.text);
      for (const name of names) used.add(`${target} ${name}`);
    };
    const visit = (node: ts.Node): void => {
      if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, importedNames(node.importClause));
      else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, exportedAgain(node.exportClause));
      else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, [EVERY]);
      // import(), new URL("./x.ts", import.meta.url), and what else takes a module's path.
      else if (ts.isStringLiteralLike(node)) add(node, [EVERY]);
      else ts.forEachChild(node, visit);
    };
    visit(ast);
  }
  return used;
}

function importedNames(clause: ts.ImportClause | undefined): string[] {
  const names = clause?.name === undefined ? [] : ["default"];
  const bindings = clause?.namedBindings;
  if (bindings === undefined) return names;
  if (ts.isNamespaceImport(bindings)) return [...names, EVERY];
  return [...names, ...bindings.elements.map(({ propertyName, name }) => (propertyName ?? name).text)];
}

function exportedAgain(clause: ts.NamedExportBindings | undefined): string[] {
  if (clause === undefined || ts.isNamespaceExport(clause)) return [EVERY];
  return clause.elements.map(({ propertyName, name }) => (propertyName ?? name).text);
}

/** The names that a file declares and exports, each with its line. */
function declaredExports({ ast }: SourceFile): Map<string, number> {
  const found = new Map<string, number>();
  for (const statement of ast.statements) {
    if (!ts.canHaveModifiers(statement)) continue;
    const isExported = ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true;
    if (!isExported) continue;
    const declarations = ts.isVariableStatement(statement) ? statement.declarationList.declarations : [statement];
    for (const declaration of declarations as readonly ts.NamedDeclaration[]) {
      if (declaration.name !== undefined && ts.isIdentifier(declaration.name))
        found.set(declaration.name.text, lineOf(ast, declaration));
    }
  }
  return found;
}

/** One finding for each name that is exported for nobody. */
export function checkExports(root: string): Finding[] {
  const files = FOLDERS.flatMap((folder) => parseTree(root, folder));
  const used = namesUsed(files);
  const points = entryPoints(root).map(({ code }) => code);
  const open = new Set([...points, ...browserFiles(root)].map((code) => sourceOf(root, code)));
  return files.flatMap((file) => {
    if (!file.path.startsWith("src/") || open.has(file.path) || used.has(`${file.path} ${EVERY}`)) return [];
    return [...declaredExports(file)]
      .filter(([name]) => !used.has(`${file.path} ${name}`))
      .map(([name, line]) => ({ file: file.path, line, message: `${name} is exported, and no other file names it` }));
  });
}

if (import.meta.main) {
  reportFindings("exports", checkExports(rootFromArguments()), "every name that is exported is used by another file");
}
