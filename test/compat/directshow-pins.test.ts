// Shares its realm with other files: nothing that it changes outlives it.
/** Connecting pins and sharing allocators, named after the reference's part 7 to 9. */
import { describe, expect, it } from "vitest";
import {
  type ALLOCATOR_PROPERTIES,
  AM_GBF_NOWAIT,
  BaseInputPin,
  BaseOutputPin,
  HRESULTS,
  HResultError,
  type IMediaSample,
  type IMemAllocator,
  type InputPinOptions,
  MemAllocator,
  type OutputPinOptions,
  TransInPlaceFilter,
} from "../../src/compat/directshow.ts";

const { S_OK, S_FALSE } = HRESULTS;

async function codeOf(fn: () => unknown): Promise<string> {
  try {
    await fn();
    return "S_OK";
  } catch (error) {
    if (error instanceof HResultError) return error.code;
    throw error;
  }
}

/** Raises count and size to what is needed, keeps alignment and prefix: the convention of property merging. */
const atLeast =
  (cBuffers: number, cbBuffer: number): OutputPinOptions["decideBufferSize"] =>
  (allocator, request) => {
    request.cBuffers = Math.max(request.cBuffers, cBuffers);
    request.cbBuffer = Math.max(request.cbBuffer, cbBuffer);
    const actual = allocator.SetProperties(request);
    if (actual.cBuffers < cBuffers || actual.cbBuffer < cbBuffer) throw new HResultError("E_FAIL", "too small");
  };

const SIZED: ALLOCATOR_PROPERTIES = { cBuffers: 2, cbBuffer: 64, cbAlign: 1, cbPrefix: 0 };

const input = (options: Partial<InputPinOptions> = {}): BaseInputPin =>
  new BaseInputPin({ receive: () => S_OK, ...options });
const output = (options: Partial<OutputPinOptions> = {}): BaseOutputPin =>
  new BaseOutputPin({ decideBufferSize: atLeast(2, 100), ...options });

describe("the input pin (7.2)", () => {
  it("offers the same allocator on every call, with properties that are all zero; after selection the selected one", () => {
    const pin = input();
    const offered = pin.GetAllocator();
    expect(pin.GetAllocator()).toBe(offered);
    expect(offered.GetProperties()).toEqual({ cBuffers: 0, cbBuffer: 0, cbAlign: 0, cbPrefix: 0 });
    const other = new MemAllocator();
    pin.NotifyAllocator(other, true);
    expect(pin.GetAllocator()).toBe(other);
    expect(pin.readOnly).toBe(true);
  });

  it("answers E_NOTIMPL without requirements, and fills in only the fields it cares about with them", async () => {
    expect(await codeOf(() => input().GetAllocatorRequirements())).toBe("E_NOTIMPL");
    const writer = input({ requirements: { cbAlign: 512 } });
    expect(writer.GetAllocatorRequirements()).toEqual({ cBuffers: 0, cbBuffer: 0, cbAlign: 512, cbPrefix: 0 });
  });

  it("refuses null with E_POINTER, and may be notified again on a live connection", async () => {
    const pin = input();
    expect(await codeOf(() => pin.NotifyAllocator(null as never, false))).toBe("E_POINTER");
    pin.NotifyAllocator(new MemAllocator(), false);
    const second = new MemAllocator();
    pin.NotifyAllocator(second, false);
    expect(pin.allocator).toBe(second);
  });
});

