/**
 * The metas that the library brings along: regions of interest, timestamps of other clocks, a parent kept alive, named
 * values, and how a picture or a block of audio lies in a buffer's bytes (void as soon as the memory layout changes).
 */
import { MillpondError } from "../../util/errors.ts";
import { sameData } from "../../util/same-data.ts";
import { badValue, bytesOf, callback, checkOptions, instance, listOf, word, wrongType } from "../../util/validate.ts";
import { AudioInfo, type AudioInfoOptions } from "../audio/info.ts";
import { MediaBuffer } from "../buffer/media-buffer.ts";
import { VideoInfo } from "../video/info.ts";
import {
  type CopyTransform,
  findMetaType,
  type Meta,
  type MetaType,
  registerMeta,
  TAG_MEMORY,
  TAG_MEMORY_REFERENCE,
} from "./meta.ts";

/** A rectangle that matters; pixels of the whole picture. */
export interface RegionOfInterest {
  /** What it is: "face", "plate". */
  roiType: string;
  /** Its number. */
  id: number;
  /** The region it is a part of; -1: none. */
  parentId: number;
  /** Left edge. */
  x: number;
  /** Upper edge. */
  y: number;
  /** Columns. */
  width: number;
  /** Rows. */
  height: number;
  /** What the detector and the encoder tell each other; plain data. */
  params: Readonly<Record<string, unknown>>;
}

const REGION_KEYS = ["roiType", "id", "parentId", "x", "y", "width", "height", "params"] as const;

/** A region of interest; several a buffer. After GstVideoRegionOfInterestMeta; tags "video", "orientation", "size". */
export const RegionOfInterestMeta: MetaType<RegionOfInterest, Partial<RegionOfInterest>> = registerMeta<
  RegionOfInterest,
  Partial<RegionOfInterest>
>({
  api: "region-of-interest",
  name: "millpond.region-of-interest",
  tags: ["video", "orientation", "size"],
  init(meta, region) {
    if (region === undefined) throw wrongType("params", "an object that says where the region is", region);
    const given = checkOptions("params", region, REGION_KEYS);
    const { roiType = "", id = 0, parentId = -1, x = 0, y = 0, width = 0, height = 0, params = {} } = given;
    word("params.roiType", roiType);
    for (const [key, value] of Object.entries({ id, parentId, x, y, width, height })) {
      if (typeof value !== "number" || Number.isNaN(value)) throw wrongType(`params.${key}`, "a number", value);
    }
    if (typeof params !== "object" || params === null) throw wrongType("params.params", "an object", params);
    Object.assign(meta, { roiType, id, parentId, x, y, width, height, params });
  },
  transform: (target, meta, _source, kind) =>
    kind === "copy" && target.addMeta(RegionOfInterestMeta, fieldsOf(meta)) !== undefined,
  serialize: (meta) => encodeJson("region-of-interest", fieldsOf(meta)),
  deserialize(payload, buffer) {
    const fields = decodeJson(payload) as Partial<RegionOfInterest> | undefined;
    return typeof fields?.roiType === "string" ? accept(() => buffer.addMeta(RegionOfInterestMeta, fields)) : undefined;
  },
});

function fieldsOf(meta: RegionOfInterest): RegionOfInterest {
  const { roiType, id, parentId, x, y, width, height, params } = meta;
  return { roiType, id, parentId, x, y, width, height, params };
}

/** A time on another clock. */
export interface ReferenceTimestamp {
  /** Which clock: plain data, "timestamp/x-ntp" or an object; looked up by subset. */
  reference: unknown;
  /** Nanoseconds on that clock. */
  timestamp: bigint;
  /** Nanoseconds, or undefined. */
  duration: bigint | undefined;
  /** More about it; plain data. */
  info: unknown;
}

const TIMESTAMP_KEYS = ["reference", "timestamp", "duration", "info"] as const;

/**
 * A time on another clock; several a buffer, carried over by every transform, never twice. After
 * GstReferenceTimestampMeta.
 */
export const ReferenceTimestampMeta: MetaType<
  ReferenceTimestamp,
  Partial<ReferenceTimestamp> & Pick<ReferenceTimestamp, "timestamp">
