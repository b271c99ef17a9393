/**
 * Caps: the set of formats that a pad can take, small but real. A list of structures, each of one kind, each field a
 * value, a list of values or a range; an absent field means "any". The stages along a link intersect theirs, and the
 * source fixes one format. After GStreamer's caps, without their grammar. Of their features there is the memory: the
 * field `memory` says what kinds of memory a pad can take ("memory:DMABuf"). A structure that restricts something and
 * does not say it means "memory:SystemMemory", as there; one without any field means any memory.
 *
 * Invariants: all of a set is frozen, values are copies that were checked when it was made, and no list has a value
 * twice or more than 4096 values. Two lists are compared in O(values of both), not value by value.
 *
 * ```ts
 * const screen = Caps.video({ format: ["RGBA", "BGRA"], width: { min: 16, max: 1920 } });
 * const wanted = Caps.video({ format: "RGBA", width: 4096 });
 * screen.intersect(wanted).isEmpty;   // true: no width is in both
 * ```
 */

import { MillpondError } from "../util/errors.ts";
import { badValue, isRevoked, listOf, oneOf, outOfRange, wrongType } from "../util/validate.ts";
import { currentSettlement, MAX_STEPS, stagesText } from "./settlement.ts";
import { checkFormat, type Fraction, memoryOfFormat, type StreamFormat, SYSTEM_MEMORY } from "./stream-format.ts";

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

/**
 * What a field may be: one value, one of a list (the first is liked best; at most 4096, and what stands there again is
 * left out), or a range.
 */
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

/** The most alternatives that an intersection may have, or as many as the longer of both has. */
const MAX_COMMON = 256;

/** The making of a structure costs as much as so many comparisons. */
const MAKING_STEPS = 16;

/** So many characters of a name cost as much as a value. */
const CHARACTERS_PER_VALUE = 32;

/** To put a value into an index, or into a filter, costs as much as to look at so many. */
const INDEXING_VALUES = 3;

/**
 * The most values of one list: those of real devices have tens, and two structures with five such lists each are
 * compared in some milliseconds. More is a range.
 */
const MAX_VALUES = 4096;

/** Lists up to this length are looked through; an index of them costs more than it saves. */
const SHORT_LIST = 8;

/** Structures that are made of checked ones: the constructor does not check them again. */
let trusted: readonly CapsStructure[] | undefined;

/** A set of formats; immutable. */
export class Caps {
  /** The alternatives, the one liked best first. */
  readonly structures: readonly CapsStructure[];

  readonly #isMade: true = true;

  /** Most callers use {@link Caps.video}, {@link Caps.audio}, {@link Caps.bytes}, {@link Caps.any}. */
  constructor(structures: readonly CapsStructure[]) {
    const isChecked = trusted !== undefined && structures === trusted;
    this.structures = isChecked ? structures : checkStructures(structures);
    Object.freeze(this);
  }

  /** @internal True for what the constructor made: no proxy of it, and nothing that only has the prototype. */
  static isMade(value: unknown): value is Caps {
    return typeof value === "object" && value !== null && #isMade in value && value.#isMade;
  }

  /** Everything. */
  static readonly any: Caps = new Caps([
    { kind: "video", fields: {} },
    { kind: "audio", fields: {} },
    { kind: "bytes", fields: {} },
  ]);

  /** Nothing. */
  static readonly none: Caps = new Caps([]);

  /**
   * Pictures; without fields: all of them, in any memory. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` for an
   * unknown field or an impossible value, `ERR_OUT_OF_RANGE` for a list of more than 4096 values.
   */
  static video(fields: CapsFields = {}): Caps {
    return new Caps([checkStructure("fields", "video", fields)]);
  }

  /** Audio; without fields: all of it, in any memory. Errors as {@link Caps.video}. */
  static audio(fields: CapsFields = {}): Caps {
    return new Caps([checkStructure("fields", "audio", fields)]);
  }

