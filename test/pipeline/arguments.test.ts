// Shares its realm with other files: nothing that it changes outlives it.
import { describe, expect, test } from "vitest";
import { allocators, BufferPool, type MediaBuffer, VideoInfo } from "../../src/index.ts";
import {
  AllocationQuery,
  AppSink,
  AppSource,
  audioFormat,
  byteFormat,
  Caps,
  CapsFilter,
  formatText,
  NullSink,
  PatternSource,
  Pipeline,
  parsePipeline,
  Queue,
  registerMetaMerger,
  Sink,
  Source,
  type StreamFormat,
  sameFormat,
  sizeOfFormat,
  Transform,
  videoFormat,
} from "../../src/pipeline.ts";
import {
  ContactSheetFile,
  EncodeSink,
  FileSink,
  FileSource,
  FramesElement,
  pipelineFromText,
  RawVideoElement,
  RawVideoSink,
  WorkersElement,
} from "../../src/pipeline-node.ts";
import { ContactSheetSink, FrameConverter, VideoScale } from "../../src/video.ts";

const wrong = expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE" });
const NOTHING = null as never;

describe("arguments of the pipeline", () => {
  test("null instead of options is refused with the library's own error", () => {
    expect(() => new Pipeline(NOTHING)).toThrow(wrong);
    expect(() => new AppSink(NOTHING)).toThrow(wrong);
    expect(() => new AppSource([], NOTHING)).toThrow(wrong);
  });

  test("a misspelled option is refused with a suggestion", () => {
    expect(() => new Pipeline({ acquireTimout: 5 } as never)).toThrow(/did you mean "acquireTimeout"/);
    expect(() => new AppSink({ retainedBufers: 5 } as never)).toThrow(/did you mean "retainedBuffers"/);
  });

  test("a value of the wrong type for an option of a run is refused before the run begins", async () => {
    const pipeline = new Pipeline();
    await expect(pipeline.run({ strict: "false" } as never)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
    await expect(pipeline.run({ signal: {} } as never)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
    await expect(pipeline.run(NOTHING)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
    expect(pipeline.isRunning).toBe(false);
  });

  test("a link to what is not an element is refused, and adds nothing", () => {
    const pipeline = new Pipeline();
    expect(() => pipeline.link(new AppSink(), NOTHING)).toThrow(wrong);
    expect(() => pipeline.link(NOTHING)).toThrow(wrong);
    expect(pipeline.elements).toEqual([]);
  });

  test("caps take structures and other caps, and nothing else", () => {
    expect(() => new Caps(NOTHING)).toThrow(wrong);
    expect(() => new Caps([NOTHING])).toThrow(wrong);
    expect(() => new Caps([{ kind: "smell" as never, fields: {} }])).toThrow(/one of video, audio, bytes/);
    expect(() => Caps.any.or(NOTHING)).toThrow(wrong);
    expect(() => Caps.any.intersect({} as never)).toThrow(wrong);
    expect(() => Caps.any.accepts(NOTHING)).toThrow(wrong);
    expect(() => Caps.any.fixate(NOTHING)).toThrow(wrong);
    expect(() => Caps.of({ kind: "video" } as never)).toThrow(wrong);
  });

  test.each([undefined, 5, {}, { kind: "video", info: {} }])("%o is refused as a format of a stage", (value) => {
    const format = value as unknown as StreamFormat;
    expect(() => formatText(format)).toThrow(wrong);
    expect(() => sizeOfFormat(format)).toThrow(wrong);
    expect(() => sameFormat(format, null)).toThrow(wrong);
  });
});

const info = VideoInfo.of({ format: "I420", width: 16, height: 16 });

describe("formats", () => {
  test.each([
    ["frameRate", null, "format.frameRate"],
    ["frameRate", { num: 25, den: 0 }, "format.frameRate.den"],
    ["frameRate", { num: 0.5, den: 1 }, "format.frameRate.num"],
    ["averageRate", 25, "format.averageRate"],
    ["isVariable", "no", "format.isVariable"],
    ["presentation", { rotation: 45 }, "format.presentation.rotation"],
    ["presentation", { pixelAspect: 0 }, "format.presentation.pixelAspect"],
    ["presentation", { flip: 1 }, "format.presentation.flip"],
    ["presentation", { flop: true }, "format.presentation.flop"],
    ["memory", "DMABuf", "format.memory"],
    ["memory", Symbol("memory"), "format.memory"],
  ])("an optional field is checked and named: %s", (field, value, name) => {
    const format = { kind: "video", info, [field]: value } as StreamFormat;
    for (const call of [Caps.of, sizeOfFormat, formatText, (f: StreamFormat) => Caps.any.whyNot(f)]) {
      expect(() => call(format)).toThrow(expect.objectContaining({ details: expect.objectContaining({ name }) }));
    }
  });

  test("an unknown field is refused with a suggestion", () => {
    expect(() => Caps.of({ ...videoFormat(info), framerate: { num: 25, den: 1 } } as never)).toThrow(
      /did you mean "frameRate"/,
    );
    expect(() => sizeOfFormat({ ...byteFormat(8), info } as never)).toThrow(/format\.info is not an option here/);
  });

  test("null is refused where options of a format may stand", () => {
    expect(() => videoFormat(info, NOTHING)).toThrow(wrong);
    expect(() => audioFormat({} as never)).toThrow(wrong);
    expect(() => byteFormat(8, "x", NOTHING)).toThrow(wrong);
    expect(() => byteFormat(8, NOTHING)).toThrow(/type must be a string/);
    expect(() => videoFormat(info, { memry: "memory:DMABuf" } as never)).toThrow(/did you mean "memory"/);
  });

  test("each field is read once: what was checked is what is kept", () => {
    let reads = 0;
    const format = {
      kind: "bytes",
      get size(): number {
        return ++reads === 1 ? 64 : -1;
      },
    } as StreamFormat;
    const query = new AllocationQuery(format);
    expect(query.format).toEqual(byteFormat(64));
    expect(query.formatSize).toBe(64);
    expect(reads).toBe(1);
  });

  test("what a caller changes in a format afterwards changes nothing", () => {
    const presentation = { rotation: 90 as 90 | 180, flip: true };
    const frameRate = { num: 25, den: 1 };
    const format = videoFormat(info, { presentation, frameRate });
    presentation.rotation = 180;
    frameRate.den = 0;
    expect(format.presentation).toEqual({ rotation: 90, flip: true });
    expect(format.frameRate).toEqual({ num: 25, den: 1 });
    expect(Object.isFrozen(format.presentation)).toBe(true);
  });

  test("what a caller changes in the fields of caps afterwards changes nothing", () => {
    const wanted = ["I420"];
    const caps = Caps.video({ format: wanted });
    wanted[0] = "RGBA";
    expect(caps.accepts(videoFormat(info))).toBe(true);
    expect(() => Caps.any.fixate({ width: Symbol("w") } as never)).toThrow(wrong);
  });

  test("a source that gives a new object for each buffer is settled once, and anew for another format", async () => {
    class Fresh extends Source {
      #n = 0;
      next(): StreamFormat | undefined {
        const n = this.#n++;
        if (n === 6) return null as never;
        return n < 3 ? { kind: "bytes", size: 64 } : { kind: "bytes", size: 128, type: "x" };
      }
      override fill(): void {}
    }
    const pipeline = new Pipeline().link(new Fresh(), new NullSink());
    await expect(pipeline.run()).rejects.toMatchObject({
      code: "ERR_INVALID_ARG_TYPE",
      details: { name: expect.stringMatching(/^what next\(\) of "fresh\d+" answered$/) },
    });
    expect(pipeline.describe().toString()).toContain("x, blocks of 128");
  });
});

describe("arguments of stages", () => {
  class PlainSink extends Sink {
    render(): void {}
  }
  class PlainTransform extends Transform {}
  const stages: [string, (options: never) => unknown][] = [
    ["NullSink", (o) => new NullSink(o)],
    ["VideoScale", (o) => new VideoScale(o)],
    ["PatternSource", (o) => new PatternSource(o)],
    ["ContactSheetSink", (o) => new ContactSheetSink(o)],
    ["Queue", (o) => new Queue(o)],
    ["a Sink", (o) => new PlainSink("s", undefined, o)],
    ["a Transform", (o) => new PlainTransform("t", o)],
    ["FileSource", (o) => new FileSource("x", o)],
    ["FileSink", (o) => new FileSink("x", o)],
    ["RawVideoSink", (o) => new RawVideoSink("x.y4m", o)],
    ["RawVideoElement", (o) => new RawVideoElement("x.y4m", o)],
    ["ContactSheetFile", (o) => new ContactSheetFile("x.png", o)],
    ["EncodeSink", (o) => new EncodeSink("x.mp4", o)],
    ["WorkersElement", (o) => new WorkersElement("x.mjs", o)],
  ];
  test.each(stages)("%s refuses options that are none, and unknown ones", (_, make) => {
    expect(() => make(NOTHING)).toThrow(wrong);
    expect(() => make(5 as never)).toThrow(wrong);
    expect(() => make({ zeros: true } as never)).toThrow(/options\.zeros is not an option here/);
  });

  test.each<[string, (value: never) => unknown]>([
    ["options.caps", (caps) => new AppSink({ caps })],
    ["options.caps", (caps) => new FileSink("x", { caps })],
    ["caps", (caps) => new CapsFilter(caps)],
    ["options.input", (input) => new PlainTransform("t", { input })],
    ["options.mode", (mode) => new PlainTransform("t", { mode })],
    ["options.keepLast", (keepLast) => new PlainSink("s", undefined, { keepLast })],
    ["options.name", (name) => new NullSink({ name })],
    ["options.retainedBuffers", (retainedBuffers) => new NullSink({ retainedBuffers })],
    ["options.max", (max) => new Queue({ max })],
    ["options.full", (full) => new Queue({ full })],
    ["options.width", (width) => new PatternSource({ width })],
    ["options.frameRate", (frameRate) => new PatternSource({ frameRate })],
    ["options.onSheet", (onSheet) => new ContactSheetSink({ onSheet })],
    ["options.tiles", (tiles) => new ContactSheetFile("x.png", { tiles })],
    ["options.y4m", (y4m) => new RawVideoSink("x", { y4m })],
    ["options.blockSize", (blockSize) => new FileSource("x", { blockSize })],
    ["options.height", (height) => new RawVideoElement("x", { height })],
    ["options.writes", (writes) => new WorkersElement("x.mjs", { writes })],
    ["options.onResult", (onResult) => new WorkersElement("x.mjs", { onResult })],
    ["path", (path) => new ContactSheetFile(path)],
    ["path", (path) => new EncodeSink(path)],
    ["input", (input) => new RawVideoElement(input)],
    ["openFrames", (open) => new FramesElement(open)],
    ["items", (items) => new AppSource(items, { format: byteFormat(8) })],
  ])("null for %s is refused by that name", (name, make) => {
    expect(() => make(NOTHING)).toThrow(
      expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE", details: expect.objectContaining({ name }) }),
    );
  });

  test("a queue has no bound on time where nanoseconds have no number for it", () => {
    expect(new Queue({ maxTime: 1e308 }).role).toBe("up to 4 in line");
  });

  test("workers refuse an address that names no file", () => {
    expect(() => new WorkersElement("")).toThrow(wrong);
    for (const module of ["file://elsewhere/%00", new URL("https://example.org/x.mjs")]) {
      expect(() => new WorkersElement(module)).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARG_VALUE" }));
    }
  });

  test("an item with a format that is none ends the run with its name", async () => {
    const source = new AppSource([{ format: { kind: "bytes", size: 0.5 } as never }], {
      format: byteFormat(8),
      name: "app",
    });
    await expect(new Pipeline().link(source, new NullSink()).run()).rejects.toMatchObject({
      code: "ERR_OUT_OF_RANGE",
      details: { name: 'the format of an item of "app".size' },
    });
  });

  test("what a source makes and is no buffer is refused, and not sent to the next stage", async () => {
    let rendered = 0;
    class Wrong extends Source {
      next(): StreamFormat {
        return byteFormat(8);
      }
      override create(): MediaBuffer {
        return { release() {} } as never;
      }
    }
    class Counting extends Sink {
      render(): void {
        rendered++;
      }
    }
    await expect(new Pipeline().link(new Wrong(), new Counting()).run()).rejects.toMatchObject({
      code: "ERR_INVALID_ARG_TYPE",
      details: { name: expect.stringMatching(/^what create\(\) of "wrong\d+" answered$/) },
    });
    expect(rendered).toBe(0);
  });

  test("a pad outside of a run refuses to negotiate, and is unchanged", async () => {
    const source = new PatternSource();
    new Pipeline().link(source, new NullSink());
    await expect(source.out.negotiate(-1)).rejects.toMatchObject({ code: "ERR_OUT_OF_RANGE" });
    await expect(source.out.negotiate()).rejects.toMatchObject({ code: "ERR_NOT_NEGOTIATED" });
    expect(() => source.out.setFormat({ kind: "video", info: {} } as never)).toThrow(wrong);
    expect(() => source.out.query(NOTHING)).toThrow(wrong);
    expect(source.out).toMatchObject({ format: null, needsReconfigure: false });
  });
});

describe("an allocation query", () => {
  test("refuses what is not a pool, allocator, number or text, and is unchanged", () => {
    const query = new AllocationQuery(byteFormat(64));
    query.addPool({ pool: new BufferPool(), min: 1 });
    query.addParams(allocators.default, { align: 16 });
    const before = JSON.stringify([query.pools.length, query.params, query.metas, query.parts, query.notes]);
    const calls: (() => unknown)[] = [
      () => query.addPool(NOTHING),
      () => query.addPool(undefined as never),
      () => query.addPool({ pool: {} as never }),
      () => query.addPool({ mn: 1 } as never),
      () => query.setPool(0, { size: null as never }),
      () => query.addParams({} as never),
      () => query.requireParams(5 as never),
      () => query.requireParams(null, { align: 3 }),
      () => query.addMeta("x", 5 as never),
      () => query.findMeta(NOTHING),
      () => query.raise(1, NOTHING),
      () => query.adopt({ held: 3 } as never),
      () => query.withholdPools(NOTHING),
      () => query.note(Symbol("note") as never),
      () => new AllocationQuery({} as never),
      () => new AllocationQuery(null, { needPol: true } as never),
      () => registerMetaMerger("", () => null),
      () => registerMetaMerger("x", NOTHING),
    ];
    for (const call of calls) expect(call).toThrow(expect.objectContaining({ name: "MillpondError" }));
    expect(JSON.stringify([query.pools.length, query.params, query.metas, query.parts, query.notes])).toBe(before);
  });
});

describe("a converter of pictures", () => {
  const to = VideoInfo.of({ format: "RGBA", width: 8, height: 8 });

  test("refuses what is not a layout, and a way to show it that is none", () => {
    expect(() => new FrameConverter(NOTHING, to)).toThrow(/from must be a VideoInfo/);
    expect(() => new FrameConverter(info, {} as never)).toThrow(/to must be a VideoInfo/);
    expect(() => new FrameConverter(info, to, { fullrange: true } as never)).toThrow(/did you mean "fullRange"/);
  });

  test("refuses bytes that end before the picture does, and writes nothing", () => {
    const converter = new FrameConverter(info, to);
    const target = new Uint8Array(to.size);
    expect(() => converter.run(new Uint8Array(info.size - 1), target)).toThrow(/source\.length must be at least 384/);
    expect(() => converter.run([] as never, target)).toThrow(wrong);
    expect(target.every((byte) => byte === 0)).toBe(true);
    expect(() => converter.run(new Uint8Array(info.size), target.subarray(1))).toThrow(/target\.length/);
    const wide = VideoInfo.of({ format: "I420P10", width: 16, height: 16 });
    const odd = new Uint8Array(wide.size + 1).subarray(1);
    expect(() => new FrameConverter(wide, info).run(odd, new Uint8Array(info.size))).toThrow(/source\.byteOffset/);
  });
});

describe("a pipeline text", () => {
  const word = { word: "null", help: "takes all", create: () => new NullSink() };

  test("is a string, and its words are a list of specifications", () => {
    expect(() => parsePipeline(NOTHING, [word])).toThrow(/text must be a string/);
    expect(() => parsePipeline(["null"] as never, [word])).toThrow(/text must be a string/);
    expect(() => pipelineFromText(5 as never)).toThrow(/source must be a string/);
    expect(() => parsePipeline("null", NOTHING)).toThrow(/factories must be a list/);
    expect(() => parsePipeline("null", Object.assign([], { length: 2 ** 32 - 1 }))).toThrow(/factories\.length/);
    expect(() => parsePipeline("null", [word, undefined as never])).toThrow(/factories\[1\] must be an ElementFactory/);
    expect(() => parsePipeline("null", [{ ...word, word: 5 as never }])).toThrow(/factories\[0\]\.word/);
    expect(() => parsePipeline("null", [{ ...word, positional: "x" as never }])).toThrow(/factories\[0\]\.positional/);
    const properties = { size: { kind: "lenght" as never, help: "" } };
    expect(() => parsePipeline("null", [{ ...word, properties }])).toThrow(/factories\[0\]\.properties\.size\.kind/);
  });

  test("points at the word whose specification makes no stage", () => {
    const broken = { ...word, word: "broken", create: () => undefined as never };
    expect(() => parsePipeline("broken ! null", [broken, word])).toThrow(
      expect.objectContaining({
        code: "ERR_INVALID_ARG_VALUE",
        details: expect.objectContaining({ at: 0, reason: expect.stringContaining('create() of "broken" returned') }),
      }),
    );
  });
});
