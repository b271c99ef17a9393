/**
 * What the built declarations offer: every name that an entry point exports, with its type and what that type mentions.
 */
import { existsSync, readFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import ts from "typescript";
import { lineOf } from "./source-tree.ts";

/** One `exports` subpath of a package with its files, relative to the package's root. */
export interface EntryPoint {
  /** As users write it: `millpond/shared`. */
  readonly name: string;
  readonly types: string;
  readonly code: string;
}

/** A name that an entry point exports. */
export interface ApiName {
  readonly name: string;
  /** Every declaration of it, without comments; overloads and merged interfaces have several. */
  readonly declarations: readonly ts.Declaration[];
  /** Whether it is there at run time. */
  readonly isValue: boolean;
  readonly symbol: ts.Symbol;
}

/** The declarations of a built package, read once. */
export interface Api {
  readonly root: string;
  readonly entries: readonly { readonly entry: EntryPoint; readonly names: readonly ApiName[] }[];
  readonly checker: ts.TypeChecker;
}

/** The entry points that package.json promises to users. */
export function entryPoints(root: string): EntryPoint[] {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    readonly name: string;
    readonly exports?: Readonly<Record<string, string | { readonly types?: string; readonly default?: string }>>;
  };
  return Object.entries(manifest.exports ?? {}).flatMap(([subpath, target]) => {
    if (typeof target === "string" || target.types === undefined || target.default === undefined) return [];
    return [{ name: manifest.name + subpath.slice(1), types: target.types, code: target.default }];
  });
}

/** The files that an entry point has in place of its own where "browser" is among the conditions. */
export function browserFiles(root: string): string[] {
  const { exports = {} } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    readonly exports?: Readonly<Record<string, string | { readonly browser?: string }>>;
  };
  return Object.values(exports).flatMap((target) => (typeof target === "string" ? [] : (target.browser ?? [])));
}

/**
 * Where sources of entry points are: those with lines of their own at the top of src/, doors and adapters in their
 * folders.
 */
const FOLDERS = ["", "compat/", "adapters/", "adapters/raw-video/"];

/** The source of a built entry point, both relative to root. Throws when there is none. */
export function sourceOf(root: string, code: string): string {
  const name = basename(code, ".js");
  const found = FOLDERS.map((folder) => `src/${folder}${name}.ts`).find((path) => existsSync(join(root, path)));
  if (found === undefined) throw new Error(`package.json names ${code}, and there is no source for it`);
  return found;
}

/** Reads the built declarations of every entry point of the package at root. */
export function readApi(root: string): Api {
  const points = entryPoints(root);
  const program = ts.createProgram(
    points.map(({ types }) => join(root, types)),
    {
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      target: ts.ScriptTarget.ES2022,
      // Only the package's own names are looked up: without the platform's it takes a tenth of the time.
      noLib: true,
      types: [],
    },
  );
  const checker = program.getTypeChecker();
  const entries = points.map((entry) => {
    const source = program.getSourceFile(join(root, entry.types));
    if (source === undefined) throw new Error(`${entry.types} is not there: run npm run build first`);
    const module = checker.getSymbolAtLocation(source);
    const names = (module === undefined ? [] : checker.getExportsOfModule(module)).map((exported): ApiName => {
      const symbol = target(checker, exported);
      return {
        name: exported.name,
        declarations: symbol.declarations ?? [],
        isValue: (symbol.flags & ts.SymbolFlags.Value) !== 0,
        symbol,
      };
    });
    return { entry, names: names.sort((a, b) => (a.name < b.name ? -1 : 1)) };
  });
  return { root, entries, checker };
}

/** A name that a public declaration mentions and no entry point exports. */
export interface HiddenName {
  readonly name: string;
  /** The public name whose declaration mentions it, with its entry point: `millpond/shared SharedPool`. */
  readonly by: string;
  readonly file: string;
  readonly line: number;
}

/** Every name of the package's own that users meet in a type and cannot import. */
export function hiddenNames({ root, entries, checker }: Api): HiddenName[] {
  const exported = new Set(entries.flatMap(({ names }) => names.map(({ symbol }) => symbol)));
  const found = new Map<ts.Symbol, HiddenName>();
  for (const { entry, names } of entries) {
    for (const { name, declarations } of names) {
      for (const declaration of declarations) {
        forEachMention(checker, declaration, (symbol, node) => {
          if (exported.has(symbol) || found.has(symbol) || !isOwnType(root, symbol)) return;
          const source = node.getSourceFile();
          found.set(symbol, {
            name: symbol.name,
            by: `${entry.name} ${name}`,
            file: relative(root, source.fileName),
            line: lineOf(source, node),
          });
        });
      }
    }
  }
  return [...found.values()];
}

/**
 * A module's own class, interface, type or variable; not a member, a parameter, a type parameter or another package's.
 */
function isOwnType(root: string, symbol: ts.Symbol): boolean {
  return (symbol.declarations ?? []).some((declaration) => {
    const source = declaration.getSourceFile();
    // A file without imports and exports declares what is global: it completes the platform's own types.
    if (!source.fileName.startsWith(`${root}/`) || source.fileName.includes("/node_modules/")) return false;
    if (!ts.isExternalModule(source)) return false;
    const holder = ts.isVariableDeclaration(declaration) ? declaration.parent.parent.parent : declaration.parent;
    return ts.isSourceFile(holder);
  });
}

function forEachMention(
  checker: ts.TypeChecker,
  declaration: ts.Declaration,
  visit: (symbol: ts.Symbol, node: ts.Node) => void,
): void {
  const mention = (name: ts.Node): void => {
    const leaf = ts.isQualifiedName(name) ? name.right : ts.isPropertyAccessExpression(name) ? name.name : name;
    const symbol = checker.getSymbolAtLocation(leaf);
    if (symbol !== undefined) visit(target(checker, symbol), name);
  };
  const walk = (node: ts.Node): void => {
    // A private member's type is not printed into declarations; what is left of it is a name.
    if (ts.isTypeReferenceNode(node)) mention(node.typeName);
    else if (ts.isExpressionWithTypeArguments(node)) mention(node.expression);
    else if (ts.isTypeQueryNode(node)) mention(node.exprName);
    else if (ts.isImportTypeNode(node) && node.qualifier !== undefined) mention(node.qualifier);
    else if (ts.isComputedPropertyName(node) && !ts.isLiteralExpression(node.expression)) mention(node.expression);
    ts.forEachChild(node, walk);
  };
  walk(declaration);
}

function target(checker: ts.TypeChecker, symbol: ts.Symbol): ts.Symbol {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}
