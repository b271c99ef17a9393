/**
 * The timeline: a row a slot, the newest at the right edge. A lease is a bar that grows taller and changes its color as
 * it gets older; above the slots of each pool is a line that shows when somebody waited.
 *
 * Each update moves what is drawn to the left by whole pixels and draws only what is new at the right: O(visible rows +
 * new spans). All of it is drawn again when the size, the theme, the window or what is shown changed.
 */
import { el, setAttribute, setStyle, setText, show } from "./dom.ts";
import { AGE_LIMITS, type PoolModel, SlotState, stateOfAge } from "./model.ts";
import type { Spans } from "./spans.ts";
import { FILL, type Palette } from "./style.ts";
import { cut, formatDuration, nameOf, plural, visible } from "./text.ts";
import type { Scene } from "./view.ts";

/** Windows in seconds. */
const WINDOWS = [5, 10, 30, 60] as const;
/** Rows that are listed; beyond them the grid and the table show what is. */
const MAX_ROWS = 2048;
const HEAD_PX = 20;
const WAIT_PX = 7;
const TALLEST_PX = 16;
const SHORTEST_PX = 4;
/** What the rows may take before they scroll. */
const VIEW_PX = 300;
/** What the readout says while nothing is pointed at. */
const HINT =
  "Point at a row to see how long its slot was held. The red line above the slots of a pool: somebody waited.";
/** News from other threads come this much later. */
const LATE_MS = 400;

type Row =
  | { readonly kind: "head"; readonly y: number; readonly height: number; readonly pool: PoolModel }
  | {
      readonly kind: "waits" | "slot";
      readonly y: number;
      readonly height: number;
      readonly pool: PoolModel;
      readonly index: number;
    };

