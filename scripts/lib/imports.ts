import ts from "typescript";
import { lineOf, type SourceFile } from "./source-tree.ts";

/** One reference from a module to another, however it is written. */
export interface ModuleReference {
  readonly specifier: string;
  readonly line: number;
  /**
   * `static`: bound when the module loads, so a missing package breaks everybody.
   * `type`: erased, but it still ends in the published declarations.
   * `lazy`: `import()` or `require()`, taken only when the line runs.
   * `builtin`: `process.getBuiltinModule()`, which reaches Node without an import.
   */
  readonly kind: "static" | "type" | "lazy" | "builtin";
}

/** Every module reference of a file: imports, re-exports, `import()`, `require()`, `import("x")` types. */
export function moduleReferences(file: SourceFile): ModuleReference[] {
  const found: ModuleReference[] = [];
  const add = (node: ts.Node, target: ts.Node | undefined, kind: ModuleReference["kind"]): void => {
    if (target === undefined || !ts.isStringLiteralLike(target)) return;
    found.push({ specifier: target.text, line: lineOf(file.ast, node), kind });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      add(node, node.moduleSpecifier, isErased(node) ? "type" : "static");
    } else if (ts.isExportDeclaration(node)) {
      add(node, node.moduleSpecifier, node.isTypeOnly ? "type" : "static");
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node, node.argument.literal, "type");
    } else if (ts.isCallExpression(node)) {
      const callee = node.expression;
      const name = ts.isPropertyAccessExpression(callee)
        ? callee.name.text
        : ts.isIdentifier(callee)
          ? callee.text
          : "";
      if (callee.kind === ts.SyntaxKind.ImportKeyword || name === "require") add(node, node.arguments[0], "lazy");
      else if (name === "getBuiltinModule") add(node, node.arguments[0], "builtin");
    }
    ts.forEachChild(node, visit);
  };
  visit(file.ast);
  return found;
}

function isErased(node: ts.ImportDeclaration): boolean {
  return node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword;
}
