/**
 * The API report: api/ has a file for each entry point with every name that it exports and its declaration, made from
 * the built declarations. A change of what users see is a change of these files, and is seen in review. `--write` makes
 * them anew. A declaration may mention only what some entry point exports: a user can name every type that he meets.
 * Needs a built dist/.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { type Api, type ApiName, hiddenNames, readApi } from "./lib/api.ts";
import { type Finding, reportFindings } from "./lib/findings.ts";
import { rootFromArguments } from "./lib/source-tree.ts";

const FOLDER = "api";

/** Where the report of an entry point is: `api/millpond.shared.md`. */
function reportFile(entry: string): string {
  return `${entry.replaceAll("/", ".")}.md`;
}

/** The report of each entry point, by file name. */
export function apiReports(api: Api): Map<string, string> {
  // A name that several entry points export is printed by the first of them.
  const firstExports = new Map<ts.Symbol, { readonly entry: string; readonly name: string }>();
  for (const { entry, names } of api.entries) {
    for (const { name, symbol } of names)
      if (!firstExports.has(symbol)) firstExports.set(symbol, { entry: entry.name, name });
  }
  return new Map(
    api.entries.map(({ entry, names }) => {
      const values = names.filter(({ isValue }) => isValue).length;
      const parts = names.map((name) => {
        const first = firstExports.get(name.symbol)!;
        if (first.entry !== entry.name) return `// ${name.name}: see ${first.entry}`;
        return printName(api, name, (symbol) => {
          const at = firstExports.get(symbol);
          return at === undefined || at.entry === entry.name ? at?.name : `${at.entry.replaceAll("/", ".")}.${at.name}`;
        });
      });
      const head = `# ${entry.name}\n\n${names.length} names, ${values} of them at run time. \`npm run api\` writes this file.\n`;
      return [reportFile(entry.name), `${head}\n\`\`\`ts\n${parts.join("\n\n")}\n\`\`\`\n`];
    }),
  );
}

function printName(
  { checker }: Api,
  { name, declarations }: ApiName,
  nameOf: (symbol: ts.Symbol) => string | undefined,
): string {
  const printer = ts.createPrinter({ removeComments: true });
  return declarations
    .map((declaration) => {
      // `const` and its keyword are two nodes above the name.
      const statement = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
      const { transformed } = ts.transform(statement, [
        (context) => (root) => {
          const visit = (node: ts.Node): ts.Node | undefined => {
            if (ts.isClassElement(node) && isHidden(node)) return undefined;
            // The bundler's name for one of two that are called the same: the name that users have for it.
            if (ts.isIdentifier(node) && /\$\d+$/.test(node.text)) {
              const symbol = checker.getSymbolAtLocation(node);
              const target = symbol && symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
              return ts.factory.createIdentifier((target && nameOf(target)) ?? node.text.replace(/\$\d+$/, ""));
            }
            return ts.visitEachChild(node, visit, context);
          };
          return visit(root) as typeof root;
        },
      ]);
      const text = printer.printNode(ts.EmitHint.Unspecified, transformed[0]!, declaration.getSourceFile());
      return text.replace(/^(?:export )?(?:declare )?/, "").replaceAll(/^ {4}/gm, "  ");
    })
    .map((text) => (text.includes(name) ? text : `/* ${name} */ ${text}`))
    .join("\n");
}

function isHidden(member: ts.ClassElement): boolean {
  if (member.name !== undefined && ts.isPrivateIdentifier(member.name)) return true;
  return (ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Private) !== 0;
}

/** What the committed report and the built declarations disagree about, and what users meet without a name. */
export function checkApi(root: string): Finding[] {
  const api = readApi(root);
  const findings: Finding[] = hiddenNames(api).map(({ name, by, file, line }) => ({
    file,
    line,
    message: `${by} mentions ${name}, which no entry point exports`,
  }));
  const reports = apiReports(api);
  for (const [name, text] of reports) {
    const file = `${FOLDER}/${name}`;
    const line = firstDifference(existsSync(join(root, file)) ? readFileSync(join(root, file), "utf8") : "", text);
    if (line > 0)
      findings.push({ file, line, message: "is not what is built: run npm run api, and look at the change" });
  }
  for (const name of existsSync(join(root, FOLDER)) ? readdirSync(join(root, FOLDER)) : []) {
    if (!reports.has(name)) findings.push({ file: `${FOLDER}/${name}`, line: 0, message: "is of no entry point" });
  }
  return findings;
}

/** The first line that two texts differ in, from 1; 0 when they are the same. */
function firstDifference(before: string, after: string): number {
  if (before === after) return 0;
  const [old, now] = [before.split("\n"), after.split("\n")];
  const line = now.findIndex((text, index) => text !== old[index]);
  return (line < 0 ? now.length : line) + 1;
}

function writeReports(root: string): void {
  rmSync(join(root, FOLDER), { recursive: true, force: true });
  mkdirSync(join(root, FOLDER));
  for (const [name, text] of apiReports(readApi(root))) writeFileSync(join(root, FOLDER, name), text);
}

if (import.meta.main) {
  const root = rootFromArguments();
  if (process.argv.includes("--write")) writeReports(root);
  reportFindings("api", checkApi(root), "the API report is what is built, and every type in it has a name");
}
