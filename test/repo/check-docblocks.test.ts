// Shares its realm with other files: nothing that it changes outlives it.
import { describe, expect, test } from "vitest";
import { checkDocblocks, checkWidths } from "../../scripts/check-docblocks.ts";
import { formatFinding } from "../../scripts/lib/findings.ts";
import { makeTree } from "./fixture.ts";

const MANIFEST = JSON.stringify({
  name: "fixture",
  exports: { ".": { types: "./dist/index.d.ts", default: "./dist/index.js" } },
});

function findings(text: string, index = 'export * from "./memory/a.ts";'): string[] {
  const root = makeTree({ "package.json": MANIFEST, "src/index.ts": index, "src/memory/a.ts": text });
  return checkDocblocks(root).map(formatFinding);
}

describe("the docblock check", () => {
  test("passes documented exports and does not mind what stays inside a file", () => {
    expect(
      findings(`
        /** A. */
        export class A {
          #secret = 1;
          private hidden = 2;
          constructor() {}
          /** Length in bytes. */
          get size(): number { return 1; }
          set size(value: number) {}
          /** Cuts. */
          cut(at: string): void;
          cut(at: number): void;
          cut(at: unknown): void {}
        }
        const local = 1;
        function helper() {}
      `),
    ).toEqual([]);
  });

  test.each([
    ["function", "export function f(): void {}", "f"],
    ["class", "export class C {}", "C"],
    ["interface", "export interface I {}", "I"],
    ["type", "export type T = number;", "T"],
    ["const", "export const k = 1;", "k"],
    ["name exported apart from its declaration", "const k = 1;\nexport { k as other };", "other"],
  ])("finds an undocumented %s and says where", (_, text, name) => {
    expect(findings(`\n${text}`)).toEqual([`src/memory/a.ts:2: exported ${name} has no docblock`]);
  });

  test.each([
    ["method", "class", "run(): void {}", "run"],
    ["accessor", "class", "get size(): number { return 1; }", "size"],
    ["property", "class", "readonly size = 1;", "size"],
    ["static", "class", "static create(): void {}", "static create"],
    ["protected", "class", "protected hook(): void {}", "hook"],
    ["symbol-named", "class", "[Symbol.iterator](): void {}", "[Symbol.iterator]"],
    ["property", "interface", "readonly size: number;", "size"],
    ["method", "interface", "run(): void;", "run"],
    ["call signature", "interface", "(size: number): void;", "()"],
  ])("finds an undocumented %s member of an exported %s", (_, kind, member, name) => {
    expect(findings(`/** A. */\nexport ${kind} A {\n  ${member}\n}`)).toEqual([
      `src/memory/a.ts:3: A.${name} has no docblock`,
    ]);
  });

  test("takes @internal for an answer, on a member or on a whole class, and nothing less", () => {
    expect(findings("/** A. */\nexport class A {\n  /** @internal */\n  x = 1;\n}")).toEqual([]);
    expect(findings("/** @internal */\nexport class A {\n  x = 1;\n}")).toEqual([]);
    expect(findings("/** */\nexport class A {}")).toHaveLength(1);
    expect(findings("// A.\nexport class A {}")).toHaveLength(1);
    expect(findings("/* A. */\nexport class A {}")).toHaveLength(1);
  });

  test("asks for nothing that no entry point reaches", () => {
    const text = "export class Inner {\n  x = 1;\n}\n/** B. */\nexport class B {}\n";
    expect(findings(text, 'export { B } from "./memory/a.ts";')).toEqual([]);
    expect(findings(text, 'export { Inner as Outer } from "./memory/a.ts";')).toEqual([
      "src/memory/a.ts:1: exported Outer has no docblock",
      "src/memory/a.ts:2: Outer.x has no docblock",
    ]);
  });

  test("takes one docblock for the overloads of a function", () => {
    const overloads =
      "export function f(a: number): void;\nexport function f(a: string): void;\nexport function f(): void {}";
    expect(findings(`/** F. */\n${overloads}`)).toEqual([]);
    expect(findings(overloads)).toEqual(["src/memory/a.ts:1: exported f has no docblock"]);
  });
});

describe("the width check", () => {
  test("finds comments beyond 120 columns, and not code or links", () => {
    const long = "word ".repeat(30);
    const root = makeTree({
      "src/a.ts": [
        `// ${long}`,
        "/**",
        ` * ${long}`,
        " */",
        `const a = "${long}";`,
        `// https://x.org/${"y".repeat(130)}`,
      ].join("\n"),
      "src/b.ts": `// ${"x".repeat(117)}\n`,
    });
    expect(checkWidths(root).map(({ file, line }) => `${file}:${line}`)).toEqual(["src/a.ts:1", "src/a.ts:3"]);
  });
});
