/**
 * A child: native copies into memory that comes and goes. Pools are closed by force with leases out, buffers are
 * dropped and collected, views are revoked and transferred away, between any two copies; blocks that are nobody's
 * target must keep their bytes, and each copy must be whole. A stray write ends in a crash or in a count that is not 0.
 */

import { DirectCopier, type FrameCopier, importLibav, StagedCopier } from "../../src/adapters/mediabunny/libav.ts";
import { loadMediabunny } from "../../src/adapters/mediabunny/load.ts";
import { allocators } from "../../src/allocators/registry.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { generator } from "../helpers/random.ts";

const rounds = Number(process.argv[2]);
const collect = (globalThis as { gc?: () => void }).gc!;
await loadMediabunny();
const av = (await importLibav(import.meta.resolve("@mediabunny/server")))!;
const random = generator(Number(process.argv[3]));
const copiers: readonly FrameCopier[] = [new DirectCopier(av), new StagedCopier(av)];

const SIZES = [
  [320, 180],
  [640, 360],
  [33, 17],
] as const;
const sources = SIZES.map(([width, height], i) => {
  const frame = new av.Frame();
  frame.alloc();
  Object.assign(frame, { format: av.AV_PIX_FMT_YUV420P, width, height });
  frame.getBuffer(0);
  for (const plane of frame.data!) plane.fill(0x40 + i);
  return { frame, value: 0x40 + i, size: av.avImageGetBufferSize(av.AV_PIX_FMT_YUV420P, width, height, 1) };
});

let bad = 0;
let canaries: Uint8Array[] = [];
const isAll = (bytes: Uint8Array, value: number): boolean => bytes.every((byte) => byte === value);

for (let round = 0; round < rounds; round++) {
  const { frame, value, size } = sources[random(sources.length)]!;
  const copier = copiers[random(copiers.length)]!;
  const kind = random(4);
  if (kind === 0) {
    const bytes = new Uint8Array(size);
    if (!copier.copy(frame, bytes, size) || !isAll(bytes, value)) bad++;
    // Its memory goes on under another view, with other bytes, which no later copy may touch.
    const moved = new Uint8Array(structuredClone(bytes.buffer, { transfer: [bytes.buffer] })).fill(0x11);
    if (copier.copy(frame, bytes, size)) bad++;
    canaries.push(moved);
  } else {
    const allocator = allocators.find(kind === 1 ? "shared" : "system")!;
    const pool = BufferPool.create({ size, max: 3, allocator, revoke: kind === 2 });
    const leases = [pool.tryAcquire()!, pool.tryAcquire()!];
    const views = leases.map((lease) => lease.bytes);
    for (const view of views) if (!copier.copy(frame, view, size) || !isAll(view, value)) bad++;
    if (random(2) === 0) leases[0]!.release();
    pool.close({ force: true });
    // What is left of the views: nothing where they were revoked, else bytes that the collector keeps for them.
    for (const view of views) if (view.length > 0 && copier.copy(frame, view, size) && !isAll(view, value)) bad++;
  }
  if (canaries.length > 8) canaries = canaries.slice(4);
  for (const canary of canaries) if (!isAll(canary, 0x11)) bad++;
  if (round % 4 === 0) collect();
}
process.stdout.write(`${JSON.stringify({ rounds, bad })}\n`);
