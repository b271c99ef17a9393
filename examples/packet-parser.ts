/**
 * A packet parser over SlabPool structs: headers of packets in flight are elements of a slab, reached through the pool's one
 * cursor, so that no object is made for a packet. Here a synthetic RTP-like stream that loses three packets.
 *
 *   npx node examples/packet-parser.ts
 */
import { bytes, SlabPool, struct } from "../src/index.ts";

const Packet = struct({ timestamp: "u32", sequence: "u16", marker: "u8", source: bytes(4) });
const pool = SlabPool.create({ name: "packets", struct: Packet, maxBlocks: 4 });

/** Twelve bytes of header in network order: flags, type, sequence, timestamp, source. */
function header(sequence: number): DataView {
  const view = new DataView(new ArrayBuffer(12));
  view.setUint8(1, sequence % 10 === 9 ? 0x80 : 0);
  view.setUint16(2, sequence);
  view.setUint32(4, sequence * 3000);
  view.setUint32(8, 0xcafe);
  return view;
}

function parse(wire: DataView): number {
  const pointer = pool.alloc();
  const packet = pool.at(pointer);
  packet.sequence = wire.getUint16(2);
  packet.timestamp = wire.getUint32(4);
  packet.marker = wire.getUint8(1) >> 7;
  packet.source.set(new Uint8Array(wire.buffer, 8, 4));
  return pointer;
}

// A reordering window of 16: what leaves it is checked against what should come next.
const window: number[] = [];
const lost: number[] = [];
let expected = 1;
let most = 0;
let parsed = 0;

function retire(pointer: number): void {
  const { sequence } = pool.at(pointer);
  while (expected < sequence) lost.push(expected++);
  expected = sequence + 1;
  pool.free(pointer);
}

for (let sequence = 1; parsed < 1000; sequence++) {
  if (sequence === 250 || sequence === 500 || sequence === 750) continue;
  window.push(parse(header(sequence)));
  parsed++;
  most = Math.max(most, pool.live);
  if (window.length === 16) retire(window.shift()!);
}
for (const pointer of window) retire(pointer);

const { blocks } = pool.stats();
console.log(
  `${parsed} packets parsed, ${most} in flight at most, in ${blocks} block; ${lost.length} lost: ${lost.join(", ")}`,
);
pool.close();
