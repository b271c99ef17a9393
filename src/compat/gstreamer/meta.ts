/** GstMeta: registration by name, hooks with the original's arguments, over the core's registerMeta. */
import { type Meta as CoreMeta, findMetaType, type MetaType, registerMeta } from "../../media/meta.ts";
import { isMillpondError } from "../../observe/errors.ts";
import { Buffer } from "./buffer.ts";

/** A meta on a buffer: `api`, `impl`, `flags`, `seqnum` and whatever the implementation puts beside them. */
export type MetaInstance = CoreMeta & { impl: string; seqnum: number; [field: string]: unknown };

/** What an implementation can do. */
export interface MetaHooks {
  /** Bytes of the original's struct; not needed here. */
  size?: number;
  /** Fills a new instance; false refuses. */
  init(meta: MetaInstance, params: unknown, buffer: Buffer): boolean;
  /** The instance goes away. */
  free?(meta: MetaInstance, buffer: Buffer): void;
  /** A POOLED instance is recycled. */
  clear?(buffer: Buffer, meta: MetaInstance): void;
  /** Adds to `dest` what becomes of the meta; false: not supported. */
  transform?(
    dest: Buffer,
    meta: MetaInstance,
    src: Buffer,
    type: string,
    data: { region: boolean; offset: number; size: number },
  ): boolean;
  /** The payload as bytes, or null. */
  serialize?(meta: MetaInstance): Uint8Array | null;
  /** Adds a meta from bytes, or null. */
  deserialize?(bytes: Uint8Array, buffer: Buffer, version: number): MetaInstance | null;
}

/** A registered implementation. */
export type MetaInfo = MetaType<MetaInstance, unknown>;

const tagsByApi: Map<string, readonly string[]> = new Map();

/** The registry. */
export const Meta = {
  /** Registers an API with its tags; its name, or null when it exists already. */
  api_type_register(api: string, tags: string[]): string | null {
    if (tagsByApi.has(api)) return null;
    tagsByApi.set(api, [...tags]);
    return api;
  },

  /** Registers an implementation of an API; null when its name is taken. */
  register(api: string, impl: string, hooks: MetaHooks): MetaInfo | null {
    const { init, free, clear, transform, serialize, deserialize } = hooks;
    try {
      return registerMeta<MetaInstance, unknown>({
        api,
        name: impl,
        tags: tagsByApi.get(api) ?? [],
        init(meta, params, buffer) {
          meta.impl = impl;
          meta.seqnum = meta.sequence;
          return init(meta, params, Buffer.of(buffer));
        },
        ...(free && { free: (meta, buffer) => free(meta, Buffer.of(buffer)) }),
        ...(clear && { clear: (meta, buffer) => clear(Buffer.of(buffer), meta) }),
        ...(transform && {
          transform: (target, meta, source, kind, data) =>
            transform(Buffer.of(target), meta, Buffer.of(source), kind, data),
        }),
        ...(serialize && { serialize: (meta) => serialize(meta) ?? undefined }),
        ...(deserialize && {
          deserialize: (payload, buffer, version) => deserialize(payload, Buffer.of(buffer), version) ?? undefined,
        }),
      });
    } catch (error) {
      if (isMillpondError(error, "ERR_ALREADY_REGISTERED")) return null;
      throw error;
    }
  },

  /** The implementation of that name, or null. */
  get_info(impl: string): MetaInfo | null {
    return (findMetaType(impl) as MetaInfo | undefined) ?? null;
  },
} as const;
