/**
 * What the doctor says of places that keep some of their buffers, from whenever on: no pool whose slots would not come
 * back. Profiles as threads write them; two programs are run.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { PROFILE_FORMAT, type SiteProfile, type ThreadProfile } from "../../src/adapters/node/profile/profile.ts";
import { type Advice, advise, LIMITS } from "../../src/cli/doctor/advise.ts";
import { merge } from "../../src/cli/doctor/profile.ts";
import type { Diagnosis } from "../../src/cli/doctor/program.ts";
import { reportText } from "../../src/cli/doctor/report.ts";
import { FULL, REPEATED } from "../helpers/effort.ts";
import { millpond, scratchFolder } from "./command.ts";
import { buffersOf } from "./doctor-places.ts";

const scratch = scratchFolder();
afterAll(scratch.remove);

const SIZE = 500_000;
/** When a run of 3 GB is looked at. */
const LOOKS = [0.1, 0.12, 0.15, 0.18, 0.23, 0.28, 0.35, 0.44, 0.54, 0.84];

function placeOf(name: string, changes: Partial<SiteProfile> & { size?: number } = {}): SiteProfile {
  const { size = SIZE, count = 6000, ...rest } = changes;
  return {
    ...buffersOf(name, 3, count, size),
    followed: 480,
    collected: 470,
    lifeMs: 1,
    inUse: 1,
    inUseSamples: 10,
    underWay: 0,
    stale: 0,
    staleOf: 432,
    ...rest,
  };
}

interface Seen {
  /** Bytes that are reachable when that share of the run is over. */
  readonly reachable: (share: number) => number;
  readonly looks?: readonly number[];
  readonly atEnd?: number | undefined;
}

function threadOf(sites: readonly SiteProfile[], seen: Seen, changes: Partial<ThreadProfile> = {}): ThreadProfile {
  const bytes = sites.reduce((sum, site) => sum + site.bytes, 0);
  const { reachable, looks = LOOKS } = seen;
  const atEnd = "atEnd" in seen ? seen.atEnd : reachable(1);
  const gc = { minors: 0, minorMs: 0, minorsByBuffers: 0, minorMsByBuffers: 0, majors: 60, majorMs: 600 };
  return {
    format: PROFILE_FORMAT,
    pid: 1,
    thread: 0,
    node: "v24.0.0",
    wallMs: 3000,
    isFinal: atEnd !== undefined,
    resources: { userMs: 3000, systemMs: 0, minorFaults: 0, majorFaults: 0, maxRss: 5e8 },
    gc: { ...gc, majorsByBuffers: 60, majorMsByBuffers: 600, peakExternal: 4e8, grownExternal: 0 },
    live: {
      looks: looks.map((share) => [share * bytes, reachable(share)] as const),
      falls: [],
      ...(atEnd !== undefined && { atEnd }),
      ms: 100,
      grownBy: 0,
      unknown: 0,
    },
    bytes,
    count: sites.reduce((sum, { count }) => sum + count, 0),
    isEstimate: false,
    sites,
    elsewhere: 0,
    addons: [],
    programs: [],
    ...changes,
  };
}

function adviceOf(
  ...threads: readonly ThreadProfile[]
): Advice & { readonly names: string[]; readonly kept: string[] } {
  const profile = merge(threads, 65_536)!;
  const advice = advise(profile);
  const text = reportText(["app.js"], { code: 0, signal: null }, profile, advice);
  expect(text).not.toMatch(/NaN|Infinity/);
  return {
    ...advice,
    names: advice.pools.map(({ name }) => name),
    kept: advice.refused.filter(({ reason }) => reason === "kept").map(({ site }) => site.place.function),
  };
}

/** A share of all buffers is kept, from a moment on. */
function keeping(share: number, from: number, bytes = 6000 * SIZE): (at: number) => number {
  return (at) => SIZE + Math.max(0, at - from) * share * bytes;
}

