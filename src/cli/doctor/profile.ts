/** What the doctor observed of a program: the profiles of its threads, added up. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import {
  type GcProfile,
  PROFILE_FORMAT,
  type ResourceProfile,
  SIZES_MAX,
  type SiteProfile,
  type ThreadProfile,
} from "../../adapters/node/profile/profile.ts";

/** One place, over all threads. */
export interface ObservedSite extends Omit<SiteProfile, "inUse" | "inUseSamples" | "underWay" | "stale" | "staleOf"> {
  /** The most buffers that a thread had in use at a time; undefined: not known. */
  inUse: number | undefined;
  /**
   * How that is known: each buffer of the place was looked for, or it is what all reachable array buffers of the thread
   * leave room for.
   */
  inUseFrom: "place" | "thread" | undefined;
  /** Share of the buffers that stay in use for good, as far as it was seen. */
  keptShare: number;
  /**
   * Bytes of a thread's array buffers that were reachable beyond what all places' figures of use explain, and that this
   * place may keep. Of the bodies that it joins: at the end only, because their chunks are reachable before. Where use
   * is known by the thread only: by how much more was reachable at the end than mostly.
   */
  unexplained: number;
  /** Of a place whose buffers go to other threads; absent: no thread told. */
  held?: Held;
  /** Threads that ran it. */
  threads: number;
}

/** What the threads of a process held when each was collected last. */
interface Held {
  /** Bytes beyond what the use of their own places explains. */
  readonly bytes: number;
  /** Whether each of them was collected when it ended: what was on its way is not in it. */
  readonly isEnd: boolean;
  /** Whether a thread told that did not make them. */
  readonly isReceivers: boolean;
}

/** All that advice is made of. */
export interface Profile {
  /** The version of Node that ran the program. */
  readonly node: string;
  /** Bytes; smaller buffers were not looked at. */
  readonly threshold: number;
  /** From the start of the first thread to its end. */
  readonly wallMs: number;
  readonly processes: number;
  readonly threads: number;
  /** False when a thread was terminated or killed: its last second may be missing. */
  readonly isComplete: boolean;
  /** Of all processes; `maxRss` is the largest one's. Undefined: none told. */
  readonly resources: ResourceProfile | undefined;
  readonly gc: GcProfile;
  /** Milliseconds of the doctor's own collections, which are in no other figure but `resources`. */
  readonly doctorMs: number;
  /** Looks, each with collections of the doctor's own. */
  readonly samples: number;
  /** Share of the large buffers' bytes that had been made at a thread's last look, of the thread that has least. */
  readonly seenShare: number;
  /** Whether every thread's memory was looked at when it ended. */
  readonly isEndSeen: boolean;
  /** The most bytes of array buffers that were reachable, or seemed so; 0: not known. */
  readonly liveBytes: number;
  /** Bytes of large buffers made while nothing was freed and the process was at its largest. */
  readonly grownBy: number;
  /** By how many bytes it grew meanwhile beyond what the engine knows of: native memory. */
  readonly unknownBytes: number;
  /** Large buffers, and their bytes. */
  readonly count: number;
  readonly bytes: number;
  readonly isEstimate: boolean;
  /** Most bytes first. */
  readonly sites: readonly ObservedSite[];
  readonly addons: readonly string[];
  /** Programs that it started, and whose output it reads. */
  readonly programs: readonly string[];
}

/** Characters of a profile: 500 places of 64 sizes are 2 MB. */
const PROFILE_MAX = 64 * 1024 * 1024;

/** The profiles that lie in a folder; what is no whole profile of this version is left out. */
export function readProfiles(folder: string): ThreadProfile[] {
  const names = readdirSync(folder).filter((name) => name.endsWith(".json"));
  return names.flatMap((name) => {
    try {
      const path = join(folder, name);
      if (statSync(path).size > PROFILE_MAX) return [];
      const profile: unknown = JSON.parse(readFileSync(path, "utf8"));
      return isProfile(profile) ? [profile] : [];
    } catch {
      return [];
    }
  });
}

