// Shares its realm with other files: nothing that it changes outlives it.
import { describe, expect, test } from "vitest";
import { figuredPages, writeFigures } from "../../bench/lib/figures.ts";
import { checkErrorPage, checkFigures, checkLinks, checkPaths } from "../../scripts/check-docs.ts";
import { formatFinding } from "../../scripts/lib/findings.ts";
import { makeTree } from "./fixture.ts";

describe("the check of paths in the pages", () => {
  const paths = (text: string): string[] =>
    checkPaths(makeTree({ "docs/page.md": text, "docs/other.md": "", "src/pools/pool.ts": "", "README.md": "" }), [
      "docs/page.md",
    ]).map(formatFinding);

  test("passes files, folders, patterns, links and paths of other trees", () => {
    const text = [
      "`src/pools/pool.ts` is in src/pools/, as docs/other.md says.",
      "[other](other.md#part), [readme](../README.md), [web](https://example.test/src/gone.ts)",
      "`src/pools/*.ts`, `src/<layer>/`, `src/NAME.ts`, dist/src/gone.js, node_modules/x/src/gone.ts",
    ];
    expect(paths(text.join("\n"))).toEqual([]);
  });

  test.each([
    ["a file that is gone", "see `src/pools/gone.ts`.", "docs/page.md:1: src/pools/gone.ts does not exist"],
    ["a folder that is gone", "in src/gone/", "docs/page.md:1: src/gone/ does not exist"],
    ["a pattern in a folder that is gone", "\n`src/gone/*.ts`", "docs/page.md:2: src/gone/*.ts does not exist"],
    ["a link that leads nowhere", "[x](gone.md#part)", "docs/page.md:1: docs/gone.md does not exist"],
  ])("finds %s", (_, text, finding) => expect(paths(text)).toEqual([finding]));
});

describe("the check of links in the pages", () => {
  const links = (text: string): string[] =>
    checkLinks(
      makeTree({
        "package.json": JSON.stringify({ files: ["dist", "docs", "README.md"] }),
        "README.md": text,
        "docs/page.md": "# The page\n\n## `top`, and more\n\n```sh\n# no heading\n```\n",
        "examples/x.ts": "",
      }),
      ["README.md"],
    ).map(formatFinding);

  test("passes pages and headings of the package, and other sites", () => {
    const text = "[a](docs/page.md), [b](docs/page.md#top-and-more), [c](#own), [d](https://example.test/x#y)\n# Own";
    expect(links(text)).toEqual([]);
  });

  test.each([
    [
      "a file that an installed package does not have",
      "[x](examples/x.ts)",
      /^README\.md:1: examples\/x\.ts is not in/,
    ],
    ["a heading that is not there", "\n[x](docs/page.md#top)", /^README\.md:2: docs\/page\.md has no heading #top$/],
    ["a comment of a sample for a heading", "[x](docs/page.md#no-heading)", /has no heading #no-heading$/],
    ["a heading of the page itself that is not there", "[x](#gone)", /^README\.md:1: README\.md has no heading #gone$/],
  ])("finds %s", (_, text, finding) => expect(links(text)).toEqual([expect.stringMatching(finding)]));
});

describe("the check of the page of errors", () => {
  const codes = { ERR_A: "it is a", ERR_B: "it is b" };
  const row = (code: string, meaning: string, mend = "mend it"): string =>
    `| \`${code}\` | ${meaning} | a cause | ${mend} |`;
  const found = (...rows: string[]): string[] =>
    checkErrorPage(rows.join("\n"), codes).map(({ line, message }) => `${line}: ${message}`);

  test("passes a page that has each code with its meaning, its cause and its mend", () => {
    expect(found("# Errors", row("ERR_A", "it is a"), row("ERR_B", "it is b"))).toEqual([]);
  });

  test("finds a code that is missing, unknown, twice, of another meaning, or without a mend", () => {
    expect(
      found(row("ERR_A", "it was a"), row("ERR_A", "it is a"), row("ERR_C", "it is c"), row("ERR_A", "it is a", "")),
    ).toEqual([
      '1: ERR_A means "it is a", as src/util/errors.ts has it',
      "2: ERR_A is there twice",
      "3: ERR_C is no code of src/util/errors.ts",
      "4: ERR_A is there twice",
      "4: ERR_A has no cause, or no mend",
      "0: ERR_B of src/util/errors.ts is missing",
    ]);
  });
});

describe("the check of figures in the pages", () => {
  const subject = {
    kind: "ours",
    p999: 91.2,
    rss: 2 ** 20 * 64,
    nsSpread: [1, 2],
    gc: null,
    gcMajor: null,
    cores: null,
  };
  const results = [
    { ...subject, name: "millpond BufferPool, lease", ns: 14.18, runtime: "node", library: null, note: null },
    { ...subject, name: "GstBufferPool", ns: 132_543, runtime: "C", library: null, note: null },
  ];
  const report = { suite: "frame", results, goals: [], skipped: [], machine: {}, load: { before: [] }, date: "" };
  const tree = (text: string): string =>
    makeTree({ "README.md": text, "docs/page.md": "", "bench/results/frame.json": JSON.stringify(report) });
  const mark = (name: string): string => `<!-- figure: ${name} -->`;

  test("finds a figure that is not the measured one, and npm run figures writes it", () => {
    const root = tree(`costs\n${mark("frame.bufferpool-lease.ns")}13 ns, 9.`);
    expect(checkFigures(root).map(formatFinding)).toEqual([
      "README.md:2: a figure is not that of bench/results: npm run figures writes it",
    ]);
    writeFigures(root);
    expect(figuredPages(root)[0]!.before).toBe(`costs\n${mark("frame.bufferpool-lease.ns")}14.2 ns, 9.`);
    expect(checkFigures(root)).toEqual([]);
  });

  test("writes times in the unit that suits them, memory in MiB and quotients as numbers", () => {
    const marks = ["frame.gstbufferpool.ns", "frame.bufferpool-lease.p999", "frame.bufferpool-lease.rss"].map(mark);
    const root = tree(`${marks.join("\n")}\n${mark("frame.gstbufferpool.ns / frame.bufferpool-lease.ns")} times`);
    writeFigures(root);
    const figures = figuredPages(root)[0]!.before.replaceAll(/<!--.*?-->/g, "");
    expect(figures.split("\n")).toEqual(["133 us", "91.2 ns", "64 MiB", "9,347 times"]);
  });

  test("finds a mark that names nothing, and leaves it alone", () => {
    const root = tree(`\n\n${mark("frame.bufferpol.ns")}13 ns`);
    expect(checkFigures(root).map(formatFinding)).toEqual([
      'README.md:3: figure: "frame.bufferpol.ns" is not in bench/results',
    ]);
  });
});
