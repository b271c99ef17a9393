/**
 * What the doctor's preload works with, saved before the program's first line: the program may replace what it likes of
 * the built-in classes and of Node's modules afterwards, and is neither called by the preload nor harmed by it.
 *
 * The rule for the preload's files: after loading they call what is saved here, and methods of the classes below. No
 * `for of`, no spread and destructuring of arrays, no methods of arrays and strings, no regular expressions, no `JSON`;
 * descriptors and lists have no prototype. `test/adapters/node/profile.test.ts` holds them to it.
 */
import { Buffer } from "node:buffer";
import fs from "node:fs";
import path from "node:path";
import { types } from "node:util";
import v8 from "node:v8";
import vm from "node:vm";

const NodeError: object = Error;
const { captureStackTrace } = Error;

type Method<T, A extends readonly unknown[], R> = (this: T, ...args: A) => R;

/** A method as a function of its object. */
const uncurry = Function.prototype.bind.bind(Function.prototype.call) as unknown as <
  T,
  A extends readonly unknown[],
  R,
>(
  method: Method<T, A, R>,
) => (self: T, ...args: A) => R;

export const apply: typeof Reflect.apply = Reflect.apply;
export const construct: typeof Reflect.construct = Reflect.construct;
export const defineProperty: typeof Reflect.defineProperty = Reflect.defineProperty;
const deleteProperty = Reflect.deleteProperty;
const getOwnPropertyDescriptor = Reflect.getOwnPropertyDescriptor;
export const getPrototypeOf: typeof Reflect.getPrototypeOf = Reflect.getPrototypeOf;
export const ownKeys: typeof Reflect.ownKeys = Reflect.ownKeys;
export const setPrototypeOf: typeof Reflect.setPrototypeOf = Reflect.setPrototypeOf;
export const isArray: typeof Array.isArray = Array.isArray;
export const isView: typeof ArrayBuffer.isView = ArrayBuffer.isView;
export const ceil: typeof Math.ceil = Math.ceil;
export const max: typeof Math.max = Math.max;
export const min: typeof Math.min = Math.min;
export const round: typeof Math.round = Math.round;
export const isAnyArrayBuffer: typeof types.isAnyArrayBuffer = types.isAnyArrayBuffer;
export const isArrayBuffer: typeof types.isArrayBuffer = types.isArrayBuffer;
export const isDataView: typeof types.isDataView = types.isDataView;
export const isProxy: typeof types.isProxy = types.isProxy;
export const isTypedArray: typeof types.isTypedArray = types.isTypedArray;
export const closeSync: typeof fs.closeSync = fs.closeSync;
export const openSync: typeof fs.openSync = fs.openSync;
export const renameSync: typeof fs.renameSync = fs.renameSync;
export const writeSync: typeof fs.writeSync = fs.writeSync;
export const basename: typeof path.basename = path.basename;
export const getHeapStatistics: typeof v8.getHeapStatistics = v8.getHeapStatistics;
export const setFlagsFromString: typeof v8.setFlagsFromString = v8.setFlagsFromString;
export const memoryUsage: typeof process.memoryUsage = process.memoryUsage;
export const resourceUsage: typeof process.resourceUsage = process.resourceUsage;
const { createContext, Script } = vm;
const runInContext = uncurry(Script.prototype.runInContext as Method<vm.Script, [vm.Context, object], unknown>);

/**
 * What a script answers in a context of its own. Neither its global object nor what Node is asked with has anything of
 * the program's `Object.prototype`.
 */
export function valueInNewContext(code: string): unknown {
  const bare = <T extends object>(of: T): T => {
    setPrototypeOf(of, null);
    return of;
  };
  const script = new Script(code, bare({ filename: "millpond" }));
  return runInContext(script, createContext(bare({}), bare({ name: "millpond" })), bare({ displayErrors: false }));
}

const { queryObjects } = v8 as { queryObjects?: (of: object, options: object) => unknown };
const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: object } }).WebAssembly;

/**
 * Whether the thread has a WebAssembly memory; undefined: this Node does not tell. Collects, too. It is experimental:
 * what Node warns of is the doctor's use of it, not the program's.
 */
