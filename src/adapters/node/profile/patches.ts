/**
 * Puts counting functions in the places of those that make large buffers. Each does what the original does, by calling
 * it, and looks at what came out: names, lengths, properties, prototypes, `new.target`, errors and `toString()` are the
 * original's. Everything that it does for the count is in one guard ({@link Patches.#guarded}): what fails there is not
 * counted, and the program does not hear of it. A small buffer costs a comparison more (20 to 60 ns for a typed array:
 * the engine's short cuts for the default constructors are gone).
 *
 * WebAssembly memories, other contexts (`node:vm`) and native code have constructors of their own, which stay as they
 * are.
 */
import { ChildProcess } from "node:child_process";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { BroadcastChannel, MessagePort, Worker } from "node:worker_threads";
import {
  apply,
  basename,
  construct,
  defineProperty,
  getPrototypeOf,
  getterOf,
  isAnyArrayBuffer,
  isArray,
  isArrayBuffer,
  isDataView,
  isProxy,
  isTypedArray,
  isView,
  list,
  ownKeys,
  ownProperty,
  SafeSet,
  SafeWeakMap,
  setPrototypeOf,
} from "./originals.ts";
import type { Api } from "./profile.ts";
import type { Recorder } from "./recorder.ts";

type Callable = (...args: never) => unknown;
type Target = Record<PropertyKey, unknown>;

const viewBytes = getterOf<number>(Uint8Array.prototype, "byteLength");
const viewMemory = getterOf<object>(Uint8Array.prototype, "buffer");
const dataMemory = getterOf<object>(DataView.prototype, "buffer");
const blockBytes = getterOf<number>(ArrayBuffer.prototype, "byteLength");
const sharedBytes = getterOf<number>(SharedArrayBuffer.prototype, "byteLength");

/** The class of all typed arrays, also where somebody put a subclass in the place of one. */
function typedArray(): { readonly prototype: object } {
  let at = Uint8Array.prototype as object;
  while (ownProperty(at, "byteLength") === undefined) at = getPrototypeOf(at)!;
  return at.constructor as unknown as { readonly prototype: object };
}

const TypedArray = typedArray();

const TYPED_ARRAYS = [
  "Int8Array",
  "Uint8Array",
  "Uint8ClampedArray",
  "Int16Array",
  "Uint16Array",
  "Int32Array",
  "Uint32Array",
  "Float16Array",
  "Float32Array",
  "Float64Array",
  "BigInt64Array",
  "BigUint64Array",
] as const;

/** Small buffers between two looks at the clock. */
const TICK_MASK = 4095;

/**
 * Puts counters everywhere. `tick` is called with each large buffer and once in 4096 small ones, for a loop that lets
 * nothing else run.
 */
export function patch(recorder: Recorder, threshold: number, tick: () => void): void {
  new Patches(recorder, threshold, tick).install();
}

class Patches {
  readonly #recorder: Recorder;
  readonly #threshold: number;
  readonly #tick: () => void;
  /** Each function's original. */
  readonly #originals = new SafeWeakMap<object, object>();
  /** Above 0 while a counted function is at work: what it calls is not counted again. */
  #depth = 0;
  #small = 0;

  constructor(recorder: Recorder, threshold: number, tick: () => void) {
    this.#recorder = recorder;
    this.#threshold = threshold;
    this.#tick = tick;
  }

  install(): void {
    const steps = [
      () => this.#patchToString(),
      () => this.#patchBlocks(),
      ...TYPED_ARRAYS.map((name) => () => this.#patchTypedArray(name)),
      () => this.#patchSlices(),
      () => this.#patchBuffer(),
      () => this.#patchFiles(),
      () => this.#patchPosts(),
      () => this.#patchAddons(),
      () => this.#patchPrograms(),
      () => syncBuiltinESMExports(),
    ];
    for (const step of steps) {
      try {
        step();
      } catch {
        // Frozen intrinsics are left as they are: their buffers are not counted.
      }
    }
  }

  /** All that is done for the count: it is no reason for a program to fail, and nothing that it calls is counted. */
  #guarded(work: () => void): void {
    this.#depth++;
    try {
      work();
    } catch {
      // Not counted.
    } finally {
      this.#depth--;
    }
  }

