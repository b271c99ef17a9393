/** The inspector's page and a real program, whose worker holds its frames too long, over the real server. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chromium } from "./chromium.ts";
import { launch, open, shows } from "./inspector-kit.ts";

let browser: Browser;
let program: ChildProcess | undefined;
let url = "";
beforeAll(async () => {
  if (chromium === undefined) return;
  [browser, url] = await Promise.all([launch(), start()]);
});
afterAll(() => {
  program?.kill("SIGKILL");
  return browser?.close();
});

/** Starts the program; resolves with the page's address. */
function start(): Promise<string> {
  const child = spawn(process.execPath, [join(import.meta.dirname, "slow-worker.ts")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  program = child;
  return new Promise<string>((resolve, reject) => {
    let text = "";
    child.stdout!.setEncoding("utf8").on("data", (part: string) => {
      text += part;
      if (text.includes("\n")) resolve(text.split("\n")[0]!);
    });
    child.on("exit", (code) => reject(new Error(`the program ended with ${code}`)));
  });
}

describe.skipIf(chromium === undefined)("a program whose worker holds frames too long", () => {
  it("is not shown to a page without the token", async () => {
    const response = await fetch(url.replace(/\?.*/, ""));
    expect(response.status).toBe(401);
    const { page } = await open(browser, url.replace(/\?.*/, ""));
    expect(await page.locator("body").innerText()).toContain("token");
    expect(await page.locator("#inspector").count()).toBe(0);
  });

  it("is seen: who holds what, in which thread, who waits, and what starves", async () => {
    const { page, complaints } = await open(browser, url);
    await shows(page, "Pools (3)");
    const frames = page.getByRole("option", { name: "frames" });
    // One entry for the pool that both threads see, with its two members.
    expect(await frames.count()).toBe(1);
    await page
      .getByRole("option", { name: /frames[\s\S]*Shared by members 0 \(thread 0\)[\s\S]*thread \d+\) holds/ })
      .waitFor();
    await shows(page, /A wait for a lease of packets has lasted/);
    await shows(page, /by demuxer.*slow-worker\.ts:\d+/);
    await frames.click();
    // The worker's leases, which last seconds, are named with their thread.
    await page
      .getByRole("row", { name: /frames.*\d\.\d s.*member \d+ \(thread [1-9]\d*\)/ })
      .first()
      .waitFor();
    await page.getByRole("button", { name: "Record a trace" }).click();
    const stop = page.getByRole("button", { name: /Stop and download/ });
    const [download] = await Promise.all([page.waitForEvent("download"), stop.click()]);
    const trace = JSON.parse(readFileSync((await download.path())!, "utf8")) as { traceEvents: { ph: string }[] };
    expect(trace.traceEvents.length).toBeGreaterThan(10);
    expect(complaints).toEqual([]);
    program!.kill("SIGKILL");
    await shows(page, /The connection to the program was lost/);
  });
});
