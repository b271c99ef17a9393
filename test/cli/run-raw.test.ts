// Shares its realm with other files: nothing that it changes outlives it.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, describe, expect, it } from "vitest";
import type { RunSummary } from "../../src/cli/run/report.ts";
import type { Exit } from "../helpers/child.ts";
import { millpond, scratchFolder } from "./command.ts";

const scratch = scratchFolder();
afterAll(scratch.remove);

/** Planes of a frame whose luma is `luma` everywhere: the expected mean is exact. */
function frame(luma: number, width: number, height: number, chromaBytes: number): Buffer {
  return Buffer.concat([Buffer.alloc(width * height, luma), Buffer.alloc(chromaBytes, 128)]);
}

function y4m(header: string, frames: readonly Buffer[], params = ""): Buffer {
  return Buffer.concat([
    Buffer.from(`YUV4MPEG2 ${header}\n`),
    ...frames.flatMap((f) => [Buffer.from(`FRAME${params}\n`), f]),
  ]);
}

async function summaryOf(args: readonly string[], stdin: Uint8Array): Promise<RunSummary> {
  return summary(await millpond(["run", "-", "--workers", "1", "--json", ...args], { stdin }));
}

/** The same of a file, which is read by the same reader. */
async function summaryOfFile(args: readonly string[], bytes: Uint8Array): Promise<RunSummary> {
  const path = join(scratch.path, "film.raw");
  writeFileSync(path, bytes);
  return summary(await millpond(["run", path, "--workers", "1", "--json", ...args]));
}

function summary({ code, stdout, stderr }: Exit): RunSummary {
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return JSON.parse(stdout) as RunSummary;
}

describe("raw video on standard input", () => {
  it("takes frames of the format and size that were given, at the rate that was given", async () => {
    const bytes = Buffer.concat([frame(10, 64, 48, 1536), frame(100, 64, 48, 1536), frame(250, 64, 48, 1536)]);
    const summary = await summaryOf(["--format", "I420", "--size", "64x48", "--fps", "30000/1001"], bytes);
    expect(summary.measures.frames).toBe(3);
    expect(summary.measures.luma).toEqual({ mean: 120, min: 10, max: 250 });
    expect(summary.measures.lastTime).toBeCloseTo(2 * (1001 / 30000), 8);
    expect(summary.measures.endTime).toBeCloseTo(3 * (1001 / 30000), 8);
    expect(summary.source.kind).toBe("rawvideo");
  });

  it("knows ffmpeg's names, odd sizes, ten bits and packed pixels", async () => {
    const odd = await summaryOfFile(["--format", "yuv420p", "--size", "5x3"], frame(77, 5, 3, 2 * 3 * 2));
    expect(odd.measures.luma?.mean).toBe(77);
    const nv12 = await summaryOfFile(["--format", "nv12", "--size", "16x16"], frame(50, 16, 16, 128));
    expect(nv12.measures.luma?.mean).toBe(50);
    const ten = Buffer.alloc(16 * 16 * 3);
    for (let i = 0; i < 16 * 16; i++) ten.writeUInt16LE(400, 2 * i);
    const p10 = await summaryOfFile(["--format", "yuv420p10le", "--size", "16x16"], ten);
    expect(p10.measures.luma?.mean).toBe(100);
    const white = await summaryOfFile(["--format", "rgba", "--size", "8x8"], Buffer.alloc(8 * 8 * 4, 255));
    expect(white.measures.luma?.mean).toBe(255);
  });

  it("says how much of the last frame is missing, and exits with 2", async () => {
    const bytes = Buffer.concat([frame(10, 64, 48, 1536), frame(20, 64, 48, 1536).subarray(0, 1000)]);
    const args = ["run", "-", "--format", "I420", "--size", "64x48", "--workers", "1", "--json"];
    const { code, stdout, stderr } = await millpond(args, { stdin: bytes });
    expect(code).toBe(2);
    const summary = JSON.parse(stdout) as RunSummary;
    expect(summary.measures.frames).toBe(1);
    expect(summary.missing).toBe("the stream ends inside frame 2: 1000 of its 4608 bytes arrived");
    expect(summary.supply.outstanding).toBe(0);
    expect(stderr.replace(/\s+/g, " ")).toContain("ends inside frame 2");
  });

  it("refuses an empty stream, and bytes that nothing describes", async () => {
    const empty = await millpond(["run", "-"], { stdin: new Uint8Array(0) });
    expect(empty.code).toBe(1);
    expect(empty.stderr).toContain("the stream is empty");
    const unknown = await millpond(["run", "-"], { stdin: Buffer.alloc(5000, 65) });
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toContain("is not Y4M");
  });
});

