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
  /** Threads that ran it. */
  threads: number;
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
    for (const site of thread.sites) {
      const key = JSON.stringify([site.api, site.place, site.caller]);
      const known = sites.get(key);
      if (known === undefined) sites.set(key, { ...site, ...inUseOf(site, thread), threads: 1 });
      else add(known, site, thread);
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
    liveBytes: sum(({ live }) => highest(levelsOf(live))),
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

type Live = ThreadProfile["live"];
type Levels = readonly (readonly [made: number, bytes: number])[];

/** Falls in a quarter of a run: the lowest of a few has little garbage in it. */
const FALLS = 4;

/**
 * What was reachable in the course of a run: what looks told; without them the lowest that array buffers fell to in
 * each quarter, which has some garbage in it.
 */
function levelsOf({ looks, falls }: Live): Levels {
  if (looks.length >= LOOKS) return looks;
  const parts = Math.min(4, Math.floor(falls.length / FALLS));
  return Array.from({ length: parts }, (_, i) => {
    const part = falls.slice(Math.floor((i * falls.length) / parts), Math.floor(((i + 1) * falls.length) / parts));
    return part.reduce((lowest, fall) => (fall[1] < lowest[1] ? fall : lowest));
  });
}

function highest(levels: Levels): number {
  return levels.reduce((most, [, bytes]) => Math.max(most, bytes), 0);
}

/** Share of the bytes made in the second half of a run by which what is reachable grew meanwhile. */
function growthOf(levels: Levels): number {
  const [first] = levels.slice(Math.max(0, Math.floor(levels.length / 2) - 1));
  const last = levels.at(-1);
  if (first === undefined || last === undefined || last[0] <= first[0]) return 0;
  return Math.max(0, (last[1] - first[1]) / (last[0] - first[0]));
}

function inUseOf(
  { inUse, inUseSamples, underWay, stale, staleOf, bytes, count }: SiteProfile,
  { live }: ThreadProfile,
): Pick<ObservedSite, "inUse" | "inUseFrom" | "keptShare"> {
  if (inUseSamples >= LOOKS) {
    return { inUse: Math.max(1, inUse) + underWay, inUseFrom: "place", keptShare: staleOf === 0 ? 0 : stale / staleOf };
  }
  const levels = levelsOf(live);
  if (levels.length === 0) return { inUse: undefined, inUseFrom: undefined, keptShare: 0 };
  const room = Math.ceil((highest(levels) * count) / bytes);
  return { inUse: Math.max(1, Math.min(room, count)) + underWay, inUseFrom: "thread", keptShare: growthOf(levels) };
}

function add(to: ObservedSite, site: SiteProfile, thread: ThreadProfile): void {
  const { inUse, inUseFrom, keptShare } = inUseOf(site, thread);
  to.keptShare = Math.max(to.keptShare, keptShare);
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
