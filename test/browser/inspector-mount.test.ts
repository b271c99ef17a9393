/** The inspector inside a web application: the application's own pools, and nothing that stays behind. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chromium } from "./chromium.ts";
import { FakeServer, launch, type Opened, type OpenOptions, open, shows } from "./inspector-kit.ts";

let browser: Browser;
beforeAll(async () => {
  if (chromium !== undefined) browser = await launch();
});
afterAll(() => browser?.close());

/** An application with a pool, and the page's module as `inspect`. */
async function application({ csp, ...options }: OpenOptions & { readonly csp?: string } = {}): Promise<Opened> {
  const server = await new FakeServer().start();
  if (csp !== undefined)
    server.blank = server.blank.replace(
      "<title>",
      `<meta http-equiv="Content-Security-Policy" content="${csp}"><title>`,
    );
  const opened = await open(browser, `${server.url}blank.html`, options);
  await opened.page.evaluate(`(async () => {
    globalThis.inspect = await import("/inspect-page.js");
    const { BufferPool } = await import("/index.js");
    globalThis.pool = BufferPool.create({ name: "canvas frames", size: 64, max: 4 });
    globalThis.held = pool.tryAcquire({ tag: "encoder" });
  })()`);
  return opened;
}

describe.skipIf(chromium === undefined)("mountInspector()", () => {
  it("shows the pools of the page in an element, under a strict policy, and the page's styles stay outside", async () => {
    const { page, complaints } = await application({
      csp: "default-src 'none'; script-src 'self'; connect-src 'self'",
    });
    await page.evaluate(`(() => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync("* { color: rgb(1, 2, 3) !important; display: block !important }");
      document.adoptedStyleSheets = [sheet];
      globalThis.mounted = inspect.mountInspector(document.querySelector("main"), { theme: "dark" });
    })()`);
    await shows(page, "canvas frames");
    await page.getByRole("row", { name: /canvas frames\s+0\s+[\d.]+ m?s\s+encoder/ }).waitFor();
    expect(
      await page.evaluate(
        'getComputedStyle(document.querySelector("main > div").shadowRoot.querySelector("h2")).color',
      ),
    ).toBe("rgb(232, 235, 240)");
    expect(
      await page.evaluate(
        'getComputedStyle(document.querySelector("main > div").shadowRoot.querySelector(".page")).display',
      ),
    ).toBe("grid");
    await page.evaluate("held.release()");
    await shows(page, /No lease is out/);
    expect(complaints).toEqual([]);
  });

  it("is styled in a frame's document under a strict policy, and again when it is moved to another document", async () => {
    const { page, complaints } = await application({
      csp: "default-src 'none'; script-src 'self'; connect-src 'self'",
    });
    const display =
      'F.contentDocument.defaultView.getComputedStyle(M.firstElementChild.shadowRoot.querySelector(".page")).display';
    await page.evaluate(`(() => {
      globalThis.F = document.body.appendChild(document.createElement("iframe"));
      globalThis.M = F.contentDocument.createElement("div");
      F.contentDocument.body.append(M);
      globalThis.mounted = inspect.mountInspector(M);
    })()`);
    expect(await page.evaluate(display)).toBe("grid");
    await page.evaluate(`(() => {
      mounted.unmount();
      globalThis.M = document.querySelector("main").appendChild(document.createElement("div"));
      globalThis.mounted = inspect.mountInspector(M);
      F.contentDocument.body.append(M);
    })()`);
    await page.waitForFunction(`${display} === "grid"`);
    await page.evaluate("mounted.unmount()");
    expect(complaints).toEqual([]);
  });

  it("records a trace of the page's pools", async () => {
    const { page } = await application();
    await page.evaluate('void inspect.mountInspector(document.querySelector("main"))');
    await page.getByRole("button", { name: "Record a trace" }).click();
    await page.evaluate("for (let i = 0; i < 5; i++) pool.tryAcquire().release()");
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: /Stop/ }).click(),
    ]);
    const stream = await download.createReadStream();
    let text = "";
    for await (const part of stream) text += part;
    expect(download.suggestedFilename()).toBe("millpond-0.trace.json");
    expect(text).toContain("canvas frames");
    expect(JSON.parse(text).traceEvents.length).toBeGreaterThan(5);
  });

  it("leaves nothing behind: no element, no timer, no frame, no recorder", async () => {
    const { page } = await application();
    const counts = await page.evaluate(`(async () => {
      let timers = 0, frames = 0;
      const [set, clear, frame] = [setInterval, clearInterval, requestAnimationFrame];
      const live = new Set();
      globalThis.setInterval = (...given) => { const id = set(...given); live.add(id); return id; };
      globalThis.clearInterval = (id) => { live.delete(id); clear(id); };
      globalThis.requestAnimationFrame = (call) => { frames++; return frame(call); };
      // A recorder reads the clock at each acquire and release; a pool by itself once in 64 calls.
      const now = performance.now;
      let reads = 0;
      performance.now = () => { reads++; return now.call(performance); };
      const readsOf = () => { const from = reads; for (let i = 0; i < 64; i++) pool.tryAcquire().release(); return reads - from; };
      const main = document.querySelector("main");
      const before = main.childElementCount;
      const mounted = inspect.mountInspector(main);
      const while_ = [live.size, main.childElementCount, readsOf() >= 128];
      await new Promise((resolve) => setTimeout(resolve, 300));
      mounted.unmount();
      mounted.unmount();
      const drawn = frames;
      await new Promise((resolve) => setTimeout(resolve, 300));
      return { before, while_, after: [live.size, main.childElementCount, readsOf() >= 10], further: frames - drawn };
    })()`);
    expect(counts).toEqual({ before: 1, while_: [2, 2, true], after: [0, 1, false], further: 0 });
  });

  it("leaves nothing behind of a source that throws, or gives no way to end its subscription", async () => {
    const { page } = await application();
    const outcome = await page.evaluate(`(async () => {
      const live = new Set();
      const track = (name) => {
        const Observer = globalThis[name];
        globalThis[name] = class extends Observer {
          observe(...given) { live.add(this); super.observe(...given); }
          disconnect() { live.delete(this); super.disconnect(); }
        };
      };
      track("ResizeObserver");
      track("IntersectionObserver");
      const [set, clear] = [setInterval, clearInterval];
      globalThis.setInterval = (...given) => { const id = set(...given); live.add(id); return id; };
      globalThis.clearInterval = (id) => { live.delete(id); clear(id); };
      const main = document.querySelector("main");
      const fail = () => { throw new Error("mine"); };
      const outcome = [];
      for (const subscribe of [fail, () => 5, () => undefined, async () => () => {}, () => fail, () => () => {}]) {
        const said = [];
        let mounted;
        const attempt = (what) => { try { what(); said.push("ok"); } catch (error) { said.push(error.code ?? error.message); } };
        attempt(() => { mounted = inspect.mountInspector(main, { source: { subscribe, trace() {} } }); });
        const before = live.size > 0;
        if (mounted !== undefined) { attempt(() => mounted.unmount()); attempt(() => mounted.unmount()); }
        outcome.push([said.join(" "), before, live.size, main.childElementCount]);
      }
      return outcome;
    })()`);
    expect(outcome).toEqual([
      ["mine", false, 0, 1],
      ["ERR_INVALID_ARG_TYPE", false, 0, 1],
      ["ERR_INVALID_ARG_TYPE", false, 0, 1],
      ["ERR_INVALID_ARG_TYPE", false, 0, 1],
      ["ok mine ok", true, 0, 1],
      ["ok ok ok", true, 0, 1],
    ]);
  });

  it("takes another source, and shows what it tells", async () => {
    const { page } = await application();
    const seen = await page.evaluate(`(async () => {
      const log = [];
      let tell;
      const source = { subscribe(onUpdate) { log.push("subscribed"); tell = onUpdate; return () => log.push("ended"); }, async trace() { throw new Error("there is none <b>"); } };
      globalThis.mounted = inspect.mountInspector(document.querySelector("main"), { source });
      tell({ snapshot: { version: 1, time: 1, pid: 7, title: "elsewhere", uptime: 1, rss: 0, cpu: { user: 0, system: 0 }, realms: [] }, events: [], dropped: 0 });
      return log;
    })()`);
    expect(seen).toEqual(["subscribed"]);
    await shows(page, "elsewhere");
    await page.getByRole("button", { name: "Record a trace" }).click();
    await page.getByRole("button", { name: /Stop/ }).click();
    await shows(page, "There is no trace: there is none <b>.");
  });

  it("says that nothing comes after three times the usual time, and never before three seconds", async () => {
    const { page } = await application({ alone: true });
    await page.clock.install();
    await page.evaluate(`(() => {
      let tell;
      const source = { subscribe(onUpdate) { tell = onUpdate; return () => {}; }, async trace() { return new Blob([]); } };
      inspect.mountInspector(document.querySelector("main"), { source });
      globalThis.news = () => tell({ snapshot: { version: 1, time: 1, pid: 7, title: "elsewhere", uptime: 1, rss: 0, cpu: { user: 0, system: 0 }, realms: [] }, events: [], dropped: 0 });
    })()`);
    const notices = async (ms: number): Promise<number> => {
      await page.clock.runFor(ms);
      return page.getByText(/No news for/).count();
    };
    await page.evaluate("news()");
    // After the first update nobody knows when the next is due.
    await page.clock.fastForward(600_000);
    expect(await notices(2000)).toBe(0);
    for (let i = 0; i < 30; i++) {
      await page.evaluate("news()");
      await page.clock.runFor(100);
    }
    expect(await notices(2000)).toBe(0);
    expect(await notices(2000)).toBe(1);
    await page.evaluate("news()");
    await page.evaluate("news()");
    expect(await notices(600)).toBe(0);
    // One every ten seconds.
    for (let i = 0; i < 3; i++) {
      await page.evaluate("news()");
      await page.clock.runFor(10_000);
    }
    expect(await notices(18_000)).toBe(0);
    expect(await notices(4000)).toBe(1);
  });

  it("refuses hostile arguments by name, and leaves the document as it was", async () => {
    const { page } = await application();
    const outcome = await page.evaluate(`(() => {
      const main = document.querySelector("main");
      const code = (...given) => { try { inspect.mountInspector(...given).unmount(); return "ok"; } catch (error) { return [error.code ?? error.name, error.message.split(" ")[0]]; } };
      const elements = [undefined, null, 1, "main", {}, [], document, document.createTextNode(""), { nodeType: 1 }, new Proxy({}, { get() { throw new Error("mine"); } })].map((value) => code(value));
      const options = [null, 1, { interval: 1 }, { interval: NaN }, { interval: "100" }, { theme: "blue" }, { theme: 1 }, { source: {} }, { source: null }, { sauce: 1 }, { source: { subscribe() { throw new Error("mine"); }, trace() {} } }].map((value) => code(main, value));
      return { elements, options, children: main.childElementCount, good: [code(main), code(main, { theme: "light", interval: 50 }), code(document.createElement("input"))] };
    })()`);
    const wrong = ["ERR_INVALID_ARG_TYPE", "element"];
    expect(outcome).toEqual({
      elements: Array.from({ length: 10 }, () => wrong),
      options: [
        ["ERR_INVALID_ARG_TYPE", "options"],
        ["ERR_INVALID_ARG_TYPE", "options"],
        ["ERR_OUT_OF_RANGE", "options.interval"],
        ["ERR_OUT_OF_RANGE", "options.interval"],
        ["ERR_INVALID_ARG_TYPE", "options.interval"],
        ["ERR_INVALID_ARG_VALUE", "options.theme"],
        ["ERR_INVALID_ARG_TYPE", "options.theme"],
        ["ERR_INVALID_ARG_TYPE", "options.source"],
        ["ERR_INVALID_ARG_TYPE", "options.source"],
        ["ERR_INVALID_ARG_VALUE", "options.sauce"],
        ["Error", "mine"],
      ],
      children: 1,
      good: ["ok", "ok", "ok"],
    });
  });
});
