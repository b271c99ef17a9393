/** What comes over a lane between processes: bytes of its own, at a cost that is bounded, whoever wrote it. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import { afterEach, describe, expect, it } from "vitest";
import { ProcessPool, serveProcesses } from "../../../src/native.ts";
import { nativeOps } from "../../../src/os/load.ts";
import { isCheap, MAX_COLLECTED } from "../../../src/pools/process/collections.ts";
import { type IpcEnd, ipcPort, socketPort } from "../../../src/pools/process/ports.ts";
import { decode, encode, MAX_GREETING, MAX_MESSAGE } from "../../../src/pools/process/wire.ts";
import { REPEATED, times } from "../../helpers/effort.ts";
import { generator } from "../../helpers/random.ts";
import { code } from "../buffer/pools.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0).reverse()) close();
});

const KINDS = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  DataView,
] as const;

type View = ArrayBufferView<ArrayBuffer>;

function viewsOf(): View[] {
  const views = KINDS.map((Kind, n) => {
    const bytes = Uint8Array.from({ length: 16 }, (_, at) => n * 16 + at);
    return new (Kind as new (buffer: ArrayBuffer) => View)(bytes.buffer);
  });
  return [...views, Buffer.from("some text"), new Uint8Array(0), new Uint8Array(10_000).fill(7)];
}

const bytesOf = ({ buffer, byteOffset, byteLength }: View): number[] => [
  ...new Uint8Array(buffer, byteOffset, byteLength),
];

describe("what came with a lease", () => {
  it.each([0, 1, 2, 3, 4, 5, 6, 7])(
    "lies in buffers of its own, each as long as its view, where the message began at byte %i of another one's",
    (shift) => {
      const sent = viewsOf();
      const message = encode({ sent, buffer: new ArrayBuffer(5), after: "x" });
      const chunk = Buffer.alloc(message.length + 64, 0x73);
      chunk.set(message, shift);
      const read = decode(chunk.subarray(shift, shift + message.length)) as { sent: View[]; buffer: ArrayBuffer };
      chunk.fill(0);
      expect(read.buffer.byteLength).toBe(5);
      expect(new Set(read.sent.map(({ buffer }) => buffer)).size).toBe(sent.length);
      for (const [n, view] of read.sent.entries()) {
        expect(Object.getPrototypeOf(view)).toBe(Object.getPrototypeOf(sent[n]));
        expect([view.byteOffset, view.buffer.byteLength]).toEqual([0, sent[n]!.byteLength]);
        expect(bytesOf(view)).toEqual(bytesOf(sent[n]!));
      }
    },
  );

  it("can be transferred by its receiver: what comes behind it in one piece is read as it was sent", async () => {
    const { here, there, socket } = await connected();
    const got: unknown[] = [];
    const all = new Promise<void>((resolve) => {
      there.onmessage = ({ data }) => {
        const { view, n } = data as { view: Uint8Array<ArrayBuffer>; n: number };
        structuredClone(view, { transfer: [view.buffer] });
        got.push(n);
        if (got.length === 40) resolve();
      };
    });
    // A turn is one write, and some do not fit into one read.
    for (let n = 0; n < 40; n++) here.postMessage({ view: new Uint8Array(n * 1000).fill(n), n });
    await all;
    expect(got).toEqual(Array.from({ length: 40 }, (_, n) => n));
    expect(socket.destroyed).toBe(false);
  });

  it("is read as it was sent in pieces of any length", async () => {
    const { there, raw } = await connected();
    const got: unknown[] = [];
    const values = ["", 1, { list: [1, 2, "three"] }, "x".repeat(300)];
    const all = new Promise<void>((resolve) => {
      there.onmessage = ({ data }) => void (got.push(data) === values.length && resolve());
    });
    const framed = values.flatMap((value) => {
      const bytes = serialize(value);
      const prefix = Buffer.alloc(4);
      prefix.writeUInt32LE(bytes.length);
      return [...prefix, ...bytes];
    });
    const stream = Buffer.from(framed);
    // One reader for each piece: as a socket may give them.
    for (let at = 0, step = 1; at < stream.length; at += step, step = (step % 7) + 1)
      raw(stream.subarray(at, at + step));
    await all;
    expect(got).toEqual(values);
  });
});

describe("a turn of the event loop", () => {
  it("reads no more of a socket than its time: the rest of a chunk comes in later turns, in order, and before the end", async () => {
    const { socket, other } = await pair();
    const port = socketPort(socket, 10, 0);
    const turns: number[] = [];
    let turn = 0;
    let isOver = false;
    const count = (): void => {
      turn++;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    port.onmessage = () => turns.push(turn);
    const closed = new Promise<void>((resolve) => port.addEventListener("close", resolve));
    other.end(Buffer.concat(Array.from({ length: 20 }, (_, n) => framed(serialize(n)))));
    await closed;
    isOver = true;
    expect(turns).toHaveLength(20);
    expect(new Set(turns).size).toBe(20);
  });

  it("of a port that is closed nothing is decoded, and nothing is kept", async () => {
    const { socket, other } = await pair();
    const port = socketPort(socket, 60_000);
    port.close();
    // It would be refused, and the connection cut, if it were read.
    const broken = Buffer.from([1, 2, 3]);
    const read = once(socket, "data");
    other.write(framed(broken));
    await read;
    await new Promise((resolve) => setImmediate(resolve));
    const got: unknown[] = [];
    port.onmessage = ({ data }) => got.push(data);
    expect([got, socket.destroyed]).toEqual([[], false]);
  });
});

describe("a side that reads nothing", () => {
  it("is cut off when more waits for it than a window of messages", async () => {
    const { socket, other } = await pair();
    other.pause();
    const port = socketPort(socket);
    port.mostUnsent = 2 ** 20;
    const closed = once(socket, "close");
    const message = new Uint8Array(2 ** 19);
    let posted = 0;
    for (; !socket.destroyed && posted < 1000; posted++) {
      port.postMessage(message);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await closed;
    expect(posted).toBeLessThan(1000);
  });
});

function framed(bytes: Uint8Array): Buffer {
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32LE(bytes.length);
  return Buffer.concat([prefix, bytes]);
}

async function pair() {
  const folder = mkdtempSync(join(tmpdir(), "mp-"));
  const server = createServer();
  const accepted = once(server, "connection") as Promise<[Socket]>;
  server.listen(join(folder, "s"));
  const other = createConnection({ path: join(folder, "s") });
  const [socket] = await accepted;
  other.on("error", () => {});
  closers.push(() => {
    socket.destroy();
    other.destroy();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { socket, other };
}

/** Two ports over a real socket, and the way to give the second a chunk. */
async function connected() {
  const folder = mkdtempSync(join(tmpdir(), "mp-"));
  const server = createServer();
  const accepted = once(server, "connection") as Promise<[Socket]>;
  server.listen(join(folder, "s"));
  const other = createConnection(join(folder, "s"));
  const [socket] = await accepted;
  closers.push(() => {
    socket.destroy();
    other.destroy();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const there = socketPort(socket);
  return { here: socketPort(other), there, socket, raw: (chunk: Buffer) => void socket.emit("data", chunk) };
}

/** Integers that an engine's collections put into one chain: it does not seed their hash. */
function colliding(count: number): number[] {
  const found: number[] = [];
  for (let key = -(2 ** 30); found.length < count; key++) {
    let hash = key | 0;
    hash = (~hash + (hash << 15)) | 0;
    hash ^= hash >>> 12;
    hash = (hash + (hash << 2)) | 0;
    hash ^= hash >>> 4;
    hash = Math.imul(hash, 2057);
    hash ^= hash >>> 16;
    if ((hash & 0xfff) === 0) found.push(key);
  }
  return found;
}

const MANY = Array.from({ length: MAX_COLLECTED + 1 }, (_, n) => n + 1000);

describe("Sets and Maps in a message", () => {
  it.each([
    ["a Set", () => new Set(MANY)],
    ["a Set of integers that collide", () => new Set(colliding(MAX_COLLECTED + 1))],
    ["a Map", () => new Map(MANY.slice(0, MANY.length / 2 + 1).map((n) => [n, n]))],
    [
      "several that have as many together",
      () => [new Set(MANY.slice(0, 1500)), "'", { deep: [new Set(MANY.slice(0, 1500))] }],
    ],
    ["one in another", () => new Set([...MANY.slice(0, 1200), new Map([[1, new Set(MANY.slice(0, 1200))]])])],
    ["one in the cause of an error", () => new Error("'", { cause: new Set(MANY) })],
  ])("with more members than are cheap to read are refused before one of them is made: %s", (_, make) => {
    const value = make();
    expect(code(() => encode(value))).toBe("ERR_OUT_OF_RANGE");
    expect(() => decode(serialize(value))).toThrow(/members in Sets and Maps/);
  });

  it("with fewer come as they were, beside whatever else there is", () => {
    const value = {
      set: new Set(MANY.slice(0, 1000)),
      map: new Map(MANY.slice(0, 500).map((n) => [n, `'${n};`])),
      ...everything(),
      views: viewsOf(),
    };
    expect(isCheap(encode(value))).toBe(true);
    expect(decode(encode(value))).toEqual(value);
  });

  it("a large message without them is read, whatever its text has", () => {
    const value = { text: "it's; ".repeat(10_000), list: Array.from({ length: 5000 }, (_, n) => ({ n, s: "'" })) };
    expect(decode(encode(value))).toEqual(value);
  });

  it(
    "are counted as the engine reads them: what is let through has no more, whatever bytes are changed",
    REPEATED,
    () => {
      const random = generator(7);
      const base = serialize([
        new Set(MANY.slice(0, 1500)),
        new Map(MANY.slice(0, 250).map((n) => [n, n])),
        everything(),
      ]);
      let read = 0;
      for (let n = 0; n < times(150, 4000); n++) {
        const bytes = Buffer.from(base);
        for (let change = 0; change < 1 + random(3); change++) bytes[2 + random(bytes.length - 2)] = random(256);
        if (random(4) === 0) bytes.copy(bytes, 2 + random(1000), random(1000), 2000 + random(2000));
        if (!isCheap(bytes)) continue;
        let value: unknown;
        try {
          value = deserialize(bytes);
        } catch {
          continue;
        }
        read++;
        expect(collected(value, new Set())).toBeLessThanOrEqual(MAX_COLLECTED);
      }
      expect(read).toBeGreaterThan(0);
    },
  );
});

/** Bytes of V8's format that a peer wrote by hand. */
function forged(...parts: (number | readonly number[])[]): Buffer {
  return Buffer.from([...serialize(0).subarray(0, 2), ...parts.flat()]);
}

/** A list of one value, so many times. */
function list(value: readonly number[], count: number): Buffer {
  return forged(0x41, varint(count), Array.from({ length: count }, () => value).flat(), 0x24, 0, varint(count));
}

/** A length as the format writes it. */
function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))];
}

