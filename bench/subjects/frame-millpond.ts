/**
 * 8 MiB frames through BufferPool: the lease as users write it, checked; with revocation, every view dies at release.
 */
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { measure, sink } from "../lib/subject.ts";

const kind = process.argv[2];
if (kind !== "lease" && kind !== "revoke") throw new Error("which one? lease, revoke");

const pool = new BufferPool({ name: "frames" });
pool.configure({ size: 8 << 20, min: 4, max: 4, revoke: kind === "revoke" });
pool.activate();

function loop(n: number): void {
  for (let i = 0; i < n; i++) {
    const frame = pool.tryAcquire()!;
    sink.value = frame;
    frame.release();
  }
}

await measure({ loop, garbage: true, library: "millpond" });
