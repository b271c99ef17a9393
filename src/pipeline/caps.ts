/**
 * Caps: the set of formats that a pad can take, small but real. A list of structures, each of one kind, each field a
 * value, a list of values or a range; an absent field means "any". The stages along a link intersect theirs, and the
 * source fixes one format. After GStreamer's caps, without their grammar. Of their features there is the memory: the
 * field `memory` says what kinds of memory a pad can take ("memory:DMABuf"). A structure that restricts something and
 * does not say it means "memory:SystemMemory", as there; one without any field means any memory.
 *
 * ```ts
 * const screen = Caps.video({ format: ["RGBA", "BGRA"], width: { min: 16, max: 1920 } });
 * const wanted = Caps.video({ format: "RGBA", width: 4096 });
 * screen.intersect(wanted).isEmpty;   // true: no width is in both
 * ```
 */

import { frozenData } from "../util/same-data.ts";
import { badValue, instance, listOf, oneOf, wrongType } from "../util/validate.ts";
import {
  checkFormat,
  type Fraction,
  memoryOfFormat,
  type StreamFormat,
  SYSTEM_MEMORY,
  sameFraction,
} from "./stream-format.ts";

/** Whole numbers from `min` to `max`, both included; with `step`, only multiples of it. */
export interface Range {
  /** The least. */
  readonly min: number;
  /** The most. */
  readonly max: number;
  /** Only multiples of this; default 1. */
  readonly step?: number;
}

/** One value of a field. */
export type CapsScalar = string | number | Fraction;

/** What a field may be: one value, one of a list (the first is liked best), or a range. */
export type CapsValue = CapsScalar | readonly CapsScalar[] | Range;

/**
 * The fields of a structure. Known ones: format, width, height, frameRate; format, sampleRate, channels, frames; type;
 * memory in all.
 */
export type CapsFields = Readonly<Record<string, CapsValue>>;

/** Formats of one kind. */
export interface CapsStructure {
  /** What flows. */
  readonly kind: StreamFormat["kind"];
  /** What is restricted. */
  readonly fields: CapsFields;
}

const KINDS: readonly StreamFormat["kind"][] = ["video", "audio", "bytes"];
const FIELDS: Readonly<Record<StreamFormat["kind"], readonly string[]>> = {
  video: ["format", "width", "height", "frameRate", "memory"],
  audio: ["format", "sampleRate", "channels", "frames", "memory"],
  bytes: ["type", "memory"],
};

/** A set of formats; immutable. */
export class Caps {
  /** The alternatives, the one liked best first. */
  readonly structures: readonly CapsStructure[];

  /** Most callers use {@link Caps.video}, {@link Caps.audio}, {@link Caps.bytes}, {@link Caps.any}. */
  constructor(structures: readonly CapsStructure[]) {
    const checked = listOf("structures", "a list of structures", structures).map((one, i) => {
      if (one === null || typeof one !== "object") throw wrongType(`structures[${i}]`, "a structure of caps", one);
      return checkStructure(`structures[${i}].fields`, oneOf(`structures[${i}].kind`, one.kind, KINDS), one.fields);
    });
    this.structures = Object.freeze(checked);
    Object.freeze(this);
  }

  /** Everything. */
  static readonly any: Caps = new Caps([
    { kind: "video", fields: {} },
    { kind: "audio", fields: {} },
    { kind: "bytes", fields: {} },
  ]);

  /** Nothing. */
  static readonly none: Caps = new Caps([]);

  /** Pictures. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` for an unknown field or an impossible value. */
  static video(fields: CapsFields = {}): Caps {
    return new Caps([checkStructure("fields", "video", fields)]);
  }

  /** Audio; errors as {@link Caps.video}. */
  static audio(fields: CapsFields = {}): Caps {
    return new Caps([checkStructure("fields", "audio", fields)]);
  }

