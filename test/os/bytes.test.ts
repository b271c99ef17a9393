// Shares its realm with other files: nothing that it changes outlives it.
/** Views that say of themselves what they are not, before native calls that work by address. */
import { describe, expect, it } from "vitest";
import { isResizable, plainBytes } from "../../src/os/bytes.ts";
import { pageOps } from "../../src/os/load.ts";
import { code } from "../pools/buffer/pools.ts";

const SIZE = 1 << 16;
const HUGE = 2 ** 40;

/** Each has 64 KiB, and says that it has a terabyte, or that they are elsewhere. */
function liars(): Uint8Array[] {
  class Length extends Uint8Array {
    override get length(): never {
      return HUGE as never;
    }
    override get byteLength(): never {
      return HUGE as never;
    }
  }
  class Buffers extends Uint8Array {
    override get buffer(): never {
      return new ArrayBuffer(8) as never;
    }
    override get byteOffset(): never {
      return 4096 as never;
    }
  }
  return [
    new Length(SIZE),
    new Buffers(SIZE),
    Object.defineProperty(new Uint8Array(SIZE), "length", { value: HUGE }),
    Object.defineProperty(new Uint8Array(SIZE), "byteLength", { value: HUGE }),
  ];
}

/** Not one of them is a Uint8Array to the engine. */
const UNFIT: readonly unknown[] = [
  undefined,
  null,
  5,
  "bytes",
  Symbol("bytes"),
  {},
  new Uint16Array(SIZE),
  new DataView(new ArrayBuffer(SIZE)),
  new ArrayBuffer(SIZE),
  Object.create(Uint8Array.prototype),
  new Proxy(new Uint8Array(SIZE), {}),
  { length: SIZE, byteLength: SIZE, byteOffset: 0, buffer: new ArrayBuffer(SIZE) },
];

describe("bytes that come to a native call", () => {
  it("are what the engine says, whatever their class or properties say", () => {
    for (const bytes of liars()) {
      const plain = plainBytes("bytes", bytes);
      expect([plain.constructor, plain.length, plain.byteOffset]).toEqual([Uint8Array, SIZE, 0]);
      plain[1] = 7;
      expect(bytes[1]).toBe(7);
    }
    const gone = new Uint8Array(SIZE);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    expect(plainBytes("bytes", gone)).toHaveLength(0);
    for (const value of UNFIT) expect(code(() => plainBytes("bytes", value as never))).toBe("ERR_INVALID_ARG_TYPE");
  });

  it("of a buffer that says it cannot shrink are refused to be locked when it can", () => {
    const buffer = new ArrayBuffer(SIZE, { maxByteLength: 2 * SIZE } as never);
    Object.defineProperty(buffer, "resizable", { value: false });
    expect(isResizable(buffer)).toBe(true);
    if (pageOps().availability.ok)
      expect(pageOps().lock(new Uint8Array(buffer))).toMatchObject({ ok: false, errno: "RESIZABLE" });
  });

  it.runIf(pageOps().availability.ok)(
    "are all that a step reaches, and what is no view or no advice is refused",
    () => {
      const ops = pageOps();
      const page = ops.pageSize;
      for (const bytes of liars()) {
        // Its first and last page may be others' too.
        const locked = ops.lock(bytes);
        if (locked.ok) expect(locked.bytes).toBeLessThanOrEqual(SIZE + page);
        const unlocked = ops.unlock(bytes);
        if (unlocked.ok) expect(unlocked.bytes).toBeLessThanOrEqual(SIZE + page);
        const populated = ops.advise(bytes, "populate");
        if (populated.ok) expect(populated.bytes).toBeLessThanOrEqual(SIZE);
      }
      for (const value of UNFIT as never[]) {
        for (const call of [() => ops.lock(value), () => ops.unlock(value), () => ops.advise(value, "populate")])
          expect(code(call)).toBe("ERR_INVALID_ARG_TYPE");
      }
      const bytes = new Uint8Array(SIZE);
      for (const advice of [undefined, null, 5, {}, Symbol("huge")] as never[])
        expect(code(() => ops.advise(bytes, advice))).toBe("ERR_INVALID_ARG_TYPE");
      expect(code(() => ops.advise(bytes, "toString" as never))).toBe("ERR_INVALID_ARG_VALUE");
    },
  );
});