describe("Y4M", () => {
  it("needs no flags, and its header may come in any pieces", async () => {
    const bytes = y4m("W32 H24 F25:1 Ip A1:1 C420jpeg XYSCSS=420JPEG", [
      frame(40, 32, 24, 384),
      frame(60, 32, 24, 384),
    ]);
    const pipe = new PassThrough();
    const done = millpond(["run", "-", "--workers", "1", "--json"], { stdin: pipe });
    // One byte, then three, then the rest: pieces that a pipe really delivers when a program flushes as it likes.
    for (const [from, to] of [
      [0, 1],
      [1, 4],
      [4, 30],
      [30, 70],
      [70, bytes.length],
    ] as const) {
      pipe.write(bytes.subarray(from, to));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    pipe.end();
    const { code, stdout } = await done;
    expect(code).toBe(0);
    const summary = JSON.parse(stdout) as RunSummary;
    expect(summary.measures.frames).toBe(2);
    expect(summary.measures.luma).toEqual({ mean: 50, min: 40, max: 60 });
    expect(summary.measures.lastTime).toBe(0.04);
    expect(summary.source.kind).toBe("y4m");
  });

  it.each([
    ["C422", 2 * 16 * 24],
    ["C444", 2 * 32 * 24],
    ["Cmono", 0],
    ["", 2 * 16 * 12],
  ])("reads %s with FRAME parameters", async (chroma, chromaBytes) => {
    const frames = [frame(90, 32, 24, chromaBytes), frame(90, 32, 24, chromaBytes)];
    const summary = await summaryOfFile([], y4m(`W32 H24 F30:1 ${chroma}`, frames, " Ip XNOTE=1"));
    expect(summary.measures.frames).toBe(2);
    expect(summary.measures.luma?.mean).toBe(90);
  });

  it("says where a stream stops being Y4M, and keeps what came before", async () => {
    const good = y4m("W32 H24 F25:1", [frame(40, 32, 24, 384)]);
    const { code, stdout } = await millpond(["run", "-", "--workers", "1", "--json"], {
      stdin: Buffer.concat([good, Buffer.from("GARBAGE\n")]),
    });
    expect(code).toBe(2);
    expect((JSON.parse(stdout) as RunSummary).missing).toContain("after frame 1 there is no FRAME line");
  });

  it("refuses a header without frames, and a chroma that nobody knows", async () => {
    const path = join(scratch.path, "refused.y4m");
    const refused = (text: string): Promise<Exit> => {
      writeFileSync(path, text);
      return millpond(["run", path, "--workers", "1"]);
    };
    const none = await refused("YUV4MPEG2 W32 H24 F25:1\n");
    expect(none.code).toBe(1);
    expect(none.stderr).toContain("no frame could be read");
    const chroma = await refused("YUV4MPEG2 W32 H24 F25:1 C411\nFRAME\n");
    expect(chroma.code).toBe(1);
    expect(chroma.stderr.replace(/\s+/g, " ")).toContain('chroma "C411"');
  });

  it("is also read from a file, whatever its name", async () => {
    const path = join(scratch.path, "film.bin");
    writeFileSync(path, y4m("W32 H24 F25:1", [frame(40, 32, 24, 384), frame(44, 32, 24, 384)]));
    const out = join(scratch.path, "file");
    const { code } = await millpond(["run", path, "--workers", "1", "--quiet", "--out", out]);
    expect(code).toBe(0);
    const written = JSON.parse(readFileSync(join(out, "frames.json"), "utf8")) as { frames: { time: number }[] };
    expect(written.frames.map(({ time }) => time)).toEqual([0, 0.04]);
  });
});
