/**
 * MediaBuffers against a naive model in which every buffer simply has its own bytes. Shallow copies, partial ones and
 * appended buffers share memory underneath; whatever is written, resized, merged or released, no buffer may ever see
 * another's change, and in the end every memory is back in its allocator.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { defaultAllocator, SystemAllocator, setDefaultAllocator } from "../../../src/memory/allocator.ts";
import { REPEATED, seedOf, times } from "../../helpers/effort.ts";
import { code } from "../../pools/buffer/pools.ts";

interface Pair {
  real: MediaBuffer;
  bytes: number[];
  refs: number;
}

class World {
  readonly allocator = new SystemAllocator("model");
  readonly pairs: Pair[] = [];
  next = 1;

  /** Distinct bytes, so that a mix-up shows. */
  fresh(size: number): number[] {
    return Array.from({ length: size }, () => this.next++ & 0xff);
  }
}

function memoryOf(world: World, bytes: number[], prefix = 0, padding = 0) {
  const memory = world.allocator.allocate(bytes.length, { prefix, padding });
  const mapping = memory.map("write");
  mapping.bytes.set(bytes);
  mapping.unmap();
  return memory;
}

function contents(buffer: MediaBuffer): number[] {
  const out = new Uint8Array(buffer.size);
  expect(buffer.extract(0, out)).toBe(out.length);
  return [...out];
}

type Step = (world: World, pair: Pair) => void;

class Command implements fc.Command<World, World> {
  readonly name: string;
  readonly who: number;
  readonly args: readonly unknown[];
  readonly step: Step;

  constructor(name: string, who: number, args: readonly unknown[], step: Step) {
    this.name = name;
    this.who = who;
    this.args = args;
    this.step = step;
  }

  check(): boolean {
    return true;
  }

  run(world: World): void {
    if (world.pairs.length === 0 || (this.name === "new" && world.pairs.length < 6)) {
      world.pairs.push({ real: new MediaBuffer(), bytes: [], refs: 1 });
    }
    const pair = world.pairs[this.who % world.pairs.length]!;
    this.step(world, pair);
    for (const { real, bytes } of world.pairs) {
      expect(contents(real)).toEqual(bytes);
      expect(real.memoryCount).toBeLessThanOrEqual(16);
    }
  }

  toString(): string {
    return `${this.name}@${this.who}(${this.args.join(", ")})`;
  }
}

/** Runs a change; on a buffer with two references it must be refused and change nothing. */
function change(pair: Pair, fn: () => unknown, apply: () => void): void {
  const got = code(fn);
  if (pair.refs > 1) expect(got).toBe("ERR_NOT_WRITABLE");
  else {
    expect(got).toBe("ok");
    apply();
  }
}

/** Where in the bytes the memory at `index` begins. */
function startOf(real: MediaBuffer, index: number): number {
  return real.memories.slice(0, index).reduce((sum, memory) => sum + memory.size, 0);
}

const insert = (who: number, at: number, size: number, prefix: number, padding: number) =>
  new Command("insert", who, [at, size, prefix, padding], (world, pair) => {
    const index = at % (pair.real.memoryCount + 1);
    const start = startOf(pair.real, index);
    const bytes = world.fresh(size);
    const memory = memoryOf(world, bytes, prefix, padding);
    change(
      pair,
      () => pair.real.insert(index, memory),
      () => void pair.bytes.splice(start, 0, ...bytes),
    );
    if (pair.refs > 1) memory.release();
  });

const remove = (who: number, at: number, length: number) =>
  new Command("remove", who, [at, length], (_world, pair) => {
    const index = at % (pair.real.memoryCount + 1);
    const count = Math.min(length, pair.real.memoryCount - index);
    const [from, to] = [startOf(pair.real, index), startOf(pair.real, index + count)];
    change(
      pair,
      () => pair.real.remove(index, count),
      () => void pair.bytes.splice(from, to - from),
    );
  });

const replace = (who: number, at: number, size: number) =>
  new Command("replace", who, [at, size], (world, pair) => {
    if (pair.real.memoryCount === 0) return;
    const index = at % pair.real.memoryCount;
    const [from, to] = [startOf(pair.real, index), startOf(pair.real, index + 1)];
    const bytes = world.fresh(size);
    const memory = memoryOf(world, bytes);
    change(
      pair,
      () => pair.real.replace(index, 1, memory),
      () => void pair.bytes.splice(from, to - from, ...bytes),
    );
    if (pair.refs > 1) memory.release();
  });

const fill = (who: number, offset: number, size: number) =>
  new Command("fill", who, [offset, size], (world, pair) => {
    const bytes = world.fresh(size);
    const room = Math.max(0, Math.min(size, pair.bytes.length - offset));
    let done = -1;
    change(
      pair,
      () => {
        done = pair.real.fill(offset, new Uint8Array(bytes));
      },
      () => {
        expect(done).toBe(room);
        for (let i = 0; i < room; i++) pair.bytes[offset + i] = bytes[i]!;
      },
    );
  });

const memset = (who: number, offset: number, value: number, size: number) =>
  new Command("memset", who, [offset, value, size], (_world, pair) => {
    change(
      pair,
      () => pair.real.memset(offset, value, size),
      () => {
        for (let i = offset; i < Math.min(offset + size, pair.bytes.length); i++) pair.bytes[i] = value;
      },
    );
  });

