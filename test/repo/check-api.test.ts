// Shares its realm with other files: nothing that it changes outlives it.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { apiReports, checkApi } from "../../scripts/check-api.ts";
import { readApi } from "../../scripts/lib/api.ts";
import { formatFinding } from "../../scripts/lib/findings.ts";
import { makeTree } from "./fixture.ts";

const MANIFEST = JSON.stringify({
  name: "fixture",
  type: "module",
  exports: {
    ".": { types: "./dist/index.d.ts", default: "./dist/index.js" },
    "./more": { types: "./dist/more.d.ts", default: "./dist/more.js" },
  },
});

const INDEX = `/** A pool. */
export declare class Pool {
    #private;
    private hidden;
    /** How many. */
    readonly count: number;
    take(options?: Options): Lease$1;
}
export interface Options { wait?: boolean }
import { Lease as Lease$1 } from "./more.js";
`;
const MORE = `export interface Lease { release(): void }
export { Pool } from "./index.js";
`;

function tree(changes: Record<string, string> = {}): string {
  return makeTree({ "package.json": MANIFEST, "dist/index.d.ts": INDEX, "dist/more.d.ts": MORE, ...changes });
}

function write(root: string): string {
  mkdirSync(join(root, "api"));
  for (const [name, text] of apiReports(readApi(root))) writeFileSync(join(root, "api", name), text);
  return root;
}

describe("the API report", () => {
  test("has every name with its declaration, without comments and private members, in the names that users have", () => {
    const reports = apiReports(readApi(tree()));
    expect([...reports.keys()]).toEqual(["fixture.md", "fixture.more.md"]);
    expect(reports.get("fixture.md")).toContain(
      "class Pool {\n  readonly count: number;\n  take(options?: Options): fixture.more.Lease;\n}",
    );
    expect(reports.get("fixture.more.md")).toContain("// Pool: see fixture");
  });

  test("is in order when it is what is built", () => {
    expect(checkApi(write(tree()))).toEqual([]);
  });

  test("is found wanting when a name was added, a type was changed, or an entry point went", () => {
    const root = write(tree());
    writeFileSync(join(root, "dist/index.d.ts"), INDEX.replace("count: number", "count: bigint"));
    writeFileSync(join(root, "dist/more.d.ts"), `${MORE}export declare const added: 1;\n`);
    writeFileSync(join(root, "api/fixture.gone.md"), "");
    expect(checkApi(root).map(formatFinding)).toEqual([
      "api/fixture.md:11: is not what is built: run npm run api, and look at the change",
      "api/fixture.more.md:3: is not what is built: run npm run api, and look at the change",
      "api/fixture.gone.md: is of no entry point",
    ]);
  });

  test("refuses a declaration that mentions what no entry point exports", () => {
    const root = write(
      tree({
        "dist/inner.d.ts": "export interface Seat { index: number }\nexport declare class Base {}\n",
        "dist/more.d.ts": `import { Base, Seat } from "./inner.js";
export interface Lease { readonly seat: Seat; readonly bytes: Uint8Array; each<T>(map: (seat: this) => T): T[] }
export declare class Slot extends Base {}
export { Pool } from "./index.js";
`,
      }),
    );
    expect(checkApi(root).map(({ message }) => message)).toEqual([
      "fixture/more Lease mentions Seat, which no entry point exports",
      "fixture/more Slot mentions Base, which no entry point exports",
    ]);
  });
});
