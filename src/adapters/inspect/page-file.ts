/** The page that is served: one file that the build makes. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Page } from "./requests.ts";

/** The built file lies beside the built code; from the sources it is in dist/. */
function pagePath(): string {
  const self = fileURLToPath(import.meta.url);
  return join(dirname(self), self.endsWith(".ts") ? "../../../dist" : ".", "inspector.html");
}

const ABSENT = `<!doctype html><html lang="en"><meta charset="utf-8"><title>millpond</title>
<p>The page is not built: dist/inspector.html is missing. Run <code>npm run build</code>, or use <code>millpond top</code>.</p>
`;

let page: Page | undefined;

/** Reads it once. */
export function readPage(path: string = pagePath()): Page {
  if (page !== undefined && path === pagePath()) return page;
  let html: string;
  try {
    html = readFileSync(path, "utf8");
  } catch {
    return { html: ABSENT, scripts: [] };
  }
  const scripts = [...html.matchAll(/<script\b[^>]*>([\s\S]*?)<\/script>/gi)].map(([, code]) => {
    return `sha256-${createHash("sha256").update(code!).digest("base64")}`;
  });
  page = { html, scripts };
  return page;
}
