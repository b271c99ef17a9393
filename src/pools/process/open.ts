/** Making a pool for processes, and joining one: every check before anything is mapped, claimed or changed. */

import { checkOps, nativeOps } from "../../os/load.ts";
import { openName } from "../../os/names.ts";
import type { NativeOps } from "../../os/native-ops.ts";
import { ownIdentity, ownThread, type ProcessIdentity, whyUnknown } from "../../os/process-liveness.ts";
import type { NotDone, Outcome } from "../../os/result.ts";
import {
  borrowSharedMemory,
  createSharedMemory,
  MAX_SHARED_BYTES,
  openSharedMemory,
  type SharedMemory,
} from "../../os/shared-memory.ts";
import { type Clock, checkClock } from "../../util/clock.ts";
import { MillpondError } from "../../util/errors.ts";
import {
  isMade,
  isRevoked,
  oneOf,
  outOfRange,
  readOptions,
  text,
  wholeNumber,
  withMethods,
  wrongType,
} from "../../util/validate.ts";
import {
  joinPool,
  type Made,
  makePool,
  poolFullError,
  type SharedHandle,
  type SharedPoolOptions,
} from "../shared/attach.ts";
import {
  checkShape,
  Header,
  isShared,
  LAYOUT_VERSION,
  layoutOf,
  MAGIC,
  MemberState,
  PoolState,
  type SharedLayout,
  ZERO_POLICIES,
} from "../shared/layout.ts";
import type { Membership } from "../shared/member-status.ts";
import { returnInherited, returnMembership } from "../shared/membership.ts";
import type { AsyncWait, StopWord } from "./futex-waiter.ts";
import {
  anyEnded,
  bytesWithTable,
  type Claim,
  claimRow,
  dropRow,
  inheritRow,
  noteThread,
  type ProcessTable,
  readTable,
  returnRow,
  takeOver,
  takeRow,
  writeTable,
} from "./process-table.ts";

/** How a process takes part. */
export interface ProcessAttachOptions {
  /**
   * How `acquire()` hears of a slot that another process gave back: "thread" (default) by a helper thread that is
   * started at the first wait, "poll" by looking again after 1 to 16 ms.
   */
  asyncWait?: AsyncWait;
  /** Ends `acquireSync()` within 50 ms, with `ERR_INACTIVE`, once it is not 0. */
  stop?: StopWord;
  /**
   * Milliseconds between two looks for processes that have ended; default 250; Infinity: only
   * `ProcessPool.reclaimEnded` looks.
   */
  watch?: number;
  /** Time; default: the platform's. */
  clock?: Clock;
  /** @internal The operations; default this process's. */
  ops?: NativeOps;
}

/**
 * How a pool for processes is made. `zero` is "release" unless said otherwise: a process sees nothing of another's
 * frames.
 */
export interface ProcessPoolOptions
  extends ProcessAttachOptions,
    Omit<SharedPoolOptions, "memory" | "waiter" | "clock"> {}

/** What a `ProcessPool` is made from. */
export interface ProcessMade {
  readonly made: Made;
  readonly table: ProcessTable;
  /** This thread's row; undefined where the row is another thread's of this process. */
  readonly word: bigint | undefined;
  readonly block: SharedMemory | undefined;
  /** Whether the membership comes with what an ended process held. */
  readonly isInherited?: boolean;
}

/** 250 ms: a look at 12 processes takes a quarter of a millisecond. Connections and children are noticed sooner. */
export const WATCH_MS = 250;

/** Somewhat longer than the others take to look. */
const RETRY: { readonly times: number; readonly ms: number } = { times: Math.ceil(WATCH_MS / 20) + 5, ms: 20 };

/** What a process that joins may say. */
export interface ProcessOpenOptions extends ProcessAttachOptions {
  /** For messages; default "shared". */
  name?: string;
  /** The membership that was reserved for this process; default: the next free one. */
  membership?: Membership;
}

const OPEN_KEYS = ["name", "membership", "asyncWait", "stop", "watch", "clock", "ops"] as const;

const CREATE_KEYS = [
  "size",
  "count",
  "align",
  "members",
  "zero",
  "name",
  "asyncWait",
  "stop",
  "watch",
  "clock",
  "ops",
] as const;

/** Makes the object of a pool from what was mapped and claimed for it; when it throws, both are given back. */
export type Construct<T> = (made: ProcessMade, options: ProcessAttachOptions) => T;

