// Shares its realm with other files: nothing that it changes outlives it.
/** DirectShow's allocator and samples, named after the reference's tables. */
import { describe, expect, it } from "vitest";
import {
  type ALLOCATOR_PROPERTIES,
  AM_GBF_NODDSURFACELOCK,
  AM_GBF_NOTASYNCPOINT,
  AM_GBF_NOWAIT,
  AM_GBF_PREVFRAMESKIPPED,
  HRESULTS,
  HResultError,
  type MediaSample,
  MemAllocator,
  SampleFlags,
} from "../../src/compat/directshow.ts";
import { systemAllocator } from "../../src/memory/allocator.ts";
import { isMillpondError } from "../../src/util/errors.ts";

const props = (cBuffers: number, cbBuffer: number, cbAlign = 1, cbPrefix = 0): ALLOCATOR_PROPERTIES => ({
  cBuffers,
  cbBuffer,
  cbAlign,
  cbPrefix,
});

function committed(count = 2, size = 100): MemAllocator {
  const allocator = new MemAllocator();
  allocator.SetProperties(props(count, size));
  allocator.Commit();
  return allocator;
}

function codeOf(fn: () => unknown): string {
  try {
    fn();
    return "S_OK";
  } catch (error) {
    if (error instanceof HResultError) {
      expect(error.hresult).toBe(HRESULTS[error.code]);
      return error.code;
    }
    if (isMillpondError(error)) return error.code;
    throw error;
  }
}

async function failure(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "S_OK",
    (error: unknown) => (error instanceof HResultError ? error.code : String(error)),
  );
}

const NOWAIT = [null, null, AM_GBF_NOWAIT] as const;

describe("constants", () => {
  it("have the values of DirectShow's headers", () => {
    expect([AM_GBF_PREVFRAMESKIPPED, AM_GBF_NOTASYNCPOINT, AM_GBF_NOWAIT, AM_GBF_NODDSURFACELOCK]).toEqual([
      1, 2, 4, 8,
    ]);
    const {
      VFW_E_NOT_COMMITTED,
      VFW_E_TIMEOUT,
      VFW_E_ALREADY_COMMITTED,
      VFW_E_BUFFERS_OUTSTANDING,
      VFW_E_BADALIGN,
      VFW_E_SIZENOTSET,
    } = HRESULTS;
    expect([
      VFW_E_NOT_COMMITTED,
      VFW_E_TIMEOUT,
      VFW_E_ALREADY_COMMITTED,
      VFW_E_BUFFERS_OUTSTANDING,
      VFW_E_BADALIGN,
      VFW_E_SIZENOTSET,
    ]).toEqual([0x80040211, 0x8004022e, 0x8004020f, 0x80040210, 0x8004020e, 0x80040212]);
    expect(HRESULTS.VFW_S_NO_STOP_TIME).toBe(0x00040270);
  });
});

