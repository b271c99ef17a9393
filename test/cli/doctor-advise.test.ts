// Shares its realm with other files: nothing that it changes outlives it.
/**
 * The doctor's advice as a function of what was observed: a table of programs with the verdict that each must get. No
 * program runs here.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type GcProfile,
  PROFILE_FORMAT,
  type SiteProfile,
  type ThreadProfile,
} from "../../src/adapters/node/profile/profile.ts";
import { advise, LIMITS } from "../../src/cli/doctor/advise.ts";
import { merge, type ObservedSite, type Profile } from "../../src/cli/doctor/profile.ts";
import { reportText } from "../../src/cli/doctor/report.ts";
import { ROOT } from "./command.ts";
import { buffersOf } from "./doctor-places.ts";

const MB = 1024 * 1024;
const FRAME = 3_110_400;
/** Other threads told that they keep none. */
const GIVEN_BACK = { bytes: 0, isEnd: true, isReceivers: true };

const NO_GC: GcProfile = {
  minors: 0,
  minorMs: 0,
  minorsByBuffers: 0,
  minorMsByBuffers: 0,
  majors: 0,
  majorMs: 0,
  majorsByBuffers: 0,
  majorMsByBuffers: 0,
  peakExternal: 0,
  grownExternal: 0,
};

type Changes = Partial<Omit<Profile, "gc">> & { readonly gc?: Partial<GcProfile> };

/** A place that makes frames, four of them in use at a time. */
function siteOf(changes: Partial<ObservedSite> & { size?: number } = {}): ObservedSite {
  const { size = FRAME, count = 2310, ...rest } = changes;
  return {
    ...buffersOf("decode", 31, count, size),
    followed: 100,
    collected: 96,
    lifeMs: 960,
    inUse: 4,
    inUseFrom: "place",
    keptShare: 0,
    unexplained: 0,
    threads: 1,
    ...rest,
  };
}

/** Ten seconds of processor time, a tenth of them in 63 collections that buffers asked for. */
function profileOf(sites: readonly ObservedSite[], changes: Changes = {}): Profile {
  const { gc, ...rest } = changes;
  return {
    node: "v24.0.0",
    threshold: 65_536,
    wallMs: 12_000,
    processes: 1,
    threads: 1,
    isComplete: true,
    resources: { userMs: 9000, systemMs: 1000, minorFaults: 1e6, majorFaults: 0, maxRss: 300 * MB },
    doctorMs: 0,
    samples: 12,
    seenShare: 1,
    isEndSeen: true,
    liveBytes: 4 * FRAME,
    grownBy: 80 * MB,
    unknownBytes: 5 * MB,
    count: sites.reduce((sum, { count }) => sum + count, 0),
    bytes: sites.reduce((sum, { bytes }) => sum + bytes, 0),
    isEstimate: false,
    sites,
    addons: [],
    programs: [],
    ...rest,
    gc: {
      ...NO_GC,
      majors: 63,
      majorMs: 1000,
      majorsByBuffers: 63,
      majorMsByBuffers: 1000,
      peakExternal: 150 * MB,
      ...gc,
    },
  };
}

