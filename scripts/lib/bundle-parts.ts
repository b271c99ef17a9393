/**
 * What is in the bundle of one name, by source file, and who imports each: `check-bundle.ts --why`. The dist files'
 * own source maps lead back to `src/`, so that it is the bundle of the gate that is taken apart, and no other.
 */
import { existsSync, readFileSync } from "node:fs";
import { SourceMap, type SourceMapPayload } from "node:module";
import { dirname, relative, resolve } from "node:path";
import ts from "typescript";

/** One source file's part of a bundle. */
export interface BundlePart {
  /** Relative to the root. */
  readonly file: string;
  /** Characters of the minified code. */
  readonly minified: number;
  /** Its share of the compressed bundle: what leaving it out saves, scaled so that the shares add up. */
  readonly brotli: number;
  /** The files of the bundle that import it, with the names they import, the largest first. */
  readonly importers: readonly { readonly file: string; readonly names: readonly string[] }[];
  /** What is declared in it and kept: functions, variables, members of classes; the largest first. */
  readonly declarations: readonly { readonly name: string; readonly minified: number }[];
}

interface Part {
  minified: number;
  readonly declarations: Map<string, number>;
}

/** Takes a minified bundle apart. */
export function bundleParts(
  root: string,
  bundle: string,
  code: string,
  map: SourceMapPayload,
  compressed: (text: string) => number,
): BundlePart[] {
  const parts = new Map<string, Part>();
  const sources = new Map<string, Source>();
  const lines = new SourceMap(map);
  const rows = code.split("\n");
  const pieces: { readonly file: string; readonly text: string }[] = [];
  for (const [row, line] of rows.entries()) {
    for (const [from, to] of spans(lines, row, line.length)) {
      const entry = lines.findEntry(row, from);
      const known = "originalSource" in entry && entry.originalSource !== undefined;
      const file = known ? relative(root, resolve(dirname(bundle), entry.originalSource)) : "(the bundler)";
      const text = line.slice(from, to);
      pieces.push({ file, text });
      const part = parts.get(file) ?? { minified: 0, declarations: new Map() };
      parts.set(file, part);
      part.minified += text.length;
      if (!known) continue;
      const source = sources.get(file) ?? readSource(root, file);
      sources.set(file, source);
      const name = source.declarationAt(entry.originalLine, entry.originalColumn);
      part.declarations.set(name, (part.declarations.get(name) ?? 0) + text.length);
    }
  }
  const total = compressed(code);
  const saved = new Map(
    [...parts.keys()].map((file) => [
      file,
      total - compressed(pieces.map((piece) => (piece.file === file ? "" : piece.text)).join("")),
    ]),
  );
  const scale = total / [...saved.values()].reduce((sum, bytes) => sum + bytes, 0);
  const bySize = [...parts].sort(([, a], [, b]) => b.minified - a.minified).map(([file]) => file);
  return bySize
    .map((file) => ({
      file,
      minified: parts.get(file)!.minified,
      brotli: saved.get(file)! * scale,
      importers: bySize.flatMap((from) => {
        const names = sources.get(from)?.imports.get(file);
        return names === undefined ? [] : [{ file: from, names }];
      }),
      declarations: [...parts.get(file)!.declarations]
        .map(([name, minified]) => ({ name, minified }))
        .sort((a, b) => b.minified - a.minified),
    }))
    .sort((a, b) => b.brotli - a.brotli);
}

/** The columns of a row at which the map changes its mind. */
function* spans(map: SourceMap, row: number, length: number): Generator<[from: number, to: number]> {
  let from = 0;
  let at: unknown;
  for (let column = 0; column < length; column++) {
    const entry = map.findEntry(row, column);
    const here = "generatedColumn" in entry ? entry.generatedColumn : undefined;
    if (column > 0 && here !== at) {
      yield [from, column];
      from = column;
    }
    at = here;
  }
  if (length > from) yield [from, length];
}

interface Source {
  /** The name of what stands there: `tryAcquire`, `BufferPool.close`, `BufferPool` for what is outside its members. */
  declarationAt(line: number, column: number): string;
  /** Imported file to the imported names; types are left out. */
  readonly imports: ReadonlyMap<string, readonly string[]>;
}

function readSource(root: string, file: string): Source {
  const path = resolve(root, file);
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  const ast = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.TS);
  const imports = new Map<string, string[]>();
  for (const statement of ast.statements) {
    if (!ts.isImportDeclaration(statement) || !ts.isStringLiteral(statement.moduleSpecifier)) continue;
    const clause = statement.importClause;
    if (clause === undefined || clause.phaseModifier === ts.SyntaxKind.TypeKeyword) continue;
    const bindings = clause.namedBindings;
    const names =
      bindings === undefined || ts.isNamespaceImport(bindings)
        ? ["*"]
        : bindings.elements.filter(({ isTypeOnly }) => !isTypeOnly).map(({ name }) => name.text);
    if (names.length > 0) imports.set(relative(root, resolve(dirname(path), statement.moduleSpecifier.text)), names);
  }
  const starts = ast.getLineStarts();
  return {
    imports,
    declarationAt(line, column) {
      const position = (starts[line] ?? 0) + column;
      const statement = ast.statements.find(({ pos, end }) => pos <= position && position < end);
      if (statement === undefined) return "(file)";
      if (!ts.isClassDeclaration(statement)) return nameOf(statement, ast);
      const member = statement.members.find(({ pos, end }) => pos <= position && position < end);
      const own = statement.name?.text ?? "(class)";
      return member === undefined ? own : `${own}.${nameOf(member, ast)}`;
    },
  };
}

function nameOf(node: ts.Node, ast: ts.SourceFile): string {
  if (ts.isVariableStatement(node))
    return node.declarationList.declarations.map(({ name }) => name.getText(ast)).join(", ");
  const name = (node as { readonly name?: ts.Node }).name?.getText(ast);
  if (name !== undefined) return name;
  return ts.isConstructorDeclaration(node) ? "constructor" : "(statement)";
}
