/**
 * Unix sockets that carry descriptors (SCM_RIGHTS), which the runtimes' own sockets cannot. Only a peer of the same
 * user is talked to: the socket file is for its owner only, and the kernel is asked who is at the other end.
 */
import { chmodSync } from "node:fs";
import type { KoffiLibrary } from "./koffi.ts";
import type { Peer, SocketOps } from "./native-ops.ts";
import type { PosixMemory } from "./posix.ts";
import { done, made, type NotDone, notDone, type Outcome, systemFailure } from "./result.ts";

/** The numbers and struct layouts of one platform, 64 bits, little-endian. */
interface SocketNumbers {
  /** A socket type that keeps messages apart where there is one. */
  readonly type: number;
  /** Bits for `type` that keep the socket from children, and connect() from waiting for a peer that never accepts. */
  readonly typeFlags: number;
  /** SOL_SOCKET. */
  readonly solSocket: number;
  /** MSG_DONTWAIT, and MSG_NOSIGNAL where there is one: a peer that does not read must not hold this thread. */
  readonly sendFlags: number;
  /** MSG_DONTWAIT, and MSG_CMSG_CLOEXEC where there is one. */
  readonly receiveFlags: number;
  /** MSG_CTRUNC: more descriptors came than there was room for. */
  readonly truncated: number;
  /** Bytes of a path in sockaddr_un. */
  readonly pathBytes: number;
  /** True where sockaddr_un starts with its length (BSD). */
  readonly lengthFirst: boolean;
  /** Bytes of size_t fields in msghdr and cmsghdr: 8 on Linux, 4 (and other places) on macOS. */
  readonly wideHeaders: boolean;
  /** getsockopt level and option that tell the peer's user, and where in the answer pid and uid are. */
  readonly peer: { level: number; option: number; bytes: number; uidAt: number; pidAt: number };
}

/** Linux: run and tested. */
export const LINUX_SOCKETS: SocketNumbers = {
  // SOCK_SEQPACKET: a stream that keeps messages apart.
  type: 5,
  // SOCK_CLOEXEC | SOCK_NONBLOCK.
  typeFlags: 0o2004000,
  solSocket: 1,
  sendFlags: 0x4040,
  receiveFlags: 0x40000040,
  truncated: 8,
  pathBytes: 108,
  lengthFirst: false,
  wideHeaders: true,
  peer: { level: 1, option: 17, bytes: 12, uidAt: 4, pidAt: 0 },
};

/** macOS: written from its headers, not run. */
export const DARWIN_SOCKETS: SocketNumbers = {
  // SOCK_STREAM: there is no SEQPACKET for Unix sockets.
  type: 1,
  typeFlags: 0,
  solSocket: 0xffff,
  sendFlags: 0x80,
  receiveFlags: 0x80,
  truncated: 0x20,
  pathBytes: 104,
  lengthFirst: true,
  wideHeaders: false,
  // LOCAL_PEERCRED of SOL_LOCAL gives a struct xucred: u32 version, uid; the process id is not in it.
  peer: { level: 0, option: 1, bytes: 76, uidAt: 4, pidAt: -1 },
};

const AF_UNIX = 1;
const SCM_RIGHTS = 1;
const POLLIN = 1;
/** Bytes of a note; a descriptor's size, name and version fit many times over. */
const MAX_NOTE = 1024;
/** Room for the one descriptor that is expected and for some that a rude peer adds, so that they can be closed. */
const MAX_DESCRIPTORS = 8;
/** Connections that may wait for accept: as many as every kernel allows. */
const BACKLOG = 128;

/**
 * Throws what koffi throws when libc lacks a call. `own` gives what is made, and kept, a number that ends with this
 * thread.
 */
