// Shares its realm with other files: nothing that it changes outlives it.
/** What the doctor reads back: whole profiles of this version only, whatever lies in the folder. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { PROFILE_FORMAT } from "../../src/adapters/node/profile/profile.ts";
import { advise } from "../../src/cli/doctor/advise.ts";
import { merge, pidsIn, readProfiles } from "../../src/cli/doctor/profile.ts";
import { reportText } from "../../src/cli/doctor/report.ts";
import { scratchFolder } from "./command.ts";

const scratch = scratchFolder();
afterAll(scratch.remove);
let folders = 0;

type Json = { [key: string]: Json } | Json[] | string | number | boolean | null;

function whole(): { [key: string]: Json } {
  const place = { function: "decode", file: "/app.js", line: 3, column: 1 };
  const site = {
    api: "new Uint8Array",
    place,
    by: "node:fs",
    package: "frames",
    caller: place,
    count: 40,
    bytes: 4e6,
    sizes: [[100_000, 40]],
    ...{ otherSizes: 0, largest: 100_000, parts: 0, followed: 8, collected: 8, lifeMs: 5, inUse: 2, inUseSamples: 3 },
    ...{ underWay: 0, stale: 0, staleOf: 8, transferred: 0, cloned: 0 },
  };
  return {
    format: PROFILE_FORMAT,
    ...{ pid: 7, thread: 0, node: "v24.0.0", wallMs: 500, isFinal: true },
    resources: { userMs: 400, systemMs: 10, minorFaults: 5, majorFaults: 0, maxRss: 1e8 },
    gc: {
      ...{ minors: 3, minorMs: 2, minorsByBuffers: 1, minorMsByBuffers: 1, majors: 9, majorMs: 20 },
      ...{ majorsByBuffers: 8, majorMsByBuffers: 18, peakExternal: 1e7, grownExternal: 1e7 },
    },
    live: { looks: [[1e6, 2e5]], falls: [[1e6, 3e5]], atEnd: 0, held: 0, ms: 3, grownBy: 0, unknown: -1 },
    ...{ bytes: 4e6, count: 40, isEstimate: false, sites: [site], elsewhere: 0 },
    ...{ addons: ["a.node"], programs: ["ffmpeg"] },
  };
}

/** Where values are: every path in the data. */
function paths(value: Json, at: readonly string[] = []): string[][] {
  if (typeof value !== "object" || value === null) return [[...at]];
  return [[...at], ...Object.entries(value).flatMap(([key, one]) => paths(one, [...at, key]))];
}

function withAt(path: readonly string[], value: Json | undefined): Json {
  const all = whole();
  let at = all;
  for (const key of path.slice(0, -1)) at = at[key] as typeof at;
  if (value === undefined) Reflect.deleteProperty(at, path.at(-1)!);
  else at[path.at(-1)!] = value;
  return all;
}

function folderOf(...texts: readonly string[]): string {
  const folder = join(scratch.path, `folder-${folders++}`);
  mkdirSync(folder);
  for (const [n, text] of texts.entries()) writeFileSync(join(folder, `${n + 1}-0.json`), text);
  return folder;
}

describe("profiles that lie in a folder", () => {
  it("are read when they are whole, and reported on", () => {
    const threads = readProfiles(folderOf(JSON.stringify(whole()), JSON.stringify(whole())));
    expect(threads).toEqual([whole(), whole()]);
    expect(merge(threads, 65_536)).toMatchObject({ count: 80, threads: 2 });
  });

  it("are left out when anything in them is missing or something else, and what is read can be reported on", () => {
    const odd = paths(whole())
      .filter((path) => path.length > 0)
      .flatMap((path) =>
        [undefined, null, "x", -1, [], {}, [[]], true].map((value) => JSON.stringify(withAt(path, value))),
      );
    const none = [
      "",
      "null",
      "[]",
      "5",
      '{"format":1}',
      JSON.stringify({ ...whole(), format: PROFILE_FORMAT + 1 }),
      "{",
    ];
    expect(readProfiles(folderOf(...none))).toEqual([]);
    const threads = readProfiles(folderOf(...odd));
    expect(odd.length).toBeGreaterThan(400);
    // Numbers that are other numbers, texts that are other texts, what may be absent.
    expect(threads.length).toBeLessThan(odd.length / 4);
    for (const thread of threads) {
      const profile = merge([thread], 65_536)!;
      expect(reportText(["app.js"], { code: 0, signal: null }, profile, advise(profile))).toContain("app.js");
    }
  });

  it("name the processes that wrote them, also one that has only begun", () => {
    const folder = folderOf("{}");
    writeFileSync(join(folder, "12-3.json.part"), "");
    writeFileSync(join(folder, "preload.cjs"), "");
    expect(pidsIn(folder).sort((a, b) => a - b)).toEqual([1, 12]);
  });
});
