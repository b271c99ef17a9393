// The other process. shared.child.mjs FOLDER WAY WHERE [nobody]
//   WAY: "inherit" (WHERE is a descriptor), "socket" (a path), "name" (a name), "publish" (publishes WHERE and ends)
import { ftruncateSync } from "node:fs";
import { loadNative } from "./raw.mjs";

const [folder, way, where, user] = process.argv.slice(2);
const native = await loadNative(folder);
native.nativeOps();
if (user === "nobody") {
  process.setgid(65534);
  process.setuid(65534);
}

const answer = (value) => {
  console.log(JSON.stringify(value, (_, part) => (typeof part === "bigint" ? String(part) : part)));
  process.exit(0);
};
const orAnswer = (outcome) => {
  if (!outcome.ok) answer(outcome);
  return outcome.value;
};

const shared = new native.ProcessSharedAllocator();
if (way === "publish") {
  const memory = shared.allocate(100);
  orAnswer(shared.publish(where, memory));
  if (user === "killed") process.kill(process.pid, "SIGKILL");
  answer({ ok: true });
}

let memory;
if (way === "inherit") memory = orAnswer(shared.open(Number(where)));
else if (way === "name") memory = orAnswer(shared.openName(where));
else {
  const socket = orAnswer(native.connectDescriptors(where));
  memory = orAnswer(await shared.receive(socket)).memory;
  native.closeDescriptor(socket);
}

const mapping = memory.map("readwrite");
const { bytes } = mapping;
const words = new Int32Array(bytes.buffer, 0, 16);
const report = {
  ok: true,
  size: bytes.length,
  first: bytes[4096],
  isShared: bytes.buffer instanceof SharedArrayBuffer,
};

// A peer that is rude: the seals must stop it.
try {
  if (globalThis.Deno === undefined) ftruncateSync(shared.descriptorOf(memory), 0);
  report.truncate = "done";
} catch (error) {
  report.truncate = error.code;
}

// Word 0: this process is here. Word 1: both add to it at once. Word 2: the parent says go on. Word 3: this one is
// done.
Atomics.store(words, 0, 1);
native.wakeWaiters(words, 0);
for (let round = 0; round < 100_000; round++) Atomics.add(words, 1, 1);
report.waited = native.waitForChange(words, 2, 0, { timeout: 100_000 }).value;
bytes[4097] = 77;
Atomics.store(words, 3, 1);
report.woken = native.wakeWaiters(words, 3).value;
mapping.unmap();
memory.release();
report.afterFree = bytes[4096];
answer(report);
