/**
 * Shared memory by name, within one user. A name is a small file in a folder that only this user may enter; it says
 * which process holds the block as which descriptor, and a reader opens it from there (/proc/PID/fd). So the object
 * itself stays a sealed memfd: a POSIX shared memory object could be found by name too, but not sealed, and survives
 * its makers.
 *
 * It needs the publisher alive and in the same PID namespace; where that does not hold, send the descriptor over a
 * socket.
 */
import { closeSync, constants, fstatSync, linkSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { wholeNumber, word, wrongType } from "../util/validate.ts";
import { checkOps } from "./load.ts";
import type { NativeOps } from "./native-ops.ts";
import { fileFailure, privateFolder, userFolder } from "./private-folder.ts";
import { pidNamespace } from "./process-liveness.ts";
import { made, type NotDone, notDone, type Outcome } from "./result.ts";
import { dropDescriptor, keepDescriptor, openSharedMemory, type SharedMemory } from "./shared-memory.ts";

/** A name that is taken; give it back with {@link PublishedName.withdraw}. */
export interface PublishedName {
  /** The name. */
  readonly name: string;
  /** Removes the name, as the end of the block or of the process does; blocks that were opened by it stay. */
  withdraw(): void;
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
 * ("EEXIST") by a process that still has it; one left behind by a process that is gone is taken over.
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
  const refused = write(name, file.value, entry, ops);
  if (refused !== undefined) return refused;
  let kept: SharedMemory | undefined = memory;
  const withdraw = (): void => {
    if (kept === undefined) return;
    const block = kept;
    kept = undefined;
    removeOwn(file.value, entry, ops);
    dropDescriptor(block, withdraw);
  };
  // The name says the descriptor's number: a block that is forgotten must not close it.
  keepDescriptor(memory, withdraw);
  return made({ name, withdraw });
}

/** Undefined once the name is this entry's. */
function write(name: string, file: string, entry: Entry, ops: NativeOps): NotDone | undefined {
  // Written aside and linked into place: a reader never sees half an entry, and of two publishers one wins.
  const draft = `${file}.${process.pid}.${entry.token}.new`;
  try {
    try {
      writeFileSync(draft, JSON.stringify(entry), { mode: 0o600, flag: "wx" });
      return link(draft, file) ? takeOver(name, file, draft, ops) : undefined;
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
    if (!removeStale(file, ops)) return notDone("refused", "EEXIST", `the name "${name}" is taken`);
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
    return fileFailure(error, "there is no such name");
  }
  const { pid, descriptor, inode, namespace = 0 } = entry;
  if (!Number.isInteger(pid) || pid < 1 || !Number.isInteger(descriptor) || descriptor < 0) {
    return notDone("refused", "BAD_NAME_FILE", "the name's file is damaged; remove it");
  }
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
    return opened.status === "forbidden" || opened.status === "unsupported"
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

/** Removes a name whose publisher is gone; false when it is alive, or cannot be judged. */
function removeStale(file: string, ops: NativeOps): boolean {
  const opened = openEntry(file, ops);
  if (opened.ok) ops.shared.close(opened.value);
  if (opened.ok || opened.errno !== "STALE_NAME") return false;
  rmSync(file, { force: true });
  return true;
}

function removeOwn(file: string, entry: Entry, ops: NativeOps): void {
  const lock = takeLock(file, ops);
  try {
    // Somebody else's by now, if this one's block was closed before.
    if (lock.ok && readEntry(file).token === entry.token) rmSync(file, { force: true });
  } catch {
    // It is gone already, which is what was asked for.
  } finally {
    if (lock.ok) ops.shared.close(lock.value);
  }
}

function fileOf(name: string): Outcome<string> {
  if (typeof name !== "string" || !NAME.test(name)) {
    return notDone("refused", "BAD_NAME", "a name has 1 to 64 letters, digits, dots, dashes and underscores");
  }
  const folder = privateFolder(userFolder);
  return folder.ok ? made(join(folder.value, name)) : folder;
}