describe("the state table", () => {
  const fresh = (): MemAllocator => {
    const allocator = new MemAllocator();
    allocator.SetProperties(props(2, 100));
    return allocator;
  };
  const pending = async (): Promise<[MemAllocator, MediaSample]> => {
    const allocator = committed();
    const sample = await allocator.GetBuffer();
    allocator.Decommit();
    return [allocator, sample];
  };

  it("DECOMMITTED: SetProperties stores, any number of times", () => {
    const allocator = fresh();
    expect(allocator.SetProperties(props(3, 8)).cBuffers).toBe(3);
  });
  it("COMMITTED: SetProperties is ALREADY_COMMITTED", () =>
    expect(codeOf(() => committed().SetProperties(props(1, 1)))).toBe("VFW_E_ALREADY_COMMITTED"));
  it("IN-PROGRESS: SetProperties is BUFFERS_OUTSTANDING, and the old ones stay", async () => {
    const [allocator] = await pending();
    expect(codeOf(() => allocator.SetProperties(props(9, 9)))).toBe("VFW_E_BUFFERS_OUTSTANDING");
    expect(allocator.GetProperties()).toEqual(props(2, 100));
  });
  it("any state: GetProperties answers, zeros when never set", async () => {
    expect(new MemAllocator().GetProperties()).toEqual({ cBuffers: 0, cbBuffer: 0, cbAlign: 0, cbPrefix: 0 });
    expect(committed().GetProperties()).toEqual(props(2, 100));
    expect((await pending())[0].GetProperties()).toEqual(props(2, 100));
  });
  it("DECOMMITTED: Commit allocates", async () => {
    const allocator = fresh();
    allocator.Commit();
    expect((await allocator.GetBuffer()).GetSize()).toBe(100);
  });
  it("COMMITTED: Commit does nothing, and is not counted", async () => {
    const allocator = committed();
    allocator.Commit();
    allocator.Commit();
    allocator.Decommit();
    expect(await failure(allocator.GetBuffer())).toBe("VFW_E_NOT_COMMITTED");
  });
  it("IN-PROGRESS: Commit cancels the decommit", async () => {
    const [allocator, sample] = await pending();
    allocator.Commit();
    const other = await allocator.GetBuffer(...NOWAIT);
    expect(other).not.toBe(sample);
    expect(await failure(allocator.GetBuffer(...NOWAIT))).toBe("VFW_E_TIMEOUT");
  });
  it("DECOMMITTED: Decommit does nothing", () => expect(codeOf(() => fresh().Decommit())).toBe("S_OK"));
  it("COMMITTED: Decommit refuses every waiter, and samples that are out stay usable", async () => {
    const allocator = committed(1);
    const sample = await allocator.GetBuffer();
    const waits = [allocator.GetBuffer(), allocator.GetBuffer()];
    allocator.Decommit();
    expect(await Promise.all(waits.map(failure))).toEqual(["VFW_E_NOT_COMMITTED", "VFW_E_NOT_COMMITTED"]);
    sample.GetPointer()[99] = 7;
    expect([sample.GetPointer()[99], sample.GetSize(), sample.Release()]).toEqual([7, 100, 0]);
  });
  it("IN-PROGRESS: Decommit does nothing, and stays pending", async () => {
    const [allocator] = await pending();
    expect(codeOf(() => allocator.Decommit())).toBe("S_OK");
    expect(codeOf(() => allocator.SetProperties(props(1, 1)))).toBe("VFW_E_BUFFERS_OUTSTANDING");
  });
  it("DECOMMITTED and IN-PROGRESS: GetBuffer is NOT_COMMITTED, also with NOWAIT", async () => {
    for (const allocator of [fresh(), (await pending())[0]]) {
      expect(await failure(allocator.GetBuffer())).toBe("VFW_E_NOT_COMMITTED");
      expect(await failure(allocator.GetBuffer(...NOWAIT))).toBe("VFW_E_NOT_COMMITTED");
    }
  });
  it("COMMITTED: GetBuffer gives a sample, waits, or is TIMEOUT with NOWAIT", async () => {
    const allocator = committed(1);
    const sample = await allocator.GetBuffer();
    expect(await failure(allocator.GetBuffer(...NOWAIT))).toBe("VFW_E_TIMEOUT");
    const wait = allocator.GetBuffer();
    sample.Release();
    expect((await wait).GetSize()).toBe(100);
  });
  it("IN-PROGRESS: the last release ends it, and properties can be set again", async () => {
    const [allocator, sample] = await pending();
    sample.Release();
    expect(allocator.SetProperties(props(1, 5)).cbBuffer).toBe(5);
  });
});