describe("a place that keeps buffers which no look followed gets no pool", () => {
  const shares = [0.03, 0.05, 0.1, 0.2];
  const moments: [string, number][] = [
    ["the start", 0],
    ["the middle", 0.5],
    ["the last fifth", 0.8],
  ];
  it.each(shares.flatMap((share) => moments.map(([name, from]) => [100 * share, name, from] as const)))(
    "%d %% of them, from %s on",
    (percent, _, from) => {
      const reachable = keeping(percent / 100, from);
      for (const looks of [LOOKS, LOOKS.slice(0, 6)]) {
        const { pools, kept, refused } = adviceOf(threadOf([placeOf("show")], { reachable, looks }));
        expect([pools, kept]).toEqual([[], ["show"]]);
        expect(refused[0]!.words).toContain("a pool would run out of slots");
      }
      // Known by the thread's memory alone: all that is reachable may be in use, or has risen at the end.
      const unseen = placeOf("show", { inUse: 0, inUseSamples: 0, followed: 0, collected: 0, staleOf: 0 });
      expect(adviceOf(threadOf([unseen], { reachable })).pools).toEqual([]);
    },
  );

  it("says how many, in the figures of the report", () => {
    const seen = { reachable: (share: number) => (share === 1 ? 299_500_000 : SIZE), looks: LOOKS.slice(0, 6) };
    const profile = merge([threadOf([placeOf("show", { inUse: 12 })], seen)], 65_536)!;
    const text = reportText(["app.js"], { code: 0, signal: null }, profile, advise(profile)).replaceAll(/\s+/g, " ");
    expect(text).toContain("300 MB of buffers at most, as 6 looks and the end told");
    expect(text).toContain(
      "12 buffers at most were seen in use at a time, but 293.5 MB more of buffers were reachable",
    );
    expect(text).toContain("587 buffers are kept, and a pool would run out of slots");
  });

  it("also what it kept from the first seconds, and what was given back before the end", () => {
    const first = adviceOf(threadOf([placeOf("show")], { reachable: () => 41 * SIZE }));
    expect([first.names, first.kept]).toEqual([[], ["show"]]);
    const between = (share: number): number => (share > 0.3 && share < 0.5 ? 200 * SIZE : SIZE);
    expect(adviceOf(threadOf([placeOf("show")], { reachable: between })).kept).toEqual(["show"]);
  });

  it("nor does another that could be the one that keeps them", () => {
    const sites = [placeOf("player"), placeOf("thumbs", { size: 200_000 })];
    const { names, kept } = adviceOf(threadOf(sites, { reachable: keeping(0.1, 0.5, 1e9) }));
    expect([names, kept]).toEqual([[], ["player", "thumbs"]]);
  });

  it("and one of which the later part was looked at neither then nor at the end is not known", () => {
    const killed = { reachable: () => SIZE, looks: LOOKS.slice(0, 6), atEnd: undefined };
    const { verdict, refused } = adviceOf(threadOf([placeOf("show")], killed));
    expect([verdict, refused[0]!.reason]).toEqual(["longer", "unknown"]);
    expect(refused[0]!.words).toContain("28 % of all buffers' bytes had been made, and the end could not be looked at");
    expect(adviceOf(threadOf([placeOf("show")], { ...killed, looks: LOOKS })).names).toEqual(["show"]);
  });
});