/** See the module text. */
export class TimelineView {
  /** Its place in the page. */
  readonly element: HTMLElement;
  readonly #canvas: HTMLCanvasElement = el("canvas", { "aria-hidden": "true" });
  readonly #space: HTMLElement;
  readonly #scroll: HTMLElement;
  readonly #ticks: HTMLElement = el("div", { class: "ticks num", "aria-hidden": "true" });
  readonly #note: HTMLElement = el("p", { class: "note" });
  readonly #readout: HTMLElement = el("p", { class: "readout soft" }, HINT);
  readonly #empty: HTMLElement = el(
    "p",
    { class: "empty" },
    "No leases to draw yet: nothing was leased since this page was opened.",
  );
  readonly #resize: ResizeObserver;
  #scene: Scene | undefined;
  #seconds: number = WINDOWS[1];
  #rows: Row[] = [];
  #height = 0;
  #layout = "";
  /** What was drawn: undefined: nothing that can be moved. */
  #drawn: { readonly right: number; readonly palette: Palette; readonly scroll: number } | undefined;
  #width = 0;
  #shown = 0;

  /** Empty until the first update. */
  constructor() {
    const select = el(
      "select",
      {},
      ...WINDOWS.map((seconds) => el("option", { value: String(seconds) }, `${seconds} s`)),
    );
    select.value = String(this.#seconds);
    select.addEventListener("change", () => {
      this.#seconds = Number(select.value);
      this.#redraw();
    });
    this.#space = el("div", { class: "lanes" }, this.#canvas);
    this.#scroll = el("div", { class: "scroll", role: "group", tabindex: "0" }, this.#space);
    this.#scroll.addEventListener("scroll", () => this.#redraw());
    this.#scroll.addEventListener("pointermove", (event) => this.#point(event));
    this.#scroll.addEventListener("pointerleave", () => setText(this.#readout, HINT));
    this.element = el(
      "section",
      { "aria-labelledby": "timeline-title" },
      el(
        "div",
        { class: "bar tools" },
        el("h2", { id: "timeline-title" }, "Timeline of leases"),
        el("label", {}, "Window", select),
      ),
      this.#scroll,
      this.#ticks,
      this.#note,
      this.#readout,
      this.#empty,
    );
    this.#resize = new ResizeObserver(() => {
      const width = this.#scroll.clientWidth;
      if (width === this.#width) return;
      this.#width = width;
      this.#layout = "";
      this.#redraw();
    });
    this.#resize.observe(this.#scroll);
  }

  /** Ends what observes the page. */
  close(): void {
    this.#resize.disconnect();
  }

  /** Draws what is new. */
  update(scene: Scene): void {
    const isOther = this.#scene === undefined || this.#scene.process !== scene.process;
    this.#scene = scene;
    const layout = scene.chosen.map(({ key, rows }) => `${key}:${rows.length}`).join(" ");
    if (layout !== this.#layout || isOther) this.#lay(scene, layout);
    this.#draw(scene);
  }

  #redraw(): void {
    this.#drawn = undefined;
    if (this.#scene !== undefined) this.update(this.#scene);
  }

  /** Places the rows. */
  #lay({ chosen }: Scene, layout: string): void {
    this.#layout = layout;
    this.#drawn = undefined;
    const slots = chosen.reduce((sum, { rows }) => sum + rows.length, 0);
    const heads = chosen.length * (HEAD_PX + WAIT_PX);
    const height = Math.max(SHORTEST_PX, Math.min(TALLEST_PX, Math.floor((VIEW_PX - heads) / Math.max(1, slots))));
    const rows: Row[] = [];
    let y = 0;
    let left = MAX_ROWS;
    for (const pool of chosen) {
      if (pool.rows.length === 0 || left === 0) continue;
      rows.push({ kind: "head", y, height: HEAD_PX, pool });
      rows.push({ kind: "waits", y: y + HEAD_PX, height: WAIT_PX, pool, index: -1 });
      y += HEAD_PX + WAIT_PX;
      const count = Math.min(left, pool.rows.length);
      for (let index = 0; index < count; index++) {
        rows.push({ kind: "slot", y, height, pool, index });
        y += height;
      }
      left -= count;
      y += 4;
    }
    this.#rows = rows;
    this.#height = y;
    show(this.#scroll, rows.length > 0);
    show(this.#ticks, rows.length > 0);
    show(this.#readout, rows.length > 0);
    show(this.#empty, rows.length === 0);
    setText(
      this.#note,
      slots > MAX_ROWS ? `The first ${plural(MAX_ROWS, "slot")} of ${slots}; choose a pool to see its own.` : "",
    );
    show(this.#note, slots > MAX_ROWS);
    setStyle(this.#space, "height", `${y}px`);
    setAttribute(
      this.#scroll,
      "aria-label",
      `Timeline of ${plural(slots, "slot")}. The table of holders says in words what it draws.`,
    );
  }

  #draw(scene: Scene): void {
    if (this.#rows.length === 0) return;
    const { palette, now } = scene;
    const scale = globalThis.devicePixelRatio || 1;
    this.#width ||= this.#scroll.clientWidth;
    const shown = Math.min(this.#height, VIEW_PX + HEAD_PX);
    if (this.#width === 0 || shown === 0) return;
    const [width, height] = [Math.round(this.#width * scale), Math.round(shown * scale)];
    const context = this.#canvas.getContext("2d", { alpha: false });
    if (context === null) return;
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      this.#canvas.width = width;
      this.#canvas.height = height;
      this.#canvas.style.width = `${this.#width}px`;
      this.#canvas.style.height = `${shown}px`;
      this.#drawn = undefined;
    }
    this.#label();
    const scroll = this.#height > shown ? this.#scroll.scrollTop : 0;
    const msPerPixel = (this.#seconds * 1000) / width;
    const right = Math.floor(now / msPerPixel);
    const before = this.#drawn;
    let from = 0;
    if (before !== undefined && before.palette === palette && before.scroll === scroll && right >= before.right) {
      const moved = right - before.right;
      from = Math.max(0, width - moved - Math.ceil(LATE_MS / msPerPixel) - 2);
      if (moved > 0 && moved < width) context.drawImage(this.#canvas, -moved, 0);
    }
    this.#shown = shown;
    this.#drawn = { right, palette, scroll };
    context.fillStyle = palette.panel;
    context.fillRect(from, 0, width - from, height);
    // The time at the left edge of the canvas.
    const start = (right - width) * msPerPixel;
    for (const row of this.#rows) {
      const y = row.y - scroll;
      if (y + row.height < 0) continue;
      if (y > shown) break;
      const [top, tall] = [Math.round(y * scale), Math.round((y + row.height) * scale) - Math.round(y * scale)];
      if (row.kind === "head") continue;
      const spans = row.kind === "waits" ? row.pool.waits : row.pool.rows[row.index];
      if (spans === undefined) continue;
      if (row.kind === "waits")
        drawWaits(context, palette, spans, { start, msPerPixel, from, width, now, top, tall, scale });
      else drawSlotRow(context, palette, spans, { start, msPerPixel, from, width, now, top, tall, scale });
    }
    this.#names(context, palette, scroll, scale, width);
  }

  /** The names of the pools, which do not move. */
  #names(context: CanvasRenderingContext2D, palette: Palette, scroll: number, scale: number, width: number): void {
    context.font = `600 ${12 * scale}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    for (const row of this.#rows) {
      const y = row.y - scroll;
      if (row.kind !== "head" || y + row.height < 0) continue;
      if (y > this.#shown) break;
      context.fillStyle = palette.panel;
      context.fillRect(0, Math.round(y * scale), width, Math.round(HEAD_PX * scale));
      context.fillStyle = palette.line;
      context.fillRect(0, Math.round((y + HEAD_PX) * scale) - 1, width, 1);
      context.fillStyle = palette.text;
      context.fillText(cut(visible(nameOf(row.pool.info)), 60), 2 * scale, (y + HEAD_PX / 2) * scale, width - 4);
    }
  }

  #label(): void {
    const texts = [1, 0.75, 0.5, 0.25, 0].map((part) => (part === 0 ? "now" : `\u2212${this.#seconds * part} s`));
    if (this.#ticks.childElementCount === texts.length && this.#ticks.firstElementChild?.textContent === texts[0])
      return;
    this.#ticks.replaceChildren(...texts.map((text) => el("span", {}, text)));
  }

  /** Says what is under the pointer. */
  #point(event: PointerEvent): void {
    const scene = this.#scene;
    if (scene === undefined) return;
    const box = this.#canvas.getBoundingClientRect();
    const y = event.clientY - box.top + (this.#height > this.#shown ? this.#scroll.scrollTop : 0);
    const time = scene.now - (1 - (event.clientX - box.left) / box.width) * this.#seconds * 1000;
    const row = this.#rows.find((candidate) => y >= candidate.y && y < candidate.y + candidate.height);
    if (row === undefined || row.kind === "head") {
      setText(this.#readout, HINT);
      return;
    }
    const spans = row.kind === "waits" ? row.pool.waits : row.pool.rows[row.index];
    const name = cut(visible(nameOf(row.pool.info)), 60);
    const ago = `${formatDuration(scene.now - time)} ago`;
    const what = row.kind === "waits" ? "waiters" : `slot ${row.pool.rows[row.index]?.slot}`;
    let text = row.kind === "waits" ? `${name}: nobody waited ${ago}` : `${name}, ${what}: free ${ago}`;
    spans?.each(time, (from, to) => {
      if (from > time || to < time) return;
      const lasted = Number.isFinite(to)
        ? `for ${formatDuration(to - from)}`
        : `for ${formatDuration(scene.now - from)} until now`;
      text = row.kind === "waits" ? `${name}: somebody waited ${lasted}` : `${name}, ${what}: held ${lasted}`;
    });
    setText(this.#readout, text);
  }
}

/** Where a row's pixels are. */
interface Strip {
  readonly start: number;
  readonly msPerPixel: number;
  readonly from: number;
  readonly width: number;
  readonly now: number;
  readonly top: number;
  readonly tall: number;
  readonly scale: number;
}

function drawSlotRow(context: CanvasRenderingContext2D, palette: Palette, spans: Spans, strip: Strip): void {
  const { start, msPerPixel, from, width, now, top, tall, scale } = strip;
  const gap = tall > 3 * scale ? Math.round(scale) : 0;
  const room = tall - gap;
  const least = Math.max(1, Math.round(scale));
  context.fillStyle = palette.raised;
  context.fillRect(from, top + tall - gap - least, width - from, least);
  spans.each(start + from * msPerPixel, (begin, end) => {
    const last = Math.min(end, now);
    let since = begin;
    // A part for each age: it gets taller and changes its color where it has lasted so long.
    for (let age = 0; since <= last; age++) {
      const until = age < AGE_LIMITS.length ? Math.min(last, begin + AGE_LIMITS[age]!) : last;
      if (until >= start + from * msPerPixel) {
        const left = Math.max(from, Math.floor((since - start) / msPerPixel));
        const right = Math.min(width, Math.max(left + 1, Math.ceil((until - start) / msPerPixel)));
        const state = stateOfAge(since - begin);
        const height = tall < 7 * scale ? room : Math.max(2 * least, Math.round(room * FILL[state]!));
        context.fillStyle = palette.states[state]!;
        context.fillRect(left, top + room - height, right - left, height);
        if (state === SlotState.OLD && tall >= 7 * scale) {
          // A line along its middle: the oldest is not told by its color alone.
          context.fillStyle = palette.panel;
          context.fillRect(left, top + Math.round(room / 2), right - left, least);
        }
      }
      if (until >= last) return;
      since = until;
    }
  });
}

function drawWaits(context: CanvasRenderingContext2D, palette: Palette, spans: Spans, strip: Strip): void {
  const { start, msPerPixel, from, width, now, top, tall, scale } = strip;
  const height = Math.max(2, tall - Math.round(3 * scale));
  context.fillStyle = palette.alarm;
  spans.each(start + from * msPerPixel, (begin, end) => {
    const left = Math.max(from, Math.floor((begin - start) / msPerPixel));
    const right = Math.min(width, Math.max(left + 1, Math.ceil((Math.min(end, now) - start) / msPerPixel)));
    if (right > left) context.fillRect(left, top + Math.round(scale), right - left, height);
  });
}
