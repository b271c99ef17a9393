/** The stages over a platform whose objects throw: every buffer is back, every frame closed, and the coder, too. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  type CodedChunk,
  type CodedFrame,
  WebCodecsDecoder,
  WebCodecsEncoder,
} from "../../src/adapters/webcodecs/coders.ts";
import { type AppItem, AppSource } from "../../src/pipeline/elements/app-source.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { PatternSource } from "../../src/pipeline/elements/pattern-source.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { byteFormat } from "../../src/pipeline/stream-format.ts";
import { expectHome, Numbers, runOrStall, turns } from "../pipeline/kit.ts";

/** What throws, and what is open. */
const platform = {
  broken: new Set<string>(),
  frames: [] as FakeFrame[],
  coders: [] as FakeCoder[],
  /** The input whose coding fails by the error callback, counted from 1; 0: none does. */
  failsAt: 0,
  /** What stands in the place of the second result; undefined: nothing does. */
  odd: undefined as { readonly result: unknown } | undefined,
  /** It fails behind the call that gave it the input. */
  failsLater: false,
  /** What it makes comes out when it is flushed. */
  holdsBack: false,
};

function fails(what: string): void {
  if (platform.broken.has(what)) throw new Error(`${what} throws`);
}

class FakeFrame implements CodedFrame {
  readonly format = "I420";
  readonly timestamp = 0;
  readonly duration = null;
  readonly visibleRect = { width: 16, height: 16 };
  isOpen = true;
  constructor() {
    platform.frames.push(this);
  }
  async copyTo(): Promise<undefined> {
    await turns(1);
    fails("frame.copyTo");
    return undefined;
  }
  close(): void {
    this.isOpen = false;
    fails("frame.close");
  }
}

const chunk: CodedChunk = {
  type: "key",
  get timestamp(): number {
    return platform.broken.has("chunk.timestamp") ? Number.NaN : 0;
  },
  duration: null,
  byteLength: 10,
  copyTo: () => fails("chunk.copyTo"),
};

/** Gives three results for each input. */
class FakeCoder {
  state = "unconfigured";
  resets = 0;
  readonly #output: (result: never) => void;
  readonly #error: (error: Error) => void;
  readonly #held: unknown[] = [];
  #inputs = 0;
  constructor({ output, error }: { output: (result: never) => void; error: (error: Error) => void }) {
    this.#output = output;
    this.#error = error;
    platform.coders.push(this);
  }
  configure(): void {
    this.state = "configured";
  }
  encode(): void {
    fails("encode");
    this.#code(() => chunk);
  }
  decode(): void {
    this.#code(() => new FakeFrame());
  }
  #code(make: () => unknown): void {
    this.#assertConfigured();
    const fails = ++this.#inputs === platform.failsAt;
    if (fails && platform.failsLater) queueMicrotask(() => this.fail());
    else if (fails) this.fail();
    else for (let i = 0; i < 3; i++) this.#held.push(make());
    if (platform.odd !== undefined && this.#inputs === 1) {
      const [instead] = this.#held.splice(1, 1, platform.odd.result);
      if (instead instanceof FakeFrame) instead.close();
    }
    if (!platform.holdsBack) this.#giveOut();
  }
  #giveOut(): void {
    for (const result of this.#held.splice(0)) this.#output(result as never);
  }
  /** As the standard has it: closed first, then the callback. */
  fail(): void {
    this.state = "closed";
    this.#error(new Error("the codec failed"));
  }
  /** What comes out when nobody asks any more. */
  late(result: unknown): void {
    this.#output(result as never);
  }
  async flush(): Promise<void> {
    this.#assertConfigured();
    if (platform.broken.has("flush")) this.fail();
    if (this.state === "closed") throw new DOMException("aborted", "AbortError");
    this.#giveOut();
  }
  #assertConfigured(): void {
    if (this.state !== "configured") throw new DOMException(this.state, "InvalidStateError");
  }
  reset(): void {
    this.resets++;
    for (const result of this.#held.splice(0)) if (result instanceof FakeFrame) result.close();
    this.state = "unconfigured";
  }
  close(): void {
    this.state = "closed";
    fails("coder.close");
  }
}

