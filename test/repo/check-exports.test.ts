// Shares its realm with other files: nothing that it changes outlives it.
import { describe, expect, test } from "vitest";
import { checkExports } from "../../scripts/check-exports.ts";
import { formatFinding } from "../../scripts/lib/findings.ts";
import { makeTree } from "./fixture.ts";

const MANIFEST = JSON.stringify({
  name: "pond",
  exports: { ".": { types: "./dist/index.d.ts", default: "./dist/index.js" } },
});

function findings(files: Record<string, string>): string[] {
  return checkExports(makeTree({ "package.json": MANIFEST, "src/index.ts": "", ...files })).map(formatFinding);
}

describe("the check of exports", () => {
  test("finds a value, a type and a class that only their own file uses, or nobody", () => {
    expect(
      findings({
        "src/a.ts":
          "export const used = 1;\nexport interface Own {}\nexport class Lost {}\nexport const one = 1, two = one;\nconst own: Own = {};",
        "src/b.ts": 'import { used } from "./a.ts";\nused;',
      }),
    ).toEqual([
      "src/a.ts:2: Own is exported, and no other file names it",
      "src/a.ts:3: Lost is exported, and no other file names it",
      "src/a.ts:4: one is exported, and no other file names it",
      "src/a.ts:4: two is exported, and no other file names it",
    ]);
  });

  test("passes what an entry point exports, also from another file, and what tests use under another name", () => {
    expect(
      findings({
        "src/index.ts": 'export { a, type B } from "./a.ts";\nexport const version = 1;',
        "src/a.ts": "export const a = 1;\nexport type B = number;\nexport function c() {}",
        "test/a.test.ts": 'import { c as called } from "../src/a.ts";\ncalled();',
      }),
    ).toEqual([]);
  });

  test("passes every name of a file that is taken whole: by a star, while the program runs, by URL, as a type", () => {
    expect(
      findings({
        "src/index.ts":
          'import * as a from "./a.ts";\na; import("./b.ts"); new URL("./c.ts", import.meta.url); let d: import("./d.ts").D; export * from "./e.ts";',
        ...Object.fromEntries(["a", "b", "c", "d", "e"].map((name) => [`src/${name}.ts`, "export const x = 1;"])),
      }),
    ).toEqual([]);
  });
});