describe("a pool is advised", () => {
  it("for many equal buffers of which few are in use", () => {
    const { verdict, pools, refused } = advise(profileOf([siteOf()]));
    expect([verdict, refused]).toEqual(["pool", []]);
    expect(pools).toMatchObject([
      { remedy: "BufferPool", name: "decode", slots: 7, bytes: FRAME, cost: { majors: 63 } },
    ]);
    expect(pools[0]!.served).toBeCloseTo((2310 - 7) / 2310);
    expect(pools[0]!.code.join("\n")).toContain('BufferPool.create({ name: "decode", size: 3_110_400, max: 7 })');
  });

  it.each<[string, Partial<ObservedSite> & { size?: number }, string, RegExp]>([
    [
      "sizes that differ",
      {
        sizes: [
          [MB, 800],
          [2 * MB, 800],
          [3 * MB, 710],
        ],
        largest: 3 * MB,
      },
      "largest",
      /size: 3_145_728, max: 7/,
    ],
    [
      "a few odd sizes",
      {
        sizes: [
          [FRAME, 2200],
          [90_000, 110],
        ],
      },
      "BufferPool",
      /size: 3_110_400/,
    ],
    [
      "a stream that is joined",
      { api: "Buffer.concat", parts: 9000 },
      "collect",
      /collect\(readable, pages, \{ detach: true \}\)/,
    ],
    ["files", { api: "fs.promises.readFile" }, "files", /readBlocks\(path, pool\)/],
    [
      "a few sizes that are far apart",
      {
        sizes: [
          [90_000, 1900],
          [40 * MB, 410],
        ],
        largest: 40 * MB,
        bytes: 1900 * 90_000 + 410 * 40 * MB,
        inUse: 2,
      },
      "PagePool",
      /pages\.acquire\(size\)/,
    ],
    [
      "files of a few sizes that are far apart",
      {
        api: "fs.promises.readFile",
        sizes: [
          [90_000, 2110],
          [40 * MB, 200],
        ],
        largest: 40 * MB,
        bytes: 2110 * 90_000 + 200 * 40 * MB,
        inUse: 2,
      },
      "readFile",
      /readFile\(path, pages\)/,
    ],
    ["files by callback", { api: "fs.readFile" }, "files", /readBlocks\(path, pool\)/],
    [
      "chunks of Node's file streams",
      { api: "Buffer.allocUnsafeSlow", by: "node:internal/fs/streams" },
      "readBlocks",
      /readBlocks\(path, blocks\)/,
    ],
    [
      "clones to a worker",
      { api: "postMessage", inUse: undefined, inUseFrom: undefined, held: GIVEN_BACK },
      "TransferPool",
      /lane\.send\(lease\)/,
    ],
    ["new buffers that are moved to a worker", { transferred: 2200 }, "TransferPool", /pool\.connect\(worker\)/],
  ])("%s: as the place needs it", (_, changes, remedy, code) => {
    const { pools } = advise(profileOf([siteOf(changes)]));
    expect(pools.map((pool) => pool.remedy)).toEqual([remedy]);
    expect(pools[0]!.code.join("\n")).toMatch(code);
  });

  it("frames of a program, where one was started; bodies where sizes differ more", () => {
    const frames = siteOf({
      api: "Buffer.concat",
      sizes: [
        [FRAME, 500],
        [FRAME + 20_000, 900],
        [FRAME + 65_000, 910],
      ],
    });
    const remedies = (sites: ObservedSite[], programs: string[]): string[] =>
      advise(profileOf(sites, { programs })).pools.map(({ remedy }) => remedy);
    expect(remedies([frames], ["ffmpeg"])).toEqual(["spawnFrames"]);
    expect(remedies([frames], [])).toEqual(["collect"]);
    const bodies = {
      ...frames,
      sizes: [
        [FRAME, 1200],
        [2 * FRAME, 1110],
      ] as [number, number][],
    };
    expect(remedies([bodies], ["ffmpeg"])).toEqual(["collect"]);
  });

  it.each<[string, Partial<ObservedSite>]>([
    [
      "undici's",
      {
        api: "Buffer.allocUnsafeSlow",
        package: "undici",
        place: { function: "chunksConcat", file: "/node_modules/undici/x.js", line: 1, column: 1 },
      },
    ],
    ["fetch()'s", { place: { function: "", file: "node:internal/deps/undici/undici", line: 0, column: 0 } }],
  ])("bodies of %s, which can be read in another way", (_, changes) => {
    const { pools } = advise(profileOf([siteOf({ api: "Buffer.concat", ...changes })], { programs: ["ffmpeg"] }));
    expect(pools).toMatchObject([{ remedy: "collect", name: "bodies" }]);
    expect(pools[0]!.code.join("\n")).toContain("collect(response.body, pages, { detach: true, expected })");
  });

  it("bodies of any size, in pages that make eight sizes of them", () => {
    const sizes = Array.from({ length: 64 }, (_, i) => [FRAME + 20_000 * i, 1] as [number, number]);
    const site = siteOf({ api: "Buffer.concat", sizes, otherSizes: 2246, largest: 8_000_000 });
    const [pool] = advise(profileOf([site])).pools;
    expect(pool!.code.join("\n")).toContain(
      'PagePool.create({ name: "decode", maxBytes: 123 * 2 ** 20, pageSize: 2 ** 20 })',
    );
    expect(pool!.served).toBeCloseTo((2310 - 8 - 7) / 2310);
  });

  it("with room for bodies that are still coming", () => {
    const [pool] = advise(profileOf([siteOf({ api: "Buffer.concat" })], { liveBytes: 400 * MB })).pools;
    expect(pool!.bytes).toBe(Math.ceil((800 * MB + 9 * FRAME) / MB) * MB);
    expect(pool!.cautions.join()).toContain("ERR_POOL_FULL");
  });

  it("for its memory alone, where its time would not be worth it", () => {
    const idle = { resources: { userMs: 1e6, systemMs: 0, minorFaults: 0, majorFaults: 0, maxRss: 500 * MB } };
    const gc = { peakExternal: 400 * MB, majorMsByBuffers: 100 };
    const { pools } = advise(profileOf([siteOf()], { ...idle, gc }));
    expect(pools).toHaveLength(1);
    expect(advise(profileOf([siteOf()], { ...idle, gc: { ...gc, peakExternal: 60 * MB } })).pools).toEqual([]);
  });

  it("with what the program has to heed when it uses one", () => {
    const cautions = (changes: Partial<ObservedSite>, profile: Partial<Profile> = {}): string =>
      advise(profileOf([siteOf(changes)], profile)).pools[0]!.cautions.join("\n");
    expect(cautions({})).toContain('zero: "acquire"');
    expect(cautions({ api: "Buffer.allocUnsafe" })).not.toContain("zero:");
    expect(
      cautions({
        sizes: [
          [FRAME, 2200],
          [90_000, 110],
        ],
      }),
    ).toContain("110 of 2310");
    expect(cautions({ inUseFrom: "thread" })).toContain("fewer may do");
    expect(cautions({ threads: 3 })).toContain("3 threads run this");
    expect(cautions({}, { addons: ["some.node"] })).toContain("some.node");
  });
});

