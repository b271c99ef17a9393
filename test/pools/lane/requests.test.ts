/** Who takes a request for a lane: one of those who wait for it, and nobody once it was given up. */
import { MessageChannel } from "node:worker_threads";
import { afterEach, describe, expect, it, vi } from "vitest";
import { leasePool, receiveLane } from "../../../src/pools/lane/receive.ts";
import { codeOf } from "../../helpers/code-of.ts";

afterEach(() => vi.unstubAllGlobals());

describe.each(["shared", "transfer"] as const)("over %s memory", (transport) => {
  const open = (name: string) => leasePool({ size: 64, count: 2, transport, name });

  it("two that wait for a lane at one port get one request each", async () => {
    const { port1, port2 } = new MessageChannel();
    const waits = [receiveLane(port2 as never), receiveLane(port2 as never)];
    const pools = [open("in"), open("out")];
    const near = await Promise.all(pools.map((pool) => pool.connect(port1 as never)));
    const far = await Promise.all(waits);
    expect(far.map(({ pool }) => pool.name)).toEqual(["in", "out"]);
    for (const [at, pool] of pools.entries()) {
      await near[at]!.send(await pool.acquire(), at);
      const got = (await far[at]!.receive())!;
      expect(got.data).toBe(at);
      far[at]!.pool.release(got.lease);
    }
    await Promise.all([...near, ...far].map((lane) => lane.close()));
    port1.close();
  });

  it("a request that was given up before anybody waited is nobody's: the next one is answered", async () => {
    const pool = open("frames");
    const { port1, port2 } = new MessageChannel();
    for (let n = 0; n < 2; n++) {
      const aborted = new AbortController();
      const connecting = codeOf(pool.connect(port1 as never, { signal: aborted.signal }));
      aborted.abort(new Error("given up"));
      expect(await connecting).toBe("Error: given up");
    }
    const receiving = receiveLane(port2 as never);
    const near = await pool.connect(port1 as never);
    const far = await receiving;
    await near.send(await pool.acquire(), "good");
    const got = (await far.receive())!;
    expect(got.data).toBe("good");
    far.pool.release(got.lease);
    await Promise.all([near.close(), far.close()]);
    port1.close();
  });
});

describe.each(["shared", "transfer"] as const)("a request that was forged, over %s memory", (transport) => {
  /** A request as `connect` posts it, with another lock, to one who waits for it. */
  async function forged(lock: unknown): Promise<string> {
    const source = new EventTarget();
    const pool = leasePool({ size: 64, count: 2, transport });
    const given = new AbortController();
    const receiving = receiveLane(source as never, { signal: given.signal });
    const target = {
      postMessage: (data: object) =>
        void source.dispatchEvent(Object.assign(new Event("message"), { data: { ...data, lock } })),
    };
    const connecting = codeOf(pool.connect(target as never));
    const received = codeOf(receiving);
    // Nobody answers, where it waits for the lock.
    setImmediate(() => setImmediate(() => given.abort(new Error("given up"))));
    const code = await received;
    pool.close({ force: true });
    await connecting;
    return code;
  }

  it("with a lock that somebody holds is answered, without a word about this thread's end", async () => {
    const held = { request: (_name: string, _: unknown, call: (lock: null) => unknown) => Promise.resolve(call(null)) };
    vi.stubGlobal("navigator", { locks: held });
    expect(await forged("held")).toBe("ok");
  });

  it("with a lock that nobody is told about is given up by the signal", async () => {
    vi.stubGlobal("navigator", { locks: { request: () => new Promise(() => {}) } });
    expect(await forged("held")).toBe("Error: given up");
  });

  it.each([null, 5, {}])("with a lock that is none (%s) makes no sense", async (lock) => {
    expect(await forged(lock)).toBe("ERR_BAD_DATA");
  });
});
