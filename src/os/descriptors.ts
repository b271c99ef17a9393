/**
 * Handing a descriptor to another process of the same user, without privileges: over a Unix socket (SCM_RIGHTS),
 * whichever process started first, and either of them may have started the other. A child can also inherit one:
 * `spawn(..., { stdio: [..., descriptor] })`.
 *
 * Waiting is asynchronous by asking again at growing intervals: a blocking call on the runtime's own thread pool would
 * take one of its four threads from the file system. Arguments of the wrong type throw `ERR_INVALID_ARG_TYPE` or
 * `ERR_OUT_OF_RANGE`.
 */

import { abortable } from "../util/abortable.ts";
import { abortSignal, milliseconds, readOptions, wholeNumber, word, wrongType } from "../util/validate.ts";
import { checkOps } from "./load.ts";
import type { NativeOps } from "./native-ops.ts";
import { ownFile, type RemoveOwn } from "./own-file.ts";
import { made, notDone, type Outcome, type Result } from "./result.ts";

/** Bounds of an asynchronous wait. */
export interface DescriptorWait {
  /** Milliseconds; default 5000. */
  readonly timeout?: number;
  /** Ends the wait. The promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** The operations; default this process's. */
  readonly ops?: NativeOps;
}

/** A descriptor that came, with the bytes that were sent with it. */
interface Received {
  /** Yours now: close it, or give it to `openSharedMemory`, which takes it over. */
  readonly descriptor: number;
  /** What the sender wrote beside it. */
  readonly note: Uint8Array;
}

/** A place where peers of this user connect to get descriptors. */
export interface DescriptorServer {
  /** Where peers connect. */
  readonly path: string;
  /** Waits for a peer; the answer's value is a socket to send on. Close it with `closeDescriptor`. */
  accept(wait?: DescriptorWait): Promise<Outcome<number>>;
  /** Closes the socket and removes its file, if it is still its own and can be. Does not throw. */
  close(): void;
}

/**
 * First and longest pause between two looks: a peer that is already there is found at once, an idle wait costs nothing.
 */
const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 20;
const DEFAULT_TIMEOUT_MS = 5000;

/**
 * Listens at `path` (up to 107 bytes; it must not exist), readable for this user only. A peer of another user is turned
 * away ("FOREIGN_USER").
 */
export function serveDescriptors(path: string, ops?: NativeOps): Outcome<DescriptorServer> {
  word("path", path);
  const { shared, sockets } = checkOps("ops", ops);
  const listening = sockets.listen(path);
  if (!listening.ok) return listening;
  let remove: RemoveOwn;
  try {
    remove = ownFile(path);
  } catch (error) {
    shared.close(listening.value);
    return notDone("failed", String((error as { code?: unknown }).code), `${path} was taken away at once`);
  }
  let open = true;
  return made({
    path,
    accept: async (wait?: DescriptorWait) =>
      askAgain(checkWait(wait), () =>
        open ? sockets.accept(listening.value, 0) : notDone("failed", "CLOSED", "the server was closed"),
      ),
    close() {
      if (!open) return;
      open = false;
      remove();
      shared.close(listening.value);
    },
  });
}

/** Connects to a {@link serveDescriptors} of the same user. Answers a socket; close it with {@link closeDescriptor}. */
export function connectDescriptors(path: string, ops?: NativeOps): Outcome<number> {
  word("path", path);
  return checkOps("ops", ops).sockets.connect(path);
}

/**
 * The same, and waits while too many others wait there to be accepted. Rejects only when the signal is aborted.
 */
export async function connectDescriptorsSoon(path: string, wait: DescriptorWait): Promise<Outcome<number>> {
  word("path", path);
  const given = checkWait(wait);
  const { sockets } = checkOps("wait.ops", given.ops);
  return askAgain(given, () => {
    const connected = sockets.connect(path);
    return connected.ok || connected.errno !== "EAGAIN" ? connected : { ...connected, status: "timeout" };
  });
}

/** Sends a descriptor with a note of 1 to 1024 bytes. The sender keeps its own descriptor. */
export function sendDescriptor(
  socket: number,
  descriptor: number,
  note: Uint8Array = new Uint8Array(1),
  ops?: NativeOps,
): Result {
  if (!(note instanceof Uint8Array)) throw wrongType("note", "a Uint8Array", note);
  checkDescriptor("socket", socket);
  checkDescriptor("descriptor", descriptor);
  return checkOps("ops", ops).sockets.send(socket, descriptor, note);
}

/** Waits for a descriptor. Rejects only when the signal is aborted. */
export async function receiveDescriptor(socket: number, wait?: DescriptorWait): Promise<Outcome<Received>> {
  checkDescriptor("socket", socket);
  const given = checkWait(wait);
  const { sockets } = checkOps("wait.ops", given.ops);
  return askAgain(given, () => sockets.receive(socket, 0));
}

/** The same, blocking this thread for at most so many milliseconds. */
export function receiveDescriptorSync(socket: number, timeout: number, ops?: NativeOps): Outcome<Received> {
  checkDescriptor("socket", socket);
  milliseconds("timeout", timeout);
  return checkOps("ops", ops).sockets.receive(socket, timeout);
}

/** A connected pair of sockets: keep one, let a child inherit the other. */
export function descriptorPair(ops?: NativeOps): Outcome<readonly [number, number]> {
  return checkOps("ops", ops).sockets.pair();
}

/** Closes a socket or descriptor of this file. */
export function closeDescriptor(descriptor: number, ops?: NativeOps): Result {
  checkDescriptor("descriptor", descriptor);
  return checkOps("ops", ops).shared.close(descriptor);
}

/** The most that fits the C int that descriptors are. */
const MAX_DESCRIPTOR = 0x7fffffff;

function checkDescriptor(name: string, descriptor: number): number {
  return wholeNumber(name, descriptor, 0, MAX_DESCRIPTOR);
}

/** Reads each bound once, and checks all before anything is asked for. */
function checkWait(wait: DescriptorWait | undefined): DescriptorWait {
  const given = readOptions<DescriptorWait>("wait", wait, ["timeout", "signal", "ops"]);
  if (given.timeout !== undefined) milliseconds("wait.timeout", given.timeout);
  abortSignal("wait.signal", given.signal);
  return given;
}

async function askAgain<T>(wait: DescriptorWait, ask: () => Outcome<T>): Promise<Outcome<T>> {
  const { timeout = DEFAULT_TIMEOUT_MS, signal } = wait;
  const end = performance.now() + timeout;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    if (signal?.aborted === true) throw signal.reason;
    const answer = ask();
    if (answer.ok || answer.status !== "timeout") return answer;
    if (performance.now() >= end) return notDone("timeout", answer.errno, `nothing came within ${timeout} ms`);
    await sleep(Math.min(pause, Math.max(0, end - performance.now())), signal);
  }
}

function sleep(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return abortable(signal, ({ resolve, onEnd }) => {
    const timer = setTimeout(resolve, milliseconds);
    onEnd(() => clearTimeout(timer));
  });
}