/** Maps and writes a new pool, see `ProcessPool.create`. */
export function createProcess<T>(options: ProcessPoolOptions, construct: Construct<T>): T {
  if (options === undefined) throw wrongType("options", "a plain object", options);
  const given = readOptions("options", options, CREATE_KEYS);
  const layout = layoutOf(checkShape(given, "release"));
  const settings = withOps(checkAttach(given));
  const { name = "shared" } = settings;
  const bytes = bytesWithTable(layout);
  if (bytes > MAX_SHARED_BYTES) {
    throw outOfRange(
      "options.count",
      `so many that the pool has at most ${MAX_SHARED_BYTES} bytes, not ${bytes}`,
      given.count,
    );
  }
  const block = orThrow(createSharedMemory(bytes, "millpond-pool", settings.ops), cannot("make", name));
  try {
    const own = knownIdentity(cannot("make", name));
    const { table, word } = writeTable(block.buffer, layout, own);
    noteThread(table, 0, word, ownThread());
    const { size, count, align, members, zero } = layout;
    const made = makePool({ size, count, align, members, zero, name, memory: block.buffer });
    return construct({ made, table, word, block }, settings);
  } catch (error) {
    block.retire();
    throw error;
  }
}

/** Maps a pool and takes a place in it, see `ProcessPool.attach`. */
export function attachProcess<T>(
  source: number | string | SharedMemory | SharedHandle,
  options: ProcessOpenOptions,
  construct: Construct<T>,
): T {
  const settings = withOps(checkAttach(readOptions("options", options, OPEN_KEYS)));
  const { ops, name = "shared" } = settings;
  if (typeof source === "string")
    return joinOwn(orThrow(openName(source, ops), cannot("open", source)), settings, source, construct);
  if (typeof source === "number")
    return joinOwn(orThrow(openSharedMemory(source, ops), cannot("open", name)), settings, name, construct);
  if (source === null || typeof source !== "object" || isRevoked(source)) {
    throw wrongType("source", "a descriptor, a name, a block or a handle", source);
  }
  if ("kind" in source) return joinThread(source, settings, construct);
  // By shape: it may be of another copy of this library. What is read of it is read once.
  const { buffer, size } = shapeOf(source);
  if (!isShared(buffer)) throw wrongType("source", "a descriptor, a name, a block or a handle", source);
  withMethods("source", "a block of shared memory", source, ["retire", "closeDescriptor"]);
  wholeNumber("source.size", size, 0, buffer.byteLength);
  return join(source, buffer, size, settings, name, construct);
}

/**
 * @internal The block of a descriptor that the program has: `leaveDescriptor` gives it back. Throws {@link
 * nativeError}.
 */
export function borrowBlock(descriptor: number, name: string, ops: NativeOps): SharedMemory {
  return orThrow(borrowSharedMemory(descriptor, ops), cannot("open", name));
}

function shapeOf(source: SharedMemory): { readonly buffer: unknown; readonly size: number } {
  try {
    const { buffer, size } = source;
    return { buffer, size };
  } catch {
    // What has the prototype of a view alone throws the engine's TypeError here.
    return { buffer: undefined, size: 0 };
  }
}

/** Joins the pool in a block that was opened for it. */
function joinOwn<T>(block: SharedMemory, options: ProcessOpenOptions, name: string, construct: Construct<T>): T {
  try {
    return join(block, block.buffer, block.size, options, name, construct);
  } catch (error) {
    block.retire();
    throw error;
  }
}

function join<T>(
  block: SharedMemory,
  buffer: SharedArrayBuffer,
  size: number,
  options: ProcessOpenOptions,
  name: string,
  construct: Construct<T>,
): T {
  const { handle, layout } = readHeader(buffer, size, name);
  const table = tableOf(buffer, layout, size, name);
  const i32 = new Int32Array(buffer, 0, layout.slotsAt >>> 2);
  const claim = rowOf(table, i32, layout, options.membership, name);
  const { word, before, isInherited = false } = claim;
  const { member } = claim.membership;
  // Before it is a member that holds something.
  noteThread(table, member, word, ownThread());
  let made: Made | undefined;
  try {
    made = joinPool({ ...handle, membership: claim.membership }, buffer);
    return construct({ made, table, word, block, isInherited }, options);
  } catch (error) {
    // What this call did not change it does not undo: a reservation that it has not activated is another one's.
    if (made === undefined && before !== undefined) returnRow(table, member, word, before);
    else {
      if (isInherited) returnInherited(i32, layout, claim.membership);
      else returnMembership(i32, layout, claim.membership);
      dropRow(table, member, word);
    }
    throw error;
  }
}