describe("free count and notification", () => {
  it("counts configured less out, in every state", async () => {
    const allocator = new MemAllocator();
    expect(allocator.GetFreeCount()).toBe(0);
    allocator.SetProperties(props(3, 8));
    expect(allocator.GetFreeCount()).toBe(3);
    allocator.Commit();
    const [a, b] = [await allocator.GetBuffer(), await allocator.GetBuffer()];
    expect(allocator.GetFreeCount()).toBe(1);
    allocator.Decommit();
    a!.Release();
    expect(allocator.GetFreeCount()).toBe(2);
    b!.Release();
    expect(allocator.GetFreeCount()).toBe(3);
  });

  it("notifies once for each sample that comes back, after it is free, never for a release in between", async () => {
    const allocator = committed(1);
    const seen: number[] = [];
    allocator.SetNotify({ NotifyRelease: () => seen.push(allocator.GetFreeCount()) });
    const sample = await allocator.GetBuffer();
    sample.AddRef();
    sample.Release();
    expect(seen).toEqual([]);
    sample.Release();
    expect(seen).toEqual([1]);
    allocator.SetNotify(null);
    (await allocator.GetBuffer()).Release();
    expect(seen).toEqual([1]);
  });

  it("a callback may take the buffer with NOWAIT and give it back", async () => {
    const allocator = committed(1);
    const taken: Promise<MediaSample>[] = [];
    allocator.SetNotify({
      NotifyRelease: () => void (taken.length === 0 && taken.push(allocator.GetBuffer(...NOWAIT))),
    });
    (await allocator.GetBuffer()).Release();
    (await taken[0]!).Release();
    expect(allocator.GetFreeCount()).toBe(1);
  });
});

describe("size, alignment, prefix", () => {
  const table: [number, number, number[]][] = [
    [1, 0, [0, 1, 15, 16, 17, 32]],
    [1, 1, [0, 1, 15, 16, 17, 32]],
    [1, 16, [0, 1, 15, 16, 17, 32]],
    [4, 0, [0, 4, 16, 16, 20, 32]],
    [4, 1, [3, 3, 15, 19, 19, 35]],
    [4, 16, [0, 4, 16, 16, 20, 32]],
    [16, 0, [0, 16, 16, 16, 32, 32]],
    [16, 1, [15, 15, 15, 31, 31, 47]],
    [16, 16, [0, 16, 16, 16, 32, 32]],
  ];
  it.each(table)("rounds with align %i and prefix %i", async (align, prefix, wanted) => {
    for (const [i, size] of [0, 1, 15, 16, 17, 32].entries()) {
      const allocator = new MemAllocator();
      const request = props(1, size, align, prefix);
      const actual = allocator.SetProperties(request);
      expect(actual).toEqual({ ...request, cbBuffer: wanted[i] });
      expect(request.cbBuffer).toBe(size);
      if (size === 0) expect(codeOf(() => allocator.Commit())).toBe("VFW_E_SIZENOTSET");
      else {
        allocator.Commit();
        const sample = await allocator.GetBuffer();
        expect([sample.GetSize(), sample.GetPointer().length, sample.GetPointer().byteOffset]).toEqual([
          wanted[i],
          wanted[i],
          prefix,
        ]);
      }
    }
  });

  it.each([
    [30_000, 32, 0, 30_016],
    [100, 512, 0, 512],
    [1000, 64, 8, 1016],
    [100, 1, 8, 100],
  ])("%i bytes at %i with prefix %i are %i", (size, align, prefix, wanted) => {
    expect(new MemAllocator().SetProperties(props(1, size, align, prefix)).cbBuffer).toBe(wanted);
  });

  it.each([0, 3, 24, -4, 65_537, 131_072])("alignment %i is BADALIGN", (align) => {
    expect(codeOf(() => new MemAllocator().SetProperties(props(1, 8, align)))).toBe("VFW_E_BADALIGN");
  });

  it("accepts zero and negative counts, sizes and prefixes, which fail at Commit", () => {
    for (const [request, wanted] of [
      [props(0, 8), "VFW_E_SIZENOTSET"],
      [props(-1, 8), "VFW_E_SIZENOTSET"],
      [props(1, -8), "VFW_E_SIZENOTSET"],
      [props(1, 8, 1, -1), "E_OUTOFMEMORY"],
      [props(1000, 0x7fffff), "E_OUTOFMEMORY"],
    ] as const) {
      const allocator = new MemAllocator();
      allocator.SetProperties(request);
      expect(codeOf(() => allocator.Commit())).toBe(wanted);
    }
    expect(codeOf(() => new MemAllocator().Commit())).toBe("VFW_E_SIZENOTSET");
  });

  it("checks arguments first, then the state, and keeps the old properties", () => {
    const allocator = committed();
    expect(codeOf(() => allocator.SetProperties(null as never))).toBe("E_POINTER");
    expect(codeOf(() => allocator.SetProperties(props(1, 1, 0)))).toBe("VFW_E_BADALIGN");
    expect(codeOf(() => allocator.SetProperties(props(Number.NaN, 1)))).toBe("E_INVALIDARG");
    expect(codeOf(() => allocator.SetProperties({} as never))).toBe("E_INVALIDARG");
    expect(allocator.GetProperties()).toEqual(props(2, 100));
  });
});

