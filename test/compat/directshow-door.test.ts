/** DirectShow's door: references, errors that all carry an HRESULT, media types, graphs connected in any order. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type ALLOCATOR_PROPERTIES,
  AM_GBF_NOWAIT,
  BaseInputPin,
  BaseOutputPin,
  DirectShowError,
  HRESULTS,
  HResultError,
  IID,
  type IMediaSample,
  MediaSample,
  MemAllocator,
  SampleFlags,
  TransInPlaceFilter,
} from "../../src/compat/directshow.ts";
import { isMillpondError, type MillpondError } from "../../src/util/errors.ts";
import { thrownBy } from "./thrown-by.ts";

const { S_OK } = HRESULTS;

async function rejected(promise: Promise<unknown>): Promise<MillpondError & { hresult: number }> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return thrownBy(() => {
    if (error !== undefined) throw error;
  });
}

function committed(count = 1, size = 64): MemAllocator {
  const allocator = new MemAllocator();
  allocator.SetProperties({ cBuffers: count, cbBuffer: size, cbAlign: 1, cbPrefix: 0 });
  allocator.Commit();
  return allocator;
}

const input = (receive: (sample: IMediaSample) => number | Promise<number> = () => S_OK): BaseInputPin =>
  new BaseInputPin({ receive });

function source(cBuffers = 2, cbBuffer = 100, options: { readOnly?: boolean; ownOnly?: boolean } = {}): BaseOutputPin {
  return new BaseOutputPin({
    ...options,
    decideBufferSize(allocator, request) {
      request.cBuffers = Math.max(request.cBuffers, cBuffers);
      request.cbBuffer = Math.max(request.cbBuffer, cbBuffer);
      const actual = allocator.SetProperties(request);
      if (actual.cBuffers < cBuffers || actual.cbBuffer < cbBuffer) throw new HResultError("E_FAIL", "too small");
    },
  });
}

describe("IUnknown", () => {
  it("AddRef and Release count; the last release of an allocator decommits it, once", async () => {
    const allocator = committed();
    expect([allocator.AddRef(), allocator.Release()]).toEqual([2, 1]);
    expect(allocator.Release()).toBe(0);
    expect((await rejected(allocator.GetBuffer())).code).toBe("VFW_E_NOT_COMMITTED");
    expect(thrownBy(() => allocator.Release())).toMatchObject({ code: "ERR_DOUBLE_RELEASE", hresult: 0x8000ffff });
    for (const call of [
      () => allocator.AddRef(),
      () => allocator.Commit(),
      () => allocator.SetProperties(null as never),
    ])
      expect(thrownBy(call)).toMatchObject({ code: "ERR_USE_AFTER_RELEASE", hresult: 0x8000ffff });
  });

  it("a sample keeps its allocator while it is out: the allocator goes with its last sample", async () => {
    const allocator = committed(2);
    const [a, b] = [await allocator.GetBuffer(), await allocator.GetBuffer()];
    expect(allocator.Release()).toBe(2);
    a.Release();
    // Still committed: somebody may wait for what comes back.
    const again = await allocator.GetBuffer();
    again.Release();
    b.GetPointer()[0] = 1;
    b.Release();
    expect((await rejected(allocator.GetBuffer())).code).toBe("VFW_E_NOT_COMMITTED");
    expect(thrownBy(() => allocator.Release()).code).toBe("ERR_DOUBLE_RELEASE");
  });

  it("a GetBuffer that waits keeps the allocator, and one that fails does not", async () => {
    const allocator = committed(1);
    const held = await allocator.GetBuffer();
    const waiting = allocator.GetBuffer();
    expect(await rejected(allocator.GetBuffer(null, null, AM_GBF_NOWAIT))).toMatchObject({ code: "VFW_E_TIMEOUT" });
    expect(allocator.Release()).toBe(2);
    held.Release();
    const sample = await waiting;
    expect(sample.GetSize()).toBe(64);
    sample.Release();
    expect(thrownBy(() => allocator.AddRef()).code).toBe("ERR_USE_AFTER_RELEASE");
  });

  it("QueryInterface answers the object with a reference more, by name or GUID; E_NOINTERFACE else", async () => {
    const allocator = committed();
    for (const iid of [
      "IUnknown",
      "IMemAllocator",
      "IID_IMemAllocator",
      IID.IMemAllocatorCallbackTemp,
      IID.IUnknown.toLowerCase(),
    ])
      expect(allocator.QueryInterface(iid)).toBe(allocator);
    expect(allocator.AddRef()).toBe(7);
    for (const iid of ["IMemInputPin", "", "toString", IID.IMediaSample])
      expect(thrownBy(() => allocator.QueryInterface(iid))).toMatchObject({
        code: "E_NOINTERFACE",
        hresult: 0x80004002,
      });
    expect(thrownBy(() => allocator.QueryInterface(null as never)).code).toBe("E_POINTER");
    expect(allocator.AddRef()).toBe(8);
    const [sample, pin] = [await allocator.GetBuffer(), input()];
    expect(sample.QueryInterface("IMediaSample2")).toBe(sample);
    expect(sample.Release()).toBe(1);
    expect(pin.QueryInterface(IID.IMemInputPin)).toBe(pin);
    expect(thrownBy(() => source().QueryInterface("IMemInputPin")).code).toBe("E_NOINTERFACE");
  });

  it("pins hold their allocator and their peer; the last release of a pin lets the allocator go", () => {
    const [from, to] = [source(), input()];
    const offered = to.GetAllocator();
    from.connect(to);
    // The test, the input and the output.
    expect([offered.AddRef(), offered.Release()]).toEqual([4, 3]);
    expect(to.Release()).toBe(1);
    from.active();
    expect(from.Release()).toBe(0);
    expect([from.allocator, to.allocator, from.connectedTo, to.connectedTo]).toEqual([null, null, null, null]);
    expect(offered.Release()).toBe(0);
    expect(thrownBy(() => to.GetAllocator()).code).toBe("ERR_USE_AFTER_RELEASE");
    expect(thrownBy(() => from.connect(input())).code).toBe("ERR_USE_AFTER_RELEASE");
    expect(thrownBy(() => to.Release()).code).toBe("ERR_DOUBLE_RELEASE");
  });

  it("NotifyAllocator takes a reference of the new allocator and releases the one before", () => {
    const pin = input();
    const [a, b] = [committed(), committed()];
    pin.NotifyAllocator(a, false);
    pin.NotifyAllocator(b, false);
    expect([a.Release(), b.Release()]).toEqual([0, 1]);
    pin.disconnect();
    expect(thrownBy(() => b.AddRef()).code).toBe("ERR_USE_AFTER_RELEASE");
  });
});

describe("errors", () => {
  it("each allocator has a name of its own in messages, and says how it stands", async () => {
    const [a, b] = [committed(), committed()];
    const [x, y] = [
      thrownBy(() => a.SetProperties(a.GetProperties())),
      thrownBy(() => b.SetProperties(b.GetProperties())),
    ];
    expect(x.message).toMatch(/MemAllocator #\d+ is committed; Decommit\(\) it first/);
    expect(x.message).not.toBe(y.message);
    expect(String(a)).toMatch(/^MemAllocator #\d+ \(1 x 64 bytes, committed, 0 out\)$/);
    expect(String(await a.GetBuffer())).toMatch(/^sample \d+ of buffer 0 of MemAllocator #\d+ \(1 references\)$/);
    expect(String(input())).toBe("input pin (not connected, no allocator)");
  });

  it("every error has an HRESULT and its code once, in DirectShow's words and with the caller's values", async () => {
    const allocator = committed();
    const sample = await allocator.GetBuffer();
    const set =
      (properties: object): (() => void) =>
      () =>
        sample.SetProperties(properties);
    const wanted: ALLOCATOR_PROPERTIES = { cBuffers: 1, cbBuffer: 1, cbAlign: 5, cbPrefix: 0 };
    const cases: [() => unknown, string, RegExp][] = [
      [() => allocator.SetProperties(wanted), "VFW_E_BADALIGN", /cbAlign must be .* 5 /],
      [() => allocator.SetProperties({ ...wanted, cBuffers: "2" as never }), "E_INVALIDARG", /cBuffers must be .*"2"/],
      [() => allocator.SetNotify({} as never), "E_INVALIDARG", /NotifyRelease/],
      [() => allocator.ReleaseBuffer({ buffer: sample.buffer } as never), "E_POINTER", /sample is missing/],
      [() => committed().ReleaseBuffer(sample), "ERR_FOREIGN_RELEASE", /another allocator/],
      [() => sample.SetTime(5 as never, null), "E_INVALIDARG", /start must be a bigint or null, but it is 5 /],
      [() => sample.SetMediaTime(5n, "6" as never), "E_INVALIDARG", /end must be a bigint .*"6"/],
      [() => sample.SetActualDataLength("6" as never), "VFW_E_BUFFER_OVERFLOW", /"6" does not fit into 64/],
      [() => sample.SetMediaType(3 as never), "E_INVALIDARG", /media type must be an object/],
      [() => sample.SetMediaType({ decode() {} }), "E_INVALIDARG", /cannot be copied/],
      [() => sample.SetProperties(null as never), "E_POINTER", /properties are missing/],
      [set({ tStart: 3 }), "E_INVALIDARG", /tStart must be a bigint/],
      [set({ dwStreamId: "3" }), "E_INVALIDARG", /dwStreamId must be/],
      [set({ cbBuffer: 65 }), "E_INVALIDARG", /cbBuffer is 64 and cannot be 65/],
      // @ts-expect-error the constructor is private
      [() => new MediaSample(), "E_NOTIMPL", /call GetBuffer\(\)/],
      [() => new BaseInputPin({} as never), "E_POINTER", /receive\(\)/],
      [() => new BaseOutputPin(undefined as never), "E_POINTER", /decideBufferSize\(\)/],
      [() => new TransInPlaceFilter({} as never), "E_POINTER", /transform\(\)/],
      [() => source().connect(null as never), "E_POINTER", /needs an input pin/],
      [() => input().NotifyAllocator({} as never, false), "E_POINTER", /allocator is missing/],
      [() => source().setAllocator(allocator), "VFW_E_NOT_CONNECTED", /connect\(\)/],
    ];
    const many = new MemAllocator();
    many.SetProperties({ ...wanted, cBuffers: 0x7fffffff, cbAlign: 1 });
    cases.push([() => many.Commit(), "E_OUTOFMEMORY", /at most 262144 buffers, and cBuffers is 2147483647/]);
    const shared = (): void => {
      sample.AddRef();
      allocator.ReleaseBuffer(sample);
    };
    cases.push([shared, "E_UNEXPECTED", /it has 2 references; Release\(\) each/]);
    for (const [call, code, message] of cases) {
      const error = thrownBy(call);
      expect(error.code).toBe(code);
      expect(error).toBeInstanceOf(DirectShowError);
      expect(error.hresult).toBeGreaterThanOrEqual(0x80000000);
      expect(`${error.message.replace(/ \[\w+\]$/, "")} `).toMatch(message);
      expect(error.message).not.toMatch(/retain\(|activate\(|configure\(|acquire\(|release\(|destroy/);
    }
    expect(sample.GetProperties()).toMatchObject({ lActual: 64, dwStreamId: 0, dwSampleFlags: 0 });
    expect([sample.Release(), sample.Release(), allocator.GetFreeCount()]).toEqual([1, 0, 1]);
  });

  it("ReleaseBuffer refuses a sample with two references, and nothing has changed", async () => {
    const allocator = committed();
    const sample = await allocator.GetBuffer();
    sample.AddRef();
    expect(thrownBy(() => allocator.ReleaseBuffer(sample)).code).toBe("E_UNEXPECTED");
    expect([sample.Release(), allocator.GetFreeCount()]).toEqual([1, 0]);
    allocator.ReleaseBuffer(sample);
    expect(thrownBy(() => sample.Release()).code).toBe("ERR_DOUBLE_RELEASE");
    expect(allocator.GetFreeCount()).toBe(1);
  });

  it("every use of a released sample, and of one whose bytes were transferred away, has an HRESULT", async () => {
    const allocator = committed();
    const sample = await allocator.GetBuffer();
    sample.Release();
    for (const use of [
      () => sample.GetTime(),
      () => sample.GetMediaTime(),
      () => sample.GetProperties(),
      () => sample.SetProperties({}),
      () => sample.IsPreroll(),
      () => sample.SetPreroll(true),
      () => sample.GetActualDataLength(),
      () => sample.SetActualDataLength(3),
      () => sample.GetMediaType(),
      () => sample.QueryInterface("IUnknown"),
    ])
      expect(thrownBy(use)).toMatchObject({ code: "ERR_USE_AFTER_RELEASE", hresult: 0x8000ffff });
    const next = await allocator.GetBuffer();
    structuredClone(next.GetPointer().buffer, { transfer: [next.GetPointer().buffer as ArrayBuffer] });
    expect(thrownBy(() => next.Release())).toMatchObject({ code: "ERR_DETACHED", hresult: 0x8000ffff });
    // The reference went with the sample: the maker's is the last one.
    expect(allocator.Release()).toBe(0);
  });

  it("a receive callback that answers a failure HRESULT makes Receive throw it", async () => {
    const sample = await committed().GetBuffer();
    for (const [answer, hresult, code] of [
      [HRESULTS.VFW_E_WRONG_STATE, 0x80040227, "VFW_E_WRONG_STATE"],
      [HRESULTS.E_FAIL | 0, 0x80004005, "E_FAIL"],
      [0x8007001f, 0x8007001f, "E_FAIL"],
      [undefined as never, 0x8000ffff, "E_UNEXPECTED"],
    ] as const) {
      const pin = input(() => answer);
      pin.active();
      expect(await rejected(pin.Receive(sample))).toMatchObject({ hresult, code });
      expect(await rejected(pin.Receive(sample))).toMatchObject({ code: "VFW_E_RUNTIME_ERROR" });
    }
    expect(await rejected(input().ReceiveMultiple(null as never))).toMatchObject({ code: "E_POINTER" });
    sample.Release();
    const pin = input();
    pin.active();
    expect(await rejected(pin.Receive(sample))).toMatchObject({ code: "ERR_USE_AFTER_RELEASE" });
  });
});

describe("the media type in the bulk properties", () => {
  const type = { major: "video" };

  it("clearing the type-changed bit with a null type keeps the type", async () => {
    const sample = await committed().GetBuffer();
    sample.SetMediaType(type);
    sample.SetProperties({ dwSampleFlags: 0, pMediaType: null });
    expect(sample.GetMediaType()).toEqual(type);
    expect(sample.GetProperties().dwSampleFlags).toBe(SampleFlags.TYPECHANGED);
  });

  it("a type without the bit does not attach; with it a copy does, and null is E_POINTER", async () => {
    const sample = await committed().GetBuffer();
    sample.SetProperties({ dwSampleFlags: SampleFlags.PREROLL, pMediaType: type });
    sample.SetProperties({ pMediaType: type });
    expect(sample.GetMediaType()).toBeNull();
    sample.SetProperties({ dwSampleFlags: SampleFlags.TYPECHANGED, pMediaType: type });
    expect(sample.GetMediaType()).toEqual(type);
    expect(sample.GetProperties().pMediaType).not.toBe(type);
    const refused = (): void => sample.SetProperties({ dwSampleFlags: SampleFlags.TYPECHANGED, pMediaType: null });
    expect(thrownBy(refused).code).toBe("E_POINTER");
    expect(sample.GetMediaType()).toEqual(type);
  });

  it("SetMediaType() without a type takes it away", async () => {
    const sample = await committed().GetBuffer();
    sample.SetMediaType(type);
    sample.SetMediaType();
    expect([sample.GetMediaType(), sample.GetProperties().dwSampleFlags]).toEqual([null, 0]);
  });
});

describe("a failed connection", () => {
  it("leaves no allocator on either side, and both pins can be connected", () => {
    const [from, to] = [source(), input()];
    const refusing = new BaseInputPin({
      receive: () => S_OK,
      acceptAllocator() {
        throw new HResultError("VFW_E_READ_ONLY", "not to me");
      },
    });
    const offered = refusing.GetAllocator();
    expect(thrownBy(() => from.connect(refusing)).code).toBe("VFW_E_READ_ONLY");
    expect([from.allocator, refusing.allocator, from.connectedTo, refusing.connectedTo]).toEqual([
      null,
      null,
      null,
      null,
    ]);
    // The test's is the last reference: neither pin nor a candidate has one.
    expect(offered.Release()).toBe(0);
    from.connect(to);
    expect(thrownBy(() => source().connect(to)).code).toBe("VFW_E_ALREADY_CONNECTED");
    expect([to.connectedTo, from.allocator === to.allocator]).toEqual([from, true]);
  });
});

describe("in-place filters in any order", () => {
  const filter = (add: number): TransInPlaceFilter =>
    new TransInPlaceFilter({
      transform(sample) {
        sample.GetPointer()[0]! += add;
      },
    });

  it("connected input first, a filter reconnects its input when its output is connected: one allocator, of upstream's size", async () => {
    const seen: number[] = [];
    const to = input((sample) => {
      seen.push(sample.GetPointer()[0]!, sample.GetSize());
      return S_OK;
    });
    const [from, middle] = [source(3, 100), filter(10)];
    from.connect(middle.input);
    middle.output.connect(to);
    expect([from.allocator, middle.input.allocator]).toEqual([to.allocator, to.allocator]);
    expect(to.allocator!.GetProperties()).toMatchObject({ cBuffers: 3, cbBuffer: 100 });
    for (const pin of [to, middle.output, middle.input, from]) pin.active();
    for (let i = 0; i < 5; i++) {
      const sample = await from.getDeliveryBuffer();
      sample.GetPointer()[0] = 7;
      expect(await from.deliver(sample)).toBe(S_OK);
      sample.Release();
    }
    expect(seen.slice(0, 2)).toEqual([17, 100]);
  });

  it("three filters between a source and a sink work in each order of connecting them", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 4 }),
        async (order, readOnly, count) => {
          const seen: number[] = [];
          const to = input((sample) => {
            seen.push(sample.GetPointer()[0]!);
            return S_OK;
          });
          const filters = [filter(1), filter(10), filter(100)];
          const from = source(count, 50, { readOnly, ownOnly: readOnly });
          const outputs = [from, ...filters.map((one) => one.output)];
          const inputs = [...filters.map((one) => one.input), to];
          for (const i of order) outputs[i]!.connect(inputs[i]!);
          expect(filters.map((one) => one.copies)).toEqual([readOnly, false, false]);
          expect(from.allocator === to.allocator).toBe(!readOnly);
          expect(to.allocator!.GetProperties()).toMatchObject({ cBuffers: count, cbBuffer: 50 });
          for (const pin of [...inputs, ...outputs]) pin.active();
          const sample = await from.getDeliveryBuffer();
          sample.GetPointer()[0] = 5;
          await from.deliver(sample);
          expect([seen, sample.GetPointer()[0]]).toEqual([[116], readOnly ? 5 : 116]);
          sample.Release();
          for (const allocator of new Set([from.allocator, to.allocator]))
            expect((allocator as MemAllocator).GetFreeCount()).toBe(count);
          for (const pin of outputs) pin.disconnect();
          expect([...inputs, ...outputs].map((pin) => pin.allocator)).toEqual(Array(8).fill(null));
        },
      ),
      { numRuns: 100 },
    );
  });

  it("an output that cannot be connected, because upstream refuses what is downstream, leaves the input as it was", () => {
    const upstream = new BaseOutputPin({
      decideBufferSize(allocator, request) {
        if (request.cbAlign > 1) throw new HResultError("VFW_E_BADALIGN", "alignment 1 only");
        allocator.SetProperties({ ...request, cBuffers: 2, cbBuffer: 8 });
      },
    });
    const picky = new BaseInputPin({ receive: () => S_OK, requirements: { cbAlign: 64 } });
    const middle = filter(1);
    upstream.connect(middle.input);
    expect(thrownBy(() => middle.output.connect(picky)).code).toBe("VFW_E_BADALIGN");
    expect([middle.output.connectedTo, middle.output.allocator, picky.allocator]).toEqual([null, null, null]);
    expect([middle.input.connectedTo, upstream.allocator?.GetProperties().cbBuffer]).toEqual([upstream, 8]);
  });

  const copying = (): { from: BaseOutputPin; middle: TransInPlaceFilter; to: BaseInputPin; seen: object[] } => {
    const seen: object[] = [];
    const to = input((sample) => {
      const { pbBuffer: _, ...rest } = sample.GetProperties();
      seen.push({ ...rest, media: sample.GetMediaTime() });
      return S_OK;
    });
    const middle = filter(0);
    const from = source(1, 100, { readOnly: true, ownOnly: true });
    middle.output.connect(to);
    from.connect(middle.input);
    for (const pin of [to, middle.output, middle.input, from]) pin.active();
    return { from, middle, to, seen };
  };

  it("a copy has all of SetProperties' fields, the media time and the type", async () => {
    const { from, seen } = copying();
    const sample = await from.getDeliveryBuffer();
    const fields = {
      dwTypeSpecificFlags: 3,
      dwSampleFlags: 0x1df,
      lActual: 33,
      tStart: 100n,
      tStop: 250n,
      dwStreamId: 9,
      pMediaType: { major: "video" },
    };
    sample.SetProperties(fields);
    sample.SetMediaTime(4n, 5n);
    await from.deliver(sample);
    expect(seen).toEqual([{ ...fields, cbBuffer: 100, media: { start: 4n, end: 5n } }]);
    sample.Release();
  });

  it("a copy that fails at any step is not lost: the one buffer downstream is free again", async () => {
    const { from, middle, to } = copying();
    const sample = await from.getDeliveryBuffer();
    sample.SetMediaTime(1n, 2n);
    const allocator = to.allocator as MemAllocator;
    for (const method of ["GetPointer", "SetProperties", "GetSize", "SetMediaTime"] as const) {
      const original = MediaSample.prototype[method];
      const broken = function (this: MediaSample, ...args: never[]): unknown {
        if (this !== sample) throw new HResultError("E_FAIL", "broken on purpose");
        return (original as (...given: never[]) => unknown).apply(this, args);
      };
      Object.assign(MediaSample.prototype, { [method]: broken });
      try {
        expect((await rejected(middle.input.Receive(sample))).code).toBe("E_FAIL");
      } finally {
        Object.assign(MediaSample.prototype, { [method]: original });
      }
      expect(allocator.GetFreeCount()).toBe(1);
      middle.input.endFlush();
    }
    expect(await middle.input.Receive(sample)).toBe(S_OK);
    sample.Release();
  });

  it("an unconnected output is VFW_E_NOT_CONNECTED, not a copy that fails", async () => {
    const [from, middle] = [source(), filter(1)];
    from.connect(middle.input);
    expect(middle.copies).toBe(false);
    middle.input.active();
    from.active();
    const sample = await from.getDeliveryBuffer();
    expect((await rejected(from.deliver(sample))).code).toBe("VFW_E_NOT_CONNECTED");
    sample.Release();
  });
});

it("isMillpondError knows every error of the door", () => {
  expect(isMillpondError(new HResultError("E_FAIL", "x"))).toBe(true);
});
