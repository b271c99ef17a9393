import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { containerLength } from "../../src/adapters/mediabunny/container-length.ts";
import { openVideoFile } from "../../src/adapters/mediabunny/video-file.ts";
import { pooledFrames } from "../../src/adapters/node/frame-source.ts";
import { allocators } from "../../src/allocators/registry.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { isMillpondError } from "../../src/util/errors.ts";
import { CLIP, scratchFolder } from "../cli/command.ts";
import { recordedClip } from "../cli/facts.ts";
import { codeOf } from "../helpers/code-of.ts";
import { lateRejections } from "../helpers/late-errors.ts";

const scratch = scratchFolder();
afterAll(scratch.remove);

const FRAME_BYTES = (1280 * 720 * 3) / 2;

function sharedPool(size: number, max: number): BufferPool {
  const pool = new BufferPool({ name: "decoded" });
  pool.configure({ size, min: max, max, align: 64, allocator: allocators.find("shared")! });
  pool.activate();
  return pool;
}

describe("a video file", () => {
  it("arrives frame by frame in shared buffers, in presentation order, with a pool of two", async () => {
    const file = await openVideoFile(CLIP);
    expect(file.facts).toMatchObject({
      container: "MP4",
      codec: "avc",
      width: 1280,
      height: 720,
      rotation: 0,
      expectedFrames: 75,
    });
    const pool = sharedPool(FRAME_BYTES, 2);
    const times: number[] = [];
    for await (const buffer of pooledFrames(file, pool)) {
      expect(buffer.bytes.buffer).toBeInstanceOf(SharedArrayBuffer);
      times.push(Number(buffer.pts) / 1e9);
      expect(buffer.duration).toBe(40_000_000n);
      buffer.release();
    }
    expect(times).toEqual(recordedClip().times);
    expect(file.shortfall).toBeUndefined();
    expect(pool.outstanding).toBe(0);
    expect(pool.stats().misses).toBe(0);
    pool.close();
  });

  it("copies the same bytes into plain and into shared memory", async () => {
    const file = await openVideoFile(CLIP);
    const frame = (await file.next())!;
    const plain = new Uint8Array(frame.layout.size);
    const shared = new Uint8Array(new SharedArrayBuffer(frame.layout.size));
    expect(await frame.copyTo(plain)).toBe(true);
    expect(await frame.copyTo(shared)).toBe(true);
    frame.close();
    await file.close();
    expect(frame.layout).toMatchObject({ format: "I420", width: 1280, height: 720, size: FRAME_BYTES });
    expect(Buffer.compare(plain, shared)).toBe(0);
    expect(new Set(plain.subarray(0, 1280)).size).toBeGreaterThan(5);
  });

  it("gives decoder and buffer back when the loop is left early, or the pool's buffers are too small", async () => {
    const pool = sharedPool(FRAME_BYTES, 2);
    for await (const buffer of pooledFrames(await openVideoFile(CLIP), pool)) {
      buffer.release();
      break;
    }
    expect(pool.outstanding).toBe(0);
    const small = sharedPool(1000, 2);
    await expect(async () => {
      for await (const buffer of pooledFrames(await openVideoFile(CLIP), small)) buffer.release();
    }).rejects.toThrow(/takes 1382400 bytes, and the pool's buffers have 1000/);
    expect(small.outstanding).toBe(0);
  });

  it("gives each frame its own bytes, also when later ones were asked for, and none after its close()", async () => {
    const file = await openVideoFile(CLIP);
    const inOrder: string[] = [];
    const digest = async (frame: { copyTo(bytes: Uint8Array): Promise<boolean> }): Promise<string> => {
      const bytes = new Uint8Array(FRAME_BYTES);
      await frame.copyTo(bytes);
      return createHash("sha1").update(bytes).digest("hex");
    };
    for (let i = 0; i < 3; i++) {
      const frame = (await file.next())!;
      inOrder.push(await digest(frame));
      frame.close();
    }
    await file.close();
    expect(new Set(inOrder).size).toBe(3);
    const again = await openVideoFile(CLIP);
    const kept = (await Promise.all([again.next(), again.next(), again.next()])).map((frame) => frame!);
    const late = await Promise.all(kept.map(digest));
    expect(late).toEqual(inOrder);
    for (const frame of kept) frame.close();
    expect(await codeOf(kept[0]!.copyTo(new Uint8Array(FRAME_BYTES)))).toBe("ERR_USE_AFTER_RELEASE");
    await again.close();
  });

  it("ends at once when it is closed", async () => {
    const file = await openVideoFile(CLIP);
    (await file.next())!.close();
    await file.close();
    await file.close();
    expect(await file.next()).toBeUndefined();
  });

  describe("whose tail is garbage", () => {
    const path = join(scratch.path, "half-garbage.mp4");
    const bytes = readFileSync(CLIP);
    const data = bytes.indexOf("mdat");
    const length = bytes.readUInt32BE(data - 4);
    for (let i = data + Math.floor(length * 0.2); i < data + length - 8; i++)
      bytes[i] = ((i * 2_654_435_761) >>> 7) & 255;
    writeFileSync(path, bytes);

    it.each(["read to its end", "left by break", "left by throw"])(
      "%s: no rejection is left unhandled",
      async (way) => {
        const pool = sharedPool(FRAME_BYTES, 2);
        const late = await lateRejections(async () => {
          const file = await openVideoFile(path);
          let frames = 0;
          try {
            for await (const buffer of pooledFrames(file, pool)) {
              buffer.release();
              if (++frames < 12) continue;
              if (way === "left by break") break;
              if (way === "left by throw") throw new Error("mine");
            }
          } catch (error) {
            expect((error as Error).message).toBe("mine");
          }
          expect(frames).toBeGreaterThanOrEqual(way === "read to its end" ? 5 : 1);
          if (way === "read to its end") expect(file.shortfall).toMatch(/^decoding stopped after frame \d+/);
        });
        expect(late).toEqual([]);
        expect(pool.outstanding).toBe(0);
      },
    );
  });

  it("is refused with a typed error when it is none", async () => {
    const path = join(scratch.path, "none.mp4");
    writeFileSync(path, "no video");
    const error = await openVideoFile(path).catch((thrown: unknown) => thrown);
    expect(isMillpondError(error, "ERR_BAD_DATA")).toBe(true);
    await expect(openVideoFile(join(scratch.path, "absent.mp4"))).rejects.toMatchObject({ code: "ENOENT" });
  });
});

describe("the length that a container announces", () => {
  const clip = readFileSync(CLIP);

  async function lengthOf(
    name: string,
    bytes: Uint8Array,
  ): Promise<{ declared: number | undefined; lacksIndex: boolean }> {
    const path = join(scratch.path, name);
    writeFileSync(path, bytes);
    const { actual, declared, lacksIndex } = await containerLength(path);
    expect(actual).toBe(bytes.length);
    return { declared, lacksIndex };
  }

  it("is that of its boxes, also when the last one is cut", async () => {
    expect(await lengthOf("whole.mp4", clip)).toEqual({ declared: clip.length, lacksIndex: false });
    expect(await lengthOf("cut.mp4", clip.subarray(0, clip.length - 5000))).toEqual({
      declared: clip.length,
      lacksIndex: false,
    });
    expect((await lengthOf("moov.mp4", clip.subarray(0, 500))).lacksIndex).toBe(true);
  });

  it("is that of a Matroska segment, when it is known", async () => {
    const ebml = Buffer.from("1a45dfa3" + "84" + "42868101", "hex");
    const known = Buffer.concat([ebml, Buffer.from("18538067" + "4064", "hex"), Buffer.alloc(100)]);
    expect((await lengthOf("known.mkv", known)).declared).toBe(known.length);
    expect((await lengthOf("short.mkv", known.subarray(0, 60))).declared).toBe(known.length);
    const live = Buffer.concat([ebml, Buffer.from("18538067" + "01ffffffffffffff", "hex"), Buffer.alloc(100)]);
    expect((await lengthOf("live.webm", live)).declared).toBeUndefined();
  });

  it("is not known of anything else", async () => {
    expect((await lengthOf("text.txt", Buffer.from("some text that is no container"))).declared).toBeUndefined();
    expect((await lengthOf("tiny", Buffer.from([1, 2]))).declared).toBeUndefined();
  });
});
