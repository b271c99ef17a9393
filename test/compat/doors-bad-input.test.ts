// Shares its realm with other files: nothing that it changes outlives it.
/**
 * The smaller front doors and what they are passed by mistake: fields that do not exist, values of another type,
 * getters.
 */
import { describe, expect, it } from "vitest";
import {
  CFAllocatorAllocate,
  CFAllocatorDeallocate,
  CFAllocatorGetPreferredSizeForSize,
  CMMemoryPoolCreate,
  CMMemoryPoolGetAllocator,
  kCMMemoryPoolError_InvalidParameter,
} from "../../src/compat/coremedia.ts";
import {
  cork_mempool,
  cork_mempool_init_size,
  cork_mempool_new,
  cork_mempool_set_init_object,
} from "../../src/compat/cork.ts";
import {
  BaseInputPin,
  BaseOutputPin,
  HRESULTS,
  MemAllocator,
  TransInPlaceFilter,
} from "../../src/compat/directshow.ts";
import { DoorError } from "../../src/compat/door-error.ts";

function refusal(call: () => unknown): DoorError {
  try {
    call();
  } catch (error) {
    if (error instanceof DoorError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

const PROPERTIES = { cBuffers: 1, cbBuffer: 64, cbAlign: 1, cbPrefix: 0 };

describe("directshow", () => {
  it("a field that a struct or options do not have is refused, and nothing has changed", async () => {
    const allocator = new MemAllocator();
    allocator.SetProperties(PROPERTIES);
    allocator.Commit();
    const sample = await allocator.GetBuffer();
    const receive = (): number => 0;
    const decideBufferSize = (): void => undefined;
    for (const [call, name] of [
      [() => new MemAllocator().SetProperties({ ...PROPERTIES, cbPrefx: 1 } as typeof PROPERTIES), "cbPrefx"],
      [() => sample.SetProperties({ lActual: 8, lActul: 8 } as object), "lActul"],
      [() => new BaseInputPin({ receive, canBlok: false } as { receive(): number }), "canBlok"],
      [() => new BaseInputPin({ receive, requirements: { cbAlgn: 1 } as object }), "cbAlgn"],
      [() => new BaseOutputPin({ decideBufferSize, readonly: true } as { decideBufferSize(): void }), "readonly"],
      [
        () => new TransInPlaceFilter({ transform: () => undefined, modifies: false } as { transform(): void }),
        "modifies",
      ],
    ] as const) {
      const error = refusal(call);
      expect([error.code, error.status]).toEqual(["E_INVALIDARG", HRESULTS.E_INVALIDARG]);
      expect(error.message).toContain(`"${name}"`);
    }
    expect(sample.GetActualDataLength()).toBe(64);
    sample.SetProperties(sample.GetProperties());
  });

  it("flags, times and types of the wrong type are refused, where 1 or undefined would pass for something else", async () => {
    const allocator = new MemAllocator();
    allocator.SetProperties(PROPERTIES);
    allocator.Commit();
    const sample = await allocator.GetBuffer();
    sample.SetTime(1n, 2n);
    for (const call of [
      () => sample.SetSyncPoint(1 as unknown as boolean),
      () => sample.SetPreroll(undefined as unknown as boolean),
      () => sample.SetTime(undefined as unknown as null, null),
      () => sample.SetProperties({ tStart: null as unknown as bigint }),
      () => sample.SetProperties({ pMediaType: 5 as unknown as object }),
      () => new BaseInputPin({ receive: () => 0 }).NotifyAllocator(allocator, 1 as unknown as boolean),
      () => new BaseInputPin({ receive: () => 0, canBlock: 1 as unknown as boolean }),
      () => new BaseInputPin({ receive: () => 0, requirements: { cBuffers: 0.5 } }),
    ]) {
      expect(refusal(call).code).toBe("E_INVALIDARG");
    }
    expect([sample.IsSyncPoint(), sample.IsPreroll(), sample.GetTime().start]).toEqual([false, false, 1n]);
  });

  it("a pin reads its options once, and calls them with the caller's object as this", async () => {
    const reads: string[] = [];
    const seen: unknown[] = [];
    const options: ConstructorParameters<typeof BaseInputPin>[0] = {
      receive() {
        seen.push(this);
        return 0;
      },
      canBlock: false,
    };
    const watched = new Proxy(options, {
      get(target, key, receiver) {
        reads.push(String(key));
        return Reflect.get(target, key, receiver);
      },
    });
    const pin = new BaseInputPin(watched);
    options.canBlock = true;
    expect([pin.ReceiveCanBlock(), reads.filter((key) => key === "canBlock")]).toEqual([false, ["canBlock"]]);
    const allocator = new MemAllocator();
    allocator.SetProperties(PROPERTIES);
    allocator.Commit();
    pin.NotifyAllocator(allocator, false);
    pin.active();
    await pin.Receive(await allocator.GetBuffer());
    expect(seen).toEqual([watched]);
  });
});

describe("coremedia's pool", () => {
  it("a hint that is not a number, and a block that was left out, are refused", () => {
    const allocator = CMMemoryPoolGetAllocator(CMMemoryPoolCreate());
    for (const call of [
      () => CFAllocatorAllocate(allocator, 8, "8" as unknown as number),
      () => CFAllocatorGetPreferredSizeForSize(allocator, 8, null as unknown as number),
      () => CFAllocatorGetPreferredSizeForSize(undefined as never, 0),
      () => CFAllocatorDeallocate(allocator, undefined as unknown as null),
    ]) {
      const error = refusal(call);
      expect([error.code, error.status]).toEqual(["ERR_INVALID_ARG_TYPE", kCMMemoryPoolError_InvalidParameter]);
    }
    expect([
      CFAllocatorGetPreferredSizeForSize(allocator, 0),
      CFAllocatorGetPreferredSizeForSize(allocator, -5),
    ]).toEqual([0, -5]);
  });
});

describe("cork", () => {
  it("only null takes a hook away: undefined, a name that was misspelled, does not", () => {
    const mp = new cork_mempool();
    cork_mempool_init_size(mp, 64);
    let calls = 0;
    cork_mempool_set_init_object(mp, () => calls++);
    expect(refusal(() => cork_mempool_set_init_object(mp, undefined as unknown as null)).code).toBe(
      "ERR_INVALID_ARG_TYPE",
    );
    cork_mempool_new(mp);
    expect(calls).toBeGreaterThan(0);
  });
});

describe("an error of a door", () => {
  it("has a number as its status", () => {
    expect(() => new DoorError("x" as unknown as number, "E_FAIL", "text")).toThrow(/status must be a number/);
    expect(() => new DoorError(1, "E_FAIL", "text", null as never)).toThrow(/details must be an object/);
  });
});
