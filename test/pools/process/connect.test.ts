/** Requests over a child's channel: those that nobody heard, that come twice, of two pools at once, and broken ones. */
import { EventEmitter } from "node:events";
import { closeSync, fstatSync, openSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { connectProcess, ProcessPool, receiveProcess } from "../../../src/native.ts";
import { nativeOps } from "../../../src/os/load.ts";
import { encode } from "../../../src/pools/process/wire.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { isMillpondError } from "../../../src/util/errors.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { countOpen } from "../../helpers/descriptors.ts";
import { lateErrors, lateRejections } from "../../helpers/late-errors.ts";

const pools: ProcessPool[] = [];
afterEach(() => {
  for (const pool of pools.splice(0)) pool.leave({ force: true });
});

/** One end of a channel whose both ends are here; what is sent comes in a later turn, as JSON. */
class End extends EventEmitter {
  connected = true;
  readonly sent: Record<string, unknown>[] = [];
  other: End = this;

  send(message: never, callback: (error: Error | null) => void): boolean {
    const text = JSON.stringify(message);
    this.sent.push(JSON.parse(text) as Record<string, unknown>);
    setImmediate(() => {
      this.other.emit("message", JSON.parse(text));
      callback(null);
    });
    return true;
  }
}

function channel(): { child: End; parent: End } {
  const [child, parent] = [new End(), new End()];
  child.other = parent;
  parent.other = child;
  return { child, parent };
}

function make(name: string): ProcessPool {
  const pool = ProcessPool.create({ size: 64, count: 2, name });
  pools.push(pool);
  return pool;
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function descriptors(): number {
  return countOpen("/memfd:millpond");
}

/** Two sides that have met: a lease goes over. */
async function meet(
  lane: Awaited<ReturnType<typeof connectProcess>>,
  there: Awaited<ReturnType<typeof receiveProcess>>,
): Promise<void> {
  pools.push(there.pool);
  const pool = lane.pool as ProcessPool;
  expect(there.pool.name).toBe(pool.name);
  expect(lane.trySend(pool.tryAcquire()!)).toBe(true);
  const got = await there.lane.receive();
  there.pool.release(got!.lease);
}

describe.runIf(nativeOps().availability.ok)("a request to a child", () => {
  it("that only the program's own listener heard is sent again when the child begins to wait", async () => {
    const { child, parent } = channel();
    parent.on("message", () => {});
    const connecting = connectProcess(make("a"), child);
    await turns();
    const there = receiveProcess({ source: parent });
    await meet(await connecting, await there);
  });

  it("of two pools at once is one for each receiver, whether they wait in turn or together", async () => {
    for (const together of [true, false]) {
      const { child, parent } = channel();
      parent.on("message", () => {});
      const connecting = [connectProcess(make("a"), child), connectProcess(make("b"), child)];
      const first = receiveProcess({ source: parent });
      if (!together) await first;
      const second = receiveProcess({ source: parent });
      const [a, b] = await Promise.all(connecting);
      const sides = await Promise.all([first, second]);
      const of = (name: string): (typeof sides)[0] => sides.find(({ pool }) => pool.name === name)!;
      await meet(a!, of("a"));
      await meet(b!, of("b"));
    }
  });

  it("that comes twice is taken once, and a lane that is there asks for nothing more", async () => {
    const { child, parent } = channel();
    const first = receiveProcess({ source: parent });
    const connecting = connectProcess(make("a"), child);
    await meet(await connecting, await first);
    const requests = (): Record<string, unknown>[] => child.sent.filter((message) => "millpondConnect" in message);
    const sent = requests().length;
    const second = receiveProcess({ source: parent });
    // What a parent that was slow sends after the answer.
    parent.emit("message", requests()[0]);
    await turns();
    expect(requests()).toHaveLength(sent);
    const again = connectProcess(make("b"), child);
    await meet(await again, await second);
  });

  it("makes a lane that ends on both sides when one of them cannot read a message, on whichever", async () => {
    for (const side of ["parent", "child"] as const) {
      const { child, parent } = channel();
      const first = receiveProcess({ source: parent });
      const lane = await connectProcess(make("a"), child);
      const there = await first;
      await meet(lane, there);
      const waits = [codeOf(lane.receive()), codeOf(there.lane.receive())];
      const { millpondLane } = child.sent.find((message) => "millpondLane" in message) ?? {};
      const broken = { millpondLane, message: Buffer.from([255, 15, 1]).toString("base64") };
      (side === "parent" ? child : parent).emit("message", broken);
      expect(await Promise.all(waits), side).toEqual(["ERR_INACTIVE", "ERR_INACTIVE"]);
    }
  });

  it("that is broken is refused in the library's words, to both sides, and no descriptor is left", async () => {
    const pool = make("a");
    const block = { pid: process.pid, descriptor: pool.descriptor, inode: String(pool.block!.inode) };
    const offer = (): object => ({ membership: pool.reserve().membership, from: pool.membership, name: "a" });
    const broken = [
      { offer: null, block },
      { block },
      { offer: 5, block },
      { offer: { ...offer(), name: 5 }, block },
      { offer: { ...offer(), name: null }, block },
      { offer: { ...offer(), membership: null }, block },
      { offer: { ...offer(), from: null }, block },
      { offer: { ...offer(), window: "x" }, block },
      { offer: offer(), block: null },
      { offer: offer() },
    ];
    const before = descriptors();
    for (const request of broken) {
      const { child, parent } = channel();
      const go = Buffer.from(encode("go")).toString("base64");
      const asked = Buffer.from(encode("wanted?")).toString("base64");
      child.on("message", ({ message }: { message?: string }) => {
        if (message === asked) parent.emit("message", { millpondLane: "id", message: go });
      });
      const there = receiveProcess({ source: parent }).catch((error: unknown) => error);
      parent.emit("message", { millpondConnect: "id", ...request });
      const error = await there;
      expect([request, isMillpondError(error)]).toEqual([request, true]);
      // Beside what it says when it begins: the reason.
      expect(parent.sent.some((message) => "message" in message)).toBe(true);
      expect([parent.listenerCount("message"), parent.listenerCount("disconnect")]).toEqual([0, 0]);
    }
    expect(descriptors()).toBe(before);
  });

  it.each(["timeout", "signal", "close", "retire"] as const)(
    "that was given up by %s before the child began to wait is passed over: the next one is taken",
    async (way) => {
      const { child, parent } = channel();
      // What is under way until the child listens.
      const late: unknown[] = [];
      const keep = (message: unknown): void => void late.push(message);
      parent.on("message", keep);
      const pool = make("a");
      const clock = new FakeClock();
      const controller = new AbortController();
      const options = { timeout: { timeout: 5, clock }, signal: { signal: controller.signal } };
      const given = codeOf(connectProcess(pool, child, way in options ? options[way as "timeout"] : {}));
      await turns();
      if (way === "timeout") clock.advance(5);
      else if (way === "signal") controller.abort("aborted");
      else pool[way]();
      expect(await given).toBe(way === "timeout" ? "ERR_INACTIVE" : way === "signal" ? "aborted" : "ERR_POOL_DEAD");
      const next = connectProcess(way === "close" || way === "retire" ? make("b") : pool, child);
      await turns();
      parent.removeListener("message", keep);
      const there = receiveProcess({ source: parent });
      for (const message of late) parent.emit("message", message);
      await meet(await next, await there);
    },
  );

  it.each(["signal", "close", "retire"] as const)(
    "that was given up by %s when the child had heard that it is wanted is passed over, and its descriptor is kept",
    async (way) => {
      for (const isInherited of [false, true]) {
        const { child, parent } = channel();
        const pool = make("a");
        const controller = new AbortController();
        const given = codeOf(connectProcess(pool, child, { signal: controller.signal }));
        // Behind the listener that answers.
        const giveUp = (message: object): void => {
          if (!("millpondLane" in message)) return;
          child.removeListener("message", giveUp as never);
          if (way === "signal") controller.abort("aborted");
          else pool[way]();
        };
        child.on("message", giveUp);
        const descriptor = openSync(`/proc/self/fd/${pool.descriptor}`, "r+");
        const there = receiveProcess({ source: parent, ...(isInherited ? { descriptor } : {}) });
        expect(await given).toBe(way === "signal" ? "aborted" : "ERR_POOL_DEAD");
        await turns();
        if (way !== "signal" && isInherited) {
          parent.connected = false;
          parent.emit("disconnect");
          expect(await codeOf(there)).toBe("ERR_INACTIVE");
        } else {
          await meet(await connectProcess(way === "signal" ? pool : make("b"), child), await there);
          if (!isInherited) closeSync(descriptor);
        }
      }
    },
  );

  it("whose receiver gives up before the parent has answered goes to the next one, there already or not", async () => {
    for (const isThere of [true, false]) {
      const { child, parent } = channel();
      const controller = new AbortController();
      const first = codeOf(receiveProcess({ source: parent, signal: controller.signal }));
      const second = isThere ? receiveProcess({ source: parent }) : undefined;
      const connecting = connectProcess(make("a"), child);
      // It comes before the parent's answer.
      const giveUp = (message: object): void => void ("millpondLane" in message && controller.abort("aborted"));
      child.on("message", giveUp);
      expect(await first).toBe("aborted");
      const there = await (second ?? receiveProcess({ source: parent }));
      await meet(await connecting, there);
    }
  });

  it("ends with the child, though another process has its end of the channel, and so does the lane", async () => {
    const clock = new FakeClock();
    const { child, parent } = channel();
    const waiting = codeOf(connectProcess(make("a"), child, { clock }));
    child.emit("exit");
    clock.advance(1000);
    expect(await waiting).toBe("ERR_INACTIVE");
    const other = channel();
    const there = receiveProcess({ source: other.parent });
    const lane = await connectProcess(make("b"), other.child, { clock });
    const { pool } = await there;
    pools.push(pool);
    other.parent.removeAllListeners();
    const waits = [
      lane.receive().then(
        () => "ok",
        () => "failed",
      ),
      lane.close().then(
        () => "ok",
        () => "failed",
      ),
    ];
    other.child.emit("exit");
    await turns();
    // What it sent before comes in, also behind the timers of that turn.
    for (let n = 0; n < 3; n++) {
      clock.advance(1000);
      other.child.emit("message", "the program's own");
      await turns();
      expect(other.child.listenerCount("disconnect")).toBe(1);
    }
    clock.advance(1000);
    await Promise.all(waits);
    expect(other.child.listenerCount("message")).toBe(0);
    Object.assign(child, { exitCode: 0 });
    expect(await codeOf(connectProcess(make("c"), child))).toBe("ERR_INACTIVE");
    expect(parent.listenerCount("message")).toBe(0);
  });

  it("of many lanes ends with the child without a warning: they share what listens to it", async () => {
    const clock = new FakeClock();
    const { child, parent } = channel();
    const pool = ProcessPool.create({ size: 64, count: 2, members: 20 });
    pools.push(pool);
    const there = Array.from({ length: 15 }, () => receiveProcess({ source: parent }));
    const lanes = await Promise.all(there.map(() => connectProcess(pool, child, { clock })));
    for (const connection of await Promise.all(there)) pools.push(connection.pool);
    const listeners = (): number[] =>
      ["message", "disconnect", "exit", "error"].map((event) => child.listenerCount(event));
    expect(listeners()).toEqual([1, 1, 1, 0]);
    parent.removeAllListeners();
    child.emit("exit");
    expect(listeners()).toEqual([1, 1, 0, 0]);
    clock.advance(1000);
    expect(new Set(await Promise.all(lanes.map((lane) => codeOf(lane.receive()))))).toEqual(new Set(["ERR_INACTIVE"]));
    expect(listeners()).toEqual([0, 0, 0, 0]);
  });

  it("leaves a descriptor that is not the pool's to the program, and one that could not be attached", async () => {
    const { child, parent } = channel();
    const own = openSync(import.meta.filename, "r");
    const inode = fstatSync(own).ino;
    const there = codeOf(receiveProcess({ source: parent, descriptor: own }));
    expect(await codeOf(connectProcess(make("a"), child))).toBe("ERR_INACTIVE");
    expect([await there, fstatSync(own).ino]).toEqual(["ERR_BAD_DATA", inode]);
    closeSync(own);
    // Another pool's descriptor: the membership that is offered is not one of its.
    const other = make("b");
    const descriptor = openSync(`/proc/self/fd/${other.descriptor}`, "r+");
    const again = codeOf(receiveProcess({ source: parent, descriptor }));
    expect(await codeOf(connectProcess(make("c"), child))).toBe("ERR_INACTIVE");
    expect(await again).not.toBe("ok");
    const joined = ProcessPool.attach(descriptor);
    pools.push(joined);
    expect(joined.name).toBe("shared");
  });

  it("closes no file of the program that has the number of a descriptor which was closed", () => {
    const pool = make("a");
    const { descriptor } = pool;
    closeSync(descriptor);
    const own = openSync(import.meta.filename, "r");
    expect(own).toBe(descriptor);
    pool.block!.closeDescriptor();
    expect(fstatSync(own).isFile()).toBe(true);
    closeSync(own);
  });

  it("may be waited for by many without a warning", async () => {
    const { parent } = channel();
    const waiting = Array.from({ length: 20 }, () => codeOf(receiveProcess({ source: parent })));
    expect([parent.listenerCount("message"), parent.listenerCount("disconnect")]).toEqual([1, 1]);
    parent.connected = false;
    parent.emit("disconnect");
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(["ERR_INACTIVE"]));
    expect([parent.listenerCount("message"), parent.listenerCount("disconnect")]).toEqual([0, 0]);
  });

  it("to what is no child is refused in the library's words: a revoked proxy, a class as its send()", async () => {
    const pool = ProcessPool.create({ size: 64, count: 1 });
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    class Child extends EventEmitter {
      readonly connected = true;
      readonly send = class {};
    }
    for (const child of [proxy, new Child(), null]) {
      expect(await codeOf(connectProcess(pool, child as never))).toBe("ERR_INVALID_ARG_TYPE");
    }
    expect(await codeOf(connectProcess(proxy as never, new Child() as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(pool.stats().members).toHaveLength(1);
    pool.close();
  });

  it("that a child's own send() throws at is over with that error: nothing rejects later, and nothing is left", async () => {
    for (const how of ["first", "always"] as const) {
      const { child, parent } = channel();
      const pool = make("camera");
      const clock = new FakeClock();
      let calls = 0;
      parent.send = () => {
        if (calls++ === 0 || how === "always") throw new Error("no");
        return true;
      };
      const late = await lateRejections(async () => {
        expect(await codeOf(connectProcess(pool, parent, { timeout: 500, clock }))).toBe("Error: no");
        expect(pool.stats().members).toHaveLength(1);
        // One listener for the child's end stays, for all connections.
        expect(parent.eventNames()).toEqual(["exit"]);
        expect(clock.pending).toBe(0);
        clock.advance(1000);
        child.emit("disconnect");
      });
      expect(late).toEqual([]);
    }
  });

  it("whose lane a child's own send() throws at later loses it: nothing is thrown at the program", async () => {
    for (const when of ["waits", "lane"] as const) {
      const { child, parent } = channel();
      const pool = make("camera");
      const there = when === "lane" ? receiveProcess({ source: child }) : undefined;
      const connects = connectProcess(pool, parent);
      if (when === "lane") await connects;
      parent.send = () => {
        throw new Error("no");
      };
      const late = await lateErrors(async () => {
        if (when === "waits") {
          // It asks for the request again.
          parent.emit("message", { millpondReceive: true });
          expect(await codeOf(connects)).toBe("ERR_INACTIVE");
          return;
        }
        const lane = await connects;
        pools.push((await there!).pool);
        lane.trySend(pool.tryAcquire()!, 1);
        await turns();
        expect(await codeOf(lane.receive())).toBe("ERR_INACTIVE");
        expect(lane.isOpen).toBe(false);
      });
      expect(late).toEqual([]);
      expect(parent.listenerCount("message")).toBe(0);
    }
  });

  it("cannot come to one whose channel is closed: it does not wait", async () => {
    const { parent } = channel();
    parent.connected = false;
    expect(await codeOf(receiveProcess({ source: parent }))).toBe("ERR_INACTIVE");
    expect(parent.listenerCount("message")).toBe(0);
  });
});
