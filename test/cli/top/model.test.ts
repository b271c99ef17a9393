// Shares its realm with other files: nothing that it changes outlives it.
import { describe, expect, it } from "vitest";
import { paintFor } from "../../../src/cli/terminal.ts";
import { cells, clip, duration, pad, rate, shown } from "../../../src/cli/top/cells.ts";
import { type Action, type Look, TopModel } from "../../../src/cli/top/model.ts";
import { keysIn } from "../../../src/cli/top/screen.ts";
import { jsonOf } from "../../../src/cli/top.ts";
import type { PoolSnapshot, ProcessSnapshot, RealmSnapshot } from "../../../src/observe/snapshot.ts";
import { REPEATED, times } from "../../helpers/effort.ts";
import { generator } from "../../helpers/random.ts";

const PLAIN: Look = { paint: paintFor({ isTTY: false } as NodeJS.WriteStream), unicode: true };

function pool(id: number, given: Partial<PoolSnapshot> = {}): PoolSnapshot {
  return {
    id,
    kind: "BufferPool",
    name: `pool ${id}`,
    phase: "active",
    size: 1000,
    count: 4,
    max: 8,
    bytes: 4000,
    maxBytes: null,
    free: 2,
    leased: 2,
    waiting: 0,
    acquires: 100,
    misses: 0,
    waits: 0,
    starved: 0,
    discarded: 0,
    highWater: 2,
    holders: [],
    members: [],
    ...given,
  };
}

function processOf(time: number, pools: PoolSnapshot[], realm: Partial<RealmSnapshot> = {}): ProcessSnapshot {
  const gc = { count: 3, major: 1, ms: time / 100 };
  const main: RealmSnapshot = {
    version: 1,
    time,
    thread: 0,
    runtime: "Node 24.1.0",
    pools,
    gc,
    heap: { used: 5e6, external: 1e6 },
    recording: true,
    ...realm,
  };
  const cpu = { user: time / 4000, system: 0 };
  return { version: 1, time, pid: 77, title: "app.js --x", uptime: 75, rss: 8e7, cpu, realms: [main] };
}

function modelOf(...snapshots: ProcessSnapshot[]): TopModel {
  const model = new TopModel();
  for (const snapshot of snapshots) model.accept(snapshot);
  return model;
}

function chosen(model: TopModel): string | undefined {
  const line = model.render(100, 60, PLAIN).find((one) => one.startsWith("▸"));
  return line?.slice(2).split(/\s{2,}/)[0];
}

