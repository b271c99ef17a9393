/**
 * The slots of each pool, as squares on one canvas that lies behind all of them: 20 canvases cost a browser 20 layers.
 * A canvas has no parts that a keyboard or a screen reader could reach, so above the squares of each pool lies a grid
 * (ARIA) that has one cell in the document: the active one. All grids together are one tab stop: arrows move inside a
 * grid and on to the next pool, Page Up and Page Down by pools.
 *
 * Only squares whose state changed are drawn again: O(slots) comparisons an update, and no element is touched.
 */
import { AT_LEAST } from "../../../observe/realm-inspector.ts";
import { el, KeyedList, setAttribute, setName, setText, show } from "./dom.ts";
import { drawSlot, legend, STATE_NAMES } from "./marks.ts";
import type { PoolModel, SlotRow } from "./model.ts";
import type { Palette } from "./style.ts";
import {
  cut,
  cutFront,
  firstLine,
  formatBytes,
  formatCount,
  formatDuration,
  nameOf,
  plural,
  shortPlace,
  visible,
} from "./text.ts";
import type { Scene } from "./view.ts";

/** Pixels of a square with its gap, by how many squares there are. */
const SIZES: readonly (readonly [slots: number, pitch: number])[] = [
  [256, 20],
  [1024, 14],
  [2048, 11],
];
const SMALLEST = 9;
const GAP = 2;
/** Pools whose slots are drawn when all are shown. */
const MAX_GRIDS = 64;

/** See the module text. */
export class SlotGrids {
  /** Its place in the page. */
  readonly element: HTMLElement;
  readonly #list: HTMLElement = el("div", { class: "grids" });
  readonly #canvas: HTMLCanvasElement = el("canvas", { "aria-hidden": "true" });
  readonly #board: HTMLElement = el("div", { class: "board" }, this.#canvas, this.#list);
  readonly #more: HTMLElement = el("p", { class: "note" });
  readonly #readout: HTMLElement = el("p", { class: "readout" });
  readonly #empty: HTMLElement = el("p", { class: "empty" }, "There are no slots to show yet.");
  readonly #grids: KeyedList<PoolModel, SlotGrid>;
  readonly #resize: ResizeObserver;
  #scene: Scene | undefined;
  /** Where the keyboard is. */
  #active: { key: string; cell: number } | undefined;
  /** Where the pointer is. */
  #pointed: { key: string; cell: number } | undefined;
  #pitch = SIZES[0]![1];
  /** What the places of the squares were made for; they are made anew when it changes. */
  #layout = "";
  #palette: Palette | undefined;

