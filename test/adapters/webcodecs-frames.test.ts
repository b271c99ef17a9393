/** Frames of a decoder into slots: what lands where, that every frame is closed, and that a decoder never runs dry. */
import { afterEach, describe, expect, it } from "vitest";
import { type CopyableFrame, copyFrame, toVideoFrame } from "../../src/adapters/webcodecs/frames.ts";
import { SharedAllocator } from "../../src/allocators/shared.ts";
import { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { VideoMeta } from "../../src/media/meta/layout-metas.ts";
import { VideoInfo, type VideoInfoOptions } from "../../src/media/video/info.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { codeOf } from "../helpers/code-of.ts";
import { code, openPool } from "../pools/buffer/pools.ts";

const I420: VideoInfoOptions = { format: "I420", width: 20, height: 10 };
const SIZE = VideoInfo.of(I420).size;

/** A frame that keeps account of its closing, and of being used after it. */
class FakeFrame implements CopyableFrame {
  readonly info: VideoInfo;
  format: string | null;
  readonly timestamp: number;
  readonly duration: number | null = 40_000;
  closed = 0;
  /** Formats that it converts to; undefined: it does not know the option. */
  converts: readonly string[] | undefined;
  /** Waited for before a copy ends. */
  hold: Promise<unknown> | undefined;
  onClose: () => void = () => {};

  constructor(options: VideoInfoOptions = I420, timestamp = 40_000) {
    this.info = VideoInfo.of(options);
    this.format = options.format;
    this.timestamp = timestamp;
  }

  get visibleRect(): { width: number; height: number } | null {
    return this.closed > 0 ? null : this.info;
  }
  get displayWidth(): number {
    return this.info.width * 2;
  }
  get displayHeight(): number {
    return this.info.height;
  }

  #layout(options: { format?: string } = {}): VideoInfo {
    if (this.closed > 0) throw new Error("InvalidStateError: closed");
    if (this.format === null && (this.converts === undefined || options.format === undefined)) {
      throw new Error("NotSupportedError: no format");
    }
    if (this.converts === undefined || options.format === undefined) return this.info;
    if (!this.converts.includes(options.format)) throw new Error("NotSupportedError: no such conversion");
    return VideoInfo.of({ ...I420, format: options.format as "RGBA" });
  }

  allocationSize(options?: object): number {
    return this.#layout(options).size;
  }

  async copyTo(bytes: Uint8Array, options?: object): Promise<{ offset: number; stride: number }[]> {
    const layout = this.#layout(options);
    if (bytes.length < layout.size) throw new TypeError("destination is too small");
    await this.hold;
    bytes.fill(this.timestamp / 1000, 0, layout.size);
    return layout.layout;
  }

  close(): void {
    this.closed++;
    this.onClose();
  }
}

/** Lets everything that is under way get as far as it can. */
async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

function expectWhole(pool: BufferPool): void {
  pool.validate();
  const { outstanding, awaitingMemory, waiting } = pool.stats();
  expect({ outstanding, awaitingMemory, waiting }).toEqual({ outstanding: 0, awaitingMemory: 0, waiting: 0 });
}

const stubbed = ["OffscreenCanvas", "VideoFrame"];
afterEach(() => {
  for (const name of stubbed) delete (globalThis as Record<string, unknown>)[name];
});

