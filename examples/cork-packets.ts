/**
 * A packet parser over a cork_mempool, ported as libcork's users write it: the application owns the pool's struct, each packet's header is
 * an object of it, and `init` sets up a scratch buffer once a slot, which later packets in that slot find again.
 *
 *   npx node examples/cork-packets.ts
 */
import {
  cork_mempool,
  cork_mempool_bytes,
  cork_mempool_done,
  cork_mempool_free,
  cork_mempool_init_size_ex,
  cork_mempool_new,
  cork_mempool_set_init_object,
  cork_mempool_set_user_data,
} from "../src/compat/cork.ts";

/** struct packet { uint16_t seq; uint16_t port; uint32_t length; uint32_t uses; uint32_t pad; } */
const PACKET = { size: 16, seq: 0, port: 2, length: 4, uses: 8 };

interface Parser {
  /** Slots that were set up. */
  slots: number;
  /** Packets that came out of order, by their sequence number. */
  readonly waiting: Map<number, number>;
  expected: number;
  bytes: number;
}

const mp = new cork_mempool();
cork_mempool_init_size_ex(mp, PACKET.size, 256);
const parser: Parser = { slots: 0, waiting: new Map(), expected: 0, bytes: 0 };
cork_mempool_set_user_data(mp, parser, (data) => console.log(`${(data as Parser).slots} slots were set up, once each`));
cork_mempool_set_init_object(mp, (data, packet) => {
  (data as Parser).slots++;
  fields(packet).setUint32(PACKET.uses, 0, true);
});

function fields(packet: number): DataView {
  const { buffer, byteOffset, byteLength } = cork_mempool_bytes(mp, packet);
  return new DataView(buffer, byteOffset, byteLength);
}

function parse(datagram: Uint8Array): number {
  const packet = cork_mempool_new(mp);
  if (packet === null) throw new Error("no memory for a packet");
  const wire = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  const view = fields(packet);
  view.setUint16(PACKET.seq, wire.getUint16(0), true);
  view.setUint16(PACKET.port, wire.getUint16(2), true);
  view.setUint32(PACKET.length, datagram.length - 4, true);
  // What the slot's last packet left is still there: recycling touches no byte.
  view.setUint32(PACKET.uses, view.getUint32(PACKET.uses, true) + 1, true);
  return packet;
}

/** Hands on what is in order, and frees it. */
function deliver(packet: number): void {
  parser.waiting.set(fields(packet).getUint16(PACKET.seq, true), packet);
  for (;;) {
    const next = parser.waiting.get(parser.expected);
    if (next === undefined) return;
    parser.bytes += fields(next).getUint32(PACKET.length, true);
    parser.waiting.delete(parser.expected++);
    cork_mempool_free(mp, next);
  }
}

// 2000 datagrams; each group of five arrives backwards.
let most = 0;
for (let group = 0; group < 2000; group += 5) {
  for (let i = 4; i >= 0; i--) {
    const datagram = new Uint8Array(4 + ((group + i) % 100));
    new DataView(datagram.buffer).setUint16(0, group + i);
    deliver(parse(datagram));
    most = Math.max(most, parser.waiting.size);
  }
}
console.log(`${parser.expected} packets of ${parser.bytes} bytes in order, ${most} waiting at most; ${mp}`);

// What libcork aborts on, or not, depending on the build.
const forgotten = cork_mempool_new(mp)!;
try {
  cork_mempool_done(mp);
} catch (error) {
  console.log((error as Error).message);
}
const uses = fields(forgotten).getUint32(PACKET.uses, true);
cork_mempool_free(mp, forgotten);
cork_mempool_done(mp);
console.log(`the last slot was used ${uses} times; ${mp}`);