describe("no pool is advised", () => {
  it.each<[string, string, Partial<ObservedSite> & { size?: number }, Changes?]>([
    ["few buffers", "few", { count: LIMITS.minCount - 1, inUse: 1 }],
    ["small and cheap ones", "cheap", { size: 70_000, count: 500 }, { gc: { majorMsByBuffers: 0 } }],
    ["buffers beside much other work", "cheap", { count: 100 }, { gc: { majorMsByBuffers: 5, peakExternal: 0 } }],
    [
      "a run of a few milliseconds",
      "cheap",
      { count: 100, size: 100_000 },
      {
        resources: { userMs: 50, systemMs: 0, minorFaults: 0, majorFaults: 0, maxRss: 60 * MB },
        gc: { majorMsByBuffers: 0 },
      },
    ],
    ["all in use at once", "kept", { inUse: 2310 }],
    ["a queue of a fifth of them", "kept", { inUse: 462 }],
    ["some that stay for good", "kept", { keptShare: 0.05 }],
    ["too short a run", "unknown", { inUse: undefined, inUseFrom: undefined }],
    [
      "a package's own",
      "package",
      { package: "ws", caller: { function: "serve", file: "/app.js", line: 3, column: 1 } },
    ],
    ["slots of pools", "pool", { package: "millpond" }],
    [
      "Node's own",
      "package",
      {
        place: { function: "", file: "node:internal/deps/undici/undici", line: 0, column: 0 },
        by: "node:internal/deps/undici/undici",
      },
    ],
    ["synchronous reads", "sync", { api: "fs.readFileSync" }],
    ["what another thread gets a clone of", "posted", { cloned: 2200 }],
    [
      "sizes that are many and far apart",
      "sizes",
      { sizes: Array.from({ length: 64 }, (_, i) => [70_000 + i, 36]), otherSizes: 6, largest: 200 * MB },
    ],
    [
      "clones whose largest is far larger",
      "sizes",
      {
        api: "postMessage",
        sizes: [
          [FRAME, 2309],
          [40 * FRAME, 1],
        ],
        largest: 40 * FRAME,
      },
    ],
    ["buffers of which some are moved to another thread", "posted", { transferred: 200 }],
    ["moved buffers that the other thread keeps", "kept", { transferred: 2310 }, { liveBytes: 1500 * FRAME }],
    [
      "clones that the other thread keeps",
      "kept",
      { api: "postMessage", inUse: undefined },
      { resources: { userMs: 9000, systemMs: 1000, minorFaults: 1e6, majorFaults: 0, maxRss: 2000 * FRAME } },
    ],
    ["a place that is not known", "place", { place: { function: "", file: "", line: 0, column: 0 } }],
    ["frames that a decoder frees at collections", "native", {}, { grownBy: 80 * MB, unknownBytes: 75 * MB }],
    [
      "clones beside such a decoder",
      "native",
      { api: "postMessage", inUse: undefined, held: GIVEN_BACK },
      { grownBy: 80 * MB, unknownBytes: 75 * MB },
    ],
  ])("for %s: %s", (_, reason, site, changes) => {
    const advice = advise(profileOf([siteOf(site)], changes));
    expect(advice.pools).toEqual([]);
    expect(advice.refused.map((one) => one.reason)).toEqual([reason]);
    expect(advice.verdict).toBe(reason === "unknown" ? "longer" : "none");
    expect(advice.refused[0]!.words).not.toMatch(/\.$|undefined|NaN|Infinity/);
  });

  it("for a program without large buffers, nor for one that told nothing of its resources", () => {
    expect(advise(profileOf([]))).toMatchObject({ verdict: "none", pools: [], refused: [] });
    expect(
      advise(
        profileOf([siteOf({ count: 40 })], {
          resources: undefined,
          wallMs: 1e6,
          gc: { majorMsByBuffers: 0, peakExternal: 0 },
        }),
      ).pools,
    ).toEqual([]);
  });

  it("but not where most of what was made has no place: of that nothing is said", () => {
    const few = siteOf({ count: 10 });
    const unseen = profileOf([few], { count: 2310, bytes: 2310 * FRAME });
    expect(advise(unseen)).toMatchObject({ verdict: "unseen", pools: [] });
    const text = reportText(["app.js"], { code: 0, signal: null }, unseen, advise(unseen));
    expect(text).toContain("cannot be seen, so nothing is said of a pool");
    expect(text).not.toContain("would not help");
    expect(advise(profileOf([few], { count: 12, bytes: 12 * FRAME })).verdict).toBe("none");
    expect(advise(profileOf([])).verdict).toBe("none");
  });

  it("for collections that objects asked for", () => {
    const gc = { majors: 80, majorMs: 4000, majorsByBuffers: 0, majorMsByBuffers: 0, peakExternal: 20 * MB };
    const { pools, notes } = advise(profileOf([siteOf({ count: 100, size: 100_000 })], { gc }));
    expect(pools).toEqual([]);
    expect(notes.join()).toContain("80 of 80 major collections came from objects in the heap");
  });

  it("and what it did not count it does not call native: buffers below the threshold lie outside the heap, too", () => {
    const notesFor = (grownExternal: number) => advise(profileOf([], { gc: { grownExternal } })).notes.join();
    expect(notesFor(228 * MB)).toBe(
      "228 MB that lie outside the heap were made in the course of the run beside what is counted: in buffers of less than 65,536 bytes, or by native code",
    );
    expect(notesFor(10 * MB)).toBe("");
  });
});

