/**
 * The page: what the parts show is one scene, made of the model at most once a frame. Slots and the timeline follow
 * every update; lists, tables and graphs four times a second, because nobody reads faster; above
 * {@link CROWD} slots both half as often, because nobody can follow that many. While it is paused, updates
 * go into the model and nothing is drawn; while the document is hidden, no frame comes.
 *
 * Life-cycle: made with a source, subscribed from then on until {@link InspectorPage.close}. It lives in a shadow root,
 * so that no style reaches in or out.
 */
import type { InspectorUpdate } from "../../../observe/snapshot.ts";
import { wrongType } from "../../../util/validate.ts";
import { el, setAttribute, setText, show } from "./dom.ts";
import { Graphs } from "./graphs.ts";
import { HoldersTable } from "./holders-table.ts";
import { InspectorModel, type PoolModel, type ProcessModel } from "./model.ts";
import { PoolList } from "./pool-list.ts";
import { Reports } from "./reports.ts";
import { SlotGrids } from "./slot-grid.ts";
import type { PageSource, SourceStatus } from "./source.ts";
import { type Palette, paletteOf, STYLE } from "./style.ts";
import { cut, formatBytes, formatDuration, visible } from "./text.ts";
import { TimelineView } from "./timeline-view.ts";
import type { Scene } from "./view.ts";

/** Which colors: those that the system asks for, or one of the two. */
export type InspectorTheme = "system" | "light" | "dark";

/** Milliseconds between two updates of what is read; of a crowd. */
const READ_MS = 250;
const CROWD_READ_MS = 1000;
/** Milliseconds between two drawings of a crowd: every other of ten updates a second, with room for their unrest. */
const CROWD_DRAW_MS = 150;
/** Slots that are a crowd. */
const CROWD = 1024;
/** The same of what is scrolled out of sight; a screen reader may read it all the same. */
const UNSEEN_MS = 1000;
/** Milliseconds without news after which the page says so, and how often that is longer than between two updates. */
const QUIET_MS = 3000;
const QUIET_GAPS = 3;
/** How fast a long time between two updates is forgotten: in a dozen updates of a tenth of it. */
const GAP_DECAY = 0.8;

