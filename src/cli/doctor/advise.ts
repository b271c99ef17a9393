/**
 * What a pool would do for a program, from what was observed of it. A pure function: the same profile has the same
 * advice, and the machine's mood is in neither. Every threshold and every price is in {@link LIMITS}, with its reason.
 *
 * A place gets a pool when all of this holds: it makes many buffers, few of them are in use at a time, making them
 * afresh costs a share of the program's processor time or memory that is worth some lines of code, and these lines can
 * be written in the program. In every other case the advice says which of these fails, and not to.
 */
import { isJoined, LAZY_BYTES, type ObservedSite, type Profile } from "./profile.ts";

/** Numbers that verdicts hang on. docs/doctor.md has the same table. */
export const LIMITS = {
  /** Fewer buffers than this are made in less time than it takes to read the advice. */
  minCount: 32,
  /** Each slot must serve so many buffers, or the pool mostly allocates as the program does now. */
  minReuse: 8,
  /** Share of the processor time that all pools together must save; less is lost in the noise of any measurement. */
  minCpuShare: 0.03,
  /** Share of the processor time that one pool among several must save. */
  minSiteShare: 0.01,
  /** Milliseconds of processor time that a pool must save: a run so short says little. */
  minMs: 20,
  /** Bytes of garbage that must go for memory alone to be a reason: less is not noticed. */
  minGarbage: 67_108_864,
  /** The same as a share of the peak RSS. */
  minGarbageShare: 0.25,
  /** Collections for objects of which the advice speaks: a start has a few. */
  minMajors: 8,
  /** Slots per buffer that was seen in use, and one more: samples miss peaks, and a wait costs more than a slot. */
  slotsPerUse: 1.5,
  /**
   * Share of a place's buffers that may stay in use for good: a bounded pool would run out of slots sooner or later.
   */
  maxKept: 0.02,
  /**
   * Bytes that were reachable and that no place's figures explain: small buffers and chunks of sockets are in use, too.
   */
  unexplained: 4_194_304,
  /** Share of a run's large buffers that must have been made at the last look, where there was none at the end. */
  minSeen: 0.45,
  /** Share of a place's buffers that must have one size for slots of that size. */
  oneSize: 0.9,
  /**
   * Slots as large as the largest buffer, where that is at most so many times the mean: the rest is memory for nothing.
   */
  maxWaste: 4,
  /** Sizes that a pool of pages is for: it serves each from blocks of its own, and others from none. */
  maxSizes: 8,
  /** Chunks joined to sizes within an eighth of each other are frames, each with some bytes of the next. */
  frameSpread: 1.125,
  /** Sizes that bodies are rounded up to, by the pages of their pool. */
  bodySizes: 8,
  /** The most bytes that a pool of pages for files is advised to have. */
  maxPages: 268_435_456,
  /** Share of a place's buffers that must be posted for a pool between threads. */
  posted: 0.5,
  /** Bytes that other threads may have received and not collected yet: below that nothing tells what they keep. */
  lazyBytes: LAZY_BYTES as number,
  /**
   * Share of a place's bytes that must not stay with the thread that gets them: a slot that is kept never comes back.
   */
  maxHeld: 0.25,
  /** Slots for each worker: one that it works on, one under way each way, and one that is filled. */
  slotsPerWorker: 4,
  /**
   * Growth that the engine does not know of, as a share of the buffers that were made meanwhile: sharp reached 0.13,
   * frames that nobody freed 0.65 to 0.95 (0.3 to
   * 0.45 on Node 20).
   */
  unknownShare: 0.3,
  /** The same in bytes: eight frames of 1080p. */
  unknownBytes: 25_165_824,
  /** Chunks of Node's own file streams are replaced by blocks of a pool of this many bytes. */
  blockBytes: 262_144,
  /** Milliseconds for a megabyte of fresh zeros: page faults and clearing. Half of what was measured from 1 to 8 MB. */
  freshMsPerMb: 0.05,
  /** The same where the bytes are written by a copy, which a pool needs as well: the page faults alone. */
  copiedMsPerMb: 0.025,
  /** The same for a clone to another thread: written twice and faulted in twice. */
  clonedMsPerMb: 0.1,
} as const;

