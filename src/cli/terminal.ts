/** Text for people: colour where it is wanted, numbers with their units, tables that line up. */

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

/** Colours when `stream` is a terminal that wants them (NO_COLOR and FORCE_COLOR are heeded); plain text otherwise. */
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
