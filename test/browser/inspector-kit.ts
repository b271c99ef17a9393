/** A browser with the inspector's page, whose data come from a made-up program that the test moves on. */
import { existsSync, readFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Browser, type ConsoleMessage, type Page, chromium as playwright } from "playwright-core";
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
  /** True for a test that changes the browser's clock: no other test gets its page. */
  readonly alone?: boolean;
}

/** A page that is open. */
export interface Opened {
  readonly page: Page;
  /** Errors, refusals of the policy, and what the page wrote to its console. */
  readonly complaints: string[];
}

/** Pages that no test has now: a new one, with a process of its own, costs four times as much as a new document. */
const resting: WeakMap<Browser, Page> = new WeakMap();

/** No verdict comes from it: it is below the time that ends a test, so that the error says what was waited for. */
const WAIT_MS = 100_000;

async function newPage(browser: Browser): Promise<Page> {
  const context = await browser.newContext();
  context.setDefaultTimeout(WAIT_MS);
  return context.newPage();
}

/** Opens a page, which ends with the test. */
export async function open(browser: Browser, url: string, options: OpenOptions = {}): Promise<Opened> {
  const { width = 1280, height = 800, scheme = "light", motion = "no-preference", alone = false } = options;
  const rested = alone ? undefined : resting.get(browser);
  if (rested !== undefined) resting.delete(browser);
  const page = rested ?? (await newPage(browser));
  const complaints: string[] = [];
  const onError = (error: Error): void => void complaints.push(error.message);
  const onConsole = (message: ConsoleMessage): void => void complaints.push(message.text());
  onTestFinished(async () => {
    page.off("pageerror", onError).off("console", onConsole);
    if (alone || resting.has(browser)) return page.context().close();
    await page.evaluate("localStorage.clear()");
    await page.goto("about:blank");
    resting.set(browser, page);
  });
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme: scheme, reducedMotion: motion });
  page.on("pageerror", onError).on("console", onConsole);
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
