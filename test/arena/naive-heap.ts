/** A heap as a list of intervals with their contents: slow, obvious, and compared with the arena at every step. */
import { expect } from "vitest";
import type { TlsfArena } from "../../src/arena/tlsf/tlsf-arena.ts";
import { code } from "../pools/buffer/pools.ts";

interface Live {
  pointer: number;
  size: number;
  mark: number;
}

/** The size in bytes from which on a free block is certain to be found for one of `bytes`. */
export function stepAbove(bytes: number): number {
  return bytes + (bytes + 256) / 32 + 16;
}

export class NaiveHeap {
  readonly arena: TlsfArena;
  readonly #live: Live[] = [];
  readonly #stale: number[] = [];
  readonly #segmentStart: number;
  readonly #segmentLength: number;
  #hasSegment = false;
  #nextMark = 1;

  constructor(arena: TlsfArena, segmentStart: number, segmentLength: number) {
    this.arena = arena;
    this.#segmentStart = segmentStart;
    this.#segmentLength = segmentLength;
  }

  get count(): number {
    return this.#live.length;
  }

  pointers(): number[] {
    return this.#live.map(({ pointer }) => pointer);
  }

  allocate(size: number, align: number): void {
    const { arena } = this;
    const pointer = align === 8 ? arena.alloc(size) : arena.allocAligned(size, align);
    if (pointer === 0) {
      this.#mayFail(size, align);
      return;
    }
    expect((arena.byteOffset + pointer) % align).toBe(0);
    this.#enter({ pointer, size, mark: 0 });
  }

  /** A failure is right only when no free block is as large as the next size step above the one asked for. */
  #mayFail(size: number, align: number): void {
    // A step is a 32nd of the size and 256 bytes more.
    const certain = stepAbove(size + 16 + (align === 8 ? 0 : align + 16));
    expect(this.arena.stats().largest).toBeLessThan(certain);
  }

  #enter(entry: Live): void {
    for (const other of this.#live) {
      if (entry.pointer < other.pointer + other.size && other.pointer < entry.pointer + entry.size) {
        throw new Error(`blocks ${entry.pointer} and ${other.pointer} overlap`);
      }
    }
    if (entry.pointer + entry.size > this.arena.bytes.length)
      throw new Error(`block ${entry.pointer} leaves the arena`);
    this.#live.push(entry);
    this.#fill(entry);
  }

  #fill(entry: Live): void {
    entry.mark = this.#nextMark = (this.#nextMark % 250) + 1;
    this.arena.bytes.fill(entry.mark, entry.pointer, entry.pointer + entry.size);
  }

  #read(entry: Live, length: number): void {
    const bytes = this.arena.bytes.subarray(entry.pointer, entry.pointer + length);
    for (const byte of bytes) if (byte !== entry.mark) throw new Error(`block ${entry.pointer} lost its contents`);
  }

  free(pick: number): void {
    if (this.#live.length === 0) return;
    const k = pick % this.#live.length;
    const entry = this.#live[k]!;
    this.#read(entry, entry.size);
    this.#live[k] = this.#live.at(-1)!;
    this.#live.pop();
    this.arena.free(entry.pointer);
    this.#stale.push(entry.pointer);
    if (this.#stale.length > 50) this.#stale.shift();
  }

  resize(pick: number, size: number): void {
    if (this.#live.length === 0) return;
    const entry = this.#live[pick % this.#live.length]!;
    const before = this.arena.sizeOf(entry.pointer);
    const done = this.arena.resize(entry.pointer, size);
    if (size <= before) expect(done).toBe(true);
    if (!done) {
      expect(this.arena.sizeOf(entry.pointer)).toBe(before);
      return;
    }
    this.#read(entry, Math.min(entry.size, size));
    entry.size = size;
    this.#fill(entry);
  }

  reallocate(pick: number, size: number): void {
    if (this.#live.length === 0) return;
    const k = pick % this.#live.length;
    const entry = this.#live[k]!;
    const moved = this.arena.realloc(entry.pointer, size);
    if (moved === 0) {
      this.#read(entry, entry.size);
      this.#mayFail(size, 8);
      return;
    }
    const kept = Math.min(entry.size, size);
    this.#live[k] = this.#live.at(-1)!;
    this.#live.pop();
    entry.pointer = moved;
    this.#read(entry, kept);
    entry.size = size;
    this.#enter(entry);
  }

  /** Pointers of no live block: freed ones and ones inside blocks. */
  wrong(pick: number): void {
    const before = this.arena.stats();
    const live = new Set(this.pointers());
    const candidates = [...this.#stale, ...this.pointers().map((pointer) => pointer + 8), pick % 30_000];
    const pointer = candidates[pick % candidates.length]!;
    if (live.has(pointer)) return;
    expect(this.arena.isLive(pointer)).toBe(false);
    expect(code(() => this.arena.free(pointer))).toMatch(/^ERR_(DOUBLE|FOREIGN)_RELEASE$/);
    expect(this.arena.stats()).toEqual(before);
  }

  toggleSegment(): void {
    if (this.#segmentLength === 0) return;
    if (!this.#hasSegment) {
      this.arena.addSegment(this.#segmentStart, this.#segmentLength);
      this.#hasSegment = true;
      return;
    }
    const busy = this.#live.some(({ pointer }) => pointer >= this.#segmentStart);
    const result = code(() => this.arena.removeSegment(this.#segmentStart));
    expect(result).toBe(busy ? "ERR_IN_USE" : "ok");
    if (!busy) this.#hasSegment = false;
  }

  /** Everything there is to compare. */
  check(): void {
    this.arena.validate();
    let used = 0;
    for (const entry of this.#live) {
      this.#read(entry, entry.size);
      const physical = this.arena.sizeOf(entry.pointer);
      if (physical < entry.size) throw new Error(`block ${entry.pointer} holds ${physical} of ${entry.size} bytes`);
      used += physical + 8;
    }
    const stats = this.arena.stats();
    expect([stats.used, stats.liveBlocks, stats.used + stats.available]).toEqual([
      used,
      this.#live.length,
      stats.capacity,
    ]);
    const walked = [...this.arena.blocks()].filter(({ free }) => !free).map(({ pointer }) => pointer);
    expect(walked.sort((a, b) => a - b)).toEqual(this.pointers().sort((a, b) => a - b));
  }

  /** The end of a run: all is given back, and all of it is one block a segment again. */
  freeAll(): void {
    while (this.#live.length > 0) this.free(0);
    this.check();
    const stats = this.arena.stats();
    expect([stats.used, stats.liveBlocks, stats.freeBlocks]).toEqual([0, 0, this.#hasSegment ? 2 : 1]);
  }
}
