// Everything that could leave a view over memory that is gone, at random, in a process of its own. It must end with
// exit code 0: a view that outlives its mapping ends it by SIGSEGV, a peer's truncation by SIGBUS. Live blocks keep
// their pattern meanwhile: a stale write that lands in somebody's block is found. Plain JavaScript, because Node 20
// runs it too.
//
//   torture.child.mjs FOLDER SEED ROUNDS
import { strict as assert } from "node:assert";
import { Worker } from "node:worker_threads";
import { loadNative } from "./raw.mjs";

const [folder, seedText, roundsText] = process.argv.slice(2);
const native = await loadNative(folder);
const gc = globalThis.gc ?? (globalThis.Bun === undefined ? undefined : () => globalThis.Bun.gc(true));
assert.equal(typeof gc, "function", "no way to collect garbage here: the test would show nothing");
assert.ok(native.nativeOps().availability.ok, JSON.stringify(native.nativeOps().availability));

let seed = Number(seedText) >>> 0;
const random = (below) => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return Math.floor((seed / 2 ** 32) * below);
};

const KIB = 1024;
const shared = new native.ProcessSharedAllocator();
const sources = [
  new native.PagesAllocator({ prefault: true }),
  new native.PagesAllocator({ backing: "shared", huge: true }),
  new native.PagesAllocator({ backing: "mapped", huge: true }),
  new native.LockedAllocator({ backing: "mapped" }),
  new native.LockedAllocator(),
  shared,
];

/** Blocks that are in use, each with the byte that fills it. */
const live = [];
/** Views of blocks that were freed, moved or forgotten. */
const stale = [];
let workers = 0;

const fillOf = (memory, value) => {
  const mapping = memory.map("write");
  const { bytes } = mapping;
  for (let at = 0; at < bytes.length; at += 4096) bytes[at] = value;
  mapping.unmap();
  return bytes;
};
const check = ({ memory, bytes, value }) => {
  if (bytes.length === 0) return;
  for (let at = 0; at < bytes.length; at += 4096) {
    if (bytes[at] !== value) throw new Error(`${memory} lost its bytes at ${at}: ${bytes[at]} instead of ${value}`);
  }
};
const take = () => live.splice(random(live.length), 1)[0];
const keep = (view) => {
  stale.push(view);
  if (stale.length > 60) stale.splice(random(stale.length), 1);
};

const steps = {
  allocate() {
    if (live.length >= 24) return;
    const source = sources[random(sources.length)];
    const memory = source.allocate(64 * KIB + random(40) * 48 * KIB);
    const value = 1 + random(200);
    live.push({ source, memory, value, bytes: fillOf(memory, value) });
  },
  free() {
    if (live.length === 0) return;
    const block = take();
    check(block);
    keep(block.bytes);
    block.memory.release();
  },
  decommit() {
    const block = live.find(({ source }) => source !== shared);
    if (block === undefined || block.source.lockedBytes === undefined) return;
    check(block);
    if (block.source.decommit(block.memory).ok) block.bytes = fillOf(block.memory, block.value);
  },
  touchStale() {
    for (const view of stale) {
      if (view.length === 0) continue;
      view[0] = 255;
      view[view.length - 1] = 255;
      view.fill(254, 0, Math.min(view.length, 8192));
    }
  },
  collect() {
    gc();
  },
  forget() {
    // A leak: the memory is never freed and nothing refers to it.
    if (live.length > 12) take();
  },
  moveAway() {
    // A user takes a block's ArrayBuffer along. Freeing the memory afterwards must still be safe.
    const block = live.find(({ bytes }) => bytes.buffer instanceof ArrayBuffer && bytes.length > 0);
    if (block === undefined || typeof block.bytes.buffer.transfer !== "function") return;
    try {
      keep(new Uint8Array(block.bytes.buffer.transfer()));
    } catch {
      // WebAssembly's cannot be moved, which is their point.
      return;
    }
    live.splice(live.indexOf(block), 1);
    block.memory.release();
  },
  reopen() {
    const block = live.find(({ source }) => source === shared);
    if (block === undefined) return;
    const name = `torture-${process.pid}-${random(1000)}`;
    const published = shared.publish(name, block.memory);
    if (!published.ok) return;
    const opened = shared.openName(name);
    published.value.withdraw();
    assert.ok(opened.ok, opened.hint);
    const mapping = opened.value.map("read");
    keep(mapping.bytes);
    // What is opened is the whole object, which is rounded up.
    check({ ...block, bytes: mapping.bytes.subarray(0, block.bytes.length) });
    mapping.unmap();
    // A stale view of a block that is still shared writes to it: nobody keeps one.
    stale.pop();
    opened.value.release();
  },
  async work() {
    // A worker looks at a shared block, keeps it, and exits after the block is gone here.
    const block = live.find(({ bytes }) => !(bytes.buffer instanceof ArrayBuffer));
    if (block === undefined || workers >= 12) return;
    workers++;
    const worker = new Worker(
      `const { parentPort, workerData } = require("node:worker_threads");
       const bytes = new Uint8Array(workerData.buffer, workerData.offset, workerData.length);
       let sum = bytes[0];
       parentPort.postMessage("seen");
       parentPort.once("message", () => {
         for (let at = 0; at < bytes.length; at += 4096) sum += bytes[at];
         parentPort.postMessage(sum);
         process.exit();
       });`,
      {
        eval: true,
        workerData: { buffer: block.bytes.buffer, offset: block.bytes.byteOffset, length: block.bytes.length },
      },
    );
    const exit = new Promise((resolve) => worker.once("exit", resolve));
    // A worker that exits at once may take its last message along.
    const message = () =>
      Promise.race([new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject)), exit]);
    await message();
    live.splice(live.indexOf(block), 1);
    keep(block.bytes);
    block.memory.release();
    const answer = message();
    worker.postMessage("go");
    assert.equal(typeof (await answer), "number");
    await exit;
  },
};

/** A worker with native memory of its own, locked and shared, that ends without freeing any. */
const orphan = async () => {
  const worker = new Worker(
    `const { parentPort, workerData } = require("node:worker_threads");
     import(workerData).then((native) => {
       const kept = [new native.LockedAllocator(), new native.PagesAllocator({ backing: "shared", prefault: true }),
         new native.ProcessSharedAllocator(), new native.LockedAllocator({ backing: "mapped" })]
         .map((allocator) => allocator.allocate(1 << 20).map("write").bytes.fill(7));
       globalThis.kept = kept;
       parentPort.once("message", () => process.exit());
       parentPort.postMessage(kept[2].buffer);
     });`,
    { eval: true, workerData: `file://${folder}/native.js` },
  );
  const buffer = await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
  const exit = new Promise((resolve) => worker.once("exit", resolve));
  worker.postMessage("end");
  await exit;
  keep(new Uint8Array(buffer));
};

const names = Object.keys(steps);
// Allocation and release are what the rest needs: they come up more often.
const drawn = [...names, "allocate", "allocate", "allocate", "free", "touchStale"];
for (let round = 0; round < Number(roundsText); round++) {
  await steps[drawn[random(drawn.length)]]();
  if (round % 50 === 0) live.forEach(check);
  // Loading the library takes a worker a while: a few are enough.
  if (round % 200 === 100) await orphan();
}
live.forEach(check);
for (const block of live.splice(0)) {
  keep(block.bytes);
  block.memory.release();
}
steps.touchStale();
gc();
steps.touchStale();
for (const source of sources) assert.ok(source.stats().liveBytes >= 0);
console.log(JSON.stringify({ ok: true, workers, seed: Number(seedText) }));
