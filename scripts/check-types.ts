/**
 * Compiles the declarations of dist/ as a user does who does not skip the check of libraries: what is stripped from them as internal
 * must not be missing elsewhere. Needs a built dist/.
 */
import { readdirSync } from "node:fs";
import { join, relative } from "node:path";
import ts from "typescript";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { rootFromArguments } from "./lib/source-tree.ts";

/** What does not compile in the declarations of the package at root. */
export function checkTypes(root: string): Finding[] {
  const dist = join(root, "dist");
  const files = readdirSync(dist, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".d.ts"))
    .map((name) => join(dist, name));
  const program = ts.createProgram(files, {
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2023,
    lib: ["lib.es2024.d.ts", "lib.dom.d.ts", "lib.esnext.disposable.d.ts"],
    types: ["node"],
  });
  return ts
    .getPreEmitDiagnostics(program)
    .filter(({ file }) => file?.fileName.startsWith(dist))
    .map(({ file, start, messageText }) => ({
      file: relative(root, file!.fileName),
      line: file!.getLineAndCharacterOfPosition(start ?? 0).line + 1,
      message: ts.flattenDiagnosticMessageText(messageText, " "),
    }));
}

if (import.meta.main) {
  reportFindings("types", checkTypes(rootFromArguments()), "every declaration compiles without skipLibCheck");
}
