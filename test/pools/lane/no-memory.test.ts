/** A TransferPool without memory for new bytes: what its lanes bring back and end with throws nowhere. */
import { MessageChannel } from "node:worker_threads";
import { afterEach, expect, it, vi } from "vitest";
import { receiveLane } from "../../../src/pools/lane/receive.ts";
import { TransferPool } from "../../../src/pools/lane/transfer-pool.ts";
import { code } from "../buffer/pools.ts";

const SIZE = 12_345;
const Bytes = Uint8Array;

afterEach(() => {
  vi.unstubAllGlobals();
});

/** No more bytes of the pool's size. */
function exhaust(): void {
  vi.stubGlobal(
    "Uint8Array",
    new Proxy(Bytes, {
      construct: (target, args, kind) => {
        if (args[0] === SIZE) throw new RangeError("Array buffer allocation failed");
        return Reflect.construct(target, args, kind) as object;
      },
    }),
  );
}

async function sent() {
  const { port1, port2 } = new MessageChannel();
  const pool = TransferPool.create({ size: SIZE, count: 1 });
  const [near, far] = await Promise.all([pool.connect(port2 as never), receiveLane(port1 as never)]);
  await near.send(pool.tryAcquire()!, 1);
  return { pool, near, far, lease: (await far.receive())!.lease, port1 };
}

it.each(["the lane ends", "its buffer was transferred away"])(
  "a slot is back, and given when there is memory: %s",
  async (how) => {
    const { pool, near, far, lease, port1 } = await sent();
    exhaust();
    if (how === "the lane ends") near.close();
    else {
      const { buffer } = (far.pool as TransferPool).bytes(lease);
      structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
      code(() => (far.pool as TransferPool).release(lease));
    }
    await vi.waitUntil(() => pool.stats().free === 1);
    expect(code(() => pool.tryAcquire())).toBe("ERR_ALLOCATION_FAILED");
    vi.unstubAllGlobals();
    expect(pool.bytes(pool.tryAcquire()!)).toEqual(new Bytes(SIZE));
    port1.close();
  },
);