beforeEach(() => {
  Object.assign(platform, {
    broken: new Set(),
    frames: [],
    coders: [],
    odd: undefined,
    failsAt: 0,
    failsLater: false,
    holdsBack: false,
  });
  const names = {
    VideoEncoder: FakeCoder,
    VideoDecoder: FakeCoder,
    VideoFrame: FakeFrame,
    EncodedVideoChunk: class {},
  };
  for (const [name, value] of Object.entries(names)) vi.stubGlobal(name, value);
});
afterEach(() => void vi.unstubAllGlobals());

const encoding = (): Pipeline =>
  new Pipeline().link(
    new PatternSource({ format: "I420", width: 16, height: 16, frames: 4 }),
    new WebCodecsEncoder({ codec: "vp8" }),
    new NullSink(),
  );

async function expectAllBack(pipeline: Pipeline): Promise<void> {
  await turns(20);
  expectHome(pipeline);
  expect(platform.frames.filter((frame) => frame.isOpen)).toEqual([]);
  expect(platform.coders.map(({ state }) => state)).toEqual(["closed"]);
}

describe("an encoder stage", () => {
  it("runs over a platform that works", async () => {
    const pipeline = encoding();
    expect(await runOrStall(pipeline)).toBe("done");
    await expectAllBack(pipeline);
  });

  it.each([
    ["a packet cannot be copied", "chunk.copyTo", "chunk.copyTo throws"],
    ["the encoder refuses a picture", "encode", "encode throws"],
    ["a frame cannot be closed", "frame.close", "frame.close throws"],
    ["the encoder cannot be closed", "coder.close", "coder.close throws"],
  ])("loses no buffer and no frame when %s", async (_, what, message) => {
    platform.broken.add(what);
    const pipeline = encoding();
    expect(String(await runOrStall(pipeline))).toBe(`Error: ${message}`);
    await expectAllBack(pipeline);
  });

  it("loses no buffer when a packet has no time", async () => {
    platform.broken.add("chunk.timestamp");
    const pipeline = encoding();
    expect(String(await runOrStall(pipeline))).toMatch(/timestamp of a packet must be .* NaN/);
    await expectAllBack(pipeline);
  });
});

const decodingTo = (sink: NullSink): Pipeline =>
  new Pipeline().link(new Numbers("src", 4), new WebCodecsDecoder({ codec: "vp8" }), sink);
const encodingTo = (sink: NullSink): Pipeline =>
  new Pipeline().link(
    new PatternSource({ format: "I420", width: 16, height: 16, frames: 4 }),
    new WebCodecsEncoder({ codec: "vp8" }),
    sink,
  );

describe.each([
  ["encoder", encodingTo],
  ["decoder", decodingTo],
])("a failure of the platform's %s", (_, link) => {
  it.each([
    [1, false],
    [1, true],
    [2, true],
    [4, false],
    [4, true],
  ])(
    "ends the run with its own error at input %s of 4, behind what it had made (later: %s)",
    async (at, failsLater) => {
      Object.assign(platform, { failsAt: at, failsLater });
      const sink = new NullSink();
      const pipeline = link(sink);
      expect(String(await runOrStall(pipeline))).toBe("Error: the codec failed");
      expect(sink.count).toBe(3 * (at - 1));
      await expectAllBack(pipeline);
    },
  );

  it.each<[string, unknown]>([
    ["null", null],
    ["undefined", undefined],
    ["a number", 5],
    ["an object without methods", {}],
    ["an object that has a close() only", { timestamp: 0, close() {} }],
  ])("ends the run with a typed error behind what it had made, when it gives %s", async (_, result) => {
    platform.odd = { result };
    const sink = new NullSink();
    const pipeline = link(sink);
    expect(await runOrStall(pipeline)).toMatchObject({
      code: "ERR_INVALID_ARG_TYPE",
      message: expect.stringMatching(
        /^what the Video(En|De)coder made must be (an EncodedVideoChunk|a VideoFrame), but/,
      ),
    });
    expect(sink.count).toBe(1);
    await expectAllBack(pipeline);
    // The next run is another one.
    platform.odd = undefined;
    platform.coders.length = 0;
    expect(await runOrStall(pipeline)).toBe("done");
  });

  it("ends the run with a typed error when what it gives has no time, no duration or no size", async () => {
    const odd = [{ timestamp: Number.NaN }, { duration: undefined }, { timestamp: "0" }];
    for (const fields of [...odd, link === encodingTo ? { byteLength: -1 } : { visibleRect: undefined }]) {
      const result = Object.assign(Object.create(link === encodingTo ? chunk : new FakeFrame()), {});
      for (const [name, value] of Object.entries(fields)) Object.defineProperty(result, name, { value });
      platform.odd = { result };
      const error = await runOrStall(link(new NullSink()));
      expect(error, String(error)).toHaveProperty("code", expect.stringMatching(/^ERR_/));
    }
  });

  it("ends the run with its own error when it is flushed", async () => {
    platform.broken.add("flush");
    const sink = new NullSink();
    const pipeline = link(sink);
    expect(String(await runOrStall(pipeline))).toBe("Error: the codec failed");
    expect(sink.count).toBe(12);
    await expectAllBack(pipeline);
  });

  it("behind the end of its run fails no later run", async () => {
    const pipeline = link(new NullSink());
    expect(await runOrStall(pipeline)).toBe("done");
    const next = runOrStall(pipeline);
    platform.coders[0]!.fail();
    expect(await next).toBe("done");
  });
});

