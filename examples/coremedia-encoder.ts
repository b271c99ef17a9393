/**
 * An encoder over block buffers, ported as Core Media's users write it: its packets are CMBlockBuffers whose blocks come from a memory pool;
 * they go in decoding order into a CMBufferQueue that sorts them by presentation time; a trigger on its duration stops the encoder, and
 * the muxer copies each packet behind a header that it appends, without copying the payload.
 *
 *   npx node examples/coremedia-encoder.ts
 */
import {
  CFRelease,
  type CMBlockBuffer,
  CMBlockBufferAppendBufferReference,
  CMBlockBufferCopyDataBytes,
  CMBlockBufferCreateWithBufferReference,
  CMBlockBufferCreateWithMemoryBlock,
  CMBlockBufferGetDataLength,
  CMBlockBufferGetDataPointer,
  CMBlockBufferIsRangeContiguous,
  CMBufferQueueCreate,
  CMBufferQueueDequeueAndRetain,
  CMBufferQueueEnqueue,
  CMBufferQueueGetDuration,
  CMBufferQueueInstallTrigger,
  CMBufferQueueIsAtEndOfData,
  CMBufferQueueMarkEndOfData,
  CMMemoryPoolCreate,
  CMMemoryPoolGetAllocator,
  CMMemoryPoolInvalidate,
  DoorError,
  kCFAllocatorNull,
  kCMBlockBufferAssureMemoryNowFlag,
  kCMBufferQueueTrigger_WhenDurationBecomesGreaterThanOrEqualTo,
} from "../src/compat/coremedia.ts";

const FRAMES = 600;
const FRAME_NS = 40_000_000n;
const MOST = 65_536;

const pool = CMMemoryPoolCreate(null);
const allocator = CMMemoryPoolGetAllocator(pool);

interface Timing {
  readonly pts: bigint;
  readonly dts: bigint;
}
const timings = new WeakMap<CMBlockBuffer, Timing>();

const queue = CMBufferQueueCreate<CMBlockBuffer>(0, {
  refcon: timings,
  getPresentationTimeStamp: (packet) => timings.get(packet)?.pts,
  getDecodeTimeStamp: (packet) => timings.get(packet)?.dts,
  getDuration: () => FRAME_NS,
  compare: (a, b) => Number(timings.get(a)!.pts - timings.get(b)!.pts),
  getSize: (packet) => CMBlockBufferGetDataLength(packet),
});

let isFull = false;
let stops = 0;
CMBufferQueueInstallTrigger(
  queue,
  () => {
    isFull = true;
    stops++;
  },
  null,
  kCMBufferQueueTrigger_WhenDurationBecomesGreaterThanOrEqualTo,
  8n * FRAME_NS,
);

/** "Encodes" a frame: a block of the largest size, of which the packet is the front part. */
function encode(dts: number): CMBlockBuffer {
  const block = CMBlockBufferCreateWithMemoryBlock(
    null,
    null,
    MOST,
    allocator,
    null,
    0,
    MOST,
    kCMBlockBufferAssureMemoryNowFlag,
  );
  const { dataPointer } = CMBlockBufferGetDataPointer(block, 0);
  const length = 1000 + ((dts * 7919) % 60_000);
  dataPointer.fill(dts & 255, 0, length);
  const packet = CMBlockBufferCreateWithBufferReference(null, block, 0, length, 0);
  CFRelease(block);
  // Groups of I P B B: the P frame is decoded before the two B frames that are shown before it.
  const order = [0, 3, 1, 2][dts % 4]!;
  timings.set(packet, { pts: BigInt(dts - (dts % 4) + order) * FRAME_NS, dts: BigInt(dts) * FRAME_NS });
  return packet;
}

let shown = -1n;
let bytes = 0;
function mux(packet: CMBlockBuffer): void {
  const { pts } = timings.get(packet)!;
  if (pts <= shown) throw new Error(`${pts} comes after ${shown}`);
  shown = pts;
  const header = new Uint8Array(12);
  const view = new DataView(header.buffer);
  view.setUint32(0, CMBlockBufferGetDataLength(packet));
  view.setBigUint64(4, pts);
  const record = CMBlockBufferCreateWithMemoryBlock(null, header, 12, kCFAllocatorNull, null, 0, 12, 0);
  CMBlockBufferAppendBufferReference(record, packet, 0, 0, 0);
  if (CMBlockBufferIsRangeContiguous(record, 0, 0)) throw new Error("a header and a payload are two runs");
  const written = new Uint8Array(CMBlockBufferGetDataLength(record));
  CMBlockBufferCopyDataBytes(record, 0, written.length, written);
  bytes += written.length;
  CFRelease(record);
}

let encoded = 0;
while (!CMBufferQueueIsAtEndOfData(queue)) {
  while (encoded < FRAMES && !isFull) {
    const packet = encode(encoded++);
    CMBufferQueueEnqueue(queue, packet);
    CFRelease(packet);
  }
  if (encoded === FRAMES) CMBufferQueueMarkEndOfData(queue);
  // Half of the queue: the packets of a whole group, and those behind it.
  while (CMBufferQueueGetDuration(queue) > (encoded === FRAMES ? 0n : 4n * FRAME_NS)) {
    const packet = CMBufferQueueDequeueAndRetain(queue)!;
    mux(packet);
    CFRelease(packet);
  }
  isFull = false;
}
const { hits, misses, live } = pool.pool.stats();
console.log(
  `${encoded} packets, ${bytes} bytes in order of presentation; the trigger stopped the encoder ${stops} times`,
);
console.log(`${misses} blocks served ${hits + misses} packets, ${live} are out`);

// What crashes there, or shows another packet's bytes.
const packet = encode(0);
CFRelease(packet);
try {
  CMBlockBufferGetDataPointer(packet, 0);
} catch (error) {
  if (!(error instanceof DoorError)) throw error;
  console.log(`${error.status}: ${error.message}`);
}
CFRelease(queue);
CMMemoryPoolInvalidate(pool);
CFRelease(pool);
