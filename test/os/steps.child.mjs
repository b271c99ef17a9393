// Takes every native step and prints what each answered. Nothing may throw. steps.child.mjs FOLDER
import { loadNative } from "./raw.mjs";

const folder = process.argv[2];
const { allocators, BufferPool } = await import(`file://${folder}/index.js`);
const native = await loadNative(folder);
const ops = native.nativeOps();
const bytes = new Uint8Array(1 << 20);
const words = new Int32Array(new SharedArrayBuffer(64));
const locked = allocators.find("locked");
const memory = locked.allocate(100_000);
const pool = new BufferPool();
pool.configure({ size: 1000, min: 1, max: 2, allocator: allocators.find("pages") });
pool.activate();
pool.tryAcquire().release();
let refused;
try {
  allocators.find("processShared").allocate(100);
} catch (error) {
  refused = { code: error.code, ...error.details };
}
const answers = {
  availability: ops.availability,
  lock: ops.lock(bytes),
  unlock: ops.unlock(bytes),
  huge: ops.advise(bytes, "huge"),
  map: ops.map(4096),
  retire: ops.retire(0n, 4096),
  create: native.createSharedMemory(4096),
  open: native.openSharedMemory(1000),
  byName: native.openName("nobody"),
  pair: native.descriptorPair(),
  serve: native.serveDescriptors("/nowhere/socket"),
  connect: native.connectDescriptors("/nowhere/socket"),
  send: native.sendDescriptor(1000, 1001),
  receive: await native.receiveDescriptor(1000, { timeout: 60_000 }),
  wait: native.waitForChange(words, 0, 0, { timeout: 60_000 }),
  wake: native.wakeWaiters(words, 0),
  heap: ops.dma.fromHeap(4096),
  dmabuf: new native.DmabufAllocator({ ops }).probe(),
};
console.log(
  JSON.stringify({
    name: ops.name,
    statuses: Object.fromEntries(
      Object.entries(answers).map(([step, answer]) => [step, answer.ok ? "ok" : answer.status]),
    ),
    errno: ops.availability.errno,
    lockReason: native.lockReportOf(memory).lockReason,
    backing: locked.reportOf(memory).backing,
    refused,
  }),
);
memory.release();
