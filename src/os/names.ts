/**
 * Shared memory by name, within one user. A name is a small file in a folder that only this user may enter; it says
 * which process holds the block as which descriptor, and a reader opens it from there (/proc/PID/fd). So the object
 * itself stays a sealed memfd: a POSIX shared memory object could be found by name too, but not sealed, and survives
 * its makers.
 *
 * It needs the publisher alive and in the same PID namespace; where that does not hold, send the descriptor over a
 * socket.
 */
import {
  closeSync,
  constants,
  fstatSync,
  linkSync,
  lstatSync,
  openSync,
  readFileSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { wholeNumber, word, wrongType } from "../util/validate.ts";
import { checkOps } from "./load.ts";
import type { NativeOps } from "./native-ops.ts";
import { fileFailure, privateFolder, userFolder } from "./private-folder.ts";
import { pidNamespace } from "./process-liveness.ts";
import { done, made, type NotDone, notDone, type Outcome, type Result } from "./result.ts";
import { dropDescriptor, keepDescriptor, openSharedMemory, type SharedMemory } from "./shared-memory.ts";

/** A name that is taken; give it back with {@link PublishedName.withdraw}. */
export interface PublishedName {
  /** The name. */
  readonly name: string;
  /**
   * Removes the name, as the end of the block or of the process does; blocks that were opened by it stay. It needs no
   * free descriptor. Answers why not where the file cannot be removed: the name stays, and can be withdrawn again.
   */
  withdraw(): Result;
}

/** Bytes that a name's file has at most: four numbers in text are a tenth of it. */
const MAX_ENTRY = 2048;

interface Entry {
  readonly pid: number;
  readonly descriptor: number;
  /** In text, because JSON has no 64-bit numbers. */
  readonly inode: string;
  /** Tells two publications of one block apart. */
  readonly token: string;
  /** The PID namespace that the process's number counts in; 0 or absent: not known. */
  readonly namespace?: number;
}

/** 0.5 s, a thousand times what one who holds the lock needs: it was stopped then. */
const LOCK_TRIES: { readonly times: number; readonly ms: number } = { times: 100, ms: 5 };

/** What a name may look like: it becomes a file name. 64 characters fit every file system. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/**
 * Gives a block a name. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`. The name is refused when it is taken
 * ("EEXIST") by a process that still has it, and where what is no name's file lies in its place ("BAD_NAME_FILE"); one
 * left behind by a process that is gone is taken over.
 */
export function publishName(name: string, memory: SharedMemory, given?: NativeOps): Outcome<PublishedName> {
  word("name", name);
  const ops = checkOps("ops", given);
  checkBlock(memory);
  const file = fileOf(name);
  if (!file.ok) return file;
  if (memory.descriptor < 0) return notDone("refused", "CLOSED", "the block's descriptor is closed");
  const token = Math.random().toString(36).slice(2);
  const entry: Entry = {
    pid: process.pid,
    descriptor: memory.descriptor,
    inode: String(memory.inode),
    token,
    namespace: pidNamespace() ?? 0,
  };
  const written = write(name, file.value, entry, ops);
  if (!written.ok) return written;
  let kept: SharedMemory | undefined = memory;
  let isThere = true;
  const letGo = (): void => {
    const block = kept;
    kept = undefined;
    if (block !== undefined) dropDescriptor(block, blockEnds);
  };
  const withdraw = (): Result => {
    const removed = isThere ? removeOwn(file.value, entry, written.value, ops) : done(0);
    if (!removed.ok) return removed;
    isThere = false;
    letGo();
    return removed;
  };
  // What cannot be removed then is as that of a killed process: nobody opens it, and the next publisher takes it over.
  const blockEnds = (): void => {
    withdraw();
    letGo();
  };
  // The name says the descriptor's number: a block that is forgotten must not close it.
  keepDescriptor(memory, blockEnds);
  return made({ name, withdraw });
}

/** What tells a file from each that has its path later, without opening it: its number may be used again. */
interface FileMark {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly mtimeNs: bigint;
}

/** The mark of the name's file, once the name is this entry's. */
function write(name: string, file: string, entry: Entry, ops: NativeOps): Outcome<FileMark> {
  // Written aside and linked into place: a reader never sees half an entry, and of two publishers one wins.
  const draft = `${file}.${process.pid}.${entry.token}.new`;
  try {
    try {
      writeFileSync(draft, JSON.stringify(entry), { mode: 0o600, flag: "wx" });
      const mark = lstatSync(draft, { bigint: true });
      const refused = link(draft, file) ? takeOver(name, file, draft, ops) : undefined;
      return refused ?? made(mark);
    } finally {
      rmSync(draft, { force: true });
    }
  } catch (error) {
    return fileFailure(error, `the name "${name}" could not be written`);
  }
}

/**
 * Takes a name over that was left behind. Under the lock: the one that is judged and the one that is removed are one,
 * and nobody else's that has taken it over in between.
 */
function takeOver(name: string, file: string, draft: string, ops: NativeOps): NotDone | undefined {
  const lock = takeLock(file, ops);
  if (!lock.ok) return lock;
  try {
    const kept = removeStale(name, file, ops);
    if (kept !== undefined) return kept;
    return link(draft, file) ? notDone("refused", "EEXIST", `the name "${name}" was taken just now`) : undefined;
  } finally {
    ops.shared.close(lock.value);
  }
}

/**
 * A process that changes a name that is there holds the kernel's lock on the folder of names: a descriptor has it until
 * it is closed, also by the end of its process.
 */
function takeLock(file: string, ops: NativeOps): Outcome<number> {
  const word = new Int32Array(new SharedArrayBuffer(4));
  for (let left = LOCK_TRIES.times; ; left--) {
    const lock = ops.shared.lockFolder(dirname(file));
    if (lock.ok || lock.errno !== "EAGAIN" || left === 0) return lock;
    Atomics.wait(word, 0, 0, LOCK_TRIES.ms);
  }
}

/** By shape: a block is an object of its own class or of the caller's. */
function checkBlock(memory: SharedMemory): void {
  if (memory === null || typeof memory !== "object") throw wrongType("memory", "a SharedMemory", memory);
  if (typeof memory.inode !== "bigint") throw wrongType("memory.inode", "a bigint", memory.inode);
  wholeNumber("memory.descriptor", memory.descriptor, -1, 2 ** 31 - 1);
}

/** Opens the block of that name. Answers "ENOENT" when there is none, "STALE_NAME" when its publisher is gone. */
export function openName(name: string, given?: NativeOps): Outcome<SharedMemory> {
  word("name", name);
  const ops = checkOps("ops", given);
  if (!ops.availability.ok) return ops.availability;
  const file = fileOf(name);
  if (!file.ok) return file;
  const descriptor = openEntry(file.value, ops);
  return descriptor.ok ? openSharedMemory(descriptor.value, ops) : descriptor;
}

/**
 * Reads a name's file, which anything may lie in the place of: a fifo would block this thread until somebody writes, a
 * large file would fill its memory. A field that is missing is undefined.
 */
function readEntry(file: string): Entry {
  // Opening a fifo to read it waits for one who writes, unless it is opened like this.
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  try {
    const facts = fstatSync(descriptor);
    const said: unknown = facts.isFile() && facts.size <= MAX_ENTRY ? JSON.parse(readFileSync(descriptor, "utf8")) : {};
    return (said ?? {}) as Entry;
  } finally {
    closeSync(descriptor);
  }
}

function openEntry(file: string, ops: NativeOps): Outcome<number> {
  let entry: Entry;
  try {
    entry = readEntry(file);
  } catch (error) {
    const failure = fileFailure(error, "the name's file cannot be read");
    if (NO_NAME_FILE.test(failure.errno)) return damagedName();
    return failure.errno === "ENOENT" ? { ...failure, hint: "there is no such name" } : failure;
  }
  const { pid, descriptor, inode, namespace = 0 } = entry;
  if (!Number.isInteger(pid) || pid < 1 || !Number.isInteger(descriptor) || descriptor < 0) return damagedName();
  const own = pidNamespace() ?? 0;
  // Its number is another process's here, or nobody's: nothing can be said about it.
  if (own !== 0 && namespace !== 0 && namespace !== own) {
    return notDone(
      "failed",
      "OTHER_NAMESPACE",
      `its publisher is in another PID namespace; connect to it over a socket, or remove ${file} if it is gone`,
    );
  }
  const opened = ops.shared.openOf(pid, descriptor);
  if (!opened.ok) {
    return opened.status === "forbidden" || opened.status === "unsupported" || opened.status === "limit"
      ? opened
      : notDone("failed", "STALE_NAME", `its publisher is gone (${opened.hint})`);
  }
  const facts = ops.shared.inspect(opened.value);
  // The process number or the descriptor may belong to somebody else by now: only the inode says that it is the same
  // object.
  if (facts.ok && String(facts.value.inode) === inode) return opened;
  ops.shared.close(opened.value);
  return facts.ok ? notDone("failed", "STALE_NAME", "its publisher no longer holds it") : facts;
}

/** How it shows that no name's file is there: text that is no JSON, a link, a socket. */
const NO_NAME_FILE = /^(?:SyntaxError|ELOOP|ENXIO)$/;

function damagedName(): NotDone {
  return notDone("refused", "BAD_NAME_FILE", "the name's file is damaged; remove it");
}

/** True when `to` exists already. */
function link(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return false;
  } catch (error) {
    if ((error as { code?: unknown }).code === "EEXIST") return true;
    throw error;
  }
}