export function posixSockets(
  libc: KoffiLibrary,
  memory: PosixMemory,
  numbers: SocketNumbers,
  own: (descriptor: number) => Outcome<number> = made,
): SocketOps {
  const socket = libc.func("socket", "int", ["int", "int", "int"]);
  const socketpair = libc.func("socketpair", "int", ["int", "int", "int", "void *"]);
  const bind = libc.func("bind", "int", ["int", "void *", "uint"]);
  const listen = libc.func("listen", "int", ["int", "int"]);
  const connect = libc.func("connect", "int", ["int", "void *", "uint"]);
  const accept = libc.func("accept", "int", ["int", "void *", "void *"]);
  const sendmsg = libc.func("sendmsg", "intptr_t", ["int", "void *", "int"]);
  const recvmsg = libc.func("recvmsg", "intptr_t", ["int", "void *", "int"]);
  const poll = libc.func("poll", "int", ["void *", "ulong", "int"]);
  const getsockopt = libc.func("getsockopt", "int", ["int", "int", "int", "void *", "void *"]);
  const geteuid = libc.func("geteuid", "uint", []);
  const close = libc.func("close", "int", ["int"]);

  /** Undefined once something can be read; else why the wait ended. */
  const waitReadable = (descriptor: number, milliseconds: number): NotDone | undefined => {
    const entry = new DataView(new ArrayBuffer(8));
    entry.setInt32(0, descriptor, true);
    entry.setInt16(4, POLLIN, true);
    const end = performance.now() + milliseconds;
    for (;;) {
      const left = Math.min(Math.max(0, Math.ceil(end - performance.now())), 0x7fffffff);
      const ready = Number(poll(new Uint8Array(entry.buffer), 1, left));
      if (ready > 0) return undefined;
      if (ready === 0) return notDone("timeout", "ETIMEDOUT", `nothing came within ${milliseconds} ms`);
      const errno = memory.errno();
      // A signal that somebody else handles, a profiler's for example.
      if (errno !== "EINTR") return systemFailure("poll", errno, `descriptor ${descriptor}`);
    }
  };

  const peer = (descriptor: number): Outcome<Peer> => {
    const { level, option, bytes, uidAt, pidAt } = numbers.peer;
    const answer = new DataView(new ArrayBuffer(bytes));
    if (Number(getsockopt(descriptor, level, option, new Uint8Array(answer.buffer), new Uint32Array([bytes]))) < 0) {
      return memory.failed("getsockopt", `descriptor ${descriptor} is not a Unix socket with a peer`);
    }
    return made({ uid: answer.getUint32(uidAt, true), pid: pidAt < 0 ? 0 : answer.getInt32(pidAt, true) });
  };

  /** The socket when its peer is of this user; else it is closed. */
  const sameUser = (descriptor: number): Outcome<number> => {
    const who = peer(descriptor);
    if (who.ok && who.value.uid === Number(geteuid())) return made(descriptor);
    close(descriptor);
    if (!who.ok) return who;
    return notDone(
      "refused",
      "FOREIGN_USER",
      `process ${who.value.pid} is of user ${who.value.uid}; memory is shared within one user`,
    );
  };

  const withAddress = (
    path: string,
    use: (address: Uint8Array, descriptor: number) => Outcome<number>,
  ): Outcome<number> => {
    const address = socketAddress(path, numbers);
    if (address === undefined)
      return notDone("refused", "ENAMETOOLONG", `a socket path has 1 to ${numbers.pathBytes - 1} bytes`);
    const descriptor = Number(socket(AF_UNIX, numbers.type | numbers.typeFlags, 0));
    if (descriptor < 0) return memory.failed("socket", "no Unix socket could be made");
    const outcome = use(address, descriptor);
    if (!outcome.ok) close(descriptor);
    return outcome;
  };

  return {
    peer,
    pair() {
      const ends = new Int32Array(2);
      if (Number(socketpair(AF_UNIX, numbers.type | numbers.typeFlags, 0, ends)) < 0)
        return memory.failed("socketpair", "no pair");
      return made([ends[0]!, ends[1]!] as const);
    },
    listen(path) {
      const listening = withAddress(path, (address, descriptor) => {
        if (Number(bind(descriptor, address, address.length)) < 0) return memory.failed("bind", path);
        try {
          // Before listen(): until then nobody can connect, so there is no moment at which others could.
          chmodSync(path, 0o600);
        } catch (error) {
          return notDone("failed", String((error as { code?: unknown }).code), `${path} could not be made private`);
        }
        return Number(listen(descriptor, BACKLOG)) < 0 ? memory.failed("listen", path) : made(descriptor);
      });
      return listening.ok ? own(listening.value) : listening;
    },
    connect(path) {
      const connected = withAddress(path, (address, descriptor) =>
        Number(connect(descriptor, address, address.length)) < 0 ? memory.failed("connect", path) : made(descriptor),
      );
      return connected.ok ? sameUser(connected.value) : connected;
    },
    accept(descriptor, milliseconds) {
      const wait = waitReadable(descriptor, milliseconds);
      if (wait !== undefined) return wait;
      const accepted = Number(accept(descriptor, null, null));
      return accepted < 0 ? memory.failed("accept", `descriptor ${descriptor}`) : sameUser(accepted);
    },
    send(descriptor, passed, note) {
      if (note.length === 0 || note.length > MAX_NOTE)
        return notDone("refused", "BAD_NOTE", `a note has 1 to ${MAX_NOTE} bytes`);
      const message = new Message(memory, numbers, note.slice(), 1);
      message.putDescriptor(passed);
      const sent = Number(sendmsg(descriptor, message.header, numbers.sendFlags));
      return sent === note.length
        ? done(sent)
        : memory.failed("sendmsg", `descriptor ${passed}; is it open, and the peer there?`);
    },
    receive(descriptor, milliseconds) {
      const wait = waitReadable(descriptor, milliseconds);
      if (wait !== undefined) return wait;
      const message = new Message(memory, numbers, new Uint8Array(MAX_NOTE), MAX_DESCRIPTORS);
      const received = Number(recvmsg(descriptor, message.header, numbers.receiveFlags));
      if (received < 0) return memory.failed("recvmsg", `descriptor ${descriptor}`);
      if (received === 0) return notDone("failed", "PEER_GONE", "the other end was closed");
      const descriptors = message.takeDescriptors();
      if (descriptors.length === 1 && (message.flags & numbers.truncated) === 0) {
        const owned = own(descriptors[0]!);
        return owned.ok ? made({ descriptor: owned.value, note: message.note.slice(0, received) }) : owned;
      }
      for (const extra of descriptors) close(extra);
      return notDone(
        "refused",
        "NOT_ONE_DESCRIPTOR",
        `the message carried ${descriptors.length} descriptors, not one; they were closed`,
      );
    },
  };
}

