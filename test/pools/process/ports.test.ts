/** What lanes between processes run over: ports that end at any moment, and data that only one side can handle. */
import { once } from "node:events";
import { mkdtempSync, openSync, rmSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import { afterEach, describe, expect, it } from "vitest";
import { ProcessPool } from "../../../src/native.ts";
import { nativeOps } from "../../../src/os/load.ts";
import { MessageType } from "../../../src/pools/lane/lane.ts";
import { SharedConnection } from "../../../src/pools/lane/shared-transport.ts";
import { processLane } from "../../../src/pools/process/connect.ts";
import { ProcessPort, socketPort } from "../../../src/pools/process/ports.ts";
import { encode, isPlain } from "../../../src/pools/process/wire.ts";
import { commitTransfer, prepareTransfer, senderWord, TransferResult } from "../../../src/pools/shared/transfer.ts";
import { FakeClock } from "../../../src/util/clock.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { code } from "../buffer/pools.ts";

const pools: ProcessPool[] = [];
afterEach(() => {
  for (const pool of pools.splice(0)) pool.leave({ force: true });
});

/** A pool and another view of it, as two processes have them, with a port each; what one posts comes to the other. */
function twoSides(): { pools: [ProcessPool, ProcessPool]; ports: [ProcessPort, ProcessPort] } {
  const pool = ProcessPool.create({ size: 64, count: 2 });
  const other = ProcessPool.attach(openSync(`/proc/self/fd/${pool.descriptor}`, "r+"));
  pools.push(pool, other);
  const port = (to: () => ProcessPort): ProcessPort =>
    new ProcessPort({
      isOpen: () => true,
      arrived: () => 0,
      send(messages) {
        for (const message of messages) to().onMessage(message);
      },
      close: () => {},
    });
  const ports: [ProcessPort, ProcessPort] = [port(() => ports[1]), port(() => ports[0])];
  return { pools: [pool, other], ports };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function until(isSo: () => boolean): Promise<void> {
  const end = performance.now() + 60_000;
  while (!isSo()) {
    if (performance.now() > end) throw new Error(`it did not come to that: ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe.runIf(nativeOps().availability.ok)("the ports of a lane between processes", () => {
  it("a lane that was ended by what came before it was made ends with that reason", async () => {
    const { pools: both, ports } = twoSides();
    both[1].close({ force: true });
    ports[0].onMessage(serialize([MessageType.POOL_CLOSED]));
    const lane = processLane(ports[0], both[0], new SharedConnection(both[0], both[1].membership), {});
    expect(lane.isOpen).toBe(false);
    expect(await codeOf(lane.receive())).toBe("ERR_POOL_DEAD");
  });

  it("what is sent after the other side has lost the lane, and lives, comes back", async () => {
    const { pools: both, ports } = twoSides();
    const [here, there] = both;
    const lane = processLane(ports[0], here, new SharedConnection(here, there.membership), {});
    processLane(ports[1], there, new SharedConnection(there, here.membership), {});
    // The other side alone: it read something broken, say. It looks for leases that nobody tells it of, and finds none.
    ports[1].ended();
    for (let n = 0; n < 20; n++) await turn();
    expect(lane.trySend(here.tryAcquire()!)).toBe(true);
    expect(here.stats().held).toBe(1);
    await until(() => here.stats().held === 0);
    here.validate();
  });

  it("a side that sends more than the window ends the lane, and no more than the window is kept", async () => {
    const { pools: both, ports } = twoSides();
    const lane = processLane(ports[0], both[0], new SharedConnection(both[0], both[1].membership), { window: 4 });
    // It names a lease that it holds and never gives.
    const own = both[1].tryAcquire()!;
    for (let n = 0; n < 4; n++) ports[0].onMessage(serialize([MessageType.LEASE, own.id]));
    expect(lane.isOpen).toBe(true);
    ports[0].onMessage(serialize([MessageType.LEASE, own.id]));
    expect(lane.isOpen).toBe(false);
    own.release();
    await until(() => lane.pending === 0);
    expect(await codeOf(lane.receive())).toBe("ERR_BAD_DATA");
    both[0].validate();
  });

  it.each(["closes", "is lost", "sends more than the window", "lives, and this side closes"] as const)(
    "a lease that the other side names and does not give holds no end: it %s",
    async (end) => {
      const { pools: both, ports } = twoSides();
      const [here, there] = both;
      // No look by time.
      const how = { window: 3, clock: new FakeClock() };
      const lane = processLane(ports[0], here, new SharedConnection(here, there.membership), how);
      const far = processLane(ports[1], there, new SharedConnection(there, here.membership), how);
      const own = there.tryAcquire()!;
      const got: unknown[] = [];
      const ended = (async () => {
        for await (const { lease, data } of lane) {
          got.push(data);
          lease.release();
        }
      })();
      ports[0].onMessage(serialize([MessageType.LEASE, own.id]));
      await far.send(there.tryAcquire()!, "given");
      await turn();
      // In order: it may be between its message and its step.
      expect(got).toEqual([]);
      if (end === "closes") {
        void far.close();
        expect(await codeOf(ended)).toBe("ok");
      } else if (end === "is lost") {
        ports[0].ended();
        expect(await codeOf(ended)).toBe("ERR_INACTIVE");
      } else if (end === "sends more than the window") {
        for (let n = 0; n < 5000; n++) ports[0].onMessage(serialize([MessageType.LEASE, own.id]));
        expect(await codeOf(ended)).toBe("ERR_BAD_DATA");
      } else {
        void lane.close();
        expect(await codeOf(ended)).toBe("ok");
      }
      expect(got).toEqual(end === "closes" || end === "is lost" ? ["given"] : []);
      await until(() => here.stats().held === 1);
      own.release();
      expect(here.stats().free).toBe(2);
      here.validate();
    },
  );

  it("a lease that is given behind the word that none comes any more goes back", async () => {
    const { pools: both, ports } = twoSides();
    const [here, there] = both;
    const lane = processLane(ports[0], here, new SharedConnection(here, there.membership), {});
    const { id } = there.tryAcquire()!;
    const [near, far] = [here.membership, there.membership];
    ports[0].onMessage(serialize([MessageType.LEASE, id]));
    expect(prepareTransfer(there.core, id, near.member, near.status)).toBe(TransferResult.DONE);
    ports[0].onMessage(serialize([MessageType.CLOSE]));
    expect(await lane.receive()).toBeUndefined();
    expect(commitTransfer(there.core, id, near.member, near.status, senderWord(far))).toBe(TransferResult.DONE);
    expect(here.stats().free).toBe(1);
    void lane.close();
    ports[0].onMessage(serialize([MessageType.CLOSED]));
    await until(() => here.stats().free === 2);
    here.validate();
  });

  it("what is paid back with credit is no part of the window", async () => {
    const { pools: both, ports } = twoSides();
    const lane = processLane(ports[0], both[0], new SharedConnection(both[0], both[1].membership), { window: 2 });
    const there = processLane(ports[1], both[1], new SharedConnection(both[1], both[0].membership), { window: 2 });
    for (let n = 0; n < 20; n++) {
      await there.send(both[1].tryAcquire()!);
      (await lane.receive())!.lease.release();
    }
    expect(lane.isOpen).toBe(true);
  });

  it("a message that the other side could not read is answered once", async () => {
    const { pools: both, ports } = twoSides();
    const [here, there] = both;
    const lane = processLane(ports[0], here, new SharedConnection(here, there.membership), {});
    const said: unknown[] = [];
    ports[1].onmessage = ({ data }) => said.push((data as unknown[])[0]);
    lane.trySend(here.tryAcquire()!);
    for (let n = 0; n < 100; n++) ports[0].onMessage(serialize([MessageType.UNREAD, 0]));
    await turn();
    expect(said.filter((type) => type === MessageType.UNREAD_WAS)).toHaveLength(1);
  });

  it("data that the other side could not read, or that cannot be written, is refused by its name, and the lease stays", async () => {
    const { pools: both, ports } = twoSides();
    const lane = processLane(ports[0], both[0], new SharedConnection(both[0], both[1].membership), {});
    const nested = (levels: number): unknown => {
      let value: unknown = 1;
      for (let level = 0; level < levels; level++) value = { value };
      return value;
    };
    const view = new Uint8Array(8);
    structuredClone(view.buffer, { transfer: [view.buffer] });
    const { WebAssembly: wasm } = globalThis as unknown as {
      WebAssembly: { Module: new (code: Uint8Array) => object };
    };
    const unfit = [
      new wasm.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])),
      // What is missing in the middle shifts everything behind it.
      { first: new wasm.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])), last: 1 },
      // More than can be read, and more than can be written.
      nested(3000),
      nested(100_000),
      new MessageChannel().port1,
      view,
      () => 1,
    ];
    const lease = both[0].tryAcquire()!;
    for (const data of unfit) expect(await codeOf(lane.send(lease, data))).toBe("ERR_INVALID_ARG_VALUE");
    const own = new TypeError("a getter's own");
    const throws = {
      get data() {
        throw own;
      },
    };
    expect(() => lane.trySend(lease, throws)).toThrow(own);
    both[0].release(lease);
    expect(lane.credit).toBe(8);
  });

  it("every usual kind of data is written as it was, and found readable without being read", () => {
    const usual = [
      1,
      -1,
      2 ** 32 - 1,
      0.5,
      "text",
      "\u4e00",
      true,
      null,
      undefined,
      new Date(5),
      { pts: 1, nested: { list: [1, "two", { three: 3 }, []] } },
    ];
    for (const data of usual) {
      const bytes = encode([0, 1, data]);
      expect(isPlain(bytes)).toBe(true);
      expect(deserialize(bytes)).toEqual([0, 1, data]);
      for (let length = 0; length < bytes.length; length++) expect(isPlain(bytes.subarray(0, length))).toBe(false);
    }
    expect(code(() => encode("x".repeat(2 ** 20)))).toBe("ERR_OUT_OF_RANGE");
  });

  it("what the other side wrote before its end comes, whatever is written to it meanwhile", async () => {
    const folder = mkdtempSync(join(tmpdir(), "mp-"));
    const path = join(folder, "socket");
    const server = createServer();
    const accepted = once(server, "connection") as Promise<[Socket]>;
    server.listen(path);
    const other = createConnection({ path });
    const [socket] = await accepted;
    // More than one look of the runtime at the socket takes, and less than the kernel keeps.
    const sent = Array.from({ length: 12 }, (_, n) => encode({ n, text: "x".repeat(12_000) }));
    socket.pause();
    // Nothing is read before all of it is in the kernel, and the other side is gone.
    for (const message of sent) {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(message.length);
      other.write(Buffer.concat([length, message]));
    }
    await new Promise<void>((resolve) => other.write(Buffer.alloc(0), () => resolve()));
    other.destroy();
    await once(other, "close");
    const port = socketPort(socket);
    const got: unknown[] = [];
    const ended = new Promise<void>((resolve) => port.addEventListener("close", resolve));
    port.onmessage = ({ data }) => {
      got.push((data as { n: number }).n);
      // Several in one write, too.
      for (let n = 0; n < 2; n++) port.postMessage("taken");
      socket.write("x");
      socket.write("x");
    };
    port.postMessage("first");
    socket.resume();
    await ended;
    expect(got).toEqual(sent.map((_, n) => n));
    // A credit says nothing to nobody; a lease stays with its holder.
    port.postMessage("last");
    expect(code(() => port.postMessage([MessageType.LEASE, 1, 1]))).toBe("ERR_INACTIVE");
    server.close();
    rmSync(folder, { recursive: true });
  });

  it("a closed connection ends here although the other side keeps its end open", async () => {
    const folder = mkdtempSync(join(tmpdir(), "mp-"));
    const path = join(folder, "socket");
    const server = createServer();
    const accepted = once(server, "connection") as Promise<[Socket]>;
    server.listen(path);
    // It reads nothing and closes nothing, as a process that is stopped.
    const stopped = createConnection({ path, allowHalfOpen: true });
    const [socket] = await accepted;
    const port = socketPort(socket, 10);
    port.postMessage("last");
    const closed = once(socket, "close");
    port.close();
    await closed;
    expect(stopped.destroyed).toBe(false);
    stopped.destroy();
    server.close();
    rmSync(folder, { recursive: true });
  });
});
