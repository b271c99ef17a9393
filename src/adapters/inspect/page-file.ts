/**
 * The page that is served: one document, put together from what the build makes, a frame and the module that
 * `mountInspector()` imports too. The package has that module, most of it the graphs' library, once.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Page } from "./requests.ts";

/** The built files lie beside the built code; from the sources they are in dist/. */
function builtFolder(): string {
  const self = fileURLToPath(import.meta.url);
  return join(dirname(self), self.endsWith(".ts") ? "../../../dist" : ".");
}

const ABSENT = `<!doctype html><html lang="en"><meta charset="utf-8"><title>millpond</title>
<p>The page is not built: dist/inspector.html is missing. Run <code>npm run build</code>, or use <code>millpond top</code>.</p>
`;

let page: Page | undefined;

/** Reads it once. */
export function readPage(folder: string = builtFolder()): Page {
  if (page !== undefined && folder === builtFolder()) return page;
  let frame: string;
  let module: string;
  try {
    frame = readFileSync(join(folder, "inspector.html"), "utf8");
    module = readFileSync(join(folder, "_inspector.js"), "utf8");
  } catch {
    return { html: ABSENT, scripts: [] };
  }
  // Its last line is what it exports; the frame calls the one function itself.
  const code = module.slice(0, module.lastIndexOf("\nexport{") + 1);
  let html = frame.replace("%CODE%", () => code);
  const scripts = [...html.matchAll(/<script\b[^>]*>([\s\S]*?)<\/script>/gi)].map(([, script]) => {
    return `sha256-${createHash("sha256").update(script!).digest("base64")}`;
  });
  html = html.replace("%SCRIPT%", scripts.join("' '"));
  page = { html, scripts };
  return page;
}