  /** Empty until the first update. */
  constructor() {
    const hint = el(
      "span",
      { class: "sr", id: "slots-hint" },
      "Arrow keys move between slots, Page Up and Page Down between pools.",
    );
    this.element = el(
      "section",
      { "aria-labelledby": "slots-title" },
      el("div", { class: "bar" }, el("h2", { id: "slots-title" }, "Slots"), legend()),
      hint,
      this.#board,
      this.#more,
      this.#empty,
      this.#readout,
    );
    this.#grids = new KeyedList(this.#list, (pool) => this.#make(pool));
    this.#resize = new ResizeObserver(() => {
      this.#layout = "";
      if (this.#scene !== undefined) this.update(this.#scene);
    });
    this.#resize.observe(this.#list);
  }

  /** Draws what changed. */
  update(scene: Scene): void {
    this.#scene = scene;
    const { now } = scene;
    const chosen = this.#drawn(scene);
    const slots = chosen.reduce((sum, { rows }) => sum + rows.length, 0);
    this.#pitch = SIZES.find(([most]) => slots <= most)?.[1] ?? SMALLEST;
    this.#list.classList.toggle("one", chosen.length === 1);
    show(this.#empty, slots === 0);
    show(this.#board, chosen.length > 0);
    const hidden = scene.chosen.length - chosen.length;
    show(this.#more, hidden > 0);
    setText(this.#more, `${plural(hidden, "more pool")}: choose one in the list to see its slots.`);
    if (this.#active !== undefined && !chosen.some(({ key }) => key === this.#active!.key)) this.#active = undefined;
    const stop = this.#active?.key ?? chosen.find(({ rows }) => rows.length > 0)?.key;
    this.#grids.update(
      chosen,
      ({ key }) => key,
      (grid, pool) => grid.describe(pool, pool.key === stop, scene.isRead),
    );
    const context = this.#canvas.getContext("2d", { alpha: false });
    if (context !== null && slots > 0 && this.#place(chosen, scene.palette, context)) {
      const scale = scaleOf();
      for (const pool of chosen) this.#grids.views.get(pool.key)!.draw(context, pool, now, scene.palette, scale);
    }
    this.#say();
  }

  #drawn({ chosen }: Scene): readonly PoolModel[] {
    return chosen.length > MAX_GRIDS ? chosen.slice(0, MAX_GRIDS) : chosen;
  }

  /** Gives each square its place, if that has changed; false: there is no room to draw in. */
  #place(chosen: readonly PoolModel[], palette: Palette, context: CanvasRenderingContext2D): boolean {
    const scale = scaleOf();
    const layout = `${scale} ${this.#pitch} ${chosen.map(({ key, rows }) => `${key}:${rows.length}`).join(" ")}`;
    if (layout === this.#layout && palette === this.#palette) return true;
    const width = this.#list.firstElementChild?.clientWidth ?? 0;
    if (width === 0) return false;
    for (const pool of chosen) this.#grids.views.get(pool.key)!.size(pool.rows.length, this.#pitch, width);
    // All sizes are written before the first place is read: the page is laid out once.
    for (const grid of this.#grids.views.values()) grid.locate();
    const [wide, tall] = [this.#list.clientWidth, this.#list.clientHeight];
    this.#canvas.width = Math.round(wide * scale);
    this.#canvas.height = Math.round(tall * scale);
    this.#canvas.style.width = `${wide}px`;
    this.#canvas.style.height = `${tall}px`;
    context.fillStyle = palette.panel;
    context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
    this.#layout = layout;
    this.#palette = palette;
    return true;
  }

  /** Ends what observes the page. */
  close(): void {
    this.#resize.disconnect();
  }

  #make(pool: PoolModel): SlotGrid {
    const grid = new SlotGrid(pool.key);
    const at = ({ offsetX, offsetY }: MouseEvent): number => grid.cellAt(offsetX, offsetY);
    grid.surface.addEventListener("pointermove", (event) => {
      const cell = at(event);
      this.#pointed = cell < 0 ? undefined : { key: grid.key, cell };
      this.#say();
    });
    grid.surface.addEventListener("pointerleave", () => {
      this.#pointed = undefined;
      this.#say();
    });
    grid.surface.addEventListener("click", (event) => {
      const cell = at(event);
      if (cell < 0) return;
      this.#move(grid.key, cell);
      grid.surface.focus({ preventScroll: true });
    });
    grid.surface.addEventListener("focus", () => {
      if (this.#active?.key !== grid.key) this.#move(grid.key, 0);
    });
    grid.surface.addEventListener("keydown", (event) => this.#onKey(event, grid));
    return grid;
  }

  #move(key: string, cell: number): void {
    this.#active = { key, cell };
    for (const grid of this.#grids.views.values())
      setAttribute(grid.surface, "tabindex", grid.key === key ? "0" : "-1");
    this.#say();
  }

  #onKey(event: KeyboardEvent, grid: SlotGrid): void {
    if (event.altKey || event.metaKey) return;
    const count = grid.count;
    const at = this.#active?.key === grid.key ? Math.min(this.#active.cell, count - 1) : 0;
    const { columns } = grid;
    const lineStart = at - (at % columns);
    const lineEnd = Math.min(count - 1, lineStart + columns - 1);
    const goes: Record<string, () => void> = {
      ArrowRight: () => (at + 1 < count ? this.#move(grid.key, at + 1) : this.#step(grid, 1, 0)),
      ArrowLeft: () => (at > 0 ? this.#move(grid.key, at - 1) : this.#step(grid, -1, Number.MAX_SAFE_INTEGER)),
      ArrowDown: () =>
        at + columns < count
          ? this.#move(grid.key, at + columns)
          : lineEnd < count - 1
            ? this.#move(grid.key, count - 1)
            : this.#step(grid, 1, at % columns),
      ArrowUp: () =>
        at >= columns ? this.#move(grid.key, at - columns) : this.#step(grid, -1, Number.MAX_SAFE_INTEGER),
      Home: () => this.#move(grid.key, event.ctrlKey ? 0 : lineStart),
      End: () => this.#move(grid.key, event.ctrlKey ? count - 1 : lineEnd),
      PageDown: () => this.#step(grid, 1, 0),
      PageUp: () => this.#step(grid, -1, 0),
    };
    const go = goes[event.key];
    if (go === undefined || (event.ctrlKey && event.key !== "Home" && event.key !== "End")) return;
    event.preventDefault();
    go();
  }

  /** On to the next pool that has slots, or the one before. */
  #step(from: SlotGrid, by: 1 | -1, cell: number): void {
    const order = (this.#scene?.chosen ?? [])
      .map(({ key }) => this.#grids.views.get(key)!)
      .filter(({ count }) => count > 0);
    const next = order[order.indexOf(from) + by];
    if (next === undefined) return;
    this.#move(next.key, Math.min(cell, next.count - 1));
    next.surface.focus();
  }

  /** Says what the slot under the pointer, or at the keyboard, is doing. */
  #say(): void {
    const scene = this.#scene;
    if (scene === undefined) return;
    for (const pool of this.#drawn(scene)) {
      const grid = this.#grids.views.get(pool.key);
      const cell = this.#active?.key === pool.key ? Math.min(this.#active.cell, grid!.count - 1) : -1;
      grid?.activate(cell, cell < 0 ? "" : describe(pool, cell, scene.now));
    }
    const place = this.#pointed ?? this.#active;
    const pool = scene.chosen.find(({ key }) => key === place?.key);
    const text =
      place === undefined || pool === undefined || pool.rows.length === 0
        ? ""
        : `${cut(visible(nameOf(pool.info)), 60)}: ${describe(pool, Math.min(place.cell, pool.rows.length - 1), scene.now)}`;
    setText(
      this.#readout,
      text === "" && scene.chosen.length > 0
        ? "Point at a slot, or move with the arrow keys, to see who holds it."
        : text,
    );
  }
}

/** What is known of a slot, in words. */
function describe(pool: PoolModel, cell: number, now: number): string {
  const row = pool.rows[cell];
  if (row === undefined) return "";
  const state = pool.stateOf(row, now);
  const name = `slot ${row.slot}`;
  if (!row.isOpen) return `${name} is ${STATE_NAMES[state]!}`;
  return `${name} is held${row.isTimed ? ` for ${row.holder?.note === AT_LEAST ? "at least " : ""}${formatDuration(now - row.openSince)}` : ""}${who(row)}`;
}

function who({ holder, tag }: SlotRow): string {
  const name = holder?.tag ?? tag;
  const parts: string[] = [];
  if (name !== undefined) parts.push(` by ${cut(visible(name), 60)}`);
  if (holder?.members !== undefined && holder.members.length > 0) parts.push(` by member ${holder.members.join(", ")}`);
  if (holder !== null) parts.push(`, ${formatBytes(holder.size)}`);
  if (holder?.site !== undefined) parts.push(`, taken at ${cutFront(shortPlace(firstLine(holder.site)), 100)}`);
  if (holder?.note !== undefined && holder.note !== AT_LEAST) parts.push(` (${cut(visible(holder.note), 100)})`);
  return parts.join("");
}

function scaleOf(): number {
  return globalThis.devicePixelRatio || 1;
}

let made = 0;

/** The squares of one pool. */
class SlotGrid {
  readonly element: HTMLElement;
  readonly key: string;
  /** What has the focus, and the pointer's events. */
  readonly surface: HTMLElement;
  columns = 1;
  count = 0;
  readonly #name: HTMLElement = el("bdi");
  readonly #state: HTMLElement = el("span", { class: "num" });
  readonly #row: HTMLElement;
  readonly #cell: HTMLElement;
  /** What is drawn. */
  #drawn: Uint8Array = new Uint8Array(0);
  #pitch = 1;
  #left = 0;
  #top = 0;
  #active = -1;

  constructor(key: string) {
    this.key = key;
    const id = `slot-${++made}`;
    this.#cell = el("div", { role: "gridcell", id, "aria-colindex": "1", "aria-label": "slot" });
    this.#row = el("div", { role: "row", "aria-rowindex": "1" }, this.#cell);
    this.surface = el(
      "div",
      { class: "grid", role: "grid", tabindex: "-1", "aria-describedby": "slots-hint" },
      this.#row,
    );
    this.element = el("div", {}, el("h3", {}, this.#name, this.#state), this.surface);
  }

  describe(pool: PoolModel, isStop: boolean, isRead: boolean): void {
    const { info, rows } = pool;
    setAttribute(this.surface, "tabindex", isStop ? "0" : "-1");
    show(this.surface, rows.length > 0);
    if (!isRead && this.#name.firstChild !== null) return;
    setName(this.#name, nameOf(info), 32);
    const hidden = info.count > rows.length ? `, the first ${formatCount(rows.length)} shown` : "";
    const text = `${formatCount(info.leased)} of ${plural(info.count, "slot")} leased${hidden}`;
    setText(this.#state, rows.length === 0 ? "no slots yet" : text);
    setAttribute(this.surface, "aria-label", `Slots of ${cut(visible(nameOf(info)), 60)}`);
  }

  /** So many squares, in as many columns as fit. */
  size(count: number, pitch: number, width: number): void {
    this.count = count;
    this.#pitch = pitch;
    this.columns = Math.max(1, Math.min(count, Math.floor((width + GAP) / pitch)));
    const lines = Math.ceil(count / this.columns);
    this.surface.style.width = `${this.columns * pitch}px`;
    this.surface.style.height = `${lines * pitch}px`;
    setAttribute(this.surface, "aria-rowcount", String(lines));
    setAttribute(this.surface, "aria-colcount", String(this.columns));
    this.#drawn = new Uint8Array(count).fill(255);
  }

  /** Finds out where it is on the canvas. */
  locate(): void {
    this.#left = this.surface.offsetLeft;
    this.#top = this.surface.offsetTop;
  }

  draw(context: CanvasRenderingContext2D, pool: PoolModel, now: number, palette: Palette, scale: number): void {
    const { rows } = pool;
    const pitch = this.#pitch;
    const size = Math.round((pitch - GAP) * scale);
    const line = Math.max(1, Math.round(scale));
    for (let i = 0; i < this.count; i++) {
      const state = pool.stateOf(rows[i]!, now);
      if (this.#drawn[i] === state) continue;
      this.#drawn[i] = state;
      const x = Math.round((this.#left + (i % this.columns) * pitch) * scale);
      const y = Math.round((this.#top + Math.floor(i / this.columns) * pitch) * scale);
      drawSlot(context, palette, state, x, y, size, line);
    }
  }

  /** The square at a place; -1: none. */
  cellAt(x: number, y: number): number {
    const column = Math.floor(x / this.#pitch);
    const cell = Math.floor(y / this.#pitch) * this.columns + column;
    return x >= 0 && y >= 0 && column < this.columns && cell < this.count ? cell : -1;
  }

  /** Makes a square the active one, and says what it is; -1: none. */
  activate(cell: number, text: string): void {
    if (cell < 0) {
      if (this.#active < 0) return;
      this.#active = -1;
      setAttribute(this.surface, "aria-activedescendant", undefined);
      return;
    }
    const [column, line] = [cell % this.columns, Math.floor(cell / this.columns)];
    this.#active = cell;
    const size = this.#pitch - GAP;
    const place = `translate(${column * this.#pitch}px,${line * this.#pitch}px)`;
    if (this.#cell.style.transform !== place) this.#cell.style.transform = place;
    if (this.#cell.style.width !== `${size}px`) {
      this.#cell.style.width = `${size}px`;
      this.#cell.style.height = `${size}px`;
    }
    setAttribute(this.#row, "aria-rowindex", String(line + 1));
    setAttribute(this.#cell, "aria-colindex", String(column + 1));
    setAttribute(this.#cell, "aria-label", text);
    setAttribute(this.surface, "aria-activedescendant", this.#cell.id);
  }
}
