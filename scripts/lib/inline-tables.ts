/**
 * `Header.STATE` becomes `16` in what is built: the tables of flags and words (`const Header = { STATE: 16 } as const`)
 * are names for readers of the source. A bundler cannot replace a property of an object, because it cannot know that
 * nobody writes to it; `as const` is where the source says so. It takes 2 to 3 % off a bundle.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Plugin } from "rolldown";
import { parseSync, Visitor } from "rolldown/utils";

type Program = ReturnType<typeof parseSync>["program"];
type Table = ReadonlyMap<string, number>;
type Tables = ReadonlyMap<string, Table>;
type Expression = NonNullable<
  Extract<Program["body"][number], { type: "VariableDeclaration" }>["declarations"][number]["init"]
>;

/** A file without this names no member. */
const MEMBER = /\b[A-Z]\w*\s*\.\s*[A-Z]/;

/** Replaces the members of tables in TypeScript files below `folder`, on the same lines. */
export function inlineTables(folder: string): Plugin {
  const known = new Map<string, Tables>();
  const tablesIn = (file: string): Tables => {
    const found =
      known.get(file) ?? tablesOf(existsSync(file) ? parseSync(file, readFileSync(file, "utf8")).program : undefined);
    known.set(file, found);
    return found;
  };
  return {
    name: "inline-tables",
    transform(code, id) {
      if (!id.startsWith(folder) || !id.endsWith(".ts") || !MEMBER.test(code)) return null;
      const { program } = parseSync(id, code);
      const tables = new Map(tablesOf(program));
      for (const statement of program.body) {
        if (statement.type !== "ImportDeclaration" || !statement.source.value.startsWith(".")) continue;
        const exported = tablesIn(resolve(dirname(id), statement.source.value));
        for (const specifier of statement.specifiers) {
          if (specifier.type !== "ImportSpecifier" || specifier.imported.type !== "Identifier") continue;
          const table = exported.get(specifier.imported.name);
          if (table !== undefined) tables.set(specifier.local.name, table);
        }
      }
      const shadow = [...tables.keys()].find((name) => countDeclared(program, name) > 1);
      if (shadow !== undefined) throw new Error(`${id} declares ${shadow} again, which is a table of numbers there`);
      const text = tables.size === 0 ? code : replaceMembers(program, code, tables);
      return text === code ? null : { code: text, map: null };
    },
  };
}

/** Every `const Name = { MEMBER: 1 } as const` at the top of a file. */
function tablesOf(program: Program | undefined): Tables {
  const tables = new Map<string, Table>();
  for (const statement of program?.body ?? []) {
    const declared = statement.type === "ExportNamedDeclaration" ? statement.declaration : statement;
    if (declared?.type !== "VariableDeclaration" || declared.kind !== "const") continue;
    for (const { id, init } of declared.declarations) {
      if (id.type !== "Identifier" || init?.type !== "TSAsExpression") continue;
      const { expression, typeAnnotation } = init;
      const isConst =
        typeAnnotation.type === "TSTypeReference" &&
        typeAnnotation.typeName.type === "Identifier" &&
        typeAnnotation.typeName.name === "const";
      if (!isConst || expression.type !== "ObjectExpression") continue;
      const members = new Map<string, number>();
      for (const property of expression.properties) {
        if (property.type !== "Property" || property.computed || property.key.type !== "Identifier") continue;
        const value = numberOf(property.value);
        if (value !== undefined) members.set(property.key.name, value);
      }
      if (members.size > 0) tables.set(id.name, members);
    }
  }
  return tables;
}

/** The number that is written there: `8`, `1 << 3`, `-1`. */
function numberOf(node: Expression): number | undefined {
  if (node.type === "Literal") return typeof node.value === "number" ? node.value : undefined;
  if (node.type === "UnaryExpression" && node.operator === "-") {
    const value = numberOf(node.argument);
    return value === undefined ? undefined : -value;
  }
  if (node.type !== "BinaryExpression" || node.operator !== "<<") return undefined;
  const [left, right] = [numberOf(node.left), numberOf(node.right)];
  return left === undefined || right === undefined ? undefined : left << right;
}

function replaceMembers(program: Program, code: string, tables: Tables): string {
  const edits: { readonly start: number; readonly end: number; readonly text: string }[] = [];
  new Visitor({
    MemberExpression({ object, property, computed, start, end }) {
      if (computed || object.type !== "Identifier" || property.type !== "Identifier") return;
      const value = tables.get(object.name)?.get(property.name);
      // As many lines as before, and a number that may be followed by anything.
      if (value !== undefined)
        edits.push({ start, end, text: `(${value}${code.slice(start, end).replaceAll(/[^\n]/g, "")})` });
    },
  }).visit(program);
  let text = code;
  for (const edit of edits.sort((a, b) => b.start - a.start))
    text = text.slice(0, edit.start) + edit.text + text.slice(edit.end);
  return text;
}

/** How often a name is declared: at the top, by an import, and in functions, where a member would be another's. */
function countDeclared(program: Program, name: string): number {
  let count = 0;
  const add = (pattern: unknown): void => {
    if (typeof pattern !== "object" || pattern === null) return;
    const { type, name: own } = pattern as { readonly type?: string; readonly name?: string };
    if (type === "Identifier") count += own === name ? 1 : 0;
    // Patterns hold patterns; a type, and a default (right), declare nothing.
    else for (const [key, part] of Object.entries(pattern)) if (key !== "typeAnnotation" && key !== "right") add(part);
  };
  const addParameters = ({ params }: { readonly params: readonly unknown[] }): void => params.forEach(add);
  new Visitor({
    ImportSpecifier: ({ local }) => add(local),
    VariableDeclarator: ({ id }) => add(id),
    FunctionDeclaration(node) {
      add(node.id);
      addParameters(node);
    },
    FunctionExpression: addParameters,
    ArrowFunctionExpression: addParameters,
    ClassDeclaration: ({ id }) => add(id),
    CatchClause: ({ param }) => add(param),
  }).visit(program);
  return count;
}