> = registerMeta<ReferenceTimestamp, Partial<ReferenceTimestamp> & Pick<ReferenceTimestamp, "timestamp">>({
  api: "reference-timestamp",
  name: "millpond.reference-timestamp",
  init(meta, params) {
    const { reference, timestamp, duration, info } = checkOptions("params", params, TIMESTAMP_KEYS);
    if (typeof timestamp !== "bigint") throw wrongType("params.timestamp", "a bigint", timestamp);
    if (duration !== undefined && typeof duration !== "bigint") {
      throw wrongType("params.duration", "a bigint or undefined", duration);
    }
    Object.assign(meta, { reference, timestamp, duration, info });
  },
  transform(target, meta) {
    const { reference, timestamp, duration, info } = meta;
    const twin = target.metas("reference-timestamp").some((other) => {
      const present = other as Meta & ReferenceTimestamp;
      return present.timestamp === timestamp && present.duration === duration && sameData(present.reference, reference);
    });
    return twin || target.addMeta(ReferenceTimestampMeta, { reference, timestamp, duration, info }) !== undefined;
  },
  serialize: ({ reference, timestamp, duration, info }) =>
    encodeJson("reference-timestamp", {
      timestamp,
      ...(reference === undefined ? {} : { reference }),
      ...(duration === undefined ? {} : { duration }),
      ...(info === undefined ? {} : { info }),
    }),
  deserialize(payload, buffer) {
    const fields = decodeJson(payload) as ReferenceTimestamp | undefined;
    return typeof fields?.timestamp === "bigint"
      ? accept(() => buffer.addMeta(ReferenceTimestampMeta, fields))
      : undefined;
  },
});

/** The oldest timestamp whose reference contains `reference` (every field of it, deeply); absent: the oldest of all. */
export function findReferenceTimestamp(
  buffer: MediaBuffer,
  reference?: unknown,
): (Meta & ReferenceTimestamp) | undefined {
  const metas = instance("buffer", "a MediaBuffer", MediaBuffer, buffer).metas(
    "reference-timestamp",
  ) as readonly (Meta & ReferenceTimestamp)[];
  return metas.find((meta) => reference === undefined || contains(meta.reference, reference));
}

function contains(whole: unknown, part: unknown): boolean {
  if (typeof whole !== "object" || typeof part !== "object" || whole === null || part === null)
    return sameData(whole, part);
  return Object.entries(part).every(
    ([key, field]) => Object.hasOwn(whole, key) && contains((whole as Record<string, unknown>)[key], field),
  );
}

/** The payload of {@link ParentBufferMeta}. */
export interface ParentBuffer {
  /** The buffer that is kept. */
  buffer: MediaBuffer;
}

/**
 * Keeps another buffer until this one goes: for bytes that depend on it in a way the library cannot see. Copies that
 * share memory do not need it. Carried by shallow copies, pointing to the original; not by deep ones. After
 * GstParentBufferMeta.
 */
export const ParentBufferMeta: MetaType<ParentBuffer, MediaBuffer> = registerMeta<ParentBuffer, MediaBuffer>({
  api: "parent-buffer",
  name: "millpond.parent-buffer",
  tags: [TAG_MEMORY_REFERENCE],
  init(meta, parent, buffer) {
    if (!(parent instanceof MediaBuffer)) throw wrongType("params", "a MediaBuffer to keep", parent);
    if (isKeptBy(buffer, parent)) {
      throw badValue("params", "a buffer that this one does not keep alive itself, or neither would ever go", parent);
    }
    meta.buffer = parent.retain();
  },
  free(meta) {
    meta.buffer.release();
  },
  transform: (target, meta, _source, kind) =>
    kind === "copy" && target.addMeta(ParentBufferMeta, meta.buffer) !== undefined,
});

/** Whether `start` is `buffer`, or keeps it by parent metas. O(parents), each looked at once. */
function isKeptBy(buffer: MediaBuffer, start: MediaBuffer): boolean {
  const seen = new Set<MediaBuffer["slot"]>();
  const left = [start.live("keep")];
  for (let slot = left.pop(); slot !== undefined; slot = left.pop()) {
    if (slot === buffer.slot) return true;
    if (seen.has(slot)) continue;
    seen.add(slot);
    for (const meta of slot.metas ?? []) {
      if (meta.type === (ParentBufferMeta as unknown)) left.push((meta as Meta & ParentBuffer).buffer.slot);
    }
  }
  return false;
}

