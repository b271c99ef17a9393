/**
 * Compiles the declarations of the packed package as users do who do not skip the check of libraries: what was stripped from them as
 * internal must not be missing elsewhere. The core's entry points ask for nothing but ES2022: no DOM, no Node types. Then all of them,
 * with Node's types and the DOM's, which must not contradict what globals.d.ts adds. Needs a built dist/.
 */
import { join, relative } from "node:path";
import ts from "typescript";
import { entryPoints } from "./lib/api.ts";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { rootFromArguments } from "./lib/source-tree.ts";

/** Entry points that are for Node, or for packages with types of their own. */
const PLATFORM = /\/(?:native|pipeline\/node|mediabunny|raw-video)$/;

/** What does not compile in the declarations of the package at root. */
export function checkTypes(root: string): Finding[] {
  const points = entryPoints(root);
  const core = points.filter(({ name }) => !PLATFORM.test(name));
  return [
    ...compile(
      root,
      core.map(({ types }) => types),
      ["lib.es2022.d.ts"],
      [],
    ),
    ...compile(
      root,
      points.map(({ types }) => types),
      ["lib.esnext.d.ts", "lib.dom.d.ts"],
      ["node"],
    ),
    ...compile(
      root,
      points.map(({ types }) => types),
      ["lib.es2022.d.ts"],
      ["node"],
    ),
  ];
}

function compile(root: string, files: readonly string[], lib: string[], types: string[]): Finding[] {
  const program = ts.createProgram(
    files.map((file) => join(root, file)),
    {
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      target: ts.ScriptTarget.ES2022,
      lib,
      types,
      typeRoots: [join(import.meta.dirname, "..", "node_modules", "@types")],
    },
  );
  const setting = `with lib ${lib.map((name) => name.slice(4, -5)).join(", ")}${types.map((name) => ` and types of ${name}`)}`;
  return ts
    .getPreEmitDiagnostics(program)
    .filter(
      ({ file }) => file === undefined || (file.fileName.startsWith(root) && !file.fileName.includes("/node_modules/")),
    )
    .map(({ file, start, messageText }) => ({
      file: file === undefined ? "package.json" : relative(root, file.fileName),
      line: file === undefined ? 0 : file.getLineAndCharacterOfPosition(start ?? 0).line + 1,
      message: `${ts.flattenDiagnosticMessageText(messageText, " ")} (${setting})`,
    }));
}

if (import.meta.main) {
  reportFindings(
    "types",
    checkTypes(rootFromArguments()),
    "every declaration compiles without skipLibCheck, the core's with es2022 alone",
  );
}
