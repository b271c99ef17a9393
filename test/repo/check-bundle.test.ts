import { transformSync } from "rolldown/utils";
import { describe, expect, test } from "vitest";
import { bundledBytes, bundledParts, checkBundle } from "../../scripts/check-bundle.ts";
import { checkTypes } from "../../scripts/check-types.ts";
import { formatFinding } from "../../scripts/lib/findings.ts";
import { FULL } from "../helpers/effort.ts";
import { makeTree } from "./fixture.ts";

const noise = (bytes: number): string => {
  let state = 1;
  return Array.from({ length: bytes }, () => {
    state = (state * 48_271) % 2_147_483_647;
    return String.fromCharCode(97 + (state % 26));
  }).join("");
};

const TREE = {
  "package.json": JSON.stringify({
    name: "fixture",
    version: "1.0.0",
    type: "module",
    sideEffects: false,
    files: ["dist"],
    exports: { ".": { types: "./dist/index.d.ts", default: "./dist/index.js" } },
  }),
  "dist/index.js": 'export { small } from "./small.js";\nexport { large } from "./large.js";\n',
  "dist/small.js": "export const small = 1;\n",
  "dist/large.js": `export const large = "${noise(4000)}";\nconsole.log(large);\n`,
  "dist/index.d.ts": "export declare const small: number;\nexport declare const large: string;\n",
};

describe("the check of sizes", () => {
  test("counts what one name needs, and nothing that only its neighbors need", async () => {
    const index = `${makeTree(TREE)}/dist/index.js`;
    expect(await bundledBytes(index, "small")).toBeLessThan(100);
    expect(await bundledBytes(index, "large")).toBeGreaterThan(2000);
  });

  test("finds what is above its limit, and measures the tarball and the import", FULL, async () => {
    const { findings, measured } = await checkBundle(makeTree(TREE), [
      { entry: "fixture", name: "small", bytes: 100 },
      { entry: "fixture", name: "large", bytes: 100 },
    ]);
    expect(findings.map(formatFinding)).toEqual([
      expect.stringMatching(/^package\.json: \{ large \} from "fixture", brotli: \d\.\d kB, at most 0\.1$/),
    ]);
    expect(measured.join()).not.toContain("inspector.html");
    const tree = {
      ...TREE,
      "dist/inspector.html": "<script>%CODE%a();</script>",
      "dist/_inspector.js": `const a = "${noise(4000)}";\nexport{a as showServer};\n`,
    };
    const page = await checkBundle(makeTree(tree), [], 1000);
    expect(page.findings.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^dist\/inspector\.html with its script, brotli: \d\.\d kB, at most 1\.0$/),
    ]);
    expect(measured).toContainEqual(expect.stringMatching(/^an import of the package: 3 of \d+ files$/));
    expect(measured.some((line) => /^the package, unpacked: 4\.\d of \d+\.0 kB$/.test(line))).toBe(true);
  });
});

describe("the question where a bundle's bytes come from", () => {
  const SOURCES = {
    "src/index.ts": `import { type Used, large } from "./large.ts";
export const used = (): Used => \`${noise(50)}\${large()}\`;
export const unused = "${noise(900)}";
`,
    "src/large.ts": `export type Used = string;
export function large(): Used {
  return "${noise(3000)}";
}
export class Wide {
  method(): Used {
    return "${noise(700)}";
  }
}
`,
  };

  test("names each source file, what is kept of it and who imports it; the shares are the bundle", FULL, async () => {
    const built: Record<string, string> = { "package.json": TREE["package.json"], ...SOURCES };
    for (const [path, text] of Object.entries(SOURCES)) {
      const file = path.replace("src", "dist").replace(".ts", ".js");
      const { code, map } = transformSync(`../${path}`, text, { sourcemap: true });
      built[file] = code.replace("./large.ts", "./large.js");
      built[`${file}.map`] = JSON.stringify(map);
    }
    const root = makeTree(built);
    const index = `${root}/dist/index.js`;
    const parts = await bundledParts(root, index, "used");
    expect(parts.map(({ file }) => file)).toEqual(["src/large.ts", "src/index.ts"]);
    const [large, used] = parts;
    expect(large!.minified).toBeGreaterThan(3000);
    expect(large!.minified).toBeLessThan(3100);
    expect(large!.importers).toEqual([{ file: "src/index.ts", names: ["large"] }]);
    expect(large!.declarations.map(({ name }) => name)).toEqual(["large"]);
    expect(used!.declarations.map(({ name }) => name)).toEqual(["used"]);
    expect(Math.round(large!.brotli + used!.brotli)).toBe(await bundledBytes(index, "used"));
    const [wide] = await bundledParts(root, `${root}/dist/large.js`, "Wide");
    expect(wide!.declarations.map(({ name }) => name)).toContain("Wide.method");
  });
});

const ES2022 = { lib: ["es2022"], types: [], platform: false };

describe("the check of declarations", () => {
  test("refuses what ES2022 without a platform does not know", FULL, () => {
    const declare = (text: string): string[] =>
      checkTypes(makeTree({ ...TREE, "dist/index.d.ts": text }), [ES2022]).map(({ message }) => message);
    expect(declare(TREE["dist/index.d.ts"])).toEqual([]);
    expect(declare("export declare function wait(signal: AbortSignal): void;\n")).toEqual([
      "Cannot find name 'AbortSignal'. (with lib es2022)",
    ]);
    const dispose = "export declare class A {\n  [Symbol.dispose](): void;\n}\n";
    expect(declare(dispose)[0]).toContain("Property 'dispose' does not exist");
    expect(declare(dispose)[0]).toContain("with lib es2022");
  });
});