const shrinkAndUndo = (who: number, from: number, to: number, keep: boolean) =>
  new Command(keep ? "shrink" : "resize there and back", who, [from, to], (_world, pair) => {
    const total = pair.bytes.length;
    const start = Math.min(from, total);
    const size = Math.min(to, total - start);
    const sizes = pair.real.getSizes();
    expect(sizes.size).toBe(total);
    change(
      pair,
      () => pair.real.resize(start, size),
      () => {
        expect(contents(pair.real)).toEqual(pair.bytes.slice(start, start + size));
        if (pair.real.memoryCount > 0) expect(pair.real.getSizes().offset).toBe(sizes.offset + start);
        if (keep) pair.bytes = pair.bytes.slice(start, start + size);
        else pair.real.resize(-start, total);
      },
    );
  });

const copy = (who: number, deep: boolean) =>
  new Command(deep ? "deep copy" : "copy", who, [], (world, pair) => {
    if (world.pairs.length < 6)
      world.pairs.push({ real: pair.real.copy(deep ? { deep } : undefined), bytes: [...pair.bytes], refs: 1 });
  });

const copyRange = (who: number, from: number, to: number) =>
  new Command("copyRange", who, [from, to], (world, pair) => {
    const start = Math.min(from, pair.bytes.length);
    const size = Math.min(to, pair.bytes.length - start);
    if (world.pairs.length < 6)
      world.pairs.push({
        real: pair.real.copyRange(start, size),
        bytes: pair.bytes.slice(start, start + size),
        refs: 1,
      });
  });

const append = (who: number, other: number) =>
  new Command("append", who, [other], (world, pair) => {
    const from = world.pairs[other % world.pairs.length]!;
    if (from === pair) return;
    change(
      pair,
      () => pair.real.append(from.real),
      () => {
        pair.bytes.push(...from.bytes);
        if (--from.refs === 0) world.pairs.splice(world.pairs.indexOf(from), 1);
      },
    );
  });

const mapWrite = (who: number) =>
  new Command("map and write", who, [], (world, pair) => {
    if (pair.bytes.length === 0 && pair.real.memoryCount === 0) return;
    const bytes = world.fresh(pair.bytes.length);
    change(
      pair,
      () => {
        const mapping = pair.real.map("readwrite");
        expect([...mapping.bytes]).toEqual(pair.bytes);
        expect(code(() => pair.real.remove())).toBe("ERR_MAPPED");
        expect(code(() => pair.real.release())).toBe("ERR_MAPPED");
        mapping.bytes.set(bytes);
        mapping.unmap();
      },
      () => {
        pair.bytes = bytes;
      },
    );
  });

const retain = (who: number) =>
  new Command("retain", who, [], (_world, pair) => {
    pair.real.retain();
    pair.refs++;
  });

const release = (who: number) =>
  new Command("release", who, [], (world, pair) => {
    pair.real.release();
    if (--pair.refs === 0) {
      world.pairs.splice(world.pairs.indexOf(pair), 1);
      expect(code(() => pair.real.release())).toBe("ERR_DOUBLE_RELEASE");
    }
  });

const makeWritable = (who: number) =>
  new Command("makeWritable", who, [], (world, pair) => {
    if (pair.refs > 1 && world.pairs.length >= 6) return;
    const own = pair.real.makeWritable();
    expect(own === pair.real).toBe(pair.refs === 1);
    if (pair.refs === 1) return;
    pair.refs--;
    world.pairs.push({ real: own, bytes: [...pair.bytes], refs: 1 });
  });

const n = fc.nat(40);
const steps = [
  fc.constant(0).map((who) => new Command("new", who, [], () => {})),
  fc.tuple(n, n, fc.nat(12), fc.nat(4), fc.nat(4)).map((a) => insert(...a)),
  fc.tuple(n, n, fc.nat(12), fc.nat(4), fc.nat(4)).map((a) => insert(...a)),
  fc.tuple(n, n, fc.nat(3)).map((a) => remove(...a)),
  fc.tuple(n, n, fc.nat(8)).map((a) => replace(...a)),
  fc.tuple(n, n, fc.nat(20)).map((a) => fill(...a)),
  fc.tuple(n, n, fc.nat(255), fc.nat(20)).map((a) => memset(...a)),
  fc.tuple(n, n, n, fc.boolean()).map((a) => shrinkAndUndo(...a)),
  fc.tuple(n, n, n, fc.boolean()).map((a) => shrinkAndUndo(...a)),
  fc.tuple(n, fc.boolean()).map((a) => copy(...a)),
  fc.tuple(n, n, n).map((a) => copyRange(...a)),
  fc.tuple(n, n).map((a) => append(...a)),
  n.map(mapWrite),
  n.map(retain),
  n.map(release),
  n.map(release),
  n.map(makeWritable),
];

it("never lets one buffer see another's bytes, and leaks nothing, over random walks", REPEATED, () => {
  const seed = seedOf("media-buffer model");
  const before = defaultAllocator();
  try {
    fc.assert(
      fc.property(fc.commands(steps, { maxCommands: 60, size: "max" }), (walk) => {
        const world = new World();
        setDefaultAllocator(world.allocator);
        fc.modelRun(() => ({ model: world, real: world }), walk);
        for (const { real, refs } of world.pairs) for (let i = 0; i < refs; i++) real.release();
        expect(world.allocator.stats()).toMatchObject({ liveMemories: 0, liveBytes: 0 });
      }),
      { numRuns: times(60, 1500, "MILLPOND_WALKS"), seed },
    );
  } finally {
    setDefaultAllocator(before);
  }
});
