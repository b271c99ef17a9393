// Shares its realm with other files: nothing that it changes outlives it.
import { describe, expect, it } from "vitest";
import { wrapComments } from "../../scripts/lib/wrap.ts";

const words = (count: number): string => Array.from({ length: count }, (_, i) => `word${i % 10}`).join(" ");
const widest = (text: string): number => Math.max(...text.split("\n").map((line) => line.length));
const plain = (text: string): string => text.replaceAll(/[\s*/]+/g, " ").trim();

describe("the wrapping of comments", () => {
  it.each([
    ["a docblock on one line", `/** ${words(30)} */\nconst a = 1;\n`],
    ["a docblock on several", `/**\n * ${words(30)}\n * ${words(3)}\n */\nconst a = 1;\n`],
    ["a line", `  // ${words(30)}\n  const a = 1;\n`],
    ["a comment at the end of a block", `{\n  a();\n  // ${words(30)}\n}\n`],
    ["a tag with a second line", `/**\n * @param a ${words(30)}\n *   ${words(2)}\n */\nconst a = 1;\n`],
  ])("fills %s, and loses no word", (_, text) => {
    const wrapped = wrapComments(text);
    expect(widest(wrapped)).toBeLessThanOrEqual(120);
    expect(plain(wrapped)).toBe(plain(text));
    expect(wrapComments(wrapped)).toBe(wrapped);
  });

  it("leaves code, strings, tables, diagrams, fences and what fits as they are", () => {
    for (const text of [
      `const a = "// ${words(30)}";\n`,
      `/**\n * short\n * lines\n */\nconst a = 1;\n`,
      `/**\n * | ${words(30)} |\n */\nconst a = 1;\n`,
      `/**\n * a    ->    b ${words(30)}\n */\nconst a = 1;\n`,
      `/**\n * \`\`\`ts\n * ${words(30)}\n * \`\`\`\n */\nconst a = 1;\n`,
      `const a = 1; // ${words(30)}\n`,
    ]) {
      expect(wrapComments(text)).toBe(text);
    }
  });

  it("keeps paragraphs and items apart", () => {
    const wrapped = wrapComments(`/**\n * First.\n *\n * - ${words(30)}\n * - second\n */\nconst a = 1;\n`);
    expect(wrapped).toMatch(/^\/\*\*\n \* First\.\n \*\n \* - word0[\s\S]*\n \* - second\n \*\/\n/);
  });
});
