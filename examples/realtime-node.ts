/**
 * A media node that locks its pool, ported from BeOS: a mixer that asks the roster whether realtime allocation is wanted, makes its pool
 * before the first buffer has to be played, and takes scratch blocks from it in the callback, where nothing may fault or wait.
 *
 *   npx node examples/realtime-node.ts
 *   MILLPOND_REALTIME=none npx node examples/realtime-node.ts
 */
import {
  B_MEDIA_REALTIME_ALLOCATOR,
  B_MEDIA_REALTIME_DISABLED,
  B_MEDIA_REALTIME_UNAVAILABLE,
  BMediaRoster,
  type RtmError,
  rtm_alloc,
  type rtm_block,
  rtm_create_pool,
  rtm_delete_pool,
  rtm_free,
  type rtm_pool,
  rtm_realloc,
  rtm_size_for,
} from "../src/compat/realtime.ts";

// Native memory can be locked; without it the pool is there all the same, and says so.
await import("../src/native.ts").catch(() => undefined);

const FRAMES = 256;

class MixerNode {
  readonly fPool: rtm_pool;
  fLate = 0;

  constructor(channels: number) {
    this.fPool = rtm_create_pool(channels * 2 * FRAMES * Float32Array.BYTES_PER_ELEMENT, "mixer scratch");
  }

  /** A status that well-behaved callers look at and go on. */
  LockState(): string {
    switch (this.fPool.lockStatus) {
      case B_MEDIA_REALTIME_DISABLED:
        return "not locked: the user has realtime allocation off";
      case B_MEDIA_REALTIME_UNAVAILABLE:
        return "not locked: this machine does not let us";
      default:
        return "locked into RAM";
    }
  }

  /** One buffer: a scratch block for each channel, which grows where an effect has a tail. */
  SendNewBuffer(channels: number, turn: number): number {
    const scratch: rtm_block[] = [];
    for (let channel = 0; channel < channels; channel++) {
      let block = rtm_alloc(this.fPool, FRAMES * Float32Array.BYTES_PER_ELEMENT);
      if (block !== null && (channel + turn) % 4 === 0) block = rtm_realloc(block, rtm_size_for(block) + 256) ?? block;
      if (block === null) {
        this.fLate++;
        continue;
      }
      const { bytes } = block;
      new Float32Array(bytes.buffer, bytes.byteOffset, FRAMES).fill(1 / channels);
      scratch.push(block);
    }
    let sum = 0;
    for (const { bytes } of scratch) sum += new Float32Array(bytes.buffer, bytes.byteOffset, FRAMES)[turn % FRAMES]!;
    for (const block of scratch) rtm_free(block);
    return sum;
  }

  Quit(): void {
    rtm_delete_pool(this.fPool);
  }
}

const roster = BMediaRoster.Roster();
const wanted = (roster.GetRealtimeFlags() & B_MEDIA_REALTIME_ALLOCATOR) !== 0;
const node = new MixerNode(8);
let level = 0;
for (let turn = 0; turn < 1000; turn++) level = node.SendNewBuffer(8, turn);
console.log(`${node.fPool}; ${wanted ? "wanted" : "not wanted"}, ${node.LockState()}`);
console.log(`1000 buffers of 8 channels mixed to ${level}, ${node.fLate} blocks missing`);

// A block that is still out keeps its pool, and the error says what to do.
const forgotten = rtm_alloc(node.fPool, 100);
try {
  node.Quit();
} catch (error) {
  const { status, message } = error as RtmError;
  console.log(`status ${status}: ${message}`);
}
rtm_free(forgotten);
node.Quit();
