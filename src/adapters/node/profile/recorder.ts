/**
 * Counts the large buffers of one thread by the place that made them, looks now and then how many are in use at a time,
 * and sums up the thread's collections. It belongs to the doctor's preload, and imports nothing of the package but
 * data.
 *
 * What is in use is not what the engine's own collections tell: garbage waits for them. And buffers cannot be followed
 * all the time: what a FinalizationRegistry knows survives every scavenge, and a program without mark-compacts would
 * have forty. So the first {@link NATURAL_BYTES} are left alone: the bytes of array buffers are read as they rise and
 * fall, and the lowest tell what is in use at most. After that there are looks: the buffers of a short while are
 * followed, then the recorder asks for a collection, reads what is left, and counts the buffers of each place when the
 * engine has told which were collected, as the event loop turns. What collections a look causes is left out of all
 * counts, which stand for the rest.
 *
 * Memory: bounded, however many buffers there are ({@link SITES_MAX}, {@link SIZES_MAX}, {@link FOLLOWED_MAX}).
 */
import type { GCProfiler } from "node:v8";
import { areStandardDescriptorsOpen } from "../../../os/standard-descriptors.ts";
import {
  ceil,
  frameColumn,
  frameEvalOrigin,
  frameFile,
  frameFunction,
  frameIsEval,
  frameLine,
  framesBelow,
  getHeapStatistics,
  hasWasmMemory,
  indexIn,
  lastIndexIn,
  list,
  max,
  memoryUsage,
  min,
  now,
  Profiler,
  partOf,
  residentBytes,
  round,
  SafeMap,
  SafeRegistry,
  SafeSet,
  SafeWeakMap,
  setFlagsFromString,
  soon,
  sorted,
  startProfiler,
  startsWith,
  stopProfiler,
  valueInNewContext,
} from "./originals.ts";
import {
  type Api,
  EXACT,
  type GcProfile,
  type Place,
  SITES_MAX,
  SIZES_MAX,
  type SiteProfile,
  STRIDE,
  type ThreadProfile,
} from "./profile.ts";

/** Buffers of a thread that are followed at a time: a record takes some 200 bytes. */
const FOLLOWED_MAX = 4096;

/** Frames of a stack that are looked at: a program's own are seldom below twenty of a package's. */
const FRAMES = 32;

/**
 * Bytes of large buffers before the first look: it changes the limits that the engine collects at. Each further look
 * comes when a quarter as many again have been made, so that 2 GB have 10 of them and 1 TB 37.
 */
const NATURAL_BYTES = 256 * 1024 * 1024;
const LOOK_GROWTH = 1.25;
/**
 * Until the first look memory is read once in so many bytes of large buffers, and not more often, because the engine
 * tidies up when it is asked: read every 20 ms, a program had half as many mark-compacts again; and with
 * process.memoryUsage(), which has the engine look at its limits, twice as many.
 */
const READ_BYTES = 8 * 1024 * 1024;
/** What a program loads and warms up before this many bytes is no sign of what it does with each buffer. */
const WARM_BYTES = 24 * 1024 * 1024;
/** A look ends with so many buffers, or with so many bytes when it has some. */
const LOOK_BUFFERS = 48;
const LOOK_BYTES = 32 * 1024 * 1024;
const LOOK_BUFFERS_MIN = 8;
/**
 * The first looks come in any case, and one whenever so many times as much has been made as at the last; others only
 * while they, without the first, took less than this share of the time.
 */
const SURE_LOOKS = 6;
const SURE_GROWTH = 2;
const LOOK_SHARE = 0.03;
/** Where more of the followed buffers than this are left, the look was too short to see one go. */
const SATURATED = 0.75;
/**
 * A heap as large as this takes most of a second to collect, which is not for the end of a program; twice that is,
 * where the last look was long ago.
 */
