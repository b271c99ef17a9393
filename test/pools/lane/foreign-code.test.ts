/**
 * A TransferPool whose buffers are in other hands too: getters in the data that is sent, buffers that a holder made
 * untransferable, peers that answer anything. A send goes or changes nothing, and no slot is lost.
 */
import { MessageChannel, markAsUntransferable } from "node:worker_threads";
import { describe, expect, it, vi } from "vitest";
import { type Lane, MessageType } from "../../../src/pools/lane/lane.ts";
import { receiveLane } from "../../../src/pools/lane/receive.ts";
import { TransferPool } from "../../../src/pools/lane/transfer-pool.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { code } from "../buffer/pools.ts";
import { type Peer, settled, toOwner, toRemote } from "./peers.ts";

const SIZE = 8;

async function pair(count = 1, window = 4) {
  const { port1, port2 } = new MessageChannel();
  const pool = TransferPool.create({ size: SIZE, count });
  const [near, far] = await Promise.all([pool.connect(port2 as never, { window }), receiveLane(port1 as never)]);
  const remote = far.pool as TransferPool;
  return { pool, near, far, remote };
}

function detach(bytes: Uint8Array): void {
  structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] });
}

/** A connected pool, and the port of a peer that says whatever it likes. */
async function hostile(count = 1): Promise<Peer & { readonly pool: TransferPool }> {
  const pool = TransferPool.create({ size: SIZE, count });
  return { pool, ...(await toOwner(pool)) };
}

/** The far side of a pool that says whatever it likes. */
async function hostilePool(): Promise<Omit<Peer, "lane"> & { readonly far: Lane; readonly remote: TransferPool }> {
  const { lane: far, ...peer } = await toRemote();
  return { far, remote: far.pool as TransferPool, ...peer };
}

describe("a getter in the data of a lease that is being sent", () => {
  it.each(["near", "far"])(
    "that transfers the lease's bytes away: the send is refused, the lease stays (%s)",
    async (side) => {
      const { pool, near, far, remote } = await pair();
      const [lane, mine] = side === "near" ? [near, pool] : [far, remote];
      const lease = await mine.acquire();
      const { credit } = lane;
      const bytes = mine.bytes(lease);
      const data = {
        get x() {
          detach(bytes);
          return 1;
        },
      };
      expect(code(() => lane.trySend(lease, data))).toBe("ERR_DETACHED");
      expect([lane.credit, code(() => mine.bytes(lease)), code(() => lease.release())]).toEqual([
        credit,
        "ERR_DETACHED",
        "ERR_DETACHED",
      ]);
      await settled();
      expect([pool.stats().free, near.pending, far.pending]).toEqual([1, 0, 0]);
      expect(pool.bytes(pool.tryAcquire()!).length).toBe(SIZE);
      pool.validate();
    },
  );

  it("that is read last of all, deep inside, is seen as well", async () => {
    const { pool, near, far } = await pair();
    const lease = pool.tryAcquire()!;
    const bytes = pool.bytes(lease);
    const late = {
      get x() {
        detach(bytes);
        return 1;
      },
    };
    expect(code(() => near.trySend(lease, [1, new Map([[1, { a: [late] }]])]))).toBe("ERR_DETACHED");
    await settled();
    expect(far.pending).toBe(0);
  });

  it.each(["near", "far"])(
    "that ends the lane: the lease is still the sender's, and the error says so (%s)",
    async (side) => {
      const { pool, near, far, remote } = await pair();
      const [lane, mine] = side === "near" ? [near, pool] : [far, remote];
      const lease = await mine.acquire();
      mine.bytes(lease).fill(3);
      const data = {
        get x() {
          lane.lost();
          return 1;
        },
      };
      expect(() => lane.trySend(lease, data)).toThrow(/the lane.* has ended; slot 0 .* is still yours, release it/);
      expect([...mine.bytes(lease)]).toEqual(new Array(SIZE).fill(3));
      lease.release();
      await settled();
      expect(pool.stats()).toEqual({ count: 1, free: 1, held: 0, away: 0 });
      pool.validate();
    },
  );

  it("that closes the pool by force: the send says that it was closed", async () => {
    const { pool, near } = await pair();
    const lease = pool.tryAcquire()!;
    const data = {
      get x() {
        pool.close({ force: true });
        return 1;
      },
    };
    expect(() => near.trySend(lease, data)).toThrow(/cannot send slot 0 .*: it was closed/);
    expect(code(() => lease.release())).toBe("ERR_POOL_DEAD");
    pool.validate();
  });

  it("that releases, sends, retains, looks at and takes: each is refused for that lease, and works for others", async () => {
    const { pool, near, far } = await pair(3);
    const lease = pool.tryAcquire()!;
    const other = pool.tryAcquire()!;
    const said: unknown[] = [];
    let text = "";
    const data = {
      get x() {
        said.push(
          code(() => lease.release()),
          code(() => near.trySend(lease)),
          code(() => pool.retain(lease)),
          code(() => pool.bytes(lease)),
          near.trySend(other, "other"),
          pool.tryAcquire()?.index,
          code(() => pool.retire()),
          code(() => pool.validate()),
          near.close() instanceof Promise,
        );
        try {
          pool.bytes(lease);
        } catch (error) {
          text = (error as Error).message;
        }
        return 1;
      },
    };
    expect(near.trySend(lease, data)).toBe(true);
    expect(said).toEqual([
      "ERR_DOUBLE_RELEASE",
      "ERR_USE_AFTER_RELEASE",
      "ERR_USE_AFTER_RELEASE",
      "ERR_USE_AFTER_RELEASE",
      true,
      2,
      "ok",
      "ok",
      true,
    ]);
    expect(text).toContain("it is being sent");
    await settled();
    expect([(await far.receive())!.data, (await far.receive())!.data, await far.receive()]).toEqual([
      "other",
      { x: 1 },
      undefined,
    ]);
  });

  it("that makes the bytes untransferable: a copy of them goes", async () => {
    const { pool, near, far, remote } = await pair();
    const lease = pool.tryAcquire()!;
    const bytes = pool.bytes(lease).fill(5);
    const data = {
      get x() {
        markAsUntransferable(bytes.buffer);
        return 1;
      },
    };
    expect(near.trySend(lease, data)).toBe(true);
    bytes.fill(6);
    const { lease: there } = (await far.receive())!;
    expect([...remote.bytes(there)]).toEqual(new Array(SIZE).fill(5));
    there.release();
    await vi.waitUntil(() => pool.stats().free === 1);
  });
});