  /** A small buffer. */
  #pass(): void {
    if ((++this.#small & TICK_MASK) === 0) this.#guarded(this.#tick);
  }

  /** What counts a view that was just made; `source` is what it was made of. */
  #noteView(made: object, source: unknown, api: Api, below: Callable): void {
    // A subclass's constructor may have given anything.
    const bytes = isTypedArray(made) ? viewBytes(made) : 0;
    if (bytes < this.#threshold) this.#pass();
    else if (this.#depth === 0) {
      this.#guarded(() => {
        const memory = viewMemory(made);
        // A view of what was there.
        if (memory !== source) this.#note(api, bytes, memory, below);
      });
    }
  }

  #note(api: Api, bytes: number, memory: object | null, below: Callable, parts = 0): void {
    this.#recorder.note(api, bytes, memory, below, parts);
    this.#tick();
  }

  /** Calls the original while nothing inside it is counted. */
  #inside(original: Callable, self: unknown, args: ArrayLike<unknown>): unknown {
    this.#depth++;
    try {
      return apply(original, self, args as readonly unknown[]);
    } finally {
      this.#depth--;
    }
  }

  /** Gives a function the looks of its original. */
  #dress<T extends object>(wrapper: T, original: object): T {
    setPrototypeOf(wrapper, getPrototypeOf(original));
    for (const key of ownKeys(original)) defineProperty(wrapper, key, ownProperty(original, key)!);
    const { prototype } = original as { readonly prototype?: object };
    const property = prototype && ownProperty(prototype, "constructor");
    if (property?.value === original) defineProperty(prototype!, "constructor", { ...property, value: wrapper });
    this.#originals.set(wrapper, original);
    return wrapper;
  }

  /** Puts a function in the place of another, as the property that it was. */
  #replace(holder: object, name: PropertyKey, make: (original: Callable) => Callable): void {
    const property = ownProperty(holder, name);
    if (property === undefined) return;
    // Some globals are made when they are first read, by a pair of functions.
    const original = (property.value ?? (holder as Target)[name]) as unknown;
    if (typeof original !== "function") return;
    const wrapper = this.#dress(make(original as Callable), original);
    const { configurable = false, enumerable = false } = property;
    defineProperty(
      holder,
      name,
      property.get === undefined
        ? { ...property, value: wrapper }
        : { configurable, enumerable, writable: true, value: wrapper },
    );
  }

  #patchToString(): void {
    const originals = this.#originals;
    this.#replace(
      Function.prototype,
      "toString",
      (original) =>
        ({
          toString(this: object): unknown {
            return apply(original, originals.get(this) ?? this, []);
          },
        }).toString,
    );
  }

  #patchBlocks(): void {
    const patches = this;
    const counted = (api: Api, bytesOf: (of: unknown) => number) => (original: Callable) =>
      function Block(this: unknown): unknown {
        const target = new.target as unknown;
        // biome-ignore lint/complexity/noArguments: as many as there were.
        if (target === undefined) return apply(original, this, arguments as unknown as readonly unknown[]);
        const made = construct(
          original,
          // biome-ignore lint/complexity/noArguments: as many as there were.
          arguments as unknown as readonly unknown[],
          (target === Block ? original : target) as Callable,
        ) as object;
        const bytes = bytesOf(made);
        if (bytes >= patches.#threshold && patches.#depth === 0) {
          patches.#guarded(() => patches.#note(api, bytes, made, Block));
        }
        return made;
      } as Callable;
    this.#replace(globalThis, "ArrayBuffer", counted("new ArrayBuffer", blockBytes));
    this.#replace(globalThis, "SharedArrayBuffer", counted("new SharedArrayBuffer", sharedBytes));
  }

  #patchTypedArray(name: string): void {
    const patches = this;
    const api = `new ${name}` as Api;
    this.#replace(
      globalThis,
      name,
      (original) =>
        function View(this: unknown, source: unknown): unknown {
          const target = new.target as unknown;
          // biome-ignore lint/complexity/noArguments: as many as there were.
          if (target === undefined) return apply(original, this, arguments as unknown as readonly unknown[]);
          const made = construct(
            original,
            // biome-ignore lint/complexity/noArguments: as many as there were.
            arguments as unknown as readonly unknown[],
            (target === View ? original : target) as Callable,
          ) as object;
          patches.#noteView(made, source, api, View);
          return made;
        } as Callable,
    );
    // Buffer inherits its statics from it.
    if (name === "Uint8Array") setPrototypeOf(Buffer, (globalThis as unknown as Target).Uint8Array as object);
  }

  #patchSlices(): void {
    const patches = this;
    this.#replace(ArrayBuffer.prototype, "slice", (original) => {
      const { slice } = {
        slice(this: unknown, _begin: unknown, _end: unknown): unknown {
          // biome-ignore lint/complexity/noArguments: as many as there were.
          const made = patches.#inside(original, this, arguments);
          if (patches.#depth === 0 && isArrayBuffer(made)) {
            patches.#guarded(() => {
              const bytes = blockBytes(made);
              if (bytes >= patches.#threshold) patches.#note("ArrayBuffer.slice", bytes, made, slice);
            });
          }
          return made;
        },
      };
      return slice;
    });
    this.#replace(TypedArray.prototype, "slice", (original) => {
      const { slice } = {
        slice(this: unknown, _begin: unknown, _end: unknown): unknown {
          // biome-ignore lint/complexity/noArguments: as many as there were.
          const made = patches.#inside(original, this, arguments) as object;
          patches.#noteView(made, undefined, "TypedArray.slice", slice);
          return made;
        },
      };
      return slice;
    });
  }

  #patchBuffer(): void {
    const patches = this;
    const holder = Buffer as unknown as Target;
    /** `Buffer.from(arrayBuffer)` is a view of it, and small buffers lie in a slab of many. */
    const counted = (api: Api, name: string, partsOf?: (list: unknown) => number) =>
      this.#replace(
        holder,
        name,
        (original) =>
          function Make(this: unknown, source: unknown): unknown {
            // biome-ignore lint/complexity/noArguments: as many as there were.
            const args = arguments as unknown as readonly unknown[];
            const made =
              new.target === undefined
                ? patches.#inside(original, this, args)
                : construct(original, args, new.target === (Make as unknown) ? original : new.target);
            const bytes = isTypedArray(made) ? viewBytes(made) : 0;
            if (bytes < patches.#threshold) patches.#pass();
            else if (patches.#depth === 0) {
              patches.#guarded(() => {
                const memory = viewMemory(made);
                // Shared memory is never made here: it is what the source stands for.
                if (memory === source || !isArrayBuffer(memory) || blockBytes(memory) !== bytes) return;
                patches.#note(api, bytes, memory, Make, partsOf === undefined ? 0 : partsOf(source));
              });
            }
            return made;
          } as Callable,
      );
    counted("Buffer.alloc", "alloc");
    counted("Buffer.allocUnsafe", "allocUnsafe");
    counted("Buffer.allocUnsafeSlow", "allocUnsafeSlow");
    counted("Buffer.from", "from");
    counted("Buffer.concat", "concat", (list) => (isArray(list) ? list.length : 0));
  }

  #patchFiles(): void {
    const patches = this;
    const recorder = this.#recorder;
    const isLarge = (data: unknown): data is Uint8Array => isTypedArray(data) && viewBytes(data) >= this.#threshold;
    const noteAt = (site: ReturnType<Recorder["siteOf"]>, data: unknown): void => {
      this.#guarded(() => {
        if (isLarge(data)) recorder.noteAt(site, viewBytes(data), viewMemory(data));
      });
    };
    const siteOf = (api: Api, below: Callable): ReturnType<Recorder["siteOf"]> => {
      let site: ReturnType<Recorder["siteOf"]>;
      this.#guarded(() => {
        site = recorder.siteOf(api, below);
      });
      return site;
    };
    const underWay = (site: ReturnType<Recorder["siteOf"]>, change: 1 | -1): void => {
      if (site !== undefined) this.#guarded(() => recorder.underWay(site, change));
    };
    this.#replace(
      fs,
      "readFileSync",
      (original) =>
        function readFileSync(this: unknown): unknown {
          // biome-ignore lint/complexity/noArguments: as many as there were.
          const data = patches.#inside(original, this, arguments);
          if (isLarge(data) && patches.#depth === 0) {
            patches.#guarded(() =>
              patches.#note("fs.readFileSync", viewBytes(data), viewMemory(data), readFileSync as Callable),
            );
          }
          return data;
        } as Callable,
    );
    this.#replace(
      fs,
      "readFile",
      (original) =>
        function readFile(this: unknown): unknown {
          const args = list<unknown>();
          // biome-ignore lint/complexity/noArguments: as many as there were.
          for (let i = 0; i < arguments.length; i++) args[i] = arguments[i];
          // The original takes its third argument, or its second.
          const at = args.length > 2 && args[2] !== undefined ? 2 : 1;
          const callback = args[at];
          if (typeof callback === "function" && patches.#depth === 0) {
            const site = siteOf("fs.readFile", readFile as Callable);
            args[at] = function onRead(this: unknown, _error: unknown, data: unknown): unknown {
              underWay(site, -1);
              noteAt(site, data);
              // biome-ignore lint/complexity/noArguments: as many as there were.
              return apply(callback as Callable, this, arguments as unknown as readonly unknown[]);
            };
            const result = apply(original, this, args);
            underWay(site, 1);
            return result;
          }
          return apply(original, this, args);
        } as Callable,
    );
    this.#replace(fs.promises, "readFile", (original) => {
      const { readFile } = {
        async readFile(this: unknown): Promise<unknown> {
          const site = patches.#depth === 0 ? siteOf("fs.promises.readFile", readFile) : undefined;
          underWay(site, 1);
          try {
            // biome-ignore lint/complexity/noArguments: as many as there were.
            const data = await apply(original, this, arguments as unknown as readonly unknown[]);
            noteAt(site, data);
            return data;
          } finally {
            underWay(site, -1);
          }
        },
      };
      return readFile;
    });
  }

  #patchAddons(): void {
    const patches = this;
    const recorder = this.#recorder;
    this.#replace(
      process,
      "dlopen",
      (original) =>
        ({
          dlopen(this: unknown, _module: unknown, path: unknown): unknown {
            // biome-ignore lint/complexity/noArguments: as many as there were.
            const result = apply(original, this, arguments as unknown as readonly unknown[]);
            if (typeof path === "string") patches.#guarded(() => void recorder.addons.add(basename(path)));
            return result;
          },
        }).dlopen,
    );
  }

  #patchPrograms(): void {
    const patches = this;
    const recorder = this.#recorder;
    this.#replace(
      ChildProcess.prototype,
      "spawn",
      (original) =>
        function spawn(this: ChildProcess, options: { readonly file?: unknown } | undefined): unknown {
          // biome-ignore lint/complexity/noArguments: as many as there were.
          const result = apply(original, this, arguments as unknown as readonly unknown[]);
          patches.#guarded(() => {
            const file = options?.file;
            if (typeof file === "string" && this.stdout != null) recorder.programs.add(basename(file));
          });
          return result;
        } as Callable,
    );
  }

  #notePosted(found: readonly Posted[], api: Api, below: Callable): void {
    for (let i = 0; i < found.length; i++) {
      const { memory, bytes, isMoved } = found[i]!;
      if (bytes < this.#threshold) continue;
      this.#recorder.posted(memory, isMoved);
      if (!isMoved) this.#note(api, bytes, null, below);
    }
  }

  #patchPosts(): void {
    const patches = this;
    const counted = (holder: object, name: string, api: Api): void =>
      this.#replace(holder, name, (original) => {
        const { post } = {
          post(this: unknown, value: unknown, options: unknown): unknown {
            const found = list<Posted>();
            if (patches.#depth === 0) patches.#guarded(() => findPosted(value, options, found));
            // biome-ignore lint/complexity/noArguments: as many as there were.
            const result = patches.#inside(original, this, arguments);
            if (found.length > 0) patches.#guarded(() => patches.#notePosted(found, api, post));
            return result;
          },
        };
        return post;
      });
    counted(globalThis, "structuredClone", "structuredClone");
    counted(MessagePort.prototype, "postMessage", "postMessage");
    counted(Worker.prototype, "postMessage", "postMessage");
    counted(BroadcastChannel.prototype, "postMessage", "postMessage");
  }
}

