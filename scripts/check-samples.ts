/**
 * Every sample of README.md and docs/ is type-checked against the built package, all in one program; those that say so
 * are run, and what their comments promise is what happens. Needs a built dist/.
 *
 * An HTML comment before a fence of `ts` says more, and is not shown to readers:
 *
 *     <!-- sample: run
 *     const payload = new Uint8Array(8);      lines that stand before the sample, with what it takes for granted
 *     -->
 *
 * `run` runs it; `skip: REASON` leaves it out, for text that cannot compile. In a sample that runs, a statement with
 * the comment `// words ... words [ERR_X]` or `// ERR_X` throws that error with that message (three dots stand for
 * anything), and an expression with a literal as its comment has that value. Such a statement may be a comment itself,
 * `// pool.free(pointer);  // ERR_X`, so that the sample runs to its end as it is shown; the check runs the statement.
 *
 * A reader sees the sample without its mark. So each name that only the mark declares, and that the sample uses, is
 * explained in a line of comment in the sample: `// url: a video`.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import ts from "typescript";
import type { Setting } from "./check-types.ts";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { rootFromArguments } from "./lib/source-tree.ts";

/** A sample of a page. */
export interface Sample {
  readonly file: string;
  /** Line of its first line of code, from 1. */
  readonly line: number;
  readonly language: "ts" | "js";
  readonly code: string;
  /** Lines that stand before it, with what it takes for granted. */
  readonly before: string;
  readonly mode: "check" | "run" | "skip";
}

/** What the readers of the pages have. */
const READERS: Setting = { lib: ["esnext", "dom"], types: ["node"], platform: true };

/** Git-ignored, and inside the package: samples import it by its name. */
const SCRATCH = "out/samples";

/** Every fence of code in a page, with what its mark says. */
export function readSamples(file: string, text: string): { readonly samples: Sample[]; readonly findings: Finding[] } {
  const samples: Sample[] = [];
  const findings: Finding[] = [];
  const fence = /^(?:<!-- sample\b(?<mark>[\s\S]*?)-->\n+)?```(?<language>ts|js)\n(?<code>[\s\S]*?)^```/gm;
  let marks = 0;
  for (const match of text.matchAll(fence)) {
    const { mark, language, code } = match.groups as { mark?: string; language: "ts" | "js"; code: string };
    if (mark !== undefined) marks++;
    const [first = "", ...before] = (mark ?? "").split("\n");
    const word = first.replace(/^:/, "").trim();
    const line = text.slice(0, match.index + match[0].indexOf("```")).split("\n").length + 1;
    const mode = word === "" ? "check" : word === "run" ? "run" : /^skip: \S/.test(word) ? "skip" : undefined;
    if (mode === undefined) {
      findings.push({ file, line: line - 1, message: `"sample: ${word}" is not known: run, or skip: and a reason` });
    } else samples.push({ file, line, language, code, before: before.join("\n").trim(), mode });
  }
  const written = text.match(/^<!-- sample\b/gm)?.length ?? 0;
  if (written !== marks)
    findings.push({ file, line: 0, message: "a sample's mark does not stand before a fence of ts or js" });
  return { samples, findings };
}

/** Names that a sample takes from its mark, where no reader sees them, and that none of its comments explains. */
export function unexplainedNames({ code, before }: Sample): string[] {
  const hidden = new Set<string>();
  const declare = (name: ts.BindingName | undefined): void => {
    if (name === undefined) return;
    if (ts.isIdentifier(name)) hidden.add(name.text);
    else for (const element of name.elements) if (!ts.isOmittedExpression(element)) declare(element.name);
  };
  for (const statement of parse(before).statements) {
    if (ts.isVariableStatement(statement)) {
      for (const { name } of statement.declarationList.declarations) declare(name);
    } else if (ts.isFunctionDeclaration(statement) || ts.isClassDeclaration(statement)) declare(statement.name);
    else if (ts.isImportDeclaration(statement)) {
      declare(statement.importClause?.name);
      const named = statement.importClause?.namedBindings;
      if (named !== undefined && ts.isNamedImports(named)) for (const { name } of named.elements) declare(name);
    }
  }
  const used = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node) && !isProperty(node)) used.add(node.text);
    ts.forEachChild(node, visit);
  };
  visit(parse(code));
  const comments = code.match(/^\s*\/\/ .*$/gm)?.join("\n") ?? "";
  return [...hidden].filter((name) => used.has(name) && !new RegExp(`\\b${name}\\b`).test(comments));
}

/** The name of a property, in `object.name` or `{ name: value }`. */
function isProperty(node: ts.Identifier): boolean {
  const { parent } = node;
  return (ts.isPropertyAccessExpression(parent) || ts.isPropertyAssignment(parent)) && parent.name === node;
}

function parse(text: string): ts.SourceFile {
  return ts.createSourceFile("sample.ts", text, ts.ScriptTarget.ESNext, true);
}

/** The file that is compiled for a sample, and how many lines stand before the sample in it. */
function program(sample: Sample): { readonly text: string; readonly offset: number } {
  const head = sample.before === "" ? "" : `${sample.before}\n`;
  // A module even where nothing is imported: two samples may use one name.
  return { text: `${head}${sample.code}\nexport {};\n`, offset: head.split("\n").length - 1 };
}

