/** The stages over a platform whose objects throw: every buffer is back, every frame closed, and the coder, too. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  type CodedChunk,
  type CodedFrame,
  WebCodecsDecoder,
  WebCodecsEncoder,
} from "../../src/adapters/webcodecs/coders.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { PatternSource } from "../../src/pipeline/elements/pattern-source.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { expectHome, Numbers, runOrStall, turns } from "../pipeline/kit.ts";

/** What throws, and what is open. */
const platform = {
  broken: new Set<string>(),
  frames: [] as FakeFrame[],
  coders: [] as FakeCoder[],
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
  constructor({ output }: { output: (result: never) => void }) {
    this.#output = output;
    platform.coders.push(this);
  }
  configure(): void {
    this.state = "configured";
  }
  encode(): void {
    fails("encode");
    for (let i = 0; i < 3; i++) this.#output(chunk as never);
  }
  decode(): void {
    for (let i = 0; i < 3; i++) this.#output(new FakeFrame() as never);
  }
  async flush(): Promise<void> {}
  reset(): void {
    this.resets++;
    this.state = "unconfigured";
  }
  close(): void {
    this.state = "closed";
    fails("coder.close");
  }
}

beforeEach(() => {
  Object.assign(platform, { broken: new Set(), frames: [], coders: [] });
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
    expect(String(await runOrStall(pipeline))).toMatch(/NaN/);
    await expectAllBack(pipeline);
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

  it("is reset at a seek, and all it had made are closed, also when one cannot be", () => {
    class Seen extends WebCodecsDecoder {
      override made = [new FakeFrame(), new FakeFrame(), new FakeFrame()];
    }
    const decoder = new Seen({ codec: "vp8" });
    void decoder.formatChanged({ kind: "bytes", size: 64 } as never);
    platform.broken.add("frame.close");
    expect(() => decoder.onFlush()).toThrow("frame.close throws");
    expect(platform.frames.map(({ isOpen }) => isOpen)).toEqual([false, false, false]);
    expect(platform.coders.map(({ resets }) => resets)).toEqual([1]);
  });
});
