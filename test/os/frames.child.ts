/**
 * Frames from one process to another without a copy: the child inherits a sealed block, and each side waits for the
 * other's word.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { ProcessSharedAllocator } from "../../src/allocators/native/process-shared.ts";
import { waitForChange, wakeWaiters } from "../../src/os/wait.ts";

const FRAME: number = 1920 * 1080 * 1.5;
const FRAMES = 100;
// Word 0 counts frames written, word 1 frames read; a cache line apart, so that the two sides do not slow each other
// down.
const WRITTEN = 0;
const READ = 16;
const HEADER = 4096;
// A peer that died wakes nobody.
const PATIENCE = 5000;

const shared = new ProcessSharedAllocator();

if (process.argv[2] === "reader") {
  const opened = shared.open(3);
  if (!opened.ok) throw new Error(opened.hint);
  const { bytes } = opened.value.map("readwrite");
  const words = new Int32Array(bytes.buffer, 0, HEADER / 4);
  let sum = 0;
  for (let frame = 0; frame < FRAMES; frame++) {
    const written = waitForChange(words, WRITTEN, frame, { timeout: PATIENCE });
    if (!written.ok || written.value !== "changed") throw new Error("the writer is gone");
    for (let at = 0; at < FRAME; at += 4096) sum += bytes[HEADER + at]!;
    Atomics.store(words, READ, frame + 1);
    wakeWaiters(words, READ);
  }
  console.log(`reader: ${FRAMES} frames, sum ${sum}`);
} else {
  const memory = shared.allocate(HEADER + FRAME);
  const mapping = memory.map("readwrite");
  const { bytes } = mapping;
  const words = new Int32Array(bytes.buffer, 0, HEADER / 4);
  const child = spawn(process.execPath, [import.meta.filename, "reader"], {
    stdio: ["ignore", "inherit", "inherit", shared.descriptorOf(memory)],
  });
  const began = performance.now();
  for (let frame = 0; frame < FRAMES; frame++) {
    bytes.fill(frame, HEADER, HEADER + FRAME);
    Atomics.store(words, WRITTEN, frame + 1);
    wakeWaiters(words, WRITTEN);
    // It blocks this thread, which has nothing else to do here; a server lets a worker wait.
    const read = waitForChange(words, READ, frame, { timeout: PATIENCE });
    if (!read.ok || read.value !== "changed") throw new Error("the reader is gone");
  }
  console.log(
    `writer: ${(FRAME * FRAMES) / 1e6} MB in ${(performance.now() - began).toFixed(0)} ms, the child's start included`,
  );
  mapping.unmap();
  memory.release();
  const [code] = await once(child, "exit");
  process.exitCode = code;
}
