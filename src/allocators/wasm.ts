/**
 * WebAssembly memories: page aligned wherever they are made, untouched until they are written, and, when unshared,
 * impossible to transfer away, so that no API can detach a pool's block. No native code is needed.
 */
import { Allocator } from "../memory/allocator.ts";
import type { ResolvedParams } from "../memory/params.ts";
import { forbidRevocation, Region } from "../memory/region.ts";
import { MillpondError } from "../util/errors.ts";
import { checkOptions, flag, text } from "../util/validate.ts";

/** Bytes in a page of WebAssembly, which its memories are whole multiples of. */
const WASM_PAGE: number = 64 * 1024;
/** Pages in the largest memory that 32-bit WebAssembly has: 4 GiB. */
const MAX_PAGES = 65536;

/** What is used of WebAssembly; the core is typed without the DOM's library, which declares it. */
interface WithWasm {
  readonly WebAssembly?: {
    readonly Memory: new (descriptor: {
      initial: number;
      maximum: number;
      shared: boolean;
    }) => { readonly buffer: ArrayBufferLike };
  };
}

/** How a {@link WasmAllocator} is made. */
export interface WasmAllocatorOptions {
  /** The name in messages; default "wasm". */
  readonly name?: string;
  /** Make SharedArrayBuffers, for workers; default false. */
  readonly shared?: boolean;
}

/**
 * The buffer of a fresh, zeroed memory of at least `bytes` bytes; undefined beyond 4 GiB. It can never grow, so the
 * buffer is final. Throws `ERR_UNSUPPORTED` where there is no WebAssembly, and what the engine throws when address
 * space runs out.
 */
export function wasmBuffer(bytes: number, shared: boolean): ArrayBufferLike | undefined {
  const { WebAssembly: wasm } = globalThis as WithWasm;
  if (wasm === undefined) {
    throw new MillpondError("ERR_UNSUPPORTED", "this runtime has no WebAssembly; use the system allocator");
  }
  const pages = Math.max(1, Math.ceil(bytes / WASM_PAGE));
  if (pages > MAX_PAGES) return undefined;
  const { buffer } = new wasm.Memory({ initial: pages, maximum: pages, shared });
  forbidRevocation(buffer);
  return buffer;
}

/**
 * Makes memories over WebAssembly memories. Regions are multiples of 64 KiB. Engines reserve up to 10 GiB of address
 * space for each, whatever its size, and stop at some ten thousand: let a pool draw from it, and few large regions
 * rather than many small.
 */
export class WasmAllocator extends Allocator {
  readonly #shared: boolean;

  /** Throws `ERR_INVALID_ARG_TYPE`. */
  constructor(options?: WasmAllocatorOptions) {
    const given = checkOptions("options", options, ["name", "shared"]);
    super(text("options.name", given.name, "wasm"), { memoryType: "WasmMemory" });
    this.#shared = flag("options.shared", given.shared, false);
  }

  /** True when this realm has WebAssembly. */
  static get isSupported(): boolean {
    return (globalThis as WithWasm).WebAssembly !== undefined;
  }

  /** The engine zeroes every new memory, lazily. */
  override get zeroInitialized(): boolean {
    return true;
  }

  /** A fresh memory; throws `ERR_UNSUPPORTED` where there is no WebAssembly. */
  protected override allocateRegion(size: number, _params: ResolvedParams): Region | undefined {
    const buffer = wasmBuffer(size, this.#shared);
    return buffer === undefined ? undefined : new Region(new Uint8Array(buffer));
  }

  /** The garbage collector takes it when nothing refers to it any more. */
  protected override freeRegion(_region: Region): void {}
}
