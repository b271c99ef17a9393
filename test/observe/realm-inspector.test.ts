import { describe, expect, it, onTestFinished, vi } from "vitest";
import { pools } from "../../src/observe/pools.ts";
import { AT_LEAST, MAX_POOLS, RealmInspector } from "../../src/observe/realm-inspector.ts";
import { Recorder } from "../../src/observe/recorder.ts";
import { registerPool } from "../../src/observe/registry.ts";
import { MAX_HOLDERS, MAX_NAME, type PoolSnapshot } from "../../src/observe/snapshot.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { SharedPool } from "../../src/pools/shared/shared-pool.ts";
import { SlabPool } from "../../src/pools/slab/slab-pool.ts";
import { growthOf, reachableBytes } from "../helpers/heap.ts";

function lookAt(inspector: RealmInspector): void {
  onTestFinished(inspector.look());
}

function viewOf(inspector: RealmInspector, name: string): PoolSnapshot {
  const found = inspector.snapshot().pools.filter((pool) => pool.name === name);
  expect(found).toHaveLength(1);
  return found[0]!;
}

describe("a realm's inspector", () => {
  it("says of a pool what its own counts and holders say, as JSON that has no infinity and no bytes", () => {
    const pool = BufferPool.create({ name: "plain", size: 64, max: 3 });
    const lease = pool.tryAcquire({ tag: "decoder" })!;
    lease.bytes.fill(0x41);
    const inspector = new RealmInspector({ thread: 4, runtime: "Test 1", heap: () => ({ used: 1, external: 2 }) });
    const realm = inspector.snapshot();
    const view = viewOf(inspector, "plain");
    const { max, maxBytes, ...counts } = pools()
      .find(({ name }) => name === "plain")!
      .counts();
    expect(view).toMatchObject(counts);
    expect([max, maxBytes]).toEqual([3, Number.POSITIVE_INFINITY]);
    expect([view.max, view.maxBytes]).toEqual([3, null]);
    expect(view.holders).toMatchObject([{ slot: 0, size: 64, tag: "decoder" }]);
    expect(realm).toMatchObject({ thread: 4, runtime: "Test 1", heap: { used: 1, external: 2 }, recording: false });
    const text = JSON.stringify(realm);
    expect(JSON.parse(text)).toEqual(realm);
    expect(text).not.toContain("AAAA");
    expect(text).not.toContain("65,65");
    lease.release();
    pool.close();
  });

  it("records only while somebody looks, and leaves the fast paths open before and after", () => {
    const inspector = new RealmInspector({ slow: Number.POSITIVE_INFINITY });
    let observer: unknown;
    const model = BufferPool.create({ name: "model", size: 1, max: 1 });
    const counts = pools()
      .find(({ name }) => name === "model")!
      .counts();
    const registration = registerPool("BufferPool", "watched", {
      counts: () => counts,
      stats: () => ({}),
      holders: () => [],
      watch: () => {
        observer = registration.observer;
      },
    });
    registration.begin();
    inspector.snapshot();
    expect(observer).toBeUndefined();
    expect(inspector.recordingSteps()).toBeUndefined();
    const [first, second] = [inspector.look(), inspector.look()];
    expect(observer).not.toBeNull();
    registration.observer!.onAcquire(registration, 1, 1, undefined, undefined);
    first();
    first();
    expect(inspector.isRecording).toBe(true);
    expect(viewOf(inspector, "watched").taken).toBe(1);
    second();
    expect(observer).toBeNull();
    expect(inspector.isRecording).toBe(false);
    expect(viewOf(inspector, "watched").taken).toBeUndefined();
    expect(inspector.eventsFrom(0)).toMatchObject({ events: [], dropped: 0 });
    registration.end();
    model.close();
  });

  it("gives each event once, numbers that go on from look to look, and says how many are left out", () => {
    const inspector = new RealmInspector({ thread: 2, slow: Number.POSITIVE_INFINITY });
    const pool = BufferPool.create({ name: "events", size: 64, min: 1, max: 1 });
    const end = inspector.look();
    const { next } = inspector.eventsFrom(0);
    pool.tryAcquire({ tag: "a" })!.release();
    const first = inspector.eventsFrom(next);
    expect(first.events.map(({ type, text, thread }) => [type, text, thread])).toEqual([
      ["acquire", "a", 2],
      ["release", undefined, 2],
    ]);
    expect(first.next).toBe(next + 2);
    expect(inspector.eventsFrom(first.next)).toEqual({ events: [], dropped: 0, next: first.next });
    for (let i = 0; i < 5000; i++) pool.tryAcquire()!.release();
    const many = inspector.eventsFrom(first.next);
    expect([many.events.length, many.dropped, many.next]).toEqual([4096, 10_000 - 4096, first.next + 10_000]);
    end();
    lookAt(inspector);
    expect(inspector.eventsFrom(many.next).next).toBeGreaterThanOrEqual(many.next);
    pool.tryAcquire()!.release();
    expect(inspector.eventsFrom(many.next).events.filter(({ type }) => type === "release")).toHaveLength(1);
    pool.close();
  });

  it("knows since when leases are out of pools that do not know it, and who took those of a shared pool", () => {
    const slab = SlabPool.create({ name: "elements", elementSize: 16 });
    const shared = SharedPool.create({ name: "slots", size: 16, count: 4, members: 2 });
    const other = SharedPool.attach(shared.handle);
    const before = slab.alloc();
    const inspector = new RealmInspector({ slow: Number.POSITIVE_INFINITY });
    expect(viewOf(inspector, "elements").holders).toMatchObject([{ age: null }]);
    lookAt(inspector);
    const during = slab.alloc();
    const id = shared.tryAcquireId();
    const [aged, young] = viewOf(inspector, "elements").holders;
    expect([aged!.note, typeof aged!.age, young!.note, typeof young!.age]).toEqual([
      AT_LEAST,
      "number",
      undefined,
      "number",
    ]);
    expect(aged!.age).toBeGreaterThanOrEqual(young!.age!);
    const views = inspector.snapshot().pools.filter(({ name }) => name === "slots");
    expect(views.map(({ holders }) => holders.map(({ age }) => age === null))).toEqual([[false], [true]]);
    slab.free(during);
    slab.free(before);
    expect(viewOf(inspector, "elements").holders).toEqual([]);
    shared.releaseId(id);
    other.leave();
    shared.close();
    slab.close();
  });

  it("reads what was recorded once for all pools without times that it sees first", () => {
    const inspector = new RealmInspector({ slow: Number.POSITIVE_INFINITY });
    lookAt(inspector);
    inspector.snapshot();
    const slabs = Array.from({ length: 50 }, (_, i) => SlabPool.create({ name: `unaged ${i}`, elementSize: 16 }));
    const elements = slabs.map((slab) => slab.alloc());
    slabs[0]!.free(slabs[0]!.alloc());
    const reads = vi.spyOn(Recorder.prototype, "leasesFrom");
    onTestFinished(() => reads.mockRestore());
    const seen = inspector.snapshot().pools.filter(({ name }) => name.startsWith("unaged"));
    expect(seen.map(({ holders }) => holders.map(({ age, note }) => [age !== null, note]))).toEqual(
      slabs.map(() => [[true, undefined]]),
    );
    expect(reads.mock.calls.length).toBeLessThanOrEqual(2);
    // From then on by what is new.
    slabs[1]!.free(elements[1]!);
    const later = slabs[2]!.alloc();
    const ages = (name: string): (number | null)[] => viewOf(inspector, name).holders.map(({ age }) => age);
    expect([ages("unaged 1"), ages("unaged 2").filter((age) => age !== null).length]).toEqual([[], 2]);
    slabs[2]!.free(later);
    for (const slab of slabs) slab.close({ force: true });
  });

  it("keeps the last report of starvation with those who had the leases then", async () => {
    const pool = BufferPool.create({ name: "starving", size: 64, max: 1 });
    const inspector = new RealmInspector({ slow: Number.POSITIVE_INFINITY });
    lookAt(inspector);
    const lease = pool.tryAcquire({ tag: "greedy" })!;
    await expect(pool.acquire({ timeout: 1 })).rejects.toMatchObject({ code: "ERR_STARVED" });
    lease.release();
    const { holders, starvedLast } = viewOf(inspector, "starving");
    expect(holders).toEqual([]);
    expect(starvedLast!.holders).toMatchObject([{ tag: "greedy", slot: 0 }]);
    expect(starvedLast!.waited).toBeGreaterThan(0);
    pool.close();
  });

  it("reads a pool rarely that takes long to read, and others each time", () => {
    let time = 1000;
    const clock = vi.spyOn(performance, "now").mockImplementation(() => time);
    onTestFinished(() => clock.mockRestore());
    const model = BufferPool.create({ name: "quick", size: 1, max: 1 });
    const counts = pools()
      .find(({ name }) => name === "quick")!
      .counts();
    let reads = 0;
    const slow = registerPool("BufferPool", "slow", {
      counts: () => {
        reads++;
        // Half a minute's pause for what takes half a second.
        time += 500;
        return counts;
      },
      stats: () => ({}),
      holders: () => [],
      watch: () => {},
    });
    slow.begin();
    const inspector = new RealmInspector({ slow: 400 });
    viewOf(inspector, "slow");
    const second = viewOf(inspector, "slow");
    const lease = model.tryAcquire()!;
    expect(viewOf(inspector, "slow")).toBe(second);
    expect(viewOf(inspector, "quick").leased).toBe(1);
    expect(reads).toBe(2);
    time += 60_000;
    viewOf(inspector, "slow");
    expect(reads).toBe(3);
    lease.release();
    model.close();
    slow.end();
  });

  it("lists as many leases of a large pool as small ones leave over", () => {
    const pools = [40, 3000, 3000, 3000].map((max) => BufferPool.create({ name: `of ${max}`, size: 1, max }));
    const leases = pools.map((pool, i) => Array.from({ length: [40, 900, 3000, 2000][i]! }, () => pool.tryAcquire()!));
    const inspector = new RealmInspector({ slow: Number.POSITIVE_INFINITY });
    const listed = (): number[] =>
      inspector
        .snapshot()
        .pools.slice(-4)
        .map(({ holders }) => holders.length);
    expect(listed()).toEqual([40, 900, 3000, 2000]);
    for (let i = 0; i < 2100; i++) leases[1]!.push(pools[1]!.tryAcquire()!);
    for (let i = 0; i < 1000; i++) leases[3]!.push(pools[3]!.tryAcquire()!);
    // 8,192 in all.
    expect(listed()).toEqual([40, 2717, 2717, 2717]);
    for (const lease of leases.flat()) lease.release();
    for (const pool of pools) pool.close();
  });

  it("is bounded whatever the program's names and numbers are, and leaves out a pool that throws", () => {
    const name = `\u001b[31m${"x".repeat(1_000_000)}`;
    const pool = BufferPool.create({ name, size: 1, max: 5000 });
    const tag = "\u{1f600}".repeat(50_000);
    const leases = Array.from({ length: 5000 }, () => pool.tryAcquire({ tag })!);
    const inspector = new RealmInspector({ slow: Number.POSITIVE_INFINITY });
    const view = inspector.snapshot().pools.at(-1)!;
    expect(view.name).toHaveLength(MAX_NAME);
    expect(view.holders).toHaveLength(MAX_HOLDERS);
    expect(view.holders.every(({ tag }) => tag!.length === MAX_NAME && tag!.isWellFormed())).toBe(true);
    expect(JSON.stringify(view).length).toBeLessThan(MAX_HOLDERS * (MAX_NAME * 2 + 200));
    const crowd = Array.from({ length: 2 * MAX_POOLS }, (_, i) => {
      return BufferPool.create({ name: `crowd ${i}`, size: 1, max: 50, min: 0 });
    });
    const taken = crowd.flatMap((one) => Array.from({ length: 8 }, () => one.tryAcquire()!));
    const { pools: listed } = inspector.snapshot();
    expect(listed).toHaveLength(MAX_POOLS);
    expect(listed.reduce((sum, { holders }) => sum + holders.length, 0)).toBeLessThanOrEqual(8192);
    for (const lease of [...leases, ...taken]) lease.release();
    for (const one of [pool, ...crowd]) one.close();
    const broken = registerPool("BufferPool", "broken", {
      counts: () => {
        throw new Error("no");
      },
      stats: () => ({}),
      holders: () => [],
      watch: () => {},
    });
    broken.begin();
    expect(inspector.snapshot().pools.map((one) => one.name)).not.toContain("broken");
    broken.end();
  });
});

