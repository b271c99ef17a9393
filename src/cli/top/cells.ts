/**
 * Text in the cells of a terminal. Names come from the program that is watched: whatever they hold, a line has the
 * width that it is said to have, and no character of them is a command.
 */

/**
 * What a terminal would obey or not show: controls, both directions' overrides, marks without a width of their own, and
 * halves of pairs.
 */
const UNSHOWABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
/** Marks that stand above or below the character before: several of them climb into other lines. */
const MARK = /[\p{Mn}\p{Me}]/u;
/** Two cells in every terminal of today. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;

/** Characters of a program's text that are looked at: more than any line has. */
const MAX_SHOWN = 4096;

/** Text of a program, fit to be shown on one line. O(1): however long it is, no more of it is read than a line has. */
export function shown(text: string): string {
  return (text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`)
    .replaceAll(UNSHOWABLE, "\ufffd")
    .replaceAll(/[\p{Mn}\p{Me}]{2,}/gu, "\ufffd");
}

function cellsOf(character: string): number {
  return MARK.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
}

/** Cells that text takes which {@link shown} gave. */
export function cells(text: string): number {
  let sum = 0;
  for (const character of text) sum += cellsOf(character);
  return sum;
}

/** At most `room` cells of it; what is cut ends with "…", or begins with it. */
export function clip(text: string, room: number, from: "start" | "end" = "start"): string {
  if (room <= 0) return "";
  if (cells(text) <= room) return text;
  const characters = from === "start" ? [...text] : [...text].reverse();
  let kept = "";
  let used = 1;
  for (const character of characters) {
    used += cellsOf(character);
    if (used > room) break;
    kept = from === "start" ? kept + character : character + kept;
  }
  return from === "start" ? `${kept}…` : `…${kept}`;
}

/** Exactly `room` cells. */
export function pad(text: string, room: number, align: "left" | "right" = "left"): string {
  const cut = clip(text, room);
  const space = " ".repeat(Math.max(0, room - cells(cut)));
  return align === "left" ? cut + space : space + cut;
}

/** Milliseconds, in at most six characters. */
export function duration(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes}m ${String(Math.floor(ms / 1000) % 60).padStart(2, "0")}s`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)}h ${String(minutes % 60).padStart(2, "0")}m`;
  return `${Math.floor(minutes / 1440)} days`;
}

/** A frequency, in at most six characters. */
export function rate(value: number): string {
  if (value < 9.95) return value === 0 ? "0" : value.toFixed(1);
  if (value < 9999.5) return String(Math.round(value));
  if (value < 999_500) return `${Math.round(value / 1000)}k`;
  return `${(value / 1e6).toFixed(1)}M`;
}
