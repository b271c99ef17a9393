/**
 * Text for people: color where it is wanted, numbers with their units, tables that line up, messages, and a line of
 * progress.
 */

/** What a stream can show. */
export interface Paint {
  /** For what matters most. */
  bold(text: string): string;
  /** For what matters least. */
  dim(text: string): string;
  /** For what went well. */
  good(text: string): string;
  /** For what did not. */
  bad(text: string): string;
  /** For what needs a look. */
  warn(text: string): string;
  /** For progress. */
  accent(text: string): string;
}

/** Colors when `stream` is a terminal that wants them (NO_COLOR and FORCE_COLOR are heeded); plain text otherwise. */
export function paintFor(stream: NodeJS.WriteStream): Paint {
  const wanted =
    process.env.FORCE_COLOR !== undefined && process.env.FORCE_COLOR !== "0"
      ? true
      : stream.isTTY === true && (process.env.NO_COLOR ?? "") === "" && process.env.TERM !== "dumb";
  const code = (on: number, off: number) => (text: string) => (wanted ? `\u001b[${on}m${text}\u001b[${off}m` : text);
  return {
    bold: code(1, 22),
    dim: code(2, 22),
    good: code(32, 39),
    bad: code(31, 39),
    warn: code(33, 39),
    accent: code(36, 39),
  };
}

/** Bytes in the largest unit that leaves a readable number. */
export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  if (count < 1e6) return `${(count / 1e3).toFixed(count < 1e4 ? 1 : 0)} kB`;
  if (count < 1e9) return `${(count / 1e6).toFixed(count < 1e8 ? 1 : 0)} MB`;
  return `${(count / 1e9).toFixed(1)} GB`;
}

/** A number with thin separators and as many digits as it deserves. */
export function number(value: number): string {
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** Microseconds, in the unit that fits. */
export function micros(value: number): string {
  if (value >= 1000) return `${number(value / 1000)} ms`;
  return `${number(value)} us`;
}

/** `one 1 frame`, `2 frames`. */
export function count(value: number, noun: string): string {
  return `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** Columns that text for people may take: the terminal's, 100 at most; 100 where there is none. */
export function terminalWidth(stream: NodeJS.WriteStream): number {
  return Math.max(20, Math.min(stream.columns || 100, 100));
}

/** Wraps a paragraph to a width, for terminals; `indent` stands in front of every line but the first. */
export function wrap(text: string, width: number, indent = ""): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line !== "" && visible(line) + 1 + visible(word) > width) {
      lines.push(line);
      line = indent + word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  lines.push(line);
  return lines.join("\n");
}

/** Columns that line up: the first to the left, the others to the right. Escape codes take no room. */
export function table(rows: readonly (readonly string[])[], gap = 3): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, visible(cell));
  }
  return rows
    .map((row) =>
      row
        .map((cell, i) => {
          const room = " ".repeat(widths[i]! - visible(cell));
          return i === 0 ? cell + room : room + cell;
        })
        .join(" ".repeat(gap))
        .trimEnd(),
    )
    .join("\n");
}

function visible(text: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one.
  return text.replace(/\u001b\[\d+m/g, "").length;
}

/**
 * A file's name may hold what a terminal takes for commands; each such character becomes one that shows. Line feeds
 * stay.
 */
export function printableText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are meant
  return text.replaceAll(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, "\ufffd");
}

/** The same for what is one line, or a part of one. */
export function printableLine(text: string): string {
  return printableText(text).replaceAll("\n", "\ufffd");
}

/** Writes a message for people to standard error, wrapped to its width; an excerpt below it stays as it is. */
export function complain(message: string, excerpt?: string): void {
  const paint = paintFor(process.stderr);
  const width = Math.min(process.stderr.columns || 100, 100);
  const text = wrap(`millpond: ${printableText(message)}`, width, "  ");
  process.stderr.write(`${text.replace("millpond:", paint.bad("millpond:"))}\n`);
  if (excerpt !== undefined)
    process.stderr.write(`${printableText(excerpt).replace(/\^+$/, (marks) => paint.bad(marks))}\n`);
}

/** What the line shows. */
interface ProgressState {
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

/** A line on `stream`; shows nothing where `isQuiet` is set or the stream is something else than a terminal. */
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
        printableLine(state.label),
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
