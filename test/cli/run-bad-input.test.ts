// Shares its realm with other files: nothing that it changes outlives it.
import { spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RunSummary } from "../../src/cli/run/report.ts";
import type { Exit } from "../helpers/child.ts";
import { FULL, REPEATED } from "../helpers/effort.ts";
import { CLIP, filesIn, MAIN, millpond, scratchFolder, start, untilListening } from "./command.ts";

const scratch = scratchFolder();
afterAll(scratch.remove);

function file(name: string, content: string | Uint8Array): string {
  const path = join(scratch.path, name);
  writeFileSync(path, content);
  return path;
}

function expectPlainMessage({ stderr }: Exit): void {
  expect(stderr).toMatch(/^millpond: /);
  expect(stderr).not.toMatch(/^\s+at .*:\d+/m);
  expect(stderr).not.toContain("unforeseen");
  expect(stderr).not.toContain("node:internal");
}

/** The message as one line: it is wrapped to the terminal's width. */
function message({ stderr }: Exit): string {
  return stderr.replace(/\s+/g, " ");
}

async function expectNothing(args: readonly string[], pattern: RegExp, fault?: string): Promise<Exit> {
  const out = join(scratch.path, `out-${Math.random().toString(36).slice(2)}`);
  const outcome = await millpond(
    ["run", ...args, "--workers", "1", "--out", out],
    fault === undefined ? {} : { fault },
  );
  expectPlainMessage(outcome);
  expect(message(outcome)).toMatch(pattern);
  expect(outcome.code).toBe(1);
  expect(filesIn(out)).toEqual([]);
  return outcome;
}

const clip = readFileSync(CLIP);

/**
 * Sixty small frames, for tests in which the pictures do not matter: the shipped clip takes a second of the processor.
 */
const SMALL = join(scratch.path, "small.mp4");
/** Few large frames: their picture takes more bytes than what is measured of them. */
const LARGE = join(scratch.path, "large.mp4");
beforeAll(async () => {
  for (const text of [
    `pattern width=64 height=48 frames=60 ! encode ${SMALL}`,
    `pattern width=640 height=480 frames=6 ! encode ${LARGE}`,
  ]) {
    expect((await millpond(["run", text, "--quiet"])).stderr).toBe("");
  }
});

describe("input that cannot be used", REPEATED, () => {
  it("says that a file is not there", () => expectNothing([join(scratch.path, "no.mp4")], /no\.mp4: there is no such/));

  it("says that a folder is not a file", () => expectNothing([scratch.path], /is a folder/));

  it("says that a text file is not media, whatever its name", () =>
    expectNothing([file("text.mp4", "This is a text.\n".repeat(50))], /text\.mp4 is not a media file/));

  it("says that a file is empty", () => expectNothing([file("empty.mp4", "")], /is empty/));

  it("says that the index is missing when a file was cut before it", () =>
    expectNothing([file("headless.mp4", clip.subarray(0, 3000))], /index \(the moov box\) is missing.*cut short/));

  it("names a codec that nothing here can decode", () => {
    // The sample entry's name is all that says what the codec is.
    const unknown = Buffer.from(clip);
    const at = unknown.indexOf("avc1", unknown.indexOf("stsd"));
    unknown.write("zzz9", at, "latin1");
    return expectNothing([file("codec.mp4", unknown)], /video track in "zzz9", and there is no decoder/);
  });

  it("says that a file has no video track", () => {
    const audio = Buffer.from(clip);
    // Renaming the handler hides the video track; the audio track stays.
    audio.write("hide", audio.indexOf("vide", audio.indexOf("hdlr")), "latin1");
    return expectNothing([file("audio.mp4", audio)], /has no video track/);
  });
});

