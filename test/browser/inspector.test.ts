/** The inspector's page in Chromium: what it shows, for eyes, keyboards and screen readers, and of hostile programs. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { median } from "../../bench/lib/statistics.ts";
import { readPage } from "../../src/adapters/inspect/page-file.ts";
import { FULL, isFullLength, REPEATED, times } from "../helpers/effort.ts";
import { crowd, FakeProgram } from "../helpers/fake-program.ts";
import { chromium } from "./chromium.ts";
import { drawn, FakeServer, launch, type OpenOptions, open, shows } from "./inspector-kit.ts";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser: Browser;
beforeAll(async () => {
  if (chromium !== undefined) browser = await launch();
});
afterAll(() => browser?.close());

/** What axe finds, with the elements. */
async function axe(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  return page.evaluate(
    `axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ": " + html.slice(0, 200))))`,
  );
}

/** A program with pools of several kinds, two threads, a report, and leases of all ages. */
function busy(): FakeProgram {
  const program = new FakeProgram({ threads: [0, 3] });
  const members = [0, 1].map((member) => ({ member, self: member === 0, state: "live", holds: 2, waiting: false }));
  const frames = program.pool({ name: "frames", kind: "SharedPool", count: 12, size: 1_382_400, shared: 77, members });
  program.pool({ name: "frames", kind: "SharedPool", count: 12, size: 1_382_400, shared: 77, thread: 3, members });
  const packets = program.pool({ name: "packets", count: 8, size: 4096 });
  program.pool({ name: "blocks", kind: "PagePool", count: 3 }).acquire(2 ** 41, "mixer");
  for (const [slot, ms] of [20_000, 5000, 500, 0].entries()) {
    frames.acquire(slot, "decode");
    packets.acquire(slot, "demux", "at demux (file:///app/src/demux.js:31:14)");
    program.time += ms;
  }
  packets.waiting = 2;
  packets.starve(1000, 2);
  program.time += 50;
  program.gc.set(0, 12);
  return program;
}

async function openBusy(
  options: OpenOptions = {},
): Promise<{ page: Page; complaints: string[]; server: FakeServer; program: FakeProgram }> {
  const server = await new FakeServer().start();
  const program = busy();
  server.tell(program.update());
  const { page, complaints } = await open(browser, `${server.url}?token=t`, options);
  await shows(page, "transcode.js input.mp4");
  await drawn(page);
  return { page, complaints, server, program };
}

const option = (page: Page, name: string) => page.getByRole("option", { name });

