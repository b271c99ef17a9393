/**
 * Metas: typed facts that travel with a buffer. After GStreamer's GstMeta: an *API* says what the data means, a *type*
 * is one implementation of it, an instance sits on one buffer. Consumers look instances up by API or by type.
 *
 * ```ts
 * const Gain = registerMeta<{ db: number }, number>({
 *   api: "gain",
 *   tags: ["audio"],
 *   init(meta, db) {
 *     meta.db = db;
 *   },
 * });
 * buffer.addMeta(Gain, -3);
 * buffer.getMeta(Gain)?.db; // -3
 * ```
 *
 * Life-cycle of an instance: `init` when it is added; `transform` for each copy of the buffer; `free` when it is
 * removed or its buffer goes. One that a pool's populate() added is POOLED: it gets `clear` at each return, and `free`
 * with the buffer.
 *
 * Invariants: a type's name is registered once in a realm, and stays; metas change only while their buffer is writable;
 * a LOCKED one stays until its buffer goes; a hook that throws in the middle of a return does not stop the return.
 *
 * Complexity: adding, and removing the youngest, O(1); looking up and removing another O(metas of the buffer).
 */

import { MillpondError } from "../../util/errors.ts";
import { callback, checkOptions, listOf, nonEmpty, word, wrongType } from "../../util/validate.ts";
import type { MediaBuffer } from "../buffer/media-buffer.ts";

/** Bit flags of a meta instance. */
export const MetaFlags = {
  /** No flag. */
  NONE: 0,
  /** Advisory: the payload should not be changed. */
  READONLY: 1,
  /** It belongs to the pool and survives recycling. */
  POOLED: 2,
  /** It cannot be removed. */
  LOCKED: 4,
} as const;

/** A combination of {@link MetaFlags}. */
export type MetaFlags = number;

/** The tag of APIs whose data is valid only while the buffer's memory layout is unchanged. */
export const TAG_MEMORY = "memory";

/** The tag of APIs whose data refers to the very memory and is void after a deep copy. */
export const TAG_MEMORY_REFERENCE = "memory-reference";

/** What a "copy" transform copied. */
export interface CopyTransform {
  /** True when less than the whole buffer was copied. */
  readonly partial: boolean;
  /** First byte that was copied. */
  readonly offset: number;
  /** Bytes that were copied. */
  readonly size: number;
}

/** What a meta type can do; everything but `api` is optional. `T` is the payload, `P` the parameters of `init`. */
export interface MetaSpec<T extends object, P> {
  /** What the data means. Several types may implement one API. */
  readonly api: string;
  /** The unique name of this implementation; default: the API name. */
  readonly name?: string;
  /** What the data depends on: {@link TAG_MEMORY}, {@link TAG_MEMORY_REFERENCE}, "video", "size", ... */
  readonly tags?: readonly string[];
  /** Bumped when the serialized form changes; default 0, at most 255. */
  readonly version?: number;
  /** Fills a new instance; returning false refuses, and nothing is added. */
  init?(meta: Meta & T, params: P, buffer: MediaBuffer): boolean | undefined;
  /** The instance goes away. */
  free?(meta: Meta & T, buffer: MediaBuffer): void;
  /** A POOLED instance is recycled with its buffer. */
  clear?(meta: Meta & T, buffer: MediaBuffer): void;
  /**
   * Adds to `target` what becomes of this meta; false: this kind of transform is not supported, and the meta is
   * dropped.
   */
  transform?(target: MediaBuffer, meta: Meta & T, source: MediaBuffer, kind: string, data: CopyTransform): boolean;
  /** The payload as bytes; undefined: it cannot be serialized. */
  serialize?(meta: Meta & T): Uint8Array | undefined;
  /** Adds a meta to `buffer` from bytes; undefined: the payload is not acceptable. */
  deserialize?(payload: Uint8Array, buffer: MediaBuffer, version: number): (Meta & T) | undefined;
}

/** A registered meta type. */
export class MetaType<T extends object = object, P = unknown> {
  /** What the data means. */
  readonly api: string;
  /** The unique name of this implementation. */
  readonly name: string;
  /** What the data depends on. */
  readonly tags: readonly string[];
  /** Version of the serialized form. */
  readonly version: number;
  /** The hooks. */
  readonly spec: MetaSpec<T, P>;

  /** The `init` hook, at hand. */
  readonly init: MetaSpec<T, P>["init"];
  /** @internal makes an empty instance */
  readonly instance: new (
    type: MetaType,
  ) => Meta;
  /**
   * @internal Of a type that keeps another buffer: lets go of it. Called as soon as the lease is over, because that
   * buffer may hold the very bytes that its slot waits for.
   */
  letGo?(meta: T): void;

  /** @internal Made by {@link registerMeta}. */
  constructor(spec: MetaSpec<T, P>) {
    this.instance = instanceMaker();
    this.api = spec.api;
    this.name = spec.name ?? spec.api;
    this.tags = Object.freeze([...(spec.tags ?? [])]);
    this.version = spec.version ?? 0;
    this.spec = spec;
    this.init = spec.init;
  }

  /** True when the API has the tag. O(tags). */
  hasTag(tag: string): boolean {
    return this.tags.includes(word("tag", tag));
  }

