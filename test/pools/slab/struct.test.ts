// Shares its realm with other files: nothing that it changes outlives it.
/** Struct layouts: offsets as C lays them out, values round trip, cursors make no objects and find misuse. */
import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SlabPool } from "../../../src/pools/slab/slab-pool.ts";
import { bytes, struct } from "../../../src/pools/slab/struct.ts";
import { code } from "../buffer/pools.ts";

const Packet = struct({ kind: "u8", time: "f64", sequence: "u32", name: bytes(5), id: "u64", level: "i16" });

describe("struct", () => {
  it("lays fields out at natural alignment, and pads the end", () => {
    expect([Packet.offsets, Packet.size, Packet.align]).toEqual([
      { kind: 0, time: 8, sequence: 16, name: 20, id: 32, level: 40 },
      48,
      8,
    ]);
    expect([struct({}).size, struct({ a: "u8", b: "u8" }).size, struct({ a: bytes(3) }).size]).toEqual([0, 2, 3]);
  });

  it("reads and writes through a cursor that moves, over blocks", () => {
    const pool = SlabPool.create({ struct: Packet, blockSize: 128 });
    const cursor = Packet.cursor(pool);
    const pointers = Array.from({ length: 5 }, () => pool.alloc());
    for (const pointer of pointers) {
      cursor.at(pointer).sequence = pointer;
      cursor.id = BigInt(pointer) << 40n;
      cursor.name.set([pointer, 2, 3]);
      cursor.level = 7 - 9 * pointer;
    }
    for (const pointer of pointers) {
      const { sequence, id, name, level, time } = cursor.at(pointer);
      expect([sequence, id, [...name], level, time]).toEqual([
        pointer,
        BigInt(pointer) << 40n,
        [pointer, 2, 3, 0, 0],
        7 - 9 * pointer,
        0,
      ]);
    }
    expect([pool.stats().blocks, pool.view(pointers[0]!).getUint32(16, true)]).toEqual([3, pointers[0]]);
  });

  it("refuses an element that is free, a cursor that is nowhere, unknown types and its own names", () => {
    const pool = SlabPool.create({ struct: Packet });
    const cursor = Packet.cursor(pool);
    const pointer = pool.alloc();
    pool.free(pointer);
    expect(code(() => cursor.at(pointer))).toBe("ERR_USE_AFTER_RELEASE");
    expect(() => cursor.sequence).toThrow(RangeError);
    for (const bad of [{ a: "f16" }, { a: 3 }, { a: null }, { at: "u8" }, null])
      expect(code(() => struct(bad as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(code(() => bytes(-1))).toBe("ERR_OUT_OF_RANGE");
  });

  it("takes any other name, also one with a dollar sign", () => {
    const Dollar = struct({ $view: "u8", $base: "u32" });
    const pool = SlabPool.create({ struct: Dollar });
    const element = pool.at(pool.alloc());
    element.$view = 3;
    element.$base = 7;
    expect([element.$view, element.$base]).toEqual([3, 7]);
  });

  it("goes from block to block without a view of its own: all cursors share one a block", () => {
    const pool = SlabPool.create({ struct: Packet, blockSize: 128 });
    const pointers = Array.from({ length: 6 }, () => pool.alloc());
    const [first, last] = [pointers[0]!, pointers[5]!];
    const [a, b] = [Packet.cursor(pool), pool.at(last)];
    a.at(first).sequence = 1;
    b.sequence = 2;
    expect([pool.at(first).sequence, a.at(last).sequence]).toEqual([1, 2]);
    expect(pool.blockViewOf(first)).toBe(pool.blockViewOf(first));
    expect(pool.blockViewOf(first)).not.toBe(pool.blockViewOf(last));
    expect(pool.blockViewOf(first).getUint32(pool.offsetOf(first) + Packet.offsets.sequence, true)).toBe(1);
    expect(code(() => SlabPool.create({ elementSize: 8 }).at(0))).toBe("ERR_NOT_CONFIGURED");
  });

  it("keeps every value as a DataView would (property)", () => {
    const Wide = struct({ a: "u8", b: "i8", c: "u16", d: "i16", e: "u32", f: "i32", g: "f32", h: "f64" });
    const pool = SlabPool.create({ struct: Wide });
    const cursor = Wide.cursor(pool);
    cursor.at(pool.alloc());
    fc.assert(
      fc.property(
        fc.constantFrom(...(["a", "b", "c", "d", "e", "f", "g", "h"] as const)),
        fc.double({ noNaN: true }),
        (field, value) => {
          cursor[field] = value;
          const view = new DataView(new ArrayBuffer(8));
          const methods = {
            a: "Uint8",
            b: "Int8",
            c: "Uint16",
            d: "Int16",
            e: "Uint32",
            f: "Int32",
            g: "Float32",
            h: "Float64",
          } as const;
          view[`set${methods[field]}`](0, value, true);
          expect(cursor[field]).toBe(view[`get${methods[field]}`](0, true));
        },
      ),
    );
  });

  it("is typed from the literal", () => {
    const cursor = Packet.cursor(SlabPool.create({ struct: Packet }));
    const check = (): void => {
      const sequence: number = cursor.sequence;
      const id: bigint = cursor.id;
      const name: Uint8Array = cursor.name;
      // @ts-expect-error a bytes field is written into, not replaced
      cursor.name = name;
      // @ts-expect-error a u64 is a bigint
      cursor.id = sequence;
      // @ts-expect-error no such field
      cursor.nothing = id;
    };
    expect(check).toThrow(RangeError);
  });
});

it("the packet parser of the examples runs", () => {
  const script = new URL("../../../examples/packet-parser.ts", import.meta.url).pathname;
  expect(execFileSync(process.execPath, [script], { encoding: "utf8" }).trim()).toBe(
    "1000 packets parsed, 16 in flight at most, in 1 block; 3 lost: 250, 500, 750",
  );
});
