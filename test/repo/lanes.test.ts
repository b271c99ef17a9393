/** What test/helpers/effort.ts promises of the lanes, and vitest.config.ts of shared realms, held for every file. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { expect, test } from "vitest";

const TESTS = join(import.meta.dirname, "..");

/**
 * Lines on which a test repeats itself by `times(...)`, itself or by a constant of the file, and neither it nor a
 * describe around it is tagged.
 */
function untagged(text: string): number[] {
  const file = ts.createSourceFile("a.test.ts", text, ts.ScriptTarget.Latest, true);
  const scaled = new Set(["times"]);
  const found: number[] = [];
  const isTest = (call: ts.CallExpression): boolean => /^(it|test|describe)\b/.test(call.expression.getText());
  const visit = (node: ts.Node, tests: readonly ts.CallExpression[]): void => {
    if (ts.isVariableDeclaration(node) && tests.length === 0 && /\btimes\(/.test(node.initializer?.getText() ?? "")) {
      scaled.add(node.name.getText());
    }
    if (ts.isIdentifier(node) && scaled.has(node.text) && tests.length > 0) {
      const isTagged = tests.some((call) =>
        call.arguments.some((one) => /^(REPEATED|FULL)$|[?:] (REPEATED|FULL)\b/.test(one.getText())),
      );
      if (!isTagged) found.push(file.getLineAndCharacterOfPosition(node.getStart()).line + 1);
    }
    const inner = ts.isCallExpression(node) && isTest(node) ? [...tests, node] : tests;
    ts.forEachChild(node, (child) => visit(child, inner));
  };
  visit(file, []);
  return found;
}

test("every test that repeats itself less often in the fast lane is tagged, so that it runs again at full length", () => {
  const files = readdirSync(TESTS, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".test.ts"));
  const missing = files.flatMap((file) => {
    const text = readFileSync(join(TESTS, file), "utf8");
    return /helpers\/effort\.ts[\s\S]*\btimes\(/.test(text) ? untagged(text).map((line) => `${file}:${line}`) : [];
  });
  expect(missing).toEqual([]);
});

test("an untagged test is found, whether it says times() itself or by a constant of its file", () => {
  expect(untagged('it("a", () => { for (let i = 0; i < times(1, 2); i++); });')).toEqual([1]);
  expect(untagged('const N = times(1, 2);\nit("a", () => run(N));\nit("b", REPEATED, () => run(N));')).toEqual([2]);
  expect(untagged('describe("d", REPEATED, () => { it("a", () => run(times(1, 2))); });')).toEqual([]);
  expect(untagged('it("a", isMore ? FULL : {}, () => run(times(1, 2)));')).toEqual([]);
});

/** What changes the realm or the process for whoever runs in it later, or depends on what ran before. */
const OF_THE_REALM = new RegExp(
  [
    /\b(vi|Worker|worker_threads|FinalizationRegistry|WeakRef)\b/,
    // A child that is waited for on the spot has ended before anything else runs.
    /\b(spawn|fork|exec|execFile)\b[^}]*\} from "node:child_process"/,
    // But to read what there is of a name, which TypeScript wants said.
    /\bglobalThis\b(?! as unknown as)/,
    // A field of that name collects nothing.
    /\bgc\(|\("gc"|expose.gc|helpers\/heap/,
    /\bprocess\.(on|once|off|exit|chdir|emit|emitWarning|stdout|stderr|cwd|remove\w+)\b/,
    // But to ask what a variable says.
    /\bprocess\.env\b(?!\.\w+ ===)/,
    /\b(lateErrors|lateRejections|uncaughtErrors|setDebugLevel|setDefaultAllocator|offerConverters|MetaType)/,
    /(?<!\bfc\.)\brecord\(/,
    // But the inspector's page, and a stage's own method, also by its name.
    /\binspect(?!\/page\/|\(|")/,
    /\b(Allocator|Meta|allocators)\.\w*(register|add|set)/,
    /\brtm_|[dD]efault [pP]ool|[bB]udget|stackTraceLimit|prepareStackTrace/,
    /(assign|defineProperty)\(\w+\.prototype|\.prototype\.\w+ = /,
  ]
    .map(({ source }) => source)
    .join("|"),
);

test("a file that shares its realm with others leaves the realm, the process and the library's settings alone", () => {
  const files = readdirSync(TESTS, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".test.ts"));
  const shared = files.filter((file) => readFileSync(join(TESTS, file), "utf8").startsWith("// Shares its realm"));
  expect(shared.length).toBeGreaterThan(20);
  const found = shared.flatMap((file) => {
    const word = OF_THE_REALM.exec(readFileSync(join(TESTS, file), "utf8"))?.[0];
    return word === undefined ? [] : [`${file}: ${word}`];
  });
  expect(found).toEqual([]);
  for (const text of [
    "globalThis.x = 1",
    "setDebugLevel(2)",
    "Meta.register(a)",
    "process.env.A = b",
    "vi.spyOn(a)",
    "record({})",
    'import { execFileSync, spawn } from "node:child_process"',
  ])
    expect(text).toMatch(OF_THE_REALM);
});
