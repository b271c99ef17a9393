/** PagePool: leases over whole pages of eight sizes, age-out on, every check on. */
import { PagePool } from "../../src/pools/page/page-pool.ts";
import { measure, sink } from "../lib/subject.ts";
import { PAGE_SIZES, TRACE_LENGTH, trace } from "../lib/trace.ts";

const { allocator } = PagePool.create();
const choices = trace(PAGE_SIZES.length);
let at = 0;

function pages(n: number): void {
  for (let i = 0; i < n; i++) {
    const memory = allocator.allocate(PAGE_SIZES[choices[at++ & (TRACE_LENGTH - 1)]!]!);
    sink.value = memory;
    memory.release();
  }
}

// garbage: the lease of each allocation is one small object.
await measure({ loop: pages, garbage: true, library: "millpond" });
