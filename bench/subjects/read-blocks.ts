/** A file of 4 GiB from its start to its end, which the system has in memory: in slots, as a stream, and by hand. */
import { createReadStream, mkdtempSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BufferPool } from "../../src/index.ts";
import { readBlocks } from "../../src/node.ts";
import { effortFromEnvironment, FULL } from "../lib/protocol.ts";
import { emit, openWindow, sink } from "../lib/subject.ts";

const MIB = 2 ** 20;
const which = process.argv[2];

/** Reads the file to its end; returns how many bytes there were. */
type Reader = (path: string) => Promise<number>;

function inSlots(size: number): Reader {
  const pool = BufferPool.create({ size, max: 4 });
  return async (path) => {
    let total = 0;
    for await (const block of readBlocks(path, pool)) {
      sink.value = block.bytes[0];
      total += block.size;
      block.release();
    }
    return total;
  };
}

function asStream(options: { highWaterMark?: number }): Reader {
  return async (path) => {
    let total = 0;
    for await (const chunk of createReadStream(path, options) as AsyncIterable<Buffer>) {
      sink.value = chunk[0];
      total += chunk.length;
    }
    return total;
  };
}

async function byHand(path: string): Promise<number> {
  const buffer = new Uint8Array(MIB);
  const file = await open(path);
  let total = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, MIB, total);
    if (bytesRead === 0) break;
    sink.value = buffer[0];
    total += bytesRead;
  }
  await file.close();
  return total;
}

const readers: Record<string, () => Reader> = {
  blocks: () => inSlots(MIB),
  "small-blocks": () => inSlots(MIB / 16),
  stream: () => asStream({}),
  "large-stream": () => asStream({ highWaterMark: MIB }),
  hand: () => byHand,
};

const reader = readers[which ?? ""]?.();
if (reader === undefined) throw new Error(`which one? ${Object.keys(readers).join(", ")}`);
const isFull = effortFromEnvironment().repetitions >= FULL.repetitions;
const size = (isFull ? 4096 : 256) * MIB;
const folder = mkdtempSync(join(tmpdir(), "millpond-bench-"));
try {
  const path = join(folder, "file");
  const file = await open(path, "w");
  // Without a byte on the disk: the system has the zeros in memory once they were read.
  await file.truncate(size);
  await file.close();
  await byHand(path);
  await reader(path);
  const window = openWindow();
  const before = process.cpuUsage();
  const started = performance.now();
  const total = await reader(path);
  const elapsed = (performance.now() - started) * 1e6;
  const { user, system } = process.cpuUsage(before);
  if (total !== size) throw new Error(`${total} bytes were read, not ${size}`);
  const counted = await window.close();
  emit({
    ns: elapsed / (size / MIB),
    p999: null,
    ops: size / MIB,
    ...counted,
    library: which!.endsWith("blocks") ? "millpond" : "node",
    extra: { cpuNs: Math.round(((user + system) * 1000) / (size / MIB)) },
  });
} finally {
  rmSync(folder, { recursive: true });
}