describe("copyFrame", () => {
  it("copies the picture with its times and its layout into a slot, and closes the frame", async () => {
    for (const config of [{}, { allocator: new SharedAllocator() }]) {
      const pool = openPool({ size: SIZE + 50, max: 1, ...config });
      const frame = new FakeFrame();
      const buffer = await copyFrame(frame, pool);
      expect([frame.closed, buffer.size, buffer.pts, buffer.duration]).toEqual([1, SIZE, 40_000_000n, 40_000_000n]);
      expect(buffer.getMeta(VideoMeta)!.info).toEqual(VideoInfo.of(I420));
      expect(buffer.bytes.every((byte) => byte === 40)).toBe(true);
      buffer.release();
      // The next lease has the whole slot, and no meta.
      const next = pool.tryAcquire()!;
      expect([next.size, next.metas().length, next.pts]).toEqual([SIZE + 50, 0, undefined]);
      next.release();
      expectWhole(pool);
    }
  });

  it("keeps the layout that the platform chose", async () => {
    const padded = { ...I420, strides: [32, 16, 16], offsets: [0, 320, 400] };
    const pool = openPool({ size: 512, max: 1 });
    const buffer = await copyFrame(new FakeFrame(padded), pool);
    expect(buffer.getMeta(VideoMeta)!.info).toEqual(VideoInfo.of(padded));
    expect(buffer.size).toBe(VideoInfo.of(padded).size);
    buffer.release();
    const frame = new FakeFrame();
    frame.copyTo = () => Promise.resolve([{ offset: 0, stride: 1 }]);
    expect(await codeOf(copyFrame(frame, pool))).toBe("ERR_OUT_OF_RANGE");
    expect(frame.closed).toBe(1);
    expectWhole(pool);
  });

  it("leaves the meta of a pool whose buffers have one, and refuses a frame that lies otherwise", async () => {
    class VideoPool extends BufferPool {
      protected override populate(buffer: MediaBuffer, config: never): void {
        super.populate(buffer, config);
        buffer.addMeta(VideoMeta, VideoInfo.of(I420));
      }
    }
    const pool = VideoPool.create({ size: SIZE, max: 1 });
    const buffer = await copyFrame(new FakeFrame(), pool);
    expect([buffer.metas("video").length, buffer.getMeta(VideoMeta)!.info]).toEqual([1, VideoInfo.of(I420)]);
    buffer.release();
    const other = new FakeFrame({ ...I420, format: "I444", width: 10 });
    expect(await codeOf(copyFrame(other, pool))).toBe("ERR_META_LOCKED");
    expect(other.closed).toBe(1);
    expectWhole(pool);
  });

  it("refuses a frame that is larger than a slot with the bytes it takes, without waiting", async () => {
    const pool = openPool({ size: SIZE - 1, max: 1 }, { name: "small" });
    const lease = await pool.acquire();
    const frame = new FakeFrame();
    const error = await copyFrame(frame, pool).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: "ERR_OUT_OF_RANGE",
      details: { pool: "small", needed: SIZE, size: SIZE - 1 },
      message: expect.stringContaining(`configure it with size: ${SIZE} or more`),
    });
    expect([frame.closed, pool.stats().waits]).toEqual([1, 0]);
    lease.release();
    expectWhole(pool);
  });

  it("closes the frame whatever fails, and gives the slot back", async () => {
    const pool = openPool({ size: SIZE, max: 1 });
    const broken = Object.assign(new FakeFrame(), { copyTo: () => Promise.reject(new Error("lost device")) });
    await expect(copyFrame(broken, pool)).rejects.toThrow("lost device");
    const opaque = Object.assign(new FakeFrame(), {
      allocationSize() {
        throw new Error("no size");
      },
    });
    await expect(copyFrame(opaque, pool)).rejects.toThrow("no size");
    const unknown = Object.assign(new FakeFrame(), { format: "X2R10G10B10" });
    const over = new FakeFrame();
    over.close();
    const starving = new FakeFrame();
    const held = await pool.acquire();
    expect(await codeOf(copyFrame(starving, pool, { timeout: 0 }))).toBe("ERR_STARVED");
    held.release();
    const refused = Array.from({ length: 6 }, () => new FakeFrame());
    expect([
      await codeOf(copyFrame(unknown, pool)),
      await codeOf(copyFrame(over, pool)),
      await codeOf(copyFrame(refused[0]!, {} as never)),
      await codeOf(copyFrame(refused[1]!, pool, null as never)),
      await codeOf(copyFrame(refused[2]!, pool, { fromat: "RGBA" } as never)),
      await codeOf(copyFrame(refused[3]!, pool, { format: "RGB" as never })),
      await codeOf(copyFrame(refused[4]!, pool, { timeout: -1 })),
      await codeOf(copyFrame(refused[5]!, pool, { signal: {} as never })),
      await codeOf(copyFrame({ close() {} } as never, pool)),
      await codeOf(copyFrame(null as never, pool)),
    ]).toEqual([
      "ERR_UNSUPPORTED",
      "ERR_USE_AFTER_RELEASE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_VALUE",
      "ERR_INVALID_ARG_VALUE",
      "ERR_OUT_OF_RANGE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_TYPE",
    ]);
    for (const frame of [broken, opaque, unknown, starving, ...refused]) expect(frame.closed).toBe(1);
    expectWhole(pool);
    pool.close();
    const late = new FakeFrame();
    expect(await codeOf(copyFrame(late, pool))).toBe("ERR_POOL_DEAD");
    expect(late.closed).toBe(1);
  });

  it("ends a wait for a slot by its signal", async () => {
    const pool = openPool({ size: SIZE, max: 1 });
    const held = await pool.acquire();
    const stop = new AbortController();
    const frame = new FakeFrame();
    const copy = copyFrame(frame, pool, { signal: stop.signal });
    await settle();
    expect([frame.closed, pool.stats().waiting]).toEqual([0, 1]);
    const reason = new Error("stop");
    stop.abort(reason);
    await expect(copy).rejects.toBe(reason);
    expect(frame.closed).toBe(1);
    held.release();
    expectWhole(pool);
  });

  it("keeps the slot while the platform writes into it, also when the call was aborted", async () => {
    const pool = openPool({ size: SIZE, max: 1 });
    const stop = new AbortController();
    const frame = new FakeFrame();
    let go = (): void => {};
    frame.hold = new Promise<void>((resolve) => {
      go = resolve;
    });
    const copy = copyFrame(frame, pool, { signal: stop.signal });
    const outcome = copy.catch((error: unknown) => error);
    await settle();
    const reason = new Error("stop");
    stop.abort(reason);
    await settle();
    // Released now, the slot would be somebody else's when the bytes come.
    expect([pool.outstanding, pool.free, frame.closed]).toEqual([1, 0, 0]);
    go();
    expect(await outcome).toBe(reason);
    expect(frame.closed).toBe(1);
    expectWhole(pool);
  });

  it("has the platform convert to RGB, where it does", async () => {
    const pool = openPool({ size: 20 * 10 * 4, max: 1 });
    const frame = Object.assign(new FakeFrame(), { converts: ["RGBA", "BGRX"] });
    const buffer = await copyFrame(frame, pool, { format: "BGRX" });
    expect(buffer.getMeta(VideoMeta)!.info).toEqual(VideoInfo.of({ ...I420, format: "BGRX" }));
    buffer.release();
    // One that ignores the option would give I420 for RGBA; one with as many bytes in four planes is told by those.
    for (const other of [new FakeFrame(), new FakeFrame({ ...I420, format: "I444A" })]) {
      expect(await codeOf(copyFrame(other, pool, { format: "RGBA" }))).toBe("ERR_UNSUPPORTED");
      expect(other.closed).toBe(1);
    }
    // One that is on the GPU only is RGBA then, without a canvas.
    const gpu = Object.assign(new FakeFrame(), { format: null, converts: ["RGBA"] });
    const read = await copyFrame(gpu, pool);
    expect([read.getMeta(VideoMeta)!.info.format, gpu.closed]).toEqual(["RGBA", 1]);
    read.release();
    // Its own format by name needs no conversion.
    const own = await copyFrame(new FakeFrame(), pool, { format: "I420" });
    expect(own.size).toBe(SIZE);
    own.release();
    expectWhole(pool);
  });

  it("reads frames that are on the GPU only through a canvas, one for a pool", async () => {
    const pool = openPool({ size: 40 * 10 * 4, max: 2 });
    const gpu = (): FakeFrame => Object.assign(new FakeFrame(), { format: null });
    const without = gpu();
    expect(await codeOf(copyFrame(without, pool))).toBe("ERR_UNSUPPORTED");
    expect(without.closed).toBe(1);
    let canvases = 0;
    let drawn: unknown;
    (globalThis as Record<string, unknown>).OffscreenCanvas = class {
      width: number;
      height: number;
      constructor(width: number, height: number) {
        canvases++;
        this.width = width;
        this.height = height;
      }
      getContext(): unknown {
        return {
          canvas: this,
          drawImage: (image: unknown) => {
            drawn = image;
          },
          getImageData: (_x: number, _y: number, width: number, height: number) => {
            expect([this.width, this.height]).toEqual([width, height]);
            return { data: new Uint8ClampedArray(width * height * 4).fill(9) };
          },
        };
      }
    };
    const frames = [gpu(), gpu()];
    const [one, two] = await Promise.all(frames.map((frame) => copyFrame(frame, pool)));
    expect([canvases, frames.map(({ closed }) => closed), drawn === frames[1]]).toEqual([1, [1, 1], true]);
    // As it is shown, in square pixels.
    expect(one!.getMeta(VideoMeta)!.info).toEqual(VideoInfo.of({ format: "RGBA", width: 40, height: 10 }));
    expect([one!.size, two!.bytes.every((byte) => byte === 9), two!.pts]).toEqual([1600, true, 40_000_000n]);
    one!.release();
    two!.release();
    // A frame that the platform does not convert goes the same way; what a canvas does not have is refused.
    const converted = await copyFrame(new FakeFrame(), pool, { format: "RGBX" });
    expect(converted.getMeta(VideoMeta)!.info.format).toBe("RGBX");
    converted.release();
    for (const format of ["BGRA", "I420", "NV12"] as const) {
      expect(await codeOf(copyFrame(gpu(), pool, { format }))).toBe("ERR_UNSUPPORTED");
    }
    expectWhole(pool);
  });
});

