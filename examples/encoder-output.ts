/**
 * An encoder's output over PagePool: packets whose size is known only when they are done, most of them small, some key frames large.
 * The pool keeps the pages of each size for half a second, so steady output takes fresh pages for little more than its
 * one key frame a second, and what a burst of large packets took goes back along a smooth curve.
 *
 *   npx node examples/encoder-output.ts
 */
import { type Memory, PagePool } from "../src/index.ts";
import { FakeClock } from "../src/testing.ts";

const clock = new FakeClock(); // a real program leaves this out; here ten seconds pass in no time
const pool = PagePool.create({ name: "packets", curve: "smooth", maxBytes: 64 * 2 ** 20, clock });

const FRAME = 1000 / 60;
const KEY_EVERY = 60;
/** Packets that a muxer holds back until it has seen enough of both streams. */
const HELD_BY_MUXER = 8;

interface Packet {
  readonly pts: number;
  readonly memory: Memory;
}

/** Stands for an encoder: a key frame is ten times as large as what follows it. */
function encode(frame: number, scale: number): Memory {
  const size = Math.round(scale * (frame % KEY_EVERY === 0 ? 240_000 : 20_000 + ((frame * 7919) % 4096)));
  const memory = pool.allocator.allocate(size);
  const mapping = memory.map("write");
  mapping.bytes.fill(frame & 0xff);
  mapping.unmap();
  return memory;
}

const muxer: Packet[] = [];
function output(packet: Packet): void {
  muxer.push(packet);
  if (muxer.length <= HELD_BY_MUXER) return;
  muxer.shift()!.memory.release();
}

for (let second = 0; second < 10; second++) {
  const before = pool.stats().misses;
  // In the fourth second the scene becomes difficult, for one second.
  const scale = second === 3 ? 8 : 1;
  for (let i = 0; i < 60; i++) {
    const frame = second * 60 + i;
    output({ pts: frame * FRAME, memory: encode(frame, scale) });
    clock.advance(FRAME);
  }
  const { misses, idleBytes, bytes } = pool.stats();
  console.log(
    `second ${second}: ${String(misses - before).padStart(2)} fresh allocations of 60, ` +
      `${(bytes / 2 ** 20).toFixed(2)} MiB in all, ${(idleBytes / 2 ** 20).toFixed(2)} of them held`,
  );
}
for (const { memory } of muxer) memory.release();
clock.advance(600);
const { count, hits, misses } = pool.stats();
console.log(`${hits} packets of ${hits + misses} took pages that were there; ${count} blocks are left`);
pool.close();
if (count !== 0) process.exitCode = 1;