describe("a place whose use explains what is reachable gets its pool", () => {
  it("with nothing else, and beside a cache, tables and a model that stay", () => {
    expect(adviceOf(threadOf([placeOf("show", { inUse: 4 })], { reachable: () => 4 * SIZE })).names).toEqual(["show"]);
    const never = { inUse: 0, inUseSamples: 0, followed: 0, collected: 0, staleOf: 0 };
    const sites = [
      placeOf("show", { inUse: 4 }),
      placeOf("tile", { count: 600, inUse: 100, size: 300_000 }),
      placeOf("tables", { count: 40, size: 1_000_000, ...never }),
      placeOf("model", { count: 1, size: 60_000_000, ...never }),
    ];
    const all = 4 * SIZE + 30_000_000 + 40_000_000 + 60_000_000;
    const { names, kept } = adviceOf(threadOf(sites, { reachable: () => all }));
    expect([names, kept]).toEqual([["show"], ["tile"]]);
  });

  it("a cache that fills up and stays has slots for all of it", () => {
    const [pool] = adviceOf(threadOf([placeOf("lru", { inUse: 51 })], { reachable: () => 51 * SIZE })).pools;
    expect(pool!.slots).toBeGreaterThan(51);
  });

  it("and a queue that backs up has none, because nearly all are in use", () => {
    const queue = placeOf("queue", { inUse: 1630, stale: 144, staleOf: 144 });
    expect(adviceOf(threadOf([queue], { reachable: keeping(0.5, 0) })).kept).toEqual(["queue"]);
  });

  it("beside some small buffers and chunks of sockets", () => {
    const few = { reachable: () => SIZE + LIMITS.unexplained };
    expect(adviceOf(threadOf([placeOf("show")], few)).names).toEqual(["show"]);
    expect(adviceOf(threadOf([placeOf("show")], { reachable: () => SIZE + LIMITS.unexplained + 1 })).names).toEqual([]);
  });

  it("beside buffers that were moved to a thread, or came from one", () => {
    const moved = placeOf("move", { transferred: 6000, inUse: 1 });
    const lazy = { reachable: () => 100_000_000 };
    expect(adviceOf(threadOf([placeOf("show"), moved], lazy)).names).toContain("show");
    const clones = { ...placeOf("post"), api: "postMessage" } as const;
    const sender = threadOf([clones], { reachable: () => SIZE }, { thread: 1, resources: undefined });
    expect(adviceOf(threadOf([placeOf("show")], lazy), sender).names).toContain("show");
    expect(adviceOf(threadOf([placeOf("show")], lazy)).names).toEqual([]);
  });

  it("bodies whose chunks are on their way, but not when they are there at the end", () => {
    const bodies = placeOf("bodyOf", { api: "Buffer.concat", parts: 60_000 });
    const coming = { reachable: (share: number) => (share === 1 ? 0 : 80 * SIZE) };
    expect(adviceOf(threadOf([bodies], coming)).names).toEqual(["bodyOf"]);
    expect(adviceOf(threadOf([bodies], { reachable: () => 80 * SIZE })).kept).toEqual(["bodyOf"]);
    const emptied = (share: number): number => (share === 0.54 ? 0 : 80 * SIZE);
    expect(adviceOf(threadOf([bodies], { reachable: emptied, atEnd: undefined })).names).toEqual(["bodyOf"]);
  });
});

