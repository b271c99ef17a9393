/**
 * GstVideoBufferPool and its like for audio: pools that lay out what their caps say and tell it by a meta, over
 * VideoInfo and AudioInfo. And GstVideoAlignment: room on four sides of each picture.
 */
import { AudioInfo, type AudioSampleFormat } from "../../media/audio/info.ts";
import { AudioMeta, VideoMeta } from "../../media/meta/layout-metas.ts";
import { VideoInfo, type VideoPixelFormat } from "../../media/video/info.ts";
import type { Buffer } from "./buffer.ts";
import { type AcquireParams, BufferPool, type Caps, type PoolConfig, readConfig, writeConfig } from "./buffer-pool.ts";
import { FlowReturn } from "./constants.ts";
import { bad, checkStruct, checkWhole, note, refuse, wrong } from "./words.ts";

/** Buffers carry a GstVideoMeta that says where their planes lie. */
export const BUFFER_POOL_OPTION_VIDEO_META = "GstBufferPoolOptionVideoMeta";
/**
 * Pictures have the room around them, and the strides, that `buffer_pool_config_set_video_alignment` asks for; needs
 * the video meta.
 */
export const BUFFER_POOL_OPTION_VIDEO_ALIGNMENT = "GstBufferPoolOptionVideoAlignment";
/** Buffers carry a GstAudioMeta that says where their planes lie. */
export const BUFFER_POOL_OPTION_AUDIO_META = "GstBufferPoolOptionAudioMeta";

/** Room around a picture, and alignment of its rows. */
export class VideoAlignment {
  /** Rows above. */
  padding_top = 0;
  /** Rows below. */
  padding_bottom = 0;
  /** Columns to the left. */
  padding_left = 0;
  /** Columns to the right. */
  padding_right = 0;
  /** Masks, 2^n - 1, one for each plane; the largest counts for all. */
  stride_align: number[] = [0, 0, 0, 0];

  /** Back to none. */
  reset(): void {
    Object.assign(this, new VideoAlignment());
  }

  /** `VideoAlignment { top: 2, bottom: 0, left: 0, right: 0, stride_align: 63,63,0,0 }`. */
  toString(): string {
    const { padding_top, padding_bottom, padding_left, padding_right, stride_align } = this;
    return `VideoAlignment { top: ${padding_top}, bottom: ${padding_bottom}, left: ${padding_left}, right: ${padding_right}, stride_align: ${stride_align} }`;
  }
}

/** Puts an alignment into a configuration; a copy of it. Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
export function buffer_pool_config_set_video_alignment(config: PoolConfig, align: VideoAlignment): void {
  readConfig(config);
  if (!(align instanceof VideoAlignment)) throw wrong("align", "a VideoAlignment", align);
  writeConfig(config, { video_alignment: checkAlignment("align", align) });
}

/** [set?, a copy of the alignment]. */
export function buffer_pool_config_get_video_alignment(config: PoolConfig): [boolean, VideoAlignment] {
  const { video_alignment: set } = readConfig(config);
  if (set === undefined) return [false, new VideoAlignment()];
  if (typeof set !== "object" || set === null) {
    throw wrong("config.video_alignment", "what buffer_pool_config_set_video_alignment() put there", set);
  }
  return [true, Object.assign(new VideoAlignment(), checkAlignment("config.video_alignment", set))];
}

type AlignmentFields = Omit<VideoAlignment, "reset" | "toString">;

/** The largest room and mask: beyond it no picture has a layout. */
const MAX_ROOM = 0x7fffffff;

/** The fields of an alignment, each read once and checked, as plain data. */
function checkAlignment(name: string, align: Partial<VideoAlignment>): AlignmentFields {
  checkStruct(name, align, ALIGNMENT_FIELDS);
  const own = { ...new VideoAlignment(), ...align } as AlignmentFields;
  for (const side of ["padding_top", "padding_bottom", "padding_left", "padding_right"] as const) {
    checkWhole(`${name}.${side}`, own[side], 0, MAX_ROOM);
  }
  const masks: unknown = own.stride_align;
  if (!Array.isArray(masks) || masks.length > 4)
    throw wrong(`${name}.stride_align`, "a list of up to four masks", masks);
  own.stride_align = Array.from({ length: 4 }, (_, i) => {
    const mask: unknown = i < masks.length ? masks[i] : 0;
    checkWhole(`${name}.stride_align[${i}]`, mask, 0, MAX_ROOM);
    if (((mask as number) & ((mask as number) + 1)) !== 0)
      throw bad(`${name}.stride_align[${i}]`, "a mask, 2^n - 1", mask);
    return mask as number;
  });
  return own;
}

const ALIGNMENT_FIELDS = ["padding_top", "padding_bottom", "padding_left", "padding_right", "stride_align"];

/** GStreamer's names of pixel formats where they differ from WebCodecs'. */
const PIXELS: Readonly<Record<string, string>> = {
  Y42B: "I422",
  Y444: "I444",
  A420: "I420A",
  A422: "I422A",
  A444: "I444A",
  RGBx: "RGBX",
  BGRx: "BGRX",
  I420_10LE: "I420P10",
  I422_10LE: "I422P10",
  Y444_10LE: "I444P10",
  I420_12LE: "I420P12",
  I422_12LE: "I422P12",
  Y444_12LE: "I444P12",
};

const SAMPLES: Readonly<Record<string, string>> = { U8: "u8", S16LE: "s16", S32LE: "s32", F32LE: "f32" };

type Fields = Readonly<Record<string, unknown>>;

