/** One line on standard error that tells how far the run is: on a terminal only, and gone when the run is over. */
import { number, paintFor } from "../terminal.ts";

/** What the line shows. */
export interface ProgressState {
  /** Frames measured. */
  readonly done: number;
  /** Frames in all; undefined when nobody knows. */
  readonly expected: number | undefined;
  /** What is going on. */
  readonly label: string;
  /** A few words at the end of the line. */
  readonly note: string;
  /** True when frames a second mean something here. */
  readonly showsRate: boolean;
}

/** Shows progress. */
export interface Progress {
  /** Shows the state, unless the line was drawn just now. */
  update(state: () => ProgressState): void;
  /** Takes the line away. */
  clear(): void;
}

// Ten times a second is smooth to the eye, and costs nothing beside a frame.
const REDRAW_MS = 100;
const BAR_WIDTH = 28;

/** A line on `stream`; one that shows nothing where the stream is no terminal or `isQuiet` is set. */
export function createProgress(stream: NodeJS.WriteStream, isQuiet: boolean): Progress {
  if (isQuiet || stream.isTTY !== true || process.env.TERM === "dumb") return { update() {}, clear() {} };
  const paint = paintFor(stream);
  const began = performance.now();
  let drawn = Number.NEGATIVE_INFINITY;
  let isShown = false;
  return {
    update(read) {
      const now = performance.now();
      if (now - drawn < REDRAW_MS) return;
      drawn = now;
      isShown = true;
      const state = read();
      const rate = state.done / Math.max(0.001, (now - began) / 1000);
      const parts = [
        state.label,
        bar(state, paint.accent, paint.dim),
        state.expected === undefined
          ? `${number(state.done)} frames`
          : `${number(state.done)}/${number(state.expected)} frames`,
        paint.dim(`${state.showsRate ? `${number(rate)}/s  ` : ""}${state.note}`),
      ];
      stream.write(`\r\u001b[2K${shorten(parts, stream.columns || 80)}`);
    },
    clear() {
      if (!isShown) return;
      isShown = false;
      stream.write("\r\u001b[2K");
    },
  };
}

function bar(state: ProgressState, full: (text: string) => string, empty: (text: string) => string): string {
  if (state.expected === undefined || state.expected === 0) return empty("\u2500".repeat(BAR_WIDTH));
  const filled = Math.min(BAR_WIDTH, Math.round((BAR_WIDTH * state.done) / state.expected));
  return full("\u2501".repeat(filled)) + empty("\u2500".repeat(BAR_WIDTH - filled));
}

/** Drops what a narrow terminal has no room for: a line that wraps cannot be taken back. */
function shorten(parts: readonly string[], columns: number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one.
  const length = (text: string): number => text.replace(/\u001b\[\d+m/g, "").length;
  const kept = parts.slice();
  const order = [3, 1, 0];
  for (const drop of order) {
    if (length(kept.filter((part) => part !== "").join("  ")) < columns) break;
    kept[drop] = "";
  }
  return kept.filter((part) => part !== "").join("  ");
}
