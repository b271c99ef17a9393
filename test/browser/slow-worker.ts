/**
 * A program for the inspector's page: it decodes into frames that all threads see, and a worker that makes thumbnails
 * of them holds some far too long. It says the page's address on stdout.
 */
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { serveInspector } from "../../src/inspect.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { receiveLane } from "../../src/pools/lane/receive.ts";
import { SharedPool } from "../../src/pools/shared/shared-pool.ts";

const COUNT = 8;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

if (isMainThread) {
  const server = await serveInspector({ port: 0 });
  const worker = new Worker(new URL(import.meta.url));
  const frames = SharedPool.create({ name: "frames", size: 1280 * 720 * 4, count: COUNT });
  const packets = BufferPool.create({ name: "packets", size: 65_536, max: 6, trace: true, starvedAfter: 400 });
  const audio = BufferPool.create({ name: "audio blocks", size: 8192, max: 16 });
  const lane = await frames.connect<number>(worker, { window: 8 });
  console.log(server.url);
  const decode = async (packet: { release(): void }): Promise<void> => {
    const frame = await frames.acquire();
    packet.release();
    await sleep(4);
    await lane.send(frame, 1);
  };
  const play = async (): Promise<never> => {
    for (let i = 0; ; i++) {
      const block = await audio.acquire({ tag: i % 2 === 0 ? "mixer" : "effects" });
      setTimeout(() => block.release(), 60 + (i % 7) * 25);
      await sleep(21);
    }
  };
  void play();
  for (;;) {
    const packet = await packets.acquire({ tag: "demuxer" });
    void decode(packet);
    await sleep(15);
  }
} else {
  const lane = await receiveLane<number>(parentPort!);
  await serveInspector();
  let count = 0;
  const kept: { release(): void }[] = [];
  for await (const { lease } of lane) {
    count++;
    // Every third frame is kept as if somebody would still look at it, until no slot is left: however fast the machine
    // is, the decoder starves then.
    if (count % 3 === 0) kept.push(lease);
    else setTimeout(() => lease.release(), 30);
    if (kept.length < COUNT) continue;
    setTimeout(() => {
      for (const one of kept.splice(0)) one.release();
    }, 3500);
  }
}
