import { describe, expect, test } from "vitest";
import { checkPackage } from "../../scripts/check-package.ts";
import { formatFinding } from "../../scripts/lib/findings.ts";
import { FULL } from "../helpers/effort.ts";
import { makeTree } from "./fixture.ts";

const GOOD = {
  "package.json": JSON.stringify({
    name: "fixture",
    version: "1.0.0",
    license: "MIT",
    type: "module",
    files: ["dist"],
    exports: { ".": { types: "./dist/index.d.ts", default: "./dist/index.js" } },
  }),
  "dist/index.js": "export const answer = 42;\n",
  "dist/index.d.ts": "export declare const answer: 42;\n",
};

function findings(changes: Record<string, string>): string[] {
  return checkPackage(makeTree({ ...GOOD, ...changes })).map(formatFinding);
}

describe("the package check", () => {
  test("passes a well-formed ESM package", FULL, () => {
    expect(findings({})).toEqual([]);
  });

  test("says at once what is not built", () => {
    const manifest = { ...JSON.parse(GOOD["package.json"]), bin: { fixture: "./dist/cli/main.js" } };
    expect(findings({ "package.json": JSON.stringify(manifest) })).toEqual([
      "package.json: names dist/cli/main.js, which does not exist: run npm run build, or mend the manifest",
    ]);
  });

  test(
    "finds a promised file that the tarball leaves out, what Node 20 cannot parse, and what resolves only here",
    FULL,
    () => {
      const manifest = { ...JSON.parse(GOOD["package.json"]), files: ["dist/*.js"] };
      // One tarball for all three: what it takes to look at one is two tools and npm.
      const found = findings({
        "package.json": JSON.stringify(manifest),
        "dist/index.js": 'import "./a.ts";\nexport const answer = 42;\n{\n  using a = globalThis.x;\n}\n',
        "dist/a.ts": "",
      });
      expect(found.slice(0, 3)).toEqual([
        "package.json: names dist/index.d.ts, which the tarball does not carry",
        'dist/index.js:1: imports "./a.ts"',
        "dist/index.js:4: ships `using`, which Node 20 cannot parse",
      ]);
    },
  );

  test("passes on what attw finds: types that import a file that is not there", FULL, () => {
    const found = findings({ "dist/index.d.ts": 'export { answer } from "./nowhere.js";\n' });
    expect(found.join("\n")).toContain("attw: exit 1");
  });

  test("passes on what publint finds: CommonJS in an ESM package", FULL, () => {
    const found = findings({ "dist/index.js": "exports.answer = require('./answer').answer;\n" });
    expect(found.join("\n")).toContain("publint: exit 1");
  });
});