function rowOf(
  table: ProcessTable,
  i32: Int32Array,
  layout: SharedLayout,
  given: Membership | undefined,
  name: string,
): Claim {
  const own = knownIdentity(cannot("join", name));
  if (given === undefined) {
    const take = (): Claim | null =>
      claimRow(table, i32, layout, own, MemberState.RESERVED) ?? inheritRow(table, i32, layout, own);
    let claim = take();
    // A supervisor that starts a killed process anew may be faster than the members that clear up after it, and only a
    // member may.
    for (let n = 0; claim === null && n < RETRY.times && anyEnded(table, i32, layout, own); n++) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY.ms);
      claim = take();
    }
    if (claim === null) throw poolFullError(name, layout.members);
    return claim;
  }
  const membership = checkMembership(given, layout);
  const claim = takeOver(table, i32, layout, membership, own);
  if (claim === undefined) throw reservationGone(name, membership);
  return claim;
}

/**
 * A thread of a process that has the block: its membership is reserved, and its row is the process's already. The row
 * of a handle that came from another process becomes this one's with the membership.
 */
function joinThread<T>(handle: SharedHandle, options: ProcessOpenOptions, construct: Construct<T>): T {
  let table: ProcessTable | undefined;
  const made = joinPool(handle, undefined, (memory, layout, name) => {
    table = tableOf(memory, layout, memory.byteLength, name);
  });
  const { layout, memory, membership } = made;
  const i32 = new Int32Array(memory, 0, layout.slotsAt >>> 2);
  let word: bigint | undefined;
  try {
    word = takeRow(table!, i32, layout, membership, ownIdentity());
    if (word !== undefined) noteThread(table!, membership.member, word, ownThread());
    return construct({ made, table: table!, word, block: undefined }, options);
  } catch (error) {
    returnMembership(i32, layout, membership);
    if (word !== undefined) dropRow(table!, membership.member, word);
    throw error;
  }
}

/**
 * What the memory says about its pool, as a handle. Each number is read once, checked as a caller's would be, and the
 * layout is computed anew from them: nothing in the memory is a position. Throws `ERR_BAD_DATA`.
 */
function readHeader(
  memory: SharedArrayBuffer,
  bytes: number,
  name: string,
): { handle: SharedHandle; layout: SharedLayout } {
  if (bytes < 4 * Header.END) throw badMemory(name, `has ${bytes} bytes, too few for a pool's header`);
  const header = new Int32Array(memory, 0, Header.END).slice();
  if (header[Header.STATE] === PoolState.NONE || header[Header.MAGIC] !== MAGIC) {
    throw badMemory(name, "holds no pool");
  }
  if (header[Header.VERSION] !== LAYOUT_VERSION) {
    throw badMemory(name, `has layout version ${header[Header.VERSION]}, this millpond reads ${LAYOUT_VERSION}`);
  }
  const zero = ZERO_POLICIES[header[Header.ZERO]!];
  if (zero === undefined) throw badMemory(name, `has an unknown zero policy, ${header[Header.ZERO]}`);
  const [size, count, align, members] = [Header.SIZE, Header.COUNT, Header.ALIGN, Header.MEMBERS].map(
    (at) => header[at]!,
  );
  let layout: SharedLayout;
  try {
    layout = layoutOf(checkShape({ size: size!, count: count!, align: align!, members: members! }, zero));
  } catch (cause) {
    throw badMemory(name, `has an impossible header (${(cause as Error).message})`, cause);
  }
  if (bytes < bytesWithTable(layout)) {
    throw badMemory(name, `has ${bytes} bytes, and its header promises ${bytesWithTable(layout)}`);
  }
  const { size: slotSize, count: slots, align: step, members: memberships } = layout;
  return {
    handle: {
      kind: "millpond.SharedPool",
      version: LAYOUT_VERSION,
      name,
      pool: header[Header.POOL]!,
      size: slotSize,
      count: slots,
      align: step,
      members: memberships,
      zero,
    },
    layout,
  };
}

