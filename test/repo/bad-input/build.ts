/** Makes a value that a type accepts, so that one argument can be hostile while the others are not. */
import ts from "typescript";

/** Makes an instance of a class that millpond exports; undefined where no recipe knows how. */
export type MakeInstance = (className: string) => unknown;

/** Thrown where a type says too little to make a value of it. */
export class CannotBuild extends Error {
  override name = "CannotBuild";
}

/** One key of an object of options. */
export interface OptionKey {
  readonly key: string;
  readonly type: ts.Type;
  readonly optional: boolean;
}

/**
 * The option keys of a parameter that is a plain object of options, or an intersection of such.
 *
 * @param own what a type parameter stands for there: the options that the class's own constructor takes
 */
export function optionKeys(checker: ts.TypeChecker, type: ts.Type, own?: ts.Type): readonly OptionKey[] {
  const plain = checker.getNonNullableType(type);
  if (plain.isIntersection()) {
    const keys = new Map<string, OptionKey>();
    for (const part of plain.types) {
      const open = withoutNoInfer(part);
      const of = open.flags & ts.TypeFlags.TypeParameter ? own : open;
      for (const one of of === undefined ? [] : optionKeys(checker, of)) keys.set(one.key, one);
    }
    return [...keys.values()];
  }
  const one = plain.isUnion() ? plain.types.find((member) => isPlainObject(checker, member)) : plain;
  if (one === undefined || !isPlainObject(checker, one)) return [];
  return checker.getPropertiesOfType(one).map((property) => ({
    key: property.name,
    type: checker.getTypeOfSymbol(property),
    optional: (property.flags & ts.SymbolFlags.Optional) !== 0,
  }));
}

/** What `NoInfer` is around. */
function withoutNoInfer(type: ts.Type): ts.Type {
  return type.flags & ts.TypeFlags.Substitution ? (type as ts.SubstitutionType).baseType : type;
}

/** A value of the type: the first member of a union that can be made, an object with its required properties. */
export function build(checker: ts.TypeChecker, type: ts.Type, instance: MakeInstance, depth = 0): unknown {
  if (depth > 6) throw new CannotBuild(checker.typeToString(type));
  const { flags } = type;
  if (flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown)) return 8;
  if (flags & (ts.TypeFlags.Undefined | ts.TypeFlags.Void)) return undefined;
  if (flags & ts.TypeFlags.Null) return null;
  if (type.isNumberLiteral() || type.isStringLiteral()) return type.value;
  if (flags & ts.TypeFlags.BooleanLike) return checker.typeToString(type) !== "false";
  if (flags & ts.TypeFlags.NumberLike) return 8;
  if (flags & ts.TypeFlags.StringLike) return "name";
  if (flags & ts.TypeFlags.BigIntLike) return 8n;
  if (flags & ts.TypeFlags.NonPrimitive) return {};
  if (flags & ts.TypeFlags.TypeParameter) {
    const bound = checker.getBaseConstraintOfType(type);
    return bound === undefined ? 8 : build(checker, bound, instance, depth + 1);
  }
  if (flags & ts.TypeFlags.Substitution) return build(checker, withoutNoInfer(type), instance, depth + 1);
  // Of options: the properties of all of them.
  if (type.isIntersection() && type.types.some((part) => isPlainObject(checker, part))) {
    return Object.assign({}, ...type.types.map((part) => build(checker, part, instance, depth + 1)));
  }
  if (type.isUnion()) {
    for (const member of type.types) {
      if (member.flags & (ts.TypeFlags.Undefined | ts.TypeFlags.Null)) continue;
      try {
        return build(checker, member, instance, depth + 1);
      } catch (error) {
        if (!(error instanceof CannotBuild)) throw error;
      }
    }
    throw new CannotBuild(checker.typeToString(type));
  }
  if (type.getCallSignatures().length > 0) return () => undefined;
  if (checker.isTupleType(type)) {
    return checker.getTypeArguments(type as ts.TypeReference).map((item) => build(checker, item, instance, depth + 1));
  }
  if (checker.isArrayType(type)) {
    const [item] = checker.getTypeArguments(type as ts.TypeReference);
    return item === undefined ? [] : [build(checker, item, instance, depth + 1)];
  }
  const name = type.symbol?.name ?? type.aliasSymbol?.name ?? "";
  const standard = STANDARD[name];
  if (standard !== undefined) return standard();
  const made = instance(name);
  if (made !== undefined) return made;
  if (!isPlainObject(checker, type)) throw new CannotBuild(checker.typeToString(type));
  const object: Record<string, unknown> = {};
  for (const property of checker.getPropertiesOfType(type)) {
    if (property.flags & ts.SymbolFlags.Optional) continue;
    object[property.name] = build(checker, checker.getTypeOfSymbol(property), instance, depth + 1);
  }
  return object;
}

