/** `IUnknown`: references that are counted, and interfaces that are asked for by name or GUID. */
import { HResultError, released } from "./codes.ts";

/** What every interface here inherits. */
export interface IUnknown {
  /**
   * The object as the interface `iid` (a name, `IID_` in front or not, or a GUID), with one reference more. Throws
   * `E_NOINTERFACE`.
   */
  QueryInterface(iid: string): object;
  /** One reference more; returns the count. */
  AddRef(): number;
  /** One reference less; returns the count. */
  Release(): number;
}

/** Interface identifiers. */
export const IID = {
  /** Every object. */
  IUnknown: "{00000000-0000-0000-C000-000000000046}",
  /** Allocators. */
  IMemAllocator: "{56A8689C-0AD4-11CE-B03A-0020AF0BA770}",
  /** Allocators that tell of returned samples. */
  IMemAllocatorCallbackTemp: "{379A0CF0-C1DE-11D2-ABF5-00A0C905F375}",
  /** Input pins. */
  IMemInputPin: "{56A8689D-0AD4-11CE-B03A-0020AF0BA770}",
  /** Samples. */
  IMediaSample: "{56A8689A-0AD4-11CE-B03A-0020AF0BA770}",
  /** Samples with bulk properties. */
  IMediaSample2: "{36B73884-C2C8-11CF-8B46-00805F6CEF60}",
} as const;

/** The name of an interface. */
export type InterfaceName = keyof typeof IID;

/** Answers `QueryInterface` for an object that has `IUnknown` and `names`. Throws `E_POINTER`, `E_NOINTERFACE`. */
export function queryInterface<T extends IUnknown>(object: T, iid: string, names: readonly InterfaceName[]): T {
  if (typeof iid !== "string") throw new HResultError("E_POINTER", "QueryInterface(): the interface's name is missing");
  const name = iid.replace(/^IID_/, "");
  const guid = `{${iid.replace(/[{}]/g, "").toUpperCase()}}`;
  if (!(["IUnknown", ...names] as const).some((known) => known === name || IID[known] === guid)) {
    const text = `${object} has no interface ${JSON.stringify(iid)}, only IUnknown${names.map((one) => `, ${one}`).join("")}`;
    throw new HResultError("E_NOINTERFACE", text);
  }
  object.AddRef();
  return object;
}

/** The references of one object; its maker has the first one. */
export class ReferenceCount {
  readonly #object: object;
  readonly #last: () => void;
  #count = 1;

  /** `last` is called when the last reference goes. */
  constructor(object: object, last: () => void) {
    this.#object = object;
    this.#last = last;
  }

  /** How many there are. */
  get count(): number {
    return this.#count;
  }

  /** Throws `ERR_USE_AFTER_RELEASE` without a reference. */
  assert(call: string): void {
    if (this.#count === 0) throw released(call, String(this.#object));
  }

  /** One more. Throws `ERR_USE_AFTER_RELEASE`. */
  add(): number {
    this.assert("AddRef");
    return ++this.#count;
  }

  /** One less. Throws `ERR_DOUBLE_RELEASE`. */
  drop(): number {
    this.assert("Release");
    if (--this.#count === 0) this.#last();
    return this.#count;
  }
}

/** A reference of an interface that a caller may have written without counting. */
export function addRef(object: Partial<IUnknown>): void {
  object.AddRef?.();
}

/** The reverse of {@link addRef}. */
export function release(object: Partial<IUnknown> | null): void {
  object?.Release?.();
}
