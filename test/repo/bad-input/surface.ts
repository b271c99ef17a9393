/** Every call that a user can write, read from the declarations of the built package: what no list can forget. */
import { join } from "node:path";
import ts from "typescript";

/** One function, constructor, method or setter that an entry point exports. */
export interface PublicCall {
  /** `.#BufferPool.prototype.acquire`: entry point, then the path to the callee. */
  readonly key: string;
  readonly entry: string;
  readonly kind: "function" | "construct" | "static" | "method" | "setter";
  /** The class, for all kinds but `function`. */
  readonly owner: string | undefined;
  readonly name: string;
  readonly parameters: readonly ts.Type[];
  readonly optional: readonly boolean[];
  /**
   * What the class's constructor takes first: a static that makes one of whatever class it is called on takes that too.
   */
  readonly own: ts.Type | undefined;
}

/** The public calls, and the checker that knows their parameters' types. */
export interface Surface {
  readonly calls: readonly PublicCall[];
  readonly checker: ts.TypeChecker;
}

/**
 * @param root the package's root, with a built dist/
 * @param entries subpath of each entry point and its declaration file, relative to root
 */
export function readSurface(root: string, entries: readonly (readonly [string, string])[]): Surface {
  const files = entries.map(([, file]) => join(root, file));
  const program = ts.createProgram(files, {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2023,
    lib: ["lib.es2024.d.ts", "lib.dom.d.ts", "lib.esnext.disposable.d.ts"],
    types: ["node"],
  });
  const checker = program.getTypeChecker();
  const calls: PublicCall[] = [];
  for (const [entry, file] of entries) {
    const source = program.getSourceFile(join(root, file));
    const module = source === undefined ? undefined : checker.getSymbolAtLocation(source);
    if (module === undefined) throw new Error(`${file} is not there: build first`);
    for (const exported of checker.getExportsOfModule(module)) {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
      readExport(checker, entry, exported.name, symbol, calls);
    }
  }
  return { calls, checker };
}

function readExport(
  checker: ts.TypeChecker,
  entry: string,
  name: string,
  symbol: ts.Symbol,
  calls: PublicCall[],
): void {
  if (symbol.valueDeclaration === undefined) return;
  const type = checker.getTypeOfSymbol(symbol);
  const add = (kind: PublicCall["kind"], owner: string | undefined, callee: string, signature: ts.Signature): void => {
    const path = owner === undefined ? callee : `${owner}.${kind === "static" ? "" : "prototype."}${callee}`;
    calls.push({
      key: `${entry}#${kind === "construct" ? `new ${owner}` : path}`,
      entry,
      kind,
      owner,
      name: callee,
      parameters: signature.parameters.map((parameter) => checker.getTypeOfSymbol(parameter)),
      optional: signature.parameters.map(isOptional),
      own: own(),
    });
  };
  const own = (): ts.Type | undefined => {
    const first = longest(type.getConstructSignatures())?.parameters[0];
    return first === undefined ? undefined : checker.getTypeOfSymbol(first);
  };
  const longest = (signatures: readonly ts.Signature[]): ts.Signature | undefined =>
    [...signatures].sort((a, b) => b.parameters.length - a.parameters.length)[0];

  if (!(symbol.flags & ts.SymbolFlags.Class)) {
    const call = longest(type.getCallSignatures());
    if (call !== undefined) add("function", undefined, name, call);
    // A constant that holds functions: a registry, a meta type, an enumeration of nothing.
    else for (const member of type.getProperties()) addMember(member, "static", type);
    return;
  }
  const declaration = symbol.valueDeclaration as ts.ClassDeclaration;
  const isAbstract = (ts.getCombinedModifierFlags(declaration) & ts.ModifierFlags.Abstract) !== 0;
  const construct = longest(type.getConstructSignatures());
  if (construct !== undefined && !isAbstract && !hidden(construct.declaration)) add("construct", name, name, construct);
  for (const member of type.getProperties()) if (member.name !== "prototype") addMember(member, "static", type);
  const instance = checker.getDeclaredTypeOfSymbol(symbol);
  for (const member of instance.getProperties()) addMember(member, "method", instance);

  function addMember(member: ts.Symbol, kind: "static" | "method", _of: ts.Type): void {
    const declared = member.valueDeclaration ?? member.declarations?.[0];
    if (declared === undefined || hidden(declared) || member.name.startsWith("__")) return;
    if (declared.getSourceFile().fileName.includes("/typescript/lib/")) return;
    const memberType = checker.getTypeOfSymbol(member);
    const call = longest(checker.getNonNullableType(memberType).getCallSignatures());
    if (call !== undefined) add(kind, name, member.name, call);
    else if (member.flags & ts.SymbolFlags.SetAccessor) {
      calls.push({
        key: `${entry}#${name}.prototype.${member.name}=`,
        entry,
        kind: "setter",
        owner: name,
        name: member.name,
        parameters: [memberType],
        optional: [false],
        own: undefined,
      });
    }
  }
}

function isOptional(parameter: ts.Symbol): boolean {
  const declaration = parameter.valueDeclaration;
  if (declaration === undefined || !ts.isParameter(declaration)) return false;
  return declaration.questionToken !== undefined || declaration.dotDotDotToken !== undefined;
}

function hidden(declaration: ts.Declaration | ts.JSDocSignature | undefined): boolean {
  if (declaration === undefined || !ts.canHaveModifiers(declaration)) return false;
  const flags = ts.getCombinedModifierFlags(declaration as ts.Declaration);
  return (flags & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) !== 0;
}