describe("the table of pools", () => {
  it("shows counts, a place for each slot, rates between two snapshots, and the oldest holder", () => {
    const holders = [
      { slot: 1, lease: 3, size: 1000, age: 1500, tag: "scaler" },
      { slot: 0, lease: 4, size: 1000, age: 20 },
    ];
    const model = modelOf(
      processOf(1000, [pool(1, { name: "frames", acquires: 100 })]),
      processOf(3000, [pool(1, { name: "frames", acquires: 150, holders, waiting: 3 })]),
    );
    const lines = model.render(110, 10, PLAIN);
    expect(lines).toHaveLength(10);
    expect(lines[0]).toBe("app.js --x  pid 77  Node 24.1.0  up 1m 15s");
    expect(lines[1]).toBe("cpu 25 %  rss 80.0 MB  heap 5.0 MB  external 1.0 MB  gc 1 major of 3, 10.0 ms/s");
    expect(lines[3]!.split(/\s{2,}/)).toEqual([
      "",
      "POOL",
      "KIND",
      "SLOTS",
      "LEASED",
      "FREE",
      "WAIT",
      "BYTES",
      "ACQ/S",
      "OLDEST",
      "HELD BY",
    ]);
    expect(lines[4]!.split(/\s{2,}/)).toEqual([
      "▸ frames",
      "Buffer",
      "██▒▒····",
      "2/8",
      "2",
      "3",
      "4.0 kB",
      "25",
      "1.5 s",
      "scaler",
    ]);
    expect(lines[9]).toContain("q quit");
  });

  it("draws bars in proportion where there is no room: never full with a free slot, never empty with a lease", () => {
    const bar = (given: Partial<PoolSnapshot>): string => {
      const text = modelOf(processOf(0, [pool(1, given)])).render(100, 8, PLAIN)[4]!;
      return /[█▒·]+/.exec(text)![0];
    };
    const count = (text: string, character: string): number => text.split(character).length - 1;
    const almost = bar({ max: 1000, count: 1000, leased: 999 });
    expect([count(almost, "█") > 5, count(almost, "▒")]).toEqual([true, 1]);
    expect(count(bar({ max: 1000, count: 1000, leased: 1 }), "█")).toBe(1);
    expect(bar({ max: 4, count: 4, leased: 4 })).toBe("████");
    expect(bar({ max: null, count: 4, leased: 1 })).toBe("█▒▒▒");
    expect(bar({ max: 4, count: 0, leased: 0 })).toBe("····");
    // More than there may be, as a pool that is reconfigured says for a while.
    expect(bar({ max: 2, count: 4, leased: 3 })).toMatch(/^█+▒*$/);
  });

  it("sorts by each column in turn; the pool that is chosen stays chosen, and when it ends the one in its place is", () => {
    const all = [
      pool(1, { name: "b", waiting: 1 }),
      pool(2, { name: "c", bytes: 9e6 }),
      pool(3, { name: "a", leased: 8, holders: [{ slot: 0, lease: 1, size: 1, age: 9 }] }),
    ];
    const model = modelOf(processOf(0, all));
    model.act("down");
    expect(chosen(model)).toBe("c");
    const names = (): string[] =>
      model
        .render(100, 20, PLAIN)
        .slice(4, 7)
        .map((line) => line.slice(2, 3));
    const orders: [string[], string][] = [];
    for (let i = 0; i < 7; i++) {
      model.act("sort");
      orders.push([names(), chosen(model)!]);
    }
    expect(orders).toEqual([
      [["a", "b", "c"], "c"],
      [["b", "c", "a"], "c"],
      [["a", "b", "c"], "c"],
      [["b", "c", "a"], "c"],
      [["a", "b", "c"], "c"],
      [["c", "b", "a"], "c"],
      [["b", "c", "a"], "c"],
    ]);
    model.accept(processOf(1, [all[0]!, all[2]!]));
    expect(chosen(model)).toBe("a");
    model.accept(processOf(2, []));
    expect(model.render(100, 20, PLAIN).join("\n")).toContain("there are no pools");
    for (const action of ["down", "up", "open", "last", "sort"] as Action[]) expect(model.act(action)).toBe(false);
  });

  it("scrolls so that the chosen pool is seen, on any height", () => {
    const model = modelOf(
      processOf(
        0,
        Array.from({ length: 100 }, (_, i) => pool(i, { name: `p${i}` })),
      ),
    );
    for (const [action, name] of [
      ["last", "p99"],
      ["up", "p98"],
      ["first", "p0"],
      ["pageDown", "p54"],
    ] as const) {
      model.render(80, 60, PLAIN);
      model.act(action);
      for (const rows of [60, 24, 8, 7, 4, 3]) {
        const lines = model.render(80, rows, PLAIN);
        expect(lines.filter((line) => line.startsWith(`▸ ${name} `))).toHaveLength(1);
      }
    }
  });

  it("shows the holders of a pool with places, members with threads, and the last starvation", () => {
    const site = "at makeThumb (file:///app/src/thumbs.ts:31:28)\nat main (file:///app/src/main.ts:1:1)";
    const holders = [
      { slot: 3, lease: 9, size: 1000, age: 61_000, tag: "thumbs", site },
      { slot: 1, lease: 2, size: 1000, age: null, note: "pinned" },
    ];
    const members = [{ member: 0, self: true, state: "live", holds: 2, waiting: true }];
    const starvedLast = { time: 8000, waited: 1001, waiting: 2, holders: [] };
    const model = modelOf(
      processOf(10_000, [pool(1, { kind: "SharedPool", shared: 5, leased: 300, holders, members, starvedLast })]),
    );
    model.act("open");
    const text = model.render(120, 24, PLAIN).join("\n");
    for (const part of [
      "pool 1  SharedPool, active",
      "300/8 leased",
      "starved 2.0 s ago: 2 waited, the first for 1.0 s",
    ]) {
      expect(text).toContain(part);
    }
    expect(text).toContain("members: 0 main holds 2, waits");
    expect(text).toMatch(/3 {2}1m 01s {2}thumbs {2}makeThumb \(thumbs\.ts:31:28\)/);
    expect(text).toContain("pinned");
    expect(text).toContain("and 298 more");
    model.act("back");
    expect(model.render(120, 24, PLAIN).join("\n")).toContain("LEASED");
  });

  it("says when the process does not answer, when a thread does not, and when it is paused", () => {
    const model = modelOf(processOf(0, [pool(1)]));
    expect(model.render(100, 9, PLAIN, 4200)[1]).toBe(
      "does not answer for 4.2 s: its main thread is blocked or stopped",
    );
    const base = processOf(5, [pool(1)]);
    model.accept({ ...base, realms: [...base.realms, { ...base.realms[0]!, thread: 3, silent: 7000 }] });
    expect(model.render(100, 9, PLAIN)[2]).toBe("thread 3 does not answer for 7.0 s: it is blocked; shown as it was");
    model.act("pause");
    model.accept(processOf(10, []));
    expect(model.render(100, 9, PLAIN)[0]).toMatch(/paused$/);
    expect(chosen(model)).toBe("pool 1");
    model.act("pause");
    model.accept(processOf(20, []));
    expect(chosen(model)).toBeUndefined();
  });

  it("never writes beyond the screen, nor a command of a pool's name, at any size, in any state", REPEATED, () => {
    const random = generator(7);
    const hostile = [
      "\u001b[2J\u001b]0;title\u0007",
      "a\r\nb\tc\u0008",
      "\u009b31m\u0000\u007f",
      "\u202eevil\u202c\u2066",
      `z${"\u0301".repeat(500)}`,
      "音声".repeat(80),
      "\ud800 \udc00",
      "👨‍👩‍👧‍👦 family",
      "",
      "x".repeat(200),
      "<script>",
    ];
    const text = (): string => hostile[random(hostile.length)]!;
    const number = (): number => [0, 1, 7, 1e3, 1e6, 2 ** 53, 1e308][random(7)]!;
    const actions: Action[] = [
      "up",
      "down",
      "pageUp",
      "pageDown",
      "first",
      "last",
      "open",
      "back",
      "sort",
      "help",
      "pause",
    ];
    for (let round = 0; round < times(60, 300); round++) {
      const pools = Array.from({ length: random(12) }, (_, i) => {
        const holders = Array.from({ length: random(5) }, (_, slot) => {
          const age = random(3) === 0 ? null : number();
          return { slot, lease: number(), size: number(), age, tag: text(), site: text(), note: text() };
        });
        const members = Array.from({ length: random(3) }, (_, member) => {
          return { member, self: false, state: text(), holds: number(), waiting: true, pid: number() };
        });
        const starvedLast = { time: number(), waited: number(), waiting: number(), holders: [] };
        return pool(i, {
          name: text(),
          leased: number(),
          count: number(),
          bytes: number(),
          holders,
          members,
          starvedLast,
        });
      });
      const snapshot = {
        ...processOf(round, pools, { runtime: text(), thread: random(3) }),
        title: text(),
        rss: number(),
      };
      const model = modelOf(processOf(0, []), snapshot);
      for (let step = 0; step < 6; step++) {
        model.act(actions[random(actions.length)]!);
        const [columns, rows] = [1 + random(130), 1 + random(40)];
        const unicode = random(2) === 0;
        const lines = model.render(columns, rows, { ...PLAIN, unicode }, random(2) === 0 ? number() : undefined);
        expect(lines.length).toBeLessThanOrEqual(rows);
        for (const line of lines) {
          expect(cells(line)).toBeLessThanOrEqual(columns);
          expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}]/u);
          if (!unicode) expect(line).toMatch(/^[ -~]*$/);
        }
      }
    }
  });
});