/** Why a place gets no pool. */
type Refusal =
  | "few" // too few buffers
  | "cheap" // they cost next to nothing
  | "kept" // they are in use for long, so that each needs memory of its own
  | "unknown" // nothing tells how many are in use at a time
  | "place" // nothing tells where they are made
  | "package" // made in a package
  | "pool" // made by a pool of this package
  | "native" // native memory is freed by the collections that a pool would end
  | "sync" // read in one go by a synchronous call
  | "sizes" // too many sizes, too far apart
  | "posted"; // goes to another thread, whose pool is advised elsewhere

/** What replaces the allocations of a place. */
type Remedy =
  | "BufferPool" // of one size
  | "largest" // a BufferPool of the largest size
  | "PagePool" // of a few sizes
  | "TransferPool" // between threads
  | "spawnFrames" // frames of a program
  | "collect" // bodies
  | "files" // whole files as blocks of readBlocks()
  | "readFile" // whole files of a few sizes
  | "readBlocks"; // in the place of a file's stream

/** What a place costs. */
interface Cost {
  /** Milliseconds of processor time that fresh memory and its collections took, estimated. */
  readonly ms: number;
  /** As a share of the program's processor time. */
  readonly share: number;
  /** Major collections that came from this place's bytes. */
  readonly majors: number;
  /** Bytes of its garbage at the peak. */
  readonly garbage: number;
}

/** A pool that would help. */
export interface PoolAdvice {
  readonly site: ObservedSite;
  readonly remedy: Remedy;
  /** Name of the pool. */
  readonly name: string;
  /** Slots; for a pool of pages the most blocks that were in use at a time, with the same margin. */
  readonly slots: number;
  /** Bytes of a slot, or the most bytes of a pool of pages. */
  readonly bytes: number;
  /** Share of the place's buffers that the pool would serve from memory that is there. */
  readonly served: number;
  readonly cost: Cost;
  /** The lines to write. */
  readonly code: readonly string[];
  /** What to heed. */
  readonly cautions: readonly string[];
}

/** A place that is better left alone. */
interface RefusedSite {
  readonly site: ObservedSite;
  readonly reason: Refusal;
  /** The reason with its figures: a sentence without a full stop. */
  readonly words: string;
  readonly cost: Cost;
}

/** What to do. */
export interface Advice {
  /**
   * "pool": at least one would help. "none": none would. "longer": the run was too short to tell. "unseen": most of
   * what was made has no place.
   */
  readonly verdict: "pool" | "none" | "longer" | "unseen";
  readonly pools: readonly PoolAdvice[];
  readonly refused: readonly RefusedSite[];
  /** About the whole program. */
  readonly notes: readonly string[];
}

const MB = 1024 * 1024;

/** What a pool would do for this program. */
export function advise(profile: Profile): Advice {
  const cpu = cpuMs(profile);
  const candidates: PoolAdvice[] = [];
  const refused: RefusedSite[] = [];
  for (const site of profile.sites) {
    const cost = costOf(site, profile, cpu);
    const refusal = refusalOf(site, cost, profile);
    if (refusal !== undefined) refused.push({ site, cost, ...refusal });
    else candidates.push(poolFor(site, cost, profile));
  }
  // Several small gains are a gain, and each has to be worth its lines.
  const total = candidates.reduce((sum, { cost }) => sum + cost.share, 0);
  const isWorth = ({ cost }: PoolAdvice): boolean =>
    savesMemory(cost, profile) || (total >= LIMITS.minCpuShare && cost.share >= LIMITS.minSiteShare);
  const pools = candidates.filter(isWorth);
  for (const one of candidates) {
    if (!isWorth(one)) refused.push({ site: one.site, cost: one.cost, reason: "cheap", words: cheapWords(one.cost) });
  }
  refused.sort((a, b) => b.site.bytes - a.site.bytes);
  const isUnknown = refused.some(({ reason }) => reason === "unknown");
  const verdict = pools.length > 0 ? "pool" : isUnseen(profile) ? "unseen" : isUnknown ? "longer" : "none";
  return { verdict, pools, refused, notes: notesOf(profile, cpu, pools) };
}

