import { describe, expect, test } from "vitest";
import {
  AppSink,
  AppSource,
  Caps,
  formatText,
  Pipeline,
  type StreamFormat,
  sameFormat,
  sizeOfFormat,
} from "../../src/pipeline.ts";

const wrong = expect.objectContaining({ code: "ERR_INVALID_ARG_TYPE" });
const NOTHING = null as never;

describe("arguments of the pipeline", () => {
  test("null instead of options is refused with the library's own error", () => {
    expect(() => new Pipeline(NOTHING)).toThrow(wrong);
    expect(() => new AppSink(NOTHING)).toThrow(wrong);
    expect(() => new AppSource([], NOTHING)).toThrow(wrong);
  });

  test("a misspelled option is refused with a suggestion", () => {
    expect(() => new Pipeline({ patence: 5 } as never)).toThrow(/did you mean "patience"/);
    expect(() => new AppSink({ hold: 5 } as never)).toThrow(/did you mean "holds"/);
  });

  test("a value of the wrong type for an option of a run is refused before the run begins", async () => {
    const pipeline = new Pipeline();
    await expect(pipeline.run({ strict: "false" } as never)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
    await expect(pipeline.run({ signal: {} } as never)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
    await expect(pipeline.run(NOTHING)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE" });
    expect(pipeline.isRunning).toBe(false);
  });

  test("a link to what is no element is refused, and adds nothing", () => {
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

  test.each([undefined, 5, {}, { kind: "video", info: {} }])("%o is no format", (value) => {
    const format = value as unknown as StreamFormat;
    expect(() => formatText(format)).toThrow(wrong);
    expect(() => sizeOfFormat(format)).toThrow(wrong);
    expect(() => sameFormat(format, null)).toThrow(wrong);
  });
});
