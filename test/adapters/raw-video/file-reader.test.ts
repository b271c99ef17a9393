// Shares its realm with other files: nothing that it changes outlives it.
import { createHash } from "node:crypto";
import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FileSource } from "../../../src/adapters/node/file-elements.ts";
import { type FrameSource, pooledFrames } from "../../../src/adapters/node/frame-source.ts";
import { DecodeElement, RawVideoElement } from "../../../src/adapters/node/frames-element.ts";
import { openRawFile, readInput } from "../../../src/adapters/node/input-stream.ts";
import { type ByteReader, ChunkReader } from "../../../src/adapters/raw-video/chunk-reader.ts";
import { FileReader } from "../../../src/adapters/raw-video/file-reader.ts";
import { planRawVideo, type RawVideoOptions } from "../../../src/adapters/raw-video/layout.ts";
import { type RawVideo, startRawVideo } from "../../../src/adapters/raw-video/source.ts";
import { allocators } from "../../../src/allocators/registry.ts";
import type { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { Sink } from "../../../src/pipeline/base/sink.ts";
import { Caps } from "../../../src/pipeline/caps.ts";
import { Pipeline } from "../../../src/pipeline/pipeline.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { mkfifo, openDescriptors, openedSince } from "../../helpers/descriptors.ts";

/** A frame of the plain tests: more than the stage takes. */
const WIDTH = 600;
const HEIGHT = 500;
const SIZE = WIDTH * HEIGHT;
const GRAY: RawVideoOptions = { format: "GRAY8", width: WIDTH, height: HEIGHT };
const HEADER = `YUV4MPEG2 W${WIDTH} H${HEIGHT} F25:1 Cmono\n`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "millpond-raw-file-"));
  writeFileSync(file("six.y4m"), y4mOf(picturesOf(6, SIZE)));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string): string {
  return join(folder, name);
}

/** No frame begins as another does. */
const NOISE = Buffer.from(Uint8Array.from({ length: 2 * SIZE }, (_, i) => (i * 31 + (i >> 8) * 7) & 255));

function picturesOf(count: number, size: number): Buffer[] {
  return Array.from({ length: count }, (_, frame) => NOISE.subarray(frame * 101, frame * 101 + size));
}

function y4mOf(pictures: readonly Uint8Array[], header = HEADER, params = ""): Buffer {
  return Buffer.concat([Buffer.from(header), ...pictures.flatMap((p) => [Buffer.from(`FRAME${params}\n`), p])]);
}

/** Of shared memory. */
function poolOf(max: number): BufferPool {
  const pool = new BufferPool({ name: "test" });
  pool.configure({ size: SIZE, min: 0, max, allocator: allocators.find("shared")! });
  pool.activate();
  return pool;
}

function expectHome(pool: BufferPool): void {
  expect(pool.outstanding).toBe(0);
  pool.validate();
  pool.close();
}

type ReadParts = (parts: readonly Uint8Array[], position: number) => Promise<{ bytesRead: number }>;

/** A handle whose reads go through `read`. */
function handleWith(handle: FileHandle, read: ReadParts): FileHandle {
  const { fd } = handle;
  const shape = { fd, stat: handle.stat.bind(handle), read: handle.read.bind(handle), readv: read };
  return shape as unknown as FileHandle;
}

