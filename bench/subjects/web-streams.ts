/** Frames of 1080p from a file's byte stream, four in flight: in slots, in fresh buffers, and in a ring by hand. */
import { mkdtempSync, rmSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { allocators, BufferPool } from "../../src/index.ts";
import { readInto } from "../../src/web-streams.ts";
import { effortFromEnvironment, FULL } from "../lib/protocol.ts";
import { emit, openWindow, sink } from "../lib/subject.ts";

const FRAME = (1920 * 1080 * 3) / 2;
const IN_FLIGHT = 4;
const which = process.argv[2];

/** What a program looks at: one byte of a frame, when three more are there. */
function look(frames: Uint8Array[], frame: Uint8Array): void {
  frames.push(frame);
  if (frames.length === IN_FLIGHT) sink.value = frames.shift()![FRAME - 1];
}

type Reader = (stream: ReadableStream) => Promise<number>;

function inSlots(shared: boolean): Reader {
  const allocator = shared ? { allocator: allocators.find("shared")! } : {};
  const pool = BufferPool.create({ size: FRAME, max: IN_FLIGHT, ...allocator });
  return async (stream) => {
    const held = [];
    let frames = 0;
    for await (const frame of readInto(stream, pool)) {
      frames++;
      held.push(frame);
      if (held.length < IN_FLIGHT) continue;
      const oldest = held.shift()!;
      sink.value = oldest.bytes[FRAME - 1];
      oldest.release();
    }
    for (const frame of held) frame.release();
    return frames;
  };
}

/** What programs do: the chunks of a reader, put together in a fresh buffer a frame. */
async function fromChunks(stream: ReadableStream<Uint8Array>): Promise<number> {
  const held: Uint8Array[] = [];
  let frames = 0;
  let frame = new Uint8Array(FRAME);
  let filled = 0;
  for await (let chunk of stream as unknown as AsyncIterable<Uint8Array>) {
    while (chunk.length > 0) {
      const part = chunk.subarray(0, FRAME - filled);
      frame.set(part, filled);
      filled += part.length;
      chunk = chunk.subarray(part.length);
      if (filled < FRAME) continue;
      frames++;
      look(held, frame);
      frame = new Uint8Array(FRAME);
      filled = 0;
    }
  }
  return frames;
}

/** A BYOB reader into buffers that `next` gives. */
function byob(next: () => ArrayBuffer, used: (frame: Uint8Array) => ArrayBuffer | undefined): Reader {
  return async (stream) => {
    const reader = stream.getReader({ mode: "byob" });
    const free: ArrayBuffer[] = [];
    let frames = 0;
    for (;;) {
      let buffer = free.shift() ?? next();
      let filled = 0;
      while (filled < FRAME) {
        const { done, value } = await reader.read(new Uint8Array(buffer, filled, FRAME - filled));
        if (done) return frames;
        buffer = value.buffer as ArrayBuffer;
        filled += value.length;
      }
      frames++;
      const oldest = used(new Uint8Array(buffer));
      if (oldest !== undefined) free.push(oldest);
    }
  };
}

function freshByob(): Reader {
  const held: Uint8Array[] = [];
  return byob(
    () => new ArrayBuffer(FRAME),
    (frame) => {
      look(held, frame);
      return undefined;
    },
  );
}

function ringByob(): Reader {
  const held: Uint8Array[] = [];
  return byob(
    () => new ArrayBuffer(FRAME),
    (frame) => {
      held.push(frame);
      if (held.length < IN_FLIGHT) return undefined;
      const oldest = held.shift()!;
      sink.value = oldest[FRAME - 1];
      return oldest.buffer as ArrayBuffer;
    },
  );
}

const readers: Record<string, () => Reader> = {
  slots: () => inSlots(false),
  shared: () => inSlots(true),
  chunks: () => fromChunks,
  "fresh-byob": freshByob,
  "ring-byob": ringByob,
};

const reader = readers[which ?? ""]?.();
if (reader === undefined) throw new Error(`which one? ${Object.keys(readers).join(", ")}`);
const isFull = effortFromEnvironment().repetitions >= FULL.repetitions;
const count = isFull ? 600 : 60;

/** Reads the file once; the processor time of all of it, libuv's threads included. */
async function readOnce(file: FileHandle): Promise<number> {
  const before = process.cpuUsage();
  const frames = await reader!(file.readableWebStream() as ReadableStream);
  const { user, system } = process.cpuUsage(before);
  if (frames !== count) throw new Error(`${frames} frames were read, not ${count}`);
  return (user + system) * 1000;
}

const folder = mkdtempSync(join(tmpdir(), "millpond-bench-"));
try {
  const path = join(folder, "file");
  const made = await open(path, "w");
  // Without a byte on the disk: the system gives zeros.
  await made.truncate(count * FRAME);
  await made.close();
  const warmUp = await open(path);
  await readOnce(warmUp);
  await warmUp.close();
  const file = await open(path);
  const window = openWindow();
  const started = performance.now();
  const cpuNs = await readOnce(file);
  const elapsed = performance.now() - started;
  const counted = await window.close();
  await file.close();
  emit({
    ns: cpuNs / count,
    p999: null,
    ops: count,
    ...counted,
    library: which === "slots" || which === "shared" ? "millpond" : "node",
    extra: { framesPerSecond: Math.round((count * 1000) / elapsed) },
  });
} finally {
  rmSync(folder, { recursive: true });
}