describe("the decision of the output pin (7.3)", () => {
  it("takes the input's allocator when it offers one, it can be sized and it is accepted", () => {
    const [from, to] = [output(), input({ requirements: { cBuffers: 5, cbAlign: 16 } })];
    const offered = to.GetAllocator();
    from.connect(to);
    expect(from.allocator).toBe(offered);
    expect(to.allocator).toBe(offered);
    expect(to.readOnly).toBe(false);
    expect(offered.GetProperties()).toEqual({ cBuffers: 5, cbBuffer: 112, cbAlign: 16, cbPrefix: 0 });
    expect(from.candidates.map((one) => [one.by, one.won])).toEqual([
      ["input", true],
      ["output", false],
    ]);
  });

  it("uses alignment 1 where the input does not care", () => {
    const [from, to] = [output(), input()];
    from.connect(to);
    expect(from.allocator!.GetProperties().cbAlign).toBe(1);
  });

  it("takes its own when the input has none, whatever the error says", () => {
    for (const createAllocator of [
      (): null => null,
      (): never => {
        throw new HResultError("E_INVALIDARG", "as the file writer answers");
      },
    ]) {
      const from = output();
      from.connect(input({ createAllocator }));
      expect(from.allocator).toBeInstanceOf(MemAllocator);
      expect(from.candidates.map((one) => one.won)).toEqual([false, true]);
    }
  });

  it("takes its own when the input's cannot be sized, with the properties as that try has left them", () => {
    class Small extends MemAllocator {
      override SetProperties(request: ALLOCATOR_PROPERTIES): ALLOCATOR_PROPERTIES {
        return super.SetProperties({ ...request, cBuffers: 1 });
      }
    }
    const seen: number[] = [];
    const decide = atLeast(3, 100);
    const from = output({
      decideBufferSize(allocator, request) {
        seen.push(request.cBuffers);
        decide(allocator, request);
      },
    });
    from.connect(input({ createAllocator: () => new Small() }));
    expect(seen).toEqual([0, 3]);
    expect(from.allocator).not.toBeInstanceOf(Small);
    expect(from.candidates[0]!.why).toMatch(/too small/);
  });

  it("takes its own when the input refuses its offered one at the notification; a veto of all fails the connection", async () => {
    const own = new MemAllocator();
    const picky = input({
      acceptAllocator: (allocator) => {
        if (allocator !== own) throw new HResultError("E_FAIL", "not that one");
      },
    });
    const from = output({ createAllocator: () => own });
    from.connect(picky);
    expect(picky.allocator).toBe(own);

    const never = input({
      acceptAllocator: () => {
        throw new HResultError("VFW_E_READ_ONLY", "none at all");
      },
    });
    const other = output();
    expect(await codeOf(() => other.connect(never))).toBe("VFW_E_READ_ONLY");
    expect(other.connectedTo).toBeNull();
    expect(other.allocator).toBeNull();
    expect(other.candidates.map((one) => one.won)).toEqual([false, false]);
  });

  it("refuses a second connection", async () => {
    const from = output();
    from.connect(input());
    expect(await codeOf(() => from.connect(input()))).toBe("VFW_E_ALREADY_CONNECTED");
  });
});

describe("activation (7.4)", () => {
  it("the output commits, both sides decommit, either side ends a wait in GetBuffer", async () => {
    const [from, to] = [output({ decideBufferSize: atLeast(1, 10) }), input()];
    expect(await codeOf(() => from.active())).toBe("VFW_E_NO_ALLOCATOR");
    expect(await codeOf(() => from.getDeliveryBuffer())).toBe("E_NOINTERFACE");
    expect(await codeOf(() => to.inactive())).toBe("VFW_E_NO_ALLOCATOR");
    from.connect(to);
    expect(await codeOf(() => from.getDeliveryBuffer())).toBe("VFW_E_NOT_COMMITTED");
    to.active();
    from.active();
    const sample = await from.getDeliveryBuffer();
    const waiting = codeOf(() => from.getDeliveryBuffer());
    // The graph stops from the sink upwards: the input's decommit is what frees the producer.
    to.inactive();
    expect(await waiting).toBe("VFW_E_NOT_COMMITTED");
    from.inactive();
    sample.Release();
    from.active();
    (await from.getDeliveryBuffer()).Release();
  });

  it("a zero-size allocator makes active() fail with SIZENOTSET", async () => {
    const from = output({ decideBufferSize: (allocator, request) => void allocator.SetProperties(request) });
    from.connect(input());
    expect(await codeOf(() => from.active())).toBe("VFW_E_SIZENOTSET");
  });

  it("disconnecting decommits on both sides", async () => {
    const [from, to] = [output(), input()];
    from.connect(to);
    from.active();
    const { allocator } = from;
    from.disconnect();
    expect(await codeOf(() => allocator!.GetBuffer())).toBe("VFW_E_NOT_COMMITTED");
    expect([from.allocator, to.allocator, from.connectedTo]).toEqual([null, null, null]);
    from.connect(to);
    expect(from.allocator).not.toBeNull();
  });
});

