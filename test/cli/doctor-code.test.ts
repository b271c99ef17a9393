/** The lines that the doctor tells people to write run as they stand, with the names that they leave open given. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { advise } from "../../src/cli/doctor/advise.ts";
import type { ObservedSite, Profile } from "../../src/cli/doctor/profile.ts";
import { run } from "../helpers/child.ts";
import { ROOT, scratchFolder } from "./command.ts";

const scratch = scratchFolder();
afterAll(scratch.remove);

const SIZE = 1_382_400;
const MB = 1024 * 1024;

function profileOf(site: Partial<ObservedSite>, programs: readonly string[] = []): Profile {
  const full: ObservedSite = {
    api: "new Uint8Array",
    place: { function: "decode", file: "/app.js", line: 31, column: 1 },
    count: 2000,
    bytes: 2000 * SIZE,
    sizes: [[SIZE, 2000]],
    otherSizes: 0,
    largest: SIZE,
    parts: 0,
    followed: 100,
    collected: 96,
    lifeMs: 960,
    transferred: 0,
    cloned: 0,
    inUse: 2,
    inUseFrom: "place",
    keptShare: 0,
    unexplained: 0,
    threads: 1,
    ...site,
  };
  const gc = { minors: 0, minorMs: 0, minorsByBuffers: 0, minorMsByBuffers: 0, majors: 60, majorMs: 900 };
  return {
    node: "v24.0.0",
    threshold: 65_536,
    wallMs: 5000,
    processes: 1,
    threads: 1,
    isComplete: true,
    resources: { userMs: 5000, systemMs: 0, minorFaults: 0, majorFaults: 0, maxRss: 300 * MB },
    gc: { ...gc, majorsByBuffers: 60, majorMsByBuffers: 900, peakExternal: 90 * MB, grownExternal: 0 },
    doctorMs: 0,
    samples: 9,
    seenShare: 1,
    isEndSeen: true,
    liveBytes: 3 * SIZE,
    grownBy: 0,
    unknownBytes: 0,
    count: full.count,
    bytes: full.bytes,
    isEstimate: false,
    sites: [full],
    addons: [],
    programs,
  };
}

const far: [number, number][] = [
  [70_000, 1500],
  [8_000_000, 500],
];

/** What the lines leave open. */
const GIVEN = `
import { Readable } from "node:stream";
import { Worker } from "node:worker_threads";
const size = 70_000;
const length = 1000;
const path = process.argv[2];
const readable = Readable.from([Buffer.alloc(1000), Buffer.alloc(2000)], { objectMode: false });
const response = { body: Readable.from([Buffer.alloc(1000)], { objectMode: false }) };
const expected = 1000;
const [width, height] = [1280, 720];
const command = process.execPath;
const args = ["-e", "process.stdout.write(Buffer.alloc(" + (2 * 1280 * 720 * 1.5) + "))"];
const worker = process.argv[3] === "lane" ? new Worker(process.argv[4]) : undefined;
`;

describe("the doctor's lines run", () => {
  it.each<[string, Partial<ObservedSite>, string[]?]>([
    ["BufferPool", {}],
    [
      "largest",
      {
        sizes: [
          [SIZE, 1000],
          [900_000, 1000],
        ],
      },
    ],
    ["PagePool", { sizes: far, largest: 8_000_000 }],
    ["TransferPool", { api: "postMessage", held: { bytes: 0, isEnd: true, isReceivers: true } }],
    ["spawnFrames", { api: "Buffer.concat" }, ["ffmpeg"]],
    ["collect", { api: "Buffer.concat" }],
    ["collect", { api: "Buffer.concat", package: "undici" }],
    ["files", { api: "fs.readFile" }],
    ["readFile", { api: "fs.readFile", sizes: far, largest: 8_000_000 }],
    ["readBlocks", { api: "Buffer.allocUnsafeSlow", by: "node:internal/fs/streams" }],
  ])("for the remedy %s", async (remedy, site, programs) => {
    const [pool] = advise(profileOf(site, programs)).pools;
    expect(pool?.remedy).toBe(remedy);
    const source = (entry: string): string => pathToFileURL(join(ROOT, "src", entry)).href;
    const code = pool!.code
      .join("\n")
      .replaceAll(/"millpond(?:\/(\w+))?"/g, (_, name = "index") => `"${source(`${name}.ts`)}"`);
    const file = join(scratch.path, `${remedy}-${pool!.name}.mjs`);
    const other = join(scratch.path, "other.mjs");
    writeFileSync(
      other,
      `import { receiveLane } from "${source("shared.ts")}";
       import { parentPort } from "node:worker_threads";
       const lane = await receiveLane(parentPort);
       for await (const { lease } of lane) { lane.pool.bytes(lease); lease.release(); }`,
    );
    const end = remedy === "TransferPool" ? "\nawait lane.close();" : "";
    writeFileSync(file, `${GIVEN}${code}${end}\nconsole.log("done");`);
    writeFileSync(join(scratch.path, "data"), new Uint8Array(70_000));
    const exit = await run([
      process.execPath,
      file,
      join(scratch.path, "data"),
      remedy === "TransferPool" ? "lane" : "",
      other,
    ]);
    expect([exit.code, exit.stdout]).toEqual([0, "done\n"]);
  });
});