/** The processes that wrote into a folder. */
export function pidsIn(folder: string): number[] {
  const pids = readdirSync(folder).map((name) => Number(/^(\d{1,10})-\d+\.json/.exec(name)?.[1] ?? 0));
  return [...new Set(pids)].filter((pid) => pid > 0);
}

type Check = (value: unknown) => boolean;

const isNumber: Check = (value) => Number.isFinite(value);
const isText: Check = (value) => typeof value === "string";
const isFlag: Check = (value) => typeof value === "boolean";
const orAbsent =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);
const pair: Check = (value) => listOf(isNumber)(value) && (value as readonly unknown[]).length === 2;
const above =
  (limit: number): Check =>
  (value) =>
    isNumber(value) && (value as number) > limit;
/** An object that has at least what is named. */
const shape =
  (checks: Readonly<Record<string, Check>>): Check =>
  (value) =>
    typeof value === "object" &&
    value !== null &&
    Object.entries(checks).every(([key, check]) => check((value as Readonly<Record<string, unknown>>)[key]));
const numbers = (...keys: readonly string[]): Readonly<Record<string, Check>> =>
  Object.fromEntries(keys.map((key) => [key, isNumber]));

const isPlace = shape({ function: isText, file: isText, line: isNumber, column: isNumber });
const isSite = shape({
  ...numbers("otherSizes", "largest", "parts", "followed", "collected", "lifeMs", "inUse", "inUseSamples", "underWay"),
  ...numbers("stale", "staleOf", "transferred", "cloned"),
  api: isText,
  place: isPlace,
  by: orAbsent(isText),
  package: orAbsent(isText),
  caller: orAbsent(isPlace),
  count: above(0),
  bytes: above(0),
  sizes: listOf(pair),
});

/**
 * All of it, before any of it is used: a program may have changed what it is made with, or written something else
 * there.
 */
const isWhole = shape({
  ...numbers("pid", "thread", "wallMs", "bytes", "count", "elsewhere"),
  format: (value) => value === PROFILE_FORMAT,
  node: isText,
  isFinal: isFlag,
  isEstimate: isFlag,
  resources: orAbsent(shape(numbers("userMs", "systemMs", "minorFaults", "majorFaults", "maxRss"))),
  gc: shape({
    ...numbers("minors", "minorMs", "minorsByBuffers", "minorMsByBuffers", "majors", "majorMs", "majorsByBuffers"),
    ...numbers("majorMsByBuffers", "peakExternal", "grownExternal"),
  }),
  live: shape({
    ...numbers("ms", "grownBy", "unknown"),
    looks: listOf(pair),
    falls: listOf(pair),
    atEnd: orAbsent(isNumber),
    held: orAbsent(isNumber),
  }),
  sites: listOf(isSite),
  addons: listOf(isText),
  programs: listOf(isText),
});

function isProfile(value: unknown): value is ThreadProfile {
  return isWhole(value);
}

/** Fewer looks at a place say little about how many of its buffers are in use at a time. */
const LOOKS = 2;

