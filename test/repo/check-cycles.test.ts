// Shares its realm with other files: nothing that it changes outlives it.
import { describe, expect, test } from "vitest";
import { checkCycles } from "../../scripts/check-cycles.ts";
import { formatFinding } from "../../scripts/lib/findings.ts";
import { makeTree } from "./fixture.ts";

function findings(files: Record<string, string>): string[] {
  return checkCycles(makeTree(files)).map(formatFinding);
}

describe("the check of import circles", () => {
  test("passes a tree, and types that know each other inside one folder", () => {
    expect(
      findings({
        "src/index.ts": 'export { a } from "./pools/a.ts";',
        "src/pools/a.ts": 'import { b } from "./b.ts";\nexport const a = b;',
        "src/pools/b.ts": 'import type { a } from "./a.ts";\nexport const b = 1 as typeof a;',
      }),
    ).toEqual([]);
  });

  test("finds a circle at run time, in one folder and across folders, and shows its shortest way", () => {
    expect(
      findings({
        "src/pools/a.ts": 'import "./b.ts";',
        "src/pools/b.ts": '\nexport { c } from "../media/c.ts";\nimport "./a.ts";',
        "src/media/c.ts": 'import { b } from "../pools/b.ts";\nexport const c = 1;',
      }),
    ).toEqual(["src/media/c.ts:1: 3 files need each other to load: media/c.ts -> pools/b.ts -> media/c.ts"]);
  });

  test("finds a circle that types close across folders", () => {
    expect(
      findings({
        "src/pools/a.ts": 'import type { C } from "../media/c.ts";\nexport type A = C;',
        "src/media/c.ts": 'import { type A } from "../pools/a.ts";\nexport type C = A;',
      })[0],
    ).toContain("media/c.ts -> pools/a.ts -> media/c.ts");
    expect(
      findings({
        "src/pools/a.ts": 'import type { C } from "../media/c.ts";\nexport type A = C;',
        "src/media/c.ts": 'export type C = import("../pools/a.ts").A;',
      }),
    ).toEqual([
      "src/media/c.ts:1: 2 files know each other's types across folders: media/c.ts -> pools/a.ts -> media/c.ts",
    ]);
  });

  test("lets a file import what it needs while it runs", () => {
    expect(
      findings({
        "src/a.ts": 'export const later = () => import("./b.ts");',
        "src/b.ts": 'import { later } from "./a.ts";\nexport const b = later;',
      }),
    ).toEqual([]);
  });
});
