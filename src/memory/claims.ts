/**
 * What pools have taken from their sources. A source may be the application's, and one that answers with memory that
 * somebody has already, or with bytes that overlap such memory, would give two holders the same bytes.
 *
 * A claim lasts as long as its memory lives: nothing has to end it, and one that is over makes way when its bytes are
 * claimed again. Told by what memory does and not by its class, which every bundle with a SlabPool would have to carry.
 *
 * Complexity: O(log claims of an ArrayBuffer), and moving the claims behind. For slow paths only.
 */

/** What is asked of a memory. */
interface Claimable {
  readonly refCount: number;
  readonly owners: number;
  readonly isMapped: boolean;
}

/** What is asked of a source. */
interface Source {
  /** Absent of what is no allocator. */
  readonly givesOnce?: boolean;
}

/** Bytes of an ArrayBuffer, and the memory that has them. */
interface Claim {
  readonly start: number;
  readonly end: number;
  readonly memory: Claimable;
}

const claimed: WeakSet<Claimable> = /* @__PURE__ */ new WeakSet();

/**
 * By source, since pools stand on pools: an area of one is a part of a block of the other. Then by ArrayBuffer, in the
 * order of the bytes.
 */
const ranges: WeakMap<object, WeakMap<ArrayBufferLike, Claim[]>> = /* @__PURE__ */ new WeakMap();

/** True for memory that an allocator cannot have made just now: a pool, a buffer or a mapping has it. */
export function isHeld(memory: Claimable): boolean {
  return claimed.has(memory) || memory.owners > 0 || memory.isMapped;
}

/**
 * Claims memory that `source` gave, with its bytes where they can be reached. False, and nothing has changed: a live
 * memory of that source has some of them.
 */
export function claimBytes(source: Source, memory: Claimable, bytes: Uint8Array | undefined): boolean {
  // A claim costs about 3 us, more than a small block itself.
  if (source.givesOnce === true) return true;
  if (bytes !== undefined && bytes.length > 0 && !claimRange(source, memory, bytes)) return false;
  claimed.add(memory);
  return true;
}

function claimRange(source: object, memory: Claimable, { buffer, byteOffset: start, length }: Uint8Array): boolean {
  let buffers = ranges.get(source);
  if (buffers === undefined) {
    buffers = new WeakMap();
    ranges.set(source, buffers);
  }
  let claims = buffers.get(buffer);
  if (claims === undefined) {
    claims = [];
    buffers.set(buffer, claims);
  }
  const end = start + length;
  let first = 0;
  for (let last = claims.length; first < last; ) {
    const middle = (first + last) >>> 1;
    if (claims[middle]!.end > start) last = middle;
    else first = middle + 1;
  }
  let next = first;
  while (next < claims.length && claims[next]!.start < end) if (claims[next++]!.memory.refCount > 0) return false;
  claims.splice(first, next - first, { start, end, memory });
  return true;
}
