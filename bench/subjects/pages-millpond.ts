/**
 * An 8 MiB block from each source of pages: allocated, one byte of every page written, freed; or the same block leased by
 * a pool that stands on that source. What a locked or prefaulted page costs is paid at allocation, which is why a pool
 * pays it once.
 */

import { WasmAllocator } from "../../src/allocators/wasm.ts";
import type { Allocator } from "../../src/memory/allocator.ts";
import { SystemAllocator } from "../../src/memory/allocator.ts";
import { LockedAllocator, PagesAllocator, ProcessSharedAllocator } from "../../src/native.ts";
import { nativeOps } from "../../src/os/load.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { measure } from "../lib/subject.ts";

const SIZE = 8 << 20;
const SOURCES: Readonly<Record<string, () => Allocator>> = {
  system: () => new SystemAllocator(),
  wasm: () => new WasmAllocator(),
  pages: () => new PagesAllocator(),
  prefault: () => new PagesAllocator({ prefault: true }),
  "huge-prefault": () => new PagesAllocator({ huge: true, prefault: true }),
  mapped: () => new PagesAllocator({ backing: "mapped" }),
  "mapped-huge-prefault": () => new PagesAllocator({ backing: "mapped", huge: true, prefault: true }),
  locked: () => new LockedAllocator(),
  shared: () => new ProcessSharedAllocator(),
};

const [source = "", way = ""] = process.argv.slice(2);
const make = SOURCES[source];
if (make === undefined || (way !== "fresh" && way !== "pooled")) {
  throw new Error(`which one? ${Object.keys(SOURCES).join(", ")}; then fresh or pooled`);
}
const allocator = make();
const { availability } = nativeOps();
if (!availability.ok && source !== "system" && source !== "wasm") throw new Error(availability.hint);

/** One byte of every 4 KiB: what a first touch costs, and little else. */
function touch(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += 4096) bytes[at] = 1;
}

function fresh(n: number): void {
  for (let i = 0; i < n; i++) {
    const memory = allocator.allocate(SIZE);
    const mapping = memory.map("write");
    touch(mapping.bytes);
    mapping.unmap();
    memory.release();
  }
}

const pool = new BufferPool();
function pooled(n: number): void {
  for (let i = 0; i < n; i++) {
    const buffer = pool.tryAcquire()!;
    const mapping = buffer.map("write");
    touch(mapping.bytes);
    mapping.unmap();
    buffer.release();
  }
}

if (way === "pooled") {
  pool.configure({ size: SIZE, min: 4, max: 4, allocator });
  pool.activate();
}
await measure({ loop: way === "fresh" ? fresh : pooled, garbage: way === "fresh", library: "millpond" });