describe("data that runs code when it is sent", () => {
  class Odd {
    declare x: number;
    constructor(run: () => void) {
      Object.defineProperty(this, "x", {
        enumerable: true,
        get() {
          run();
          return 1;
        },
      });
    }
  }

  it.each([
    [
      "an object",
      (run: () => void) => ({
        ...{ n: 1 },
        get x() {
          run();
          return 1;
        },
      }),
    ],
    ["an object without prototype", (run: () => void) => Object.assign(Object.create(null), { a: new Odd(run) })],
    ["an array", (run: () => void) => [1, new Odd(run)]],
    ["an object of a class", (run: () => void) => new Odd(run)],
    ["a Set in an object", (run: () => void) => ({ n: 1, set: new Set([new Odd(run)]) })],
    ["an Error's cause", (run: () => void) => ({ error: Object.assign(new Error("x"), { cause: new Odd(run) }) })],
  ] as const)("%s: what it does to the lease's bytes is seen", async (_name, make) => {
    const { pool, near, far } = await pair();
    const lease = pool.tryAcquire()!;
    const bytes = pool.bytes(lease);
    let isRun = false;
    const data = make(() => {
      isRun = true;
      detach(bytes);
    });
    expect([code(() => near.trySend(lease, data)), isRun]).toEqual(["ERR_DETACHED", true]);
    await settled();
    expect([far.pending, near.credit]).toEqual([0, 4]);
  });

  it("a Proxy, whatever its traps do: the send is refused, and the lease stays", async () => {
    const { pool, near } = await pair();
    const lease = pool.tryAcquire()!;
    const odd: ProxyHandler<object>[] = [
      {},
      { getPrototypeOf: () => Object.prototype, ownKeys: () => ["a"], getOwnPropertyDescriptor: () => undefined },
      { getPrototypeOf: () => null },
    ];
    for (const handler of odd)
      expect(code(() => near.trySend(lease, new Proxy({ a: 1 }, handler)))).toBe("ERR_INVALID_ARG_VALUE");
    const thrown = new RangeError("mine");
    const throwing = new Proxy(
      {},
      {
        getPrototypeOf() {
          throw thrown;
        },
      },
    );
    expect(() => near.trySend(lease, throwing)).toThrow(thrown);
    pool.bytes(lease)[0] = 1;
    expect(near.credit).toBe(4);
    lease.release();
  });
});

