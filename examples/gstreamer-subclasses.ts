/**
 * A capture card's driver as GStreamer's users write it: an allocator subclass that hands out the card's own blocks, and a pool
 * subclass that adjusts the configuration, tags its buffers and chains up. The names are GStreamer's, as its bindings have them.
 *
 *   npx node examples/gstreamer-subclasses.ts
 */
import {
  type AcquireParams,
  AllocationParams,
  Allocator,
  type Buffer,
  BufferPool,
  FlowReturn,
  lastError,
  MapFlags,
  Memory,
  MemoryFlags,
  Meta,
  type PoolConfig,
} from "../src/compat/gstreamer.ts";

/** The card has four blocks of 4 KiB; a memory is one of them, and goes back to the card when it is freed. */
class CardAllocator extends Allocator {
  override mem_type = "CardMemory";
  readonly #blocks: Uint8Array[] = [0, 1, 2, 3].map((index) => new Uint8Array(4096).fill(index));
  readonly #blockOf: WeakMap<Memory, Uint8Array> = new WeakMap();

  override vfunc_alloc(size: number, _params: AllocationParams): Memory | null {
    const block = this.#blocks[0];
    if (block === undefined || size > block.length) return null;
    this.#blocks.shift();
    const memory = Memory.new_wrapped(MemoryFlags.PHYSICALLY_CONTIGUOUS, block, block.length, 0, size);
    this.#blockOf.set(memory, block);
    return memory;
  }

  override vfunc_free(memory: Memory): void {
    this.#blocks.push(this.#blockOf.get(memory)!);
    super.vfunc_free(memory);
  }

  get free_blocks(): number {
    return this.#blocks.length;
  }
}

Meta.api_type_register("CardMetaAPI", []);
const CardMeta = Meta.register("CardMetaAPI", "CardMeta", {
  init(meta, channel) {
    meta.channel = channel;
    return true;
  },
})!;

/** Rows of the card are multiples of 256 bytes; each buffer carries the channel that it was made for. */
class CardPool extends BufferPool {
  override vfunc_get_options(): string[] {
    return [...super.vfunc_get_options(), "CardBufferPoolOptionMeta"];
  }

  override vfunc_set_config(config: PoolConfig): boolean {
    const [, caps, size, min, max] = BufferPool.config_get_params(config);
    const rows = Math.ceil(size / 256) * 256;
    if (rows !== size) {
      BufferPool.config_set_params(config, caps, rows, min, max);
      return false; // not as asked: read it back, and set it again
    }
    return super.vfunc_set_config(config);
  }

  override vfunc_alloc_buffer(params: AcquireParams): [FlowReturn, Buffer | null] {
    const [flow, buffer] = super.vfunc_alloc_buffer(params);
    if (flow === FlowReturn.OK) buffer!.add_meta(CardMeta, params.channel ?? 0);
    return [flow, buffer];
  }
}

const card = new CardAllocator();
Allocator.register("card", card);

const pool = new CardPool();
const caps = { name: "video/x-raw", format: "GRAY8", width: 60, height: 50 };
const config = pool.get_config();
BufferPool.config_set_params(config, caps, 60 * 50, 1, 2);
BufferPool.config_set_allocator(config, Allocator.find("card"), null);
BufferPool.config_add_option(config, "CardBufferPoolOptionMeta");

// The handshake of every GStreamer element: what the pool cannot do exactly it puts into the configuration, to be read back.
if (!pool.set_config(config)) {
  const adjusted = pool.get_config();
  if (!BufferPool.config_validate_params(adjusted, caps, 60 * 50, 1, 2)) throw new Error("the pool cannot serve");
  console.log(`asked for ${60 * 50} bytes, the card gives ${adjusted.size}`);
  if (!pool.set_config(adjusted)) throw lastError();
}
if (!pool.set_active(true)) throw lastError();

for (let frame = 0; frame < 4; frame++) {
  const [flow, buffer] = await pool.acquire_buffer({ channel: 7 });
  if (flow !== FlowReturn.OK || buffer === null) throw lastError();
  buffer.pts = BigInt(frame) * 40_000_000n;
  const [mapped, info] = buffer.map(MapFlags.WRITE);
  if (!mapped) throw lastError();
  info.data!.fill(frame);
  buffer.unmap(info);
  const memory = buffer.peek_memory(0);
  console.log(`${buffer}, ${memory.allocator}, channel ${buffer.get_meta("CardMetaAPI")?.channel}`);
  buffer.unref(); // the last reference: it goes back to its pool
}

pool.set_active(false);
const aligned = Allocator.find("SystemMemory")!.alloc(100, Object.assign(new AllocationParams(), { align: 63 }))!;
console.log(`${card.free_blocks} of 4 blocks are back on the card; and ${aligned}`);
aligned.unref();
