/**
 * Runs a page against the built package in headless Chromium and gives back what it wrote; for tests in a real browser.
 * All test files share one browser, since its start costs as much as ten pages: {@link setup} runs once a test run,
 * before the files, and starts the browser when the first page asks for it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { inject } from "vitest";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  interface ProvidedContext {
    /** Answers with the address of the shared browser's debugger, which it starts. */
    readonly chromium: string;
  }
}

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

/** A browser with a profile of its own. */
interface Running {
  readonly child: ChildProcess;
  readonly end: () => Promise<void>;
}

function startChromium(more: readonly string[], output: "stdout" | "stderr" | undefined): Running {
  const profile = mkdtempSync(join(tmpdir(), "millpond-chromium-"));
  const stdio = ["ignore", output === "stdout" ? "pipe" : "ignore", output === "stderr" ? "pipe" : "ignore"] as const;
  const child = spawn(chromium!, [...FLAGS, `--user-data-dir=${profile}`, ...more], { stdio: [...stdio] });
  const ended = once(child, "exit").catch(() => {});
  const end = async (): Promise<void> => {
    child.kill("SIGKILL");
    await ended;
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  return { child, end };
}

/** Vitest's global setup: see the module text. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  let shared: { readonly running: Running; readonly address: Promise<string> } | undefined;
  const start = (): { readonly running: Running; readonly address: Promise<string> } => {
    const running = startChromium(["--remote-debugging-port=0"], "stderr");
    let text = "";
    const address = new Promise<string>((resolve, reject) => {
      running.child.stderr!.setEncoding("utf8").on("data", (part: string) => {
        if (text.length < 100_000) text += part;
        const found = /^DevTools listening on (ws:\S+)$/m.exec(text)?.[1];
        if (found !== undefined) resolve(found);
      });
      running.child.once("exit", () => {
        shared = undefined;
        reject(new Error(`Chromium ended: ${text}`));
      });
    });
    return { running, address };
  };
  const server = createServer((_, response) => {
    shared ??= start();
    shared.address.then(
      (address) => response.end(address),
      (error: Error) => response.writeHead(500).end(error.message),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  project.provide("chromium", `http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  return async () => {
    server.closeAllConnections();
    server.close();
    await shared?.running.end();
  };
}

/** Opens an address in a window of the shared browser. Resolves with what closes it. */
async function openWindow(url: string): Promise<() => Promise<void>> {
  const response = await fetch(inject("chromium"));
  const address = await response.text();
  if (!response.ok) throw new Error(address);
  const socket = new WebSocket(address);
  await once(socket, "open");
  const ask = async (method: string, params: object): Promise<{ readonly targetId: string }> => {
    socket.send(JSON.stringify({ id: 1, method, params }));
    for (;;) {
      const [{ data }] = (await once(socket, "message")) as [{ readonly data: string }];
      const { id, result, error } = JSON.parse(data);
      if (error !== undefined) throw new Error(error.message);
      if (id === 1) return result;
    }
  };
  // A window of its own: a page behind another one is drawn and woken less often.
  const { targetId } = await ask("Target.createTarget", { url, newWindow: true });
  return async () => {
    await ask("Target.closeTarget", { targetId });
    socket.close();
  };
}

/**
 * Serves `dist`, `examples`, the package mediabunny and a page with this module script (isolated, so that
 * SharedArrayBuffer exists); resolves with what it posts to /result.
 *
 * @param own flags of a browser of the page's own, and a reader of what that prints
 */
export async function runInChromium(
  script: string,
  timeoutMs = 100_000,
  own?: { readonly flags: readonly string[]; readonly onOutput: (text: string) => void },
): Promise<unknown> {
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
  const url = `http://127.0.0.1:${port}/`;
  let close: (() => Promise<void>) | undefined;
  const timer = setTimeout(() => done({ error: `the page said nothing within ${timeoutMs} ms` }), timeoutMs);
  try {
    if (own === undefined) close = await openWindow(url);
    else {
      const { child, end } = startChromium([...own.flags, url], "stdout");
      child.stdout!.setEncoding("utf8").on("data", own.onOutput);
      close = end;
    }
    return await result;
  } finally {
    clearTimeout(timer);
    await close?.();
    server.closeAllConnections();
    server.close();
  }
}