describe("a decoder stage", () => {
  const decoding = (): Pipeline =>
    new Pipeline().link(new Numbers("src", 4), new WebCodecsDecoder({ codec: "vp8" }), new NullSink());

  it.each([
    ["a picture cannot be copied", "frame.copyTo"],
    ["a picture cannot be closed", "frame.close"],
  ])("loses no buffer when %s, and closes the others and the decoder", async (_, what) => {
    platform.broken.add(what);
    const pipeline = decoding();
    expect(String(await runOrStall(pipeline))).toBe(`Error: ${what} throws`);
    await expectAllBack(pipeline);
    expect(platform.frames).toHaveLength(3);
  });

  it("closes a frame that comes when its run has ended, also one that cannot be closed", async () => {
    const pipeline = decoding();
    expect(await runOrStall(pipeline)).toBe("done");
    const decoder = platform.coders[0]!;
    decoder.late(new FakeFrame());
    platform.broken.add("frame.close");
    decoder.late(new FakeFrame());
    await expectAllBack(pipeline);
  });

  it("gives out what it has before it begins another format", async () => {
    platform.holdsBack = true;
    async function* packets(): AsyncGenerator<AppItem> {
      for (const size of [10, 20, 30]) {
        yield { format: byteFormat(size, "vp8") };
        for (let i = 0; i < 3; i++) yield new Uint8Array(size);
      }
    }
    const sink = new NullSink();
    const source = new AppSource(packets(), { format: byteFormat(10, "vp8") });
    const pipeline = new Pipeline().link(source, new WebCodecsDecoder({ codec: "vp8" }), sink);
    expect(await runOrStall(pipeline)).toBe("done");
    expect(sink.count).toBe(27);
    await expectAllBack(pipeline);
  });

  it("fails, and not its reset, when it failed before a seek or another format", async () => {
    const decoder = new WebCodecsDecoder({ codec: "vp8" });
    await decoder.formatChanged({ kind: "bytes", size: 64 } as never);
    platform.coders[0]!.fail();
    decoder.onFlush();
    await expect(Promise.resolve(decoder.formatChanged({ kind: "bytes", size: 65 } as never))).rejects.toThrow(
      "the codec failed",
    );
  });

  it("is reset at a seek, and all it had made are closed, also when one cannot be", async () => {
    class Seen extends WebCodecsDecoder {
      override made = [new FakeFrame(), new FakeFrame(), new FakeFrame()];
    }
    const decoder = new Seen({ codec: "vp8" });
    await decoder.formatChanged({ kind: "bytes", size: 64 } as never);
    platform.broken.add("frame.close");
    expect(() => decoder.onFlush()).toThrow("frame.close throws");
    expect(platform.frames.map(({ isOpen }) => isOpen)).toEqual([false, false, false]);
    expect(platform.coders.map(({ resets }) => resets)).toEqual([1]);
  });
});