/** A decoder with so many frames: it makes the next one only while fewer than that are open, as browsers' do. */
class FakeDecoder {
  readonly #frames: number;
  readonly #output: (frame: FakeFrame) => void;
  open = 0;
  mostOpen = 0;
  made = 0;
  #wanted = 0;

  constructor(frames: number, output: (frame: FakeFrame) => void) {
    this.#frames = frames;
    this.#output = output;
  }

  decode(): void {
    this.#wanted++;
    this.#run();
  }

  #run(): void {
    while (this.made < this.#wanted && this.open < this.#frames) {
      const frame = new FakeFrame(I420, this.made++ * 1000);
      this.mostOpen = Math.max(this.mostOpen, ++this.open);
      frame.onClose = () => {
        this.open--;
        queueMicrotask(() => this.#run());
      };
      this.#output(frame);
    }
  }
}

describe("a decoder of eight frames", () => {
  it("never runs dry, however long the leases are kept", async () => {
    const pool = openPool({ size: SIZE, max: 12 });
    const kept: MediaBuffer[] = [];
    const times: bigint[] = [];
    const copies: Promise<void>[] = [];
    const decoder = new FakeDecoder(8, (frame) => {
      copies.push(
        copyFrame(frame, pool).then((buffer) => {
          times.push(buffer.pts!);
          // A program that looks at twelve pictures at once: more than the decoder has.
          if (kept.push(buffer) === 12) for (const lease of kept.splice(0)) lease.release();
        }),
      );
    });
    for (let i = 0; i < 120; i++) decoder.decode();
    while (copies.length < 120) await settle();
    await Promise.all(copies);
    expect(times).toEqual(Array.from({ length: 120 }, (_, i) => BigInt(i) * 1_000_000n));
    expect([decoder.made, decoder.open, decoder.mostOpen]).toEqual([120, 0, 8]);
    expectWhole(pool);
  });

  it("waits with at most its own eight frames when the slots are out, and goes on when they come back", async () => {
    const pool = openPool({ size: SIZE, max: 2 });
    const kept: MediaBuffer[] = [];
    const decoder = new FakeDecoder(8, (frame) => void copyFrame(frame, pool).then((buffer) => kept.push(buffer)));
    for (let i = 0; i < 30; i++) decoder.decode();
    await settle();
    expect([kept.length, decoder.open, pool.stats().waiting]).toEqual([2, 8, 8]);
    for (let i = 0; i < 30; i++) {
      expect(decoder.open).toBeLessThanOrEqual(8);
      kept.shift()!.release();
      await settle();
    }
    expect([decoder.made, decoder.open]).toEqual([30, 0]);
    expectWhole(pool);
  });

  it("does run dry when a program keeps its frames: what the two above are for", async () => {
    const frames: FakeFrame[] = [];
    const decoder = new FakeDecoder(8, (frame) => frames.push(frame));
    for (let i = 0; i < 12; i++) decoder.decode();
    await settle();
    expect([frames.length, decoder.made]).toEqual([8, 8]);
  });
});