/** Whether most of what was made was counted, and no place noted: of that nothing can be said. */
function isUnseen({ sites, bytes }: Profile): boolean {
  return sites.reduce((sum, site) => sum + site.bytes, 0) < bytes / 2;
}

/** Milliseconds of processor time, without the doctor's own collections. */
export function cpuMs({ resources, wallMs, doctorMs }: Profile): number {
  const all = resources === undefined ? wallMs : resources.userMs + resources.systemMs;
  return Math.max(1, all - doctorMs);
}

/** Bytes of buffers that were garbage at the peak. */
export function garbageBytes({ gc, liveBytes }: Profile): number {
  return liveBytes === 0 ? 0 : Math.max(0, gc.peakExternal - liveBytes);
}

function costOf(site: ObservedSite, profile: Profile, cpu: number): Cost {
  const { gc } = profile;
  // Memory that the doctor does not see, such as a decoder's, takes part in the collections too.
  const part = site.bytes / Math.max(1, profile.bytes, gc.grownExternal);
  const gcMs = (gc.majorMsByBuffers + gc.minorMsByBuffers) * part;
  const ms = (site.bytes / MB) * freshPrice(site) + gcMs;
  return {
    ms,
    // On a busy machine collections seem longer than they are.
    share: Math.min(0.9, ms / cpu),
    majors: Math.round(gc.majorsByBuffers * part),
    garbage: Math.min(site.bytes, garbageBytes(profile) * part),
  };
}

function freshPrice({ api }: ObservedSite): number {
  if (isClone(api)) return LIMITS.clonedMsPerMb;
  const isCopy = /slice|from|concat|readFile|allocUnsafe/.test(api);
  return isCopy ? LIMITS.copiedMsPerMb : LIMITS.freshMsPerMb;
}

function savesMemory({ garbage }: Cost, { resources }: Profile): boolean {
  return garbage >= LIMITS.minGarbage && garbage >= LIMITS.minGarbageShare * (resources?.maxRss ?? Infinity);
}

