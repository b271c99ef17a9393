// Shares its realm with other files: nothing that it changes outlives it.
import { rolldown } from "rolldown";
import { expect, test } from "vitest";
import { inlineTables } from "../../scripts/lib/inline-tables.ts";
import { makeTree } from "./fixture.ts";

async function built(files: Readonly<Record<string, string>>): Promise<string> {
  const root = makeTree(files);
  const bundle = await rolldown({ input: `${root}/src/index.ts`, plugins: [inlineTables(`${root}/src`)] });
  const { output } = await bundle.generate({ format: "esm" });
  await bundle.close();
  return output[0].code.replaceAll(/^\/\/.*\n/gm, "");
}

test("a member of a table of numbers is built as its number, wherever the table is", async () => {
  const code = await built({
    "src/words.ts": "export const Word = { /** Ü */ STATE: 16, LOST: -1, BIT: 1 << 3 } as const;\n",
    "src/index.ts": `import { Word as W } from "./words.ts";
const Own = { ZERO: 0 } as const;
type Zero = typeof Own.ZERO;
// ümlaut
export const read = (words: number[], zero: Zero): unknown[] => [
  zero - W.LOST, words[W.STATE], W.BIT.toFixed(1), \`\${W
    .STATE} of W.STATE\`, Own.ZERO, "ü W.STATE",
];
`,
  });
  expect(code).not.toMatch(/LOST|BIT|ZERO/);
  const { read } = (await import(`data:text/javascript,${encodeURIComponent(code)}`)) as {
    read: (words: number[], zero: number) => unknown[];
  };
  expect(read(Object.assign([], { 16: "there" }), 5)).toEqual([6, "there", "8.0", "16 of W.STATE", 0, "ü W.STATE"]);
});

test("what is no table, or is written to, is left as it is", async () => {
  const code = await built({
    "src/index.ts": `const Changing = { STATE: 1 };
const Text = { NAME: "a" } as const;
const Words = { STATE: 2 } as const;
export const all = (): unknown[] => [Changing.STATE++, Text.NAME, Object.keys(Words), Words["STATE"]];
`,
  });
  expect(code).toContain("Changing.STATE++");
  expect(code).toContain("Text.NAME");
  expect(code).toContain("Object.keys(Words)");
});

test("a file that uses the name of a table for something else too is not built", async () => {
  for (const again of [
    "(Word: { STATE: number }) => Word.STATE",
    "() => { const { a: Word } = x; return Word.STATE; }",
  ]) {
    const files = {
      "src/index.ts": `const Word = { STATE: 16 } as const;\nexport const x: any = Word.STATE;\nexport const y = ${again};\n`,
    };
    await expect(built(files)).rejects.toThrow("declares Word again");
  }
});