describe("in-place filters (7.6)", () => {
  const chain = (modifiesData: boolean, upstreamReadOnly: boolean) => {
    const seen: number[] = [];
    const to = input({
      receive(sample) {
        seen.push(sample.GetPointer()[0]!);
        return S_OK;
      },
    });
    const filter = new TransInPlaceFilter({
      modifiesData,
      transform(sample) {
        if (modifiesData) sample.GetPointer()[0]! += 100;
      },
    });
    const from = output({ readOnly: upstreamReadOnly, ownOnly: upstreamReadOnly });
    filter.output.connect(to);
    from.connect(filter.input);
    return { from, filter, to, seen };
  };

  const play = async ({ from, filter, to, seen }: ReturnType<typeof chain>): Promise<[number, number]> => {
    to.active();
    filter.output.active();
    filter.input.active();
    from.active();
    const sample = await from.getDeliveryBuffer();
    sample.GetPointer()[0] = 7;
    expect(await from.deliver(sample)).toBe(S_OK);
    const left = sample.GetPointer()[0]!;
    sample.Release();
    return [seen[0]!, left];
  };

  it("use one allocator on both sides, from the last pin of the chain, and change data without a copy", async () => {
    const graph = chain(true, false);
    expect(graph.from.allocator).toBe(graph.to.allocator);
    expect(graph.filter.copies).toBe(false);
    expect(await play(graph)).toEqual([107, 107]);
  });

  it("copy each sample into a second allocator when upstream's are read-only and data is changed", async () => {
    const graph = chain(true, true);
    expect(graph.filter.copies).toBe(true);
    expect(graph.from.allocator).not.toBe(graph.to.allocator);
    expect(graph.to.readOnly).toBe(false);
    expect(await play(graph)).toEqual([107, 7]);
  });

  it("pass a read-only allocator on, with the bit, when they only look", async () => {
    const graph = chain(false, true);
    expect(graph.filter.copies).toBe(false);
    expect(graph.to.readOnly).toBe(true);
    expect(await play(graph)).toEqual([7, 7]);
  });

  it("refuse their own downstream allocator as a read-only one", async () => {
    const { filter, to } = chain(true, false);
    expect(await codeOf(() => filter.input.NotifyAllocator(to.allocator!, true))).toBe("E_FAIL");
  });

  it("forward pin by pin through a chain of filters", () => {
    const to = input();
    const filters = [1, 2, 3].map(() => new TransInPlaceFilter({ transform() {} }));
    filters[2]!.output.connect(to);
    filters[1]!.output.connect(filters[2]!.input);
    filters[0]!.output.connect(filters[1]!.input);
    const from = output();
    from.connect(filters[0]!.input);
    for (const filter of filters)
      expect([filter.input.allocator, filter.output.allocator]).toEqual([to.allocator, to.allocator]);
    expect(from.allocator).toBe(to.allocator);
  });
});

describe("a tee (7.7): one allocator, read-only on every branch", () => {
  const tee = (): {
    from: BaseOutputPin;
    source: BaseInputPin;
    branches: BaseOutputPin[];
    sinks: BaseInputPin[];
    kept: IMediaSample[];
  } => {
    const kept: IMediaSample[] = [];
    const source: BaseInputPin = input({
      async receive(sample) {
        for (const branch of branches) await branch.deliver(sample);
        return S_OK;
      },
      outputs: () => branches,
    });
    const branches = [0, 1].map(
      () =>
        new BaseOutputPin({
          decideBufferSize: () => {},
          createAllocator: () => source.allocator!,
          readOnly: true,
          ownOnly: true,
        }),
    );
    const sinks = [0, 1].map((i) =>
      input({
        canBlock: false,
        receive(sample) {
          if (i === 1) {
            sample.AddRef();
            kept.push(sample);
          }
          return S_OK;
        },
      }),
    );
    const from = output();
    from.connect(source);
    branches.forEach((branch, i) => {
      branch.connect(sinks[i]!);
    });
    for (const pin of [source, ...sinks]) pin.active();
    from.active();
    return { from, source, branches, sinks, kept };
  };

  it("notifies each consumer of the input's allocator; a refusal fails that branch, with no fallback", async () => {
    const { source, branches, sinks } = tee();
    for (const sink of sinks) expect([sink.allocator, sink.readOnly]).toEqual([source.allocator, true]);
    branches[0]!.disconnect();
    const picky = input({
      acceptAllocator(_, readOnly) {
        if (readOnly) throw new HResultError("E_FAIL", "must write");
      },
    });
    expect(await codeOf(() => branches[0]!.connect(picky))).toBe("E_FAIL");
    expect(branches[0]!.candidates).toHaveLength(1);
  });

  it("a branch that keeps its samples starves the shared pool for all (9.2)", async () => {
    const { from, kept } = tee();
    for (let i = 0; i < 2; i++) {
      const sample = await from.getDeliveryBuffer();
      await from.deliver(sample);
      sample.Release();
    }
    expect(await codeOf(() => from.getDeliveryBuffer(null, null, AM_GBF_NOWAIT))).toBe("VFW_E_TIMEOUT");
    kept.pop()!.Release();
    (await from.getDeliveryBuffer(null, null, AM_GBF_NOWAIT)).Release();
    kept.pop()!.Release();
  });

  it("the first decommit from any connection stops all of them (9.1)", async () => {
    const { from, sinks } = tee();
    sinks[0]!.inactive();
    expect(await codeOf(() => from.getDeliveryBuffer())).toBe("VFW_E_NOT_COMMITTED");
  });
});

