/**
 * Runs a page against the built package in headless Chromium and gives back what it wrote; for tests in a real browser.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const TYPES: Readonly<Record<string, string>> = {
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".html": "text/html",
};

/** Where Debian, and others, put it. */
export const chromium: string | undefined = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/google-chrome"].find(
  (path) => path !== undefined && existsSync(path),
);

// A software adapter, so that WebGPU exists on machines without a GPU; nothing is asked of the network.
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-dev-shm-usage",
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-features=Vulkan",
  // An AudioContext runs without a click, into a sink of its own where there is no sound card.
  "--autoplay-policy=no-user-gesture-required",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/**
 * Serves `dist`, `examples`, the package mediabunny and a page with this module script (isolated, so that
 * SharedArrayBuffer exists); resolves with what it posts to /result.
 *
 * @param more further flags, and a reader of what the browser prints
 */
export async function runInChromium(
  script: string,
  timeoutMs = 100_000,
  more: { readonly flags?: readonly string[]; readonly onOutput?: (text: string) => void } = {},
): Promise<unknown> {
  const profile = mkdtempSync(join(tmpdir(), "millpond-chromium-"));
  let done: (result: unknown) => void = () => {};
  const result = new Promise<unknown>((resolve) => {
    done = resolve;
  });
  const page = `<!doctype html><script type="module">
    const send = (value) => fetch("/result", { method: "POST", body: JSON.stringify(value) });
    try { ${script} } catch (error) { send({ error: String(error?.stack ?? error) }); }
  </script>`;
  const server = createServer(async (request, response) => {
    const headers = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
    const path = normalize(decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname));
    if (request.method === "POST") {
      let body = "";
      for await (const chunk of request) body += chunk;
      response.writeHead(204, headers).end();
      done(JSON.parse(body));
    } else if (path === "/") {
      response.writeHead(200, { ...headers, "content-type": "text/html" }).end(page);
    } else {
      const file = /^\/(dist|examples|node_modules\/mediabunny)\//.test(path)
        ? await readFile(join(ROOT, path)).catch(() => undefined)
        : undefined;
      response
        .writeHead(file === undefined ? 404 : 200, { ...headers, "content-type": TYPES[extname(path)] ?? "text/plain" })
        .end(file);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const flags = [...FLAGS, ...(more.flags ?? []), `--user-data-dir=${profile}`];
  const output = more.onOutput === undefined ? "ignore" : "pipe";
  const browser = spawn(chromium!, [...flags, `http://127.0.0.1:${port}/`], { stdio: ["ignore", output, "ignore"] });
  browser.stdout?.setEncoding("utf8").on("data", more.onOutput!);
  const timer = setTimeout(() => done({ error: `the page said nothing within ${timeoutMs} ms` }), timeoutMs);
  try {
    return await result;
  } finally {
    clearTimeout(timer);
    const ended = new Promise((resolve) => browser.once("exit", resolve));
    browser.kill("SIGKILL");
    await ended;
    server.closeAllConnections();
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