describe("bytes that a holder made untransferable", () => {
  it("and released: the other side's acquire() gets new ones, and nobody the holder's", async () => {
    const { pool, remote } = await pair();
    const lease = pool.tryAcquire()!;
    const kept = pool.bytes(lease);
    markAsUntransferable(kept.buffer);
    lease.release();
    for (let n = 0; n < 3; n++) {
      const there = await remote.acquire();
      remote.bytes(there).fill(1);
      kept.fill(9);
      expect([...remote.bytes(there)]).toEqual(new Array(SIZE).fill(1));
      there.release();
    }
    await vi.waitUntil(() => pool.stats().free === 1);
  });

  it("and released: the next holder can send them, as a copy, and the slot has new ones then", async () => {
    const { pool, near, far, remote } = await pair();
    const lease = pool.tryAcquire()!;
    const kept = pool.bytes(lease);
    markAsUntransferable(kept.buffer);
    lease.release();
    const next = pool.tryAcquire()!;
    pool.bytes(next).fill(4);
    await near.send(next, { n: 1 });
    kept.fill(9);
    const { lease: there } = (await far.receive())!;
    expect([...remote.bytes(there)]).toEqual(new Array(SIZE).fill(4));
    there.release();
    await vi.waitUntil(() => pool.stats().free === 1);
    pool.bytes(pool.tryAcquire()!).fill(2);
    expect(kept[0]).toBe(9);
  });

  it("on the other side: release() and send() work there, and the slot comes back", async () => {
    const { pool, near, far, remote } = await pair();
    const released = await remote.acquire();
    markAsUntransferable(remote.bytes(released).buffer);
    released.release();
    expect(code(() => released.release())).toBe("ERR_DOUBLE_RELEASE");
    const sent = await remote.acquire();
    markAsUntransferable(remote.bytes(sent).fill(8).buffer);
    await far.send(sent, { n: 1 });
    const { lease: back } = (await near.receive())!;
    expect([...pool.bytes(back)]).toEqual(new Array(SIZE).fill(8));
    back.release();
    expect(pool.stats()).toEqual({ count: 1, free: 1, held: 0, away: 0 });
    pool.validate();
  });

  it("that cannot be copied for want of memory: the send is refused, and the lease stays", async () => {
    const { pool, near } = await pair();
    const lease = pool.tryAcquire()!;
    markAsUntransferable(pool.bytes(lease).buffer);
    const Bytes = Uint8Array;
    vi.stubGlobal(
      "Uint8Array",
      new Proxy(Bytes, {
        construct(target, args, kind) {
          if (args[0] === SIZE) throw new RangeError("Array buffer allocation failed");
          return Reflect.construct(target, args, kind) as object;
        },
      }),
    );
    try {
      expect(code(() => near.trySend(lease))).toBe("ERR_ALLOCATION_FAILED");
    } finally {
      vi.unstubAllGlobals();
    }
    expect([pool.bytes(lease).length, near.credit]).toEqual([SIZE, 4]);
    lease.release();
  });
});