function refusalOf(
  site: ObservedSite,
  cost: Cost,
  profile: Profile,
): { readonly reason: Refusal; readonly words: string } | undefined {
  const { count, inUse } = site;
  if (site.package === "millpond") return { reason: "pool", words: "they are the slots of a pool already" };
  if (count < LIMITS.minCount) return { reason: "few", words: `${some(count, "buffer")} in all: too few to matter` };
  if ((cost.share < LIMITS.minSiteShare || cost.ms < LIMITS.minMs) && !savesMemory(cost, profile)) {
    return { reason: "cheap", words: cheapWords(cost) };
  }
  if (site.place.file === "") return { reason: "place", words: "the engine did not tell where they are made" };
  const isNodes = site.place.file.startsWith("node:") && site.by !== FILE_STREAMS;
  if ((site.package !== undefined || isNodes) && !isBody(site)) {
    const where = isNodes ? "Node" : site.package;
    return {
      reason: "package",
      words: `they are made inside ${where}, which a pool of yours does not reach; they cost about ${percent(cost.share)} of the processor time`,
    };
  }
  if (isPosted(site)) {
    return {
      reason: "posted",
      words:
        "their bytes are posted to another thread and cloned there: what that costs stands at the place that posts them",
    };
  }
  if (!isBetweenThreads(site) && site.transferred > LIMITS.maxKept * count) {
    return {
      reason: "posted",
      words: `${percent(site.transferred / count)} of them are moved to another thread, which takes a slot from its pool: part those from the others, then ask again`,
    };
  }
  if (site.api === "fs.readFileSync") {
    return {
      reason: "sync",
      words: "no pool waits in a synchronous call: read with fs.promises.readFile, and ask again",
    };
  }
  const mean = site.bytes / count;
  const distinct = site.sizes.length + site.otherSizes;
  const isSpread = site.largest > LIMITS.maxWaste * mean;
  if (
    isSpread &&
    mainSize(site)[1] < LIMITS.oneSize * count &&
    site.api !== "Buffer.concat" &&
    !isBody(site) &&
    distinct > LIMITS.maxSizes
  ) {
    return {
      reason: "sizes",
      words: `they have ${distinct} sizes, ${megabytes(site.largest)} at most and ${megabytes(mean)} on average: slots for the largest would be memory for nothing`,
    };
  }
  if (isBetweenThreads(site)) {
    if (!isSpread) return heldRefusal(site, profile) ?? nativeRefusal(profile);
    return {
      reason: "sizes",
      words: `the largest, ${megabytes(site.largest)}, is many times the mean: slots for it would be memory for nothing`,
    };
  }
  if (inUse === undefined) {
    return { reason: "unknown", words: "the run was too short to tell how many are in use at a time" };
  }
  if (slotsFor(inUse) * LIMITS.minReuse > count) {
    // What is known by the thread's memory alone is too much as a rule.
    if (site.inUseFrom === "thread" && profile.samples < 2) {
      return { reason: "unknown", words: "the run was too short to tell how many are in use at a time" };
    }
    return {
      reason: "kept",
      words:
        site.inUseFrom === "place"
          ? `up to ${inUse} of ${count} were in use at a time: a pool would allocate nearly as many`
          : `up to ${inUse} of ${count} may have been in use at a time, as far as the memory that is in use tells`,
    };
  }
  if (site.keptShare > LIMITS.maxKept) {
    return {
      reason: "kept",
      words: `about ${percent(site.keptShare)} of them stay in use for good: a pool would run out of slots. Copy those that are kept, then ask again`,
    };
  }
  const spare = (slotsFor(inUse) - inUse) * (site.bytes / count);
  if (site.unexplained > Math.max(LIMITS.unexplained, spare)) {
    const kept = some(Math.ceil((site.unexplained * count) / site.bytes), "buffer");
    const mend =
      "a pool would run out of slots. Copy those that are kept, or let them go, then ask again (with a lower --threshold, if they are smaller buffers)";
    if (site.inUseFrom === "thread") {
      return {
        reason: "kept",
        words: `${megabytes(site.unexplained)} more of buffers were reachable at the end than mostly before: if they are of this place, ${kept} more are kept, and ${mend}`,
      };
    }
    return {
      reason: "kept",
      words:
        `${some(inUse, "buffer")} at most ${inUse === 1 ? "was" : "were"} seen in use at a time, but ${megabytes(site.unexplained)} more of buffers were reachable, at the end or before, than any place's use explains: if they are ` +
        `of this place, ${kept} are kept, and ${mend}`,
    };
  }
  if (profile.seenShare < LIMITS.minSeen) {
    return {
      reason: "unknown",
      words: `the last look at what is in use came when ${percent(profile.seenShare)} of all buffers' bytes had been made, and the end could not be looked at: let it work longer, or end by itself`,
    };
  }
  return nativeRefusal(profile);
}

/**
 * How many are in use is the receiver's matter: of it tell what all threads hold when they are collected, and the
 * memory. A slot that is kept never comes back, so that as many as there are slots are too many.
 */