/** sockaddr_un; undefined when the path does not fit, or is an abstract name (which has no permissions). */
function socketAddress(path: string, numbers: SocketNumbers): Uint8Array | undefined {
  const name = new TextEncoder().encode(path);
  if (name.length === 0 || name.length >= numbers.pathBytes || name.includes(0)) return undefined;
  const address = new Uint8Array(2 + numbers.pathBytes);
  if (numbers.lengthFirst) {
    address[0] = address.length;
    address[1] = AF_UNIX;
  } else {
    address[0] = AF_UNIX;
  }
  address.set(name, 2);
  return address;
}

/** A struct msghdr with one iovec and room for descriptors. It keeps every part alive that the header points to. */
class Message {
  readonly header: Uint8Array;
  readonly note: Uint8Array;
  readonly #iovec: BigUint64Array;
  readonly #control: DataView;
  readonly #numbers: SocketNumbers;

  constructor(memory: PosixMemory, numbers: SocketNumbers, note: Uint8Array, descriptors: number) {
    this.#numbers = numbers;
    this.note = note;
    this.#iovec = new BigUint64Array([memory.addressOf(note), BigInt(note.length)]);
    const space = Math.ceil((this.#dataAt + 4 * descriptors) / this.#unit) * this.#unit;
    this.#control = new DataView(new ArrayBuffer(space));
    // Linux: name, namelen (8 + 8), iovec, count (8 + 8), control, its length (8 + 8), flags (8): 56 bytes. musl's
    // fields are narrower with padding behind, which is the same on a little-endian machine. macOS: count 4 + 4, length
    // 4, flags 4: 48.
    const header = new DataView(new ArrayBuffer(56));
    header.setBigUint64(16, memory.addressOf(this.#iovec), true);
    header.setUint32(24, 1, true);
    header.setBigUint64(32, memory.addressOf(this.#control), true);
    header.setUint32(40, space, true);
    this.header = new Uint8Array(header.buffer);
  }

  /** What cmsg sizes are multiples of. */
  get #unit(): number {
    return this.#numbers.wideHeaders ? 8 : 4;
  }

  /** Where descriptors start: behind length, level and type. */
  get #dataAt(): number {
    return this.#numbers.wideHeaders ? 16 : 12;
  }

  get #levelAt(): number {
    return this.#numbers.wideHeaders ? 8 : 4;
  }

  /** Flags that recvmsg left. */
  get flags(): number {
    return new DataView(this.header.buffer).getInt32(this.#numbers.wideHeaders ? 48 : 44, true);
  }

  putDescriptor(descriptor: number): void {
    this.#control.setUint32(0, this.#dataAt + 4, true);
    this.#control.setInt32(this.#levelAt, this.#numbers.solSocket, true);
    this.#control.setInt32(this.#levelAt + 4, SCM_RIGHTS, true);
    this.#control.setInt32(this.#dataAt, descriptor, true);
  }

  /** Every descriptor in every control message. */
  takeDescriptors(): number[] {
    const used = new DataView(this.header.buffer).getUint32(40, true);
    const found: number[] = [];
    for (let at = 0; at + this.#dataAt <= used; ) {
      const length = this.#control.getUint32(at, true);
      if (length < this.#dataAt) break;
      const rights =
        this.#control.getInt32(at + this.#levelAt, true) === this.#numbers.solSocket &&
        this.#control.getInt32(at + this.#levelAt + 4, true) === SCM_RIGHTS;
      for (let data = at + this.#dataAt; rights && data + 4 <= Math.min(at + length, used); data += 4) {
        found.push(this.#control.getInt32(data, true));
      }
      at += Math.ceil(length / this.#unit) * this.#unit;
    }
    return found;
  }
}