describe("a peer that answers anything", () => {
  it("sends lease 0 back with the identity -0: it is not taken in, and comes back at the end of the lane", async () => {
    const { pool, lane, port, heard } = await hostile();
    await lane.send(pool.tryAcquire()!);
    await vi.waitUntil(() => heard.length > 0);
    const [, [id, buffer]] = heard[0] as [number, [number, ArrayBuffer]];
    expect(id).toBe(0);
    port.postMessage([MessageType.LEASE, [-0, buffer]], [buffer]);
    port.postMessage([MessageType.CONTROL, ["return", -0, undefined]]);
    await settled();
    expect([lane.pending, pool.stats().away]).toEqual([0, 1]);
    port.close();
    await vi.waitUntil(() => pool.stats().free === 1);
    pool.validate();
  });

  it("sends a buffer back that can be resized: the slot gets one that cannot", async () => {
    const { pool, lane, port, heard } = await hostile();
    await lane.send(pool.tryAcquire()!);
    await vi.waitUntil(() => heard.length > 0);
    const odd = new (ArrayBuffer as unknown as new (n: number, o: object) => ArrayBuffer)(SIZE, { maxByteLength: 64 });
    port.postMessage([MessageType.LEASE, [0, odd]], [odd]);
    const { lease } = (await lane.receive())!;
    expect((pool.bytes(lease).buffer as { resizable?: boolean }).resizable).toBe(false);
    lease.release();
    port.close();
  });

  it("asks with what is no number, and answers for data with what is none: nothing happens", async () => {
    const { pool, lane, port } = await hostile();
    const inner = new MessageChannel();
    port.postMessage([MessageType.CONTROL, ["request", { a: 1 }]]);
    port.postMessage([MessageType.CONTROL, ["request", inner.port1]], [inner.port1]);
    for (const id of [{ valueOf: 1, toString: 1 }, null, "0", -0, Number.NaN, 1e300, -1, 0.5])
      for (const what of ["return", "cancel"]) port.postMessage([MessageType.CONTROL, [what, id, 1]]);
    // Too deep to be read: the lane asks which lease it was.
    port.postMessage([MessageType.UNREAD_WAS, { valueOf: 1, toString: 1 }]);
    await settled();
    expect(pool.stats()).toEqual({ count: 1, free: 1, held: 0, away: 0 });
    await lane.send(pool.tryAcquire()!);
    inner.port2.close();
    port.close();
    await vi.waitUntil(() => pool.stats().free === 1);
  });

  it("sends a lease without its bytes: the pool is told, and makes new ones", async () => {
    const { remote, far, port, heard } = await hostilePool();
    port.postMessage([MessageType.LEASE, [0, new ArrayBuffer(3)]]);
    port.postMessage([MessageType.LEASE, [65536, "bytes"]]);
    await vi.waitUntil(() => heard.length >= 2);
    expect(heard.slice(0, 2)).toEqual([
      [MessageType.CONTROL, ["return", 0, undefined]],
      [MessageType.CONTROL, ["return", 65536, undefined]],
    ]);
    expect([far.pending, remote.name]).toEqual([0, "odd"]);
    port.close();
  });

  it("sends a lease of a slot that it does not have, and one with the identity -0: neither is one", async () => {
    const { remote, far, port } = await hostilePool();
    const first = new Uint8Array(SIZE).fill(1);
    port.postMessage([MessageType.LEASE, [0, first.buffer]]);
    for (const id of [-0, 1, -65536, 2 ** 53, Number.NaN])
      port.postMessage([MessageType.LEASE, [id, new ArrayBuffer(SIZE)]]);
    await settled();
    expect(far.pending).toBe(1);
    const { lease } = (await far.receive())!;
    expect([...remote.bytes(lease)]).toEqual([...first]);
    for (const odd of [
      { ...lease, id: -0 },
      { ...lease, index: 1 },
      { ...lease, index: undefined as never },
    ])
      expect(code(() => remote.release(odd))).toBe("ERR_DOUBLE_RELEASE");
    lease.release();
    expect(code(() => lease.release())).toBe("ERR_DOUBLE_RELEASE");
    port.close();
  });

  it("grants a slot without bytes: the wait ends with an error", async () => {
    const { remote, port } = await hostilePool();
    const waits = codeOf(remote.acquire());
    port.postMessage([MessageType.CONTROL, ["grant", 1, 0, "bytes"]]);
    expect(await waits).toBe("ERR_BAD_DATA");
    port.close();
  });
});

it("a hundred requests of the other side are all served from one slot that each holder makes untransferable", async () => {
  const { pool, remote } = await pair();
  const waits = Array.from({ length: 100 }, async () => {
    const lease = await remote.acquire();
    markAsUntransferable(remote.bytes(lease).buffer);
    lease.release();
  });
  await Promise.all(waits);
  await vi.waitUntil(() => pool.stats().free === 1);
  pool.validate();
});

