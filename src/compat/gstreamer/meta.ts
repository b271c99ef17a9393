/**
 * GstMeta: registration by name, and instances as `{ api, impl, flags, seqnum, ...payload }`, over the core's
 * registerMeta. The core's own metas are seen through the same shape, under GStreamer's names.
 */
import type { AudioInfo } from "../../media/audio/info.ts";
import type { MediaBuffer } from "../../media/buffer/media-buffer.ts";
import { ParentBufferMeta, ReferenceTimestampMeta, RegionOfInterestMeta } from "../../media/meta/built-in.ts";
import { AudioMeta, VideoMeta } from "../../media/meta/layout-metas.ts";
import { type Meta as CoreMeta, findMetaType, type MetaType, registerMeta } from "../../media/meta/meta.ts";
import type { VideoInfo } from "../../media/video/info.ts";
import { isMillpondError } from "../../util/errors.ts";
import { MAKE } from "../door-error.ts";
import type { Buffer } from "./buffer.ts";
import { timeOut } from "./constants.ts";
import {
  checkFunction,
  checkName,
  checkNames,
  checkStruct,
  checkWhole,
  makerOnly,
  note,
  speaks,
  wrong,
} from "./words.ts";

/** A meta on a buffer: `api`, `impl`, `flags`, `seqnum` and whatever the implementation puts beside them. */
export type MetaInstance = MetaHandle & { [field: string]: unknown };

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

/** GStreamer's names of the metas that the core has. */
const OWN: ReadonlyMap<MetaType<object, never>, { readonly api: string; readonly impl: string }> = new Map(
  (
    [
      [ParentBufferMeta, "GstParentBufferMeta"],
      [ReferenceTimestampMeta, "GstReferenceTimestampMeta"],
      [VideoMeta, "GstVideoMeta"],
      [AudioMeta, "GstAudioMeta"],
      [RegionOfInterestMeta, "GstVideoRegionOfInterestMeta"],
    ] as unknown as [MetaType<object, never>, string][]
  ).map(([type, impl]) => [type, { api: `${impl}API`, impl }]),
);
const coreApis: Map<string, string> = new Map([...OWN].map(([type, { api }]) => [api, type.api]));
const doorApis: Map<string, string> = new Map([...OWN].map(([type, { api }]) => [type.api, api]));

/** The core's name of a meta API. Throws `ERR_INVALID_ARG_TYPE`. */
export function apiIn(api: unknown): string {
  const name = checkName("api", api);
  return coreApis.get(name) ?? name;
}

/** This door's name of a core's meta API. */
export function apiOut(api: string): string {
  return doorApis.get(api) ?? api;
}

let bufferOf: (core: MediaBuffer) => Buffer;

/** @internal buffer.ts says how its faces are made; it needs this module's instances, so this one cannot import it. */
export function setBufferFaces(of: (core: MediaBuffer) => Buffer): void {
  bufferOf = of;
}

const infos: WeakMap<MetaType<object, never>, MetaInfo> = new WeakMap();

/** A registered implementation; made by `Meta.register()`. */
export class MetaInfo {
  readonly #core: MetaType<object, unknown>;

  /** @internal */
  private constructor(core: MetaType<object, unknown>, key?: unknown) {
    makerOnly(key, "MetaInfo", "Meta.register()");
    this.#core = core;
  }

  /** @internal The one face of a core meta type. */
  static of(core: MetaType<object, never>): MetaInfo {
    let info = infos.get(core);
    if (info === undefined) {
      info = new MetaInfo(core as unknown as MetaType<object, unknown>, MAKE);
      infos.set(core, info);
    }
    return info;
  }

  /** @internal Whether a value is a MetaInfo of this door. */
  static is(value: unknown): value is MetaInfo {
    return typeof value === "object" && value !== null && #core in value;
  }

  /** @internal */
  get core(): MetaType<object, unknown> {
    return this.#core;
  }