function rawVideo(reader: ByteReader, options: RawVideoOptions = {}): Promise<RawVideo> {
  return startRawVideo(reader, planRawVideo(options));
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Reads all frames; says what they were, and how the stream ended. */
async function outcomeOf(opening: Promise<FrameSource>, skips: (index: number) => boolean): Promise<unknown> {
  let source: FrameSource;
  try {
    source = await opening;
  } catch (error) {
    return { refused: (error as Error).message };
  }
  const frames: unknown[] = [];
  let failure: string | undefined;
  for (let index = 0; ; index++) {
    const frame = await source.next().catch((error: Error) => {
      failure = error.message;
    });
    if (frame === undefined) break;
    if (!skips(index)) {
      const bytes = new Uint8Array(frame.layout.size);
      if (!(await frame.copyTo(bytes))) break;
      frames.push([index, frame.pts, createHash("sha1").update(bytes).digest("hex")]);
    }
    frame.close();
  }
  const { shortfall } = source;
  await source.close();
  return { frames, shortfall, failure };
}

describe("raw video of a file", () => {
  it("is read with one call a frame, into the slots' own memory and one small block", async () => {
    for (const [bytes, options, extra] of [
      // The header, and the end that is found.
      [y4mOf(picturesOf(6, SIZE)), {}, 2],
      [Buffer.concat(picturesOf(6, SIZE)), GRAY, 2],
      [y4mOf(picturesOf(6, SIZE), HEADER, ` X${"y".repeat(200)}`), {}, 2],
    ] as const) {
      writeFileSync(file("counted"), bytes);
      const handle = await open(file("counted"));
      const blocks = new Set<ArrayBufferLike>();
      let reads = 0;
      const counted = handleWith(handle, (parts, position) => {
        reads++;
        for (const part of parts) blocks.add(part.buffer);
        return handle.readv(parts, position);
      });
      const pictures = picturesOf(6, SIZE);
      const pool = poolOf(2);
      const slots = new Set<ArrayBufferLike>();
      let count = 0;
      for await (const buffer of pooledFrames(await rawVideo(new FileReader(counted), options), pool)) {
        slots.add(buffer.bytes.buffer);
        expect(Buffer.compare(buffer.bytes, pictures[count]!)).toBe(0);
        buffer.release();
        count++;
      }
      expect(count).toBe(6);
      expect(reads).toBe(6 + extra);
      const others = [...blocks].filter((block) => !slots.has(block));
      expect(others.map((block) => block.byteLength)).toEqual([65_536]);
      await handle.close();
      expectHome(pool);
    }
  });

  it("reads many small frames with one call", async () => {
    writeFileSync(file("small"), y4mOf(picturesOf(100, 24), "YUV4MPEG2 W6 H4 F25:1 Cmono\n"));
    const handle = await open(file("small"));
    let reads = 0;
    const counted = handleWith(handle, (parts, position) => {
      reads++;
      return handle.readv(parts, position);
    });
    const video = await rawVideo(new FileReader(counted));
    let count = 0;
    for (let frame = await video.next(); frame !== undefined; frame = await video.next()) {
      expect(await frame.copyTo(new Uint8Array(24))).toBe(true);
      count++;
    }
    expect([count, reads]).toEqual([100, 2]);
    await handle.close();
  });

  it("is what a pipe brings: frames, times, skipped ones, and what is missing, wherever it is cut and however short reads are", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom([6, 4], [300, 215], [257, 255], [WIDTH, HEIGHT]),
        fc.constantFrom("", " Ip", ` X${"p".repeat(300)}`, ` X${"p".repeat(2000)}`),
        fc.boolean(),
        fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }),
        fc.option(fc.integer({ min: 1, max: 150 }), { nil: undefined }),
        fc.integer({ min: 0, max: 31 }),
        fc.constantFrom("", "GARBAGE\n", "FRAME"),
        async ([width, height], params, isY4m, cut, parts, skipped, tail) => {
          const pictures = picturesOf(5, width! * height!);
          const header = `YUV4MPEG2 W${width} H${height} F30:1 Cmono\n`;
          const whole = Buffer.concat([
            isY4m ? y4mOf(pictures, header, params) : Buffer.concat(pictures),
            Buffer.from(tail),
          ]);
          const bytes = cut === undefined ? whole : whole.subarray(0, Math.floor(cut * whole.length));
          const options = isY4m ? {} : { format: "gray", width: width!, height: height! };
          writeFileSync(file("any"), bytes);
          const handle = await open(file("any"));
          const shortest = parts && Math.ceil((bytes.length + 1) / parts);
          const short = handleWith(handle, (views, position) => {
            if (shortest === undefined) return handle.readv(views, position);
            return handle.readv([views[0]!.subarray(0, shortest)], position);
          });
          const skips = (index: number): boolean => ((skipped >> index) & 1) === 1;
          const chunks = Array.from({ length: Math.ceil(bytes.length / 65_536) }, (_, i) =>
            bytes.subarray(i * 65_536, (i + 1) * 65_536),
          );
          const pipe = Readable.from(chunks, { objectMode: false });
          expect(await outcomeOf(rawVideo(new FileReader(short), options), skips)).toEqual(
            await outcomeOf(rawVideo(new ChunkReader(pipe), options), skips),
          );
          await handle.close();
        },
      ),
      { numRuns: 50 },
    );
  });

  it("passes over frames that nobody copies without reading them", async () => {
    const handle = await open(file("six.y4m"));
    let bytes = 0;
    const counted = handleWith(handle, async (parts, position) => {
      const result = await handle.readv(parts, position);
      bytes += result.bytesRead;
      return result;
    });
    const video = await rawVideo(new FileReader(counted));
    for (let i = 0; i < 5; i++) (await video.next())!.close();
    const last = new Uint8Array(SIZE);
    expect(await (await video.next())!.copyTo(last)).toBe(true);
    expect(Buffer.compare(last, picturesOf(6, SIZE)[5]!)).toBe(0);
    expect(await video.next()).toBeUndefined();
    expect(video.shortfall).toBeUndefined();
    expect(bytes).toBeLessThan(2 * SIZE);
    await handle.close();
  });

  it("says how much there is of a frame that nobody copies", async () => {
    writeFileSync(file("cut"), y4mOf(picturesOf(3, SIZE)).subarray(0, HEADER.length + 2 * (SIZE + 6) + 6 + 200_000));
    const video = await openRawFile(file("cut"), {});
    for (let i = 0; i < 3; i++) (await video.next())!.close();
    expect(await video.next()).toBeUndefined();
    expect(video.shortfall).toBe(`the stream ends inside frame 3: 200000 of its ${SIZE} bytes arrived`);
    await video.close();
  });

  it("is read to the end that is found when the file grows meanwhile, and ends early when it shrinks", async () => {
    const all = y4mOf(picturesOf(6, SIZE));
    writeFileSync(file("grows"), all.subarray(0, HEADER.length + 2 * (SIZE + 6)));
    const pool = poolOf(1);
    const pictures = picturesOf(6, SIZE);
    let count = 0;
    const growing = await openRawFile(file("grows"), {});
    for await (const buffer of pooledFrames(growing, pool)) {
      expect(Buffer.compare(buffer.bytes, pictures[count++]!)).toBe(0);
      if (count === 1) appendFileSync(file("grows"), all.subarray(HEADER.length + 2 * (SIZE + 6)));
      buffer.release();
    }
    expect([count, growing.shortfall]).toEqual([6, undefined]);

    writeFileSync(file("shrinks"), all);
    count = 0;
    const shrinking = await openRawFile(file("shrinks"), {});
    for await (const buffer of pooledFrames(shrinking, pool)) {
      if (++count === 2) truncateSync(file("shrinks"), HEADER.length + 2 * (SIZE + 6) + 6 + 1000);
      buffer.release();
    }
    expect([count, shrinking.shortfall]).toEqual([
      2,
      `the stream ends inside frame 3: 1000 of its ${SIZE} bytes arrived`,
    ]);
    expectHome(pool);
  });

  it("leaves no descriptor and no lease wherever the loop is aborted, left or returned from", async () => {
    const before = openDescriptors();
    const pool = poolOf(2);
    for (const way of ["abort", "abort while waiting", "return", "return while waiting"]) {
      for (let step = 0; step <= 6; step++) {
        const stop = new AbortController();
        const loop = pooledFrames(await openRawFile(file("six.y4m"), {}), pool, { signal: stop.signal });
        for (let i = 0; i < step; i++) (await loop.next()).value!.release();
        const waiting = way.endsWith("waiting") ? loop.next() : undefined;
        const late = waiting?.then(
          ({ value }) => value?.release(),
          (error: unknown) => expect(error).toBe("stop"),
        );
        if (way.startsWith("abort")) stop.abort("stop");
        else await loop.return!();
        await late;
        await loop.next().catch(() => {});
        while (openDescriptors().length > before.length) await turn();
        expect(pool.outstanding).toBe(0);
      }
    }
    expectHome(pool);
  });

  it("keeps a slot that the system still writes when the loop is aborted", async () => {
    const handle = await open(file("six.y4m"));
    let finish: (() => void) | undefined;
    const slow = handleWith(handle, async (parts, position) => {
      if (parts[0]!.buffer instanceof SharedArrayBuffer) await new Promise<void>((resolve) => (finish = resolve));
      return await handle.readv(parts, position);
    });
    const stop = new AbortController();
    const pool = poolOf(1);
    const loop = pooledFrames(await rawVideo(new FileReader(slow)), pool, { signal: stop.signal });
    const next = codeOrReason(loop.next());
    while (finish === undefined) await turn();
    stop.abort("stop");
    for (let i = 0; i < 20; i++) await turn();
    expect(pool.outstanding).toBe(1);
    finish();
    expect(await next).toBe("stop");
    await loop.return!();
    await handle.close();
    expectHome(pool);
  });

  it("does not let a pool that is closed by force have bytes that the system still writes", async () => {
    const pool = BufferPool.create({ size: SIZE, max: 1, revoke: true });
    const handle = await open(file("six.y4m"));
    let view: Uint8Array | undefined;
    let finish = (): void => {};
    const slow = handleWith(handle, async (parts, position) => {
      if (parts.length === 2) {
        view = parts[0]!;
        await new Promise<void>((resolve) => (finish = resolve));
      }
      return await handle.readv(parts, position);
    });
    const loop = pooledFrames(await rawVideo(new FileReader(slow)), pool);
    const next = loop.next();
    while (view === undefined) await turn();
    const { length } = view;
    pool.close({ force: true });
    expect(view.length).toBe(length);
    finish();
    expect(await codeOf(next)).toBe("ERR_POOL_DEAD");
    await handle.close();
    expect(pool.outstanding).toBe(0);
  });

  it("says so when the bytes were transferred away while the system read, and before", async () => {
    for (const isBefore of [true, false]) {
      const handle = await open(file("six.y4m"));
      const bytes = new Uint8Array(SIZE);
      const away = (): unknown => structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
      const moving = handleWith(handle, async (parts, position) => {
        const result = await handle.readv(parts, position);
        if (parts.length === 2) away();
        return result;
      });
      const frame = (await (await rawVideo(new FileReader(moving))).next())!;
      if (isBefore) away();
      expect(await codeOf(frame.copyTo(bytes))).toBe("ERR_DETACHED");
      await handle.close();
    }
  });

  it("breaks off with the system's error, and the frames before it are there", async () => {
    const handle = await open(file("six.y4m"));
    let reads = 0;
    const failing = handleWith(handle, async (parts, position) => {
      if (++reads === 4) throw new Error("a bad sector");
      return await handle.readv(parts, position);
    });
    const pool = poolOf(1);
    let count = 0;
    await expect(async () => {
      for await (const buffer of pooledFrames(await rawVideo(new FileReader(failing)), pool)) {
        buffer.release();
        count++;
      }
    }).rejects.toThrow("a bad sector");
    expect(count).toBe(2);
    await handle.close();
    expectHome(pool);
  });

  it("is closed at any time, and leaves no descriptor: before the first call, while it opens, while it reads", async () => {
    const before = openDescriptors();
    const unread = new FileReader(file("six.y4m"));
    await unread.close();
    expect(await unread.atEnd()).toBe(true);
    expect(unread.ended).toBe(false);

    const opening = new FileReader(file("six.y4m"));
    const end = opening.atEnd();
    await Promise.all([opening.close(), opening.close()]);
    expect(await end).toBe(true);
    expect(openedSince(before)).toEqual([]);

    const reading = new FileReader(file("six.y4m"));
    await reading.line(1024);
    const filling = reading.fill(new Uint8Array(6 * SIZE), 0, 6 * SIZE);
    await reading.close();
    expect(openedSince(before)).toEqual([]);
    const handle = await open(file("six.y4m"));
    let finish: (() => void) | undefined;
    const slow = handleWith(handle, async () => {
      await new Promise<void>((resolve) => (finish = resolve));
      return { bytesRead: 0 };
    });
    const waiting = new FileReader(slow);
    const found = waiting.atEnd();
    while (finish === undefined) await turn();
    let isClosed = false;
    const closing = waiting.close().then(() => (isClosed = true));
    for (let i = 0; i < 20; i++) await turn();
    expect(isClosed).toBe(false);
    finish();
    await closing;
    // It was closed, and not at its end.
    expect([await found, waiting.ended]).toEqual([true, false]);
    await handle.close();

    // The read that was under way ended; no other began.
    expect([6 * SIZE, 65_536 - HEADER.length]).toContain(await filling);
    expect(reading.ended).toBe(false);
  });

  it("refuses what a pipe is refused for, in the same words, and closes the file", async () => {
    const before = openDescriptors();
    for (const [text, options] of [
      ["", {}],
      ["nothing of the kind", {}],
      ["YUV4MPEG2 W8 H8 C410\n", {}],
      ["YUV4MPEG2 W8 H8", {}],
      [`YUV4MPEG2 W8 H8 X${"y".repeat(100_000)}`, {}],
      ["", GRAY],
    ] as const) {
      writeFileSync(file("bad"), text);
      const pipe = Readable.from(text === "" ? [] : [Buffer.from(text)], { objectMode: false });
      const told = await rawVideo(new ChunkReader(pipe), options).catch((error: Error) => error.message);
      expect(typeof told).toBe("string");
      expect(await openRawFile(file("bad"), options).catch((error: Error) => error.message)).toBe(told);
      expect(openedSince(before)).toEqual([]);
    }
    await expect(openRawFile(file("none"), {})).rejects.toMatchObject({ code: "ENOENT", path: file("none") });
    await expect(openRawFile(folder, {})).rejects.toMatchObject({ code: "EISDIR" });
    expect(await codeOf(openRawFile(file("six.y4m"), { format: "I420" }))).toBe("ERR_INVALID_ARG_VALUE");
    expect(openedSince(before)).toEqual([]);
  });
});

