/**
 * What an entry point exports, and every public member of it, carries a docblock. Nothing else has to: internal code
 * has a comment where the code cannot say it. Members that are only for other files of the library say so with
 * `@internal`. Comments wrap at 120 columns, in every file of src/, scripts/ and test/; `--write` wraps them.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { entryPoints, sourceOf } from "./lib/api.ts";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { lineOf, parseTree, rootFromArguments, type SourceFile } from "./lib/source-tree.ts";
import { WIDTH, wrapComments } from "./lib/wrap.ts";

/** Every public symbol or member under root/src without a docblock. */
export function checkDocblocks(root: string): Finding[] {
  const sources = entryPoints(root).map(({ code }) => join(root, sourceOf(root, code)));
  const program = ts.createProgram(sources, {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    allowImportingTsExtensions: true,
    noEmit: true,
    noLib: true,
    types: [],
  });
  const checker = program.getTypeChecker();
  const findings: Finding[] = [];
  const seen = new Set<ts.Symbol>();
  for (const path of sources) {
    const module = checker.getSymbolAtLocation(program.getSourceFile(path)!);
    for (const exported of module === undefined ? [] : checker.getExportsOfModule(module)) {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
      if (seen.has(symbol)) continue;
      seen.add(symbol);
      checkSymbol(root, exported.name, symbol, findings);
    }
  }
  return findings.sort((a, b) => (a.file === b.file ? a.line - b.line : a.file < b.file ? -1 : 1));
}

/**
 * A merged interface and const, and the overloads of a function, are one symbol to the reader: one docblock is enough.
 */
function checkSymbol(root: string, name: string, symbol: ts.Symbol, findings: Finding[]): void {
  const declarations = (symbol.declarations ?? []).filter((node) => node.getSourceFile().fileName.startsWith(root));
  const docs = declarations.map(docblock);
  if (declarations[0] !== undefined && docs.every((doc) => doc === "none")) {
    const node = declarations[0];
    findings.push(finding(fileOf(root, node), node, `exported ${name} has no docblock`));
  }
  if (docs.includes("internal")) return;
  for (const node of declarations) {
    if (ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node)) {
      checkMembers(fileOf(root, node), name, node, findings);
    }
  }
}

function fileOf(root: string, node: ts.Node): SourceFile {
  const ast = node.getSourceFile();
  return { path: ast.fileName.slice(root.length + 1), text: ast.text, ast };
}

/** Fills what is too wide anew. */
function writeWidths(root: string): void {
  for (const { path, text } of ["src", "scripts", "test"].flatMap((folder) => parseTree(root, folder))) {
    const wrapped = wrapComments(text);
    if (wrapped !== text) writeFileSync(join(root, path), wrapped);
  }
}

/** Every line of a comment that is longer than code may be. A line whose only long word is a link is let be. */
export function checkWidths(root: string): Finding[] {
  return ["src", "scripts", "test"]
    .flatMap((folder) => parseTree(root, folder))
    .flatMap(({ path, text }) =>
      text.split("\n").flatMap((line, index) => {
        if (line.length <= WIDTH || !/^\s*(?:\/\/|\/\*|\*)/.test(line) || /https?:\/\/\S{40}/.test(line)) return [];
        return [{ file: path, line: index + 1, message: `a comment of ${line.length} columns; they wrap at ${WIDTH}` }];
      }),
    );
}

function checkMembers(
  file: SourceFile,
  owner: string,
  node: ts.ClassDeclaration | ts.InterfaceDeclaration,
  findings: Finding[],
): void {
  const documented = new Set<string>();
  const missing = new Map<string, ts.Node>();
  for (const member of node.members) {
    const name = publicMemberName(file, member);
    if (name === undefined) continue;
    // A getter and its setter, and the overloads of a method, are one member to the reader.
    const key = `${isStatic(member) ? "static " : ""}${name}`;
    if (docblock(member) !== "none") documented.add(key);
    else if (!missing.has(key)) missing.set(key, member);
  }
  for (const [key, member] of missing) {
    if (!documented.has(key)) findings.push(finding(file, member, `${owner}.${key} has no docblock`));
  }
}

/** The name of a member that a reader of the documentation can reach; undefined for private ones and constructors. */
function publicMemberName(file: SourceFile, member: ts.ClassElement | ts.TypeElement): string | undefined {
  if (ts.isConstructorDeclaration(member) || ts.isClassStaticBlockDeclaration(member)) return undefined;
  if (ts.isCallSignatureDeclaration(member)) return "()";
  if (ts.isConstructSignatureDeclaration(member)) return "new()";
  if (ts.isIndexSignatureDeclaration(member)) return "[index]";
  if (member.name === undefined || ts.isPrivateIdentifier(member.name)) return undefined;
  if (ts.canHaveModifiers(member) && hasModifier(member, ts.SyntaxKind.PrivateKeyword)) return undefined;
  return member.name.getText(file.ast);
}

function docblock(node: ts.Node): "none" | "public" | "internal" {
  let result: "none" | "public" | "internal" = "none";
  for (const doc of ts.getJSDocCommentsAndTags(node)) {
    if (!ts.isJSDoc(doc)) continue;
    if (doc.tags?.some((tag) => tag.tagName.text === "internal")) return "internal";
    // An empty `/** */` silences nothing.
    if (doc.comment !== undefined && doc.comment.length > 0) result = "public";
    else if (doc.tags !== undefined && doc.tags.length > 0) result = "public";
  }
  return result;
}

function isStatic(member: ts.ClassElement | ts.TypeElement): boolean {
  return ts.canHaveModifiers(member) && hasModifier(member, ts.SyntaxKind.StaticKeyword);
}

function hasModifier(node: ts.HasModifiers, kind: ts.SyntaxKind): boolean {
  return node.modifiers?.some((modifier) => modifier.kind === kind) ?? false;
}

function finding(file: SourceFile, node: ts.Node, message: string): Finding {
  return { file: file.path, line: lineOf(file.ast, node), message };
}

if (import.meta.main) {
  const root = rootFromArguments();
  if (process.argv.includes("--write")) writeWidths(root);
  const findings = [...checkDocblocks(root), ...checkWidths(root)];
  reportFindings("docblocks", findings, "every public symbol has a docblock, and comments wrap at 120 columns");
}
