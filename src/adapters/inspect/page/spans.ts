/**
 * The leases of one slot, or the waits of one pool, as spans of time: those that have ended in a ring, and the one
 * that is open. Spans that begin within {@link MERGE_MS} of the end of the one before become one with it: a pixel of
 * the timeline is longer than that, and a slot that is leased 100,000 times a second must not fill the ring.
 *
 * Invariants: starts and ends grow; at most {@link MAX_SPANS} closed spans are kept, and those of the last minute as
 * far as they fit. begin and end are O(1), each() is O(spans that end after `from`).
 */

/** Gaps shorter than this cannot be seen: 5 s on 1,000 pixels are 5 ms a pixel. */
const MERGE_MS = 1;
/** What a ring begins with; it doubles. */
const FIRST = 8;
/** A slot that is leased 68 times a second fills a minute with it. */
const MAX_SPANS = 4096;
/** The longest window is a minute: a ring does not grow for what is older. */
const KEEP_MS = 62_000;

/** See the module text. */
export class Spans {
  /** When the open span began; NaN: there is none. */
  openSince: number = Number.NaN;
  /** When the newest span ended; -Infinity: none has. */
  lastEnd: number = Number.NEGATIVE_INFINITY;
  #starts: Float64Array = new Float64Array(0);
  #ends: Float64Array = new Float64Array(0);
  #next = 0;
  #length = 0;

  /** Closed spans that are kept. */
  get length(): number {
    return this.#length;
  }

  /** Whether a span is open. */
  get isOpen(): boolean {
    return !Number.isNaN(this.openSince);
  }

  /** A span begins; one that is still open ends then: its end was not told. */
  begin(time: number): void {
    if (this.isOpen) this.end(Math.max(time, this.openSince));
    this.openSince = Math.max(time, this.lastEnd);
  }

  /** The open span ends. Without one nothing happens, nor when it began later: the end of an older one comes late. */
  end(time: number): boolean {
    if (!(time >= this.openSince)) return false;
    this.#add(this.openSince, time);
    this.lastEnd = time;
    this.openSince = Number.NaN;
    return true;
  }

  /** Calls `visit` with each span that is not over before `from`, newest first; an open one ends at Infinity. */
  each(from: number, visit: (start: number, end: number) => void): void {
    if (this.isOpen) visit(this.openSince, Number.POSITIVE_INFINITY);
    const { length: capacity } = this.#starts;
    for (let i = 1; i <= this.#length; i++) {
      const at = (this.#next - i + capacity) % capacity;
      if (this.#ends[at]! < from) return;
      visit(this.#starts[at]!, this.#ends[at]!);
    }
  }

  #add(start: number, end: number): void {
    const capacity = this.#starts.length;
    if (this.#length > 0) {
      const last = (this.#next - 1 + capacity) % capacity;
      if (start - this.#ends[last]! < MERGE_MS) {
        // Two long leases stay two: the border between them is news.
        const short = end - start < MERGE_MS || this.#ends[last]! - this.#starts[last]! < MERGE_MS;
        if (short) {
          this.#ends[last] = end;
          return;
        }
      }
    }
    const isFull = this.#length === capacity;
    // In a full ring the next place is that of the oldest.
    if (isFull && capacity < MAX_SPANS && !(this.#ends[this.#next]! < end - KEEP_MS)) {
      this.#grow(Math.max(FIRST, capacity * 2));
    }
    this.#starts[this.#next] = start;
    this.#ends[this.#next] = end;
    this.#next = (this.#next + 1) % this.#starts.length;
    this.#length = Math.min(this.#length + 1, this.#starts.length);
  }

  #grow(capacity: number): void {
    const order = Array.from(
      { length: this.#length },
      (_, i) => (this.#next - this.#length + i + this.#starts.length) % this.#starts.length,
    );
    const [starts, ends] = [new Float64Array(capacity), new Float64Array(capacity)];
    order.forEach((at, i) => {
      starts[i] = this.#starts[at]!;
      ends[i] = this.#ends[at]!;
    });
    this.#starts = starts;
    this.#ends = ends;
    this.#next = this.#length;
  }
}
