/**
 * Compiles the declarations of the packed package as users do who do not skip the check of libraries: what was stripped
 * from them as internal must not be missing elsewhere. The core's entry points ask for nothing but ES2022: no DOM, no
 * Node types. Then all of them, with Node's types and the DOM's, which must not contradict what globals.d.ts adds.
 * Needs a built dist/.
 */
import { join, relative } from "node:path";
import ts from "typescript";
import { entryPoints } from "./lib/api.ts";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { rootFromArguments } from "./lib/source-tree.ts";

/** Entry points that are for Node, or for packages with types of their own. */
const PLATFORM = /\/(?:native|node|pipeline\/node|inspect|mediabunny|raw-video)$/;

/** What a user's program has: the libraries of its compiler, and packages of types. */
export interface Setting {
  readonly lib: readonly string[];
  readonly types: readonly string[];
  /** Whether it may have entry points for Node. */
  readonly platform: boolean;
}

const SETTINGS: readonly Setting[] = [
  { lib: ["es2022"], types: [], platform: false },
  { lib: ["es2022"], types: ["node"], platform: true },
  { lib: ["esnext", "dom"], types: ["node"], platform: true },
];

/** What does not compile in the declarations of the package at root. */
export function checkTypes(root: string, settings: readonly Setting[] = SETTINGS): Finding[] {
  return settings.flatMap((setting) => {
    const points = entryPoints(root).filter(({ name }) => setting.platform || !PLATFORM.test(name));
    return compile(
      root,
      points.map(({ types }) => types),
      setting,
    );
  });
}

function compile(root: string, files: readonly string[], { lib, types }: Setting): Finding[] {
  const program = ts.createProgram(
    files.map((file) => join(root, file)),
    {
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      target: ts.ScriptTarget.ES2022,
      lib: lib.map((name) => `lib.${name}.d.ts`),
      types: [...types],
      typeRoots: [join(import.meta.dirname, "..", "node_modules", "@types")],
    },
  );
  const setting = `with lib ${lib.join(", ")}${types.map((name) => ` and types of ${name}`)}`;
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
