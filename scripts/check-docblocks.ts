/**
 * Every exported symbol of src/ and every public member of an exported class or interface carries a docblock.
 * What is exported only for another layer says so with `@internal` in a docblock of its own.
 */
import ts from "typescript";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { lineOf, parseTree, rootFromArguments, type SourceFile } from "./lib/source-tree.ts";

/** Every exported symbol or public member under root/src without a docblock. */
export function checkDocblocks(root: string): Finding[] {
  return parseTree(root, "src").flatMap((file) => checkFile(file));
}

function checkFile(file: SourceFile): Finding[] {
  const findings: Finding[] = [];
  const local = locallyExportedNames(file.ast);
  // Overloads share a docblock, and a merged interface and const are one symbol to the reader: once is enough.
  const documented = new Set<string>();
  const missing = new Map<string, ts.Node>();

  for (const statement of file.ast.statements) {
    for (const { name, node } of declarationsOf(statement)) {
      if (!hasExportModifier(statement) && !local.has(name)) continue;
      const key = `${ts.SyntaxKind[node.kind]} ${name}`;
      const doc = docblock(node);
      if (doc !== "none") documented.add(key);
      else if (!missing.has(key)) missing.set(key, node);
      if (doc === "internal") continue;
      if (ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node)) checkMembers(file, name, node, findings);
    }
  }
  for (const [key, node] of missing) {
    if (!documented.has(key)) findings.push(finding(file, node, `exported ${key.split(" ")[1]} has no docblock`));
  }
  return findings.sort((a, b) => a.line - b.line);
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

function declarationsOf(statement: ts.Statement): { name: string; node: ts.Node }[] {
  if (ts.isVariableStatement(statement)) {
    return statement.declarationList.declarations.flatMap((node) => bindingNames(node.name, node));
  }
  if (
    ts.isFunctionDeclaration(statement) ||
    ts.isClassDeclaration(statement) ||
    ts.isInterfaceDeclaration(statement) ||
    ts.isTypeAliasDeclaration(statement) ||
    ts.isEnumDeclaration(statement)
  ) {
    return [{ name: statement.name?.text ?? "default", node: statement }];
  }
  return [];
}

function bindingNames(name: ts.BindingName, node: ts.Node): { name: string; node: ts.Node }[] {
  if (ts.isIdentifier(name)) return [{ name: name.text, node }];
  return name.elements.flatMap((element) => (ts.isBindingElement(element) ? bindingNames(element.name, node) : []));
}

/** Names exported by `export { a, b as c }` without a `from`: their declaration stands elsewhere in the file. */
function locallyExportedNames(ast: ts.SourceFile): Set<string> {
  const names = new Set<string>();
  for (const statement of ast.statements) {
    if (!ts.isExportDeclaration(statement) || statement.moduleSpecifier !== undefined) continue;
    if (statement.exportClause === undefined || !ts.isNamedExports(statement.exportClause)) continue;
    for (const element of statement.exportClause.elements) names.add((element.propertyName ?? element.name).text);
  }
  return names;
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

function hasExportModifier(statement: ts.Statement): boolean {
  return ts.canHaveModifiers(statement) && hasModifier(statement, ts.SyntaxKind.ExportKeyword);
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
  reportFindings("docblocks", checkDocblocks(rootFromArguments()), "every public symbol in src/ has a docblock");
}