/** An allocator of the user's that counts its references, and calls back when one is released. */
function counted(over: Partial<IMemAllocator> = {}): IMemAllocator & { references: number; onRelease(): void } {
  const real = new MemAllocator();
  const made: Record<string, unknown> & { references: number; onRelease(): void } = {
    references: 1,
    onRelease(): void {},
    QueryInterface: (): unknown => made,
    AddRef: () => ++made.references,
    Release(): number {
      made.references--;
      made.onRelease();
      return made.references;
    },
    SetProperties: (request: ALLOCATOR_PROPERTIES) => real.SetProperties(request),
    GetProperties: () => real.GetProperties(),
    Commit: () => real.Commit(),
    Decommit: () => real.Decommit(),
    GetBuffer: (...args: Parameters<IMemAllocator["GetBuffer"]>) => real.GetBuffer(...args),
    ReleaseBuffer: (sample: IMediaSample) => real.ReleaseBuffer(sample),
    ...over,
  };
  return made as unknown as ReturnType<typeof counted>;
}

describe("pins and allocators of the user's own", () => {
  const failure = new Error("Release() failed");
  it.each([
    ["NotifyAllocator", "disconnects"],
    ["NotifyAllocator", "throws"],
    ["setAllocator", "disconnects"],
    ["setAllocator", "throws"],
  ])("%s while the old one's Release() %s: each reference is given back once", (call, how) => {
    const [old, fresh] = [counted(), counted()];
    const [from, to] = [output(), input({ createAllocator: () => old })];
    from.connect(to);
    const pin = call === "setAllocator" ? from : to;
    old.onRelease = () => {
      old.onRelease = () => {};
      if (how === "throws") throw failure;
      pin.disconnect();
    };
    const replace = (): void => (pin === from ? from.setAllocator(fresh) : to.NotifyAllocator(fresh, false));
    if (how === "throws") expect(replace).toThrow(failure);
    else replace();
    from.disconnect();
    to.disconnect();
    expect([old.references, fresh.references]).toEqual([1, 1]);
  });

  it.each([null, undefined, 5, {}, { cBuffers: "2" }])(
    "GetProperties() may answer %o: no reference is lost",
    (answer) => {
      const odd = counted({ GetProperties: () => answer as never });
      const [from, to] = [output({ decideBufferSize: (allocator) => void allocator.SetProperties(SIZED) }), input()];
      to.NotifyAllocator(odd, false);
      from.connect(to);
      from.disconnect();
      to.disconnect();
      expect(odd.references).toBe(1);
    },
  );

  it.each([null, undefined, {}, 5])("an input that offers %o: the output's own is taken, and why is said", (offer) => {
    const from = output();
    const to = input();
    to.GetAllocator = () => offer as never;
    from.connect(to);
    expect(from.candidates).toMatchObject([{ by: "input" }, { by: "output" }]);
    expect(String(from.candidates[0]!.why)).toContain("the allocator is missing");
  });

  it("requirements that are no numbers are no opinion, and an answer of Receive() that is none is refused", async () => {
    const to = input();
    to.GetAllocatorRequirements = () => ({ cBuffers: "x", cbBuffer: Number.NaN }) as never;
    const asked: ALLOCATOR_PROPERTIES[] = [];
    const from = output({
      decideBufferSize(allocator, request) {
        asked.push({ ...request });
        allocator.SetProperties(SIZED);
      },
    });
    from.connect(to);
    expect(asked).toEqual([{ cBuffers: 0, cbBuffer: 0, cbAlign: 1, cbPrefix: 0 }]);
    to.Receive = () => Promise.resolve("x" as never);
    from.active();
    const sample = await from.getDeliveryBuffer();
    expect(await codeOf(() => from.deliver(sample))).toBe("E_UNEXPECTED");
  });

  it("a frozen error of receive() comes out of ReceiveMultiple as it is", async () => {
    const error = Object.freeze(new Error("mine"));
    const pin = input({
      receive() {
        throw error;
      },
    });
    const from = output();
    from.connect(pin);
    pin.active();
    from.active();
    const sample = await from.getDeliveryBuffer();
    await expect(pin.ReceiveMultiple([sample])).rejects.toBe(error);
  });

  it("inactive() without an allocator changes nothing", async () => {
    const [from, pin] = [output(), input()];
    from.connect(input());
    from.active();
    const sample = await from.getDeliveryBuffer();
    pin.active();
    expect(await codeOf(() => pin.inactive())).toBe("VFW_E_NO_ALLOCATOR");
    expect(await pin.Receive(sample)).toBe(S_OK);
  });
});