describe("a stage that reads raw video of a file", () => {
  it("leaves no descriptor and no lease wherever its run is aborted, also at the start", async () => {
    const before = openDescriptors();
    const pictures = picturesOf(6, 1.5 * SIZE);
    writeFileSync(file("color.y4m"), y4mOf(pictures, HEADER.replace("Cmono", "C420jpeg")));
    const sources = [
      (sink: Sink) => new Pipeline().link(new RawVideoElement(file("color.y4m")), sink),
      (sink: Sink) => new Pipeline().link(new FileSource(file("color.y4m")), new DecodeElement(), sink),
    ];
    for (const make of sources) {
      for (let step = 0; step <= 7; step++) {
        const stop = new AbortController();
        const pools = new Set<BufferPool>();
        const sink = new (class extends Sink {
          count = 0;
          override render(buffer: MediaBuffer): void {
            if (buffer.pool !== null) pools.add(buffer.pool);
            expect(Buffer.compare(buffer.bytes, pictures[this.count]!)).toBe(0);
            if (++this.count === step) stop.abort("stop");
          }
        })("look", Caps.any);
        const run = make(sink).run({ signal: stop.signal });
        if (step === 0) stop.abort("stop");
        if (step === 7) await run;
        else await expect(run).rejects.toBeDefined();
        expect([sink.count, pools.size]).toEqual([Math.min(step, 6), step === 0 ? 0 : 1]);
        for (const pool of pools) expect(pool.outstanding).toBe(0);
        expect(openedSince(before)).toEqual([]);
      }
    }
  });
});

describe("readInput", () => {
  it("reads a regular file straight, and a pipe and a device in chunks", async () => {
    mkfifo(file("pipe"));
    for (const [path, isStraight] of [
      [file("six.y4m"), true],
      [file("pipe"), false],
      ["/dev/null", false],
    ] as const) {
      const reader = readInput(path);
      expect(reader instanceof FileReader).toBe(isStraight);
      await reader.close();
    }
  });
});

async function codeOrReason(call: Promise<unknown>): Promise<unknown> {
  try {
    await call;
  } catch (error) {
    return error;
  }
  return undefined;
}