describe("what costs its receiver more than its bytes say", () => {
  const sparse = [0x61, ...varint(2 ** 19), 0x40, 0, ...varint(2 ** 19)];
  const dense = [0x41, ...varint(300)];
  const source = "\\p{L}".repeat(210);
  it.each([
    ["arrays with holes", () => forged(0x41, 3, ...sparse, ...sparse, ...sparse, 0x24, 0, 3)],
    ["arrays in arrays that have fewer elements than they claim", () => forged(...Array(20).fill(dense).flat())],
    [
      "such arrays in a long message",
      () => Buffer.concat([forged(...Array(40).fill(dense).flat()), Buffer.alloc(9000, 0x30)]),
    ],
    ["a long RegExp", () => serialize(new RegExp(source, "u"))],
    ["a RegExp", () => serialize({ pattern: /a/ })],
    ["many views", () => list([0x5c, 10, 0], 3000)],
    ["many ArrayBuffers", () => list([0x42, 0], 3000)],
    ["many resizable ArrayBuffers", () => list([0x7e, 0, 0], 3000)],
    ["many errors", () => list([0x72, 0x2e], 3000)],
    ["many truth values in objects", () => list([0x79], 3000)],
    ["many empty Sets", () => list([0x27, 0x2c, 0], 3000)],
    ["many objects", () => list([0x6f, 0x7b, 0], 40_000)],
    ["many keys", () => serialize(Object.fromEntries(Array.from({ length: 40_000 }, (_, n) => [`k${n}`, 0])))],
    [
      "many keys beside a Map",
      () => serialize([new Map(), Object.fromEntries(Array.from({ length: 40_000 }, (_, n) => [`k${n}`, 0]))]),
    ],
    [
      "many keys of an array",
      () =>
        serialize([
          new Map(),
          Object.assign([], Object.fromEntries(Array.from({ length: 40_000 }, (_, n) => [`k${n}`, 0]))),
        ]),
    ],
  ])("is refused before it is read: %s", (_, make) => {
    expect(() => decode(make())).toThrow(/places in arrays with holes/);
  });

  it.each([
    ["arrays with holes", () => [new Array(600_000), new Array(600_000)]],
    ["a RegExp", () => new RegExp(source, "u")],
  ])("is refused where it is sent: %s", (_, make) => {
    expect(code(() => encode(make()))).toBe("ERR_OUT_OF_RANGE");
  });

  it("ordinary data is not: long arrays, arrays in arrays, some holes, objects of many keys, buffers", () => {
    const value = {
      long: Array.from({ length: 100_000 }, (_, n) => n & 63),
      nested: Array.from({ length: 300 }, () => Array.from({ length: 300 }, () => [true])),
      holes: Object.assign(new Array(10_000), { 77: 1 }),
      objects: Array.from({ length: 1000 }, (_, n) => ({
        id: n,
        box: [n, n, 2, 2],
        label: "a",
        buffer: new Uint8Array(2),
      })),
    };
    expect(decode(encode(value))).toEqual(value);
  });
});