/** Properties of a message that are looked at, and how deep: frames lie near the top. */
const PROPERTIES = 64;
const DEPTH = 3;

/** An array buffer of a message, as it was before. */
interface Posted {
  readonly memory: object;
  readonly bytes: number;
  readonly isMoved: boolean;
}

/** The array buffers that a message has, found without calling anything of the program's. */
function findPosted(value: unknown, options: unknown, found: Posted[]): void {
  if (typeof value !== "object" || value === null) return;
  const memories = new SafeSet<object>();
  // May throw of a namespace of a module that is not evaluated yet: the original says what it thinks of it.
  lookFor(value, DEPTH, memories);
  if (memories.size === 0) return;
  const moved = transferred(options);
  memories.forEach((memory) => {
    found[found.length] = { memory, bytes: blockBytes(memory), isMoved: moved.has(memory) };
  });
}

function lookFor(value: unknown, depth: number, found: SafeSet<object>): void {
  if (typeof value !== "object" || value === null || isProxy(value)) return;
  if (isAnyArrayBuffer(value)) {
    if (isArrayBuffer(value)) found.add(value);
    return;
  }
  if (isView(value)) {
    const memory = isDataView(value) ? dataMemory(value) : viewMemory(value);
    if (isArrayBuffer(memory)) found.add(memory);
    return;
  }
  if (depth === 0) return;
  // The keys of a long array are as many strings.
  const keys = isArray(value) ? undefined : ownKeys(value);
  const length = keys === undefined ? (value as readonly unknown[]).length : keys.length;
  for (let i = 0; i < length && i < PROPERTIES; i++) {
    lookFor(ownProperty(value, keys === undefined ? i : keys[i]!)?.value, depth - 1, found);
  }
}

/** What a second argument says is to be moved. */
function transferred(options: unknown): SafeSet<unknown> {
  const moved = new SafeSet<unknown>();
  const isPlain = typeof options === "object" && options !== null && !isProxy(options);
  const all = isPlain && !isArray(options) ? ownProperty(options, "transfer")?.value : options;
  if (!isArray(all) || isProxy(all)) return moved;
  for (let i = 0; i < all.length; i++) moved.add(ownProperty(all, i)?.value);
  return moved;
}
