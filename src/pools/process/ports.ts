/**
 * What a lane between processes runs over: whole messages through a child's IPC channel, or through a Unix socket. Both
 * look like the MessagePort that a lane between threads has.
 */
import type { Socket } from "node:net";
import { MillpondError } from "../../util/errors.ts";
import { type LanePort, MessageType } from "../lane/lane.ts";
import { decode, encode, MAX_MESSAGE } from "./wire.ts";

/** A turn of the event loop spends so long on messages of one socket; what else came waits for the next. */
const TURN_MS = 5;

/** Messages that may be under way to one who reads none, by default, and each at its largest. */
const MAX_UNREAD = 9;

/** Bytes of a message's length before it. */
const PREFIX = 4;

/** 5 seconds: for what a closed connection has still to send, and the other side to end it. */
const CLOSING_MS = 5000;

/** Sends and ends; what comes is given to {@link ProcessPort.onMessage}. */
interface Channel {
  /** Whether the other side can be reached, as far as is known. */
  isOpen(): boolean;
  /** Bytes that wait here for the other side to read; undefined: unknown. */
  unsent?(): number;
  /** Counts what has come: it stays the same only while nothing comes. */
  arrived(): number;
  /** Ends it at once. */
  cut?(): void;
  /** Sends messages, each encoded already. */
  send(messages: readonly Uint8Array[]): void;
  /** No message goes out after this; the other side hears so. */
  close(): void;
  /** The same, and the other side does not hear of it. */
  leave?(): void;
}

/**
 * A LanePort over a channel. What is posted goes out with the end of this turn's work: the other process runs at once
 * when it comes, and would find a lease that is not quite there (measured: 2.4 ms there and back instead of 0.03). The
 * price is that a process killed in between leaves a lease whose message is lost, which connect.ts knows how to
 * find.
 */
export class ProcessPort implements LanePort {
  /** Bytes of a message that may come: fewer until it is known who is there. */
  most: number = MAX_MESSAGE;
  /** Bytes that may wait here for the other side: who asks for answers and reads none is cut off beyond them. */
  mostUnsent: number = MAX_UNREAD * MAX_MESSAGE;
  readonly #channel: Channel;
  readonly #closers: (() => void)[] = [];
  readonly #waiting: unknown[] = [];
  #out: Uint8Array[] = [];
  #listener: LanePort["onmessage"] = null;
  #closed = false;

  /** The channel's member calls {@link onMessage} and {@link ended}. */
  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** @internal Whether no message comes or goes any more. */
  get isOver(): boolean {
    return this.#closed;
  }

  /** @internal Counts what has come by the channel, for this port and others. */
  get arrived(): number {
    return this.#channel.arrived();
  }

  /** As MessagePort's: what came before it was set is delivered then. */
  get onmessage(): LanePort["onmessage"] {
    return this.#listener;
  }

