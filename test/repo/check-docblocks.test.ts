import { describe, expect, test } from "vitest";
import { checkDocblocks } from "../../scripts/check-docblocks.ts";
import { formatFinding } from "../../scripts/lib/findings.ts";
import { makeTree } from "./fixture.ts";

function findings(text: string): string[] {
  return checkDocblocks(makeTree({ "src/memory/a.ts": text })).map(formatFinding);
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
    ["name exported apart from its declaration", "const k = 1;\nexport { k as other };", "k"],
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
});
