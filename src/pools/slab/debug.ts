/** Where elements were taken, for pools that are traced. Untraced pools have none of this. */
import type { LeakReport, SlabSite } from "./options.ts";

/** Frames that are kept of a stack: the caller, and who called it. */
const FRAMES = 4;

/** What is listed of the live elements of a closed pool; their number is always exact. */
const MOST_POINTERS = 1000;

type Capture = (target: object, below?: unknown) => void;

/** The site of the last alloc of each pointer. */
export class SlabSites {
  readonly #errors: (Error | undefined)[] = [];

  /** Notes the present stack; frames from `below` inwards are left out where the engine can do that. */
  note(pointer: number, below: unknown): void {
    const error = new Error("taken");
    (Error as { captureStackTrace?: Capture }).captureStackTrace?.(error, below);
    this.#errors[pointer] = error;
  }

  /** The sites of some pointers, most frequent first. */
  of(pointers: Iterable<number>, mask?: number): SlabSite[] {
    const counts = new Map<string, number>();
    for (const pointer of pointers) {
      const site = framesOf(this.#errors[mask === undefined ? pointer : pointer & mask]);
      counts.set(site, (counts.get(site) ?? 0) + 1);
    }
    return [...counts].map(([site, count]) => ({ site, count })).sort((a, b) => b.count - a.count);
  }
}

/** What a closed pool tells of its live elements. */
export function leakReport(
  live: Iterable<number>,
  count: number,
  sites: SlabSites | undefined,
  mask: number | undefined,
): LeakReport {
  const pointers: number[] = [];
  for (const pointer of live) if (pointers.push(pointer) === MOST_POINTERS) break;
  return { live: count, pointers, sites: sites?.of(live, mask) ?? [] };
}

interface Allocating {
  alloc(): number;
  tryAlloc(): number | undefined;
}

/**
 * Gives one pool an alloc of its own that notes sites, so that pools that are not traced pay nothing.
 *
 * @param mask the bits of a pointer that are its element's number
 */
export function traceAllocs(pool: Allocating, sites: SlabSites, mask: number): void {
  const traced = (take: () => number | undefined): (() => number | undefined) => {
    const outer = (): number | undefined => {
      const pointer = take.call(pool);
      if (pointer !== undefined) sites.note(pointer & mask, outer);
      return pointer;
    };
    return outer;
  };
  const { alloc, tryAlloc } = pool;
  Object.defineProperties(pool, {
    alloc: { value: traced(alloc), configurable: true },
    tryAlloc: { value: traced(tryAlloc), configurable: true },
  });
}

function framesOf(error: Error | undefined): string {
  const lines = (error?.stack ?? "").split("\n").map((line) => line.trim());
  // V8 repeats the message in front of the frames, others do not.
  if (lines[0]?.endsWith("taken") === true) lines.shift();
  return lines.slice(0, FRAMES).join("\n") || "somewhere unknown";
}
