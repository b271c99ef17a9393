/**
 * Allocators by name, for code that gets the name from a configuration. After GStreamer's allocator registry, with
 * one rule more: a name is not silently taken over.
 */

import { Allocator, defaultAllocator, setDefaultAllocator, systemAllocator } from "../memory/allocator.ts";
import { MillpondError } from "../util/errors.ts";
import { badValue, checkOptions, flag, isMade, nonEmpty, word, wrongType } from "../util/validate.ts";
import { SharedAllocator } from "./shared.ts";
import { WasmAllocator } from "./wasm.ts";

const byName: Map<string, Allocator> = new Map();

/** What millpond/native registers. */
const NATIVE = "pages, locked, processShared, dmabuf";

/** Names of other entry points. */
const lazily: Map<string, () => Allocator> = new Map();

/** Allocators that exist without being registered; each is made when it is first asked for. */
const builtIn: Readonly<Record<string, () => Allocator>> = {
  system: systemAllocator,
  shared: () => new SharedAllocator(),
  wasm: () => new WasmAllocator(),
};

/**
 * @internal For millpond's other entry points: a name whose allocator is made when it is first asked for, because
 * making it costs something (loading native code). A name that is taken stays as it is.
 */
export function registerLazily(name: string, make: () => Allocator): void {
  if (!byName.has(name) && !Object.hasOwn(builtIn, name) && !lazily.has(name)) lazily.set(name, make);
}

/**
 * As `allocators.find()` for a name that is not built in: who asks for such a one only does not have the built-in
 * allocators in its bundle.
 */
export function findRegistered(name: string): Allocator | undefined {
  return byName.get(name) ?? makeFirst(name, lazily.get(name));
}

function makeFirst(name: string, make: (() => Allocator) | undefined): Allocator | undefined {
  if (make === undefined) return undefined;
  const made = make();
  byName.set(name, made);
  return made;
}

/** The allocators of this realm, by name. Names are case-sensitive; "system", "shared" and "wasm" are built in. */
export const allocators = {
  /**
   * Makes `allocator` known by `name`.
   * Throws `ERR_ALREADY_REGISTERED` when the name belongs to another allocator (GStreamer replaces it silently),
   * unless `replace` is set; `ERR_INVALID_ARG_TYPE`.
   */
  register(name: string, allocator: Allocator, options?: { replace?: boolean }): void {
    nonEmpty("name", name);
    if (!isMade(Allocator, allocator, "name")) throw wrongType("allocator", "an Allocator", allocator);
    const replace = flag("options.replace", checkOptions("options", options, ["replace"]).replace, false);
    const present = allocators.find(name);
    if (present !== undefined && present !== allocator && !replace) {
      throw new MillpondError(
        "ERR_ALREADY_REGISTERED",
        `the name "${name}" belongs to another allocator; choose another name, or pass { replace: true }`,
      );
    }
    byName.set(name, allocator);
  },

  /**
   * The allocator of that name, or undefined. `find()` and `find(undefined)` give the default. Throws
   * `ERR_INVALID_ARG_TYPE`. O(1).
   */
  find(name?: string): Allocator | undefined {
    if (name === undefined) return defaultAllocator();
    word("name", name);
    return findRegistered(name) ?? makeFirst(name, Object.hasOwn(builtIn, name) ? builtIn[name] : undefined);
  },

  /**
   * The allocator of that name, which has to be there: an option `allocator: undefined` stands for the default one, so
   * what a program relies on (locked pages, shared memory) is better asked for here. Throws `ERR_INVALID_ARG_VALUE` for
   * a name that nobody registered, `ERR_INVALID_ARG_TYPE`. O(1).
   */
  get(name: string): Allocator {
    const found = allocators.find(word("name", name));
    if (found !== undefined) return found;
    throw badValue("name", `one of ${allocators.names().join(", ")} (import "millpond/native" for ${NATIVE})`, name);
  },

  /** Every name that {@link allocators.find} knows. */
  names(): string[] {
    return [...new Set([...Object.keys(builtIn), ...lazily.keys(), ...byName.keys()])];
  },

  /** What an absent allocator stands for. */
  get default(): Allocator {
    return defaultAllocator();
  },
  set default(allocator: Allocator) {
    setDefaultAllocator(allocator);
  },
};