describe("a getter of a DOMException in the data, which Node 24 reads behind all others", () => {
  const withGetter = (key: string, run: () => void): DOMException => {
    const made = new DOMException("x");
    const get = (): string => {
      run();
      return "text";
    };
    return Object.defineProperty(made, key, { get, configurable: true });
  };
  /** What a send says whose data runs that, and whether it did. */
  const sentWith = (
    lane: Pick<Lane<unknown>, "trySend">,
    lease: Parameters<Lane<unknown>["trySend"]>[0],
    key: string,
    run: () => void,
  ): { readonly said: string; readonly isRun: boolean } => {
    let isRun = false;
    const data = withGetter(key, () => {
      isRun = true;
      run();
    });
    const said = code(() => lane.trySend(lease, data));
    return { said, isRun };
  };
  const keys = ["stack", "name", "message"];
  const sides = keys.flatMap((key) => ["near", "far"].map((side) => [key, side] as const));

  it.each(sides)("%s, that throws: the send is refused, and the lease has its bytes (%s)", async (key, side) => {
    const { pool, near, far, remote } = await pair();
    const [lane, mine, other] = side === "near" ? [near, pool, far] : [far, remote, near];
    const lease = await mine.acquire();
    mine.bytes(lease).fill(7);
    const thrown = new RangeError("mine");
    let isRun = false;
    const data = withGetter(key, () => {
      isRun = true;
      throw thrown;
    });
    let said: unknown;
    try {
      lane.trySend(lease, data);
    } catch (error) {
      said = error;
    }
    if (isRun) {
      expect(said).toBe(thrown);
      expect([[...mine.bytes(lease)], lane.credit]).toEqual([new Array(SIZE).fill(7), 4]);
      expect(lane.trySend(lease, "again")).toBe(true);
    }
    const got = (await other.receive())!;
    expect([...other.pool.bytes(got.lease)]).toEqual(new Array(SIZE).fill(7));
    got.lease.release();
    await vi.waitUntil(() => pool.stats().free === 1);
    pool.validate();
  });

  it.each(sides)(
    "%s, that transfers the bytes away: the send is refused, and a later one is good (%s)",
    async (key, side) => {
      const { pool, near, far, remote } = await pair();
      const [lane, mine, other] = side === "near" ? [near, pool, far] : [far, remote, near];
      const lease = await mine.acquire();
      const bytes = mine.bytes(lease);
      const { said, isRun } = sentWith(lane, lease, key, () => detach(bytes));
      expect(said).toBe(isRun ? "ERR_DETACHED" : "ok");
      if (isRun) expect(code(() => lease.release())).toBe("ERR_DETACHED");
      else (await other.receive())!.lease.release();
      await vi.waitUntil(() => pool.stats().free === 1);
      // What was passed over counts no more, and its data is not the next one's.
      for (let n = 0; n < 9; n++) {
        await lane.send(await mine.acquire(), n % 2 === 0 ? undefined : { n: [n] });
        const { lease: got, data } = (await other.receive())!;
        expect(data).toEqual(n % 2 === 0 ? undefined : { n: [n] });
        got.release();
      }
      await vi.waitUntil(() => pool.stats().free === 1);
      await Promise.all([near.close(), far.close()]);
      pool.validate();
    },
  );

  it.each(keys)("%s, that closes the pool by force: the send says so", async (key) => {
    const { pool, near } = await pair();
    const lease = pool.tryAcquire()!;
    const { said, isRun } = sentWith(near, lease, key, () => pool.close({ force: true }));
    expect(said).toBe(isRun ? "ERR_POOL_DEAD" : "ok");
    pool.validate();
  });

  it("whose prototype is that of a plain object: the same", async () => {
    const { pool, near } = await pair();
    const lease = pool.tryAcquire()!;
    pool.bytes(lease).fill(7);
    const data = withGetter("stack", () => {
      throw new RangeError("mine");
    });
    for (const key of Object.getOwnPropertySymbols(DOMException.prototype))
      Object.defineProperty(data, key, Object.getOwnPropertyDescriptor(DOMException.prototype, key)!);
    Object.setPrototypeOf(data, Object.prototype);
    let isRefused = false;
    try {
      near.trySend(lease, data);
    } catch {
      isRefused = true;
    }
    if (isRefused) expect([...pool.bytes(lease)]).toEqual(new Array(SIZE).fill(7));
  });
});

it("data in front of its lease that a getter sends others between comes with its own lease", async () => {
  const { pool, near, far } = await pair(3);
  const [first, second, third] = [pool.tryAcquire()!, pool.tryAcquire()!, pool.tryAcquire()!];
  const data = {
    get x() {
      near.trySend(second, { deep: { n: 2 } });
      near.trySend(third);
      return { n: 1 };
    },
  };
  expect(near.trySend(first, data)).toBe(true);
  const got = [(await far.receive())!, (await far.receive())!, (await far.receive())!];
  expect(got.map(({ lease, data }) => [lease.index, data])).toEqual([
    [second.index, { deep: { n: 2 } }],
    [third.index, undefined],
    [first.index, { x: { n: 1 } }],
  ]);
});

it("a lease whose data should be in front of it and is not brings nothing, also from a peer that says it often", async () => {
  const { far, port } = await hostilePool();
  for (let n = 0; n < 100; n++) port.postMessage([MessageType.LEASE, [0, new ArrayBuffer(SIZE)], undefined, true]);
  for (let n = 0; n < 100; n++) port.postMessage([MessageType.DATA, { n }]);
  port.postMessage([MessageType.LEASE, [0, new ArrayBuffer(SIZE)], undefined, true]);
  const { data } = (await far.receive())!;
  expect([data, far.pending, far.isOpen]).toEqual([{ n: 99 }, 0, true]);
  port.close();
});