/** Adds up what threads saw; undefined when no thread told anything. */
export function merge(threads: readonly ThreadProfile[], threshold: number): Profile | undefined {
  const [first] = threads;
  if (first === undefined) return undefined;
  const sum = (of: (thread: ThreadProfile) => number): number => threads.reduce((total, one) => total + of(one), 0);
  const most = (of: (thread: ThreadProfile) => number): number => Math.max(...threads.map(of));
  const sites = new Map<string, ObservedSite>();
  for (const thread of threads) {
    const unexplained = unexplainedOf(thread, threads);
    for (const site of thread.sites) {
      const key = JSON.stringify([site.api, site.place, site.caller]);
      const known = sites.get(key);
      const held = isSent(site) ? heldOf(thread, threads) : undefined;
      const use = { ...inUseOf(site, thread), unexplained: unexplained(site), ...(held !== undefined && { held }) };
      if (known === undefined) sites.set(key, { ...site, ...use, threads: 1 });
      else add(known, site, use);
    }
  }
  const gc = { ...first.gc };
  for (const { gc: more } of threads.slice(1)) {
    for (const key of Object.keys(gc) as (keyof GcProfile)[]) gc[key] += more[key];
  }
  return {
    node: first.node,
    threshold,
    wallMs: most(({ wallMs }) => wallMs),
    processes: new Set(threads.map(({ pid }) => pid)).size,
    threads: threads.length,
    isComplete: threads.every(({ isFinal }) => isFinal),
    resources: resourcesOf(threads),
    gc,
    doctorMs: sum(({ live }) => live.ms),
    samples: sum(({ live }) => live.looks.length),
    seenShare: Math.min(...threads.map(seenShareOf)),
    isEndSeen: threads.every(({ live, count }) => live.atEnd !== undefined || count === 0),
    liveBytes: sum((thread) => highest(levelsOf(thread))),
    grownBy: sum(({ live }) => live.grownBy),
    unknownBytes: sum(({ live }) => live.unknown),
    count: sum(({ count }) => count),
    bytes: sum(({ bytes }) => bytes),
    isEstimate: threads.some(({ isEstimate }) => isEstimate),
    sites: [...sites.values()].sort((a, b) => b.bytes - a.bytes),
    addons: [...new Set(threads.flatMap(({ addons }) => addons))],
    programs: [...new Set(threads.flatMap(({ programs }) => programs))],
  };
}

type Levels = readonly (readonly [made: number, bytes: number])[];

/** Falls in a quarter of a run: the lowest of a few has little garbage in it. */
const FALLS = 4;

/**
 * What was reachable in the course of a run: what looks told; without them the lowest that array buffers fell to in
 * each quarter, which has some garbage in it.
 */
function levelsOf({ live, bytes }: ThreadProfile): Levels {
  const { looks, falls, atEnd } = live;
  const parts = Math.min(4, Math.floor(falls.length / FALLS));
  const levels =
    looks.length >= LOOKS
      ? looks
      : Array.from({ length: parts }, (_, i) => {
          const part = falls.slice(
            Math.floor((i * falls.length) / parts),
            Math.floor(((i + 1) * falls.length) / parts),
          );
          return part.reduce((lowest, fall) => (fall[1] < lowest[1] ? fall : lowest));
        });
  // Programs let go of what they have when they end; what they have not is kept.
  const last = levels.at(-1);
  return last !== undefined && atEnd !== undefined && atEnd > last[1] ? [...levels, [bytes, atEnd]] : levels;
}

/** The last look may have missed what is kept since then, unless there was one at the end. */
function seenShareOf({ live: { looks, atEnd }, bytes }: ThreadProfile): number {
  const last = looks.at(-1);
  return last === undefined || atEnd !== undefined ? 1 : Math.min(1, last[0] / Math.max(1, bytes));
}

function highest(levels: Levels): number {
  return levels.reduce((most, [, bytes]) => Math.max(most, bytes), 0);
}

/** A rise by less than this, and than what there was before, may be that of buffers in use. */
const RISE_BYTES = 8_388_608;

/**
 * Share of the bytes made in the second half of a run by which what is reachable grew meanwhile, or since it began to
 * rise far.
 */
function growthOf(levels: Levels): number {
  const [first] = levels.slice(Math.max(0, Math.floor(levels.length / 2) - 1));
  const last = levels.at(-1);
  if (first === undefined || last === undefined) return 0;
  const low = levels.findLast(([, bytes]) => 2 * bytes + RISE_BYTES <= last[1]);
  const since = (from: Levels[number]): number => (last[0] > from[0] ? (last[1] - from[1]) / (last[0] - from[0]) : 0);
  return Math.max(0, since(first), low === undefined ? 0 : since(low));
}