/** What does not compile, in one program for all samples. */
function compile(root: string, files: ReadonlyMap<string, Sample>, { lib, types }: Setting): Finding[] {
  const compiled = ts.createProgram([...files.keys()], {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    allowJs: true,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ESNext,
    lib: lib.map((name) => `lib.${name}.d.ts`),
    types: [...types],
    typeRoots: [join(import.meta.dirname, "..", "node_modules", "@types")],
  });
  return ts.getPreEmitDiagnostics(compiled).map(({ file, start, messageText }) => {
    const message = ts.flattenDiagnosticMessageText(messageText, " ");
    const sample = file === undefined ? undefined : files.get(file.fileName);
    if (file === undefined || sample === undefined)
      return { file: file?.fileName.replace(`${root}/`, "") ?? "package.json", line: 0, message };
    const line = file.getLineAndCharacterOfPosition(start ?? 0).line - program(sample).offset;
    return { file: sample.file, line: sample.line + line, message };
  });
}

const PRELUDE = `import __assert from "node:assert/strict";
const __throws = async (__run, __code, __text) => {
  let __error;
  try { await __run(); } catch (error) { __error = error; }
  __assert.equal(__error?.code, __code, \`\${__run}: \${__error}\`);
  if (__text !== undefined && !new RegExp(__text, "s").test(__error.message)) __assert.equal(__error.message, __text);
};
`;

/** The sample with each promise of a comment made into a check. */
function withChecks(code: string): string {
  return code
    .split("\n")
    .map((line) => {
      const match = /^(\s*)(?:\/\/ (?=\S.*;\s*\/\/ .*\bERR_))?(\S.*;)\s*\/\/ (.*)$/.exec(line);
      if (match === null) return line;
      const [, indent, statement, promise] = match as unknown as [string, string, string, string];
      const error = /^(?:(.*) \[)?(ERR_[A-Z_]+)\]?(?:[:;,].*)?$/.exec(promise);
      if (error !== null) {
        const [, words, code] = error;
        const parts = words?.split(/ ?\.\.\. ?/).map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"));
        const pattern = parts?.join(".*");
        return `${indent}await __throws(async () => { ${statement} }, "${code}"${pattern === undefined ? "" : `, ${JSON.stringify(pattern)}`});`;
      }
      if (!/^(?:-?\d[\d_.]*n?|true|false|undefined|"[^"]*")$/.test(promise)) return line;
      return `${indent}__assert.deepEqual(${statement.slice(0, -1)}, ${promise});`;
    })
    .join("\n");
}

/** Runs a sample in a process of its own. */
async function run(root: string, sample: Sample, file: string): Promise<Finding | undefined> {
  const text = `${PRELUDE}${sample.before}\n${withChecks(sample.code)}`;
  const { outputText } = ts.transpileModule(text, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
  });
  const script = file.replace(/\.ts$/, ".mjs");
  writeFileSync(script, outputText);
  try {
    await promisify(execFile)(process.execPath, [script], { cwd: root, timeout: 60_000 });
    return undefined;
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    return {
      file: sample.file,
      line: sample.line,
      message: `this sample does not do what it says:\n${stderr || message}`,
    };
  }
}

/** What is wrong with the samples of the pages at root. */
export async function checkSamples(root: string, setting: Setting = READERS): Promise<Finding[]> {
  const pages = ["README.md", ...listPages(root, "docs")].filter((page) => existsSync(join(root, page)));
  const read = pages.map((page) => readSamples(page, readFileSync(join(root, page), "utf8")));
  const findings = read.flatMap((page) => page.findings);
  for (const sample of read.flatMap(({ samples }) => samples)) {
    for (const name of unexplainedNames(sample)) {
      const message = `${name} is declared where no reader sees it: declare it in the sample, or say in a line of comment what it is`;
      findings.push({ file: sample.file, line: sample.line, message });
    }
  }
  const scratch = join(root, SCRATCH);
  rmSync(scratch, { recursive: true, force: true });
  mkdirSync(scratch, { recursive: true });
  const files = new Map<string, Sample>();
  for (const sample of read.flatMap(({ samples }) => samples).filter(({ mode }) => mode !== "skip")) {
    const name = `${sample.file.replaceAll(/[^\w]/g, "-")}-${sample.line}.${sample.language === "ts" ? "ts" : "mjs"}`;
    files.set(join(scratch, name), sample);
    writeFileSync(join(scratch, name), program(sample).text);
  }
  findings.push(...compile(root, files, setting));
  if (findings.length === 0) {
    const ran = [...files].filter(([, { mode }]) => mode === "run").map(([file, sample]) => run(root, sample, file));
    for (const finding of await Promise.all(ran)) if (finding !== undefined) findings.push(finding);
  }
  rmSync(scratch, { recursive: true, force: true });
  return findings;
}

function listPages(root: string, folder: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => `${folder}/${name.replaceAll("\\", "/")}`)
    .sort();
}

if (import.meta.main) {
  reportFindings(
    "samples",
    await checkSamples(rootFromArguments()),
    "every sample of the pages compiles, and does what it says",
  );
}
