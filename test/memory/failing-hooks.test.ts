/**
 * A call that fails in the middle releases what it had made and ends what it had mapped, whatever the hooks of an
 * allocator throw, at whichever call of them.
 */
import { describe, expect, test } from "vitest";
import { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { Allocator, setDefaultAllocator, systemAllocator } from "../../src/memory/allocator.ts";
import type { Memory } from "../../src/memory/memory.ts";
import { MemoryFlags } from "../../src/memory/params.ts";
import { opaqueRegion, type Region } from "../../src/memory/region.ts";
import { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { MillpondError } from "../../src/util/errors.ts";
import { lateErrors } from "../helpers/late-errors.ts";

type Hook = "allocate" | "free" | "map" | "unmap";

/** An allocator of opaque memory one of whose hooks throws at its n-th call. */
class Failing extends Allocator {
  live = 0;
  mapped = 0;
  calls: Record<Hook, number> = { allocate: 0, free: 0, map: 0, unmap: 0 };
  fails: { readonly hook: Hook; readonly at: number } | undefined;
  /** False while a test makes what it works on. */
  armed = true;

  constructor() {
    super("failing");
  }

  #enter(hook: Hook): void {
    const { fails } = this;
    if (!this.armed) return;
    if (++this.calls[hook] !== fails?.at || hook !== fails.hook) return;
    throw new MillpondError("ERR_CORRUPTED", `${hook} failed`);
  }

  protected override allocateRegion(size: number): Region {
    this.#enter("allocate");
    this.live++;
    return opaqueRegion(size, new Uint8Array(size));
  }

  protected override freeRegion(): void {
    this.live--;
    this.#enter("free");
  }

  protected override mapRegion(region: Region): Uint8Array {
    this.#enter("map");
    this.mapped++;
    return region.handle as Uint8Array;
  }

  protected override unmapRegion(): void {
    this.mapped--;
    this.#enter("unmap");
  }
}

function memoryOf(allocator: Failing, flags = 0): Memory {
  allocator.armed = false;
  const memory = allocator.allocate(8, { flags });
  allocator.armed = true;
  return memory;
}

function bufferOf(...memories: Memory[]): MediaBuffer {
  const buffer = new MediaBuffer();
  for (const memory of memories) buffer.append(memory);
  return buffer;
}

const told: unknown[] = [];

/** Ends what a call left alive. What that throws is told, and stands in the way of nothing. */
function end(what: { release(): void; refCount: number }): void {
  try {
    if (what.refCount > 0) what.release();
  } catch (error) {
    told.push(error);
  }
}

const CALLS: Record<string, (allocator: Failing) => void> = {
  "memory.copy()"(allocator) {
    const memory = memoryOf(allocator);
    try {
      end(memory.copy());
    } finally {
      end(memory);
    }
  },
  "memory.makeWritable()"(allocator) {
    const memory = memoryOf(allocator);
    const part = memory.share(0);
    let own: Memory = part;
    try {
      own = part.makeWritable();
    } finally {
      end(own);
      end(memory);
    }
  },
  "memory.makeWritable() of the last reference"(allocator) {
    const memory = memoryOf(allocator);
    const part = memory.share(0);
    memory.release();
    let own: Memory = part;
    try {
      own = part.makeWritable();
    } finally {
      end(own);
    }
  },
  "buffer.copy({ deep })"(allocator) {
    const buffer = bufferOf(memoryOf(allocator), memoryOf(allocator));
    try {
      end(buffer.copy({ deep: true }));
    } finally {
      end(buffer);
    }
  },
  "a map for writing of shared bytes"(allocator) {
    const buffer = bufferOf(memoryOf(allocator));
    const copy = buffer.copy();
    try {
      buffer.map("readwrite").unmap();
    } finally {
      end(copy);
      end(buffer);
    }
  },
  "a merge"(allocator) {
    const buffer = bufferOf(memoryOf(allocator), memoryOf(allocator), memoryOf(allocator));
    try {
      buffer.map("readwrite").unmap();
    } finally {
      end(buffer);
    }
  },
  "a map for reading outside the list"(allocator) {
    const buffer = bufferOf(memoryOf(allocator), memoryOf(allocator));
    buffer.retain();
    try {
      buffer.map("read").unmap();
    } finally {
      end(buffer);
      end(buffer);
    }
  },
  "a map for writing of parts of one memory"(allocator) {
    const memory = memoryOf(allocator);
    const buffer = bufferOf(memory.share(0, 4), memory.share(4, 4));
    try {
      buffer.map("readwrite").unmap();
    } finally {
      end(buffer);
      end(memory);
    }
  },
  "fill() over shared bytes"(allocator) {
    const buffer = bufferOf(memoryOf(allocator), memoryOf(allocator));
    const copy = buffer.copy();
    try {
      buffer.fill(0, new Uint8Array(16));
    } finally {
      end(copy);
      end(buffer);
    }
  },
  "a resize that copies"(allocator) {
    const buffer = bufferOf(memoryOf(allocator, MemoryFlags.NO_SHARE), memoryOf(allocator, MemoryFlags.NO_SHARE));
    const copy = new MediaBuffer();
    for (const memory of buffer.memories) copy.append(memory.retain());
    try {
      buffer.resize(4, 8);
    } finally {
      end(copy);
      end(buffer);
    }
  },
  "an insert into a full list"(allocator) {
    const buffer = bufferOf(...Array.from({ length: MediaBuffer.maxMemories }, () => memoryOf(allocator)));
    const memory = memoryOf(allocator);
    try {
      buffer.insert(8, memory.retain());
    } finally {
      if (memory.refCount > 0) while (memory.refCount > memory.owners) memory.release();
      end(buffer);
    }
  },
  "makeWritable() of a buffer"(allocator) {
    const buffer = bufferOf(memoryOf(allocator, MemoryFlags.NO_SHARE));
    buffer.retain();
    let own = buffer;
    try {
      own = buffer.makeWritable();
    } finally {
      end(own);
      end(buffer);
      end(buffer);
    }
  },
  "a lease of a pool"(allocator) {
    const pool = BufferPool.create({ size: 16, max: 2, allocator });
    try {
      const buffer = pool.tryAcquire()!;
      try {
        end(buffer.copy({ deep: true }));
        const copy = buffer.copy();
        try {
          buffer.map("readwrite").unmap();
        } finally {
          end(copy);
        }
      } finally {
        end(buffer);
      }
    } finally {
      pool.close();
    }
  },
};

describe("nothing is lost by a call that fails", () => {
  for (const [name, call] of Object.entries(CALLS)) {
    for (const hook of ["allocate", "free", "map", "unmap"] as const) {
      test(`${name}: ${hook} throws, at each of its calls`, async () => {
        const sound = new Failing();
        setDefaultAllocator(sound);
        try {
          call(sound);
          for (let at = 1; at <= sound.calls[hook]; at++) {
            const allocator = new Failing();
            setDefaultAllocator(allocator);
            allocator.fails = { hook, at };
            told.length = 0;
            const late = await lateErrors(() => {
              try {
                call(allocator);
              } catch (error) {
                told.push(error);
              }
            });
            expect({ at, live: allocator.live, mapped: allocator.mapped }).toEqual({ at, live: 0, mapped: 0 });
            // It is told once: to the caller, or later.
            expect({ at, told: told.length + late.length }).toEqual({ at, told: 1 });
          }
        } finally {
          setDefaultAllocator(systemAllocator());
        }
      });
    }
  }
});
