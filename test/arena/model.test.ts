// Shares its realm with other files: nothing that it changes outlives it.
/**
 * TlsfArena against a naive model: walks of fast-check with a validation after each step, and long random runs by seed.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TlsfArena } from "../../src/arena/tlsf/tlsf-arena.ts";
import { REPEATED, seedOf, times } from "../helpers/effort.ts";
import { NaiveHeap } from "./naive-heap.ts";

const WALKS = times(30, 300, "MILLPOND_WALKS");
const OPERATIONS = times(8_000, 1_000_000, "MILLPOND_OPERATIONS");
const SEED = seedOf("arena");

interface Step {
  readonly kind: "allocate" | "aligned" | "free" | "resize" | "reallocate" | "wrong" | "segment";
  readonly size: number;
  readonly pick: number;
}

function run(heap: NaiveHeap, { kind, size, pick }: Step): void {
  if (kind === "allocate") heap.allocate(size, 8);
  else if (kind === "aligned") heap.allocate(size, 8 << (pick % 8));
  else if (kind === "free") heap.free(pick);
  else if (kind === "resize") heap.resize(pick, size);
  else if (kind === "reallocate") heap.reallocate(pick, size);
  else if (kind === "wrong") heap.wrong(pick);
  else heap.toggleSegment();
}

describe("against a naive model", () => {
  it("walks of mixed calls leave every block where and what it was, and every account exact", REPEATED, () => {
    const size = fc.oneof(
      fc.integer({ min: 1, max: 64 }),
      fc.integer({ min: 1, max: 3000 }),
      fc.integer({ min: 1, max: 20_000 }),
    );
    const step = fc.record<Step>({
      kind: fc.constantFrom(
        "allocate",
        "allocate",
        "allocate",
        "aligned",
        "free",
        "free",
        "resize",
        "reallocate",
        "wrong",
        "segment",
      ),
      size,
      pick: fc.nat(1_000_000),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), fc.boolean(), (steps, shared) => {
        const buffer = shared ? new SharedArrayBuffer(24_576) : new ArrayBuffer(24_576);
        const heap = new NaiveHeap(TlsfArena.create({ source: buffer, initial: 16_384 }), 16_384, 8192);
        for (const one of steps) {
          run(heap, one);
          heap.check();
        }
        heap.freeAll();
      }),
      {
        numRuns: WALKS,
        seed: SEED,
      },
    );
  });

  // The run of this day, and a tenth of it with a fixed seed.
  it.each([
    [OPERATIONS, SEED],
    [OPERATIONS / 10, 1],
  ])("%i random operations, each followed by a validation; seed %i", REPEATED, (operations, seed) => {
    const random = xorshift(seed);
    const heap = new NaiveHeap(TlsfArena.create({ source: new ArrayBuffer(12_288), initial: 8192 }), 8192, 4096);
    for (let i = 0; i < operations; i++) {
      const pick = random();
      const roll = pick % 16;
      const size = 1 + (random() % (roll === 15 ? 4000 : 400));
      const kind =
        roll < 7 ? "allocate" : roll < 12 ? "free" : roll < 14 ? "reallocate" : roll < 15 ? "resize" : "aligned";
      run(heap, { kind, size, pick: pick >>> 4 });
      if (i % 1000 === 0) run(heap, { kind: i % 3000 === 0 ? "segment" : "wrong", size, pick: pick >>> 4 });
      heap.arena.validate();
      if (i % 64 === 0) heap.check();
    }
    heap.freeAll();
  });

  it("a large heap under random replacement stays whole", REPEATED, () => {
    const random = xorshift(7);
    const heap = new NaiveHeap(TlsfArena.create({ source: new ArrayBuffer(4 << 20) }), 0, 0);
    for (let i = 0; i < times(7_000, 60_000); i++) {
      const size = Math.ceil(2 ** (4 + (random() % 8)));
      if (heap.count < 3000 || random() % 2 === 0) heap.allocate(size + (random() % size), 8);
      else heap.free(random());
      if (i % 2000 === 0) heap.check();
    }
    heap.freeAll();
  });
});

function xorshift(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

describe("the model", () => {
  it("can fail: it notices a block that was moved, and one that was written to", () => {
    const heap = new NaiveHeap(TlsfArena.create({ source: new ArrayBuffer(16_384) }), 0, 0);
    heap.allocate(100, 8);
    heap.arena.bytes[heap.pointers()[0]! + 50]! ^= 1;
    expect(() => heap.check()).toThrow();
  });
});