/**
 * Removes a name whose publisher is gone; why not, where it is alive, or cannot be judged, or that is no name's file.
 */
function removeStale(name: string, file: string, ops: NativeOps): NotDone | undefined {
  const opened = openEntry(file, ops);
  if (opened.ok) ops.shared.close(opened.value);
  else if (opened.errno === "BAD_NAME_FILE") return opened;
  if (opened.ok || opened.errno !== "STALE_NAME") return notDone("refused", "EEXIST", `the name "${name}" is taken`);
  rmSync(file, { force: true });
  return undefined;
}

/**
 * Removes a name's file, unless it is gone, or another one's. As long as this process has the descriptor that the file
 * names, nobody takes the name over, so no lock is needed, and no descriptor for it: there may be none.
 */
function removeOwn(file: string, entry: Entry, mark: FileMark, ops: NativeOps): Result {
  const facts = ops.shared.inspect(entry.descriptor);
  if (facts.ok && String(facts.value.inode) === entry.inode) return removeMarked(file, entry, mark);
  // Somebody closed it by its number.
  const lock = takeLock(file, ops);
  if (!lock.ok) return lock;
  try {
    return removeMarked(file, entry, mark);
  } finally {
    ops.shared.close(lock.value);
  }
}

function removeMarked(file: string, { token }: Entry, mark: FileMark): Result {
  try {
    const now = lstatSync(file, { bigint: true });
    const isMarked = now.dev === mark.dev && now.ino === mark.ino;
    // Another time: somebody has touched it, or its number is another one's.
    if (isMarked && (now.mtimeNs === mark.mtimeNs || readEntry(file).token === token)) unlinkSync(file);
    return done(0);
  } catch (error) {
    const failure = fileFailure(error, "the name's file could not be removed");
    // It is gone already, which is what was asked for; or what is there now is no name's file, and so not ours.
    return failure.errno === "ENOENT" || NO_NAME_FILE.test(failure.errno) ? done(0) : failure;
  }
}

function fileOf(name: string): Outcome<string> {
  if (typeof name !== "string" || !NAME.test(name)) {
    return notDone("refused", "BAD_NAME", "a name has 1 to 64 letters, digits, dots, dashes and underscores");
  }
  const folder = privateFolder(userFolder);
  return folder.ok ? made(join(folder.value, name)) : folder;
}