describe.skipIf(chromium === undefined)("the inspector's page", () => {
  it("shows pools, holders, waits and reports, and asks the server with the token only", async () => {
    const { page, complaints, server } = await openBusy();
    expect(await option(page, "frames").innerText()).toMatch(
      /SharedPool[\s\S]*4 leased[\s\S]*8 free[\s\S]*0 waiting[\s\S]*16.6 MB/,
    );
    expect(await option(page, "packets").innerText()).toContain("2 waiting");
    const rows = await page.getByRole("table").getByRole("row").allInnerTexts();
    expect(rows[0]).toMatch(/Pool\s+Slot\s+Held for\s+Holder\s+Thread, members\s+Size\s+Taken at/);
    expect(rows).toHaveLength(1 + 9);
    expect(rows.find((row) => row.startsWith("packets"))).toMatch(
      /packets\s+0\s+25\.\d s\s+demux.*src\/demux\.js:31:14/s,
    );
    await shows(page, /A wait for a lease of packets has lasted 1\.0 s; 2 calls wait\./);
    expect(complaints).toEqual([]);
    expect(new Set(server.asked)).toEqual(new Set(["/?token=t", "/stream?interval=100&holders=1000&token=t"]));
  });

  it("is one file: it asks for nothing else, and its policy would refuse it", async () => {
    const { page, server } = await openBusy();
    const { html } = readPage();
    expect(html).toContain("default-src 'none'");
    expect(html).not.toMatch(/unsafe-(?:inline|eval)|<[^>]+\son\w+=|<link[^>]+stylesheet|\ssrc=/);
    expect(html).toContain("Copyright (c) 2022 Leon Sorokin");
    const refused = await page.evaluate(`new Promise((resolve) => {
      addEventListener("securitypolicyviolation", ({ effectiveDirective }) => resolve(effectiveDirective));
      const script = document.createElement("script");
      script.textContent = "globalThis.hacked = 1";
      document.body.append(script);
    })`);
    expect([refused, await page.evaluate("typeof hacked")]).toEqual(["script-src-elem", "undefined"]);
    expect(server.asked.every((path) => /^\/(?:stream)?\?/.test(path))).toBe(true);
  });

  it("has nothing that axe finds: light, dark, narrow, and with the keyboard in the grid", REPEATED, async () => {
    // Light and wide is looked at without pools and in a crowd, too.
    const looks = [{ scheme: "dark", width: 480 }, {}, { scheme: "dark" }, { width: 480 }] as const;
    for (const options of looks.slice(0, times(1, 4))) {
      const { page } = await openBusy(options);
      expect(await axe(page)).toEqual([]);
      await page.getByRole("grid").first().focus();
      await page.keyboard.press("ArrowRight");
      expect(await axe(page)).toEqual([]);
      const wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
      expect(wide).toBeLessThanOrEqual(0);
    }
  });

  it("has nothing that axe finds before the first news, without pools, and in a crowd", REPEATED, async () => {
    const server = await new FakeServer().start();
    const { page } = await open(browser, server.url);
    await shows(page, "Waiting for the program");
    expect(await axe(page)).toEqual([]);
    server.tell(new FakeProgram().update());
    await shows(page, /has no pools yet/);
    for (const text of [/No lease is out/, /No wait has been reported/, /nothing was leased/i]) await shows(page, text);
    expect(await axe(page)).toEqual([]);
    // More than a thousand slots are a crowd.
    const pools = times(5, 20);
    const { step } = crowd(pools);
    server.tell({ ...step(100), snapshot: { ...step(100).snapshot, pid: 4242 } });
    await shows(page, `Pools (${pools})`);
    await drawn(page);
    expect(await axe(page)).toEqual([]);
    expect(await page.getByRole("grid").count()).toBe(pools);
  });

  it("lists as many pools as somebody can read, and says so", REPEATED, async () => {
    const server = await new FakeServer().start();
    const program = new FakeProgram();
    for (let i = 0; i < 300; i++) program.pool({ name: `pool ${i}`, count: 100_000 }).acquire(0);
    server.tell(program.update());
    const { page } = await open(browser, server.url);
    await shows(page, "Pools (300)");
    await shows(page, "The first 200 are listed.");
    await shows(page, /236 more pools: choose one/);
    expect(await page.getByRole("listbox").first().getByRole("option").count()).toBe(1 + 200);
    expect(await page.getByRole("grid").count()).toBe(64);
    // axe takes seconds for so many; the fast lane asks it about five, above.
    if (isFullLength) expect(await axe(page)).toEqual([]);
  });

  it("takes names, tags and sites of a hostile program as texts", async () => {
    const server = await new FakeServer().start();
    const program = new FakeProgram({ title: "<img src=x onerror='globalThis.hacked=1'>\u202e" });
    const evil =
      "<img src=x onerror='globalThis.hacked=1'><script>globalThis.hacked=1</script>\u0000\u001b[2J\u202egnp";
    const pool = program.pool({ name: evil, count: 3 });
    program.pool({ name: "", count: 2 });
    pool.acquire(0, evil, evil);
    pool.starve(1000, 1);
    pool.waiting = 1;
    server.tell(program.update());
    const { page, complaints } = await open(browser, server.url);
    await shows(page, "Pools (2)");
    await drawn(page);
    await page.getByRole("grid").first().focus();
    const found = (await page.evaluate(`(() => {
      const root = document.getElementById("inspector").shadowRoot;
      const texts = [...root.querySelectorAll("*")].flatMap((element) => [element.title ?? "", element.getAttribute("aria-label") ?? "", ...[...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data)]);
      return { hacked: typeof hacked, images: root.querySelectorAll("img, script").length, handlers: [...root.querySelectorAll("*")].filter((element) => element.getAttributeNames().some((name) => name.startsWith("on"))).length,
        hidden: texts.filter((text) => /[\\u0000-\\u001f\\u007f-\\u009f\\u202a-\\u202e]/.test(text)).length, shown: texts.filter((text) => text.includes("\\\\u{202e}gnp") && text.includes("\\\\u{0}\\\\u{1b}[2J")).length };
    })()`)) as Record<string, unknown>;
    expect(found).toMatchObject({ hacked: "undefined", images: 0, handlers: 0, hidden: 0 });
    expect(found.shown).toBeGreaterThan(2);
    expect(await option(page, "(no name)").count()).toBe(1);
    expect(complaints).toEqual([]);
  });

  it("has long names cut, and whole in the title", async () => {
    const server = await new FakeServer().start();
    const program = new FakeProgram();
    program.pool({ name: "n".repeat(200), count: 2 }).acquire(0, "t".repeat(200));
    server.tell(program.update());
    const { page } = await open(browser, server.url, { width: 480 });
    await shows(page, "Pools (1)");
    await drawn(page);
    expect(await page.getByTitle("n".repeat(200)).count()).toBe(3);
    expect(await page.getByTitle("t".repeat(200)).innerText()).toBe(`${"t".repeat(31)}\u2026`);
    expect(await page.evaluate("document.documentElement.scrollWidth - innerWidth")).toBeLessThanOrEqual(0);
  });

  it("can be used by keyboard: each control is reached, with a focus that can be seen", async () => {
    const { page } = await openBusy();
    const reached: string[] = [];
    for (let i = 0; i < 20; i++) {
      await page.keyboard.press("Tab");
      const at = (await page.evaluate(`(() => {
        const element = document.getElementById("inspector").shadowRoot.activeElement;
        if (element === null) return null;
        const { outlineStyle, outlineWidth } = getComputedStyle(element.querySelector(".active") ?? element);
        const name = element.getAttribute("aria-label") ?? element.labels?.[0]?.firstChild?.data ?? element.textContent;
        const cell = element.role === "grid" ? getComputedStyle(element.querySelector("[role=gridcell]")).boxShadow !== "none" : false;
        return [name.slice(0, 14), (outlineStyle !== "none" && parseFloat(outlineWidth) >= 2) || cell];
      })()`)) as [string, boolean] | null;
      if (at === null) break;
      reached.push(at[0]);
      expect(at).toEqual([at[0], true]);
    }
    expect(reached).toEqual([
      "Thread",
      "Pause",
      "Record a trace",
      "Theme",
      "All pools 3 po",
      expect.stringContaining(":"),
      "Slots of frame",
      "Window",
      "Timeline of 23",
      "Leases that ar",
    ]);
  });

  it("has one tab stop for all slots; arrows move and say what a slot is doing", async () => {
    const { page } = await openBusy();
    const grid = page.getByRole("grid", { name: "Slots of frames" });
    await grid.focus();
    const said = async (): Promise<string> =>
      (await page.evaluate(`(() => {
        const { shadowRoot } = document.getElementById("inspector");
        const at = shadowRoot.activeElement;
        return at.getAttribute("aria-label") + " > " + shadowRoot.getElementById(at.getAttribute("aria-activedescendant")).getAttribute("aria-label");
      })()`)) as string;
    expect(await said()).toMatch(/^Slots of frames > slot 0 is held for 25\.\d s by decode by member 0, 1\.4 MB$/);
    await page.keyboard.press("ArrowRight");
    expect(await said()).toMatch(/slot 1 is held for 5\.\d s/);
    await page.keyboard.press("End");
    expect(await said()).toBe("Slots of frames > slot 11 is free");
    await page.keyboard.press("ArrowRight");
    expect(await said()).toMatch(/^Slots of packets > slot 0 is held .* taken at demux \(src\/demux\.js:31:14\)$/);
    await page.keyboard.press("PageDown");
    expect(await said()).toMatch(/^Slots of blocks > slot 2199023255552 is held for 25\.\d s by mixer/);
    await page.keyboard.press("PageUp");
    await page.keyboard.press("ArrowUp");
    expect(await said()).toBe("Slots of frames > slot 11 is free");
    expect(await page.locator('[role=grid][tabindex="0"]').count()).toBe(1);
    await shows(page, "frames: slot 11 is free");
  });

  it("shows one pool alone, by click and by arrows, or one thread", async () => {
    const { page } = await openBusy();
    await option(page, "packets").click();
    await drawn(page);
    expect(await page.getByRole("grid").count()).toBe(1);
    expect(await page.getByRole("table").getByRole("row").count()).toBe(1 + 4);
    await page.getByRole("listbox").focus();
    await page.keyboard.press("ArrowDown");
    expect(await option(page, "blocks").getAttribute("aria-selected")).toBe("true");
    await page.evaluate(`(() => {
      const list = document.getElementById("inspector").shadowRoot.activeElement;
      for (const key of ["Home", "ArrowDown", "ArrowDown"]) list.dispatchEvent(new KeyboardEvent("keydown", { key }));
    })()`);
    expect(await option(page, "packets").getAttribute("aria-selected")).toBe("true");
    await page.keyboard.press("Home");
    await drawn(page);
    expect(await page.getByRole("grid").count()).toBe(3);
    await page.getByLabel("Thread").selectOption("3");
    await drawn(page);
    expect(await page.getByRole("option", { selected: false }).filter({ hasText: "SharedPool" }).count()).toBe(1);
    expect(await page.getByRole("grid").count()).toBe(1);
  });

  it("lets the user choose a process where there are several", async () => {
    const { page, server } = await openBusy();
    expect(await page.getByLabel("Process").isVisible()).toBe(false);
    const other = new FakeProgram({ pid: 99, title: "other.js" });
    other.pool({ name: "theirs", count: 1 });
    server.tell(other.update());
    await page.getByLabel("Process").selectOption("99");
    await shows(page, "theirs");
    expect(await option(page, "packets").count()).toBe(0);
  });

  it("stands still while it is paused, and goes on with what it missed", async () => {
    const { page, server, program } = await openBusy();
    await page.getByRole("button", { name: "Pause" }).click();
    await drawn(page);
    // The clock of what is said of the connection is apart from the data.
    await page.evaluate(`(() => {
      globalThis.changes = 0;
      new MutationObserver((list) => { changes += list.length; }).observe(document.getElementById("inspector").shadowRoot.querySelector("main"), { subtree: true, childList: true, characterData: true, attributes: true });
    })()`);
    const packets = program.pools[2]!;
    for (let i = 0; i < 20; i++) {
      program.time += 100;
      packets.acquire(7, "late");
      server.tell(program.update());
    }
    await page.waitForFunction(() => true);
    await drawn(page);
    expect(await page.evaluate("changes")).toBe(0);
    await page.getByRole("button", { name: "Go on" }).click();
    await shows(page, "late");
    expect(await page.evaluate("changes")).toBeGreaterThan(0);
  });

  it("says to screen readers what starves, once in five seconds, and nothing else", async () => {
    const { page, server, program } = await openBusy();
    const live = page.locator("[aria-live]");
    expect(await live.count()).toBe(1);
    expect(await live.innerText()).toBe("");
    const starve = async (ms: number, waited: number): Promise<void> => {
      program.time += ms;
      program.pools[2]!.starve(waited, 3);
      server.tell(program.update());
      await shows(page, new RegExp(`has lasted ${waited / 1000}\\.0 s; 3 calls`));
      await drawn(page);
    };
    await starve(1000, 2000);
    expect(await live.textContent()).toContain("packets has lasted 2.0 s; 3 calls wait");
    await starve(1000, 3000);
    expect(await live.textContent()).toContain("2.0 s");
    await starve(5000, 8000);
    expect(await live.textContent()).toContain("8.0 s");
  });

  it("says that the connection was lost, and connects again", async () => {
    const { page, server, program } = await openBusy();
    await server.stop();
    await shows(page, /The connection to the program was lost/);
    expect(await axe(page)).toEqual([]);
    await server.start();
    program.time += 100;
    server.tell(program.update());
    await page.getByText("Live", { exact: true }).waitFor();
    expect(await page.getByText(/connection to the program was lost/).count()).toBe(0);
  });

  it("records a trace and downloads it", async () => {
    const { page, server } = await openBusy();
    const button = page.getByRole("button", { name: "Record a trace" });
    await button.click();
    const stop = page.getByRole("button", { name: /Stop and download/ });
    expect(await stop.getAttribute("aria-pressed")).toBe("true");
    const [download] = await Promise.all([page.waitForEvent("download"), stop.click()]);
    expect(download.suggestedFilename()).toBe("millpond-4242.trace.json");
    expect(JSON.parse(readFileSync((await download.path())!, "utf8"))).toEqual({ traceEvents: [] });
    expect(server.asked.at(-1)).toMatch(/^\/trace\?seconds=\d+&token=t$/);
    await button.waitFor();
  });

  it("is light or dark as the system asks for or the user chooses, and keeps the choice", async () => {
    const { page } = await openBusy({ scheme: "dark" });
    const color = () => page.evaluate('getComputedStyle(document.getElementById("inspector")).backgroundColor');
    expect(await color()).toBe("rgb(15, 18, 23)");
    await page.getByLabel("Theme").selectOption("light");
    expect(await color()).toBe("rgb(244, 245, 248)");
    await page.reload();
    await shows(page, "Pools (3)");
    expect(await color()).toBe("rgb(244, 245, 248)");
  });

  it("moves nothing for who asked for less motion", async () => {
    const moving = (page: Page) =>
      page.evaluate(`[...document.getElementById("inspector").shadowRoot.querySelectorAll("*")].filter((element) => {
        const { transitionDuration, animationName } = getComputedStyle(element);
        return transitionDuration.split(",").some((time) => parseFloat(time) > 0) || animationName !== "none";
      }).length`);
    const { page } = await openBusy({ motion: "reduce" });
    expect(await moving(page)).toBe(0);
    await page.emulateMedia({ reducedMotion: "no-preference" });
    expect(await moving(page)).toBeGreaterThan(0);
  });

  it("asks for no frame between two drawings of a crowd, and draws what was left out when nothing comes after it", async () => {
    const server = await new FakeServer().start();
    const { step } = crowd(5);
    server.tell(step(100));
    const context = await browser.newContext();
    onTestFinished(() => context.close());
    const page = await context.newPage();
    // Time stands still unless the test moves it, and the page's short waits end when the test says so.
    await page.addInitScript(`{
      Object.assign(globalThis, { time: 1000, frames: 0, parsed: 0, waits: new Map() });
      performance.now = () => time;
      const frame = requestAnimationFrame, parse = JSON.parse, wait = setTimeout, clear = clearTimeout;
      globalThis.requestAnimationFrame = (then) => (frames++, frame(then));
      JSON.parse = (text) => (parsed++, parse(text));
      globalThis.setTimeout = (then, ms) => {
        if (ms < 100) return wait(then, ms);
        const id = wait(() => {}, 0);
        waits.set(id, then);
        return id;
      };
      globalThis.clearTimeout = (id) => (waits.delete(id), clear(id));
    }`);
    await page.goto(server.url);
    await shows(page, "Pools (5)");
    await drawn(page);
    const told = async (count: number): Promise<void> => {
      const before = (await page.evaluate("parsed")) as number;
      for (let i = 0; i < count; i++) server.tell(step(100));
      await expect.poll(() => page.evaluate("parsed")).toBe(before + count);
      await drawn(page);
    };
    await told(1);
    const frames = (await page.evaluate("frames")) as number;
    await told(10);
    // Two are those of drawn() itself, each time.
    expect(((await page.evaluate("frames")) as number) - frames).toBeLessThanOrEqual(2);
    await page.evaluate("time += 200");
    const before = (await page.evaluate("frames")) as number;
    await told(1);
    expect((await page.evaluate("frames")) as number).toBeGreaterThan(before + 2);
    await told(1);
    const rest = (await page.evaluate("frames")) as number;
    expect(await page.evaluate("[...waits.values()].map((then) => then()).length")).toBe(1);
    expect((await page.evaluate("frames")) as number).toBe(rest + 1);
  });

  it(
    "20 pools of 256 slots at 10 updates a second: few changes of the document, and little of a core",
    FULL,
    async () => {
      const server = await new FakeServer().start();
      const { step } = crowd(20);
      server.tell(step(100));
      const { page } = await open(browser, server.url);
      await shows(page, "Pools (20)");
      const cdp = await page.context().newCDPSession(page);
      // Processor time of the main thread, not the clock.
      await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
      await page.evaluate(`(() => {
      globalThis.changes = 0;
      new MutationObserver((list) => { changes += list.length; }).observe(document.getElementById("inspector").shadowRoot, { subtree: true, childList: true, characterData: true, attributes: true });
    })()`);
      const busyFor = async (): Promise<number> => {
        const { metrics } = await cdp.send("Performance.getMetrics");
        return metrics.find(({ name }) => name === "TaskDuration")!.value;
      };
      // Work that never changes, on the same thread and in the same second: what a busy, slow or throttled machine does
      // to an update, it does to this.
      await page.evaluate(`globalThis.yardstick = () => {
        const cells = Array.from({ length: 2000 }, (_, n) => ({ n, state: "held", age: n * 7 }));
        for (let i = 0; i < 4; i++) if (JSON.parse(JSON.stringify(cells)).length !== 2000) throw 1;
      }`);
      const spent: number[] = [];
      const yardsticks: number[] = [];
      const updates = 50;
      for (let i = 0; i < updates; i++) {
        const began = await busyFor();
        server.tell(step(100));
        await new Promise((resolve) => setTimeout(resolve, 100));
        const between = await busyFor();
        await page.evaluate("yardstick()");
        spent.push(between - began);
        yardsticks.push((await busyFor()) - between);
      }
      const changes = ((await page.evaluate("changes")) as number) / updates;
      const [update, yardstick] = [median(spent), median(yardsticks)];
      console.log(
        `an update: ${(update * 1000).toFixed(1)} ms of the main thread, ${(update / yardstick).toFixed(2)} yardsticks, ${changes.toFixed(0)} changes`,
      );
      // 5,120 slots: an element for each of those that change would be some 600.
      expect(changes).toBeLessThan(200);
      // 5 % of a core are 5 ms, two yardsticks; 0.9 to 1.5 are needed, alone and beside four busy loops.
      expect(update).toBeLessThan(4 * yardstick);
    },
  );
});
