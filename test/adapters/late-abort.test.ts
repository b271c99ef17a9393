/**
 * One rule for the signal of every loop: a turn that finds it aborted gets its reason, also when the end was at hand
 * already, whole or not, read ahead or not.
 */
import { getEventListeners, once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, expect, it, onTestFinished } from "vitest";
import { type FrameSource, pooledFrames } from "../../src/adapters/node/frame-source.ts";
import { connectSocket } from "../../src/adapters/node/pooled-socket.ts";
import { readBlocks } from "../../src/adapters/node/read-blocks.ts";
import { frames } from "../../src/adapters/node/streams/frames.ts";
import { type FrameProcess, spawnFrames } from "../../src/adapters/node/streams/spawn-frames.ts";
import { readInto } from "../../src/adapters/web-streams.ts";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { VideoInfo } from "../../src/media/video/info.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { endable } from "../../src/util/endable.ts";

const GRAY = { format: "GRAY8", width: 10, height: 10 } as const;
const LAYOUT = VideoInfo.of(GRAY);
type Loop = AsyncIterator<MediaBuffer, unknown>;

const poolOf = (): BufferPool => BufferPool.create({ size: 100, max: 3 });

/**
 * Reads so many leases, waits for `atEnd` with the last one in hand, aborts, and goes on: the reason once, and the end
 * as it is afterwards.
 */
async function expectReason(
  name: string,
  open: (signal: AbortSignal) => Loop,
  leases: number,
  atEnd: (loop: Loop, signal: AbortSignal) => Promise<unknown> = async () => {},
): Promise<void> {
  const stop = new AbortController();
  const loop = open(stop.signal);
  for (let i = 0; i < leases; i++) {
    const { value } = (await loop.next()) as IteratorYieldResult<MediaBuffer>;
    if (i === leases - 1) await atEnd(loop, stop.signal);
    value.release();
  }
  const reason = new Error("enough");
  stop.abort(reason);
  await expect(loop.next(), name).rejects.toBe(reason);
  expect(getEventListeners(stop.signal, "abort"), name).toEqual([]);
}

/** The loop has told all that there was: an abort behind that changes nothing. */
async function expectEnd(name: string, open: (signal: AbortSignal) => Loop): Promise<void> {
  const stop = new AbortController();
  const loop = open(stop.signal);
  for (;;) {
    const step = await loop.next();
    if (step.done === true) break;
    step.value.release();
  }
  stop.abort(new Error("too late"));
  expect((await loop.next()).done, name).toBe(true);
}

