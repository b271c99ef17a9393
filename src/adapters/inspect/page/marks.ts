/** How a slot's state looks, the same in the grid, the legend and the tables: fill height and color, both. */
import { el, setAttribute } from "./dom.ts";
import { SlotState } from "./model.ts";
import { FILL, type Palette } from "./style.ts";

/** What a state is called. */
export const STATE_NAMES: readonly string[] = [
  "free",
  "held under 100 ms",
  "held under 1 s",
  "held under 10 s",
  "held 10 s or more",
  "held, since when is not known",
  "not told",
];

/** Draws a slot into a square of `size` pixels. */
export function drawSlot(
  context: CanvasRenderingContext2D,
  palette: Palette,
  state: SlotState,
  x: number,
  y: number,
  size: number,
  line: number,
): void {
  const color = palette.states[state]!;
  if (state === SlotState.UNTOLD) {
    // A dot: neither a frame, which is free, nor anything filled.
    const middle = Math.round(size / 2) - line;
    context.fillStyle = palette.panel;
    context.fillRect(x, y, size, size);
    context.fillStyle = color;
    context.fillRect(x + middle, y + middle, 2 * line, 2 * line);
    return;
  }
  context.fillStyle = color;
  context.fillRect(x, y, size, size);
  const inner = size - 2 * line;
  if (state === SlotState.HELD) {
    // Stripes: how high it is filled would say how long.
    context.fillStyle = palette.panel;
    for (let row = 2 * line; row < size - line; row += 3 * line) context.fillRect(x + line, y + row, inner, line);
    return;
  }
  // The frame stays, and what is not filled is taken out of it.
  const empty = inner - Math.round(inner * FILL[state]!);
  context.fillStyle = palette.panel;
  if (empty > 0) context.fillRect(x + line, y + line, inner, empty);
  if (state === SlotState.OLD) {
    // A hole in the middle, so that the alarming state is not told by its color.
    const hole = Math.max(2 * line, Math.round(size / 3));
    const at = Math.round((size - hole) / 2);
    context.fillRect(x + at, y + at, hole, hole);
  }
}

/** The legend of the states. */
export function legend(): HTMLElement {
  const names: [SlotState, string][] = [
    [SlotState.FREE, "free"],
    [SlotState.FRESH, "held < 100 ms"],
    [SlotState.SHORT, "< 1 s"],
    [SlotState.LONG, "< 10 s"],
    [SlotState.OLD, "10 s or more"],
    [SlotState.HELD, "since when not known"],
  ];
  return el(
    "ul",
    { class: "legend", "aria-label": "What the marks mean" },
    ...names.map(([state, text]) => el("li", {}, swatch(state), text)),
  );
}

function swatch(state: SlotState): HTMLElement {
  const box = el("span", { class: "swatch", "aria-hidden": "true" });
  paint(box, state);
  if (state === SlotState.OLD) box.classList.add("old");
  if (state === SlotState.HELD) box.classList.add("held");
  return box;
}

function paint(box: HTMLElement, state: SlotState): void {
  const fill = el("i");
  if (state !== SlotState.FREE && state !== SlotState.HELD) {
    fill.style.height = `${FILL[state]! * 100}%`;
    fill.style.background = `var(--state${state})`;
  }
  box.append(fill);
}

/** A small mark for a table's row, which changes with its state. */
export class Mark {
  /** Its place in the row. */
  readonly element: HTMLElement = el("span", { class: "mark", "aria-hidden": "true" });
  readonly #fill: HTMLElement = el("i");
  #state: SlotState = SlotState.FREE;

  /** A mark for a free slot. */
  constructor() {
    this.element.append(this.#fill);
  }

  /** Shows another state. */
  set(state: SlotState): void {
    if (state === this.#state) return;
    this.#state = state;
    const isHeld = state === SlotState.HELD;
    this.#fill.style.height = `${(isHeld ? 1 : FILL[state]!) * 100}%`;
    this.#fill.style.background = isHeld
      ? "repeating-linear-gradient(45deg,var(--state5) 0 2px,transparent 2px 4px)"
      : `var(--state${state})`;
    setAttribute(this.element, "data-state", String(state));
  }
}