/** By how much more is reachable at the end than mostly. */
function riseOf(levels: Levels): number {
  const sorted = levels.map(([, bytes]) => bytes).sort((a, b) => a - b);
  return Math.max(0, (levels.at(-1)?.[1] ?? 0) - (sorted[sorted.length >> 1] ?? 0));
}

type Use = Pick<ObservedSite, "inUse" | "inUseFrom" | "keptShare">;

function inUseOf(
  { inUse, inUseSamples, underWay, stale, staleOf, bytes, count }: SiteProfile,
  thread: ThreadProfile,
): Use {
  if (inUseSamples >= LOOKS) {
    return { inUse: Math.max(1, inUse) + underWay, inUseFrom: "place", keptShare: staleOf === 0 ? 0 : stale / staleOf };
  }
  const levels = levelsOf(thread);
  if (levels.length === 0) return { inUse: undefined, inUseFrom: undefined, keptShare: 0 };
  const room = Math.ceil((highest(levels) * count) / bytes);
  return { inUse: Math.max(1, Math.min(room, count)) + underWay, inUseFrom: "thread", keptShare: growthOf(levels) };
}

/** Fewer buffers than this are what a program sets up with, and may be all in use. */
const SET_UP = 32;
/** Bytes that a thread may have received and not collected yet. */
export const LAZY_BYTES = 134_217_728;
/** Share of the followed buffers of which none may have gone where a place keeps all. */
const ALL_KEPT = 0.95;
/** The end of a run that has none: the lowest of so many looks has few bodies in it that are still coming. */
const LAST_LOOKS = 3;

/**
 * What a thread's places explain of the array buffers that were reachable in it, and how much of the rest each place
 * may keep: looks follow some buffers for a short while, and what a place keeps from some moment on can be missing from
 * its figures, but not from the memory.
 */
function unexplainedOf(thread: ThreadProfile, threads: readonly ThreadProfile[]): (site: SiteProfile) => number {
  const { live, sites } = thread;
  const levels = levelsOf(thread);
  const first = live.looks[0]?.[1] ?? 0;
  let explained = 0;
  // What was made before the first look only, such as tables, is in none of them but as memory.
  let early = 0;
  let moved = 0;
  for (const site of sites) {
    moved += (site.transferred * site.bytes) / site.count;
    if (site.inUseSamples > 0) explained += explainedBytes(site);
    else if (site.count < SET_UP) explained += site.bytes;
    else early += site.bytes;
  }
  const received = threads.reduce((sum, one) => sum + (one === thread ? 0 : sentBy(one)), 0);
  // One collector's laziness, unless each of them told what it had: then each may have been so between.
  const others = threads.filter(({ pid, thread: id }) => pid === thread.pid && id !== thread.thread);
  const lazy = others.every(({ live }) => live.held !== undefined) ? Math.max(1, others.length) : 1;
  explained += Math.min(early, first) + Math.min(moved + received, lazy * LAZY_BYTES);
  const most = Math.max(highest(levels), live.atEnd ?? 0) - explained;
  const atEnd = live.atEnd ?? Math.min(...live.looks.slice(-LAST_LOOKS).map(([, bytes]) => bytes), highest(levels));
  return (site) => {
    if (site.inUseSamples < LOOKS) return Math.min(site.bytes, riseOf(levels));
    const rest = isJoined(site) ? atEnd - explained : most;
    return Math.max(0, Math.min(rest, site.bytes - usedBytes(site)));
  };
}

function usedBytes({ inUse, underWay, largest, bytes }: SiteProfile): number {
  return Math.min(bytes, (Math.max(1, inUse) + underWay) * largest);
}