async function untilTrue(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

function bytesOf(total: number, type: "bytes" | undefined): ReadableStream {
  return new ReadableStream({
    type: type as "bytes",
    start(controller) {
      controller.enqueue(new Uint8Array(total));
      controller.close();
    },
  });
}

describe("a signal that is aborted while the loop has its last lease", () => {
  it("is the reason of readInto, whole or not, by bytes and by chunks", async () => {
    for (const type of ["bytes", undefined] as const) {
      for (const total of [200, 150]) {
        const pool = poolOf();
        await expectReason(`${type} ${total}`, (signal) => readInto(bytesOf(total, type), pool, { signal }), 2);
        await expectEnd(`${type} ${total}`, (signal) => readInto(bytesOf(total, type), pool, { signal }));
        expect(pool.outstanding).toBe(0);
      }
    }
  });

  it("is the reason of spawnFrames, whatever the read-ahead has seen of the end, also a bad one", async () => {
    for (const ahead of [0, 1]) {
      for (const rest of [0, 33]) {
        for (const exit of [0, 3]) {
          const name = `ahead ${ahead}, rest ${rest}, exit ${exit}`;
          const args = ["-c", `head -c ${200 + rest} /dev/zero; exit ${exit}`];
          const open = (signal: AbortSignal): FrameProcess =>
            spawnFrames("sh", args, { count: 3, ahead, ...GRAY, signal });
          await expectReason(name, open, 2, async (loop, signal) => {
            await (loop as FrameProcess).exited;
            // The read-ahead has come to the end.
            if (ahead === 1) await untilTrue(() => getEventListeners(signal, "abort").length === 0);
          });
          if (rest + exit === 0) await expectEnd(name, open);
        }
      }
    }
    // What its consumer ended has no error.
    const stop = new AbortController();
    const video = spawnFrames("sh", ["-c", "head -c 200 /dev/zero"], { count: 3, ...GRAY, signal: stop.signal });
    (await video.next()).value!.release();
    video.kill();
    stop.abort(new Error("too late"));
    expect((await video.next()).done).toBe(true);
  });

  it("is the reason of frames()", async () => {
    for (const rest of [0, 33]) {
      const open = (signal: AbortSignal): Loop =>
        frames(Readable.from([Buffer.alloc(200 + rest)]), poolOf(), { ...GRAY, signal });
      await expectReason(`rest ${rest}`, open, 2);
      await expectEnd(`rest ${rest}`, open);
    }
  });

  it("is the reason of readBlocks", async () => {
    const folder = mkdtempSync(join(tmpdir(), "late-abort-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    for (const total of [200, 150]) {
      const file = join(folder, String(total));
      writeFileSync(file, Buffer.alloc(total));
      const pool = poolOf();
      await expectReason(`${total}`, (signal) => readBlocks(file, pool, { signal }), 2);
      await expectEnd(`${total}`, (signal) => readBlocks(file, pool, { signal }));
      expect(pool.outstanding).toBe(0);
    }
  });

  it("is the reason of pooledFrames, and of every loop that a body yields for", async () => {
    const source = (): FrameSource => {
      let left = 2;
      return {
        starvedMs: 0,
        shortfall: undefined,
        async next() {
          if (left-- === 0) return undefined;
          return {
            layout: LAYOUT,
            presentation: { rotation: 0, flip: false, pixelAspect: 1, matrix: undefined, fullRange: false },
            pts: undefined,
            duration: undefined,
            copyTo: async () => true,
            close() {},
          };
        },
        async close() {},
      };
    };
    const pool = poolOf();
    await expectReason("pooledFrames", (signal) => pooledFrames(source(), pool, { signal }), 2);
    await expectEnd("pooledFrames", (signal) => pooledFrames(source(), pool, { signal }));
    expect(pool.outstanding).toBe(0);
    // A body that does not look at its signal, at its end or at an error of its own.
    for (const fails of [false, true]) {
      const open = (signal: AbortSignal): Loop =>
        endable(signal, async function* () {
          yield await pool.acquire();
          if (fails) throw new Error("its own");
        });
      await expectReason(`fails ${fails}`, open, 1);
      if (!fails) await expectEnd("a body", open);
    }
    expect(pool.outstanding).toBe(0);
  });

  it("is the reason of connectSocket, when the other side has ended or reset the connection", async () => {
    for (const how of ["end", "reset"]) {
      const server = createServer((peer) => {
        peer.on("error", () => {});
        peer.write(Buffer.alloc(150));
        if (how === "end") peer.end();
        else peer.once("data", () => peer.resetAndDestroy());
      }).listen(0, "127.0.0.1");
      onTestFinished(() => void server.close());
      await once(server, "listening");
      const { port } = server.address() as AddressInfo;
      const pool = poolOf();
      const connected: ReturnType<typeof connectSocket>[] = [];
      const open = (signal: AbortSignal): Loop => {
        const socket = connectSocket({ port, host: "127.0.0.1" }, pool, {
          signal,
          fill: how === "end" ? "full" : "any",
        });
        connected.push(socket);
        return socket[Symbol.asyncIterator]();
      };
      await expectReason(how, open, how === "end" ? 2 : 1, async () => {
        const socket = connected.at(-1)!;
        if (how === "reset") await socket.write(await pool.acquire()).catch(() => {});
        if (how === "reset") await socket.closed.catch(() => {});
      });
      if (how === "end") {
        // Destroyed by its own program first.
        const stop = new AbortController();
        const last = connectSocket({ port, host: "127.0.0.1" }, pool, { signal: stop.signal });
        last.destroy();
        stop.abort(new Error("too late"));
        await expect(last.read()).rejects.toMatchObject({ code: "ERR_ENDED" });
      }
      for (const socket of connected) await socket.closed.catch(() => {});
      expect(pool.outstanding).toBe(0);
    }
  });
});
