/**
 * What pools have taken from their sources. A source may be the application's, and one that answers with memory that
 * somebody has already, or with bytes that overlap such memory, would give two holders the same bytes.
 *
 * A claim lasts as long as its memory lives: nothing has to end it, and one that is over makes way when its bytes are
 * claimed again. It goes along with what moves: to the object that takes the memory's place (`replaceHandle`), to the
 * ArrayBuffer that the bytes go on in ({@link moveClaims}). It keeps nothing alive: a pool that was forgotten can be
 * collected. Told by what memory does and not by its class, which every bundle with a SlabPool would have to carry.
 *
 * Bytes are told by their ArrayBuffer: two SharedArrayBuffer objects over the same bytes (a clone; WebAssembly's memory
 * before and after it grew) are two to JavaScript.
 *
 * Complexity: O(log claims of an ArrayBuffer), and moving the claims behind. For slow paths only.
 */

/** What is asked of a memory. */
interface Claimable {
  readonly refCount: number;
  readonly owners: number;
  readonly isMapped: boolean;
  readonly region: object;
  /** Its claim, where a pool has it. */
  claim?: Claim | null;
}

/** What is asked of a source. */
interface Source {
  /** Absent of what is no allocator. */
  readonly givesOnce?: boolean;
}

/** Who has some bytes. Kept by the memory only, so that a range does not keep the memory. */
export interface Claim {
  /** The memory, or the one that took its place. */
  memory: { readonly refCount: number };
  /** Whether users get the memory itself, and may put it into lists of theirs. */
  readonly isShown: boolean;
}

/** Bytes of an ArrayBuffer. */
interface Range {
  readonly start: number;
  readonly end: number;
  readonly claim: WeakRef<Claim>;
}

/**
 * The ranges of an ArrayBuffer by source, since pools stand on pools: an area of one is a part of a block of the other.
 */
interface Ranges {
  /** Nearly always there is one. */
  readonly source: object;
  /** In the order of the bytes. */
  readonly taken: Range[];
  others: WeakMap<object, Range[]> | undefined;
}

const regions: WeakMap<object, WeakRef<Claim>> = /* @__PURE__ */ new WeakMap();

const ranges: WeakMap<ArrayBufferLike, Ranges> = /* @__PURE__ */ new WeakMap();

function isLive(claim: WeakRef<Claim> | undefined): boolean {
  const holder = claim?.deref();
  return holder !== undefined && holder.memory.refCount > 0;
}

/**
 * True for memory that an allocator cannot have made just now: a pool, a buffer or a mapping has it, or a pool has its
 * region. Giving it back would take it from them.
 */
export function isHeld(memory: Claimable): boolean {
  return memory.owners > 0 || memory.isMapped || isClaimed(memory);
}

/** True for what {@link claimBytes} refuses to anybody but who has it, whatever its owners and mappings are. */
export function isClaimed(memory: Claimable): boolean {
  return memory.claim != null || isLive(regions.get(memory.region));
}

/**
 * Claims memory that `source` gave, with its bytes where they can be reached. False, and nothing has changed: a live
 * memory of that source has some of them.
 */
export function claimBytes(source: Source, memory: Claimable, bytes: Uint8Array | undefined, isShown = false): boolean {
  // A claim costs about 3 us, more than a small block itself.
  if (source.givesOnce === true) return true;
  const claim: Claim = { memory, isShown };
  const ref = new WeakRef(claim);
  if (bytes !== undefined && bytes.length > 0 && !claimRange(source, ref, bytes)) return false;
  // What is no memory of the library may be frozen.
  Reflect.set(memory, "claim", claim);
  const { region } = memory;
  if (region !== undefined) regions.set(region, ref);
  return true;
}

function claimRange(source: object, claim: WeakRef<Claim>, bytes: Uint8Array): boolean {
  const { buffer, byteOffset: start, length } = bytes;
  const end = start + length;
  const known = ranges.get(buffer);
  if (known === undefined) {
    ranges.set(buffer, { source, taken: [{ start, end, claim }], others: undefined });
    return true;
  }
  let taken = takenOf(known, source);
  if (taken === undefined) {
    taken = [];
    known.others ??= new WeakMap();
    known.others.set(source, taken);
  }
  const first = firstBehind(taken, start);
  let next = first;
  while (next < taken.length && taken[next]!.start < end) if (isLive(taken[next++]!.claim)) return false;
  taken.splice(first, next - first, { start, end, claim });
  return true;
}

function takenOf(known: Ranges, source: object): Range[] | undefined {
  return known.source === source ? known.taken : known.others?.get(source);
}

/** The first range that ends behind `start`. */
function firstBehind(taken: readonly Range[], start: number): number {
  let first = 0;
  for (let last = taken.length; first < last; ) {
    const middle = (first + last) >>> 1;
    if (taken[middle]!.end > start) last = middle;
    else first = middle + 1;
  }
  return first;
}

/** Whether {@link claimBytes} would refuse bytes of that source. Nothing changes. */
export function isTaken(source: Source, { buffer, byteOffset: start, length }: Uint8Array): boolean {
  if (length === 0 || source.givesOnce === true) return false;
  const known = ranges.get(buffer);
  const taken = (known === undefined ? undefined : takenOf(known, source)) ?? [];
  for (let i = firstBehind(taken, start); i < taken.length && taken[i]!.start < start + length; i++) {
    if (isLive(taken[i]!.claim)) return true;
  }
  return false;
}

/** The bytes of an ArrayBuffer go on in another one, at the same places. */
export function moveClaims(old: ArrayBufferLike, next: ArrayBufferLike): void {
  const known = ranges.get(old);
  if (known !== undefined) ranges.set(next, known);
}