describe("toVideoFrame", () => {
  class FakeVideoFrame {
    readonly bytes: Uint8Array;
    readonly init: object;
    constructor(bytes: Uint8Array, init: object) {
      this.bytes = bytes.slice();
      this.init = init;
    }
  }

  it("makes a frame of the buffer's bytes, times and layout, and leaves the lease to its holder", async () => {
    (globalThis as Record<string, unknown>).VideoFrame = FakeVideoFrame;
    const pool = openPool({ size: SIZE, max: 1 });
    const buffer = await copyFrame(new FakeFrame(), pool);
    buffer.retain();
    const frame = toVideoFrame(buffer) as unknown as FakeVideoFrame;
    expect(frame.init).toEqual({
      format: "I420",
      codedWidth: 20,
      codedHeight: 10,
      timestamp: 40_000,
      duration: 40_000,
      layout: VideoInfo.of(I420).layout,
    });
    expect([frame.bytes.length, buffer.refCount]).toEqual([SIZE, 2]);
    buffer.release();
    buffer.release();
    expectWhole(pool);
    // Without times, and with a layout of the caller's.
    const plain = MediaBuffer.allocate(2000);
    const rgba = toVideoFrame(plain, {
      info: VideoInfo.of({ ...I420, format: "RGBA" }),
      colorSpace: { fullRange: true },
      displayWidth: 40,
    }) as unknown as FakeVideoFrame;
    expect(rgba.init).toMatchObject({
      format: "RGBA",
      timestamp: 0,
      colorSpace: { fullRange: true },
      displayWidth: 40,
    });
    expect(["duration" in rgba.init, "displayHeight" in rgba.init]).toEqual([false, false]);
    plain.release();
    expect(code(() => toVideoFrame(plain, { info: VideoInfo.of(I420) }))).toBe("ERR_USE_AFTER_RELEASE");
  });

  it("refuses what has no layout, what is too small, and what a VideoFrame cannot be", () => {
    const info = VideoInfo.of(I420);
    const buffer = MediaBuffer.allocate(SIZE - 1);
    expect(code(() => toVideoFrame(buffer, { info }))).toBe("ERR_UNSUPPORTED");
    (globalThis as Record<string, unknown>).VideoFrame = FakeVideoFrame;
    expect([
      code(() => toVideoFrame(buffer)),
      code(() => toVideoFrame(buffer, { info })),
      code(() => toVideoFrame(buffer, { info: VideoInfo.of({ format: "GRAY8", width: 4, height: 4 }) })),
      code(() => toVideoFrame(buffer, { info: {} as never })),
      code(() => toVideoFrame(buffer, { info, colorSpace: 5 as never })),
      code(() => toVideoFrame(buffer, { info, displayWidth: 0 })),
      code(() => toVideoFrame(buffer, info as never)),
      code(() => toVideoFrame(new Uint8Array(4) as never)),
      code(() => toVideoFrame(null as never)),
    ]).toEqual([
      "ERR_INVALID_ARG_VALUE",
      "ERR_OUT_OF_RANGE",
      "ERR_UNSUPPORTED",
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_OUT_OF_RANGE",
      "ERR_INVALID_ARG_VALUE",
      "ERR_INVALID_ARG_TYPE",
      "ERR_INVALID_ARG_TYPE",
    ]);
    buffer.release();
  });
});