/** Bytes that a place can have in use: all of them where looks saw none go. */
function explainedBytes(site: SiteProfile): number {
  const { stale, staleOf, followed, collected, transferred, bytes } = site;
  const isKeeper =
    transferred === 0 && staleOf > 0 && stale >= ALL_KEPT * staleOf && collected <= (1 - ALL_KEPT) * followed;
  return isKeeper ? bytes : usedBytes(site);
}

/** What a thread's own places explain of what it holds. */
function ownBytes({ sites }: ThreadProfile): number {
  return sites.reduce((sum, site) => {
    const { api, inUseSamples, transferred, bytes, count, largest } = site;
    // The receiver has them.
    if (api === "postMessage") return sum;
    const left = bytes * Math.max(0, 1 - transferred / count);
    if (inUseSamples === 0) return sum + left;
    return sum + Math.min(explainedBytes(site), Math.max(left, largest));
  }, 0);
}

/** Buffers may come back, so that the thread which makes them counts as well as those that get them. */
function heldOf(thread: ThreadProfile, threads: readonly ThreadProfile[]): Held | undefined {
  const all = threads.filter(({ pid }) => pid === thread.pid);
  const told = all.filter(({ live }) => live.held !== undefined);
  if (told.length === 0) return undefined;
  return {
    bytes: all.reduce((sum, one) => sum + Math.max(0, (one.live.held ?? 0) - ownBytes(one)), 0),
    isEnd: all.every((one) => one.isFinal && told.includes(one)),
    isReceivers: told.some((one) => one !== thread),
  };
}

function isSent({ api, transferred }: SiteProfile): boolean {
  return api === "postMessage" || transferred > 0;
}

function sentBy({ sites }: ThreadProfile): number {
  return sites.reduce((sum, { api, bytes }) => sum + (api === "postMessage" ? bytes : 0), 0);
}

/** Whether a place joins chunks, which Node makes: they are reachable, and at none of the places. */
export function isJoined({ api, place }: Pick<SiteProfile, "api" | "place">): boolean {
  return api === "Buffer.concat" || place.function === "chunksConcat";
}

function add(to: ObservedSite, site: SiteProfile, use: Use & Pick<ObservedSite, "unexplained" | "held">): void {
  const { inUse, inUseFrom, keptShare, unexplained, held } = use;
  if (held !== undefined && held.bytes >= (to.held?.bytes ?? 0)) to.held = held;
  to.keptShare = Math.max(to.keptShare, keptShare);
  to.unexplained = Math.max(to.unexplained, unexplained);
  if (inUse !== undefined && inUse >= (to.inUse ?? 0)) Object.assign(to, { inUse, inUseFrom });
  to.threads++;
  to.largest = Math.max(to.largest, site.largest);
  for (const key of [
    "count",
    "bytes",
    "otherSizes",
    "parts",
    "followed",
    "collected",
    "lifeMs",
    "transferred",
    "cloned",
  ] as const) {
    to[key] += site[key];
  }
  const sizes = new Map(to.sizes);
  for (const [bytes, times] of site.sizes) {
    if (sizes.has(bytes) || sizes.size < SIZES_MAX) sizes.set(bytes, (sizes.get(bytes) ?? 0) + times);
    else to.otherSizes += times;
  }
  to.sizes = [...sizes];
}

function resourcesOf(threads: readonly ThreadProfile[]): ResourceProfile | undefined {
  const known = threads.flatMap(({ resources }) => (resources === undefined ? [] : [resources]));
  if (known.length === 0) return undefined;
  const sum = (of: (one: ResourceProfile) => number): number => known.reduce((total, one) => total + of(one), 0);
  return {
    userMs: sum(({ userMs }) => userMs),
    systemMs: sum(({ systemMs }) => systemMs),
    minorFaults: sum(({ minorFaults }) => minorFaults),
    majorFaults: sum(({ majorFaults }) => majorFaults),
    maxRss: Math.max(...known.map(({ maxRss }) => maxRss)),
  };
}
