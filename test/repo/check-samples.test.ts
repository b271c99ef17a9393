// Shares its realm with other files: nothing that it changes outlives it.
import { describe, expect, test } from "vitest";
import { checkSamples, readSamples } from "../../scripts/check-samples.ts";
import { formatFinding } from "../../scripts/lib/findings.ts";
import { FULL } from "../helpers/effort.ts";
import { makeTree } from "./fixture.ts";

const PACKAGE = {
  "package.json": JSON.stringify({
    name: "fixture",
    type: "module",
    exports: { ".": { types: "./dist/index.d.ts", default: "./dist/index.js" } },
  }),
  "dist/index.d.ts": "export declare function refuse(why: string): never;\nexport declare const answer: number;\n",
  "dist/index.js":
    'export const answer = 42;\nexport function refuse(why) {\n  throw Object.assign(new Error("no: " + why + " [ERR_NO]"), { code: "ERR_NO" });\n}\n',
};

const ES2022 = { lib: ["es2022"], types: [], platform: false };

async function findings(page: string): Promise<string[]> {
  return (await checkSamples(makeTree({ ...PACKAGE, "docs/guide.md": page }), ES2022)).map((finding) =>
    formatFinding(finding).slice(0, 200),
  );
}

const fence = (code: string, mark = ""): string => `# Guide\n\n${mark}\`\`\`ts\n${code}\n\`\`\`\n`;

describe("the check of samples", FULL, () => {
  test("finds what does not compile, at its line of the page, and takes what the mark puts before it", async () => {
    const code = '// use(): yours\nimport { answer } from "fixture";\nconst text: string = answer;\nuse(answer);';
    expect(await findings(fence(code))).toEqual([
      "docs/guide.md:6: Type 'number' is not assignable to type 'string'.",
      "docs/guide.md:7: Cannot find name 'use'.",
    ]);
    const mark = "<!-- sample\ndeclare function use(value: number): void;\n-->\n";
    expect(await findings(fence(code.replace("string", "number"), mark))).toEqual([]);
    expect(await findings(fence(code, mark))).toEqual([
      "docs/guide.md:9: Type 'number' is not assignable to type 'string'.",
    ]);
  });

  test("runs what says so, and holds its comments to what happens", async () => {
    const run = (promise: string): Promise<string[]> =>
      findings(fence(`import { answer, refuse } from "fixture";\n${promise}`, "<!-- sample: run -->\n"));
    expect(
      await run(
        'answer;  // 42\nrefuse("late");  // no: ... [ERR_NO]\nrefuse("late");  // ERR_NO: always\nanswer;  // a comment',
      ),
    ).toEqual([]);
  });

  test.each([
    "answer;  // 43",
    'refuse("late");  // yes: ... [ERR_NO]',
    'refuse("late");  // ERR_YES',
    "answer;  // ERR_NO",
  ])("finds a promise that is not kept: %s", async (wrong) => {
    expect(
      await findings(fence(`import { answer, refuse } from "fixture";\n${wrong}`, "<!-- sample: run -->\n")),
    ).toEqual([expect.stringMatching(/^docs\/guide\.md:5: this sample does not do what it says/)]);
  });

  test("runs a statement that is a comment with its error, and goes on behind it as readers do", async () => {
    const run = (code: string): Promise<string[]> =>
      findings(fence(`import { answer, refuse } from "fixture";\n${code}`, "<!-- sample: run -->\n"));
    expect(
      await run('// refuse("late");  // no: late [ERR_NO]\nanswer; // 42\n// answer would be 43; // not said'),
    ).toEqual([]);
    expect(await run("// answer;  // ERR_NO")).toEqual([
      expect.stringMatching(/^docs\/guide\.md:5: this sample does not do what it says/),
    ]);
  });

  test("finds a name that a sample takes from its mark, unless a comment says what it is", async () => {
    const mark =
      'import { answer } from "fixture";\nconst [first, { last }] = [1, { last: 2 }];\nfunction use(_: number) {}';
    const names = (code: string): Promise<string[]> => findings(fence(code, `<!-- sample\n${mark}\n-->\n`));
    const hidden = (name: string): unknown =>
      expect.stringContaining(`docs/guide.md:9: ${name} is declared where no reader sees it`);
    expect(await names("use(answer + first + last);")).toEqual(["answer", "first", "last", "use"].map(hidden));
    expect(await names("// answer, first, last: numbers; use(): yours\nuse(answer + first + last);")).toEqual([]);
    expect(await names("const object = { use: 1 };\nobject.use; // use: a property")).toEqual([]);
  });

  test("leaves out what cannot compile, and wants a reason and a fence for it", () => {
    expect(
      readSamples("a.md", fence("class A {", "<!-- sample: skip: a piece of a class -->\n")).samples[0]?.mode,
    ).toBe("skip");
    expect(readSamples("a.md", fence("class A {", "<!-- sample: skip -->\n")).findings).toHaveLength(1);
    expect(readSamples("a.md", "<!-- sample: run -->\n\ntext\n").findings).toHaveLength(1);
    expect(readSamples("a.md", "```sh\nnpm ci\n```\n").samples).toEqual([]);
  });
});
