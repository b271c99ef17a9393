// Shares its realm with other files: nothing that it changes outlives it.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { checkClean } from "../../scripts/check-clean.ts";
import { largeFiles, sourceSizes } from "../../scripts/check-sizes.ts";
import { formatFinding } from "../../scripts/lib/findings.ts";
import { findSystemNode } from "../../scripts/lib/system-node.ts";
import { makeTree } from "./fixture.ts";

function tracked(files: Record<string, string>, registry?: string): string[] {
  const root = makeTree(files);
  execFileSync("git", ["init", "-q"], { cwd: root });
  execFileSync("git", ["add", "-f", "."], { cwd: root });
  // An untracked file is nobody's business but its owner's.
  writeFileSync(join(root, "untracked.txt"), machinePath);
  return checkClean(root, registry).map(formatFinding);
}

// Put together here, or this very file would be found.
const machinePath = ["", "home", "ann", "clip.mp4"].join("/");
const registryUrl = ["https://registry", "npmjs", "org", "x.tgz"].join(".");

describe("the size check", () => {
  test("points at a source file of more than 900 lines and no other", () => {
    const root = makeTree({
      "src/pools/long.ts": "//\n".repeat(901),
      "src/pools/full.ts": "//\n".repeat(900),
      "test/long.ts": "//\n".repeat(1200),
    });
    expect(largeFiles(root).map(formatFinding)).toEqual(["src/pools/long.ts: 901 lines: does it still hold one type?"]);
    expect(sourceSizes(root)).toContainEqual({ file: "src/pools/full.ts", lines: 900 });
  });
});

describe("the clean check", () => {
  test("passes relative paths, web addresses and system folders", () => {
    expect(
      tracked({
        "README.md": "see docs/guide.md, https://github.com/a/home/b, /dev/shm and /proc/self\n",
        "package-lock.json": '{\n  "version": "1.0.0"\n}\n',
      }),
    ).toEqual([]);
  });

  test.each([
    ["a path of one machine", `cp ${machinePath} out`],
    ["a quoted path of one machine", `const a = "${machinePath}";`],
    ["a file address of one machine", `file://${machinePath}`],
    ["a path of one Windows machine", ["C:", "Users", "ann"].join("\\")],
    ["a package registry", `see ${registryUrl}`],
    ["the configured registry", "npm ci from packages.example:4873 works"],
  ])("finds %s", (_, text) => {
    expect(tracked({ "a.md": `\n${text}\n` }, "http://packages.example:4873/")).toHaveLength(1);
    expect(tracked({ "a.md": `\n${text}\n` }, "http://packages.example:4873/")[0]).toMatch(/^a\.md:2: names /);
  });

  test("finds a download address in the lock", () => {
    const lock = JSON.stringify(
      { packages: { "node_modules/a": { resolved: "https://example.test/a.tgz" } } },
      null,
      2,
    );
    expect(tracked({ "package-lock.json": lock })).toHaveLength(1);
  });
});

describe("the search for the system's Node", () => {
  test("passes over every node in a node_modules folder", () => {
    const root = makeTree({
      "node_modules/.bin/node": "#!/bin/sh\necho v99.0.0\n",
      "bin/node": "#!/bin/sh\necho v20.1.2\n",
    });
    for (const file of ["node_modules/.bin/node", "bin/node"]) execFileSync("chmod", ["+x", join(root, file)]);
    mkdirSync(join(root, "empty"));
    const path = ["node_modules/.bin", "empty", "bin"].map((folder) => join(root, folder)).join(":");
    expect(findSystemNode(path)).toEqual({ path: join(root, "bin/node"), version: "v20.1.2", major: 20 });
    expect(findSystemNode(join(root, "node_modules/.bin"))).toBeUndefined();
  });
});