export function hasWasmMemory(): boolean | undefined {
  if (queryObjects === undefined) return undefined;
  const present = getOwnPropertyDescriptor(process, "emitWarning");
  if (present === undefined || present.configurable !== true) return undefined;
  const silent = { __proto__: null, value: () => undefined, writable: true, configurable: true };
  defineProperty(process, "emitWarning", silent as never);
  try {
    return queryObjects(Memory, { __proto__: null, format: "count" }) !== 0;
  } finally {
    setPrototypeOf(present, null);
    defineProperty(process, "emitWarning", present);
  }
}

/** The class itself. */
export const Profiler: typeof v8.GCProfiler = v8.GCProfiler;
export const residentBytes: () => number = memoryUsage.rss;
export const byteLength: (text: string) => number = Buffer.byteLength;
export const now: () => number = performance.now.bind(performance);

const { prototype: text } = String;
export const lastIndexIn: (self: string, part: string) => number = uncurry(text.lastIndexOf) as never;
export const indexIn: (self: string, part: string, from?: number) => number = uncurry(text.indexOf) as never;
export const partOf: (self: string, from: number, to?: number) => string = uncurry(text.slice) as never;
export const startsWith: (self: string, part: string) => boolean = uncurry(text.startsWith) as never;

export const startProfiler: (profiler: v8.GCProfiler) => void = uncurry(Profiler.prototype.start);
export const stopProfiler: (profiler: v8.GCProfiler) => v8.GCProfilerResult | undefined = uncurry(
  Profiler.prototype.stop,
) as never;

/** The getter of a class or of one that it inherits from, so that no property of the program's own answers. */
export function getterOf<T>(of: object, name: PropertyKey): (self: unknown) => T {
  for (let at: object | null = of; at !== null; at = getPrototypeOf(at)) {
    const { get } = getOwnPropertyDescriptor(at, name) ?? {};
    if (get !== undefined) return uncurry(get) as (self: unknown) => T;
  }
  throw new Error(`there is no getter of ${String(name)}`);
}

/** Own methods in the place of inherited ones. */
function seal(own: object, original: object): void {
  for (const key of ownKeys(original)) {
    if (key !== "constructor") defineProperty(own, key, getOwnPropertyDescriptor(original, key)!);
  }
  setPrototypeOf(own, null);
  Object.freeze(own);
}

// The constructors are written out because that which V8 of Node 20 makes of itself iterates over its arguments.

/** A Map whose methods are its own; to be read by `forEach`. */
export class SafeMap<K, V> extends Map<K, V> {
  // biome-ignore lint/complexity/noUselessConstructor: see above.
  constructor() {
    super();
  }
}
seal(SafeMap.prototype, Map.prototype);

/** A Set whose methods are its own; to be read by `forEach`. */
export class SafeSet<T> extends Set<T> {
  // biome-ignore lint/complexity/noUselessConstructor: see above.
  constructor() {
    super();
  }
}
seal(SafeSet.prototype, Set.prototype);

/** A WeakMap whose methods are its own. */
export class SafeWeakMap<K extends WeakKey, V> extends WeakMap<K, V> {
  // biome-ignore lint/complexity/noUselessConstructor: see above.
  constructor() {
    super();
  }
}
seal(SafeWeakMap.prototype, WeakMap.prototype);

/** A FinalizationRegistry whose methods are its own. */
export class SafeRegistry<T> extends FinalizationRegistry<T> {
  constructor(onCollected: (held: T) => void) {
    super(onCollected);
  }
}
seal(SafeRegistry.prototype, FinalizationRegistry.prototype);

/** An array to be filled by `list[list.length] = item`, and read by index. */
export function list<T>(): T[] {
  const made: T[] = [];
  setPrototypeOf(made, null);
  return made;
}

const { Float64Array: Floats } = globalThis;
const sortFloats = uncurry(Floats.prototype.sort) as (self: Float64Array) => Float64Array;

/** The first `length` of some numbers, lowest first. */
export function sorted(numbers: readonly number[], length: number): Float64Array {
  const copy = new Floats(length);
  for (let i = 0; i < length; i++) copy[i] = numbers[i]!;
  return sortFloats(copy);
}