/** See the module text. */
export class InspectorPage {
  readonly #host: HTMLElement;
  #styledIn: Document | undefined;
  readonly #root: ShadowRoot;
  readonly #source: PageSource;
  readonly #model: InspectorModel = new InspectorModel();
  readonly #pools: PoolList = new PoolList((key) => this.#choose(key));
  readonly #reports: Reports = new Reports();
  readonly #slots: SlotGrids = new SlotGrids();
  readonly #timeline: TimelineView = new TimelineView();
  readonly #graphs: Graphs = new Graphs();
  readonly #holders: HoldersTable = new HoldersTable();
  readonly #title: HTMLElement = el("bdi", { class: "title" }, "\u2013");
  readonly #facts: HTMLElement = el("span", { class: "soft num" });
  readonly #status: HTMLElement = el("span", { class: "status" });
  readonly #notice: HTMLElement = el("section", { class: "alert", "aria-label": "Connection" });
  readonly #pause: HTMLButtonElement = el("button", { type: "button" }, "Pause");
  readonly #record: HTMLButtonElement = el("button", { type: "button" }, "Record a trace");
  readonly #processes: Chooser;
  readonly #threads: Chooser;
  readonly #scheme: MediaQueryList = globalThis.matchMedia("(prefers-color-scheme: dark)");
  readonly #onScheme = (): void => this.#setTheme(this.#theme);
  readonly #onTheme: ((theme: InspectorTheme) => void) | undefined;
  readonly #body: readonly HTMLElement[];
  /** Parts that are scrolled out of sight: they are not drawn, or less often. */
  readonly #unseen: Set<Element> = new Set();
  readonly #sight: IntersectionObserver = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.#unseen.delete(target);
      else this.#unseen.add(target);
    }
    this.#schedule(true);
  });
  #theme: InspectorTheme;
  #palette: Palette = paletteOf(false);
  #unsubscribe: (() => void) | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** Draws what was left out because something else was drawn a moment ago, when nothing comes after it. */
  #rest: ReturnType<typeof setTimeout> | undefined;
  #frame: number | undefined;
  #connection: SourceStatus = { state: "connecting" };
  #pid: number | undefined;
  #thread: number | undefined;
  #pool: string | undefined;
  #isPaused = false;
  #isClosed = false;
  #isDue = true;
  /** Slots of all pools when a frame was last drawn. */
  #slotCount = 0;
  /** Milliseconds between updates. */
  #gap = Number.POSITIVE_INFINITY;
  #readAt = Number.NEGATIVE_INFINITY;
  #unseenAt = Number.NEGATIVE_INFINITY;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #updatedAt = Number.NEGATIVE_INFINITY;
  #recordingSince: number | undefined;
  /** Why there is no trace. */
  #traceFailed = "";

  /** Draws into `host` until it is closed; `onTheme` hears what the user chooses. */
  constructor(host: HTMLElement, source: PageSource, theme: InspectorTheme, onTheme?: (theme: InspectorTheme) => void) {
    this.#host = host;
    this.#source = source;
    this.#theme = theme;
    this.#onTheme = onTheme;
    this.#root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
    this.#processes = new Chooser("Process", (value) => {
      this.#pid = Number(value);
      this.#thread = undefined;
      this.#choose(undefined);
    });
    this.#threads = new Chooser("Thread", (value) => {
      this.#thread = value === "" ? undefined : Number(value);
      this.#choose(undefined);
    });
    this.#body = [this.#pools, this.#reports, this.#slots, this.#timeline, this.#graphs, this.#holders].map(
      ({ element }) => element,
    );
    this.#build();
    for (const part of this.#body) this.#sight.observe(part);
    this.#setTheme(theme);
    this.#scheme.addEventListener("change", this.#onScheme);
    try {
      this.#unsubscribe = this.#subscribe();
      this.#timer = setInterval(() => this.#tick(), 500);
      this.#draw();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Ends the subscription and empties the element. A second time nothing happens. Throws what the source throws at the
   * end of the subscription, when everything else has ended.
   */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#rest);
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame);
    this.#scheme.removeEventListener("change", this.#onScheme);
    this.#sight.disconnect();
    for (const part of [this.#slots, this.#timeline, this.#graphs]) part.close();
    this.#root.replaceChildren();
    this.#host.removeAttribute("data-theme");
    this.#unsubscribe?.();
  }

  #subscribe(): () => void {
    const end: unknown = this.#source.subscribe(
      (update) => this.#onUpdate(update),
      (status) => this.#onStatus(status),
    );
    if (typeof end !== "function")
      throw wrongType("options.source.subscribe()", "a function that ends the subscription", end);
    return end as () => void;
  }

  #build(): void {
    this.#pause.addEventListener("click", () => this.#setPaused(!this.#isPaused));
    this.#record.addEventListener("click", () => void this.#onRecord());
    const theme = el(
      "select",
      {},
      el("option", { value: "system" }, "System"),
      el("option", { value: "light" }, "Light"),
      el("option", { value: "dark" }, "Dark"),
    );
    theme.value = this.#theme;
    theme.addEventListener("change", () => {
      this.#setTheme(theme.value as InspectorTheme);
      this.#onTheme?.(this.#theme);
    });
    const header = el(
      "header",
      {},
      el("div", { class: "brand" }, logo(), el("h1", {}, "millpond")),
      el("div", { class: "facts" }, this.#title, this.#facts),
      this.#status,
      el(
        "div",
        { class: "tools" },
        this.#processes.element,
        this.#threads.element,
        this.#pause,
        this.#record,
        el("label", {}, "Theme", theme),
      ),
    );
    const page = el(
      "div",
      { class: "page" },
      header,
      el("aside", { "aria-label": "Pools and starvation" }, ...this.#body.slice(0, 2)),
      el("main", {}, this.#notice, ...this.#body.slice(2)),
    );
    this.#root.append(page);
    this.#style();
    this.#setRecording(undefined);
  }

  /** An element that is moved to another document loses its sheets. */
  #style(): void {
    const { ownerDocument } = this.#root;
    if (ownerDocument === this.#styledIn) return;
    this.#styledIn = ownerDocument;
    adopt(this.#root, STYLE);
  }

  #setTheme(theme: InspectorTheme): void {
    this.#theme = theme;
    setAttribute(this.#host, "data-theme", theme === "system" ? undefined : theme);
    this.#palette = paletteOf(theme === "dark" || (theme === "system" && this.#scheme.matches));
    this.#schedule(true);
  }

  #setPaused(isPaused: boolean): void {
    this.#isPaused = isPaused;
    setText(this.#pause, isPaused ? "Go on" : "Pause");
    this.#schedule(true);
    this.#tick();
  }

  #choose(pool: string | undefined): void {
    this.#pool = pool;
    this.#schedule(true);
  }

  #onUpdate(update: InspectorUpdate): void {
    if (this.#isClosed) return;
    this.#model.apply(update);
    const now = performance.now();
    // The first update says nothing of how long it takes until the next.
    if (this.#updatedAt !== Number.NEGATIVE_INFINITY) {
      const before = this.#gap === Number.POSITIVE_INFINITY ? 0 : this.#gap;
      this.#gap = Math.max(now - this.#updatedAt, before * GAP_DECAY);
    }
    this.#updatedAt = now;
    if (this.#connection.state !== "live") this.#onStatus({ state: "live" });
    if (this.#isPaused) return;
    if (this.#isWorthFrame(now)) this.#schedule(false);
    else this.#drawLater(CROWD_DRAW_MS);
  }

  /** Whether a frame would draw something: one that draws nothing takes the browser a millisecond all the same. */
  #isWorthFrame(now: number): boolean {
    return this.#isDue || this.#slotCount <= CROWD || now - this.#drawnAt >= CROWD_DRAW_MS;
  }

  /** Draws what was left out, if nothing comes meanwhile. */
  #drawLater(milliseconds: number): void {
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      if (!this.#isPaused) this.#schedule(true);
    }, milliseconds);
  }

  #onStatus(status: SourceStatus): void {
    if (this.#isClosed) return;
    this.#connection = status;
    this.#tick();
    this.#schedule(true);
  }

  /** Says how the connection is, also when no update comes. */
  #tick(): void {
    this.#style();
    const { state, reason } = this.#connection;
    const quiet = performance.now() - this.#updatedAt;
    const isQuiet = state === "live" && quiet > Math.max(QUIET_MS, QUIET_GAPS * this.#gap);
    const shown = state !== "live" ? state : this.#isPaused ? "paused" : isQuiet ? "quiet" : "live";
    const words = {
      connecting: "Connecting",
      lost: "Connection lost",
      paused: "Paused",
      quiet: "No news",
      live: "Live",
    };
    setAttribute(this.#status, "data-state", shown);
    setText(this.#status, words[shown]);
    let notice = "";
    if (state === "lost") {
      notice = `The connection to the program was lost${reason === undefined ? "" : `: ${visible(reason)}`}. What is shown is the last that it told. If it has ended, start it again and open the address that it prints; else this page connects again by itself.`;
    } else if (isQuiet) {
      notice = `No news for ${formatDuration(quiet)}: the program does not answer. Its main thread is busy, stopped in a debugger, or has ended.`;
    }
    const text = [notice, this.#traceFailed].filter((part) => part !== "").join(" ");
    setText(this.#notice, text);
    show(this.#notice, text !== "");
    if (this.#recordingSince !== undefined) this.#setRecording(this.#recordingSince);
  }

  #schedule(isDue: boolean): void {
    if (isDue) this.#isDue = true;
    if (this.#frame !== undefined || this.#isClosed) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = undefined;
      this.#draw();
    });
  }

  #draw(): void {
    const process = this.#process();
    // While it is paused, what the user chooses is drawn, and nothing else.
    if (this.#isPaused && !this.#isDue) return;
    const now = performance.now();
    const slots = process?.pools.reduce((sum, { rows }) => sum + rows.length, 0) ?? 0;
    this.#slotCount = slots;
    const isDue = this.#isDue || now - this.#readAt >= (slots > CROWD ? CROWD_READ_MS : READ_MS);
    const isDrawn = isDue || slots <= CROWD || now - this.#drawnAt >= CROWD_DRAW_MS;
    if (process === undefined) {
      this.#isDue = false;
      setText(this.#title, "Waiting for the program");
      setText(this.#facts, "Its pools show up here with its first news.");
      for (const part of this.#body) show(part, false);
      show(this.#processes.element, false);
      show(this.#threads.element, false);
      return;
    }
    const scene = this.#scene(process, isDue);
    // What was paused stays: all of it is of the same moment.
    const isAll = isDue && (this.#isPaused || now - this.#unseenAt >= UNSEEN_MS);
    if (isAll) clearTimeout(this.#rest);
    else this.#drawLater(isDue ? UNSEEN_MS : isDrawn ? READ_MS : CROWD_DRAW_MS);
    if (isDue) {
      this.#isDue = false;
      this.#readAt = now;
      if (isAll) this.#unseenAt = now;
      for (const part of this.#body) show(part, true);
      this.#head(process);
      // This one is heard, not only seen.
      this.#reports.update(scene);
      for (const part of [this.#pools, this.#holders]) this.#show(part, scene, isAll);
      const isSeen = this.#isPaused || !this.#unseen.has(this.#graphs.element);
      if (isSeen || isAll) this.#graphs.update(scene, isSeen);
    }
    if (!isDrawn) return;
    this.#drawnAt = now;
    this.#show(this.#slots, scene, this.#isPaused);
    this.#show(this.#timeline, scene, this.#isPaused);
  }

  #show(part: { readonly element: HTMLElement; update(scene: Scene): void }, scene: Scene, always: boolean): void {
    if (always || !this.#unseen.has(part.element)) part.update(scene);
  }

  #process(): ProcessModel | undefined {
    const { processes } = this.#model;
    if (this.#pid === undefined || !processes.has(this.#pid)) this.#pid = processes.keys().next().value;
    return this.#pid === undefined ? undefined : processes.get(this.#pid);
  }

  #scene(process: ProcessModel, isRead: boolean): Scene {
    const { realms } = process.snapshot;
    if (this.#thread !== undefined && !realms.some(({ thread }) => thread === this.#thread)) this.#thread = undefined;
    const thread = this.#thread;
    const pools =
      thread === undefined ? process.pools : process.pools.filter(({ info }) => info.threads.includes(thread));
    const one: PoolModel | undefined = pools.find(({ key }) => key === this.#pool);
    if (one === undefined) this.#pool = undefined;
    const chosen = one === undefined ? pools : [one];
    return {
      process,
      pools,
      chosen,
      isOne: one !== undefined,
      thread,
      now: process.now,
      isRead,
      palette: this.#palette,
    };
  }

  #head({ snapshot }: ProcessModel): void {
    const { title, pid, uptime, rss, cpu, realms } = snapshot;
    const name = title === "" ? (pid === 0 ? "This page" : "A program") : visible(title);
    setText(this.#title, cut(name, 120));
    setAttribute(this.#title, "title", name);
    const main = realms[0];
    const facts = [
      ...(pid === 0 ? [] : [`process ${pid}`]),
      ...(main === undefined ? [] : [visible(main.runtime)]),
      `up ${formatDuration(uptime * 1000)}`,
      ...(rss > 0 ? [`RSS ${formatBytes(rss)}`] : []),
      ...(cpu.user + cpu.system > 0 ? [`CPU ${formatDuration((cpu.user + cpu.system) * 1000)}`] : []),
      ...(main?.heap ? [`heap ${formatBytes(main.heap.used)}`, `external ${formatBytes(main.heap.external)}`] : []),
    ];
    setText(this.#facts, facts.join(" \u00b7 "));
    const processes = [...this.#model.processes.values()].map(({ snapshot: { pid: of, title: text } }) => {
      return { value: String(of), text: `${of} ${cut(visible(text), 40)}` };
    });
    this.#processes.update(processes, String(pid));
    const threads = realms.map(({ thread, runtime, silent }) => {
      const words = thread === 0 ? "main" : visible(runtime);
      return { value: String(thread), text: `${thread} (${words}${silent === undefined ? "" : ", silent"})` };
    });
    this.#threads.update(
      [{ value: "", text: "All" }, ...threads],
      this.#thread === undefined ? "" : String(this.#thread),
    );
    show(this.#processes.element, processes.length > 1);
    show(this.#threads.element, threads.length > 1);
  }

  #setRecording(since: number | undefined): void {
    this.#recordingSince = since;
    setAttribute(this.#record, "aria-pressed", String(since !== undefined));
    const text =
      since === undefined
        ? "Record a trace"
        : `Stop and download (${Math.max(0, Math.round((performance.now() - since) / 1000))} s)`;
    setText(this.#record, text);
  }

  async #onRecord(): Promise<void> {
    const since = this.#recordingSince;
    this.#traceFailed = "";
    if (since === undefined) {
      this.#setRecording(performance.now());
      return;
    }
    this.#setRecording(undefined);
    setText(this.#record, "Making the trace\u2026");
    this.#record.disabled = true;
    try {
      const trace = await this.#source.trace(Math.max(1, Math.ceil((performance.now() - since) / 1000)));
      if (!this.#isClosed) download(trace, `millpond-${this.#pid ?? 0}.trace.json`);
    } catch (error) {
      this.#traceFailed = `There is no trace: ${visible(error instanceof Error ? error.message : error)}.`;
      this.#tick();
    } finally {
      this.#record.disabled = false;
      this.#setRecording(undefined);
    }
  }
}

/** A select with its label. */
class Chooser {
  readonly element: HTMLElement;
  readonly #select: HTMLSelectElement = el("select");
  #options = "";

  constructor(label: string, onChange: (value: string) => void) {
    this.element = el("label", {}, label, this.#select);
    this.#select.addEventListener("change", () => onChange(this.#select.value));
  }

  update(options: readonly { readonly value: string; readonly text: string }[], value: string): void {
    const made = JSON.stringify(options);
    if (made !== this.#options) {
      this.#options = made;
      this.#select.replaceChildren(...options.map((option) => el("option", { value: option.value }, option.text)));
    }
    if (this.#select.value !== value) this.#select.value = value;
  }
}

function adopt(root: ShadowRoot, css: string): void {
  try {
    // Not a style element: a strict policy of the page around it has nothing against this.
    // Only the document's own window makes sheets for it.
    const sheet = new (root.ownerDocument.defaultView ?? globalThis).CSSStyleSheet();
    sheet.replaceSync(css);
    root.adoptedStyleSheets = [sheet];
  } catch {
    // Safari before 16.4.
    if (root.querySelector("style") === null) root.append(el("style", {}, css));
  }
}

function download(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Three squares, one of them held. */
function logo(): SVGElement {
  const make = (name: string, attributes: Readonly<Record<string, string>>): SVGElement => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const svg = make("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" });
  svg.append(
    make("rect", { x: "2", y: "3", width: "8", height: "8", rx: "1.5", fill: "var(--state1)" }),
    make("rect", {
      x: "14",
      y: "3",
      width: "8",
      height: "8",
      rx: "1.5",
      fill: "none",
      stroke: "var(--edge)",
      "stroke-width": "1.6",
    }),
    make("path", {
      d: "M2 16q2.5-2.4 5 0t5 0 5 0 5 0M2 20.5q2.5-2.4 5 0t5 0 5 0 5 0",
      fill: "none",
      stroke: "var(--accent)",
      "stroke-width": "1.8",
    }),
  );
  return svg;
}
