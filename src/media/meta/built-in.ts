/**
 * The metas that the library brings along: regions of interest, timestamps of other clocks, a parent kept alive, named
 * values. How pictures and blocks of audio lie in a buffer is in layout-metas.ts.
 */
import { MillpondError, saysGone } from "../../util/errors.ts";
import { sameData } from "../../util/same-data.ts";
import { badValue, callback, checkOptions, instance, listOf, nonEmpty, word, wrongType } from "../../util/validate.ts";
import { isMediaBuffer, MediaBuffer } from "../buffer/media-buffer.ts";
import { accept, decodeJson, encodeJson } from "./json-bytes.ts";
import {
  type CopyTransform,
  findMetaType,
  type Meta,
  type MetaType,
  registerMeta,
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
 * share memory do not need it. Carried by shallow copies, pointing to the original; not by deep ones. It ends with the
 * last release() of this buffer, also where a copy still has its bytes. Where this was the last that kept a buffer that
 * is mapped, its bytes go back with the last unmap(). After GstParentBufferMeta.
 */
export const ParentBufferMeta: MetaType<ParentBuffer, MediaBuffer> = registerMeta<ParentBuffer, MediaBuffer>({
  api: "parent-buffer",
  name: "millpond.parent-buffer",
  tags: [TAG_MEMORY_REFERENCE],
  init(meta, parent, buffer) {
    if (!isMediaBuffer(parent)) throw wrongType("params", "a MediaBuffer to keep", parent);
    if (isKeptBy(buffer, parent)) {
      throw badValue("params", "a buffer that this one does not keep alive itself, or neither would ever go", parent);
    }
    meta.buffer = parent.retain();
  },
  free: letGo,
  transform(target, meta, _source, kind) {
    try {
      return kind === "copy" && target.addMeta(ParentBufferMeta, meta.buffer) !== undefined;
    } catch (error) {
      // A parent that went with its pool cannot be kept, by a copy as little as by this one.
      if (saysGone(error)) return false;
      throw error;
    }
  },
});
ParentBufferMeta.letGo = letGo;

/** In the middle of another buffer's end: what is mapped, or gone by force before, has to let that go on. */
function letGo({ buffer }: ParentBuffer): void {
  try {
    buffer.releaseWhenUnmapped();
  } catch (error) {
    if (!saysGone(error)) throw error;
  }
}

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
 * transform of its own it is carried by copies, partial ones too, and by nothing else. Throws `ERR_ALREADY_REGISTERED`.
 */
export function registerCustomMeta(
  name: string,
  tags: readonly string[] = [],
  transform?: CustomTransform,
): MetaType<CustomMeta, Readonly<Record<string, unknown>>> {
  nonEmpty("name", name);
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
