import { describe, expect, test } from "vitest";
import { checkLayers, LAYERS } from "../../scripts/check-layers.ts";
import { formatFinding } from "../../scripts/lib/findings.ts";
import { makeTree } from "./fixture.ts";

function findings(files: Record<string, string>): string[] {
  return checkLayers(makeTree(files)).map(formatFinding);
}

describe("the layer check", () => {
  test("passes imports that point down or stay in their layer", () => {
    expect(
      findings({
        "src/index.ts": 'export { pool } from "./pools/pool.ts";\n',
        "src/pools/pool.ts": 'import { x } from "../memory/x.ts";\nimport { y } from "./y.ts";\n',
        "src/pipeline/elements/scale.ts": 'import { pool } from "../../pools/pool.ts";\nimport "../element.ts";\n',
        "src/os/linux.ts": 'import { open } from "node:fs";\nconst koffi = await import("koffi");\n',
        "src/adapters/mediabunny.ts": 'import { Input } from "mediabunny";\nimport { x } from "../memory/x.ts";\n',
      }),
    ).toEqual([]);
  });

  test("refuses each layer an import of the one above it", () => {
    for (let below = 1; below < LAYERS.length; below++) {
      const [upper, lower] = [LAYERS[below - 1], LAYERS[below]];
      expect(findings({ [`src/${lower}/a.ts`]: `import { b } from "../${upper}/b.ts";\n` })).toEqual([
        `src/${lower}/a.ts:1: "../${upper}/b.ts" points up: ${lower} is below ${upper}`,
      ]);
    }
  });

  test.each([
    ["a re-export", 'export * from "../pools/b.ts";'],
    ["a type import", 'import type { B } from "../pools/b.ts";'],
    ["an import() type", 'export type B = import("../pools/b.ts").B;'],
    ["a lazy import", 'export const b = () => import("../pools/b.ts");'],
    ["a require", 'const b = require("../pools/b.ts");'],
  ])("sees an import that points up through %s, and says where", (_, line) => {
    expect(findings({ "src/memory/a.ts": `\n${line}\n` })).toEqual([
      'src/memory/a.ts:2: "../pools/b.ts" points up: memory is below pools',
    ]);
  });

  test("lets a buffer name the type of its pool, and nothing else of it", () => {
    const file = "src/media/buffer/media-buffer.ts";
    expect(findings({ [file]: 'import type { BufferPool } from "../../pools/buffer/buffer-pool.ts";\n' })).toEqual([]);
    for (const line of [
      'import { BufferPool } from "../../pools/buffer/buffer-pool.ts";',
      'import type { SlotStore } from "../../pools/buffer/slots.ts";',
    ])
      expect(findings({ [file]: line })[0]).toMatch(/points up: media is below pools/);
  });

  test("is not fooled by an import in a comment or a string", () => {
    expect(
      findings({ "src/memory/a.ts": '// import "../pools/b.ts"\nexport const s = \'import "node:fs"\';\n' }),
    ).toEqual([]);
  });

  test.each([
    ["node:fs", 'import { readFileSync } from "node:fs";'],
    ["fs", 'import { readFileSync } from "fs";'],
    ["fs/promises", 'const fs = await import("fs/promises");'],
    ["fs", 'const fs = process.getBuiltinModule("fs");'],
  ])("refuses the Node builtin %s outside the platform layers", (name, line) => {
    expect(findings({ "src/pools/a.ts": line })).toEqual([
      `src/pools/a.ts:1: "${name}" is a Node builtin; only cli, adapters, os may import one`,
    ]);
    expect(findings({ "src/os/a.ts": line })).toEqual([]);
  });

  test("lets pools between processes know Node, and the core know nothing of them", () => {
    expect(findings({ "src/pools/process/a.ts": 'import { fork } from "node:child_process";' })).toEqual([]);
    expect(findings({ "src/adapters/a.ts": 'import { b } from "../pools/process/b.ts";' })).toEqual([]);
    expect(findings({ "src/pools/shared/a.ts": 'import { b } from "../process/b.ts";' })).toHaveLength(1);
  });

  test("refuses a package in the core, even its types, and a static one in os", () => {
    expect(findings({ "src/media/a.ts": 'import type { Input } from "mediabunny";' })).toHaveLength(1);
    expect(findings({ "src/allocators/a.ts": 'const koffi = await import("koffi");' })).toHaveLength(1);
    expect(findings({ "src/os/a.ts": 'import koffi from "koffi";' })).toHaveLength(1);
    expect(findings({ "src/os/a.ts": 'import type { Lib } from "koffi";' })).toEqual([]);
  });

  test("refuses an entry point that imports the command, a layer that imports an entry point, and a way out of src", () => {
    expect(findings({ "src/index.ts": 'import "./cli/main.ts";' })).toHaveLength(1);
    expect(findings({ "src/pools/a.ts": 'import "../index.ts";' })).toHaveLength(1);
    expect(findings({ "src/pools/a.ts": 'import "../../bench/run.ts";' })).toHaveLength(1);
    expect(findings({ "src/helpers/a.ts": "export {};" })).toHaveLength(1);
  });
});