function everything() {
  const shared = { shared: true };
  return {
    bigints: [0n, -(2n ** 70n)],
    objects: [Object(1), Object("s"), Object(true), Object(false), Object(5n)],
    date: new Date(5),
    // biome-ignore lint/suspicious/noSparseArray: a hole has a tag of its own
    holes: [1, , 3],
    sparse: Object.assign(new Array(100_000), { 5: 1, 99999: 2, name: "n" }),
    errors: [
      new TypeError("wide \u4e00"),
      new RangeError("it's", { cause: { n: 1 } }),
      new Error("x", { cause: "\u4e00" }),
    ],
    references: [shared, shared],
    buffer: new ArrayBuffer(9),
    wide: "\u4e00';".repeat(10),
    empty: [new Set(), new Map(), {}, [], ""],
    nothing: [null, undefined, true, false, -1, 2 ** 31, 0.5],
  };
}

/** Members of all Sets and Maps in a value. */
function collected(value: unknown, seen: Set<unknown>): number {
  if (typeof value !== "object" || value === null || seen.has(value) || ArrayBuffer.isView(value)) return 0;
  seen.add(value);
  const inside = value instanceof Map ? [...value].flat() : value instanceof Set ? [...value] : [];
  let sum = inside.length;
  for (const one of inside) sum += collected(one, seen);
  for (const one of Object.values(value)) sum += collected(one, seen);
  return sum;
}

