// Shares its realm with other files: nothing that it changes outlives it.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { pipelineFromText } from "../../src/adapters/node/factories.ts";
import { COMMON_ELEMENTS } from "../../src/pipeline/elements/factories.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { parsePipeline, splitWords } from "../../src/pipeline/text.ts";
import { isMillpondError } from "../../src/util/errors.ts";
import { nearest } from "../../src/util/validate.ts";
import { VIDEO_ELEMENTS } from "../../src/video/factories.ts";
import { REPEATED, seedOf, times } from "../helpers/effort.ts";
import { expectHome } from "./kit.ts";

/** The word that the error of a text points at, and what it says. */
function refusal(text: string): [string, string] {
  try {
    pipelineFromText(text);
  } catch (error) {
    if (!isMillpondError(error, "ERR_INVALID_ARG_VALUE")) throw error;
    const { at, length, reason, excerpt } = error.details as {
      at: number;
      length: number;
      reason: string;
      excerpt: string;
    };
    const marks = excerpt.split("\n")[1]!;
    // The marks stand below the word.
    expect(excerpt.split("\n")[0]!.slice(marks.indexOf("^"), marks.length)).toBe(text.slice(at, at + length));
    return [text.slice(at, at + length), reason];
  }
  throw new Error(`"${text}" was accepted`);
}