describe("what a realm's inspector keeps of a pool", () => {
  it.each([
    ["that ends", true],
    ["that the program forgets", false],
  ])("goes with the pool: one %s", async (_how, ends) => {
    const inspector = new RealmInspector({ slow: Number.POSITIVE_INFINITY });
    lookAt(inspector);
    const model = BufferPool.create({ name: "model", size: 1, max: 1 });
    const counts = {
      ...pools()
        .find((info) => info.name === "model")!
        .counts(),
      leased: 1,
    };
    model.close();
    /** What a report keeps of each pool's holder. */
    const kept: WeakRef<object>[] = [];
    const brief = (n: number): void => {
      const members = [n];
      kept.push(new WeakRef(members));
      // A pool that does not know the ages of its leases.
      const holders = [{ slot: 1, lease: 1, age: null, size: 1, members }];
      const registration = registerPool("BufferPool", `brief ${n}`, {
        counts: () => counts,
        stats: () => ({}),
        holders: () => holders,
        watch: () => {},
      });
      registration.begin();
      for (let slot = 0; slot < 5000; slot++) {
        registration.observer!.onAcquire(registration, slot, 1, undefined, undefined);
      }
      registration.observer!.onStarved(registration, 1, 1);
      const view = viewOf(inspector, `brief ${n}`);
      expect([view.starvedLast?.holders.length, typeof view.holders[0]!.age]).toEqual([1, "number"]);
      if (ends) registration.end();
    };
    brief(0);
    const grown = await growthOf(async () => {
      for (let n = 1; n < 40; n++) brief(n);
      await reachableBytes();
      inspector.snapshot();
    });
    // When each lease of each pool began would be 10 MB.
    expect(grown).toBeLessThan(3e6);
    expect(kept.filter((one) => one.deref() !== undefined)).toEqual([]);
  });
});
