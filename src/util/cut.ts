/** Texts that are kept, or shown, of what the program calls its things: bounded, and memory of their own. */

/** Engines share the characters of a longer text with a part of it from this length on. */
const SHARED_FROM = 13;

/**
 * The text, at most `most` characters of it. It shares no memory with the one that was given, which may be a part of a
 * much larger one: to keep it keeps no more than it has.
 */
export function cut(value: unknown, most: number): string {
  const text = String(value);
  // Half a surrogate pair at the end would not be UTF-8.
  if (text.length > most) return own(`${text.slice(0, most - 1).toWellFormed()}…`);
  return text.length < SHARED_FROM ? text : own(text);
}

/** Joined and read, it is written into memory of its own, of which the rest is a part. */
function own(text: string): string {
  return ` ${text}`.slice(1);
}
