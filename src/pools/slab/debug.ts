/** Where elements were taken, for pools that are traced. A pool that is not traced pays nothing for it. */
import { callerOf, callSite, type Entry, type Site } from "../../util/stack.ts";
import type { LeakReport } from "./options.ts";

/** Frames that are kept of a stack: the caller, and three more. */
const FRAMES = 4;

/** Pointers that a {@link LeakReport} lists; its count is always exact. */
const MAX_POINTERS_LISTED = 1000;

/** The site of the last alloc of each element. */
export class SlabSites {
  readonly #sites: (Site | undefined)[] = [];

  /** Notes the present stack for an element; frames from `below` inwards are left out where the engine can do that. */
  note(number: number, below: Entry): void {
    this.#sites[number] = callSite(below);
  }

  /** The site of one element. */
  siteOf(number: number): string {
    return framesOf(this.#sites[number]);
  }

  /** The sites of some elements, most frequent first. */
  count(numbers: Iterable<number>): LeakReport["sites"] {
    const counts = new Map<string, number>();
    for (const number of numbers) {
      const site = this.siteOf(number);
      counts.set(site, (counts.get(site) ?? 0) + 1);
    }
    return [...counts].map(([site, count]) => ({ site, count })).sort((a, b) => b.count - a.count);
  }
}

/** What a pool tells of its live elements when it is closed. */
export function leakReport(pointers: Iterable<number>, live: number, sites: LeakReport["sites"]): LeakReport {
  const listed: number[] = [];
  for (const pointer of pointers) if (listed.push(pointer) === MAX_POINTERS_LISTED) break;
  return { live, pointers: listed, sites };
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

function framesOf(site: Site | undefined): string {
  if (site === undefined) return "somewhere unknown";
  return callerOf(site).split("\n").slice(0, FRAMES).join("\n") || "somewhere unknown";
}