function tableOf(memory: SharedArrayBuffer, layout: SharedLayout, bytes: number, name: string): ProcessTable {
  const table =
    bytes < bytesWithTable(layout) ? "there is no table of processes behind its pool" : readTable(memory, layout);
  if (typeof table === "string") throw badMemory(name, `was not made by ProcessPool.create(): ${table}`);
  return table;
}

function checkMembership(membership: Membership, layout: SharedLayout): Membership {
  if (membership === null || typeof membership !== "object" || isRevoked(membership))
    throw wrongType("options.membership", "the membership of a reserved handle", membership);
  const member = wholeNumber("options.membership.member", membership.member, 0, layout.members - 1);
  const status = wholeNumber("options.membership.status", membership.status, 1, 2 ** 30);
  return { member, status };
}

/**
 * @internal Checks what each way to take part has in common. Throws `ERR_INVALID_ARG_TYPE`, `_VALUE`,
 * `ERR_OUT_OF_RANGE`.
 */
export function checkAttach<T extends ProcessAttachOptions & { name?: string }>(options: T): T {
  const { name, clock, ops, asyncWait, stop, watch } = options;
  text("options.name", name, "shared");
  checkClock("options.clock", clock);
  if (ops !== undefined) checkOps("options.ops", ops);
  if (asyncWait !== undefined) oneOf("options.asyncWait", asyncWait, ["thread", "poll"]);
  if (watch !== undefined && watch !== Number.POSITIVE_INFINITY) wholeNumber("options.watch", watch, 1, 2 ** 31 - 1);
  if (stop !== undefined) {
    if (isRevoked(stop)) throw wrongType("options.stop", "a word that ends a wait", stop);
    if (!isMade(Int32Array, stop?.words, "buffer")) throw wrongType("options.stop.words", "an Int32Array", stop?.words);
    wholeNumber("options.stop.index", stop.index, 0, stop.words.length - 1);
  }
  return options;
}

function withOps<T extends ProcessAttachOptions>(options: T): T & { ops: NativeOps } {
  return { ...options, ops: options.ops ?? nativeOps() };
}

/**
 * @internal This process, which others must be able to tell from every other one: of one that nobody can judge, nothing
 * would come back when it is killed. Throws `ERR_UNSUPPORTED`, and `ERR_ALLOCATION_FAILED` when no descriptor is left
 * to ask.
 */
export function knownIdentity(what: string): ProcessIdentity {
  const own = ownIdentity();
  if (own.start !== undefined) return own;
  const { isFull, reason } = whyUnknown();
  throw new MillpondError(
    isFull ? "ERR_ALLOCATION_FAILED" : "ERR_UNSUPPORTED",
    `${what}: ${reason}, and without it nobody could see that this process has ended; ${isFull ? "close some files, or raise ulimit -n" : "let it read /proc"}`,
    { status: isFull ? "limit" : "forbidden", errno: isFull ? "EMFILE" : "NO_IDENTITY" },
  );
}

function reservationGone(name: string, { member }: Membership): MillpondError {
  return new MillpondError(
    "ERR_POOL_DEAD",
    `the membership of shared pool "${name}" that was reserved for this process was taken back or used; reserve() another`,
    { pool: name, member },
  );
}

function badMemory(name: string, what: string, cause?: unknown): MillpondError {
  const options = cause === undefined ? undefined : { cause };
  return new MillpondError(
    "ERR_BAD_DATA",
    `cannot join shared pool "${name}": the memory ${what}`,
    { pool: name },
    options,
  );
}

function cannot(verb: string, name: string): string {
  return `cannot ${verb} shared pool "${name}" between processes`;
}

/** What a native step made; throws {@link nativeError} when it was not done. */
export function orThrow<T>(outcome: Outcome<T>, what: string): T {
  if (outcome.ok) return outcome.value;
  throw nativeError(outcome, what);
}

/** The error for a native step that was not done: `details` has its status and errno. */
export function nativeError(why: NotDone, what: string): MillpondError {
  const codes = {
    unsupported: "ERR_UNSUPPORTED",
    refused: "ERR_BAD_DATA",
    forbidden: "ERR_BAD_DATA",
    limit: "ERR_ALLOCATION_FAILED",
    timeout: "ERR_INACTIVE",
    failed: "ERR_INACTIVE",
  } as const;
  return new MillpondError(codes[why.status], `${what}: ${why.hint} (${why.errno})`, {
    status: why.status,
    errno: why.errno,
  });
}