  /** Bytes; errors as {@link Caps.video}. */
  static bytes(fields: CapsFields = {}): Caps {
    return new Caps([checkStructure("fields", "bytes", fields)]);
  }

  /** Exactly one format. */
  static of(format: StreamFormat): Caps {
    const checked = checkFormat("format", format);
    return new Caps([{ kind: checked.kind, fields: fieldsOf(checked) }]);
  }

  /** True when no format is in the set. */
  get isEmpty(): boolean {
    return this.structures.length === 0;
  }

  /** This set, then the other: an alternative that is liked less. */
  or(other: Caps): Caps {
    checkCaps("other", other);
    return new Caps([...this.structures, ...other.structures]);
  }

  /** What is in both; the order of this set counts first. O(structures * fields). */
  intersect(other: Caps): Caps {
    checkCaps("other", other);
    const both: CapsStructure[] = [];
    for (const mine of this.structures) {
      for (const theirs of other.structures) {
        const common = intersectStructures(mine, theirs);
        if (common !== undefined) both.push(common);
      }
    }
    return new Caps(both);
  }

  /** True when that format is in the set. */
  accepts(format: StreamFormat): boolean {
    return this.whyNot(format) === undefined;
  }

  /** Why a format is not in the set: the first field that rules it out; undefined when it is in. For messages. */
  whyNot(format: StreamFormat): string | undefined {
    const checked = checkFormat("format", format);
    let reason = "nothing is accepted";
    const fields = fieldsOf(checked);
    for (const structure of this.structures) {
      if (structure.kind !== checked.kind) {
        reason = `${checked.kind} comes, and ${structure.kind} is wanted`;
        continue;
      }
      const bad = Object.entries(structure.fields).find(([name, want]) => {
        const has = fields[name];
        return has !== undefined && intersectValues(has, want) === undefined;
      });
      if (bad === undefined) {
        const memory = memoryOf(structure);
        if (memory === undefined || intersectValues(memoryOfFormat(checked), memory) !== undefined) return undefined;
        reason = `it is in ${memoryOfFormat(checked)}, and ${valueText(memory)} is wanted`;
        continue;
      }
      reason = `${bad[0]} is ${valueText(fields[bad[0]]!)}, and ${valueText(bad[1])} is wanted`;
    }
    return reason;
  }

  /**
   * One value for each field of the first structure: from a list the one nearest to `prefer`, else the first; from a
   * range the one nearest to `prefer`, else the least. Undefined when the set is empty. Absent fields that `prefer` has
   * are taken from it.
   */
  fixate(prefer: Readonly<Record<string, CapsScalar>> = {}): FixedCaps | undefined {
    const preferred = checkPreference(prefer);
    // A structure that the preference fits as it is comes before one that would bend it.
    const first = this.structures.find((one) => fits(one, preferred)) ?? this.structures[0];
    if (first === undefined) return undefined;
    const fields: Record<string, CapsScalar> = {};
    for (const name of FIELDS[first.kind]) {
      const value = first.fields[name];
      const chosen = value === undefined ? preferred[name] : fixateValue(value, preferred[name]);
      if (chosen !== undefined) fields[name] = chosen;
    }
    return { kind: first.kind, fields };
  }

  /** `video { format: RGBA|BGRA, width: 16..1920 } or bytes`. */
  toString(): string {
    if (this.isEmpty) return "nothing";
    return this.structures.map(structureText).join(" or ");
  }
}

/** Checks caps that a caller gives. Throws `ERR_INVALID_ARG_TYPE`. */
export function checkCaps(name: string, caps: Caps): Caps {
  return instance(name, "Caps, such as Caps.any or Caps.video()", Caps, caps);
}

/** A structure with one value a field. */
export interface FixedCaps {
  /** What flows. */
  readonly kind: StreamFormat["kind"];
  /** The values. */
  readonly fields: Readonly<Record<string, CapsScalar>>;
}

