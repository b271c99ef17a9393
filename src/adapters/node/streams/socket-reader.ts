/**
 * SocketReader: bytes that another process writes into a Unix socket, read by the kernel straight into the caller's
 * memory. `read(2)` is called for exactly the bytes that are asked for, at the moment they are asked for, so that no
 * chunk is allocated and no read goes beyond a frame.
 *
 * Why not the slot itself as the buffer of `net`'s `onread` option: the event loop keeps that buffer's *address*
 * between two reads. When its ArrayBuffer is transferred meanwhile (a pool closed by force, a stale view that was
 * posted to a worker), the next read writes into memory of somebody else. Here `onread` has one byte of its own. It
 * arrives when there is something to read, and the rest is read synchronously into bytes that are looked at in that
 * moment. Measured (1080p from dd, Node 24): 0.38 ms CPU a frame either way; a FIFO needs 0.70, because a pipe gives 64
 * KiB a read and a Unix socket some 200.
 *
 * Life: {@link openSocketPair} makes a reader and the socket for the other process; the reader ends with the last
 * holder of that socket, or by `close()`.
 *
 * Invariants: `onread` is armed only while a byte is waited for, or none has come since; nothing else reads the
 * descriptor; no descriptor is read after its socket was destroyed.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import { mkdtempSync, readSync, rmdirSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MillpondError } from "../../../util/errors.ts";
import { type ByteReader, endAfter } from "../../raw-video/chunk-reader.ts";

/** Rows shorter than this are read together and copied: a system call costs as much as copying a few kilobytes. */
const DIRECT_BYTES = 4096;
/** What is read together: some 30 rows of 1080p, and little of what a frame has. */
const STAGE_BYTES = 1 << 16;
/** What is read together in search of a line feed: a Y4M frame line has 6 bytes. */
const LINE_BYTES = 16;
/** Room for bytes of `onread` behind what is held. */
const SPARE_BYTES = 8;

class SocketReader implements ByteReader {
  waitedMs = 0;
  readonly #socket: Socket;
  readonly #descriptor: number;
  readonly #stage: Buffer = Buffer.allocUnsafeSlow(STAGE_BYTES + SPARE_BYTES);
  /** Held bytes, read and not yet taken: from #at to #end of the stage. */
  #at = 0;
  #end = 0;
  /** Whether the kernel may have more. */
  #readable = false;
  /** Nothing more comes, or is wanted. */
  #over = false;
  #ended = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;
  #limit: number | undefined;
  #cancel: (() => void) | undefined;

