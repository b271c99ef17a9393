/**
 * What the first detached ArrayBuffer costs everybody: a byte loop over 8 MiB, before and after one revocation in the
 * same isolate. Not an operation of ours; it is the price that `revoke: true` is documented with.
 */
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { measure, sink } from "../lib/subject.ts";

const which = process.argv[2];
if (which !== "before" && which !== "after") throw new Error("which one? before, after");

const bytes = new Uint8Array(8 << 20).fill(1);
if (which === "after") {
  const pool = BufferPool.create({ name: "revoked", size: 4096, max: 1, revoke: true });
  pool.tryAcquire()!.release();
}

function sum(): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i++) total += bytes[i]!;
  return total;
}

function loop(n: number): void {
  for (let i = 0; i < n; i++) sink.value = sum();
}

await measure({ loop, library: "millpond" });