describe("a message that is too long", () => {
  it("for its channel to a child is not decoded: the lane ends", () => {
    const listeners: ((value: unknown) => void)[] = [];
    const sent: unknown[] = [];
    const end: IpcEnd = {
      connected: true,
      send: (message) => sent.push(message) > 0,
      on: (_, listener) => listeners.push(listener),
      removeListener: () => {},
    };
    const port = ipcPort(end, "id");
    let closed = 0;
    port.addEventListener("close", () => closed++);
    const message = "A".repeat(Math.ceil((MAX_MESSAGE * 4) / 3) + 8);
    listeners[0]!({ millpondLane: "id", message });
    expect([closed, sent]).toEqual([1, [{ millpondLane: "id", closed: true }]]);
  });

  it.runIf(nativeOps().availability.ok)(
    "for one who has shown no ticket ends the connection without a word",
    async () => {
      const folder = mkdtempSync(join(tmpdir(), "mp-"));
      closers.push(() => rmSync(folder, { recursive: true, force: true }));
      const pool = ProcessPool.create({ size: 64, count: 1 });
      closers.push(() => pool.close());
      const server = await serveProcesses(pool, join(folder, "s"));
      closers.push(() => server.close());
      const socket = createConnection(server.path);
      closers.push(() => socket.destroy());
      const heard: Buffer[] = [];
      socket.on("data", (chunk: Buffer) => heard.push(chunk));
      const closed = once(socket, "close");
      const prefix = Buffer.alloc(4);
      prefix.writeUInt32LE(MAX_GREETING + 1);
      socket.write(prefix);
      await closed;
      const hello = serialize("hello");
      expect(Buffer.concat(heard).subarray(4)).toEqual(hello);
    },
  );
});