describe("samples", () => {
  it("SetTime and SetMediaTime take 64-bit times; beyond is E_INVALIDARG, and the old ones stay", async () => {
    const allocator = new MemAllocator();
    allocator.SetProperties({ cBuffers: 1, cbBuffer: 16, cbAlign: 1, cbPrefix: 0 });
    allocator.Commit();
    const sample = await allocator.GetBuffer();
    sample.SetTime(-5n, 2n ** 63n - 1n);
    sample.SetMediaTime(1n, 2n);
    for (const beyond of [2n ** 63n, -(2n ** 63n) - 1n]) {
      expect(codeOf(() => sample.SetTime(beyond, null))).toBe("E_INVALIDARG");
      expect(codeOf(() => sample.SetTime(1n, beyond))).toBe("E_INVALIDARG");
      expect(codeOf(() => sample.SetMediaTime(1n, beyond))).toBe("E_INVALIDARG");
      expect(codeOf(() => sample.SetProperties({ dwSampleFlags: 0x110, tStart: beyond, tStop: 1n }))).toBe(
        "E_INVALIDARG",
      );
    }
    expect(sample.GetTime()).toEqual({ start: -5n, end: 2n ** 63n - 1n, hresult: 0 });
    expect(sample.GetMediaTime()).toEqual({ start: 1n, end: 2n });
  });

  const sample = async (size = 100): Promise<MediaSample> => committed(1, size).GetBuffer(1n, 2n);

  it("starts clean, whole, with one reference, and without the hint times", async () => {
    const s = await sample();
    expect([s.GetActualDataLength(), s.IsSyncPoint(), s.IsPreroll(), s.IsDiscontinuity(), s.GetMediaType()]).toEqual([
      100,
      false,
      false,
      false,
      null,
    ]);
    expect(codeOf(() => s.GetTime())).toBe("VFW_E_SAMPLE_TIME_NOT_SET");
    expect(codeOf(() => s.GetMediaTime())).toBe("VFW_E_MEDIA_TIME_NOT_SET");
    expect([s.AddRef(), s.Release(), s.Release()]).toEqual([2, 1, 0]);
  });

  it("SetActualDataLength: 0 to the capacity, else BUFFER_OVERFLOW with the old value kept; back to capacity at the next GetBuffer", async () => {
    const allocator = committed(1);
    const s = await allocator.GetBuffer();
    s.SetActualDataLength(0);
    s.SetActualDataLength(42);
    for (const bad of [101, -1, 1.5, Number.NaN])
      expect(codeOf(() => s.SetActualDataLength(bad))).toBe("VFW_E_BUFFER_OVERFLOW");
    expect([s.GetActualDataLength(), s.GetPointer().length, s.GetSize()]).toEqual([42, 100, 100]);
    s.SetActualDataLength(100);
    s.Release();
    expect((await allocator.GetBuffer()).GetActualDataLength()).toBe(100);
  });

  it("SetTime and GetTime: none, start only, both, and no start clears both", async () => {
    const s = await sample();
    s.SetTime(10n, null);
    expect(s.GetTime()).toEqual({ start: 10n, end: 11n, hresult: HRESULTS.VFW_S_NO_STOP_TIME });
    s.SetTime(10n, 30n);
    expect(s.GetTime()).toEqual({ start: 10n, end: 30n, hresult: 0 });
    s.SetTime(null, 30n);
    expect(codeOf(() => s.GetTime())).toBe("VFW_E_SAMPLE_TIME_NOT_SET");
  });

  it("SetMediaTime: independent of SetTime, needs an end, exact beyond 32 bits", async () => {
    const s = await sample();
    s.SetMediaTime(5n, 2n ** 40n);
    expect(s.GetMediaTime()).toEqual({ start: 5n, end: 2n ** 40n });
    expect(codeOf(() => s.SetMediaTime(5n, null))).toBe("E_POINTER");
    expect(codeOf(() => s.GetTime())).toBe("VFW_E_SAMPLE_TIME_NOT_SET");
    s.SetMediaTime(null, 9n);
    expect(codeOf(() => s.GetMediaTime())).toBe("VFW_E_MEDIA_TIME_NOT_SET");
  });

  it("sync point, preroll and discontinuity are independent, and show in the bulk flags", async () => {
    const s = await sample();
    s.SetSyncPoint(true);
    s.SetDiscontinuity(true);
    expect([s.IsSyncPoint(), s.IsPreroll(), s.IsDiscontinuity(), s.GetProperties().dwSampleFlags]).toEqual([
      true,
      false,
      true,
      0x05,
    ]);
    s.SetPreroll(true);
    s.SetSyncPoint(false);
    expect(s.GetProperties().dwSampleFlags).toBe(0x06);
  });

  it("SetMediaType stores a deep copy, GetMediaType gives one, the bulk call the live object, null removes it", async () => {
    const s = await sample();
    const type = { major: "video", size: { width: 2 } };
    s.SetMediaType(type);
    type.size.width = 3;
    expect(s.GetMediaType()).toEqual({ major: "video", size: { width: 2 } });
    expect(s.GetMediaType()).not.toBe(s.GetMediaType());
    expect(s.GetProperties().pMediaType).toBe(s.GetProperties().pMediaType);
    expect(s.GetProperties().dwSampleFlags & SampleFlags.TYPECHANGED).toBe(SampleFlags.TYPECHANGED);
    s.SetMediaType(null);
    s.SetMediaType(null);
    expect(s.GetProperties().dwSampleFlags & SampleFlags.TYPECHANGED).toBe(0);
  });

  it("bulk: get, tweak, set is a round trip; absent fields are left alone", async () => {
    const s = await sample();
    s.SetTime(1n, 5n);
    const all = s.GetProperties();
    s.SetProperties({
      ...all,
      lActual: 50,
      dwStreamId: 3,
      dwTypeSpecificFlags: 9,
      dwSampleFlags: all.dwSampleFlags | SampleFlags.TIMEDISCONTINUITY,
    });
    expect(s.GetProperties()).toMatchObject({
      lActual: 50,
      dwStreamId: 3,
      dwTypeSpecificFlags: 9,
      tStart: 1n,
      tStop: 5n,
    });
    expect(s.GetProperties().dwSampleFlags).toBe(
      SampleFlags.TIMEVALID | SampleFlags.STOPVALID | SampleFlags.TIMEDISCONTINUITY,
    );
    s.SetProperties({ lActual: 60 });
    expect(s.GetTime()).toMatchObject({ start: 1n, end: 5n });
    s.SetProperties({ dwSampleFlags: 0 });
    expect(codeOf(() => s.GetTime())).toBe("VFW_E_SAMPLE_TIME_NOT_SET");
    s.SetProperties({ dwSampleFlags: SampleFlags.TIMEVALID | SampleFlags.STOPVALID, tStart: 7n, tStop: 9n });
    expect(s.GetTime()).toEqual({ start: 7n, end: 9n, hresult: 0 });
    s.SetProperties({});
  });

  it.each([
    [{ dwSampleFlags: SampleFlags.ENDOFSTREAM }, "E_INVALIDARG"],
    [{ dwSampleFlags: 0x20 }, "E_INVALIDARG"],
    [{ dwSampleFlags: 0x400 }, "E_INVALIDARG"],
    [{ dwSampleFlags: SampleFlags.TIMEVALID }, "E_INVALIDARG"],
    [{ pbBuffer: new Uint8Array(1) }, "E_INVALIDARG"],
    [{ cbBuffer: 99 }, "E_INVALIDARG"],
    [{ lActual: 101 }, "E_INVALIDARG"],
    [{ lActual: -1 }, "E_INVALIDARG"],
    [{ dwSampleFlags: SampleFlags.TYPECHANGED }, "E_POINTER"],
  ])("bulk: %j is refused and sets nothing, not even its good fields", async (bad, wanted) => {
    const s = await sample();
    const before = s.GetProperties();
    expect(codeOf(() => s.SetProperties({ dwStreamId: 8, ...bad }))).toBe(wanted);
    expect(s.GetProperties()).toEqual(before);
  });

  it("metadata is clean for the next holder; contents are not", async () => {
    const allocator = committed(1);
    const s = await allocator.GetBuffer();
    s.SetTime(1n, 2n);
    s.SetMediaTime(1n, 2n);
    s.SetSyncPoint(true);
    s.SetMediaType({ a: 1 });
    s.SetProperties({ dwStreamId: 4, dwTypeSpecificFlags: 5 });
    s.GetPointer()[0] = 42;
    s.Release();
    const next = await allocator.GetBuffer();
    expect(next.GetProperties()).toMatchObject({
      dwSampleFlags: 0,
      dwStreamId: 0,
      dwTypeSpecificFlags: 0,
      pMediaType: null,
      tStart: 0n,
      tStop: 0n,
      lActual: 100,
    });
    expect(next.GetPointer()[0]).toBe(42);
  });

  it("misuse that corrupts the original is an error here: released twice, used after, given to another allocator", async () => {
    const allocator = committed(1);
    const s = await allocator.GetBuffer();
    expect(codeOf(() => committed().ReleaseBuffer(s))).toBe("ERR_FOREIGN_RELEASE");
    expect(codeOf(() => allocator.ReleaseBuffer(null as never))).toBe("E_POINTER");
    s.Release();
    expect(codeOf(() => s.Release())).toBe("ERR_DOUBLE_RELEASE");
    for (const use of [
      () => s.GetPointer(),
      () => s.GetSize(),
      () => s.SetTime(1n, 2n),
      () => s.AddRef(),
      () => s.SetMediaType(null),
    ]) {
      expect(codeOf(use)).toBe("ERR_USE_AFTER_RELEASE");
    }
    expect(allocator.GetFreeCount()).toBe(1);
  });

  it("the free list is a stack: the most recently returned buffer comes next", async () => {
    const allocator = committed(3);
    const [a, b] = [await allocator.GetBuffer(), await allocator.GetBuffer()];
    const bytes = b!.GetPointer();
    a!.Release();
    b!.Release();
    expect((await allocator.GetBuffer()).GetPointer()).toBe(bytes);
  });

  it("waiters are served first come, first served", async () => {
    const allocator = committed(1);
    const held = await allocator.GetBuffer();
    const order: number[] = [];
    const waits = [1, 2].map((n) =>
      allocator.GetBuffer().then((s) => {
        order.push(n);
        s.Release();
      }),
    );
    held.Release();
    await Promise.all(waits);
    expect(order).toEqual([1, 2]);
  });
});

