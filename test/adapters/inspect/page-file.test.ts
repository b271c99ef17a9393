import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { readPage } from "../../../src/adapters/inspect/page-file.ts";

function folderWith(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), "millpond-page-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

test("the served document has the module's code without its exports, starts it, and allows that script only", () => {
  // What replace() would take for a reference, and a second export that is text.
  const code = 'const a = "$& $1 %SCRIPT%";\nconst b = "\\nexport{";\n';
  const folder = folderWith({
    "inspector.html": `<meta content="script-src '%SCRIPT%'"><script type="module">%CODE%a();</script>`,
    "_inspector.js": `${code}export{a as showServer};\n`,
  });
  const script = `${code}a();`;
  const hash = `sha256-${createHash("sha256").update(script).digest("base64")}`;
  expect(readPage(folder)).toEqual({
    html: `<meta content="script-src '${hash}'"><script type="module">${script}</script>`,
    scripts: [hash],
  });
});

test("without one of the two built files the page says that it is not built, and allows no script", () => {
  const files = { "inspector.html": "<script>%CODE%</script>", "_inspector.js": "\nexport{a as showServer};\n" };
  for (const [name, text] of Object.entries(files)) {
    const { html, scripts } = readPage(folderWith({ [name]: text }));
    expect([String(html).includes("npm run build"), scripts]).toEqual([true, []]);
  }
});