describe("a place whose buffers go between threads", () => {
  const moved = (changes: Partial<SiteProfile> & { size?: number } = {}): SiteProfile =>
    placeOf("move", { transferred: 6000, ...changes });
  const cloned = placeOf("post", { api: "postMessage", inUse: 0, inUseSamples: 0, followed: 0, staleOf: 0 });
  const maker = (site: SiteProfile, reachable = SIZE, held = 0, changes: Partial<ThreadProfile> = {}) => {
    const thread = threadOf([site], { reachable: () => reachable }, changes);
    return { ...thread, live: { ...thread.live, held } };
  };
  const receiver = (held: number | undefined, id = 1, isFinal = true): ThreadProfile => {
    const thread = threadOf([], { reachable: () => 0, looks: [] }, { thread: id, isFinal, resources: undefined });
    return { ...thread, live: { ...thread.live, atEnd: 0, ...(held !== undefined && { held }) } };
  };

  it.each([moved(), cloned])("gets none when a worker keeps as many as there are slots, or more: %#", (site) => {
    // 4 slots are 2 MB, which is less than what may be small buffers.
    for (const buffers of [9, 312, 499, 1000]) {
      const { pools, kept, refused } = adviceOf(maker(site), receiver(buffers * SIZE));
      expect([pools, kept]).toEqual([[], [site.place.function]]);
      expect(refused[0]!.words).toContain(
        `${buffers.toLocaleString("en-US")} buffers are kept, and a pool would run out of slots`,
      );
    }
    expect(adviceOf(maker(site), receiver(8 * SIZE)).names).toEqual([site.place.function]);
    expect(adviceOf(maker(site), receiver(0)).names).toEqual([site.place.function]);
  });

  it("nor when it takes all workers together to keep them", () => {
    const large = moved({ size: 2_000_000 });
    const workers = (held: number): ThreadProfile[] => [receiver(held), receiver(held, 2), receiver(held, 3)];
    expect(adviceOf(maker(large), ...workers(3 * 2_000_000)).names).toEqual(["move"]);
    expect(adviceOf(maker(large), ...workers(4 * 2_000_000)).kept).toEqual(["move"]);
    const elsewhere = { ...receiver(500 * SIZE), pid: 2 };
    expect(adviceOf(maker(large), ...workers(0), elsewhere).names).toEqual(["move"]);
  });

  it("nor when the thread that made them keeps some that came back", () => {
    const back = maker(moved(), 249 * SIZE, 249 * SIZE);
    expect(adviceOf(back, receiver(0)).kept).toEqual(["move"]);
    expect(adviceOf(back, receiver(undefined, 1, false)).kept).toEqual(["move"]);
    // A cache of another place of that thread is that place's.
    const cache = placeOf("cache", { count: 400, inUse: 249 });
    const both = threadOf([moved(), cache], { reachable: () => 249 * SIZE });
    const named = adviceOf({ ...both, live: { ...both.live, held: 250 * SIZE } }, receiver(0));
    expect([named.names, named.kept]).toEqual([["move"], ["cache"]]);
  });

  it("nor when more was reachable than one thread leaves uncollected, and nothing told the end", () => {
    const killed = receiver(undefined, 1, false);
    const lazy = LIMITS.lazyBytes + SIZE;
    expect(adviceOf(maker(moved(), lazy - SIZE - 1), killed).names).toEqual(["move"]);
    expect(adviceOf(maker(moved(), lazy + LIMITS.unexplained), killed).kept).toEqual(["move"]);
    // That once, however many places move some.
    const two = threadOf([moved(), { ...moved({ size: 600_000 }), place: placeOf("tiles").place }], {
      reachable: () => 1.5 * LIMITS.lazyBytes,
    });
    expect(adviceOf(two, killed).kept).toEqual(["tiles", "move"]);
  });

  it("gets its pool when several workers collect seldom, and told that they keep none", () => {
    const workers = [receiver(0), receiver(0, 2), receiver(0, 3), receiver(0, 4)];
    expect(adviceOf(maker(moved(), 2 * LIMITS.lazyBytes), ...workers).names).toEqual(["move"]);
  });

  it("is not known when clones went to a thread that did not tell, and much memory was taken", () => {
    const told = (isFinal: boolean, held?: number): string[] => {
      const { refused } = adviceOf(maker(cloned), receiver(held, 1, isFinal));
      return refused.map(({ reason }) => reason);
    };
    expect(told(false)).toEqual(["unknown"]);
    expect(told(false, 0)).toEqual([]);
    // What was on its way when it was ended was not kept.
    expect(told(false, 8 * SIZE)).toEqual([]);
    expect(told(false, 20 * SIZE)).toEqual(["kept"]);
  });
});

describe("a place beside one that keeps all of its buffers", () => {
  const keeper = (changes: Partial<SiteProfile> = {}): SiteProfile =>
    placeOf("keep", { count: 500, inUse: 462, followed: 44, collected: 0, stale: 38, staleOf: 38, ...changes });

  it("gets its pool: that one explains as many as it made", () => {
    const { names, kept } = adviceOf(threadOf([placeOf("give"), keeper()], { reachable: () => 501 * SIZE }));
    expect([names, kept]).toEqual([["give"], ["keep"]]);
  });

  it("but none for what is more than that, or when that one lets some go", () => {
    const more = { reachable: () => 520 * SIZE };
    expect(adviceOf(threadOf([placeOf("give"), keeper()], more)).kept).toEqual(["give", "keep"]);
    const some = keeper({ collected: 20 });
    expect(adviceOf(threadOf([placeOf("give"), some], { reachable: () => 501 * SIZE })).names).toEqual([]);
  });
});