const STANDARD: Readonly<Record<string, () => unknown>> = {
  Uint8Array: () => new Uint8Array(64),
  Int32Array: () => new Int32Array(new SharedArrayBuffer(64)),
  Float32Array: () => new Float32Array(16),
  ArrayBuffer: () => new ArrayBuffer(64),
  SharedArrayBuffer: () => new SharedArrayBuffer(64),
  ArrayBufferView: () => new Uint8Array(64),
  DataView: () => new DataView(new ArrayBuffer(64)),
  AbortSignal: () => new AbortController().signal,
  Map: () => new Map(),
  ReadonlyMap: () => new Map(),
  Set: () => new Set(),
  ReadonlySet: () => new Set(),
  Error: () => new Error("an error"),
  URL: () => new URL("file:///nowhere/at/all"),
  Promise: () => Promise.resolve(),
  PromiseLike: () => Promise.resolve(),
  Date: () => new Date(0),
  RegExp: () => /x/,
  Iterable: () => [],
  AsyncIterable: () => [],
};

function isAnything(checker: ts.TypeChecker, type: ts.Type): boolean {
  return (
    (type.flags & ts.TypeFlags.Object) !== 0 &&
    type.symbol?.name === "__type" &&
    checker.getPropertiesOfType(type).length === 0 &&
    type.getCallSignatures().length === 0 &&
    type.getConstructSignatures().length === 0
  );
}

function isPlainObject(checker: ts.TypeChecker, type: ts.Type): boolean {
  if (!(type.flags & ts.TypeFlags.Object)) return false;
  if (type.getCallSignatures().length > 0 || type.getConstructSignatures().length > 0) return false;
  if (checker.isArrayType(type) || checker.isTupleType(type)) return false;
  const name = type.symbol?.name ?? "";
  if (STANDARD[name] !== undefined) return false;
  // What is known by a method of the language's own, such as an iterable, is not read key by key.
  if (checker.getPropertiesOfType(type).some((property) => property.name.startsWith("__@"))) return false;
  return !(type.symbol !== undefined && type.symbol.flags & ts.SymbolFlags.Class);
}

/** Whether a value's `typeof` is one that the type can have; what only its content would show is not judged. */
export function fits(checker: ts.TypeChecker, type: ts.Type, optional: boolean, value: unknown): boolean {
  if (value === undefined && optional) return true;
  const members = type.isUnion() ? type.types : [type];
  return members.some((member) => {
    const { flags } = member;
    if (flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown)) return true;
    if (flags & ts.TypeFlags.TypeParameter) {
      const bound = checker.getBaseConstraintOfType(member);
      return bound === undefined || fits(checker, bound, optional, value);
    }
    if (value === undefined) return (flags & (ts.TypeFlags.Undefined | ts.TypeFlags.Void)) !== 0;
    if (value === null) return (flags & ts.TypeFlags.Null) !== 0;
    // `{}`, as NonNullable<unknown> has it: whatever is not null.
    if (isAnything(checker, member)) return true;
    if (member.isNumberLiteral() || member.isStringLiteral()) return member.value === value;
    if (typeof value === "number") return (flags & ts.TypeFlags.NumberLike) !== 0;
    if (typeof value === "string") return (flags & ts.TypeFlags.StringLike) !== 0;
    if (typeof value === "boolean") return checker.typeToString(member) === String(value);
    if (typeof value === "bigint") return (flags & ts.TypeFlags.BigIntLike) !== 0;
    if (typeof value === "symbol") return (flags & ts.TypeFlags.ESSymbolLike) !== 0;
    return (flags & (ts.TypeFlags.Object | ts.TypeFlags.NonPrimitive | ts.TypeFlags.Intersection)) !== 0;
  });
}
