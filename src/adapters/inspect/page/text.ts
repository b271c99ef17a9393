/**
 * Words and numbers for the page. Names, tags and sites come from programs that nobody vetted: control characters,
 * and those that turn the direction of what follows or are not seen at all, become escapes that can be read.
 */

/**
 * C0 and C1 controls, soft hyphen, direction marks and overrides, invisible characters, line separators, surrogates.
 */
const HIDDEN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb]|\u034f|\u17b4|\u17b5|[\u{e0000}-\u{e0fff}]|\p{Surrogate}/gu;

/** Characters of a text that a title may show. */
const MAX_TITLE = 2000;

/** A text of the program with everything that cannot be seen as an escape: `\n`, `\u{202e}`. */
export function visible(value: unknown): string {
  const text = String(value).slice(0, MAX_TITLE);
  return text.replace(HIDDEN, (found) => {
    const code = found.codePointAt(0)!;
    if (code === 10) return "\\n";
    if (code === 9) return "\\t";
    if (code === 13) return "\\r";
    return `\\u{${code.toString(16)}}`;
  });
}

/** The first `most` characters, with an ellipsis in place of the rest. */
export function cut(text: string, most: number): string {
  // Most texts are short, and are not taken apart.
  if (text.length <= most) return text;
  const points = Array.from(text);
  return points.length <= most ? text : `${points.slice(0, most - 1).join("")}\u2026`;
}

/** The end of a text, for paths, whose end says more than their beginning. */
export function cutFront(text: string, most: number): string {
  if (text.length <= most) return text;
  const points = Array.from(text);
  return points.length <= most ? text : `\u2026${points.slice(points.length - most + 1).join("")}`;
}

/** The first line of a text, as {@link visible} shows it: where a stack says who called. */
export function firstLine(text: string): string {
  return visible(text.trimStart().split("\n", 1)[0]);
}

/** A place in a file, with the folders in front of its last. */
const PLACE = /(?:[a-z][\w+.-]*:\/\/)?[^\s()]*[\\/]([^\s()\\/]+[\\/][^\s()\\/]+:\d+)/gi;

/** `decode (file:///app/src/decode.js:31:14)` as `decode (src/decode.js:31:14)`: the folders are the same for all. */
export function shortPlace(site: string): string {
  // Bounded, because the pattern looks again at every place of a text without one.
  return site.slice(0, 500).replace(/^at /, "").replaceAll(PLACE, "$1");
}

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** 12,345; a dash for what is not counted. */
export function formatCount(value: number | null): string {
  return value === null || !Number.isFinite(value) ? "\u2013" : WHOLE.format(value);
}

/** 3.1 MB. */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes)) return "\u2013";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 99.5 ? WHOLE.format(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A duration in milliseconds for a person: 0.4 ms, 120 ms, 3.2 s, 4 min 10 s, 2 h 5 min. */
export function formatDuration(ms: number | null): string {
  if (ms === null || !Number.isFinite(ms)) return "\u2013";
  if (ms < 0) return "0 ms";
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 99_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.floor(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A rate: 0, 4.2, 1,240. */
export function formatRate(value: number): string {
  if (!Number.isFinite(value)) return "\u2013";
  return value > 0 && value < 99.5 ? String(Number(value.toFixed(1))) : WHOLE.format(value);
}

/** The time of day of a moment, with tenths of seconds. */
export function formatTime(time: number): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return "\u2013";
  const two = (value: number): string => String(value).padStart(2, "0");
  const tenths = Math.floor(date.getMilliseconds() / 100);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${tenths}`;
}

/** "1 slot", "2 slots". */
export function plural(count: number, noun: string, many: string = `${noun}s`): string {
  return `${formatCount(count)} ${count === 1 ? noun : many}`;
}

/** A pool's name as it is shown; it may be empty. */
export function nameOf({ name }: { readonly name: string }): string {
  return name === "" ? "(no name)" : name;
}