/** A descriptor that takes nothing of `Object.prototype`. */
export function ownProperty(of: object, name: PropertyKey): PropertyDescriptor | undefined {
  const property = getOwnPropertyDescriptor(of, name);
  if (property !== undefined) setPrototypeOf(property, null);
  return property;
}

const { setImmediate: immediate } = globalThis;
const probe = immediate(() => {});
const unref = uncurry(probe.unref as Method<NodeJS.Immediate, [], unknown>);
clearImmediate(probe);

/** Calls in a later turn of the event loop, which it does not keep alive. */
export function soon(work: () => void): void {
  unref(immediate(work));
}

const frame = oneFrame();
const method = <R>(name: keyof NodeJS.CallSite): ((of: NodeJS.CallSite) => R) => {
  return frame === undefined ? () => undefined as R : (uncurry(frame[name] as Method<NodeJS.CallSite, [], R>) as never);
};
export const frameFile: (of: NodeJS.CallSite) => string | null | undefined = method("getFileName");
export const frameFunction: (of: NodeJS.CallSite) => string | null = method("getFunctionName");
export const frameLine: (of: NodeJS.CallSite) => number | null = method("getLineNumber");
export const frameColumn: (of: NodeJS.CallSite) => number | null = method("getColumnNumber");
export const frameIsEval: (of: NodeJS.CallSite) => boolean = method("isEval");
export const frameEvalOrigin: (of: NodeJS.CallSite) => string | undefined = method("getEvalOrigin");

function oneFrame(): NodeJS.CallSite | undefined {
  return framesBelow(oneFrame, 1)[0];
}

/**
 * The frames below a function, whatever the program has done to `Error`, and without a call of anything of it; none
 * where the engine cannot be asked.
 */
export function framesBelow(below: (...args: never) => unknown, most: number): readonly NodeJS.CallSite[] {
  const limit = ownProperty(Error, "stackTraceLimit");
  const prepare = ownProperty(Error, "prepareStackTrace");
  let hasLimit = false;
  let hasPrepare = false;
  try {
    hasLimit = put("stackTraceLimit", most, limit);
    hasPrepare = hasLimit && put("prepareStackTrace", (_: unknown, frames: unknown) => frames, prepare);
    if (!hasPrepare) return [];
    const holder: { stack?: unknown } = { stack: undefined };
    captureStackTrace(holder, below);
    const frames = holder.stack;
    return isArray(frames) ? (frames as readonly NodeJS.CallSite[]) : [];
  } finally {
    if (hasPrepare) restore("prepareStackTrace", prepare);
    if (hasLimit) restore("stackTraceLimit", limit);
  }
}

/** Puts a value where that is, also in the place of a getter, which is not called. */
function put(name: string, value: unknown, present: PropertyDescriptor | undefined): boolean {
  if (present === undefined || present.configurable === true) {
    return defineProperty(NodeError, name, { __proto__: null, value, writable: true, configurable: true } as never);
  }
  return present.writable === true && defineProperty(NodeError, name, { __proto__: null, value } as never);
}

function restore(name: string, present: PropertyDescriptor | undefined): void {
  if (present === undefined) deleteProperty(NodeError, name);
  else defineProperty(NodeError, name, present);
}

const quoted = JSON.stringify as (text: string) => string;

/** JSON of plain data. The program's `toJSON` are not called: a text alone has none that would be. */
export function textOf(value: unknown): string {
  if (typeof value === "string") return quoted(value);
  if (typeof value === "number") return value - value === 0 ? `${value}` : "null";
  if (typeof value !== "object" || value === null) return value === true ? "true" : value === false ? "false" : "null";
  let parts = "";
  if (isArray(value)) {
    for (let i = 0; i < value.length; i++) parts += `${i === 0 ? "" : ","}${textOf(value[i])}`;
    return `[${parts}]`;
  }
  const keys = ownKeys(value);
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as string;
    const one = (value as Readonly<Record<string, unknown>>)[key];
    if (one !== undefined) parts += `${parts === "" ? "" : ","}${quoted(key)}:${textOf(one)}`;
  }
  return `{${parts}}`;
}