  /** Takes over a connected socket whose `onread` calls {@link arrived}. */
  constructor(socket: Socket, descriptor: number) {
    this.#socket = socket;
    this.#descriptor = descriptor;
    socket.on("error", (error) => {
      if (!this.#over) this.#failure = error;
      this.#finish();
    });
    socket.on("end", () => {
      this.#ended = !this.#over;
      this.#finish();
    });
    socket.on("close", () => this.#finish());
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** The byte of `onread` came. Returns whether to go on listening. */
  arrived(byte: number): boolean {
    this.#stage[this.#end++] = byte;
    this.#readable = true;
    const isWanted = this.#wake !== undefined;
    this.#alert();
    return isWanted;
  }

  async atEnd(): Promise<boolean> {
    return this.#at === this.#end && !(await this.#more(1));
  }

  async line(limit: number): Promise<string | undefined> {
    for (let looked = 0; ; ) {
      const end = this.#stage.subarray(0, this.#end).indexOf(0x0a, this.#at + looked);
      if (end !== -1 && end - this.#at <= limit) {
        const text = this.#stage.toString("latin1", this.#at, end);
        this.#at = end + 1;
        return text;
      }
      looked = this.#end - this.#at;
      if (looked > limit) {
        throw new MillpondError("ERR_BAD_DATA", `no line feed within ${limit} bytes where a header line should be`);
      }
      if (!(await this.#more(looked + 1, looked + LINE_BYTES))) return undefined;
    }
  }

  async peek(count: number): Promise<Buffer> {
    await this.#more(count);
    return this.#stage.subarray(this.#at, Math.min(this.#end, this.#at + count));
  }

  take(target: Uint8Array, start: number, end: number): number {
    return this.#take(target, start, end, end - start >= DIRECT_BYTES);
  }

  #take(target: Uint8Array, start: number, end: number, isDirect: boolean): number {
    let position = this.#takeHeld(target, start, end);
    if (isDirect && position < end) return this.#read(target, position, end);
    while (position < end && this.#readable) {
      this.#fillStage(STAGE_BYTES);
      position = this.#takeHeld(target, position, end);
    }
    return position;
  }

  async fill(target: Uint8Array, start: number, end: number): Promise<number> {
    // The end of a long run is read like the rest of it, and nothing beyond it.
    const isDirect = end - start >= DIRECT_BYTES;
    let position = this.#take(target, start, end, isDirect);
    while (position < end && (await this.#more(1))) position = this.#take(target, position, end, isDirect);
    return position;
  }

  async skip(count: number): Promise<number> {
    let skipped = 0;
    while (skipped < count && (await this.#more(1, Math.min(count - skipped, STAGE_BYTES)))) {
      const step = Math.min(count - skipped, this.#end - this.#at);
      this.#at += step;
      skipped += step;
    }
    return skipped;
  }

  close(): Promise<void> {
    this.#finish();
    this.#socket.destroy();
    return Promise.resolve();
  }

  limitWaits(ms: number): void {
    this.#limit = ms;
    if (this.#wake !== undefined) this.#cancel ??= endAfter(ms, this.#expire);
  }

  readonly #expire = (): void => {
    this.#ended = !this.#over;
    this.#finish();
  };

  /** Waits until `count` bytes are held, and reads up to `most` for it; false when there are not so many. */
  async #more(count: number, most: number = count): Promise<boolean> {
    for (;;) {
      if (this.#end - this.#at < count && this.#readable) this.#fillStage(most);
      if (this.#end - this.#at >= count) return true;
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#over) return false;
      const before = performance.now();
      const arrival = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#socket.resume();
      if (this.#limit !== undefined) this.#cancel = endAfter(this.#limit, this.#expire);
      await arrival;
      this.#cancel?.();
      this.#cancel = undefined;
      this.waitedMs += performance.now() - before;
    }
  }

  #takeHeld(target: Uint8Array, start: number, end: number): number {
    const count = Math.min(end - start, this.#end - this.#at);
    if (count === 0) return start;
    target.set(this.#stage.subarray(this.#at, this.#at + count), start);
    this.#at += count;
    return start + count;
  }

  /** Reads behind what is held, until `most` bytes are. */
  #fillStage(most: number): void {
    if (this.#at > 0) {
      this.#stage.copyWithin(0, this.#at, this.#end);
      this.#end -= this.#at;
      this.#at = 0;
    }
    this.#end = this.#read(this.#stage, this.#end, Math.min(most, STAGE_BYTES));
  }

  /** Reads without waiting; returns where it stopped. */
  #read(target: Uint8Array, start: number, end: number): number {
    let position = start;
    while (position < end && this.#readable) {
      if (target.length < end) {
        throw new MillpondError("ERR_DETACHED", "the slot that is read into was transferred away or closed meanwhile");
      }
      // A closed descriptor's number may be somebody else's by now.
      if (this.#over || this.#socket.destroyed) break;
      const count = this.#readSome(target, position, end - position);
      // What a socket has, it gives at once: less than there was room for means that it is empty.
      if (count < end - position) this.#readable = false;
      position += count;
    }
    return position;
  }

  #readSome(target: Uint8Array, offset: number, length: number): number {
    try {
      return readSync(this.#descriptor, target, offset, length, null);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return 0;
      throw error;
    }
  }

  #finish(): void {
    this.#over = true;
    this.#alert();
  }

  #alert(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

/** A reader, and the socket that a child gets as its standard output: close it here as soon as the child has it. */
interface SocketPair {
  readonly reader: SocketReader;
  readonly far: Socket;
}

/** The socket's name in its folder. */
const SOCKET = "s";
/** Bytes of a path that every system's sockets take; longer ones are cut silently by some. */
const MAX_PATH = 100;

/** Of a random name, and of what an end has to say: not to be guessed. */
const SECRET_BYTES = 16;
/** Connections at a time while a pair is made: others' too, where the socket has a name that all can see. */
const MAX_CONNECTIONS = 16;

/**
 * Two connected Unix sockets. On Linux they find each other by a name that is no file, which is gone with them whatever
 * ends this thread; elsewhere, and where such names are refused, in a folder that only this user can enter and that is
 * gone when this resolves. Undefined where the platform has no sockets, or no folder can be made for them. Never
 * rejects.
 */
export async function openSocketPair(): Promise<SocketPair | undefined> {
  const { bun, deno } = process.versions as { bun?: string; deno?: string };
  // Other runtimes give no descriptor, or take no socket as a child's output.
  if (process.platform === "win32" || bun !== undefined || deno !== undefined) return undefined;
  if (process.platform === "linux") {
    try {
      return await connectedPair(`\0millpond-${randomBytes(SECRET_BYTES).toString("hex")}`);
    } catch {
      // Some sandboxes refuse such names, and others' connections may be in the way.
    }
  }
  return await pairInFolder();
}

async function pairInFolder(): Promise<SocketPair | undefined> {
  let folder: string | undefined;
  try {
    // In one step with its entry below, so that an exit at any moment finds it there.
    folder = mkdtempSync(join(tmpdir(), "millpond-"));
    if (folders.size === 0) process.on("exit", removeAll);
    folders.add(folder);
    const path = join(folder, SOCKET);
    return Buffer.byteLength(path) > MAX_PATH ? undefined : await connectedPair(path);
  } catch {
    return undefined;
  } finally {
    if (folder !== undefined) remove(folder);
  }
}

/** Folders that are there now: a few turns of the event loop for each pair. */
const folders: Set<string> = new Set();

function removeAll(): void {
  for (const folder of folders) remove(folder);
}

function remove(folder: string): void {
  folders.delete(folder);
  if (folders.size === 0) process.off("exit", removeAll);
  // Not rmSync(), which opens the folder: there may be no descriptor for it.
  for (const undo of [() => unlinkSync(join(folder, SOCKET)), () => rmdirSync(folder)]) {
    try {
      undo();
    } catch {
      // The socket's name is gone with its server, as a rule; or somebody else changed the folder's rights.
    }
  }
}

/**
 * Two ends of a connection that nobody else has an end of. The near one has reached the server, whose name nobody else
 * can have while it is there. The far one is the one that the near one's secret comes out of: others who see the name
 * of a socket may connect to it too, and first.
 */
function connectedPair(path: string): Promise<SocketPair> {
  return new Promise((resolve, reject) => {
    const secret = randomBytes(SECRET_BYTES);
    let near: Socket | undefined;
    let far: Socket | undefined;
    let reader: SocketReader | undefined;
    /** Accepted, and not known yet. */
    const strangers = new Set<Socket>();
    const server: Server = createServer({ pauseOnConnect: true });
    server.maxConnections = MAX_CONNECTIONS;
    const close = (): void => {
      server.close();
      for (const stranger of strangers) stranger.destroy();
    };
    const fail = (error: Error): void => {
      close();
      near?.destroy();
      far?.destroy();
      reject(error);
    };
    // Out of descriptors, the server's end is accepted and closed at once, and nothing else says so.
    const lost = (): void => fail(new Error("the other end was closed"));
    const ready = (): void => {
      if (far === undefined || near === undefined || near.connecting) return;
      close();
      const descriptor = (near as { _handle?: { fd?: unknown } })._handle?.fd;
      if (typeof descriptor !== "number" || descriptor < 3) {
        fail(new Error("this runtime tells no descriptor"));
        return;
      }
      near.off("error", fail);
      near.off("close", lost);
      reader = new SocketReader(near, descriptor);
      resolve({ reader, far });
    };
    server.on("error", fail);
    server.on("connection", (socket) => {
      strangers.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => strangers.delete(socket));
      let said = Buffer.alloc(0);
      socket.on("data", function onData(bytes: Buffer) {
        said = Buffer.concat([said, bytes]);
        if (said.length < SECRET_BYTES) return;
        socket.off("data", onData);
        if (far !== undefined || said.length > SECRET_BYTES || !timingSafeEqual(said, secret)) {
          socket.destroy();
          return;
        }
        // Its next bytes, of which there are none, are not to be read.
        socket.pause();
        strangers.delete(socket);
        far = socket;
        ready();
      });
      // It was accepted paused.
      socket.resume();
    });
    // Of this process alone, in a worker of a cluster too.
    server.listen({ path, exclusive: true }, () => {
      const buffer = new Uint8Array(1);
      near = connect({
        path,
        onread: { buffer, callback: () => reader === undefined || reader.arrived(buffer[0]!) },
      });
      near.on("error", fail);
      near.on("close", lost);
      near.on("connect", () => {
        near!.write(secret);
        ready();
      });
    });
  });
}