describe("a file that was cut short", REPEATED, () => {
  it("decodes what is whole, says what is missing, and exits with 2", async () => {
    const path = file("cut.mp4", clip.subarray(0, Math.round(clip.length * 0.7)));
    const out = join(scratch.path, "cut");
    const outcome = await millpond(["run", path, "--json", "--workers", "1", "--out", out]);
    expect(outcome.code).toBe(2);
    expectPlainMessage(outcome);
    const summary = JSON.parse(outcome.stdout) as RunSummary;
    expect(summary.complete).toBe(false);
    expect(summary.exitCode).toBe(2);
    expect(summary.measures.frames).toBeGreaterThan(10);
    expect(summary.measures.frames).toBeLessThan(75);
    const missing = 75 - summary.measures.frames;
    expect(message(outcome)).toContain(`partial result: ${missing} of 75 frames are missing`);
    expect(message(outcome)).toMatch(/cut short: \d+ of at least \d+ bytes/);
    // What there is of a cut file is a whole result, and marked for what it is.
    expect(filesIn(out)).toEqual(["contact-sheet.png", "frames.json"]);
    const written = JSON.parse(readFileSync(join(out, "frames.json"), "utf8")) as { summary: RunSummary };
    expect(written.summary.missing).toBe(summary.missing);
    expect(summary.supply.outstanding).toBe(0);
  });
});

describe("a worker that fails", REPEATED, () => {
  it("throws: names the frame and the reason", () =>
    expectNothing([SMALL], /worker \d failed at frame 13: a fault was asked for/, "throw:12"));

  it("says so of a function that ends without an error", () =>
    expectNothing([SMALL], /worker \d ended with code 7 in the middle of its work/, "exit:12"));

  it("crashes outside any frame: says why", () =>
    expectNothing([SMALL], /worker \d died: a crash was asked for/, "crash:12"));

  it("hangs: is given up after the patience", () =>
    expectNothing([SMALL, "--patience", "0.5", "--buffers", "2"], /no worker gave a frame back for 0\.5 s/, "hang:12"));
});

describe("a buffer that does not come back", () => {
  it("is noticed, named, and exits with 3", async () => {
    const out = join(scratch.path, "leak");
    const outcome = await millpond(["run", SMALL, "--workers", "1", "--out", out], { fault: "leak:7" });
    expect(outcome.code).toBe(3);
    expectPlainMessage(outcome);
    expect(message(outcome)).toMatch(
      /1 buffer of pool "frames" did not come back.*slot \d+, lease \d+, leased for \d+ ms/,
    );
    expect(filesIn(out)).toEqual([]);
  });
});

describe("output that cannot be written", REPEATED, () => {
  it("leaves nothing behind when the disk fills while frames are measured", () =>
    expectNothing([SMALL], /frames\.json could not be written: the disk is full \(ENOSPC\)/, "disk:5000"));

  it("leaves nothing behind when the disk fills at the picture", () =>
    expectNothing([LARGE], /contact-sheet\.png could not be written: the disk is full/, "disk:20000"));

  it("says that the folder is a file", async () => {
    const outcome = await millpond(["run", SMALL, "--out", file("taken", "")]);
    expect(outcome.code).toBe(1);
    expectPlainMessage(outcome);
    expect(message(outcome)).toMatch(/taken: .*in the way/);
  });

  it.skipIf(!existsSync("/dev/full"))("says that standard output is full", async () => {
    const full = openSync("/dev/full", "w");
    const outcome = await millpond(["run", SMALL, "--workers", "1", "--json"], { stdout: full });
    closeSync(full);
    expect(outcome.code).toBe(1);
    expectPlainMessage(outcome);
    expect(message(outcome)).toMatch(/standard output could not be written: the disk is full/);
  });

  it("keeps an older result when a run fails", async () => {
    const out = join(scratch.path, "older");
    expect((await millpond(["run", SMALL, "--quiet", "--workers", "1", "--out", out])).code).toBe(0);
    const before = readFileSync(join(out, "frames.json"));
    expect(
      (await millpond(["run", SMALL, "--quiet", "--workers", "1", "--out", out], { fault: "throw:30" })).code,
    ).toBe(1);
    expect(readFileSync(join(out, "frames.json")).equals(before)).toBe(true);
    expect(filesIn(out)).toEqual(["contact-sheet.png", "frames.json"]);
  });
});