describe("its thresholds", () => {
  it("stand in the docs as in the code", () => {
    const page = readFileSync(join(ROOT, "docs/doctor.md"), "utf8");
    const rows = [...page.matchAll(/^\| `(\w+)` \| ([\d,.]+) \|/gm)].map(([, name, value]) => [
      name,
      Number(value!.replaceAll(",", "")),
    ]);
    expect(Object.fromEntries(rows)).toEqual(LIMITS);
  });
});

describe("a verdict", () => {
  it("takes native memory that it does not see into account", () => {
    const seen = advise(profileOf([siteOf()])).pools[0]!.cost;
    const beside = advise(profileOf([siteOf()], { gc: { grownExternal: 10 * 2310 * FRAME } })).pools[0]!.cost;
    expect(beside.majors).toBe(6);
    expect(beside.ms).toBeLessThan(seen.ms);
  });

  it("never gets worse for a program that makes more of the same buffers", () => {
    for (let count = 8; count < 100_000; count *= 2) {
      const few = advise(profileOf([siteOf({ count })])).pools.length;
      const more = advise(profileOf([siteOf({ count: 2 * count })])).pools.length;
      expect(more).toBeGreaterThanOrEqual(few);
    }
  });

  it("never advises a pool whose slots do not serve at least eight buffers each", () => {
    for (let inUse = 1; inUse < 3000; inUse++) {
      for (const { slots } of advise(profileOf([siteOf({ inUse })])).pools)
        expect(slots * LIMITS.minReuse).toBeLessThanOrEqual(2310);
    }
  });

  it("of several places says each one's own", () => {
    const other = (line: number) => ({ place: { function: `f${line}`, file: "/app.js", line, column: 1 } });
    const { pools, refused } = advise(
      profileOf([siteOf(), siteOf({ ...other(2), inUse: 2310 }), siteOf({ ...other(3), count: 10 })]),
    );
    expect(pools.map(({ name }) => name)).toEqual(["decode"]);
    expect(refused.map(({ site, reason }) => [site.place.function, reason])).toEqual([
      ["f2", "kept"],
      ["f3", "few"],
    ]);
  });
});