describe("delivering (8)", () => {
  const running = async (
    receive: InputPinOptions["receive"],
  ): Promise<{ from: BaseOutputPin; to: BaseInputPin; sample: IMediaSample }> => {
    const [from, to] = [output({ decideBufferSize: atLeast(4, 10) }), input({ receive })];
    from.connect(to);
    from.active();
    return { from, to, sample: await from.getDeliveryBuffer() };
  };

  it("Receive checks for null, stopped, flushing and an earlier failure, in that order", async () => {
    const { from, to, sample } = await running(() => {
      throw new HResultError("E_FAIL", "broken");
    });
    expect(await codeOf(() => to.Receive(null as never))).toBe("E_POINTER");
    expect(await codeOf(() => from.deliver(sample))).toBe("VFW_E_WRONG_STATE");
    to.active();
    expect(await codeOf(() => from.deliver(sample))).toBe("E_FAIL");
    expect(await codeOf(() => from.deliver(sample))).toBe("VFW_E_RUNTIME_ERROR");
    to.beginFlush();
    expect(await from.deliver(sample)).toBe(S_FALSE);
    to.endFlush();
    expect(await codeOf(() => from.deliver(sample))).toBe("E_FAIL");
    sample.Release();
  });

  it("delivering through an unconnected pin is NOT_CONNECTED", async () => {
    const { from, sample } = await running(() => S_OK);
    from.disconnect();
    expect(await codeOf(() => from.deliver(sample))).toBe("VFW_E_NOT_CONNECTED");
    sample.Release();
  });

  it("Receive holds for the call: the sample goes back when the producer releases it, unless the consumer kept it", async () => {
    const kept: IMediaSample[] = [];
    const { from, to, sample } = await running((one) => {
      one.AddRef();
      kept.push(one);
      return S_OK;
    });
    to.active();
    await from.deliver(sample);
    const allocator = from.allocator as MemAllocator;
    expect(sample.Release()).toBe(1);
    expect(allocator.GetFreeCount()).toBe(3);
    expect(kept[0]!.Release()).toBe(0);
    expect(allocator.GetFreeCount()).toBe(4);
  });

  it("ReceiveMultiple is sequential, stops at the first that is not S_OK, and says how many were accepted", async () => {
    let n = 0;
    const { from, to, sample } = await running(() => (++n === 3 ? S_FALSE : S_OK));
    const samples = [
      sample,
      await from.getDeliveryBuffer(),
      await from.getDeliveryBuffer(),
      await from.getDeliveryBuffer(),
    ];
    to.active();
    expect(await to.ReceiveMultiple(samples)).toBe(2);
    expect(n).toBe(3);
    // The caller still owns all of them.
    for (const one of samples) expect(one.Release()).toBe(0);
    expect(await to.ReceiveMultiple([])).toBe(0);
  });

  it("ReceiveMultiple tells with the error how many were accepted", async () => {
    let n = 0;
    const { to, sample } = await running(() => {
      if (++n === 2) throw new HResultError("E_FAIL", "broken");
      return S_OK;
    });
    to.active();
    await expect(to.ReceiveMultiple([sample, sample, sample])).rejects.toMatchObject({ code: "E_FAIL", accepted: 1 });
    sample.Release();
  });

  it("ReceiveCanBlock is false only when every connected consumer says so, and true in any doubt", () => {
    expect(input().ReceiveCanBlock()).toBe(true);
    expect(input({ canBlock: false }).ReceiveCanBlock()).toBe(false);
    const pins = [output(), output()];
    const filter = input({ outputs: () => pins });
    expect(filter.ReceiveCanBlock()).toBe(true);
    pins[0]!.connect(input({ canBlock: false }));
    expect(filter.ReceiveCanBlock()).toBe(false);
    pins[1]!.connect(input({ canBlock: true }));
    expect(filter.ReceiveCanBlock()).toBe(true);
  });
});