/** The payload of a custom meta: values by name, changeable while its buffer is. */
export interface CustomMeta {
  /** A value, or undefined. */
  get(key: string): unknown;
  /** Sets a value. Throws `ERR_NOT_WRITABLE` while the buffer is shared. */
  set(key: string, value: unknown): void;
  /** The names and values. */
  entries(): [string, unknown][];
}

/** What becomes of a custom meta in a transform; see {@link MetaSpec.transform}. */
export type CustomTransform = (
  target: MediaBuffer,
  meta: Meta & CustomMeta,
  source: MediaBuffer,
  kind: string,
  data: CopyTransform,
) => boolean;

/**
 * Registers a meta of named values; add it with the initial ones. Its API is the name with "API" behind it. Without a
 * transform of its own it is carried by copies, of regions too, and by nothing else. Throws `ERR_ALREADY_REGISTERED`.
 */
export function registerCustomMeta(
  name: string,
  tags: readonly string[] = [],
  transform?: CustomTransform,
): MetaType<CustomMeta, Readonly<Record<string, unknown>>> {
  if (typeof name !== "string" || name === "") throw wrongType("name", "a non-empty string", name);
  callback("transform", transform);
  const type: MetaType<CustomMeta, Readonly<Record<string, unknown>>> = registerMeta<
    CustomMeta,
    Readonly<Record<string, unknown>>
  >({
    api: `${name}API`,
    name,
    tags: listOf("tags", "a list of strings", tags),
    init(meta, values, buffer) {
      checkValues("params", values);
      const map = new Map(Object.entries(values));
      const { slot } = buffer;
      meta.get = (key) => map.get(word("key", key));
      meta.entries = () => [...map];
      meta.set = (key, value) => {
        word("key", key);
        // The meta belongs to the slot; a write through one handle is seen through all of them.
        if (slot.refCount > 1)
          throw new MillpondError(
            "ERR_NOT_WRITABLE",
            `the buffer of meta "${name}" is shared; makeWritable() it first`,
          );
        map.set(key, value);
      };
    },
    transform:
      transform ??
      ((target, meta, _source, kind) =>
        kind === "copy" && target.addMeta(type, Object.fromEntries(meta.entries())) !== undefined),
    serialize: (meta) => encodeJson(name, Object.fromEntries(meta.entries())),
    deserialize(payload, buffer) {
      const values = decodeJson(payload);
      return typeof values === "object" && values !== null && !Array.isArray(values)
        ? buffer.addMeta(type, values as Record<string, unknown>)
        : undefined;
    },
  });
  custom.add(name);
  return type;
}

const custom: Set<string> = new Set();

function checkValues(name: string, values: unknown): void {
  if (typeof values !== "object" || values === null || Array.isArray(values)) {
    throw wrongType(name, "an object of names and values", values);
  }
}

/** Adds a custom meta by name; undefined for a name that {@link registerCustomMeta} does not know. */
export function addCustomMeta(
  buffer: MediaBuffer,
  name: string,
  values: Readonly<Record<string, unknown>> = {},
): (Meta & CustomMeta) | undefined {
  instance("buffer", "a MediaBuffer", MediaBuffer, buffer);
  word("name", name);
  checkValues("values", values);
  if (!custom.has(name)) return undefined;
  return buffer.addMeta(
    findMetaType(name) as unknown as MetaType<CustomMeta, Readonly<Record<string, unknown>>>,
    values,
  );
}

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
  transform(target, meta, _source, kind, { region }) {
    return kind === "copy" && !region && target.addMeta(VideoMeta, meta.info) !== undefined;
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
  transform(target, meta, _source, kind, { region }) {
    return kind === "copy" && !region && target.addMeta(AudioMeta, meta.info) !== undefined;
  },
  serialize({ info: { format, sampleRate, channels, frames } }) {
    return encodeJson("audio", { format, sampleRate, channels, frames } satisfies AudioInfoOptions);
  },
  deserialize(payload, buffer) {
    const options = decodeJson(payload);
    return options === undefined ? undefined : accept(() => buffer.addMeta(AudioMeta, AudioInfo.of(options as never)));
  },
});

/*
 * Plain data as JSON bytes that come back as exactly what was written, for the payloads of serialized metas, which are
 * small and read by strangers. What JSON has no word for is tagged: `{"$big": "123"}`, `{"$bytes": "<base64>"}`,
 * `{"$value": "NaN"}`. Anything else that would come back as something else (a Map, a Date, a hole in a list) is
 * refused by its path.
 */

