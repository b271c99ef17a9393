// Shares its realm with other files: nothing that it changes outlives it.
/** GstVideoBufferPool and its options, the audio pool, and DMA buffers as far as this machine has them. */
import { describe, expect, it } from "vitest";
import { allocators } from "../../src/allocators/registry.ts";
import {
  Allocator,
  AudioBufferPool,
  BUFFER_POOL_OPTION_AUDIO_META,
  BUFFER_POOL_OPTION_VIDEO_ALIGNMENT,
  BUFFER_POOL_OPTION_VIDEO_META,
  type Buffer,
  BufferPool,
  buffer_pool_config_get_video_alignment,
  buffer_pool_config_set_video_alignment,
  dmabuf_memory_get_fd,
  FlowReturn,
  is_dmabuf_memory,
  lastError,
  MapFlags,
  Memory,
  type PoolConfig,
  UdmabufAllocator,
  VideoAlignment,
  VideoBufferPool,
} from "../../src/compat/gstreamer.ts";
import { VideoInfo } from "../../src/media/video/info.ts";
import { code } from "../pools/buffer/pools.ts";

const I420 = { name: "video/x-raw", format: "I420", width: 4, height: 4 };
const S16 = { name: "audio/x-raw", format: "S16LE", rate: 48_000, channels: 2 };

const configOf = (pool: BufferPool, caps: unknown, size: number, ...options: string[]): PoolConfig => {
  const config = pool.get_config();
  BufferPool.config_set_params(config, caps, size, 0, 2);
  for (const option of options) BufferPool.config_add_option(config, option);
  return config;
};

const get = async (pool: BufferPool): Promise<Buffer> => {
  const [flow, buffer] = await pool.acquire_buffer();
  expect(flow).toBe(FlowReturn.OK);
  return buffer!;
};