  /** True when every tag of the API is in `allowed`: a transform that keeps those may keep the meta. */
  hasOnlyTags(allowed: readonly string[]): boolean {
    if (!Array.isArray(allowed)) throw wrongType("allowed", "a list of tags", allowed);
    return this.tags.every((tag) => allowed.includes(tag));
  }
}

let nextSequence = 1;

/** One meta on one buffer, made by {@link MediaBuffer.addMeta}; the payload's fields are beside these. */
export class Meta {
  /** Its type. */
  declare readonly type: MetaType;
  /** {@link MetaFlags}. */
  declare flags: MetaFlags;
  /** Grows with every meta that is added in this realm: sorts by age. */
  declare readonly sequence: number;

  /** What the data means: `type.api`. */
  get api(): string {
    return this.type.api;
  }
}

/**
 * A constructor for the instances of one type. Each type has its own, so that the engine reserves in-object room for
 * just its payload; a shared one puts the payload into a second object. A plain function, because a derived class costs
 * twice as much to construct (measured).
 */
function instanceMaker(): new (type: MetaType) => Meta {
  function Instance(this: { -readonly [K in keyof Meta]: Meta[K] }, type: MetaType): void {
    this.type = type;
    this.flags = 0;
    this.sequence = nextSequence++;
  }
  Instance.prototype = Meta.prototype;
  return Instance as unknown as new (
    type: MetaType,
  ) => Meta;
}

/** Orders metas by age, oldest first; for `Array.sort`. */
export function compareMetaAge(a: Meta, b: Meta): number {
  return sequenceOf("a", a) - sequenceOf("b", b);
}

function sequenceOf(name: string, meta: Meta): number {
  checkMeta(name, meta);
  return meta.sequence;
}

const types: Map<string, MetaType> = new Map();
const apiTags: Map<string, readonly string[]> = new Map();

/**
 * Registers a meta type for this realm. Throws `ERR_ALREADY_REGISTERED` when the name is taken, or when the API is
 * known with other tags; `ERR_INVALID_ARG_TYPE`.
 */
export function registerMeta<T extends object = object, P = void>(spec: MetaSpec<T, P>): MetaType<T, P> {
  const type = new MetaType(checkSpec(spec));
  if (types.has(type.name)) {
    throw new MillpondError(
      "ERR_ALREADY_REGISTERED",
      `a meta type named "${type.name}" is registered already; choose another name`,
    );
  }
  const known = apiTags.get(type.api);
  if (known !== undefined && (known.length !== type.tags.length || known.some((tag) => !type.hasTag(tag)))) {
    throw new MillpondError(
      "ERR_ALREADY_REGISTERED",
      `the meta API "${type.api}" is known with the tags [${known.join(", ")}], not [${type.tags.join(", ")}]; ` +
        "every type of one API has the same tags",
    );
  }
  apiTags.set(type.api, type.tags);
  types.set(type.name, type as unknown as MetaType);
  return type;
}

const SPEC_KEYS = [
  "api",
  "name",
  "tags",
  "version",
  "init",
  "free",
  "clear",
  "transform",
  "serialize",
  "deserialize",
] as const;

/** A copy of a spec whose fields were read once, each; all specs have one shape. */
function checkSpec<T extends object, P>(given: MetaSpec<T, P>): MetaSpec<T, P> {
  if (given === undefined) throw wrongType("spec", "a MetaSpec", given);
  const spec = checkOptions("spec", given, SPEC_KEYS);
  const { api, name = api, tags = [], version = 0, init, free, clear, transform, serialize, deserialize } = spec;
  nonEmpty("spec.api", api);
  nonEmpty("spec.name", name);
  const own = listOf("spec.tags", "a list of strings", tags);
  for (const tag of own) if (typeof tag !== "string") throw wrongType("spec.tags", "a list of strings", tags);
  if (typeof version !== "number" || !Number.isInteger(version) || version < 0 || version > 255) {
    throw wrongType("spec.version", "a whole number from 0 to 255", version);
  }
  const hooks = { init, free, clear, transform, serialize, deserialize };
  for (const [hook, fn] of Object.entries(hooks)) callback(`spec.${hook}`, fn);
  return { api, name, tags: own, version, ...hooks } as MetaSpec<T, P>;
}

/** The meta type of that implementation name, or undefined. O(1). */
export function findMetaType(name: string): MetaType | undefined {
  return types.get(word("name", name));
}

/** The tags of a meta API by its name; undefined when no type of it is registered. O(1). */
export function findMetaTags(api: string): readonly string[] | undefined {
  return apiTags.get(api);
}

/**
 * Checks what a caller passes as a meta type; throws `ERR_INVALID_ARG_TYPE`. One load on the good way (`instanceof`
 * costs 3 ns).
 */
export function checkMetaType(type: unknown): void {
  if (typeof (type as MetaType | null | undefined)?.instance !== "function") {
    throw wrongType("type", "a MetaType from registerMeta()", type);
  }
}

/** Checks what a caller passes as a meta; throws `ERR_INVALID_ARG_TYPE`. */
export function checkMeta(name: string, meta: unknown): void {
  if (!(meta instanceof Meta) || typeof meta.type?.instance !== "function") {
    throw wrongType(name, "a Meta that addMeta() returned", meta);
  }
}

/** The error for removing a locked meta. */
export function lockedMeta(meta: Meta): MillpondError {
  return new MillpondError(
    "ERR_META_LOCKED",
    `the meta "${meta.type.name}" is LOCKED to its buffer and cannot be removed`,
  );
}