describe("Ctrl-C", () => {
  it("ends in order: exit code 130, nothing written, every buffer back", async () => {
    const out = join(scratch.path, "interrupted");
    // A pipe that stays open keeps the run waiting for frame three until the signal comes.
    const frame = Buffer.alloc(64 * 64 * 1.5, 100);
    const pipe = new PassThrough();
    const running = start(["run", "-", "--format", "I420", "--size", "64x64", "--workers", "1", "--out", out], {
      stdin: pipe,
    });
    pipe.write(Buffer.concat([frame, frame]));
    await until(() => filesIn(out).length > 0);
    running.child.kill("SIGINT");
    const outcome = await running.done;
    expect(outcome.code).toBe(130);
    expectPlainMessage(outcome);
    expect(message(outcome)).toMatch(/interrupted after \d frames?; nothing was written, and every buffer is back/);
    expect(filesIn(out)).toEqual([]);
    pipe.destroy();
  });
});

describe("a folder as standard input", () => {
  it.each([["-"], ["rawvideo - ! null"]])("of run %j is named as one, and not taken for an empty stream", (input) => {
    const folder = openSync(scratch.path, "r");
    const { status, stderr } = spawnSync(process.execPath, [MAIN, "run", input], { stdio: [folder, "ignore", "pipe"] });
    closeSync(folder);
    expect(status).toBe(1);
    expect(String(stderr)).toContain("standard input is a folder (EISDIR)");
  });
});

describe("a file's name with what a terminal takes for commands", REPEATED, () => {
  it("shows in the summary, and is not printed as it is", async () => {
    const name = "red\u001b[31m\nname";
    const picture = file(
      `${name}.y4m`,
      Buffer.concat([Buffer.from("YUV4MPEG2 W2 H2 F25:1\nFRAME\n"), Buffer.alloc(6)]),
    );
    const out = join(scratch.path, `out-${name}`);
    const [film, text] = await Promise.all([
      millpond(["run", picture, "--workers", "1", "--out", out]),
      millpond(["run", `pattern frames=1 ! y4msink "${join(scratch.path, `${name}2.y4m`)}"`, "--describe"]),
    ]);
    for (const { code, stdout, stderr } of [film, text]) {
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toContain("red\ufffd[31m");
      expect(stdout).not.toContain("\u001b");
    }
  });
});

describe("a second signal", () => {
  it("leaves neither a file nor the folders that were made for it", async () => {
    const folder = join(scratch.path, "twice");
    mkdirSync(folder);
    const out = join(folder, "x", "y");
    const running = start(["run", SMALL, "--workers", "1", "--out", out], { fault: "hang:10" });
    await until(() => filesIn(out).length > 0);
    // Of two kinds: two of one kind that wait at once are one.
    running.child.kill("SIGTERM");
    running.child.kill("SIGHUP");
    const { code } = await running.done;
    expect([129, 143]).toContain(code);
    expect(filesIn(folder)).toEqual([]);
  });
});

describe("a report that cannot be printed", () => {
  const full = existsSync("/dev/full") ? openSync("/dev/full", "w") : undefined;
  afterAll(() => full !== undefined && closeSync(full));

  it.skipIf(full === undefined)("is code 2, when the result of a pipeline has its name", async () => {
    const sheet = join(scratch.path, "unreported.png");
    const { code, stderr } = await millpond(["run", `pattern frames=3 ! contactsheet ${sheet}`], { stdout: full! });
    expect(stderr).toMatch(/standard output could not be written: .*; the results are there/);
    expect({ code, isThere: existsSync(sheet) }).toEqual({ code: 2, isThere: true });
  });

  it.skipIf(full === undefined)("is code 2, when the results of a file have their names", FULL, async () => {
    const out = join(scratch.path, "unreported");
    const { code, stderr } = await millpond(["run", SMALL, "--out", out], { stdout: full! });
    expect(stderr).toMatch(/standard output could not be written: .*; the results are there/);
    expect({ code, left: filesIn(out) }).toEqual({ code: 2, left: ["contact-sheet.png", "frames.json"] });
  });
});

describe("Ctrl-C before the first byte", () => {
  it("ends the wait for it", async () => {
    const pipe = new PassThrough();
    const running = start(["run", "-"], { stdin: pipe });
    await untilListening(running.child);
    running.child.kill("SIGINT");
    const outcome = await running.done;
    expect(outcome.code).toBe(130);
    expect(message(outcome)).toContain("interrupted");
    pipe.destroy();
  });
});

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 6000 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(condition()).toBe(true);
}