/** The layout of caps, which a pipeline of the core gives as a settled format. Throws what the layout refuses. */
function videoOf(caps: Caps): VideoInfo {
  const { name, kind, info, format, width, height } = (caps ?? {}) as Fields;
  if (kind === "video" && info instanceof VideoInfo) return info;
  if (name !== "video/x-raw") throw refuse("ERR_INVALID_ARG_VALUE", "a video pool needs caps of video/x-raw");
  const pixels = PIXELS[String(format)] ?? format;
  return VideoInfo.of({ format: pixels as VideoPixelFormat, width: width as number, height: height as number });
}

function aligned(plain: VideoInfo, align: VideoAlignment): VideoInfo {
  const { format, width, height } = plain;
  const { padding_top: top, padding_bottom: bottom, padding_left: left, padding_right: right } = align;
  const mask = align.stride_align.reduce((most, one) => Math.max(most, one), 0);
  return VideoInfo.of({ format, width, height, padding: { top, bottom, left, right }, strideAlign: mask + 1 });
}

/** A pool of pictures; caps are `{ name: "video/x-raw", format, width, height }`. After GstVideoBufferPool. */
export class VideoBufferPool extends BufferPool {
  #info: VideoInfo | null = null;
  #tells = false;

  /** A pool of pictures. */
  static override new(): VideoBufferPool {
    return new VideoBufferPool();
  }

  /** The video meta, and with it the alignment. */
  override vfunc_get_options(): string[] {
    return [...super.vfunc_get_options(), BUFFER_POOL_OPTION_VIDEO_META, BUFFER_POOL_OPTION_VIDEO_ALIGNMENT];
  }

  /**
   * A size below the picture's is refused and read back; an alignment enlarges it, which is accepted. False for caps
   * that are not video.
   */
  override vfunc_set_config(config: PoolConfig): boolean {
    const [, caps, asked, min, max] = BufferPool.config_get_params(config);
    const tells = BufferPool.config_has_option(config, BUFFER_POOL_OPTION_VIDEO_META);
    const aligns = tells && BufferPool.config_has_option(config, BUFFER_POOL_OPTION_VIDEO_ALIGNMENT);
    let info: VideoInfo;
    let enough: boolean;
    try {
      const plain = videoOf(caps);
      enough = asked >= plain.size;
      info = aligns ? aligned(plain, buffer_pool_config_get_video_alignment(config)[1]) : plain;
    } catch (error) {
      note(error);
      return false;
    }
    BufferPool.config_set_params(config, caps, Math.max(asked, info.size), min, max);
    // Rows are only as aligned as the memory that they start in.
    if (aligns) {
      const mask = Math.max(0, ...buffer_pool_config_get_video_alignment(config)[1].stride_align);
      config.params.align = Math.max(config.params.align, mask);
    }
    if (!super.vfunc_set_config(config) || !enough) return false;
    this.#info = info;
    this.#tells = tells;
    return true;
  }

  /** A buffer as configured, with the meta where it was asked for. */
  override vfunc_alloc_buffer(params: AcquireParams): [FlowReturn, Buffer | null] {
    const [flow, buffer] = super.vfunc_alloc_buffer(params);
    if (flow === FlowReturn.OK && this.#tells) buffer!.core.addMeta(VideoMeta, this.#info!);
    return [flow, buffer];
  }
}

/** The layout of a block of audio that fills `size` bytes; the last frame is a whole one. */
function audioOf(caps: Caps, size: number): AudioInfo {
  const { name, kind, info, format, rate, channels, layout = "interleaved" } = (caps ?? {}) as Fields;
  if (kind === "audio" && info instanceof AudioInfo) return info;
  if (name !== "audio/x-raw") throw refuse("ERR_INVALID_ARG_VALUE", "an audio pool needs caps of audio/x-raw");
  const sample = `${SAMPLES[String(format)] ?? format}${layout === "non-interleaved" ? "-planar" : ""}`;
  const options = { format: sample as AudioSampleFormat, sampleRate: rate as number, channels: channels as number };
  const one = AudioInfo.of({ ...options, frames: 1 });
  return AudioInfo.of({ ...options, frames: Math.ceil(size / one.size) });
}

/**
 * A pool of audio blocks; caps are `{ name: "audio/x-raw", format, rate, channels, layout? }`. The size is a whole
 * number of frames.
 */
export class AudioBufferPool extends BufferPool {
  #info: AudioInfo | null = null;
  #tells = false;

  /** A pool of audio blocks. */
  static override new(): AudioBufferPool {
    return new AudioBufferPool();
  }

  /** The audio meta. */
  override vfunc_get_options(): string[] {
    return [...super.vfunc_get_options(), BUFFER_POOL_OPTION_AUDIO_META];
  }

  /**
   * A size that ends inside a frame is refused and read back as the next whole one. False for caps that are not audio.
   */
  override vfunc_set_config(config: PoolConfig): boolean {
    const [, caps, asked, min, max] = BufferPool.config_get_params(config);
    let info: AudioInfo;
    try {
      info = audioOf(caps, asked);
    } catch (error) {
      note(error);
      return false;
    }
    const size = Math.max(asked, info.size);
    BufferPool.config_set_params(config, caps, size, min, max);
    if (!super.vfunc_set_config(config) || size !== asked) return false;
    this.#info = info;
    this.#tells = BufferPool.config_has_option(config, BUFFER_POOL_OPTION_AUDIO_META);
    return true;
  }

  /** A buffer as configured, with the meta where it was asked for. */
  override vfunc_alloc_buffer(params: AcquireParams): [FlowReturn, Buffer | null] {
    const [flow, buffer] = super.vfunc_alloc_buffer(params);
    if (flow === FlowReturn.OK && this.#tells) buffer!.core.addMeta(AudioMeta, this.#info!);
    return [flow, buffer];
  }
}