describe("the video pool", () => {
  it("has the options for video meta and alignment, and none for audio", () => {
    const pool = VideoBufferPool.new();
    expect(pool.get_options()).toEqual([BUFFER_POOL_OPTION_VIDEO_META, BUFFER_POOL_OPTION_VIDEO_ALIGNMENT]);
    expect(pool.has_option(BUFFER_POOL_OPTION_AUDIO_META)).toBe(false);
  });

  it("a size below the picture's is refused, read back and accepted", () => {
    const pool = VideoBufferPool.new();
    expect(pool.set_config(configOf(pool, I420, 10))).toBe(false);
    const near = pool.get_config();
    expect([near.size, pool.set_config(near), pool.core.config?.size]).toEqual([24, true, 24]);
  });

  it("with the video meta each buffer says where its planes lie, in every lease", async () => {
    const pool = VideoBufferPool.new();
    expect(pool.set_config(configOf(pool, I420, 24, BUFFER_POOL_OPTION_VIDEO_META))).toBe(true);
    pool.set_active(true);
    for (let lease = 0; lease < 2; lease++) {
      const buffer = await get(pool);
      const meta = buffer.get_meta("GstVideoMetaAPI")!;
      expect([meta.format, meta.width, meta.stride, meta.offset]).toEqual(["I420", 4, [4, 2, 2], [0, 16, 20]]);
      buffer.unref();
    }
    const plain = VideoBufferPool.new();
    expect([plain.set_config(configOf(plain, I420, 24)), plain.set_active(true)]).toEqual([true, true]);
    expect((await get(plain)).get_meta("GstVideoMetaAPI")).toBeNull();
  });

  it("alignment: padding on four sides and aligned rows enlarge the buffer, which is accepted; without the meta it is ignored", async () => {
    const align = Object.assign(new VideoAlignment(), {
      padding_top: 2,
      padding_bottom: 3,
      padding_left: 1,
      padding_right: 5,
      stride_align: [15, 0, 0, 0],
    });
    const pool = VideoBufferPool.new();
    const config = configOf(pool, I420, 24, BUFFER_POOL_OPTION_VIDEO_META, BUFFER_POOL_OPTION_VIDEO_ALIGNMENT);
    buffer_pool_config_set_video_alignment(config, align);
    align.padding_top = 99;
    expect([pool.set_config(config), pool.set_active(true)]).toEqual([true, true]);
    // Luma: rows of 1 + 4 + 5 in 16, 2 + 4 + 3 of them; chroma: 1 + 2 + 3 in 16, 1 + 2 + 2 of them.
    expect(pool.get_config().size).toBe(16 * 9 + 2 * 16 * 5);
    const buffer = await get(pool);
    const meta = buffer.get_meta("GstVideoMetaAPI")!;
    expect([meta.stride, meta.offset]).toEqual([
      [16, 16, 16],
      [2 * 16 + 1, 16 * 9 + 16 + 1, 16 * 9 + 16 * 5 + 16 + 1],
    ]);
    expect(meta.alignment).toEqual({ padding_top: 2, padding_bottom: 3, padding_left: 1, padding_right: 5 });
    expect([buffer.get_size(), buffer.peek_memory(0).core.align]).toEqual([304, 16]);
    const [set, got] = buffer_pool_config_get_video_alignment(pool.get_config());
    expect([set, got.padding_top, got.stride_align]).toEqual([true, 2, [15, 0, 0, 0]]);
    const without = VideoBufferPool.new();
    const plain = configOf(without, I420, 24, BUFFER_POOL_OPTION_VIDEO_ALIGNMENT);
    buffer_pool_config_set_video_alignment(plain, align);
    expect([without.set_config(plain), without.get_config().size]).toEqual([true, 24]);
  });

  it("caps that are no picture, and paddings that cannot be, are refused and say why", () => {
    for (const caps of [null, {}, { ...I420, format: "XYZ" }, { ...I420, width: -1 }, S16]) {
      const pool = VideoBufferPool.new();
      expect([pool.set_config(configOf(pool, caps, 24)), pool.set_active(true)]).toEqual([false, false]);
      expect(lastError()).toBeInstanceOf(Error);
    }
    const pool = VideoBufferPool.new();
    const config = configOf(pool, I420, 24, BUFFER_POOL_OPTION_VIDEO_META, BUFFER_POOL_OPTION_VIDEO_ALIGNMENT);
    for (const [bad, refused] of [
      [{ padding_left: -1 }, "ERR_OUT_OF_RANGE"],
      [{ stride_align: [4, 0, 0, 0] }, "ERR_INVALID_ARG_VALUE"],
      [{ stride_align: [1, 3, 7, 15, 31] }, "ERR_INVALID_ARG_TYPE"],
      [{ padding_tp: 1 }, "ERR_INVALID_ARG_VALUE"],
    ] as const) {
      const align = Object.assign(new VideoAlignment(), bad);
      expect(code(() => buffer_pool_config_set_video_alignment(config, align))).toBe(refused);
      expect(config.video_alignment).toBeUndefined();
    }
    buffer_pool_config_set_video_alignment(config, Object.assign(new VideoAlignment(), { padding_top: 1e9 }));
    expect(pool.set_config(config)).toBe(false);
    expect(code(() => buffer_pool_config_set_video_alignment(config, {} as VideoAlignment))).toBe(
      "ERR_INVALID_ARG_TYPE",
    );
  });
});

