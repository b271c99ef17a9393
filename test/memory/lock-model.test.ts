// Shares its realm with other files: nothing that it changes outlives it.
/** The locks and counts of one memory against a naive model that keeps every lock in a list. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { SystemAllocator } from "../../src/memory/allocator.ts";
import type { MapMode, Mapping, Memory } from "../../src/memory/memory.ts";
import { REPEATED, seedOf, times } from "../helpers/effort.ts";
import { code } from "../pools/buffer/pools.ts";

const bits = (mode: MapMode): number => (mode === "read" ? 1 : mode === "write" ? 2 : 3);

class World {
  readonly allocator = new SystemAllocator("locks");
  readonly root: Memory = this.allocator.allocate(64, { prefix: 8, padding: 8 });
  readonly mappings: Mapping[] = [];
  readonly locks: MapMode[] = [];
  readonly parts: Memory[] = [];
  refs = 1;
  owners = 0;
  offset = 8;
  size = 64;

  get held(): number {
    return [...this.mappings.map((mapping) => mapping.mode), ...this.locks].reduce((all, mode) => all | bits(mode), 0);
  }

  canLock(mode: MapMode): boolean {
    const wants = bits(mode);
    if ((wants & 2) !== 0 && this.owners > 1) return false;
    return this.held === 0 || (this.held & wants) === wants;
  }
}

class Command implements fc.Command<World, World> {
  readonly name: string;
  readonly step: (world: World) => void;
  constructor(name: string, step: (world: World) => void) {
    this.name = name;
    this.step = step;
  }
  check(): boolean {
    return true;
  }
  run(world: World): void {
    this.step(world);
    const { root } = world;
    const state = [root.refCount, root.owners, root.isMapped, root.isExclusive, root.offset, root.size];
    expect(state).toEqual([world.refs, world.owners, world.held !== 0, world.owners <= 1, world.offset, world.size]);
  }
  toString(): string {
    return this.name;
  }
}

const modes = fc.constantFrom<MapMode>("read", "write", "readwrite");
const refusal = (world: World, mode: MapMode): string =>
  world.canLock(mode) ? "ok" : (bits(mode) & 2) !== 0 && world.owners > 1 ? "ERR_NOT_WRITABLE" : "ERR_MAPPED";
const steps = [
  modes.map(
    (mode) =>
      new Command(`map ${mode}`, (world) => {
        const wanted = refusal(world, mode);
        expect(code(() => world.mappings.push(world.root.map(mode)))).toBe(wanted);
      }),
  ),
  fc.nat(20).map(
    (n) =>
      new Command(`unmap ${n}`, (world) => {
        const [mapping] = world.mappings.splice(n % Math.max(world.mappings.length, 1), 1);
        mapping?.unmap();
        mapping?.unmap();
      }),
  ),
  modes.map(
    (mode) =>
      new Command(`lock ${mode}`, (world) => {
        const wanted = refusal(world, mode);
        expect(code(() => world.root.lock(mode))).toBe(wanted);
        if (wanted === "ok") world.locks.push(mode);
      }),
  ),
  modes.map(
    (mode) =>
      new Command(`unlock ${mode}`, (world) => {
        const at = world.locks.indexOf(mode);
        const held = at >= 0 || world.mappings.some((mapping) => mapping.mode === mode);
        if (held && at < 0) return;
        expect(code(() => world.root.unlock(mode))).toBe(held ? "ok" : "ERR_OUT_OF_RANGE");
        if (held) world.locks.splice(at, 1);
      }),
  ),
  fc.tuple(fc.nat(80), fc.nat(80)).map(
    ([offset, size]) =>
      new Command(`share ${offset} ${size}`, (world) => {
        const wanted =
          offset > world.size || size > world.size - offset
            ? "ERR_OUT_OF_RANGE"
            : (world.held & 2) !== 0
              ? "ERR_MAPPED"
              : "ok";
        expect(code(() => world.parts.push(world.root.share(offset, size)))).toBe(wanted);
        if (wanted !== "ok") return;
        world.refs++;
        world.owners++;
      }),
  ),
  fc.nat(20).map(
    (n) =>
      new Command(`release part ${n}`, (world) => {
        const [part] = world.parts.splice(n % Math.max(world.parts.length, 1), 1);
        if (part === undefined) return;
        part.release();
        world.refs--;
        world.owners--;
      }),
  ),
  fc.constant(0).map(
    () =>
      new Command("retain", (world) => {
        world.root.retain();
        world.refs++;
      }),
  ),
  fc.constant(0).map(
    () =>
      new Command("release", (world) => {
        const free = world.refs - world.parts.length;
        if (free > 1) {
          world.root.release();
          world.refs--;
        } else if (world.refs === 1 && world.held !== 0) {
          expect(code(() => world.root.release())).toBe("ERR_MAPPED");
        }
      }),
  ),
  fc.tuple(fc.integer({ min: -12, max: 90 }), fc.nat(90)).map(
    ([delta, size]) =>
      new Command(`resize ${delta} ${size}`, (world) => {
        const start = world.offset + delta;
        const wanted =
          world.owners > 1
            ? "ERR_NOT_WRITABLE"
            : start < 0 || start > 80 || start + size > 80
              ? "ERR_OUT_OF_RANGE"
              : "ok";
        expect(code(() => world.root.resize(delta, size))).toBe(wanted);
        if (wanted !== "ok") return;
        world.offset = start;
        world.size = size;
      }),
  ),
];

it("agrees with the naive model over random walks, and everything goes back", REPEATED, () => {
  const seed = seedOf("memory locks model");
  fc.assert(
    fc.property(fc.commands(steps, { maxCommands: 100, size: "max" }), (walk) => {
      const world = new World();
      fc.modelRun(() => ({ model: world, real: world }), walk);
      for (const mapping of world.mappings) mapping.unmap();
      for (const mode of world.locks) world.root.unlock(mode);
      for (const part of world.parts) part.release();
      for (let i = world.refs - world.parts.length; i > 0; i--) world.root.release();
      expect(world.allocator.stats()).toMatchObject({ liveMemories: 0, liveBytes: 0 });
    }),
    { numRuns: times(150, 1500, "MILLPOND_WALKS"), seed },
  );
});