  set onmessage(listener: LanePort["onmessage"]) {
    this.#listener = listener;
    while (this.#listener !== null && this.#waiting.length > 0) this.#listener({ data: this.#waiting.shift() });
  }

  /**
   * As MessagePort's, which drops what nobody can receive any more. A lease is not dropped, but stays with its holder:
   * throws `ERR_INACTIVE` then, and what serializing throws.
   */
  postMessage(message: unknown): void {
    if (!this.#closed && this.#channel.isOpen()) {
      this.#out.push(encode(message));
      if (this.#out.length === 1) queueMicrotask(() => this.#flush());
    } else if (Array.isArray(message) && message[0] === MessageType.LEASE) {
      throw new MillpondError("ERR_INACTIVE", "the other process is gone; the lease is still yours, release it");
    }
  }

  /** As MessagePort's. */
  addEventListener(_type: "close", listener: () => void): void {
    this.#closers.push(listener);
    if (this.#closed) queueMicrotask(listener);
  }

  /** As MessagePort's. */
  close(): void {
    if (this.#closed) return;
    this.#flush();
    this.#closed = true;
    this.#channel.close();
  }

  /** @internal As {@link close}, but the other side goes on: what it says from now on is another port's. */
  leave(): void {
    if (this.#closed) return;
    this.#flush();
    this.#closed = true;
    this.#channel.leave?.();
  }

  /** @internal The other side is gone, though the channel does not tell. */
  lose(): void {
    if (!this.#closed) this.#channel.cut?.();
  }

  #flush(): void {
    const out = this.#out;
    if (out.length === 0) return;
    this.#out = [];
    if (this.#closed || !this.#channel.isOpen()) return;
    this.#channel.send(out);
    if ((this.#channel.unsent?.() ?? 0) > this.mostUnsent) this.#channel.cut?.();
  }

  /** @internal A message came, as the other side encoded it. Throws when it is none. Closed, nothing is read. */
  onMessage(bytes: Uint8Array): void {
    if (this.#closed) return;
    this.checkLength(bytes.length);
    const message = decode(bytes);
    if (this.#listener === null) this.#waiting.push(message);
    else this.#listener({ data: message });
  }

  /** @internal Before a message is taken in. Throws when it is too long. */
  checkLength(bytes: number): void {
    if (bytes > this.most) throw new RangeError(`a message of ${bytes} bytes`);
  }

  /** @internal No message comes any more. */
  ended(): void {
    this.#closed = true;
    for (const closer of this.#closers.splice(0)) closer();
  }
}

/** What both ends of a child's IPC channel are: a ChildProcess, and `process` in the child. */
export interface IpcEnd {
  /** As ChildProcess's. */
  send?(message: never, callback: (error: Error | null) => void): boolean;
  /** As ChildProcess's. */
  on(event: "message" | "disconnect", listener: (...args: unknown[]) => void): unknown;
  /** As ChildProcess's. */
  removeListener(event: "message" | "disconnect", listener: (...args: unknown[]) => void): unknown;
  /** As ChildProcess's. */
  readonly connected?: boolean;
}

/** What goes over an IPC channel, beside the program's own messages. */
interface Envelope {
  readonly millpondLane: string;
  /** In base64: a channel may carry JSON only, and a lane carries what can be cloned. */
  readonly message?: string;
  readonly closed?: true;
}

/** What a child says whenever it begins to wait for a request: one that came before nobody may have heard. */
export interface Receiving {
  readonly millpondReceive: true;
}

/** One lane's part of a channel. */
interface ChannelUser {
  onMessage(envelope: Partial<Envelope>): void;
  onReceiving(): void;
  onDisconnect(): void;
}

/**
 * All lanes of a channel share two listeners: a runtime warns of more than ten, and a message is looked at once and not
 * by each.
 */
class IpcChannel {
  readonly users: Map<string, ChannelUser> = new Map();
  /** Messages that came while there were users, the program's own too. */
  messages = 0;

  readonly onMessage = (value: unknown): void => {
    this.messages++;
    const envelope = value as Partial<Envelope & Receiving> | null;
    if (envelope === null || typeof envelope !== "object") return;
    if (typeof envelope.millpondLane === "string") this.users.get(envelope.millpondLane)?.onMessage(envelope);
    else if (envelope.millpondReceive === true) for (const user of [...this.users.values()]) user.onReceiving();
  };

  readonly onDisconnect = (): void => {
    for (const user of [...this.users.values()]) user.onDisconnect();
  };
}

const channels = new WeakMap<IpcEnd, IpcChannel>();

function joinChannel(end: IpcEnd, id: string, user: ChannelUser): void {
  const channel = channels.get(end) ?? new IpcChannel();
  channels.set(end, channel);
  if (channel.users.size === 0) {
    end.on("message", channel.onMessage);
    end.on("disconnect", channel.onDisconnect);
  }
  channel.users.set(id, user);
}

/** With the last lane the listeners go, too: in a child they keep the process alive. */
function leaveChannel(end: IpcEnd, id: string): void {
  const channel = channels.get(end);
  if (channel === undefined || !channel.users.delete(id) || channel.users.size > 0) return;
  end.removeListener("message", channel.onMessage);
  end.removeListener("disconnect", channel.onDisconnect);
}

/**
 * A port over an IPC channel, which carries other messages too: those of the lane `id` are its. `onReceiving` is called
 * when the other side begins to wait for a request.
 */
export function ipcPort(end: IpcEnd, id: string, onReceiving: () => void = () => {}): ProcessPort {
  let isBroken = false;
  const post = (envelope: Envelope): void => {
    try {
      // An error that comes later is the other side's end, which "disconnect" tells.
      end.send!(envelope as never, () => {});
    } catch {
      // A channel of the program's own making. What comes after a message that is missing must not go out.
      if (isBroken) return;
      isBroken = true;
      closed();
      over();
    }
  };
  const onMessage = (envelope: Partial<Envelope>): void => {
    if (envelope.closed === true) over();
    else if (typeof envelope.message === "string") {
      try {
        port.checkLength(Math.floor((envelope.message.length * 3) / 4) - 2);
        port.onMessage(Buffer.from(envelope.message, "base64"));
      } catch {
        // The other side has a channel that works, and would wait without end.
        closed();
        over();
      }
    }
  };
  const closed = (): void => {
    if (end.connected === true) post({ millpondLane: id, closed: true });
  };
  const over = (): void => {
    leaveChannel(end, id);
    port.ended();
  };
  const port = new ProcessPort({
    isOpen: () => !isBroken && end.connected === true,
    // Counted by the listener that all lanes of the channel share.
    arrived: () => channels.get(end)?.messages ?? 0,
    send(messages) {
      for (const message of messages) {
        if (isBroken) return;
        post({ millpondLane: id, message: Buffer.from(message).toString("base64") });
      }
    },
    close() {
      closed();
      leaveChannel(end, id);
    },
    leave: () => leaveChannel(end, id),
    cut: over,
  });
  joinChannel(end, id, { onMessage, onReceiving, onDisconnect: over });
  return port;
}

/**
 * A port over a connected Unix socket of its own. What is not a message of ours ends it. A write that fails ends the
 * writing alone: what the other side wrote before its end is read to the last byte.
 */
export function socketPort(socket: Socket, closingMs: number = CLOSING_MS, turnMs: number = TURN_MS): ProcessPort {
  const inbound = new FrameReader();
  const isCut = keepReading(socket);
  const port = new ProcessPort({
    isOpen: () => socket.writable && !isCut(),
    unsent: () => socket.writableLength,
    arrived: () => turns,
    cut: () => socket.destroy(),
    send: (messages) => socket.write(frames(messages)),
    close: () => endSocket(socket, closingMs),
  });
  const chunks: Buffer[] = [];
  /** In which something was read. */
  let turns = 0;
  let isLate = false;
  let isOver = false;
  /** Reads what has come, a few milliseconds of it in this turn, and then what comes next. */
  const readOn = (): void => {
    const began = performance.now();
    turns++;
    isLate = false;
    try {
      while (chunks.length > 0) {
        const rest = inbound.read(chunks[0]!, port, began + turnMs);
        if (rest.length === 0) chunks.shift();
        else {
          chunks[0] = rest;
          isLate = true;
          socket.pause();
          setImmediate(readOn);
          return;
        }
      }
      socket.resume();
    } catch {
      chunks.length = 0;
      socket.destroy();
    }
    if (isOver) port.ended();
  };
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    if (!isLate) readOn();
  });
  // "close" follows, and tells the lane.
  socket.on("error", () => {});
  socket.on("close", () => {
    isOver = true;
    if (!isLate) port.ended();
  });
  return port;
}

/**
 * What a stream calls to write; documented, for those who make streams. The last argument is to be called at the end.
 */
interface Writes {
  _write?: (data: unknown, encoding: unknown, done: (error?: Error | null) => void) => void;
  _writev?: ((data: unknown, done: (error?: Error | null) => void) => void) | null;
}

/**
 * From a write that fails on, what is written goes nowhere. Where the runtime heard of the failure, it would destroy
 * the socket with what the kernel still has for it; reading ends with the other side's end, which the failure says is
 * there or is near. Answers what tells whether a write has failed.
 */
function keepReading(socket: Socket): () => boolean {
  let isCut = false;
  const writes = socket as unknown as Writes;
  const write = writes._write?.bind(socket);
  const writeAll = writes._writev?.bind(socket);
  const heard =
    (done: () => void) =>
    (error?: Error | null): void => {
      if (error) isCut = true;
      done();
    };
  if (write !== undefined)
    writes._write = (data, encoding, done) => (isCut ? done() : write(data, encoding, heard(done)));
  if (writeAll !== undefined) writes._writev = (data, done) => (isCut ? done() : writeAll(data, heard(done)));
  return () => isCut;
}

/**
 * Ends this side, and goes on reading what the other one still writes, or its write would fail and what it has not read
 * be gone. But the other process may be stopped: that keeps this one not alive, and only for a time.
 */
function endSocket(socket: Socket, closingMs: number): void {
  socket.end();
  socket.unref();
  setTimeout(() => socket.destroy(), closingMs).unref();
}

/**
 * Finds messages, each after its length, in the chunks that come. One that is whole in a chunk is read there; of others
 * each byte is copied once, however small the chunks are.
 */
class FrameReader {
  readonly #prefix: Buffer = Buffer.alloc(PREFIX);
  /** The message that has begun; undefined: its length has not come yet. */
  #message: Buffer | undefined;
  /** Bytes that are there, of the message or of its length. */
  #filled = 0;
  /** Messages that were whole. */
  #read = 0;

  /** Throws what the port throws, and where a length is too large. What is left of the chunk when the time is over. */
  read(chunk: Buffer, port: ProcessPort, until: number): Buffer {
    for (let at = 0, read = this.#read; at < chunk.length; ) {
      // Each that was read is at its end here.
      if (read < this.#read && performance.now() >= until) return chunk.subarray(at);
      read = this.#read;
      const into = this.#message ?? this.#prefix;
      const isWhole = this.#message !== undefined && this.#filled === 0 && chunk.length - at >= into.length;
      const part = chunk.subarray(at, at + into.length - this.#filled);
      if (!isWhole) into.set(part, this.#filled);
      at += part.length;
      this.#filled += part.length;
      if (this.#filled < into.length) break;
      this.#filled = 0;
      if (this.#message === undefined) {
        const length = into.readUInt32LE(0);
        port.checkLength(length);
        // An empty message is none, which the port says.
        if (length === 0) port.onMessage(into.subarray(0, 0));
        this.#message = chunk.length - at >= length ? chunk.subarray(at, at + length) : Buffer.allocUnsafeSlow(length);
      } else {
        this.#message = undefined;
        this.#read++;
        port.onMessage(isWhole ? part : into);
      }
    }
    return chunk.subarray(chunk.length);
  }
}

/** Each after its length. */
function frames(messages: readonly Uint8Array[]): Buffer {
  const whole = Buffer.allocUnsafe(messages.reduce((sum, { length }) => sum + PREFIX + length, 0));
  let at = 0;
  for (const message of messages) {
    whole.writeUInt32LE(message.length, at);
    whole.set(message, at + PREFIX);
    at += PREFIX + message.length;
  }
  return whole;
}