describe("a program", REPEATED, () => {
  const examined = async (code: string): Promise<Diagnosis> => {
    const file = join(scratch.path, "program.mjs");
    const report = join(scratch.path, "report.json");
    writeFileSync(file, code);
    await millpond(["doctor", `--json=${report}`, file]);
    return JSON.parse(readFileSync(report, "utf8")) as Diagnosis;
  };
  const program = (end: string, isKept: string, frames = 1200): string => `
    import { setImmediate as turn } from "node:timers/promises";
    const kept = [];
    function decode(n) { const frame = new Uint8Array(1_000_000); if (${isKept}) kept.push(frame); return frame; }
    for (let n = 0; n < ${frames}; n++) { decode(n); await turn(); }
    ${end}`;

  for (const [name, end, tag] of [
    ["by process.exit()", "process.exit(0);", {}],
    ["by itself", "setTimeout(() => console.log(kept.length));", FULL],
  ] as const) {
    it(`that keeps some from its middle on, and ends ${name}, gets no pool`, tag, async () => {
      const { advice, profile } = await examined(program(end, "n >= 600 && n % 10 === 0"));
      expect(advice!.pools).toEqual([]);
      expect(advice!.refused.map(({ reason }) => reason)).toEqual(["kept"]);
      // All 60 of them are there at the end, however many looks there were; Node's own may have gone meanwhile.
      expect(profile!.liveBytes).toBeGreaterThan(50_000_000);
      expect(profile!.isEndSeen).toBe(true);
    });
  }

  const threads = (end: string, isKept: string, isBack: string): string => `
    import { Worker, isMainThread, parentPort } from "node:worker_threads";
    const kept = [];
    if (isMainThread) {
      const worker = new Worker(new URL(import.meta.url));
      let under = 0, go;
      worker.on("message", ([n, back]) => { under--; if (back && ${isBack}) kept.push(back); go?.(); });
      function make(n) { return new Uint8Array(500_000).fill(n); }
      for (let n = 0; n < 1200; n++) {
        const bytes = make(n);
        worker.postMessage([n, bytes], [bytes.buffer]);
        if (++under === 3) await new Promise((resolve) => { go = resolve; });
      }
      while (under > 0) await new Promise((resolve) => { go = resolve; });
      ${end}
    } else {
      const tables = TABLES > 0 ? new WebAssembly.Memory({ initial: TABLES }) : undefined;
      parentPort.on("message", ([n, bytes]) => {
        if (n < 0) return process.exit(tables?.grow(0) & 0);
        if (${isKept}) kept.push(bytes);
        if (${isBack} !== null && bytes.buffer.byteLength > 0 && !kept.includes(bytes)) parentPort.postMessage([n, bytes], [bytes.buffer]);
        else parentPort.postMessage([n]);
      });
    }`;

  // The one with memory of WebAssembly, which ends before its worker, gets its pool in the fast lane too.
  const isMore = ["whose worker gives all back", "whose worker has memory of WebAssembly beside"];
  for (const [name, end, isKept, isBack, pages, names] of [
    [
      "whose worker keeps some of the last fifth of moved buffers",
      "worker.postMessage([-1]);",
      "n >= 960 && n % 4 === 0",
      "null",
      0,
      [],
    ],
    ["that keeps some that came back", "process.exit(0);", "false", "n % 20 === 0", 0, []],
    ["whose worker gives all back", "worker.postMessage([-1]);", "false", "null", 0, ["make"]],
    ["whose worker has memory of WebAssembly beside", "worker.postMessage([-1]);", "false", "null", 1600, ["make"]],
    [
      "that has memory of WebAssembly and ends before its worker",
      "globalThis.tables = new WebAssembly.Memory({ initial: 1600 }); process.exit(0);",
      "false",
      "null",
      0,
      ["make"],
    ],
  ] as const) {
    it(name, isMore.includes(name) ? FULL : {}, async () => {
      const { advice } = await examined(threads(end, isKept, isBack).replaceAll("TABLES", `${pages}`));
      expect(advice!.pools.map((pool) => pool.name)).toEqual(names);
      if (names.length === 0) expect(advice!.refused.map(({ reason }) => reason)).toEqual(["kept"]);
    });
  }

  it("that keeps none is looked at again whenever twice as much has been made, and gets its pool", async () => {
    const { advice, profile } = await examined(program("process.exit(0);", "false", 2000));
    expect(advice!.pools.map(({ name }) => name)).toEqual(["decode"]);
    expect(profile!.liveBytes).toBeLessThan(10_000_000);
    // The sixth is at 0.9 GB, the seventh at 1.8 GB at the latest, however long the first took.
    expect(profile!.samples).toBeGreaterThanOrEqual(7);
  });
});