describe("an allocator of somebody else's (9.3)", () => {
  it("SetProperties by a later connection overwrites the earlier agreement; while committed it is refused", async () => {
    const shared: IMemAllocator = new MemAllocator();
    const offer = (): BaseInputPin => input({ createAllocator: () => shared });
    const first = output({ decideBufferSize: atLeast(2, 100) });
    first.connect(offer());
    const second = output({ decideBufferSize: atLeast(7, 300) });
    second.connect(offer());
    expect(first.allocator!.GetProperties()).toMatchObject({ cBuffers: 7, cbBuffer: 300 });
    first.active();
    const third = output();
    third.connect(offer());
    expect(third.allocator).not.toBe(shared);
    expect(third.candidates[0]!.why).toMatch(/ALREADY_COMMITTED/);
  });
});

describe("connections that are refused change nothing", () => {
  const refusing = (isArmed: () => boolean): BaseInputPin =>
    input({
      acceptAllocator: () => {
        if (isArmed()) throw new HResultError("E_FAIL", "not now");
      },
    });

  it("an allocator that another connection uses has its properties again after a veto (7.3, 9.3)", async () => {
    let isArmed = false;
    const filter = new TransInPlaceFilter({ transform() {} });
    filter.output.connect(refusing(() => isArmed));
    const before = filter.output.allocator!.GetProperties();
    isArmed = true;
    expect(await codeOf(() => output({ decideBufferSize: atLeast(7, 700) }).connect(filter.input))).toBe("E_FAIL");
    expect(filter.output.allocator!.GetProperties()).toEqual(before);
  });

  it("an in-place filter whose input cannot be connected again keeps it as it was, whichever side refuses for good (7.6)", async () => {
    let isArmed = false;
    const size = atLeast(2, 100);
    const from = output({
      decideBufferSize(allocator, request) {
        if (isArmed) throw new HResultError("E_FAIL", "refuses from now on");
        size(allocator, request);
      },
    });
    const filter = new TransInPlaceFilter({ transform() {} });
    from.connect(filter.input);
    from.active();
    const { allocator } = from;
    const to = input();
    isArmed = true;
    expect(await codeOf(() => filter.output.connect(to))).toBe("E_FAIL");
    expect([from.connectedTo, filter.input.connectedTo]).toEqual([filter.input, from]);
    expect([from.allocator, filter.input.allocator]).toEqual([allocator, allocator]);
    expect([filter.output.connectedTo, filter.output.allocator, to.allocator]).toEqual([null, null, null]);
    // Still committed, and the references are counted as before: one of each pin, and the one of the sample.
    const sample = await from.getDeliveryBuffer();
    expect([allocator!.AddRef(), allocator!.Release()]).toEqual([4, 3]);
    sample.Release();
    isArmed = false;
    filter.output.connect(to);
    expect(from.allocator).toBe(to.allocator);
  });

  it("a chain of in-place filters, refused at its far end, is connected up to there as it was", async () => {
    let isArmed = true;
    const from = output();
    const filters = [1, 2, 3].map(() => new TransInPlaceFilter({ transform() {} }));
    const inputs = [...filters.map((one) => one.input), refusing(() => isArmed)];
    const outputs = [from, ...filters.map((one) => one.output)];
    for (let i = 0; i < 3; i++) outputs[i]!.connect(inputs[i]!);
    const before = outputs.map((pin) => [pin.allocator, pin.allocator?.GetProperties()]);
    expect(await codeOf(() => outputs[3]!.connect(inputs[3]!))).toBe("E_FAIL");
    expect(outputs.map((pin) => [pin.allocator, pin.allocator?.GetProperties()])).toEqual(before);
    isArmed = false;
    outputs[3]!.connect(inputs[3]!);
    expect(new Set(outputs.map((pin) => pin.allocator)).size).toBe(1);
  });

  it("what a filter further down had agreed on is in force again when the connection above it is refused", async () => {
    let isArmed = false;
    const size = atLeast(2, 100);
    const from = output({
      decideBufferSize(allocator, request) {
        if (isArmed) throw new HResultError("E_FAIL", "refuses from now on");
        size(allocator, request);
      },
    });
    const [a, b] = [new TransInPlaceFilter({ transform() {} }), new TransInPlaceFilter({ transform() {} })];
    let offers = 0;
    const offered = new MemAllocator();
    // It offers its allocator once: the filter above has to bring one of its own then, which all of them change to.
    const to = input({
      createAllocator: () => (++offers === 1 ? offered : null),
      acceptAllocator: (allocator) => {
        if (isArmed && allocator === offered) throw new HResultError("E_FAIL", "not that one any more");
      },
    });
    b.output.connect(to);
    from.connect(a.input);
    const before = [b.output.allocator, to.allocator, offered.GetProperties(), to.readOnly];
    isArmed = true;
    expect(await codeOf(() => a.output.connect(b.input))).toBe("E_FAIL");
    expect([b.output.allocator, to.allocator, offered.GetProperties(), to.readOnly]).toEqual(before);
    expect(to.allocator).toBe(offered);
    expect([from.connectedTo, b.input.connectedTo, b.output.connectedTo]).toEqual([a.input, null, to]);
    b.output.disconnect();
    expect(offered.Release()).toBe(0);
  });

  it("a filter's output cannot be connected to its own input, nor back to one further up", async () => {
    const [a, b] = [new TransInPlaceFilter({ transform() {} }), new TransInPlaceFilter({ transform() {} })];
    expect(await codeOf(() => a.output.connect(a.input))).toBe("VFW_E_CIRCULAR_GRAPH");
    a.output.connect(b.input);
    expect(await codeOf(() => b.output.connect(a.input))).toBe("VFW_E_CIRCULAR_GRAPH");
    expect([b.output.connectedTo, a.input.connectedTo, a.input.allocator]).toEqual([null, null, null]);
    expect(a.output.connectedTo).toBe(b.input);
  });

  it("callbacks cannot connect the pins a second time, and pins that they release are let go after the decision", async () => {
    const codes: string[] = [];
    const again = async (call: () => void): Promise<void> => void codes.push(await codeOf(call));
    const own = new MemAllocator();
    const to: BaseInputPin = input({
      createAllocator: () => own,
      acceptAllocator: () => {
        void again(() => from.connect(input()));
        void again(() => output().connect(to));
        to.Release();
        from.Release();
      },
    });
    const from: BaseOutputPin = output({ createAllocator: () => own });
    from.connect(to);
    await null;
    expect(codes).toEqual(["VFW_E_ALREADY_CONNECTED", "VFW_E_ALREADY_CONNECTED"]);
    expect([from.connectedTo, from.allocator, to.connectedTo, to.allocator]).toEqual([null, null, null, null]);
    expect(own.Release()).toBe(0);
  });

  it("an input pin after its last Release neither starts nor takes samples", async () => {
    const from = output();
    from.connect(input());
    from.active();
    const sample = await from.getDeliveryBuffer();
    const dead = input();
    dead.active();
    dead.Release();
    for (const use of [
      () => dead.active(),
      () => dead.beginFlush(),
      () => dead.endFlush(),
      () => dead.Receive(sample),
      () => dead.ReceiveMultiple([]),
    ]) {
      await expect(async () => use()).rejects.toMatchObject({ code: "ERR_USE_AFTER_RELEASE" });
    }
  });

  it("a receive callback that answers a number beyond 32 bits answers no HRESULT", async () => {
    const from = output();
    const to = input({ receive: () => 2 ** 40 });
    from.connect(to);
    to.active();
    from.active();
    const sample = await from.getDeliveryBuffer();
    expect(await codeOf(() => from.deliver(sample))).toBe("E_UNEXPECTED");
  });
});