function heldRefusal(
  site: ObservedSite,
  profile: Profile,
): { readonly reason: Refusal; readonly words: string } | undefined {
  const { api, bytes, count, held: atEnd } = site;
  const { resources, liveBytes } = profile;
  const all = (laneSlots(profile) * bytes) / count;
  const mend = "Copy those that are kept, then ask again";
  // What was on its way when a thread was ended from outside was not kept.
  if (atEnd !== undefined && atEnd.bytes >= Math.max(LIMITS.unexplained, atEnd.isEnd ? all : 2 * all)) {
    return {
      reason: "kept",
      words:
        `the threads that they go between held ${megabytes(atEnd.bytes)} of buffers ${atEnd.isEnd ? "at their end" : "when they were looked at last"} that the use of no other place explains: if ` +
        `they are of this place, ${some(Math.ceil((atEnd.bytes * count) / bytes), "buffer")} are kept, and a pool would run out of slots. ${mend}`,
    };
  }
  if (!isClone(api) && site.inUseFrom === "place" && site.unexplained >= Math.max(LIMITS.unexplained, all)) {
    return {
      reason: "kept",
      words:
        `${megabytes(site.unexplained)} more of buffers were reachable, at the end or before, than the use of any place explains, or a thread that collects seldom: the thread that gets them seems to keep ` +
        `${some(Math.ceil((site.unexplained * count) / bytes), "buffer")}, and a pool would run out of slots. ${mend}`,
    };
  }
  const isMoved = !isClone(api) && liveBytes > 0;
  // Of clones only the process's memory tells, in which the rest of the program is too.
  const held = isMoved ? liveBytes : (resources?.maxRss ?? 0) - LIMITS.lazyBytes;
  if (held < LIMITS.lazyBytes) return undefined;
  if (held < LIMITS.maxHeld * bytes) {
    if (atEnd?.isReceivers) return undefined;
    return {
      reason: "unknown",
      words: `up to ${megabytes(held)} may be what the thread that gets them keeps, which was ended from outside before it told: let it work longer, or end by itself`,
    };
  }
  const seen = isMoved ? "were in use" : "of memory were taken";
  return {
    reason: "kept",
    words: `up to ${megabytes(held)} ${seen} while ${megabytes(bytes)} went to another thread, which seems to keep many of them: a pool would run out of slots. ${mend}`,
  };
}

function laneSlots({ threads }: Profile): number {
  return LIMITS.slotsPerWorker * Math.max(1, threads - 1);
}

function nativeRefusal({
  grownBy,
  unknownBytes,
}: Profile): { readonly reason: Refusal; readonly words: string } | undefined {
  if (unknownBytes < LIMITS.unknownBytes || unknownBytes < LIMITS.unknownShare * grownBy) return undefined;
  return {
    reason: "native",
    words:
      `while ${Math.round(grownBy / MB)} MB of buffers were made and none was freed, the process grew by ${Math.round(unknownBytes / MB)} MB that the engine does ` +
      "not know of: something native is freed only when its JavaScript object is collected, such as a decoder's frames. A pool makes " +
      "collections rare, and that memory would grow. Close or free those objects as soon as they are used, then ask again",
  };
}

/** Where chunks of a Node file stream are made. */
const FILE_STREAMS = "node:internal/fs/streams";
/** Where fetch() is. */
const FETCH = "node:internal/deps/undici/undici";

/** A whole body of undici or of fetch(), whose stream can be read in another way. */
function isBody({ api, package: owner, place }: ObservedSite): boolean {
  return isJoined({ api, place }) && (owner === "undici" || place.file === FETCH);
}

function isPosted({ cloned, count, api }: ObservedSite): boolean {
  return !isClone(api) && cloned >= LIMITS.posted * count;
}

function isBetweenThreads({ api, transferred, count }: ObservedSite): boolean {
  return api === "postMessage" || transferred >= LIMITS.posted * count;
}

function isClone(api: ObservedSite["api"]): boolean {
  return api === "postMessage" || api === "structuredClone";
}

function slotsFor(inUse: number): number {
  return Math.ceil(inUse * LIMITS.slotsPerUse) + 1;
}

/** The size that most buffers have, and how many do. */
export function mainSize({ sizes }: ObservedSite): readonly [bytes: number, times: number] {
  return sizes.reduce((most, one) => (one[1] > most[1] ? one : most), [0, 0]);
}

function poolFor(site: ObservedSite, cost: Cost, profile: Profile): PoolAdvice {
  const { count } = site;
  const [size, times] = mainSize(site);
  const isOneSize = times >= LIMITS.oneSize * count;
  const remedy = remedyFor(site, isOneSize, profile);
  const name = isBody(site) ? "bodies" : nameOf(site);
  const slots = remedy === "TransferPool" ? laneSlots(profile) : slotsFor(site.inUse ?? 1);
  const bytes =
    remedy === "BufferPool"
      ? size
      : remedy === "collect"
        ? bodyBytes(site, slots, profile.liveBytes)
        : isPaged(remedy)
          ? pageBytes(site, slots)
          : remedy === "readBlocks"
            ? LIMITS.blockBytes
            : site.largest;
  // Of pages, the first block of each size is a new one.
  const fresh = remedy === "collect" ? LIMITS.bodySizes : isPaged(remedy) ? site.sizes.length : 0;
  const eligible = remedy === "BufferPool" ? times : count - fresh;
  return {
    site,
    remedy,
    name,
    slots,
    bytes,
    served: Math.max(0, eligible - slots * site.threads) / count,
    cost,
    code: codeFor(remedy, { name, slots, bytes, site }),
    cautions: cautionsFor(site, remedy, profile),
  };
}