describe("a pipeline text", () => {
  test("becomes a pipeline that runs", async () => {
    const { pipeline } = parsePipeline("pattern frames=4 width=32 height=16 ! scale width=16 ! null", [
      ...COMMON_ELEMENTS,
      ...VIDEO_ELEMENTS,
    ]);
    const summary = await pipeline.run();
    expect(summary.sinks).toEqual({ null: 4 });
    expect(pipeline.elements.map((one) => one.name)).toEqual(["pattern", "scale", "null"]);
    expectHome(pipeline);
  });

  test("names elements, branches at a tee and joins at a funnel", async () => {
    const text =
      "pattern frames=3 ! tee name=t ! queue ! f.  t. ! queue max=2 ! funnel name=f ! null name=end   t. ! null";
    const { pipeline } = pipelineFromText(text);
    const summary = await pipeline.run();
    expect(summary.sinks).toEqual({ end: 6, null: 3 });
    expect(pipeline.elements.map((one) => one.name)).toContain("queue2");
  });

  test("keeps spaces in quotes, and counts places in the text as it is", () => {
    expect(splitWords(`a "b c"  d='e f'g`)).toEqual([
      { text: "a", at: 0, length: 1 },
      { text: "b c", at: 2, length: 5 },
      { text: "d=e fg", at: 9, length: 8 },
    ]);
    const { pipeline } = pipelineFromText(`file "my clip.mp4" ! decode ! null`);
    expect(pipeline.elements[0]).toMatchObject({ path: "my clip.mp4" });
  });

  test("gives values of every kind to the elements", () => {
    const { pipeline } = pipelineFromText(
      "rawvideo - format=nv12 size=64x48 fps=30000/1001 ! workers ./m.mjs n=3 writes=yes ! null limit=7 retainedBuffers=2",
    );
    const sink = pipeline.elements.at(-1) as NullSink;
    expect(sink).toBeInstanceOf(NullSink);
    expect(sink.retainedBuffers).toBe(2);
    expect(pipeline.elements[1]!.role).toBe("3 threads, up to 6 frames in work");
  });

  test("points at the word that is wrong", () => {
    expect(refusal("pattern ! scal ! null")).toEqual(["scal", 'there is no element "scal"; did you mean "scale"?']);
    expect(refusal("pattern ! xyzzyplugh ! null")[1]).toMatch(
      /^there is no element "xyzzyplugh"; there are file, decode/,
    );
    expect(refusal("pattern widht=3 ! null")).toEqual([
      "widht=3",
      '"pattern" has no property "widht"; did you mean "width"?',
    ]);
    expect(refusal("pattern ! identity x=3 ! null")).toEqual(["x=3", '"identity" has no property "x"']);
    expect(refusal("pattern frames=many ! null")).toEqual(["frames=many", 'frames is a whole number, not "many"']);
    expect(refusal("pattern fps=0 ! null")[0]).toBe("fps=0");
    expect(refusal("rawvideo a size=3 ! null")).toEqual(["size=3", 'size is width x height like 1920x1080, not "3"']);
    expect(refusal("rawvideo a fps=1/0 ! null")[0]).toBe("fps=1/0");
    expect(refusal("workers m writes=maybe ! null")[0]).toBe("writes=maybe");
    expect(refusal("file ! decode")).toEqual(["file", '"file" needs path: file PATH [block=]']);
    expect(refusal("file a b ! decode")[0]).toBe("b");
    expect(refusal("pattern null")).toEqual([
      "null",
      '"pattern" takes no such argument; is there a "!" missing in front of it? (pattern [width=] [height=] [format=] [fps=] [frames=])',
    ]);
    expect(refusal("pattern format=YUYV ! null")[1]).toMatch(/must be one of/);
  });

  test("refuses what is out of range, given twice, or unknown, at its own word", () => {
    expect(refusal("pattern width=0 ! null")).toEqual(["width=0", 'width is a whole number from 1 to 32768, not "0"']);
    expect(refusal("pattern ! scale height=0 ! null")[0]).toBe("height=0");
    expect(refusal("pattern ! workers m n=0 ! null")).toEqual(["n=0", 'n is a whole number from 1 to 19, not "0"']);
    expect(refusal("pattern ! contactsheet a.png tiles=401")[0]).toBe("tiles=401");
    expect(refusal("pattern ! encode a.mp4 bitrate=1")[0]).toBe("bitrate=1");
    expect(refusal("pattern width=3 width=4 ! null")).toEqual(["width=4", "width is given twice"]);
    expect(refusal("file a.mp4 path=b.mp4 ! decode ! null")).toEqual(["path=b.mp4", "path is given twice"]);
    expect(refusal("pattern name=a name=b ! null")).toEqual([
      "name=b",
      'this "pattern" is given two names: "a" and "b"',
    ]);
    expect(refusal("pattern nmae=a ! null")).toEqual([
      "nmae=a",
      '"pattern" has no property "nmae"; did you mean "name"?',
    ]);
    expect(refusal("pattern ! encode a.mp4 codec=hevd")[1]).toMatch(/did you mean "hevc"\?$/);
    for (const key of ["toString", "constructor", "hasOwnProperty"]) {
      expect(refusal(`pattern ${key}=1 ! null`)[1]).toContain(`has no property "${key}"`);
    }
  });

  test("names a property as it was written, never an option inside the library", () => {
    const texts = ["queue max=0", "queue full=no", "null retainedBuffers=9999", "null limit=0", "scale width=99999"];
    for (const text of texts) expect(refusal(`pattern ! ${text} ! null`)[1]).not.toContain("options.");
  });

  test("points at what cannot be linked", () => {
    expect(refusal("pattern ! decode ! null")[0]).toBe("decode");
    expect(refusal("pattern ! null ! null")).toEqual([
      "null",
      '"null" has no output; a tee gives one stream to several',
    ]);
    expect(refusal("pattern name=a ! tee name=t ! identity name=i ! t.")[1]).toMatch(/cycle/);
  });

  test("points at joints without ends, names that are taken or unknown, quotes that stay open", () => {
    expect(refusal("! null")).toEqual(["!", 'there is nothing in front of this "!"']);
    expect(refusal("pattern ! ! null")[0]).toBe("!");
    expect(refusal("pattern !")).toEqual(["!", 'there is nothing behind this "!"']);
    expect(refusal("pattern name=a ! null name=a")).toEqual(["null", 'there is an element named "a" already']);
    expect(refusal("pattern name=1 ! null")[0]).toBe("name=1");
    expect(refusal("pattern ! t.")).toEqual([
      "t.",
      'no element has the name "t"; add name=t to the element that is meant',
    ]);
    expect(refusal('file "a ! decode')).toEqual(['"', "this quote is not closed"]);
    expect(() => pipelineFromText("  ")).toThrow(/the pipeline is empty/);
  });

  test("cuts a long text around the word", () => {
    const text = `pattern ! ${"identity ! ".repeat(30)}nul`;
    try {
      pipelineFromText(text);
      expect.unreachable();
    } catch (error) {
      const [line, marks] = (error as { details: { excerpt: string } }).details.excerpt.split("\n");
      expect(line!.length).toBeLessThan(90);
      expect(line!.slice(marks!.indexOf("^"))).toBe("nul");
    }
  });

  test("an error while running points at the element that it happened in", async () => {
    const text = "file no-such-file.mp4 ! decode ! null";
    const parsed = pipelineFromText(text);
    const error = parsed.pointAt(await parsed.pipeline.run().catch((thrown: unknown) => thrown)) as {
      details: { at: number };
    };
    expect(text.slice(error.details.at).startsWith("decode")).toBe(true);
  });

  test("whatever is written, the answer is a pipeline or an error that points into the text", REPEATED, () => {
    const word = fc.oneof(
      fc.constantFrom(
        "!",
        "!",
        "pattern",
        "null",
        "tee",
        "name=t",
        "t.",
        "scale",
        "width=3",
        "file",
        "queue",
        "funnel",
        '"',
        "x='",
        "max=2",
        "=",
      ),
      fc.string({ maxLength: 6 }),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 14 }), (words) => {
        const text = words.join(" ");
        try {
          pipelineFromText(text);
        } catch (error) {
          if (!isMillpondError(error, "ERR_INVALID_ARG_VALUE")) throw error;
          const { at, length } = error.details as { at: number; length: number };
          expect(at).toBeGreaterThanOrEqual(0);
          expect(at + length).toBeLessThanOrEqual(Math.max(text.length, 1));
        }
      }),
      { numRuns: times(300, 2000), seed: seedOf("pipeline text") },
    );
  });

  test("suggests the nearest name, and none where none is near", () => {
    expect(nearest("queu", ["queue", "tee"])).toBe("queue");
    expect(nearest("zzzzzz", ["queue", "tee"])).toBeUndefined();
  });
});

describe("a reference that stands alone", () => {
  test("is refused where it stands, and not ignored", () => {
    expect(() => pipelineFromText("pattern frames=1 ! tee name=t ! null t.")).toThrow(/nothing is linked to "t\."/);
  });
});