/** The fields of a settled format, as caps name them. */
function fieldsOf(format: StreamFormat): Readonly<Record<string, CapsScalar>> {
  const fields = layoutFields(format);
  return format.memory === undefined ? fields : { ...fields, memory: format.memory };
}

/** What kinds of memory a structure takes; undefined: any. */
function memoryOf({ fields }: CapsStructure): CapsValue | undefined {
  return fields.memory ?? (Object.keys(fields).length === 0 ? undefined : SYSTEM_MEMORY);
}

function layoutFields(format: StreamFormat): Readonly<Record<string, CapsScalar>> {
  if (format.kind === "bytes") return format.type === undefined ? {} : { type: format.type };
  if (format.kind === "audio") {
    const { format: name, sampleRate, channels, frames } = format.info;
    return { format: name, sampleRate, channels, frames };
  }
  const { format: name, width, height } = format.info;
  return format.frameRate === undefined
    ? { format: name, width, height }
    : { format: name, width, height, frameRate: format.frameRate };
}

function fits(structure: CapsStructure, prefer: Readonly<Record<string, CapsScalar>>): boolean {
  return Object.entries(structure.fields).every(
    ([name, value]) => prefer[name] === undefined || intersectValues(prefer[name], value) !== undefined,
  );
}

/** Copies the fields first, so that what was checked is what is used. */
function checkStructure(name: string, kind: StreamFormat["kind"], fields: CapsFields): CapsStructure {
  if (fields === null || typeof fields !== "object" || Array.isArray(fields)) {
    throw wrongType(name, "an object of fields", fields);
  }
  const copy = frozenData(name, { ...fields });
  for (const [key, value] of Object.entries(copy)) {
    if (!FIELDS[kind].includes(key)) throw badValue("field", `one of ${FIELDS[kind].join(", ")} for ${kind}`, key);
    checkValue(key, value);
  }
  return Object.freeze({ kind, fields: copy });
}

function checkValue(name: string, value: CapsValue): void {
  if (isList(value)) {
    if (value.length === 0) throw badValue(name, "a list with something in it", "an empty list");
    for (const one of value) checkValue(name, one);
    return;
  }
  if (isRange(value)) {
    const { min, max, step = 1 } = value;
    const ok = [min, max, step].every((n) => Number.isInteger(n)) && min <= max && step >= 1;
    if (!ok || firstIn(value) === undefined)
      throw badValue(name, "a range with a whole number in it", valueText(value));
    return;
  }
  if (isFraction(value)) {
    const isRatio = Number.isSafeInteger(value.num) && Number.isSafeInteger(value.den);
    if (!(isRatio && value.num >= 0 && value.den >= 1))
      throw badValue(name, "a ratio of whole numbers", valueText(value));
    return;
  }
  if (typeof value !== "string" && typeof value !== "number")
    throw wrongType(name, "a value, a list or a range", value);
}

/** Checks what a set is to be fixed near, and copies it. */
function checkPreference(prefer: Readonly<Record<string, CapsScalar>>): Readonly<Record<string, CapsScalar>> {
  if (prefer === null || typeof prefer !== "object") throw wrongType("prefer", "an object of values", prefer);
  const preferred = frozenData("prefer", { ...prefer });
  for (const [name, value] of Object.entries(preferred)) {
    const isScalar = ["string", "number", "undefined"].includes(typeof value) || isFraction(value);
    if (!isScalar) throw wrongType(`prefer.${name}`, "a string, a number or a ratio { num, den }", value);
    if (isFraction(value)) checkValue(`prefer.${name}`, value);
  }
  return preferred;
}

function isList(value: CapsValue): value is readonly CapsScalar[] {
  return Array.isArray(value);
}

function isRange(value: CapsValue): value is Range {
  return typeof value === "object" && value !== null && "min" in value;
}

function isFraction(value: CapsValue): value is Fraction {
  return typeof value === "object" && value !== null && "num" in value;
}

function sameScalar(a: CapsScalar, b: CapsScalar): boolean {
  if (a === b) return true;
  return isFraction(a) && isFraction(b) && sameFraction(a, b);
}