/** Whether a remedy is a pool of pages. */
export function isPaged(remedy: PoolAdvice["remedy"]): boolean {
  return remedy === "PagePool" || remedy === "collect" || remedy === "readFile";
}

/** Room for what is in use, and, because blocks of one size do not serve another, for two of each size beside it. */
function pageBytes({ sizes, largest }: ObservedSite, slots: number): number {
  const used = slots * largest;
  const idle = 2 * sizes.reduce((sum, [bytes]) => sum + bytes, 0);
  return Math.ceil(Math.max(used, Math.min(LIMITS.maxPages, used + idle)) / MB) * MB;
}

/** Bodies have any size: rounded up to an eighth of the largest there are eight, and blocks serve again. */
function bodyPage({ largest }: ObservedSite): number {
  return 2 ** Math.ceil(Math.log2(largest / LIMITS.bodySizes));
}

/**
 * Bodies that are still coming are in use as well, as chunks: twice all that is reachable has room for them. Two idle
 * blocks of each of eight sizes are nine of the largest.
 */
function bodyBytes({ largest }: ObservedSite, slots: number, reachable: number): number {
  const used = Math.max(slots * largest, 2 * reachable);
  return Math.ceil((used + (LIMITS.bodySizes + 1) * largest) / MB) * MB;
}

function remedyFor(site: ObservedSite, isOneSize: boolean, { programs }: Profile): Remedy {
  const { api, sizes, otherSizes, largest, bytes, count } = site;
  const isEven = largest <= (LIMITS.maxWaste * bytes) / count;
  const isFewSizes = sizes.length + otherSizes <= LIMITS.maxSizes;
  if (isBetweenThreads(site)) return "TransferPool";
  if (isBody(site)) return "collect";
  if (api === "Buffer.concat") return programs.length > 0 && areFrames(site) ? "spawnFrames" : "collect";
  if (api === "fs.readFile" || api === "fs.promises.readFile") return isEven || !isFewSizes ? "files" : "readFile";
  if (site.by === FILE_STREAMS) return "readBlocks";
  if (isOneSize) return "BufferPool";
  return isEven || !isFewSizes ? "largest" : "PagePool";
}

/** Whether nearly all sizes lie within an eighth: frames with some bytes of the next one. */
function areFrames({ sizes, otherSizes, count }: ObservedSite): boolean {
  const sorted = sizes.toSorted((a, b) => a[0] - b[0]);
  const at = (share: number): number => {
    let left = share * (count - otherSizes);
    for (const [bytes, times] of sorted) {
      left -= times;
      if (left <= 0) return bytes;
    }
    return 0;
  };
  return at(0.95) <= LIMITS.frameSpread * at(0.05);
}

/** Of the function, without its class; of the file, at the top level. */
function nameOf({ place }: ObservedSite): string {
  const own = place.function
    .split(/[.\s]/)
    .at(-1)!
    .replace(/[^\w$]/g, "");
  const file = /([^/\\]+?)(?:\.\w+)?$/.exec(place.file)?.[1]?.replace(/[^\w$-]/g, "");
  return own !== "" && own !== "anonymous" ? own : file || "buffers";
}