const LAST_LOOK_HEAP = 512 * 1024 * 1024;
/** What a thread has received is not looked at while it is less than this. */
const RECEIVED_MIN = 4 * 1024 * 1024;
/** Buffers that are kept from some moment on show among those of so many looks, and not among those of all. */
const LATE_LOOKS = 3;
/** Fewer that are left of these looks may be one that is in use for long, such as the last key frame. */
const LATE_STALE_MIN = 3;

/** Half of the young generation: emptier, and it was not its objects that asked for a scavenge. */
const YOUNG_FILL = 0.5;

/** A heap that has grown by less asks for no mark-compact, and less outside of it neither. */
const HEAP_STEP = 1024 * 1024;
const EXTERNAL_STEP = 16 * 1024 * 1024;

/**
 * The engine tells how long a collection took, not its processor time. One that took longer than this many times what
 * the shortest quarter takes at most was kept from the processor, mostly.
 */
const LONGEST = 2;
/** Collections whose cost is kept, for the typical one. */
const COSTS_MAX = 1024;

/** One buffer that is followed. */
interface Followed {
  readonly site: SiteProfile;
  /** The look that it is followed for. */
  readonly look: number;
  readonly bornAt: number;
}

/** Counts large buffers. One a thread. */
export class Recorder {
  /** File names of the native addons that were loaded. */
  readonly addons: SafeSet<string> = new SafeSet();
  /** File names of the programs that were started with a pipe for their output. */
  readonly programs: SafeSet<string> = new SafeSet();
  readonly #ownFolder: string;
  readonly #sites = new SafeMap<string, SiteProfile>();
  readonly #followed = new SafeSet<Followed>();
  /** Buffers that were not posted yet. A weak key does not keep a young buffer from its scavenge. */
  readonly #byBuffer = new SafeWeakMap<object, SiteProfile>();
  readonly #followedBuffers = new SafeWeakMap<object, Followed>();
  readonly #underWay = new SafeWeakMap<SiteProfile, number>();
  /** How many of a place had been followed at the end of each look that was counted. */
  readonly #followedAt = new SafeMap<SiteProfile, [look: number, followed: number][]>();
  readonly #registry: SafeRegistry<Followed>;
  /** The engine's collector; null: not asked for yet, because a context of its own brings the first mark-compact on. */
  #collector: (() => void) | null | undefined = null;
  readonly #gc: GcProfile = {
    minors: 0,
    minorMs: 0,
    minorsByBuffers: 0,
    minorMsByBuffers: 0,
    majors: 0,
    majorMs: 0,
    majorsByBuffers: 0,
    majorMsByBuffers: 0,
    peakExternal: 0,
    grownExternal: 0,
  };
  #profiler: GCProfiler | undefined;
  /** Heap after the last mark-compact, the least outside the heap since, and what marking has taken since. */
  #heapAfterMajor: number;
  #leastExternal: number;
  #lastExternal: number;
  #markingMs = 0;
  readonly #majorCosts = new Costs();
  readonly #minorCosts = new Costs();
  /** Bytes of array buffers before the program began. */
  readonly #base: number;
  /** Bytes outside the heap then. */
  readonly #baseExternal: number;
  #count = 0;
  #bytes = 0;
  #elsewhere = 0;
  #random = 0x2545f491;
  #nextLook = NATURAL_BYTES;
  /** Looks begun; the present one's buffers, while one is under way. */
  #looks = 0;
  #look: { buffers: number; bytes: number } | undefined;
  /** What the first looks took, in milliseconds. */
  #sureMs = 0;
  /** Bytes that were made in looks. */
  #lookBytes = 0;
  /** True when there was no mark-compact for buffers before the first look. */
  #isCalm = false;
  #nextRead = READ_BYTES;
  #lastRead: Readonly<Record<"made" | "external" | "heap" | "rss", number>> | undefined;
  #highRss = 0;
  #live: {
    looks: [made: number, reachable: number][];
    falls: [made: number, left: number][];
    atEnd?: number;
    held?: number;
    ms: number;
    grownBy: number;
    unknown: number;
  } = { looks: list(), falls: list(), ms: 0, grownBy: 0, unknown: 0 };
  /** Whether there is memory of WebAssembly, as far as was asked. */
  #hasWasm = false;
  readonly #began = now();

  /** @param ownFolder where this package's files lie, as stacks name it: frames there are the package's */
  constructor(ownFolder: string) {
    this.#ownFolder = ownFolder;
    this.#registry = new SafeRegistry((followed: Followed) => this.#onCollected(followed));
    const { used_heap_size, external_memory } = getHeapStatistics();
    this.#heapAfterMajor = used_heap_size;
    this.#leastExternal = external_memory;
    this.#lastExternal = external_memory;
    this.#base = memoryUsage().arrayBuffers;
    this.#baseExternal = external_memory;
    this.#startProfiler();
  }

  /** Milliseconds since the recorder began. */
  get age(): number {
    return now() - this.#began;
  }

  /**
   * Counts one buffer, made by a call of `below`, which is the outermost function of the preload on the stack.
   *
   * @param memory what the bytes lie in; null: nothing that could be followed
   */
  note(api: Api, bytes: number, memory: object | null, below: (...args: never) => unknown, parts = 0): void {
    const weight = this.#weight();
    if (weight > 0) {
      const site = this.#siteOf(api, below);
      if (site === null) {
        // Those that it stands for were counted already.
        this.#count = max(0, this.#count - weight + 1);
        this.#bytes = max(0, this.#bytes - (weight - 1) * bytes);
        return;
      }
      if (site === undefined) this.#elsewhere += weight;
      else {
        addTo(site, bytes, weight, parts);
        if (memory !== null) this.#follow(site, memory);
      }
    }
    this.#count++;
    this.#bytes += bytes;
    this.#onBytes(bytes);
  }

  /** Where the call of `below` stands, for a buffer that is there later; undefined: it is not looked at. */
  siteOf(api: Api, below: (...args: never) => unknown): SiteProfile | undefined {
    return this.#siteOf(api, below) ?? undefined;
  }

  /** A buffer of the place is being read (1), or is no more (-1): it is in use, and counted when it is there. */
  underWay(site: SiteProfile | undefined, change: 1 | -1): void {
    if (site === undefined) return;
    const now = (this.#underWay.get(site) ?? 0) + change;
    this.#underWay.set(site, now);
    if (now > site.underWay) site.underWay = now;
  }

  /** Counts one buffer of a place that {@link siteOf} told. */
  noteAt(site: SiteProfile | undefined, bytes: number, memory: object): void {
    this.#count++;
    this.#bytes += bytes;
    if (site === undefined) this.#elsewhere++;
    else {
      addTo(site, bytes, 1, 0);
      this.#follow(site, memory);
    }
    this.#onBytes(bytes);
  }

  /** A followed buffer was posted. */
  posted(memory: object, isTransferred: boolean): void {
    const site = this.#byBuffer.get(memory);
    if (site === undefined) return;
    this.#byBuffer.delete(memory);
    // Where one in several is looked at, it stands for the others.
    const weight = this.#count > EXACT ? STRIDE : 1;
    if (!isTransferred) {
      site.cloned += weight;
      return;
    }
    site.transferred += weight;
    // Its memory is the receiver's: what is left here is no buffer in use.
    const followed = this.#followedBuffers.get(memory);
    if (followed !== undefined) this.#followed.delete(followed);
  }

  /** What is known. A worker's end may not be seen, because the main thread ends it. */
  profile(
    isFinal: boolean,
    isWorker = false,
  ): Pick<ThreadProfile, "gc" | "live" | "bytes" | "count" | "isEstimate" | "sites" | "elsewhere"> {
    this.#foldCollections();
    if (isFinal) this.#lastLook();
    else if (isWorker && this.#count === 0) this.#lookAtReceived();
    else if (this.#look === undefined) this.#startProfiler();
    return {
      gc: this.#collections(),
      live: this.#live,
      bytes: this.#bytes,
      count: this.#count,
      isEstimate: this.#count > EXACT,
      sites: this.#countedSites(),
      elsewhere: this.#elsewhere,
    };
  }

  #countedSites(): SiteProfile[] {
    const sites = list<SiteProfile>();
    this.#sites.forEach((site) => {
      if (site.count > 0) sites[sites.length] = site;
    });
    return sites;
  }

  /** As many collections as there were if those in looks came as often as the others. */
  #collections(): GcProfile {
    const gc = { ...this.#gc };
    gc.majorsByBuffers = this.#majorCosts.count;
    gc.majorMsByBuffers = this.#majorCosts.sum();
    gc.minorsByBuffers = this.#minorCosts.count;
    gc.minorMsByBuffers = this.#minorCosts.sum();
    const factor = this.#bytes / max(1, this.#bytes - this.#lookBytes);
    // A run that is little else than looks tells nothing of the rest.
    if (!(factor > 1 && factor < 4)) return gc;
    gc.minorMs *= factor;
    gc.minorMsByBuffers *= factor;
    gc.majorMs *= factor;
    gc.majorMsByBuffers *= factor;
    gc.minors = round(gc.minors * factor);
    gc.minorsByBuffers = round(gc.minorsByBuffers * factor);
    gc.majors = round(gc.majors * factor);
    gc.majorsByBuffers = round(gc.majorsByBuffers * factor);
    return gc;
  }

  /** How many buffers this one stands for; 0: it is not looked at. Random, because places may take turns. */
  #weight(): number {
    if (this.#count < EXACT) return 1;
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    return (x >>> 0) % STRIDE === 0 ? STRIDE : 0;
  }

  /** Undefined: there are too many places. Null: Node's own buffer for a file, whose reader counts what it gives. */
  #siteOf(api: Api, below: (...args: never) => unknown): SiteProfile | undefined | null {
    const frames = framesBelow(below, FRAMES);
    let place: Place | undefined;
    let caller: Place | undefined;
    let packageName: string | undefined;
    let nodes = "";
    for (let i = 0; i < frames.length; i++) {
      const frame = frames[i]!;
      const file = fileOf(frame);
      if (file === "") continue;
      if (startsWith(file, "node:")) {
        if (nodes === "") nodes = file;
        continue;
      }
      const owner = this.#packageOf(file);
      if (place === undefined) {
        const inner = placeOf(frame, file);
        // An arrow function has no name: that of the function around it, mostly, is the next.
        place = inner.function === "" ? { ...inner, function: nameAround(frames, i, file) } : inner;
        packageName = owner;
        if (owner === undefined) break;
      } else if (owner === undefined) {
        caller = placeOf(frame, file);
        break;
      }
    }
    if (startsWith(api, "Buffer.") && isReader(nodes)) return null;
    place ??= { function: "", file: nodes, line: 0, column: 0 };
    const at = (one: Place | undefined): string =>
      one === undefined ? "" : `${one.file}:${one.line}:${one.column}:${one.function}`;
    const key = `${api}|${at(place)}|${at(caller)}`;
    let site = this.#sites.get(key);
    if (site === undefined) {
      if (this.#sites.size >= SITES_MAX) return undefined;
      site = {
        api,
        place,
        ...(nodes !== "" && { by: nodes }),
        ...(packageName !== undefined && { package: packageName }),
        ...(caller !== undefined && { caller }),
        count: 0,
        bytes: 0,
        sizes: list(),
        otherSizes: 0,
        largest: 0,
        parts: 0,
        followed: 0,
        collected: 0,
        lifeMs: 0,
        inUse: 0,
        inUseSamples: 0,
        underWay: 0,
        stale: 0,
        staleOf: 0,
        transferred: 0,
        cloned: 0,
      };
      this.#sites.set(key, site);
    }
    return site;
  }

  #packageOf(file: string): string | undefined {
    const plain = withSlashes(file);
    if (indexIn(plain, this.#ownFolder) >= 0) return "millpond";
    const at = lastIndexIn(plain, MODULES);
    if (at < 0) return undefined;
    const name = partOf(plain, at + MODULES.length);
    let end = indexIn(name, "/");
    // The first part of a scoped package's name ends at a slash, too.
    if (name[0] === "@" && end > 1) end = indexIn(name, "/", end + 1);
    return (end < 0 ? name : partOf(name, 0, end)) || "node_modules";
  }

  #follow(site: SiteProfile, memory: object): void {
    this.#byBuffer.set(memory, site);
    if (this.#look === undefined || this.#followed.size >= FOLLOWED_MAX) return;
    const followed: Followed = { site, look: this.#looks, bornAt: now() };
    site.followed++;
    this.#followed.add(followed);
    this.#followedBuffers.set(memory, followed);
    this.#registry.register(memory, followed);
  }

  #onCollected(followed: Followed): void {
    followed.site.collected++;
    followed.site.lifeMs += now() - followed.bornAt;
    attempt(() => this.#followed.delete(followed));
  }

  /** Begins a look, or ends one, as bytes are made. */
  #onBytes(bytes: number): void {
    const look = this.#look;
    if (look === undefined) {
      if (this.#looks === 0 && this.#bytes >= this.#nextRead) this.#read();
      if (this.#bytes >= this.#nextLook) this.#beginLook();
      return;
    }
    look.buffers++;
    look.bytes += bytes;
    this.#lookBytes += bytes;
    const { buffers } = look;
    if (buffers >= LOOK_BUFFERS || (look.bytes >= LOOK_BYTES && buffers >= LOOK_BUFFERS_MIN)) this.#endLook();
  }

  /** Reads memory: how low it falls, and whether the process grows by more than the engine knows of. */
  #read(): void {
    const made = this.#bytes;
    this.#nextRead = made + READ_BYTES;
    if (!areStandardDescriptorsOpen()) return;
    const last = this.#lastRead;
    const { external_memory: external, total_heap_size: heap } = getHeapStatistics();
    const memory = { made, external, heap, rss: residentBytes() };
    this.#lastRead = memory;
    if (last === undefined) return;
    const { falls } = this.#live;
    if (external < last.external) {
      falls[falls.length] = pair(made, max(0, external - this.#baseExternal));
    }
    // Only where nothing was freed, and at its largest, does the process grow by what is made.
    const grown = external - last.external;
    if (memory.rss > this.#highRss && last.made > WARM_BYTES && grown >= 0.8 * (made - last.made)) {
      this.#live.grownBy += made - last.made;
      this.#live.unknown += memory.rss - last.rss - grown - (heap - last.heap);
    }
    this.#highRss = max(this.#highRss, memory.rss);
  }

  #beginLook(): void {
    const sure = SURE_GROWTH * this.#lookedAt();
    const next = this.#bytes * LOOK_GROWTH;
    this.#nextLook = this.#bytes < sure ? min(next, sure) : next;
    if (this.#collectorOf() === undefined) return;
    const { looks, ms } = this.#live;
    const isDue = looks.length < SURE_LOOKS || this.#bytes >= sure;
    if (!isDue && ms - this.#sureMs > this.age * LOOK_SHARE) return;
    this.#foldCollections();
    // Without mark-compacts so far there are none to come, but for the limits that looks change.
    if (this.#looks === 0) this.#isCalm = this.#majorCosts.count === 0;
    this.#looks++;
    this.#look = { buffers: 0, bytes: 0 };
  }

  /** Collects, and looks at what is left. */
  #endLook(): void {
    this.#look = undefined;
    const reachable = this.#collectNow();
    if (reachable === undefined) return;
    const { looks } = this.#live;
    looks[looks.length] = pair(this.#bytes, reachable);
    if (looks.length <= SURE_LOOKS) this.#sureMs = this.#live.ms;
    this.#startProfiler();
    // The engine's word on each buffer comes with the turns of the event loop.
    const look = this.#looks;
    const made = this.#bytes;
    const count = (): void => {
      // What was made meanwhile may have been collected with some of those that were in use.
      if (look === this.#looks && this.#bytes - made < LOOK_BYTES) attempt(() => this.#countSurvivors(reachable));
    };
    soon(() => soon(() => soon(count)));
  }

  /** Bytes that had been made at the last look. */
  #lookedAt(): number {
    const { looks } = this.#live;
    return looks.length === 0 ? 0 : looks[looks.length - 1]![0];
  }

  /** Undefined: there are no looks, at least now. */
  #collectorOf(): (() => void) | undefined {
    if (!areStandardDescriptorsOpen()) return undefined;
    if (this.#collector === null) this.#collector = collector();
    return this.#collector;
  }

  /** Bytes of the program's array buffers that can be reached; undefined: they cannot be read. */
  #collectNow(): number | undefined {
    const began = now();
    const collect = this.#collectorOf();
    if (collect === undefined) return undefined;
    // Once more, because the first leaves the sweeping of array buffers to another thread, which the second waits for.
    collect();
    collect();
    const { arrayBuffers } = memoryUsage();
    this.#live.ms += now() - began;
    const { used_heap_size, external_memory } = getHeapStatistics();
    this.#heapAfterMajor = used_heap_size;
    this.#leastExternal = external_memory;
    this.#lastExternal = external_memory;
    this.#markingMs = 0;
    return max(0, arrayBuffers - this.#base);
  }

  /** Bytes outside the heap: buffers of this thread, whichever thread made them. */
  #outside(): number {
    return max(0, getHeapStatistics().external_memory - this.#baseExternal);
  }

  /**
   * After a collection: what is outside the heap, unless the memory of WebAssembly may be in it. Then buffers that were
   * moved to this thread are not known.
   */
  #heldOf(buffers: number): number {
    const outside = this.#outside();
    // What it moved and nobody has collected yet is among those that it made.
    let moved = 0;
    this.#sites.forEach((site) => {
      moved += (site.transferred * site.bytes) / max(1, site.count);
    });
    const own = max(0, buffers - moved);
    if (outside - own < RECEIVED_MIN) return outside;
    const began = now();
    this.#hasWasm ||= hasWasmMemory() ?? true;
    this.#live.ms += now() - began;
    return this.#hasWasm ? own : outside;
  }

  /** What a thread has that makes no large buffers came from others. */
  #lookAtReceived(): void {
    const outside = this.#outside();
    if (outside < RECEIVED_MIN) {
      this.#live.held = outside;
      return;
    }
    if (this.#live.ms > this.age * LOOK_SHARE || getHeapStatistics().used_heap_size > LAST_LOOK_HEAP) return;
    const reachable = this.#collectNow();
    if (reachable !== undefined) this.#live.held = this.#heldOf(reachable);
  }

  #lastLook(): void {
    if (this.#count === 0 && this.#outside() < HEAP_STEP) {
      this.#live.held = this.#outside();
      return;
    }
    const looked = this.#lookedAt();
    const isLongAgo = looked > 0 && this.#bytes > LOOK_GROWTH * looked;
    if (getHeapStatistics().used_heap_size > (isLongAgo ? 2 : 1) * LAST_LOOK_HEAP) return;
    const reachable = this.#collectNow();
    if (reachable === undefined) return;
    if (this.#count > 0) this.#live.atEnd = reachable;
    this.#live.held = this.#heldOf(reachable);
  }

  #countSurvivors(reachable: number): void {
    const look = this.#looks;
    const left = new SafeMap<SiteProfile, number>();
    const lateStale = new SafeMap<SiteProfile, number>();
    this.#sites.forEach((site) => {
      site.stale = 0;
    });
    this.#followed.forEach((followed) => {
      const { site } = followed;
      if (followed.look === look) left.set(site, (left.get(site) ?? 0) + 1);
      // Since an earlier look a quarter as many bytes again have been made: it is kept.
      else {
        site.stale++;
        if (followed.look >= look - LATE_LOOKS) lateStale.set(site, (lateStale.get(site) ?? 0) + 1);
      }
    });
    this.#sites.forEach((site) => {
      const counted = this.#followedAt.get(site) ?? list();
      const before = counted.length === 0 ? 0 : counted[counted.length - 1]![1];
      const followed = site.followed - before;
      if (followed > 0) {
        counted[counted.length] = pair(look, site.followed);
        this.#followedAt.set(site, counted);
      }
      let beforeLate = 0;
      for (let i = 0; i < counted.length; i++) if (counted[i]![0] < look - LATE_LOOKS) beforeLate = counted[i]![1];
      const earlier = site.followed - followed;
      const stale = lateStale.get(site) ?? 0;
      const late = earlier - beforeLate;
      const isLate = stale >= LATE_STALE_MIN && stale * earlier > site.stale * late;
      site.staleOf = isLate ? late : earlier;
      if (isLate) site.stale = stale;
      if (followed === 0) return;
      const survivors = left.get(site) ?? 0;
      const room = min(site.count, ceil((reachable * site.count) / site.bytes));
      site.inUseSamples++;
      // Where none was seen to go, what all reachable memory has room for is the bound.
      site.inUse = max(site.inUse, survivors > SATURATED * followed ? max(survivors, room) : survivors);
    });
  }

  #startProfiler(): void {
    this.#profiler = new Profiler();
    startProfiler(this.#profiler);
  }

  /**
   * Adds what the engine says of its collections since the last time. It has to be asked now and then: it keeps 4 kB of
   * each.
   */
  #foldCollections(): void {
    const statistics = this.#profiler === undefined ? undefined : stopProfiler(this.#profiler)?.statistics;
    this.#profiler = undefined;
    const gc = this.#gc;
    for (let i = 0; statistics !== undefined && i < statistics.length; i++) {
      const { gcType, cost, beforeGC, afterGC } = statistics[i]!;
      // Microseconds.
      const ms = cost / 1000;
      const external = beforeGC.heapStatistics.externalMemory;
      const after = afterGC.heapStatistics;
      gc.peakExternal = max(gc.peakExternal, external);
      gc.grownExternal += max(0, external - this.#lastExternal);
      this.#lastExternal = after.externalMemory;
      this.#leastExternal = min(this.#leastExternal, external);
      if (gcType === "MarkSweepCompact") {
        const grown = external - this.#leastExternal;
        const grownHeap = max(0, beforeGC.heapStatistics.usedHeapSize - this.#heapAfterMajor);
        // Array buffers are freed beside the program, so that what is outside the heap may seem not to grow.
        const byBuffers = grown > grownHeap || (grownHeap < HEAP_STEP && external > EXTERNAL_STEP);
        if (!(byBuffers && this.#isCalm)) {
          gc.majors++;
          gc.majorMs += ms + this.#markingMs;
          if (byBuffers) this.#majorCosts.add(ms + this.#markingMs);
        }
        this.#markingMs = 0;
        this.#heapAfterMajor = after.usedHeapSize;
        this.#leastExternal = after.externalMemory;
      } else if (gcType === "Scavenge" || startsWith(gcType, "Minor")) {
        const young = youngOf(beforeGC.heapSpaceStatistics);
        gc.minors++;
        gc.minorMs += ms;
        if (young === undefined) continue;
        const { spaceUsedSize, spaceAvailableSize } = young;
        if (spaceUsedSize < YOUNG_FILL * (spaceUsedSize + spaceAvailableSize)) {
          this.#minorCosts.add(ms);
        }
      } else {
        this.#markingMs += ms;
      }
    }
  }
}

/**
 * What collections took, as if none had been kept from the processor: a busy machine stretches some of them tenfold.
 */
class Costs {
  count = 0;
  readonly #kept = list<number>();

  add(ms: number): void {
    this.#kept[this.count++ % COSTS_MAX] = ms;
  }

  sum(): number {
    const { length } = this.#kept;
    if (length === 0) return 0;
    const costs = sorted(this.#kept, length);
    const most = LONGEST * costs[length >> 2]!;
    let sum = 0;
    for (let i = 0; i < length; i++) sum += min(costs[i]!, most);
    return (sum * this.count) / length;
  }
}

/**
 * What runs on its own in the program's thread must not throw there, whatever the program has done to the built-in
 * classes.
 */
function attempt(work: () => unknown): void {
  try {
    work();
  } catch {
    // It is not counted.
  }
}

function addTo(site: SiteProfile, bytes: number, weight: number, parts: number): void {
  site.count += weight;
  site.bytes += bytes * weight;
  site.parts += parts * weight;
  if (bytes > site.largest) site.largest = bytes;
  // Most places have one size, and a list of 64 is read faster than a map is kept.
  const { sizes } = site;
  for (let i = 0; i < sizes.length; i++) {
    const known = sizes[i]!;
    if (known[0] !== bytes) continue;
    known[1] += weight;
    return;
  }
  if (sizes.length < SIZES_MAX) sizes[sizes.length] = pair(bytes, weight);
  else site.otherSizes += weight;
}

function pair(first: number, second: number): [number, number] {
  const made = list<number>();
  made[0] = first;
  made[1] = second;
  return made as [number, number];
}

type Space = ReturnType<GCProfiler["stop"]>["statistics"][number]["beforeGC"]["heapSpaceStatistics"][number];

function youngOf(spaces: readonly Space[]): Space | undefined {
  for (let i = 0; i < spaces.length; i++) if (spaces[i]!.spaceName === "new_space") return spaces[i];
  return undefined;
}

/**
 * The engine's own collector, without a `gc` in the program's globals; undefined where there is none. The flag stays as
 * it was: what a program that has it starts has a `gc`, too.
 */
function collector(): (() => void) | undefined {
  try {
    let collect = valueInNewContext("globalThis.gc");
    if (typeof collect !== "function") {
      setFlagsFromString("--expose-gc");
      collect = valueInNewContext("globalThis.gc");
      setFlagsFromString("--no-expose-gc");
    }
    return typeof collect === "function" ? (collect as () => void) : undefined;
  } catch {
    return undefined;
  }
}

const MODULES = "/node_modules/";

function withSlashes(file: string): string {
  let text = file;
  for (let at = indexIn(text, "\\"); at >= 0; at = indexIn(text, "\\", at)) {
    text = `${partOf(text, 0, at)}/${partOf(text, at + 1)}`;
  }
  return text;
}

/** Files of Node's own that read files into buffers. */
function isReader(file: string): boolean {
  return (
    file === "node:fs" || startsWith(file, "node:internal/fs/read") || startsWith(file, "node:internal/fs/promises")
  );
}

/** The name of the next function of that file that has one; "" where none has. */
function nameAround(frames: readonly NodeJS.CallSite[], from: number, file: string): string {
  for (let i = from; i < frames.length; i++) {
    const name = nameOf(frames[i]!);
    if (name !== "" && fileOf(frames[i]!) === file) return name;
  }
  return "";
}

function fileOf(frame: NodeJS.CallSite): string {
  const file = frameFile(frame) ?? "";
  if (file !== "" || !frameIsEval(frame)) return file;
  return frameEvalOrigin(frame) === undefined ? "" : "(eval)";
}

function nameOf(frame: NodeJS.CallSite): string {
  return frameFunction(frame) ?? "";
}

function placeOf(frame: NodeJS.CallSite, file: string): Place {
  return { function: nameOf(frame), file, line: frameLine(frame) ?? 0, column: frameColumn(frame) ?? 0 };
}
