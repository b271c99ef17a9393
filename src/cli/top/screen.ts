/**
 * The terminal while `millpond top` has it: another screen, no cursor, keys as they are typed. Every way out gives it
 * back: the end, an error, a signal, Ctrl-Z, and the end of the process.
 */
import { writeSync } from "node:fs";
import type { Action } from "./model.ts";

const ENTER = "\u001b[?1049h\u001b[?25l\u001b[?7l";
const LEAVE = "\u001b[?7h\u001b[?25h\u001b[?1049l";

/** A terminal that knows these shows what is between them at once. */
const BEGIN = "\u001b[?2026h";
const END = "\u001b[?2026l";

/** What terminals send for keys. */
const KEYS: Readonly<Record<string, Action>> = {
  q: "quit",
  Q: "quit",
  "\u0003": "quit",
  "\u0004": "quit",
  "\u001b[A": "up",
  "\u001bOA": "up",
  k: "up",
  "\u001b[B": "down",
  "\u001bOB": "down",
  j: "down",
  "\u001b[5~": "pageUp",
  "\u001b[6~": "pageDown",
  "\u001b[H": "first",
  "\u001bOH": "first",
  "\u001b[1~": "first",
  g: "first",
  "\u001b[F": "last",
  "\u001bOF": "last",
  "\u001b[4~": "last",
  G: "last",
  "\r": "open",
  "\n": "open",
  "\u001b[C": "open",
  "\u001b": "back",
  "\u001b[D": "back",
  "\u007f": "back",
  s: "sort",
  p: "pause",
  " ": "pause",
  "?": "help",
  h: "help",
};

const STOP = "\u001a";

/** The keys in what was typed: each a character, or an escape sequence; several may come at once. */
export function keysIn(text: string): string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: keys begin with one.
  return text.match(/\u001b(?:\[[\d;]*[ -/]*[@-~]|O[@-~])?|[^\u001b]/gu) ?? [];
}

/** See the module text. */
export class Screen {
  readonly #input: NodeJS.ReadStream;
  readonly #output: NodeJS.WriteStream & { readonly fd?: number };
  readonly #onAction: (action: Action) => void;
  readonly #onResize: () => void;
  #isOpen = false;
  #draws = false;

  /** Takes nothing yet. */
  constructor(
    input: NodeJS.ReadStream,
    output: NodeJS.WriteStream,
    onAction: (action: Action) => void,
    onResize: () => void,
  ) {
    this.#input = input;
    this.#output = output;
    this.#onAction = onAction;
    this.#onResize = onResize;
  }

  /** Columns and rows; what a terminal does not say is 80 x 24. */
  get size(): readonly [columns: number, rows: number] {
    return [Math.max(1, this.#output.columns || 80), Math.max(1, this.#output.rows || 24)];
  }

  /** Takes the terminal. */
  open(): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#draws = false;
    this.#output.write(ENTER);
    if (this.#input.isTTY) {
      this.#input.setRawMode(true);
      this.#input.setEncoding("utf8").on("data", this.#onData).resume();
    }
    this.#output.on("resize", this.#onResize);
    process.on("exit", this.#leave);
    // The report of an uncaught error belongs on the screen that stays.
    process.on("uncaughtExceptionMonitor", this.#leave);
    process.on("SIGCONT", this.#onContinue);
  }

  /** Gives the terminal back. A second call does nothing. */
  close(): void {
    process.removeListener("SIGCONT", this.#onContinue);
    this.#leave();
  }

  /** Draws a whole screen; one that comes while the terminal has not taken the last is left out. */
  draw(lines: readonly string[]): void {
    if (!this.#isOpen || this.#draws) return;
    this.#draws = true;
    // Each line is cleared before it is written: behind a full one the cursor is still on its last cell.
    const last = lines.length - 1;
    const cleared = lines.map((line, i) => `${i === last ? "\u001b[J" : "\u001b[K"}${line}`);
    const text = `${BEGIN}\u001b[H${cleared.join("\r\n")}${END}`;
    this.#output.write(text, () => {
      this.#draws = false;
    });
  }

  readonly #leave = (): void => {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    process.removeListener("exit", this.#leave);
    process.removeListener("uncaughtExceptionMonitor", this.#leave);
    this.#output.removeListener("resize", this.#onResize);
    if (this.#input.isTTY) {
      this.#input.removeListener("data", this.#onData).pause();
      try {
        this.#input.setRawMode(false);
      } catch {
        // The terminal is gone.
      }
    }
    try {
      // At once: the process may be about to end.
      writeSync(this.#output.fd ?? 1, LEAVE);
    } catch {
      this.#output.write(LEAVE);
    }
  };

  readonly #onContinue = (): void => {
    this.open();
    this.#onResize();
  };

  readonly #onData = (text: string): void => {
    for (const key of keysIn(text)) {
      if (key === STOP) {
        this.#leave();
        process.kill(process.pid, "SIGTSTP");
        return;
      }
      const action = KEYS[key];
      if (action !== undefined) this.#onAction(action);
    }
  };
}
