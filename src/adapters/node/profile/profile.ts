/** What the doctor's preload writes of one thread, and what the command reads. Plain data, in JSON. */

/** Grows with every change of the form: a process of another version of this package writes none that is misread. */
export const PROFILE_FORMAT = 2;

/** Where large buffers come from. The words are those of the program's code. */
export type Api =
  | "new ArrayBuffer"
  | "new SharedArrayBuffer"
  | "ArrayBuffer.slice"
  | `new ${string}Array`
  | "TypedArray.slice"
  | "Buffer.alloc"
  | "Buffer.allocUnsafe"
  | "Buffer.allocUnsafeSlow"
  | "Buffer.from"
  | "Buffer.concat"
  | "fs.readFile"
  | "fs.readFileSync"
  | "fs.promises.readFile"
  | "structuredClone"
  | "postMessage";

/** A place in the program. */
export interface Place {
  /** The function's name; "" at the top level of a file. */
  readonly function: string;
  /** Path, or what the engine says in its stead; "" where nothing of the program is on the stack. */
  readonly file: string;
  /** Counted from 1; 0: unknown. */
  readonly line: number;
  /** Counted from 1; 0: unknown. */
  readonly column: number;
}

/** One place that makes large buffers, as one thread saw it. */
export interface SiteProfile {
  /** What it calls. */
  readonly api: Api;
  /** The innermost frame that is not Node's. */
  readonly place: Place;
  /** The innermost file of Node's own above that frame; absent: none is. */
  readonly by?: string;
  /** The package of that frame; absent: the program's own code. */
  readonly package?: string;
  /** The innermost frame of the program's own code, where the place is a package's. */
  readonly caller?: Place;
  /** Large buffers made here. */
  count: number;
  /** Their bytes. */
  bytes: number;
  /** How often each size came, as [bytes, times], the first {@link SIZES_MAX} sizes. */
  sizes: [bytes: number, times: number][];
  /** Buffers of sizes beyond those. */
  otherSizes: number;
  /** The largest, in bytes. */
  largest: number;
  /** Parts that `Buffer.concat` joined, in all. */
  parts: number;
  /** Buffers whose life was followed. */
  followed: number;
  /** Of these: collected. */
  collected: number;
  /** Milliseconds from their making to when the engine told that they were collected, summed. */
  lifeMs: number;
  /** The most that were reachable at the end of a look. */
  inUse: number;
  /** Of how many looks that is the most. */
  inUseSamples: number;
  /** The most that were being read at a time, by a call that takes a while; they are not in {@link inUse}. */
  underWay: number;
  /**
   * Buffers of earlier looks that were still reachable at the last one: of all, or, where more are left, of the last.
   */
  stale: number;
  /** Of so many that were followed then. */
  staleOf: number;
  /** Buffers that were posted with a transfer list. */
  transferred: number;
  /** Buffers that were posted and cloned. */
  cloned: number;
}

/** Sizes that are told apart at one place. */
export const SIZES_MAX = 64;

/** Collections of one thread, without those that the doctor caused: an estimate, where it looked at what is in use. */
export interface GcProfile {
  /** Scavenges. */
  minors: number;
  /** Milliseconds in them. */
  minorMs: number;
  /** Scavenges of a young generation that was less than half full: the bytes of buffers asked for them. */
  minorsByBuffers: number;
  minorMsByBuffers: number;
  /** Mark-compacts. */
  majors: number;
  /** Milliseconds in them and in the marking steps before them. */
  majorMs: number;
  /** Mark-compacts before which memory outside the heap had grown by more than the heap. */
  majorsByBuffers: number;
  majorMsByBuffers: number;
  /** The most bytes outside the heap when a collection began. */
  peakExternal: number;
  /** By how much memory outside the heap grew from one collection to the next, summed. */
  grownExternal: number;
}

/** What a process used, from its start. */
export interface ResourceProfile {
  readonly userMs: number;
  readonly systemMs: number;
  readonly minorFaults: number;
  readonly majorFaults: number;
  /** Bytes. */
  readonly maxRss: number;
}

/** What one thread of the program did. */
export interface ThreadProfile {
  readonly format: number;
  readonly pid: number;
  /** `threadId` of node:worker_threads; 0: the main thread. */
  readonly thread: number;
  readonly node: string;
  /** Milliseconds since the thread's preload began. */
  readonly wallMs: number;
  /** True when the thread ended in order; else it is what was known a second before its end at most. */
  readonly isFinal: boolean;
  /** Of the whole process; only the main thread's. */
  readonly resources?: ResourceProfile;
  readonly gc: GcProfile;
  /** What the doctor's own collections told. */
  readonly live: {
    /** Looks: bytes of large buffers made up to then, and bytes of array buffers that were reachable then. */
    readonly looks: readonly (readonly [made: number, reachable: number])[];
    /** Bytes of array buffers that were left, when some had gone by themselves: reachable ones and garbage. */
    readonly falls: readonly (readonly [made: number, left: number])[];
    /** Reachable at the end of the thread; absent: it did not end in order. */
    readonly atEnd?: number;
    /**
     * Bytes outside the heap that the thread itself could reach when it was collected last, also those of buffers that
     * came from other threads, without those that it moved to them; absent: it was not. Where there is memory of
     * WebAssembly: of the array buffers that it made or cloned only.
     */
    readonly held?: number;
    /** Milliseconds that they took. */
    readonly ms: number;
    /** Bytes of large buffers made while nothing was freed and the process was at its largest. */
    readonly grownBy: number;
    /** By how many bytes the process grew meanwhile beyond what the engine knows of: native memory. */
    readonly unknown: number;
  };
  /** Bytes of large buffers made. */
  readonly bytes: number;
  /** Large buffers made. */
  readonly count: number;
  /**
   * True when stacks were taken of one buffer in {@link STRIDE} only, because there were many: counts are estimates.
   */
  readonly isEstimate: boolean;
  readonly sites: readonly SiteProfile[];
  /** Large buffers of places that were beyond {@link SITES_MAX}. */
  readonly elsewhere: number;
  /** File names of the native addons that were loaded. */
  readonly addons: readonly string[];
  /** File names of the programs that were started with a pipe for their output. */
  readonly programs: readonly string[];
}

/** Places that are told apart in one thread: each costs some 10 kB at most, and no report names so many. */
export const SITES_MAX = 500;

/** Stacks are taken of each of the first {@link EXACT} buffers of a thread, then of one in so many. */
export const STRIDE = 16;

/** A stack costs 5 to 20 us: less than half a second, then a sixteenth of that. */
export const EXACT = 20_000;