  /** What the data means. */
  get api(): string {
    return apiOut(this.#core.api);
  }

  /** The name of this implementation. */
  get type(): string {
    return OWN.get(this.#core as unknown as MetaType<object, never>)?.impl ?? this.#core.name;
  }

  /** What the data depends on. */
  get tags(): readonly string[] {
    return this.#core.tags;
  }

  /** `meta info "Face" of FaceAPI`. */
  toString(): string {
    return `meta info "${this.type}" of ${this.api}`;
  }
}
speaks(MetaInfo, MetaInfo.is);

/** Checks what a caller gives as a meta info. */
export function checkMetaInfo(info: unknown): MetaInfo {
  if (!MetaInfo.is(info)) throw wrong("info", "a MetaInfo from Meta.register()", info);
  return info;
}

const instances: WeakMap<CoreMeta, MetaHandle> = new WeakMap();

/** What every meta on a buffer has; the payload's fields are beside these. */
export class MetaHandle {
  readonly #core: CoreMeta;

  /** @internal */
  private constructor(core: CoreMeta, key?: unknown) {
    makerOnly(key, "MetaInstance", "Buffer.add_meta()");
    this.#core = core;
  }

  /** @internal The one face of a core meta. */
  static of(core: CoreMeta): MetaInstance {
    let meta = instances.get(core);
    if (meta === undefined) {
      meta = new MetaHandle(core, MAKE);
      instances.set(core, meta);
      exposePayload(meta, core);
    }
    return meta as MetaInstance;
  }

  /** @internal Whether a value is a meta of this door. */
  static is(value: unknown): value is MetaHandle {
    return typeof value === "object" && value !== null && #core in value;
  }

  /** @internal */
  get core(): CoreMeta {
    return this.#core;
  }

  /** What the data means. */
  get api(): string {
    return apiOut(this.#core.api);
  }

  /** The implementation. */
  get impl(): string {
    return MetaInfo.of(this.#core.type as unknown as MetaType<object, never>).type;
  }

  /** {@link MetaFlags}. */
  get flags(): number {
    return this.#core.flags;
  }
  set flags(flags: number) {
    this.#core.flags = checkWhole("flags", flags, 0, 0x7fffffff);
  }

  /** Grows with every meta that is added: sorts by age. */
  get seqnum(): number {
    return this.#core.sequence;
  }

  /** `meta "Face" (FaceAPI)`. */
  toString(): string {
    return `meta "${this.impl}" (${this.api})`;
  }
}
speaks(MetaHandle, MetaHandle.is);

/** Checks what a caller gives as a meta, and gives the core's. */
export function coreMeta(name: string, meta: unknown): CoreMeta {
  if (!MetaHandle.is(meta)) throw wrong(name, "a meta of a Buffer", meta);
  return meta.core;
}

/** The payload of a core's meta under GStreamer's field names. */
function exposePayload(meta: MetaHandle, core: CoreMeta): void {
  if (!OWN.has(core.type as unknown as MetaType<object, never>)) return;
  const type: unknown = core.type;
  const fields = core as unknown as Record<string, unknown>;
  const define = (name: string, get: () => unknown): void => {
    Object.defineProperty(meta, name, { get, enumerable: true });
  };
  if (type === VideoMeta) {
    const info = (): VideoInfo => fields.info as VideoInfo;
    for (const name of ["format", "width", "height"] as const) define(name, () => info()[name]);
    define("n_planes", () => info().planes.length);
    define("offset", () => info().planes.map((plane) => plane.offset));
    define("stride", () => info().planes.map((plane) => plane.stride));
    define("size", () => info().size);
    define("alignment", () => {
      const { top, bottom, left, right } = info().padding;
      return { padding_top: top, padding_bottom: bottom, padding_left: left, padding_right: right };
    });
    return;
  }
  if (type === AudioMeta) {
    const info = (): AudioInfo => fields.info as AudioInfo;
    define("info", info);
    define("samples", () => info().frames);
    define("offsets", () => info().planes.map((plane) => plane.offset));
    return;
  }
  for (const name of Object.keys(core)) {
    if (name === "type" || name === "flags" || name === "sequence") continue;
    define(name, () => payloadOut(type, name, fields[name]));
  }
}

function payloadOut(type: unknown, name: string, value: unknown): unknown {
  if (type === ParentBufferMeta) return bufferOf(value as MediaBuffer);
  if (type === ReferenceTimestampMeta && name === "duration") return timeOut(value as bigint | undefined);
  return value;
}

const HOOKS = ["size", "init", "free", "clear", "transform", "serialize", "deserialize"];

const tagsByApi: Map<string, readonly string[]> = new Map([...OWN].map(([type, { api }]) => [api, type.tags]));

/** The registry. */
export class Meta {
  /** @internal */
  private constructor(key?: unknown) {
    makerOnly(key, "Meta", "Meta.register()");
  }

  /** Registers an API with its tags; its name, or null when it exists already. */
  static api_type_register(api: string, tags: readonly string[]): string | null {
    checkName("api", api);
    const own = checkNames("tags", tags);
    if (tagsByApi.has(api)) return null;
    tagsByApi.set(api, own);
    return api;
  }

  /** Registers an implementation of an API; null when its name is taken. */
  static register(api: string, impl: string, hooks: MetaHooks): MetaInfo | null {
    checkName("api", api);
    checkName("impl", impl);
    if (typeof hooks !== "object" || hooks === null) throw wrong("hooks", "an object with an init function", hooks);
    checkStruct("hooks", hooks, HOOKS);
    const { size, init, free, clear, transform, serialize, deserialize } = hooks;
    if (size !== undefined) checkWhole("hooks.size", size);
    for (const [name, hook] of Object.entries({ free, clear, transform, serialize, deserialize })) {
      checkFunction(`hooks.${name}`, hook);
    }
    if (typeof init !== "function") throw wrong("hooks.init", "a function", init);
    const face = (meta: CoreMeta): MetaInstance => MetaHandle.of(meta);
    try {
      const type = registerMeta<object, unknown>({
        api: coreApis.get(api) ?? api,
        name: impl,
        tags: tagsByApi.get(api) ?? [],
        init: (meta, params, buffer) => init(face(meta), params, bufferOf(buffer)),
        ...(free && { free: (meta, buffer) => free(face(meta), bufferOf(buffer)) }),
        ...(clear && { clear: (meta, buffer) => clear(bufferOf(buffer), face(meta)) }),
        ...(transform && {
          transform: (target, meta, source, kind, data) =>
            transform(bufferOf(target), face(meta), bufferOf(source), kind, {
              region: data.partial,
              offset: data.offset,
              size: data.size,
            }),
        }),
        ...(serialize && { serialize: (meta) => serialize(face(meta)) ?? undefined }),
        ...(deserialize && {
          deserialize(payload, buffer, version) {
            const meta = deserialize(payload, bufferOf(buffer), version);
            return meta === null || meta === undefined ? undefined : coreMeta("what deserialize() returns", meta);
          },
        }),
      });
      return MetaInfo.of(type as unknown as MetaType<object, never>);
    } catch (error) {
      if (!isMillpondError(error, "ERR_ALREADY_REGISTERED")) throw error;
      note(error);
      return null;
    }
  }

  /** The implementation of that name, or null. */
  static get_info(impl: string): MetaInfo | null {
    checkName("impl", impl);
    for (const [type, names] of OWN) if (names.impl === impl) return MetaInfo.of(type);
    const type = findMetaType(impl);
    return type === undefined ? null : MetaInfo.of(type as unknown as MetaType<object, never>);
  }
}
speaks(Meta, () => true);
