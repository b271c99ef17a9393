// Shares its realm with other files: nothing that it changes outlives it.
/** The end of a lane while a message waits whose lease was not quite there when it came. */
import { describe, expect, it } from "vitest";
import { type Carrier, Lane, type LanePort, MessageType } from "../../../src/pools/lane/lane.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { codeOf } from "../../helpers/code-of.ts";

describe("a lane that loses its other side", () => {
  it("takes in what has come and is there by now, before its carrier gives back what has not", async () => {
    const said: string[] = [];
    const there = new Set<unknown>();
    const pool = { name: "frames", release: (lease: unknown) => said.push(`released ${lease}`) };
    const carrier = {
      pool,
      receive(payload: unknown) {
        if (!there.has(payload)) return "later";
        said.push(`received ${payload}`);
        return { id: payload };
      },
      ended: (lost: boolean) => said.push(lost ? "lost" : "ended"),
      lossNote: "",
    } as unknown as Carrier;
    const closers: (() => void)[] = [];
    const port: LanePort = {
      postMessage() {},
      onmessage: null,
      addEventListener: (_, listener) => closers.push(listener),
      close() {},
    };
    const clock = new FakeClock();
    const lane = new Lane<string>(port, carrier, { clock });
    for (const id of [1, 2, 3]) port.onmessage!({ data: [MessageType.LEASE, id, `data ${id}`] });
    expect([lane.pending, said]).toEqual([0, []]);
    // The third one's sender has not come to its second step.
    there.add(1).add(2);
    for (const closer of closers) closer();
    expect(said).toEqual(["received 1", "received 2", "lost"]);
    expect([lane.tryReceive()?.data, lane.tryReceive()?.data, lane.tryReceive()]).toEqual([
      "data 1",
      "data 2",
      undefined,
    ]);
    // The third one holds no wait, and is not looked for any more.
    expect(await codeOf(lane.receive())).toBe("ERR_INACTIVE");
    there.add(3);
    clock.advance(1000);
    expect([lane.pending, said.length]).toEqual([0, 3]);
  });
});