  /** Bytes; without fields: all of them, in any memory. Errors as {@link Caps.video}. */
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
    return capsOf([...this.structures, ...other.structures]);
  }

  /**
   * What is in both; the order of this set counts first, then that of the other. An alternative that has nothing which
   * an earlier one lacks is left out, as in GStreamer, so that alternatives which overlap do not multiply. Throws
   * `ERR_NOT_NEGOTIATED` when more alternatives are left than the longer of both has, and than 256, or when they take
   * too long to find: a quarter of a second, counted by structures and values. Inside a pipeline that is for all that
   * its stages compare to agree on their formats.
   * O(structures of both, multiplied, times what they have in common); two lists in O(values of both).
   */
  intersect(other: Caps): Caps {
    checkCaps("other", other);
    if (other === Caps.any && isMinimal(this)) return this;
    if (this === Caps.any && isMinimal(other) && isOneKind(other)) return other;
    if (intersections.get(this) === other) return this;
    return settledCaps(
      other,
      metered(this, other, (spend) => commonStructures(this, other, spend)),
    );
  }

  /** True when that format is in the set. */
  accepts(format: StreamFormat): boolean {
    return this.whyNot(format) === undefined;
  }

  /** Why a format is not in the set: the first field that rules it out; undefined when it is in. For messages. */
  whyNot(format: StreamFormat): string | undefined {
    const checked = checkFormat("format", format);
    const fields = fieldsOf(checked);
    let last: CapsStructure | undefined;
    for (const structure of this.structures) {
      if (misfitOf(structure, checked, fields) === undefined) return undefined;
      last = structure;
    }
    // Said of one alternative: the text of a list takes longer than the look at it.
    return last === undefined ? "nothing is accepted" : misfitText(last, checked, fields);
  }

  /**
   * One value for each field of the first structure: from a list the one nearest to `prefer`, else the first; from a
   * range the one nearest to `prefer`, else the least. Undefined when the set is empty. Absent fields that `prefer` has
   * are taken from it. Throws `ERR_INVALID_ARG_*`, and `ERR_NOT_NEGOTIATED` when there are so many values that it takes
   * too long, as {@link intersect}. O(values).
   */
  fixate(prefer: Readonly<Record<string, CapsScalar>> = {}): FixedCaps | undefined {
    const preferred = checkPreference(prefer);
    // A structure that the preference fits as it is comes before one that would bend it.
    const first =
      metered(this, undefined, (spend) => this.structures.find((one) => fits(one, preferred, spend))) ??
      this.structures[0];
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

/**
 * Intersections, of which none of the alternatives is in an earlier one, with the set that was intersected last: a
 * stage whose two pads have the same caps compares with them up to three times, and after the first nothing changes.
 * Null where that set is an intersection itself, or each would keep all before it alive.
 */
const intersections: WeakMap<Caps, Caps | null> = new WeakMap();

/** Caps of structures that were made of checked ones. */
function capsOf(structures: CapsStructure[]): Caps {
  trusted = Object.freeze(structures);
  const made = new Caps(trusted);
  trusted = undefined;
  return made;
}

function settledCaps(other: Caps, structures: CapsStructure[]): Caps {
  const made = capsOf(structures);
  intersections.set(made, intersections.has(other) ? null : other);
  return made;
}

function isMinimal(caps: Caps): boolean {
  return caps.structures.length < 2 || caps === Caps.any || intersections.has(caps);
}

function isOneKind({ structures }: Caps): boolean {
  return structures.every(({ kind }) => kind === structures[0]!.kind);
}

/** Thrown inside {@link metered} alone. */
const OVER: unique symbol = Symbol("over");

/**
 * Counts work against the settlement in force; outside of one, against a bound of its own. What looks at values counts
 * these by itself.
 */
function metered<T>(caps: Caps, other: Caps | undefined, work: (spend: (more: number) => void) => T): T {
  const settlement = currentSettlement();
  const left = settlement?.left ?? MAX_STEPS;
  const start = valuesSeen;
  let steps = 0;
  const spend = (more: number): void => {
    steps += more;
    if (steps + valuesSeen - start > left) throw OVER;
  };
  try {
    return work(spend);
  } catch (error) {
    if (error !== OVER) throw error;
  } finally {
    settlement?.spend(steps + valuesSeen - start);
  }
  throw tooLongError(caps, other, settlement?.stages ?? []);
}

/** What {@link Caps.intersect} finds. */
function commonStructures(a: Caps, b: Caps, spend: (more: number) => void): CapsStructure[] {
  const most = Math.max(MAX_COMMON, a.structures.length, b.structures.length);
  const both: CapsStructure[] = [];
  const masks: number[][] = [];
  const isKnown = (common: CapsStructure, mask: readonly number[]): boolean =>
    both.some((earlier, i) => {
      if (!isWithin(mask, masks[i]!)) return false;
      spend(1);
      return isSubset(common, earlier);
    });
  for (const mine of a.structures) {
    for (const theirs of b.structures) {
      const common = intersectStructures(mine, theirs);
      spend(common === undefined ? 1 : MAKING_STEPS + both.length);
      if (common === undefined) continue;
      const mask = masksOf(common);
      if (isKnown(common, mask)) continue;
      if (both.length === most) throw tooManyError(a, b, most);
      both.push(common);
      masks.push(mask);
    }
  }
  return both;
}

const REMEDY = "name fewer alternatives, with short lists and ranges of values in each";

function tooManyError(a: Caps, b: Caps, limit: number): MillpondError {
  const [first, second] = [a.structures.length, b.structures.length];
  const stage = currentSettlement()?.stage;
  return new MillpondError(
    "ERR_NOT_NEGOTIATED",
    `${stage === undefined ? "" : `at "${stage}" `}caps of ${first} alternatives and caps of ${second} have too many ` +
      `in common to be settled: at most ${limit} may be left of them; ${REMEDY}`,
    { first, second, limit, ...(stage !== undefined && { stages: [stage] }) },
  );
}

function tooLongError(a: Caps, b: Caps | undefined, stages: readonly string[]): MillpondError {
  const [first, second] = [a.structures.length, b?.structures.length];
  const what =
    stages.length > 0
      ? `the caps of ${stagesText(stages)} take too long to compare: what the stages of a pipeline compare to agree ` +
        "on their formats may take a quarter of a second in all"
      : `caps of ${first} alternatives ${second === undefined ? "" : `and caps of ${second} `}take too long to compare: ` +
        "they may take a quarter of a second";
  return new MillpondError("ERR_NOT_NEGOTIATED", `${what}; ${REMEDY}`, { first, second, stages });
}

/** Checks caps that a caller gives. Throws `ERR_INVALID_ARG_TYPE`. */
export function checkCaps(name: string, caps: Caps): Caps {
  if (!Caps.isMade(caps)) throw wrongType(name, "Caps, such as Caps.any or Caps.video()", caps);
  return caps;
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

function fits(
  structure: CapsStructure,
  prefer: Readonly<Record<string, CapsScalar>>,
  spend: (more: number) => void,
): boolean {
  spend(1);
  for (const name in structure.fields) {
    const wanted = prefer[name];
    if (wanted !== undefined && !isAmongOnce(wanted, structure.fields[name]!)) return false;
  }
  return true;
}

/** The field that rules a format out; undefined: none does. */
function misfitOf(
  structure: CapsStructure,
  format: StreamFormat,
  fields: Readonly<Record<string, CapsScalar>>,
): string | undefined {
  if (structure.kind !== format.kind) return "kind";
  for (const name in structure.fields) {
    const has = fields[name];
    if (has !== undefined && !isAmongOnce(has, structure.fields[name]!)) return name;
  }
  const memory = memoryOf(structure);
  return memory === undefined || isAmongOnce(memoryOfFormat(format), memory) ? undefined : "memory";
}

/** In words. */
function misfitText(
  structure: CapsStructure,
  format: StreamFormat,
  fields: Readonly<Record<string, CapsScalar>>,
): string {
  const name = misfitOf(structure, format, fields)!;
  if (name === "kind") return `${format.kind} comes, and ${structure.kind} is wanted`;
  const [has, wanted] = [fields[name], structure.fields[name]];
  if (has !== undefined && wanted !== undefined)
    return `${name} is ${valueText(has)}, and ${valueText(wanted)} is wanted`;
  return `it is in ${memoryOfFormat(format)}, and ${valueText(memoryOf(structure)!)} is wanted`;
}

function checkStructures(structures: readonly CapsStructure[]): readonly CapsStructure[] {
  const checked = listOf("structures", "a list of structures", structures).map((one, i) => {
    if (one === null || typeof one !== "object" || isRevoked(one))
      throw wrongType(`structures[${i}]`, "a structure of caps", one);
    return checkStructure(`structures[${i}].fields`, oneOf(`structures[${i}].kind`, one.kind, KINDS), one.fields);
  });
  return Object.freeze(checked);
}

/** Copies what it checks, so that what was checked is what is used. */
function checkStructure(name: string, kind: StreamFormat["kind"], fields: CapsFields): CapsStructure {
  if (fields === null || typeof fields !== "object" || isRevoked(fields) || Array.isArray(fields)) {
    throw wrongType(name, "an object of fields", fields);
  }
  const copy: Record<string, CapsValue> = {};
  for (const [key, value] of Object.entries({ ...fields })) {
    if (!FIELDS[kind].includes(key)) throw badValue("field", `one of ${FIELDS[kind].join(", ")} for ${kind}`, key);
    copy[key] = checkedValue(key, value);
  }
  return Object.freeze({ kind, fields: Object.freeze(copy) });
}

function checkedValue(name: string, value: CapsValue): CapsValue {
  if (isRevoked(value)) throw wrongType(name, "a value, a list or a range", value);
  if (isList(value)) return checkedList(name, value);
  if (!isRange(value)) return checkedScalar(name, value, "a value, a list or a range");
  const { min, max, step } = value;
  const range: Range = Object.freeze(step === undefined ? { min, max } : { min, max, step });
  const ok = [min, max, step ?? 1].every((n) => Number.isInteger(n)) && min <= max && (step ?? 1) >= 1;
  if (!ok || firstIn(range) === undefined) throw badValue(name, "a range with a whole number in it", valueText(range));
  return range;
}

/** Each value at its first place. */
function checkedList(name: string, list: readonly CapsScalar[]): readonly CapsScalar[] {
  const { length } = list;
  if (length === 0) throw badValue(name, "a list with something in it", "an empty list");
  if (length > MAX_VALUES) throw outOfRange(`${name}.length`, `at most ${MAX_VALUES} (write a range)`, length);
  const index = new ValueIndex();
  const values: CapsScalar[] = [];
  for (let i = 0; i < length; i++) {
    const value = checkedScalar(name, list[i]!, "a list of strings, numbers and ratios { num, den }");
    if (index.add(value)) values.push(value);
  }
  return Object.freeze(values);
}

function checkedScalar(name: string, value: CapsScalar, expected: string): CapsScalar {
  if (typeof value === "string" || typeof value === "number") return value;
  if (isRevoked(value) || isList(value) || isRange(value) || !isFraction(value)) throw wrongType(name, expected, value);
  const { num, den } = value;
  const isRatio = Number.isSafeInteger(num) && Number.isSafeInteger(den);
  if (!(isRatio && num >= 0 && den >= 1)) throw badValue(name, "a ratio of whole numbers", valueText({ num, den }));
  return Object.freeze({ num, den });
}

/** Checks what a set is to be fixed near, and copies it. */
function checkPreference(prefer: Readonly<Record<string, CapsScalar>>): Readonly<Record<string, CapsScalar>> {
  if (prefer === null || typeof prefer !== "object" || isRevoked(prefer))
    throw wrongType("prefer", "an object of values", prefer);
  const preferred: Record<string, CapsScalar> = Object.create(null) as Record<string, CapsScalar>;
  for (const [name, value] of Object.entries({ ...prefer })) {
    if (value !== undefined)
      preferred[name] = checkedScalar(`prefer.${name}`, value, "a string, a number or a ratio { num, den }");
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
  if (a === b || Object.is(a, b)) return true;
  if (!isFraction(a) || !isFraction(b)) return false;
  const product = a.num * b.den;
  // Products that are rounded may be equal where the ratios are not.
  return product === b.num * a.den && (Number.isSafeInteger(product) || ratioKey(a) === ratioKey(b));
}

/** Ratios with terms below this are equal where their quotients are: others differ by more than what is rounded. */
const SMALL_TERM = 2 ** 26;

/** To reduce a ratio of large terms costs as much as to look at so many values. */
const REDUCING_VALUES = 12;

/** Equal ratios have equal keys. */
function ratioKey({ num, den }: Fraction): number | string {
  if (num < SMALL_TERM && den < SMALL_TERM) return num / den;
  valuesSeen += REDUCING_VALUES;
  const divisor = gcd(num, den);
  const [n, d] = [num / divisor, den / divisor];
  return n < SMALL_TERM && d < SMALL_TERM ? n / d : `${n}/${d}`;
}

/** Values by what they are; ratios that are equal are one value. */
class ValueIndex {
  readonly #plain: Set<string | number> = new Set();
  /** By {@link ratioKey}. */
  readonly #ratios: Set<number | string> = new Set();

  /** False: it is there already. */
  add(value: CapsScalar): boolean {
    if (this.has(value)) return false;
    if (isFraction(value)) this.#ratios.add(ratioKey(value));
    else this.#plain.add(value);
    return true;
  }

  has(value: CapsScalar): boolean {
    return isFraction(value) ? this.#ratios.has(ratioKey(value)) : this.#plain.has(value);
  }
}

/** Indexes of lists that were compared; a list is frozen. */
const indexes: WeakMap<readonly CapsScalar[], ValueIndex> = new WeakMap();

/** Looks at values, over all sets: what an intersection costs beside its structures. */
let valuesSeen = 0;

/** @internal How often a value of a list was looked at, for tests: they count what they would have to time. */
export function valuesLookedAt(): number {
  return valuesSeen;
}

/** Whether a list has a value. O(1) beside the index, which is made once for a list. */
function holds(list: readonly CapsScalar[], value: CapsScalar): boolean {
  if (list.length <= SHORT_LIST) {
    valuesSeen += list.length * costOf(value);
    return list.some((one) => sameScalar(one, value));
  }
  let index = indexes.get(list);
  if (index === undefined) {
    index = new ValueIndex();
    for (const one of list) {
      valuesSeen += costOf(one) * INDEXING_VALUES;
      index.add(one);
    }
    indexes.set(list, index);
  }
  valuesSeen += costOf(value);
  return index.has(value);
}

/** Long names are compared to their last character; a ratio is divided first. */
function costOf(value: CapsScalar): number {
  if (typeof value === "string") return 1 + Math.floor(value.length / CHARACTERS_PER_VALUE);
  return typeof value === "number" ? 1 : 2;
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
  const memory = first === undefined || second === undefined ? (first ?? second) : intersectValues(first, second);
  if (memory === undefined && first !== undefined) return undefined;
  const fields: Record<string, CapsValue> = {};
  for (const name in a.fields) {
    const common = commonOf(name, a.fields[name]!, b.fields[name]);
    if (common === undefined) return undefined;
    fields[name] = common;
  }
  for (const name in b.fields) fields[name] ??= b.fields[name]!;
  // One that is silent of its memory may mean less than the other says.
  if (fields.memory !== undefined) fields.memory = memory!;
  return Object.freeze({ kind: a.kind, fields: Object.freeze(fields) });
}

function commonOf(name: string, mine: CapsValue, theirs: CapsValue | undefined): CapsValue | undefined {
  if (theirs === undefined) return mine;
  // A range of rates has ratios in it, also where it has one whole number.
  if (name === "frameRate" && isRange(mine) && isRange(theirs)) return intersectRanges(mine, theirs, true);
  return intersectValues(mine, theirs);
}

/** True when every format that `a` takes is one that `b` takes, as far as their values tell it one by one. */
function isSubset(a: CapsStructure, b: CapsStructure): boolean {
  if (a === b) return true;
  if (a.kind !== b.kind) return false;
  for (const name in b.fields) {
    if (name === "memory") continue;
    const theirs = b.fields[name]!;
    const mine = a.fields[name];
    if (mine === undefined || !isSubvalue(mine, theirs)) return false;
  }
  const [mine, theirs] = [memoryOf(a), memoryOf(b)];
  return theirs === undefined || (mine !== undefined && isSubvalue(mine, theirs));
}

/*
 * Bloom filters of the values of each field: most structures are told apart by them, without a look at the values.
 */

const ANY_VALUE = -1;

function masksOf(structure: CapsStructure): number[] {
  const masks = [1 << KINDS.indexOf(structure.kind)];
  for (const name of FIELDS[structure.kind])
    masks.push(maskOf(name === "memory" ? memoryOf(structure) : structure.fields[name]));
  return masks;
}

function maskOf(value: CapsValue | undefined): number {
  if (value === undefined) return ANY_VALUE;
  if (isList(value)) return maskOfList(value);
  if (isRange(value)) return ANY_VALUE;
  // Ratios that are equal are equal numbers.
  return 1 << hashOf(isFraction(value) ? value.num / value.den : value);
}

function maskOfList(list: readonly CapsScalar[]): number {
  let mask = 0;
  for (let i = 0; i < list.length && mask !== ANY_VALUE; i++) {
    valuesSeen += INDEXING_VALUES;
    mask |= maskOf(list[i]);
  }
  return mask;
}

function hashOf(value: string | number): number {
  const text = String(value);
  let hash = text.length;
  for (let i = Math.max(0, text.length - 16); i < text.length; i++)
    hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
  return hash >>> 27;
}

/** False: it is no subset. */
function isWithin(mine: readonly number[], theirs: readonly number[]): boolean {
  for (let i = 0; i < mine.length; i++) if ((mine[i]! & ~(theirs[i] ?? 0)) !== 0) return false;
  return true;
}

function isSubvalue(a: CapsValue, b: CapsValue): boolean {
  if (a === b) return true;
  if (isList(a)) return a.every((one) => isAmong(one, b));
  if (isRange(a)) return isRange(b) && a.min >= b.min && a.max <= b.max && (a.step ?? 1) % (b.step ?? 1) === 0;
  return isAmong(a, b);
}

/** Whether one value is allowed. */
function isAmong(value: CapsScalar, values: CapsValue): boolean {
  if (isList(values)) return holds(values, value);
  valuesSeen += costOf(value);
  return isRange(values) ? isIn(value, values) : sameScalar(value, values);
}

/** {@link isAmong} for one look: an index of the list would cost more than it saves. O(values). */
function isAmongOnce(value: CapsScalar, values: CapsValue): boolean {
  if (!isList(values) || indexes.has(values)) return isAmong(value, values);
  valuesSeen += values.length * costOf(value);
  return values.some((one) => sameScalar(one, value));
}

/** What both values allow, in the first one's order; undefined: nothing. */
function intersectValues(a: CapsValue, b: CapsValue): CapsValue | undefined {
  if (isList(a)) return intersectList(a, b);
  if (isRange(a))
    return isList(b) ? intersectList(b, a) : isRange(b) ? intersectRanges(a, b) : isIn(b, a) ? b : undefined;
  return isAmong(a, b) ? a : undefined;
}

function intersectList(list: readonly CapsScalar[], other: CapsValue): CapsValue | undefined {
  const common = list === other ? list : list.filter((one) => isAmong(one, other));
  if (common.length < 2) return common[0];
  // The same list again has its index already.
  return common.length === list.length ? list : Object.freeze(common);
}

/** With `keep`, a range with one whole number in it stays one. */
function intersectRanges(a: Range, b: Range, keep = false): CapsValue | undefined {
  const step = lcm(a.step ?? 1, b.step ?? 1);
  const common: Range = Object.freeze({ min: Math.max(a.min, b.min), max: Math.min(a.max, b.max), step });
  const first = firstIn(common);
  if (first === undefined) return undefined;
  return !keep && first + step > common.max ? first : common;
}

function lcm(a: number, b: number): number {
  return (a / gcd(a, b)) * b;
}

function gcd(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return x;
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
