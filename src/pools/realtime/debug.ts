/**
 * MALLOC_DEBUG for realtime pools, after Be's contract: junk in new and freed blocks; above 1 also guard bytes behind
 * each block, and a validation of guards, arenas and pool on the way. A pool has such an object only while its level is
 * above 0.
 */
import type { TlsfArena } from "../../arena/tlsf/tlsf-arena.ts";
import { overrunError } from "./errors.ts";

/**
 * What new and freed blocks are filled with: jemalloc's values, which show in every hex dump and are not valid
 * pointers.
 */
const NEW_JUNK = 0xa5;
const FREED_JUNK = 0x5a;

/** What stands behind a guarded block. */
const GUARD = 0xfd;

/**
 * Bytes of guard behind a block: two granules, so that an off-by-one of any element type of up to 8 bytes lands in it.
 */
const GUARD_BYTES = 16;

/**
 * Live blocks up to which every call validates everything; above, one call in {@link STRIDE} does, so that a large pool
 * stays usable.
 */
const THOROUGH = 1024;
const STRIDE = 64;

interface Guarded {
  readonly arena: TlsfArena;
  /** Pointer in its arena. */
  readonly local: number;
  readonly size: number;
}

/** What a pool remembers of its blocks while it is debugged. */
export class RealtimeDebug {
  /** 1 or more. */
  level: number;
  readonly #name: string;
  readonly #guarded: Map<number, Guarded> = new Map();
  #calls = 0;

  /** For the pool of that name. */
  constructor(name: string, level: number) {
    this.#name = name;
    this.level = level;
  }

  /** Bytes to ask for beyond the block's own. */
  get extra(): number {
    return this.level > 1 ? GUARD_BYTES : 0;
  }

  /** A block was handed out: `local` in its arena, `pointer` in the pool. `guarded`: there is room for a guard. */
  onAlloc(arena: TlsfArena, local: number, pointer: number, size: number, guarded: boolean): void {
    arena.bytes.fill(NEW_JUNK, local, local + arena.ownSizeOf(local));
    if (guarded) this.guard(arena, local, pointer, size);
  }

  /** Draws the guard behind a block of `size` bytes, new or resized. */
  guard(arena: TlsfArena, local: number, pointer: number, size: number): void {
    arena.bytes.fill(GUARD, local + size, local + arena.ownSizeOf(local));
    this.#guarded.set(pointer, { arena, local, size });
  }

  /** Bytes of a guarded block that its user may touch; undefined: it has no guard. */
  sizeOf(pointer: number): number | undefined {
    return this.#guarded.get(pointer)?.size;
  }

  /** Checks a block before it is freed or resized. Throws `ERR_CORRUPTED`, which names it; nothing has changed then. */
  check(pointer: number): void {
    const entry = this.#guarded.get(pointer);
    if (entry !== undefined) this.#checkGuard(pointer, entry);
  }

  /** A checked block is about to be freed. */
  onFree(arena: TlsfArena, local: number, pointer: number): void {
    arena.bytes.fill(FREED_JUNK, local, local + arena.ownSizeOf(local));
    this.#guarded.delete(pointer);
  }

  /** New bytes of a block that grew in place. */
  onGrow(arena: TlsfArena, local: number, from: number): void {
    arena.bytes.fill(NEW_JUNK, local + from, local + arena.ownSizeOf(local));
  }

  /** True when this call is one of those that validate everything. */
  isValidationDue(live: number): boolean {
    return this.level > 1 && (live <= THOROUGH || ++this.#calls % STRIDE === 0);
  }

  /** Checks every guard in those arenas. Throws `ERR_CORRUPTED`, which names the block. O(blocks). */
  checkAll(arenas: ReadonlySet<TlsfArena>): void {
    for (const [pointer, entry] of this.#guarded) if (arenas.has(entry.arena)) this.#checkGuard(pointer, entry);
  }

  /** A block went with the bytes of its area. */
  forget(pointer: number): void {
    this.#guarded.delete(pointer);
  }

  /** Forgets everything: the pool ends. */
  clear(): void {
    this.#guarded.clear();
  }

  #checkGuard(pointer: number, { arena, local, size }: Guarded): void {
    const end = local + arena.ownSizeOf(local);
    for (let at = local + size; at < end; at++) {
      if (arena.bytes[at] !== GUARD) throw overrunError(this.#name, pointer, size, at - local);
    }
  }
}
