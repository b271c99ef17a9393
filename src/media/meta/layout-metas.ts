/**
 * How a picture or a block of audio lies in a buffer's bytes, as metas; void as soon as the memory layout changes.
 * Apart from the other built-in metas: an adapter that only says how a frame lies does not bring those along.
 */
import { instance } from "../../util/validate.ts";
import { AudioInfo, type AudioInfoOptions } from "../audio/info.ts";
import { VideoInfo } from "../video/info.ts";
import { accept, decodeJson, encodeJson } from "./json-bytes.ts";
import { type MetaType, registerMeta, TAG_MEMORY } from "./meta.ts";

/** The payload of {@link VideoMeta}. */
export interface VideoMetaFields {
  /** The layout of the picture in the buffer's bytes. */
  info: VideoInfo;
}

/** How the picture lies in the bytes; added with a {@link VideoInfo}. After GstVideoMeta; tags "video", "memory". */
export const VideoMeta: MetaType<VideoMetaFields, VideoInfo> = registerMeta<VideoMetaFields, VideoInfo>({
  api: "video",
  name: "millpond.video",
  tags: ["video", TAG_MEMORY],
  init(meta, info) {
    meta.info = instance("params", "a VideoInfo", VideoInfo, info);
  },
  transform(target, meta, _source, kind, { partial }) {
    return kind === "copy" && !partial && target.addMeta(VideoMeta, meta.info) !== undefined;
  },
  serialize({ info: { format, width, height, planes, padding } }) {
    return encodeJson("video", {
      format,
      width,
      height,
      strides: planes.map((p) => p.stride),
      offsets: planes.map((p) => p.offset),
      padding,
    });
  },
  deserialize(payload, buffer) {
    const options = decodeJson(payload);
    return options === undefined ? undefined : accept(() => buffer.addMeta(VideoMeta, VideoInfo.of(options as never)));
  },
});

/** The payload of {@link AudioMeta}. */
export interface AudioMetaFields {
  /** The layout of the block in the buffer's bytes. */
  info: AudioInfo;
}

/**
 * How the block of audio lies in the bytes; added with an {@link AudioInfo}. After GstAudioMeta; tags "audio",
 * "memory".
 */
export const AudioMeta: MetaType<AudioMetaFields, AudioInfo> = registerMeta<AudioMetaFields, AudioInfo>({
  api: "audio",
  name: "millpond.audio",
  tags: ["audio", TAG_MEMORY],
  init(meta, info) {
    meta.info = instance("params", "an AudioInfo", AudioInfo, info);
  },
  transform(target, meta, _source, kind, { partial }) {
    return kind === "copy" && !partial && target.addMeta(AudioMeta, meta.info) !== undefined;
  },
  serialize({ info: { format, sampleRate, channels, frames } }) {
    return encodeJson("audio", { format, sampleRate, channels, frames } satisfies AudioInfoOptions);
  },
  deserialize(payload, buffer) {
    const options = decodeJson(payload);
    return options === undefined ? undefined : accept(() => buffer.addMeta(AudioMeta, AudioInfo.of(options as never)));
  },
});
