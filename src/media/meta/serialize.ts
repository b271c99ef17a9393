/**
 * Metas as bytes: records one after the other, each skippable by a reader that does not know it.
 *
 * ```
 *   | total size u32 LE | name length u32 LE | name (UTF-8) | 0 | version u8 | payload ... |
 * ```
 * GStreamer's layout, with the name length in all of its four bytes (its own writer keeps it in one, so that long names
 * cannot be read back).
 */
import { bytesOf, instance } from "../../util/validate.ts";
import { MediaBuffer } from "../buffer/media-buffer.ts";
import { AudioMeta, VideoMeta } from "./layout-metas.ts";
import { checkMeta, findMetaType, type Meta, type MetaType } from "./meta.ts";

const HEADER = 8;

/** Named, so that a bundler that drops what nobody names leaves them to be read. */
const LAYOUTS: readonly MetaType<never, never>[] = [VideoMeta, AudioMeta] as never;

/**
 * One meta as a record, or undefined when its type cannot be serialized or declines. What would come back as something
 * else is not written: the built-in types throw `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE` with the path of the
 * field.
 */
export function serializeMeta(meta: Meta): Uint8Array | undefined {
  checkMeta("meta", meta);
  const payload = meta.type.spec.serialize?.(meta);
  if (payload === undefined) return undefined;
  bytesOf(`what serialize() of the meta type "${meta.type.name}" returned`, payload);
  const name = new TextEncoder().encode(meta.type.name);
  const record = new Uint8Array(HEADER + name.length + 2 + payload.length);
  const header = new DataView(record.buffer);
  header.setUint32(0, record.length, true);
  header.setUint32(4, name.length, true);
  record.set(name, HEADER);
  record[HEADER + name.length + 1] = meta.type.version;
  record.set(payload, HEADER + name.length + 2);
  return record;
}

/** All metas of a buffer that can be serialized, oldest first, as records one after the other. */
export function serializeMetas(buffer: MediaBuffer): Uint8Array {
  const records = instance("buffer", "a MediaBuffer", MediaBuffer, buffer)
    .metas()
    .map((meta) => serializeMeta(meta))
    .filter((record) => record !== undefined);
  const all = new Uint8Array(records.reduce((sum, record) => sum + record.length, 0));
  let at = 0;
  for (const record of records) {
    all.set(record, at);
    at += record.length;
  }
  return all;
}

/** What {@link deserializeMeta} found. */
export interface ReadMeta {
  /**
   * Bytes of the record; 0 when its header is unusable. Also told for unknown names and refused payloads, to skip them.
   */
  readonly consumed: number;
  /** The meta that was added, or undefined. */
  readonly meta: Meta | undefined;
}

const UNUSABLE: ReadMeta = /* @__PURE__ */ Object.freeze({ consumed: 0, meta: undefined });

/** Reads the record at the beginning of `bytes` and adds its meta to the buffer. */
export function deserializeMeta(buffer: MediaBuffer, bytes: Uint8Array): ReadMeta {
  instance("buffer", "a MediaBuffer", MediaBuffer, buffer);
  bytesOf("bytes", bytes);
  if (bytes.length < HEADER + 2) return UNUSABLE;
  const header = new DataView(bytes.buffer, bytes.byteOffset, HEADER);
  const total = header.getUint32(0, true);
  const nameLength = header.getUint32(4, true);
  if (total > bytes.length || nameLength + HEADER + 2 > total || bytes[HEADER + nameLength] !== 0) return UNUSABLE;
  const name = new TextDecoder().decode(bytes.subarray(HEADER, HEADER + nameLength));
  const payload = bytes.subarray(HEADER + nameLength + 2, total);
  const type = (findMetaType(name) ?? LAYOUTS.find((layout) => layout.name === name)) as MetaType | undefined;
  const meta = type?.spec.deserialize?.(payload, buffer, bytes[HEADER + nameLength + 1]!);
  return { consumed: total, meta };
}

/** Reads records until the bytes end or a header is unusable; returns the bytes that were read. */
export function deserializeMetas(buffer: MediaBuffer, bytes: Uint8Array): number {
  instance("buffer", "a MediaBuffer", MediaBuffer, buffer);
  bytesOf("bytes", bytes);
  let at = 0;
  for (;;) {
    const { consumed } = deserializeMeta(buffer, bytes.subarray(at));
    if (consumed === 0) return at;
    at += consumed;
  }
}