describe("cells of a terminal", () => {
  it("reads no more of a text than a line can show, however long it is", () => {
    for (const text of ["x".repeat(5e6), `${"\u0301".repeat(3e6)}e`, "\u001b".repeat(1e6)])
      expect(shown(text).length).toBeLessThan(5000);
    const model = new TopModel();
    const holder = { slot: 0, lease: 1, size: 1, age: 1, site: `at ${"x".repeat(1e6)}/${"y".repeat(1e6)}` };
    const many = Array.from({ length: 200 }, () => holder);
    model.accept({ ...processOf(0, [pool(1, { name: "x".repeat(1e6), holders: many })]), title: "x".repeat(5e6) });
    model.act("open");
    const lines = model.render(80, 300, PLAIN);
    expect(lines.every((line) => cells(line) <= 80)).toBe(true);
    expect(lines.length).toBeGreaterThan(200);
  });

  it("shows of a site its function, file and line, with slashes of either kind", () => {
    const nameOf = (site: string): string => {
      const model = new TopModel();
      model.accept(processOf(0, [pool(1, { leased: 1, holders: [{ slot: 0, lease: 1, size: 1, age: 1, site }] })]));
      model.act("open");
      return model.render(100, 24, PLAIN).join("\n");
    };
    expect(nameOf("at makeThumb (file:///app/src/thumbs.ts:31:28)")).toMatch(/ makeThumb \(thumbs\.ts:31:28\)/);
    expect(nameOf("at C:\\app\\x.js:1:2\nat other (y.js:1:1)")).toMatch(/ x\.js:1:2 /);
    expect(nameOf("at run (/my app/c.js:1:1)")).toMatch(/ run \(\/my c\.js:1:1\)/);
    expect(nameOf("at native")).toMatch(/ native /);
  });

  it("counts wide characters twice and marks not at all, and cuts and fills to a width", () => {
    expect([cells("abc"), cells("音声"), cells("e\u0301"), cells("👍")]).toEqual([3, 4, 1, 2]);
    expect([clip("abcdef", 4), clip("abcdef", 4, "end"), clip("音声声", 4), clip("abc", 3), clip("abc", 0)]).toEqual([
      "abc…",
      "…def",
      "音…",
      "abc",
      "",
    ]);
    expect([pad("a", 3), pad("a", 3, "right"), pad("音声声", 4)]).toEqual(["a  ", "  a", "音… "]);
    expect(shown("a\u001bb\u202ec\u0301\u0301\u0301")).toBe("a\ufffdb\ufffdc\ufffd");
  });

  it("says durations and rates in six characters", () => {
    const durations = [0, 999.4, 1000, 59_949, 60_000, 3_599_999, 3_600_000, 172_800_000].map(duration);
    expect(durations).toEqual(["0 ms", "999 ms", "1.0 s", "59.9 s", "1m 00s", "59m 59s", "1h 00m", "2 days"]);
    expect([0, 0.31, 9.94, 10, 9999, 10_000, 999_499, 5e6].map(rate)).toEqual([
      "0",
      "0.3",
      "9.9",
      "10",
      "9999",
      "10k",
      "999k",
      "5.0M",
    ]);
  });

  it("tells keys apart that come at once", () => {
    expect(keysIn("\u001b[Aq\u001b\u001bOB\u001b[5~\u001b[1;5Cx")).toEqual([
      "\u001b[A",
      "q",
      "\u001b",
      "\u001bOB",
      "\u001b[5~",
      "\u001b[1;5C",
      "x",
    ]);
  });
});

describe("a snapshot as JSON", () => {
  it("has no character that a terminal takes for a command or for another direction", () => {
    const title = "a\u009b\u061c\u200e\u202e\u2066\u2028\u00ad\ufeff\u{e0041}b";
    const snapshot = { title } as ProcessSnapshot;
    expect(jsonOf(snapshot)).toMatch(/^[ -~]+$/);
    expect(JSON.parse(jsonOf(snapshot))).toEqual({ title });
  });
});