function codeFor(
  remedy: Remedy,
  { name, slots, bytes, site }: { name: string; slots: number; bytes: number; site: ObservedSite },
): string[] {
  const named = JSON.stringify(name);
  const maxBytes = `${bytes / MB} * 2 ** 20`;
  switch (remedy) {
    case "BufferPool":
      return [
        `import { BufferPool } from "millpond";`,
        `const pool = BufferPool.create({ name: ${named}, size: ${digits(bytes)}, max: ${slots} });`,
        `const frame = await pool.acquire();  // waits while all ${slots} are out; pool.tryAcquire() gives undefined instead`,
        `frame.bytes;                         // in the place of ${site.api}: ${digits(bytes)} bytes`,
        "frame.release();                     // when nothing reads or writes it any more",
      ];
    case "PagePool":
      return [
        `import { PagePool } from "millpond";`,
        `const pages = PagePool.create({ name: ${named}, maxBytes: ${maxBytes} });`,
        "const block = await pages.acquire(size);  // waits at the bound; pages.tryAllocate(size) gives undefined instead",
        'const mapping = block.map("readwrite");',
        `mapping.bytes;                            // in the place of ${site.api}`,
        "mapping.unmap();",
        "block.release();                          // when nothing reads or writes it any more",
      ];
    case "TransferPool":
      return [
        `import { TransferPool } from "millpond/shared";`,
        `const pool = TransferPool.create({ name: ${named}, size: ${digits(bytes)}, count: ${slots} });`,
        "const lane = await pool.connect(worker);  // there: await receiveLane(parentPort), lease.release() when done",
        "const lease = await pool.acquire();       // waits while all are out",
        "pool.bytes(lease);                        // write here what is posted now",
        "await lane.send(lease);",
      ];
    case "spawnFrames":
      return [
        `import { spawnFrames } from "millpond/node";`,
        `const frames = spawnFrames(command, args, { count: ${slots}, format: "I420", width, height });`,
        "for await (const frame of frames) {  // waits while all are out, and so does the program",
        "  frame.bytes;                       // in the place of chunks that are joined",
        "  frame.release();",
        "}",
      ];
    case "largest":
      return [
        `import { BufferPool } from "millpond";`,
        `const pool = BufferPool.create({ name: ${named}, size: ${digits(bytes)}, max: ${slots} });`,
        `const block = await pool.acquire();  // waits while all ${slots} are out; pool.tryAcquire() gives undefined instead`,
        `block.bytes.subarray(0, length);     // in the place of ${site.api}`,
        "block.release();                     // when nothing reads or writes it any more",
      ];
    case "files":
      return [
        `import { BufferPool } from "millpond";`,
        `import { readBlocks } from "millpond/node";`,
        `const pool = BufferPool.create({ name: ${named}, size: ${digits(bytes)}, max: ${slots} });`,
        "for await (const file of readBlocks(path, pool)) {  // one block, while no file is larger than a slot",
        "  file.bytes;",
        "  file.release();",
        "}",
      ];
    case "collect":
      return [
        `import { PagePool } from "millpond";`,
        `import { collect } from "millpond/node";`,
        `const pages = PagePool.create({ name: ${named}, maxBytes: ${maxBytes}, pageSize: 2 ** ${Math.log2(bodyPage(site))} });`,
        ...(isBody(site)
          ? [
              "// in the place of body.arrayBuffer(); expected: the content-length, where there is one",
              "const body = await collect(response.body, pages, { detach: true, expected });",
            ]
          : [
              "// in the place of a list of chunks and Buffer.concat",
              "const body = await collect(readable, pages, { detach: true });",
            ]),
        "body.release();  // when body.bytes is not read any more",
      ];
    case "readFile":
      return [
        `import { PagePool } from "millpond";`,
        `import { readFile } from "millpond/node";`,
        `const pages = PagePool.create({ name: ${named}, maxBytes: ${maxBytes} });`,
        "const file = await readFile(path, pages);",
        "file.release();  // when file.bytes is not read any more",
      ];
    case "readBlocks":
      return [
        `import { BufferPool } from "millpond";`,
        `import { readBlocks } from "millpond/node";`,
        `const blocks = BufferPool.create({ name: "blocks", size: ${digits(bytes)}, max: ${slots} });`,
        "for await (const block of readBlocks(path, blocks)) {",
        "  block.bytes;      // in the place of a chunk of fs.createReadStream",
        "  block.release();",
        "}",
      ];
  }
}

