/** 8 MiB frames by integer handle: a SlabPool whose blocks hold one frame each; every check on, nothing allocated. */
import { SlabPool } from "../../src/pools/slab/slab-pool.ts";
import { measure, sink } from "../lib/subject.ts";

const FRAME = 8 << 20;
// libcork's model keeps 16 bytes of a block for links.
const pool = SlabPool.create({ elementSize: FRAME, blockSize: FRAME + 16, maxBlocks: 4 });
const warm = [1, 2, 3, 4].map(() => pool.alloc());
for (const frame of warm) pool.free(frame);

function loop(n: number): void {
  for (let i = 0; i < n; i++) {
    const frame = pool.alloc();
    sink.value = frame;
    pool.free(frame);
  }
}

await measure({ loop, library: "millpond" });