const PLAIN = "plain data (null, booleans, numbers, bigints, strings, Uint8Arrays, lists and plain objects)";
/** Deeper than any meta; data that contains itself has no end. */
const MAX_DEPTH = 64;
/** More values than any meta; lists that share lists can name 2^64 of them. */
const MAX_VALUES = 100_000;
const TAGS: readonly string[] = ["$big", "$bytes", "$value"];
const SPECIAL: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ["undefined", undefined],
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
  ["-0", -0],
]);

/**
 * UTF-8 JSON that {@link decodeJson} turns back into equal data (a subclass of Uint8Array comes back as one).
 *
 * @param name what messages call the data
 * Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` for what cannot be written exactly, `ERR_DETACHED`.
 */
export function encodeJson(name: string, value: unknown): Uint8Array {
  const left = { values: MAX_VALUES };
  return new TextEncoder().encode(JSON.stringify(toJson(name, value, left, MAX_DEPTH)));
}

function toJson(path: string, value: unknown, left: { values: number }, depth: number): unknown {
  if (--left.values < 0) throw badValue(path, `part of at most ${MAX_VALUES} values`, value);
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "bigint") return { $big: String(value) };
  if (value === undefined) return { $value: "undefined" };
  if (typeof value === "number") {
    return Number.isFinite(value) && !Object.is(value, -0) ? value : { $value: value === 0 ? "-0" : String(value) };
  }
  if (typeof value !== "object") throw wrongType(path, PLAIN, value);
  if (depth === 0) throw badValue(path, "data that does not contain itself, at most 64 deep", value);
  if (value instanceof Uint8Array) return { $bytes: toBase64(bytesOf(path, value)) };
  const prototype: unknown = Object.getPrototypeOf(value);
  const isList = Array.isArray(value);
  // Plain objects of another realm have that realm's Object.prototype, whose own prototype is null too.
  if (!isList && prototype !== null && Object.getPrototypeOf(prototype) !== null) throw wrongType(path, PLAIN, value);
  const keys = Object.keys(value);
  if (isList && keys.length !== value.length) throw badValue(path, "a list without holes and keys of its own", value);
  if (Object.getOwnPropertySymbols(value).length > 0) throw badValue(path, "data without symbols as keys", value);
  if (isList) return value.map((item, i) => toJson(`${path}[${i}]`, item, left, depth - 1));
  // Without a prototype no toJSON() is inherited, and "__proto__" is a key like any other.
  const copy = Object.create(null) as Record<string, unknown>;
  for (const key of keys) {
    if (TAGS.includes(key)) throw badValue(`${path}.${key}`, `called something else than ${TAGS.join(", ")}`, value);
    copy[key] = toJson(`${path}.${key}`, (value as Record<string, unknown>)[key], left, depth - 1);
  }
  return copy;
}

/** The reverse; undefined for anything that {@link encodeJson} does not write. */
export function decodeJson(bytes: Uint8Array): unknown {
  try {
    return fromJson(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown);
  } catch {
    return undefined;
  }
}

function fromJson(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(fromJson);
  const { $big, $bytes, $value } = value as { $big?: unknown; $bytes?: unknown; $value?: unknown };
  if (typeof $big === "string") return BigInt($big);
  if (typeof $bytes === "string") return Uint8Array.from(atob($bytes), (char) => char.charCodeAt(0));
  if (typeof $value === "string") {
    if (!SPECIAL.has($value)) throw new MillpondError("ERR_BAD_DATA", `"${$value}" is not a value that is written`);
    return SPECIAL.get($value);
  }
  for (const key of Object.keys(value)) {
    const field = fromJson((value as Record<string, unknown>)[key]);
    // JSON.parse makes "__proto__" a field; an assignment would change the prototype.
    Object.defineProperty(value, key, { value: field, writable: true, enumerable: true, configurable: true });
  }
  return value;
}

function toBase64(bytes: Uint8Array): string {
  const parts: string[] = [];
  // An argument list has a limit, about 2^16 on every engine.
  for (let at = 0; at < bytes.length; at += 0x2000) parts.push(String.fromCharCode(...bytes.subarray(at, at + 0x2000)));
  return btoa(parts.join(""));
}

/** Bytes from elsewhere may say anything: what a meta's own checks refuse is not a meta. */
export function accept<T>(make: () => T | undefined): T | undefined {
  try {
    return make();
  } catch {
    return undefined;
  }
}