function cautionsFor(site: ObservedSite, remedy: Remedy, profile: Profile): string[] {
  const cautions: string[] = [];
  const [, times] = mainSize(site);
  const isZeroed = /^new |alloc$/.test(site.api);
  if (isZeroed && ["BufferPool", "PagePool", "largest"].includes(remedy)) {
    cautions.push(
      'a slot comes with the bytes of its last use: code that relies on zeros needs zero: "acquire", which costs about half of the gain',
    );
  }
  if (["BufferPool", "PagePool", "largest", "collect"].includes(remedy)) {
    cautions.push(
      "release when the last reader has done: after the callback of a write or send, not after the call; what is kept (a cache) is a copy",
    );
  }
  if (remedy === "BufferPool" && times < site.count) {
    cautions.push(`other sizes (${site.count - times} of ${site.count}) stay as they are`);
  }
  if (remedy === "TransferPool") {
    cautions.push(
      "a slot moves there and back, and one thread has it at a time: for several readers of one frame take SharedPool, whose memory JavaScript fills more slowly",
      "the other thread releases each lease; what it keeps (a cache) is a copy",
    );
  }
  if (remedy === "collect" && !isBody(site)) {
    cautions.push(
      "for frames that are cut out of an endless stream: spawnFrames() for a program's, connectSocket() for TCP, both of millpond/node; what else joins chunks gains nothing",
    );
  }
  if (remedy === "collect") {
    cautions.push(
      "detach: true frees each chunk when it is copied, which is most of the gain: the chunks of requests, sockets and files are nobody else's, others may be",
      "maxBytes is for all bodies at a time, those that are coming too: a body without a length that finds the pool full fails with ERR_POOL_FULL",
    );
  }
  if (remedy === "spawnFrames") {
    cautions.push(
      `the program is ${profile.programs.join(" or ")}; if what is joined is a body or a file, collect(readable, pages, { detach: true }) is for that`,
    );
  }
  if (site.inUseFrom === "thread" && remedy !== "TransferPool") {
    cautions.push("the number of slots is what all reachable buffers leave room for: fewer may do");
  }
  if (site.threads > 1 && remedy !== "TransferPool") {
    cautions.push(`${site.threads} threads run this: each has a pool of its own`);
  }
  if (profile.addons.length > 0) {
    cautions.push(
      `native code is loaded (${profile.addons.join(", ")}): where it frees frames only when they are collected, close each frame yourself before there are fewer collections`,
    );
  }
  return cautions;
}

function cheapWords({ share, ms }: Cost): string {
  const time = ms < LIMITS.minMs ? `${ms < 1 ? "less than 1" : Math.round(ms)} ms, ` : "";
  return `making and collecting them takes about ${time}${percent(share)} of the processor time`;
}

function notesOf(profile: Profile, cpu: number, pools: readonly PoolAdvice[]): string[] {
  const notes: string[] = [];
  const { gc, isComplete, isEstimate } = profile;
  const others = gc.majors - gc.majorsByBuffers;
  if (others >= LIMITS.minMajors && gc.majorMs > LIMITS.minCpuShare * cpu && others > gc.majorsByBuffers) {
    notes.push(
      `${others} of ${some(gc.majors, "major collection")} came from objects in the heap, not from buffers: no pool of buffers changes that`,
    );
  }
  if (gc.grownExternal > 2 * profile.bytes && gc.grownExternal > 64 * MB) {
    notes.push(
      `${Math.round((gc.grownExternal - profile.bytes) / MB)} MB that lie outside the heap were made in the course of the run beside what is counted: in buffers of less ` +
        `than ${profile.threshold.toLocaleString("en-US")} bytes, or by native code`,
    );
  }
  if (!isComplete) notes.push("a thread was ended from outside: its last second may be missing");
  if (isEstimate)
    notes.push("there were so many buffers that places are known of one in sixteen: their counts are estimates");
  if (pools.length > 0 && profile.wallMs < 1000) notes.push("the run took less than a second: a longer one tells more");
  return notes;
}

function percent(share: number): string {
  return share < 0.001 ? "0 %" : `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function some(count: number, noun: string): string {
  return `${count.toLocaleString("en-US")} ${noun}${count === 1 ? "" : "s"}`;
}

/** A number as it stands in code. */
function digits(value: number): string {
  return value.toString().replace(/\B(?=(?:\d{3})+$)/g, "_");
}