describe("what threads saw is added up", () => {
  const seen = (changes: Partial<SiteProfile> = {}): SiteProfile => ({
    ...buffersOf("decode", 31, 100, MB),
    followed: 40,
    collected: 40,
    lifeMs: 1,
    inUse: 2,
    inUseSamples: 5,
    underWay: 0,
    stale: 0,
    staleOf: 30,
    ...changes,
  });
  const thread = (sites: SiteProfile[], changes: Partial<ThreadProfile> = {}): ThreadProfile => ({
    format: PROFILE_FORMAT,
    pid: 1,
    thread: 0,
    node: "v24.0.0",
    wallMs: 1000,
    isFinal: true,
    gc: { ...NO_GC, majors: 3 },
    live: {
      looks: [
        [8 * MB, 2 * MB],
        [20 * MB, 3 * MB],
      ],
      ms: 10,
      falls: [],
      grownBy: 0,
      unknown: 0,
    },
    bytes: 100 * MB,
    count: 100,
    isEstimate: false,
    sites,
    elsewhere: 0,
    addons: [],
    programs: [],
    ...changes,
  });

  it("by place, with the most that one thread had in use", () => {
    const profile = merge(
      [thread([seen()]), thread([seen({ inUse: 6, stale: 3 })], { thread: 1, wallMs: 2000 })],
      65_536,
    )!;
    expect(profile).toMatchObject({
      threads: 2,
      processes: 1,
      wallMs: 2000,
      count: 200,
      gc: { majors: 6 },
      samples: 4,
    });
    expect(profile.sites).toMatchObject([
      { count: 200, inUse: 6, inUseFrom: "place", threads: 2, keptShare: 0.1, sizes: [[MB, 200]] },
    ]);
  });

  it("with what is being read", () => {
    const [site] = merge([thread([seen({ api: "fs.readFile", inUse: 1, underWay: 12 })])], 65_536)!.sites;
    expect(site).toMatchObject({ inUse: 13 });
  });

  it("by the thread's memory, where no turn of the event loop told of the place", () => {
    const [site] = merge([thread([seen({ inUseSamples: 0 })])], 65_536)!.sites;
    expect(site).toMatchObject({ inUse: 3, inUseFrom: "thread" });
  });

  it("as unknown where no thread has looked", () => {
    const none = { live: { looks: [], ms: 0, falls: [], grownBy: 0, unknown: 0 } };
    const [site] = merge([thread([seen({ inUseSamples: 0 })], none)], 65_536)!.sites;
    expect(site).toMatchObject({ inUse: undefined, inUseFrom: undefined });
    expect(merge([], 65_536)).toBeUndefined();
  });

  it("and growth of what is reachable is kept memory", () => {
    const series = Array.from({ length: 10 }, (_, i) => [i * 100 * MB, (i + 1) * 10 * MB] as const);
    const [site] = merge(
      [thread([seen({ inUseSamples: 0 })], { live: { looks: series, ms: 0, falls: [], grownBy: 0, unknown: 0 } })],
      65_536,
    )!.sites;
    expect(site!.keptShare).toBeCloseTo(0.1);
  });
});

describe("the text", () => {
  it("says of buffers that were moved to a thread that they count until that collects them", () => {
    const textOf = (transferred: number): string => {
      const profile = profileOf([siteOf({ transferred })]);
      return reportText(["app.js"], { code: 0, signal: null }, profile, advise(profile)).replaceAll(/\s+/g, " ");
    };
    expect(textOf(2310)).toContain("told (one that was moved to a thread counts until that collects it); ");
    expect(textOf(0)).not.toContain("moved to a thread");
  });

  it("has the sentence, the reasons and no control characters", () => {
    const evil = siteOf({ place: { function: "de\u001b[31mcode", file: "/a\u0007.js", line: 1, column: 1 } });
    const profile = profileOf([
      evil,
      siteOf({ inUse: 2310, place: { function: "keep", file: "/app.js", line: 2, column: 1 } }),
    ]);
    const text = reportText(["app.js", "\u001b]0;x"], { code: 0, signal: null }, profile, advise(profile));
    const plain = text.replaceAll(/\s+/g, " ");
    expect(plain).toContain(
      "7 x 3.1 MB at de\ufffd[31mcode (/a\ufffd.js:1) would serve 99 % of 2,310 allocations; 32 major GCs came from them.",
    );
    expect(plain).toContain("keep (/app.js:2), 2,310 x 3.1 MB: up to 2310 of 2310 were in use at a time");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: those are looked for
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
  });

  it("says why there is none", () => {
    expect(reportText(["app.js"], { code: null, signal: "SIGKILL" }, undefined, undefined)).toMatch(
      /was ended by SIGKILL[\s\S]*told nothing/,
    );
  });
});
