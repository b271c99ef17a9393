// Shares its realm with other files: nothing that it changes outlives it.
/** Sends that are refused when their message has gone: a getter in the data gave the lease back. */
import { describe, expect, it } from "vitest";
import { type Carrier, Lane, type LanePort, MessageType } from "../../../src/pools/lane/lane.ts";
import { SharedPool } from "../../../src/pools/shared/shared-pool.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { code } from "../buffer/pools.ts";

/** One end; its carrier refuses the lease `id` before its message goes, or after that. */
function oneEnd(refuses: Map<number, "before" | "after">) {
  const posted: unknown[] = [];
  const unread: number[] = [];
  const carrier = {
    pool: { name: "frames" },
    send({ id }: { id: number }, post: (payload: unknown) => void) {
      if (refuses.get(id) === "before") throw new Error("refused");
      post(id);
      if (refuses.get(id) === "after") throw new Error("refused");
    },
    unread: (id: number) => unread.push(id),
  } as unknown as Carrier;
  const port: LanePort = {
    postMessage: (message) => posted.push(message),
    onmessage: null,
    addEventListener() {},
    close() {},
  };
  const lane = new Lane<string>(port, carrier, { window: 2, clock: new FakeClock() });
  return { lane, posted, unread, say: (...message: unknown[]) => port.onmessage!({ data: message }) };
}

const lease = (id: number): never => ({ id }) as never;

describe("a send that is refused", () => {
  it("gives its credit back where no message went, and leaves it to the other side where one did", () => {
    const { lane, say } = oneEnd(
      new Map([
        [1, "before"],
        [2, "after"],
      ]),
    );
    expect(() => lane.trySend(lease(1))).toThrow("refused");
    expect(lane.credit).toBe(2);
    expect(() => lane.trySend(lease(2))).toThrow("refused");
    expect(lane.credit).toBe(1);
    expect([lane.trySend(lease(3)), lane.trySend(lease(4))]).toEqual([true, false]);
    say(MessageType.CREDIT, 2);
    expect(lane.credit).toBe(2);
  });

  it("brought no lease, and that is the answer to who asks for it; the next one's is its own", () => {
    const { lane, posted, unread, say } = oneEnd(new Map([[2, "after"]]));
    expect(() => lane.trySend(lease(2))).toThrow("refused");
    lane.trySend(lease(3));
    posted.length = 0;
    for (const number of [0, 1]) say(MessageType.UNREAD, number);
    expect([posted, unread]).toEqual([
      [
        [MessageType.UNREAD_WAS, -1],
        [MessageType.UNREAD_WAS, 3],
      ],
      [3],
    ]);
  });
});

it("no more messages than the window are under way when getters in the data of some gave the lease back", async () => {
  const pool = SharedPool.create({ size: 64, count: 8, members: 3 });
  const queue: unknown[] = [];
  let far: { postMessage(message: unknown): void } | undefined;
  const lane = await pool.connect(
    {
      postMessage({ port, offer }: { port: LanePort; offer: { handle: never } }) {
        SharedPool.attach(offer.handle);
        far = port;
        port.onmessage = ({ data }) => queue.push(data);
        port.postMessage({ kind: "millpond.ready", holds: false });
      },
    } as never,
    { window: 4 },
  );
  const send = (gives: boolean): string | boolean => {
    const one = pool.tryAcquire()!;
    const data = {
      get x() {
        if (gives) pool.release(one);
        return 1;
      },
    };
    let isSent: boolean | undefined;
    const said = code(() => {
      isSent = lane.trySend(one, data);
    });
    return isSent ?? said;
  };
  expect([true, true, false, false, false].map(send)).toEqual([
    "ERR_USE_AFTER_RELEASE",
    "ERR_USE_AFTER_RELEASE",
    true,
    true,
    false,
  ]);
  expect(lane.credit).toBe(0);
  far!.postMessage([MessageType.CLOSE]);
  far!.postMessage([MessageType.CLOSED]);
  await lane.close();
});