describe("copyFrame of a frame that misbehaves", () => {
  const layout = [
    { offset: 0, stride: 2 },
    { offset: 4, stride: 1 },
    { offset: 5, stride: 1 },
  ];
  const odd = (more: object): CopyableFrame => ({
    format: "I420",
    visibleRect: { width: 2, height: 2 },
    displayWidth: 2,
    displayHeight: 2,
    timestamp: 0,
    duration: null,
    allocationSize: () => 6,
    copyTo: () => Promise.resolve(layout),
    close() {},
    ...more,
  });

  it("keeps no lease when close() throws, when a plane lies outside the slot, or when the size is none", async () => {
    const pool = BufferPool.create({ size: 6, max: 2 });
    const failing = odd({
      close() {
        throw new Error("close fails");
      },
    });
    await expect(copyFrame(failing, pool)).rejects.toThrow("close fails");
    const far = [layout[0], { offset: 400, stride: 1 }, { offset: 500, stride: 1 }];
    expect(await codeOf(copyFrame(odd({ copyTo: () => Promise.resolve(far) }), pool))).toBe("ERR_OUT_OF_RANGE");
    for (const plane of [null, undefined, 5]) {
      const none = odd({ copyTo: () => Promise.resolve([plane] as never) });
      expect(await codeOf(copyFrame(none, pool))).toBe("ERR_INVALID_ARG_TYPE");
    }
    for (const size of [Number.NaN, 0, -6, 1.5, "6"]) {
      await expect(copyFrame(odd({ allocationSize: () => size }), pool)).rejects.toThrow("frame.allocationSize()");
    }
    expect(pool.outstanding).toBe(0);
  });
});