function firstIn({ min, max, step = 1 }: Range): number | undefined {
  const first = Math.ceil(min / step) * step;
  return first <= max ? first : undefined;
}

function isIn(value: CapsScalar, { min, max, step = 1 }: Range): boolean {
  const n = isFraction(value) ? value.num / value.den : value;
  return typeof n === "number" && n >= min && n <= max && (isFraction(value) || n % step === 0);
}

function intersectStructures(a: CapsStructure, b: CapsStructure): CapsStructure | undefined {
  if (a.kind !== b.kind) return undefined;
  const [first, second] = [memoryOf(a), memoryOf(b)];
  if (first !== undefined && second !== undefined && intersectValues(first, second) === undefined) return undefined;
  const fields: Record<string, CapsValue> = { ...a.fields };
  for (const [name, theirs] of Object.entries(b.fields)) {
    const mine = fields[name];
    const common = mine === undefined ? theirs : intersectValues(mine, theirs);
    if (common === undefined) return undefined;
    fields[name] = common;
  }
  return { kind: a.kind, fields };
}

/** What both values allow, in the first one's order; undefined: nothing. */
function intersectValues(a: CapsValue, b: CapsValue): CapsValue | undefined {
  if (isList(a)) {
    const common = a.filter((one) => intersectValues(one, b) !== undefined);
    return common.length === 0 ? undefined : common.length === 1 ? common[0] : common;
  }
  if (isList(b)) return intersectValues(b, a);
  if (isRange(a)) return isRange(b) ? intersectRanges(a, b) : isIn(b, a) ? b : undefined;
  if (isRange(b)) return isIn(a, b) ? a : undefined;
  return sameScalar(a, b) ? a : undefined;
}

function intersectRanges(a: Range, b: Range): CapsValue | undefined {
  const step = lcm(a.step ?? 1, b.step ?? 1);
  const common: Range = { min: Math.max(a.min, b.min), max: Math.min(a.max, b.max), step };
  const first = firstIn(common);
  if (first === undefined) return undefined;
  return first + step > common.max ? first : common;
}

function lcm(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return (a / x) * b;
}

function fixateValue(value: CapsValue, preferred: CapsScalar | undefined): CapsScalar {
  if (isRange(value)) {
    const first = firstIn(value)!;
    if (preferred === undefined || typeof preferred === "string") return first;
    const { max, step = 1 } = value;
    const n = isFraction(preferred) ? preferred.num / preferred.den : preferred;
    if (isFraction(preferred) && isIn(preferred, value)) return preferred;
    const nearest = Math.round(n / step) * step;
    return Math.min(Math.max(nearest, first), Math.floor(max / step) * step);
  }
  if (!isList(value)) return value;
  const exact = preferred === undefined ? undefined : value.find((one) => sameScalar(one, preferred));
  if (exact !== undefined) return exact;
  if (typeof preferred !== "number") return value[0]!;
  // A higher one of two equally near keeps more of the picture.
  const distance = (one: CapsScalar): number => (typeof one === "number" ? Math.abs(one - preferred) : Infinity);
  return value.reduce((best, one) =>
    distance(one) < distance(best) || (distance(one) === distance(best) && one > best) ? one : best,
  );
}

function structureText({ kind, fields }: CapsStructure): string {
  const parts = Object.entries(fields).map(([name, value]) => `${name}: ${valueText(value)}`);
  return parts.length === 0 ? kind : `${kind} { ${parts.join(", ")} }`;
}

function valueText(value: CapsValue): string {
  if (isList(value)) return value.map(valueText).join("|");
  if (isRange(value)) return `${value.min}..${value.max}${(value.step ?? 1) === 1 ? "" : ` in steps of ${value.step}`}`;
  if (isFraction(value)) return value.den === 1 ? String(value.num) : `${value.num}/${value.den}`;
  return String(value);
}
