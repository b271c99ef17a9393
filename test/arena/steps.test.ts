/** The bound on time, counted: words of the arena that one call reads and writes, with ten live blocks and with many thousands. */
import { describe, expect, it } from "vitest";
import { STEPS } from "../../src/arena/bound.ts";
import { TlsfArena } from "../../src/arena/tlsf.ts";

/** An arena whose words count every access to them. */
function counted(bytes: number): { arena: TlsfArena; steps: () => number } {
  const arena = TlsfArena.create(new ArrayBuffer(bytes));
  let accesses = 0;
  arena.words = new Proxy(arena.words, {
    get(target, key) {
      accesses++;
      return Reflect.get(target, key, target);
    },
    set(target, key, value) {
      accesses++;
      return Reflect.set(target, key, value, target);
    },
  });
  return {
    arena,
    steps: () => {
      const found = accesses;
      accesses = 0;
      return found;
    },
  };
}

interface Most {
  allocate: number;
  free: number;
  resize: number;
  full: number;
}

/** The most words that any call touched while about `live` blocks were live. */
function mostSteps(live: number): Most {
  // Too little for all of them, so that the arena is also full now and then.
  const { arena, steps } = counted(live * 100 + 3000);
  const most: Most = { allocate: 0, free: 0, resize: 0, full: 0 };
  const blocks: number[] = [];
  let state = 99;
  const random = (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  for (let i = 0; i < live * 2 + 4000; i++) {
    const size = 1 + random(2 ** (3 + random(8)));
    steps();
    if (blocks.length < live && (i < live || random(2) === 0)) {
      const pointer = arena.allocate(size);
      const found = steps();
      most.allocate = Math.max(most.allocate, found);
      if (pointer !== 0) blocks.push(pointer);
      else most.full++;
      continue;
    }
    if (blocks.length === 0) continue;
    const k = random(blocks.length);
    if (random(4) === 0) {
      arena.resize(blocks[k]!, size);
      most.resize = Math.max(most.resize, steps());
      continue;
    }
    const pointer = blocks[k]!;
    blocks[k] = blocks.at(-1)!;
    blocks.pop();
    arena.free(pointer);
    most.free = Math.max(most.free, steps());
  }
  return most;
}

describe("the number of steps", () => {
  it.each([10, 1000, 20_000])("is within the printed bound with %i live blocks", (live) => {
    const most = mostSteps(live);
    console.log(
      `arena, ${live} blocks: at most ${most.allocate} words to allocate, ${most.free} to free, ${most.resize} to resize`,
    );
    expect(most.allocate).toBeLessThanOrEqual(STEPS.allocate);
    expect(most.free).toBeLessThanOrEqual(STEPS.free);
    expect(most.resize).toBeLessThanOrEqual(STEPS.resize);
    expect(most.full).toBeGreaterThan(0);
  });

  it("does not depend on how many blocks are free: a freed neighbour, a hit and a miss cost the same with 30,000 holes", () => {
    const { arena, steps } = counted(2 << 20);
    const few = arena.allocate(16);
    arena.allocate(16);
    steps();
    arena.free(few);
    const alone = steps();
    const pointers = Array.from({ length: 60_000 }, () => arena.allocate(16));
    for (let i = 0; i < pointers.length; i += 2) arena.free(pointers[i]!);
    expect(arena.stats().freeBlocks).toBeGreaterThan(30_000);
    steps();
    const hit = arena.allocate(16);
    const hitSteps = steps();
    arena.free(hit);
    const freeSteps = steps();
    arena.allocate(1 << 20);
    const missSteps = steps();
    expect(hitSteps).toBeLessThanOrEqual(STEPS.allocate / 2);
    expect(freeSteps).toBeLessThanOrEqual(alone);
    expect(missSteps).toBeLessThanOrEqual(STEPS.allocate / 2);
  });
});
