/** A browser with the inspector's page, whose data come from a made-up program that the test moves on. */
import { existsSync, readFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Browser, type Page, chromium as playwright } from "playwright-core";
import { onTestFinished } from "vitest";
import { readPage } from "../../src/adapters/inspect/page-file.ts";
import type { InspectorUpdate } from "../../src/observe/snapshot.ts";
import { chromium } from "./chromium.ts";

const DIST = join(import.meta.dirname, "../../dist");
const TYPES: Readonly<Record<string, string>> = { html: "text/html; charset=utf-8", js: "text/javascript" };

/** Starts the browser that is installed here. */
export function launch(): Promise<Browser> {
  return playwright.launch({
    executablePath: chromium!,
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"],
  });
}

/** How a page is opened. */
export interface OpenOptions {
  readonly width?: number;
  readonly height?: number;
  readonly scheme?: "light" | "dark";
  readonly motion?: "reduce" | "no-preference";
}

/** A page that is open. */
export interface Opened {
  readonly page: Page;
  /** Errors, refusals of the policy, and what the page wrote to its console. */
  readonly complaints: string[];
}

/** Opens a page in a context of its own, which ends with the test. */
export async function open(browser: Browser, url: string, options: OpenOptions = {}): Promise<Opened> {
  const { width = 1280, height = 800, scheme = "light", motion = "no-preference" } = options;
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, reducedMotion: motion });
  onTestFinished(() => context.close());
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => complaints.push(message.text()));
  await page.goto(url);
  return { page, complaints };
}

/** A server of the page whose streams say what they are told to. */
export class FakeServer {
  readonly asked: string[] = [];
  readonly #streams: Set<ServerResponse> = new Set();
  readonly #server = createServer((request, response) => {
    const { pathname } = new URL(request.url!, "http://localhost");
    this.asked.push(request.url!);
    if (pathname === "/stream") {
      this.#streams.add(response);
      response.on("close", () => this.#streams.delete(response));
      response.writeHead(200, { "content-type": "application/x-ndjson" }).flushHeaders();
      if (this.#last !== undefined) response.write(`${JSON.stringify(this.#last)}\n`);
      return;
    }
    const file = pathname.slice(1);
    if (pathname === "/") response.setHeader("content-type", TYPES.html!).end(readPage().html);
    else if (pathname === "/trace") response.end('{"traceEvents":[]}');
    else if (pathname === "/blank.html") response.setHeader("content-type", TYPES.html!).end(this.blank);
    else if (!/^[\w.-]+$/.test(file) || !existsSync(join(DIST, file))) response.writeHead(404).end();
    else
      response
        .setHeader("content-type", TYPES[file.split(".").at(-1)!] ?? "text/plain")
        .end(readFileSync(join(DIST, file)));
  });
  /** The page at /blank.html. */
  blank = "<!doctype html><html lang=en><title>An application</title><main><h1>An application</h1></main>";
  #last: InspectorUpdate | undefined;
  #port = 0;

  get url(): string {
    return `http://127.0.0.1:${this.#port}/`;
  }

  get viewers(): number {
    return this.#streams.size;
  }

  /** Listens, on the same port after {@link stop}; ends with the test. */
  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
    onTestFinished(() => this.stop());
    return this;
  }

  /** Tells all viewers, and those that come later first of all. */
  tell(update: InspectorUpdate): void {
    this.#last = { ...update, events: [] };
    for (const stream of this.#streams) stream.write(`${JSON.stringify(update)}\n`);
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const ended = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await ended;
  }
}

/** Resolves when the page shows this text. */
export async function shows(page: Page, text: string | RegExp): Promise<void> {
  await page.getByText(text).first().waitFor({ state: "attached" });
}

/** Resolves when the page has drawn what it was told. */
export async function drawn(page: Page): Promise<void> {
  await page.evaluate(
    "new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve, 0))))",
  );
}