describe("padding in the core", () => {
  it("a padded layout is rebuilt from its strides, offsets and padding, and is another than the tight one", () => {
    const options = { format: "NV12", width: 6, height: 2 } as const;
    const tight = VideoInfo.of(options);
    const padded = VideoInfo.of({ ...options, padding: { top: 1, left: 2, bottom: 2 }, strideAlign: 8 });
    const { planes, padding } = padded;
    const again = VideoInfo.of({
      ...options,
      strides: planes.map((plane) => plane.stride),
      offsets: planes.map((plane) => plane.offset),
      padding,
    });
    expect([again.equals(padded), padded.equals(tight), again.size, structuredClone(padded.padding)]).toEqual([
      true,
      false,
      padded.size,
      { top: 1, bottom: 2, left: 2, right: 0 },
    ]);
    expect(padded.equals(structuredClone(padded) as VideoInfo)).toBe(true);
  });

  it("paddings overlap nothing: every plane with its padding is apart, and inside the size", () => {
    for (const format of ["I420", "I422A", "NV12", "RGBA", "I444P10"] as const) {
      const info = VideoInfo.of({
        format,
        width: 5,
        height: 3,
        padding: { top: 3, bottom: 1, left: 1, right: 3 },
        strideAlign: 4,
      });
      const bytes = new Uint8Array(info.size);
      info.planes.forEach((plane, index) => {
        for (let row = 0; row < plane.height; row++) {
          const from = plane.offset + row * plane.stride;
          expect(from + plane.rowBytes).toBeLessThanOrEqual(info.size);
          for (let i = from; i < from + plane.rowBytes; i++) {
            expect(bytes[i]).toBe(0);
            bytes[i] = index + 1;
          }
        }
      });
      expect(bytes.filter((byte) => byte !== 0).length).toBe(info.payload);
    }
    expect(code(() => VideoInfo.of({ format: "GRAY8", width: 2, height: 2, padding: { top: 1 }, offsets: [0] }))).toBe(
      "ERR_OUT_OF_RANGE",
    );
    expect(code(() => VideoInfo.of({ format: "GRAY8", width: 2, height: 2, padding: 4 as never }))).toBe(
      "ERR_INVALID_ARG_TYPE",
    );
  });
});

describe("the audio pool", () => {
  it("sizes are whole frames; the meta says where channels lie", async () => {
    const pool = AudioBufferPool.new();
    const planar = { ...S16, layout: "non-interleaved" };
    expect(pool.set_config(configOf(pool, planar, 10, BUFFER_POOL_OPTION_AUDIO_META))).toBe(false);
    const near = pool.get_config();
    expect([near.size, pool.set_config(near), pool.set_active(true)]).toEqual([12, true, true]);
    const meta = (await get(pool)).get_meta("GstAudioMetaAPI")!;
    expect([meta.samples, meta.offsets]).toEqual([3, [0, 6]]);
    const bad = AudioBufferPool.new();
    expect([bad.set_config(configOf(bad, I420, 10)), bad.set_config(configOf(bad, { ...S16, rate: 0 }, 8))]).toEqual([
      false,
      false,
    ]);
  });
});

describe("DMA buffers", () => {
  it("without millpond/native the allocator is absent, and says what to import", () => {
    if (allocators.names().includes("dmabuf")) return;
    expect(UdmabufAllocator.get()).toBeNull();
    expect(lastError()).toMatchObject({ code: "ERR_UNSUPPORTED", status: FlowReturn.NOT_SUPPORTED });
    expect((lastError() as Error).message).toContain("millpond/native");
  });

  it("with it: a DMA buffer where the kernel makes one, else an honest NOT_SUPPORTED; a memfd is never passed off as one", async () => {
    await import("../../src/native.ts");
    const allocator = UdmabufAllocator.get();
    if (allocator === null) {
      expect(lastError()).toMatchObject({ code: "ERR_UNSUPPORTED", status: FlowReturn.NOT_SUPPORTED });
      const memory = Allocator.find("dmabuf")?.alloc(4096, null) ?? null;
      if (memory === null) return;
      expect([is_dmabuf_memory(memory), dmabuf_memory_get_fd(memory)]).toEqual([false, -1]);
      memory.unref();
      return;
    }
    const memory = allocator.alloc(4096, null)!;
    expect([is_dmabuf_memory(memory), dmabuf_memory_get_fd(memory) > 2]).toEqual([true, true]);
    const [ok, info] = memory.map(MapFlags.READ | MapFlags.WRITE);
    expect([ok, info.size]).toEqual([true, 4096]);
    memory.unmap(info);
    memory.unref();
  });

  it("other memory is no DMA buffer, and no memory is refused", () => {
    const memory = Memory.new_wrapped(0, new Uint8Array(1), 1, 0, 1);
    expect([is_dmabuf_memory(memory), dmabuf_memory_get_fd(memory)]).toEqual([false, -1]);
    expect(code(() => is_dmabuf_memory({} as Memory))).toBe("ERR_INVALID_ARG_TYPE");
  });
});
