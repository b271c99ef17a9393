// Shares its realm with other files: nothing that it changes outlives it.
import { describe, expect, it } from "vitest";
import { mergePools, type PoolSnapshot, type ProcessSnapshot, type RealmSnapshot } from "../../src/observe/snapshot.ts";

function pool(given: Partial<PoolSnapshot>): PoolSnapshot {
  return {
    id: 1,
    kind: "SharedPool",
    name: "frames",
    phase: "active",
    size: 100,
    count: 4,
    max: 4,
    bytes: 400,
    maxBytes: 400,
    free: 2,
    leased: 2,
    waiting: 0,
    acquires: null,
    misses: 0,
    waits: 0,
    starved: null,
    discarded: null,
    highWater: null,
    holders: [],
    members: [],
    ...given,
  };
}

function realm(given: Partial<RealmSnapshot>): RealmSnapshot {
  const gc = { count: 0, major: 0, ms: 0 };
  return { version: 1, time: 0, thread: 0, runtime: "Node", pools: [], gc, heap: null, recording: false, ...given };
}

function processOf(...realms: RealmSnapshot[]): ProcessSnapshot {
  const cpu = { user: 0, system: 0 };
  return { version: 1, time: 0, pid: 1, title: "app.js", uptime: 1, rss: 0, cpu, realms };
}

const member = { state: "live", holds: 1, waiting: false };

describe("pools as people see them", () => {
  it("are in order of thread and age, and two of one name stay two", () => {
    const shown = mergePools(
      processOf(
        realm({ pools: [pool({ id: 1, name: "a" }), pool({ id: 2, name: "a" })] }),
        realm({ thread: 3, pools: [pool({ id: 1, name: "b" })] }),
      ),
    );
    expect(shown.map(({ key, name, threads }) => [key, name, threads])).toEqual([
      ["0.1", "a", [0]],
      ["0.2", "a", [0]],
      ["3.1", "b", [3]],
    ]);
  });

  it("show a shared pool once: the newest counts, each member's thread, and what only the taker knows of a lease", () => {
    const main = pool({
      id: 5,
      shared: 77,
      leased: 1,
      taken: 10,
      holders: [{ slot: 0, lease: 9, size: 100, age: 50, tag: "decoder", site: "at a.js:1" }],
      members: [
        { member: 0, self: true, ...member },
        { member: 1, self: false, ...member },
      ],
    });
    const worker = pool({
      id: 1,
      shared: 77,
      leased: 2,
      taken: 5,
      starvedLast: { time: 4, waited: 2, waiting: 1, holders: [] },
      holders: [
        { slot: 2, lease: 4, size: 100, age: 20, members: [1] },
        { slot: 0, lease: 9, size: 100, age: null, members: [0] },
        { slot: 0, lease: 8, size: 100, age: null, members: [2] },
      ],
      members: [
        { member: 0, self: false, ...member },
        { member: 1, self: true, ...member },
        { member: 2, self: false, pid: 8, ...member },
      ],
    });
    const [shown, ...more] = mergePools(
      processOf(realm({ time: 1, pools: [main] }), realm({ time: 2, thread: 4, pools: [worker] })),
    );
    expect(more).toEqual([]);
    expect(shown).toMatchObject({ key: "shared.77", threads: [0, 4], ids: [5, 1], leased: 2, taken: 15 });
    expect(shown!.starvedLast?.time).toBe(4);
    expect(shown!.members.map((one) => [one.member, one.thread, one.pid])).toEqual([
      [0, 0, undefined],
      [1, 4, undefined],
      [2, undefined, 8],
    ]);
    expect(shown!.holders.map(({ slot, lease, age, thread, tag }) => [slot, lease, age, thread, tag])).toEqual([
      [0, 9, 50, 0, "decoder"],
      [2, 4, 20, 4, undefined],
      [0, 8, null, 4, undefined],
    ]);
  });

  it("take the counts of a shared pool from a thread that answers, and say when none does", () => {
    const own = realm({ time: 9, silent: 3000, pools: [pool({ shared: 1, leased: 4 })] });
    const other = realm({ time: 5, thread: 1, pools: [pool({ shared: 1, leased: 3 })] });
    const [answered] = mergePools(processOf(own, other));
    expect(answered).toMatchObject({ leased: 3 });
    expect(answered).not.toHaveProperty("silent");
    expect(mergePools(processOf(own))[0]).toMatchObject({ leased: 4, silent: 3000 });
  });
});