describe("pointers of a sample whose bytes a copy shares", () => {
  async function sampleOf(size = 64): Promise<MediaSample> {
    return (await committed(2, size).GetBuffer(null, null, 0)) as MediaSample;
  }
  const first = (buffer: { extract(offset: number, target: Uint8Array): number }): number => {
    const out = new Uint8Array(1);
    buffer.extract(0, out);
    return out[0]!;
  };

  it("GetPointer() shows the bytes that the sample has now, after a copy on write", async () => {
    const sample = await sampleOf();
    sample.GetPointer().fill(1);
    const copy = sample.buffer.copy();
    const mapping = sample.buffer.map("readwrite");
    mapping.bytes.fill(2);
    mapping.unmap();
    expect([sample.GetPointer()[0], sample.GetSize(), sample.GetProperties().pbBuffer![0]]).toEqual([2, 64, 2]);
    sample.GetPointer().fill(9);
    expect([first(copy), first(sample.buffer)]).toEqual([1, 9]);
    copy.release();
    expect(sample.Release()).toBe(0);
  });

  it.each(["GetPointer", "GetProperties"] as const)("%s() makes the bytes the sample's own first", async (call) => {
    const sample = await sampleOf();
    sample.GetPointer().fill(1);
    sample.SetActualDataLength(10);
    const copy = sample.buffer.copy();
    const pointer = call === "GetPointer" ? sample.GetPointer() : sample.GetProperties().pbBuffer!;
    pointer.fill(9);
    expect([first(copy), first(sample.buffer), pointer.length]).toEqual([1, 9, 64]);
    expect([sample.GetSize(), sample.GetActualDataLength(), copy.size]).toEqual([64, 10, 10]);
    sample.SetActualDataLength(64);
    expect([sample.GetPointer() === pointer, sample.buffer.bytes[63]]).toEqual([true, 9]);
    copy.release();
    expect(sample.Release()).toBe(0);
  });

  it("a copy that ended leaves the pointer what it was, and a second reference too", async () => {
    const sample = await sampleOf();
    const pointer = sample.GetPointer();
    sample.buffer.copy().release();
    expect(sample.GetPointer()).toBe(pointer);
    const again = sample.buffer.retain();
    expect(sample.GetPointer()).toBe(pointer);
    again.release();
    sample.SetProperties({ pbBuffer: pointer, cbBuffer: 64 });
    expect(sample.Release()).toBe(0);
  });

  it("a buffer whose memory was taken out has an empty pointer, and other memory one of the capacity at most", async () => {
    const sample = await sampleOf();
    sample.buffer.remove();
    expect([sample.GetPointer().length, sample.GetSize(), sample.GetProperties().cbBuffer]).toEqual([0, 0, 0]);
    const memory = systemAllocator().allocate(100);
    sample.buffer.append(memory.share(0));
    expect([sample.GetPointer().length, sample.GetSize(), sample.GetActualDataLength()]).toEqual([64, 64, 64]);
    sample.GetPointer().fill(7);
    expect([first(sample.buffer), memory.map("read").bytes[0]]).toEqual([7, 0]);
    expect(sample.Release()).toBe(0);
  });

  it("a copy that is mapped keeps what it shows, and the sample its length", async () => {
    const sample = await sampleOf();
    sample.GetPointer().fill(1);
    const copy = sample.buffer.copy();
    const mapping = copy.map("read");
    sample.SetActualDataLength(10);
    sample.GetPointer().fill(2);
    expect([mapping.bytes[0], mapping.bytes[63], sample.GetPointer().length, sample.GetActualDataLength()]).toEqual([
      1, 1, 64, 10,
    ]);
    mapping.unmap();
    copy.release();
    expect(sample.Release()).toBe(0);
  });

  it("memory that was added to the buffer counts for the pointer, up to the capacity", async () => {
    const sample = await sampleOf();
    sample.GetPointer().fill(1);
    sample.SetActualDataLength(4);
    sample.buffer.append(systemAllocator().allocate(8));
    expect(sample.GetPointer().length).toBe(sample.GetSize());
    sample.GetPointer().fill(5);
    expect(first(sample.buffer)).toBe(5);
    expect(sample.Release()).toBe(0);
  });
});
