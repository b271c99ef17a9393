// Shares its realm with other files: nothing that it changes outlives it.
/** What hooks of a stage answer: an answer of the wrong kind fails the run at the format, and names stage and hook. */
import { describe, expect, test } from "vitest";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import type { Element } from "../../src/pipeline/base/element.ts";
import type { InputPad, OutputPad } from "../../src/pipeline/base/pad.ts";
import { Source } from "../../src/pipeline/base/source.ts";
import { Transform, type TransformMode } from "../../src/pipeline/base/transform.ts";
import { Caps } from "../../src/pipeline/caps.ts";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { Tee } from "../../src/pipeline/elements/tee.ts";
import { registerMetaMerger } from "../../src/pipeline/negotiate/allocation-query.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import type { StreamFormat } from "../../src/pipeline/stream-format.ts";
import { code } from "../pools/buffer/pools.ts";
import { BLOCK, Collector, expectHome, Numbers } from "./kit.ts";

const WRONG: readonly [string, () => unknown][] = [
  ["undefined", () => undefined],
  ["null", () => null],
  ["a plain object", () => ({})],
  ["a text", () => "video"],
  ["a promise", () => Promise.resolve(Caps.any)],
];

/** A stage that passes on, with one hook of the test's. */
class Stage extends Transform {
  buffers = 0;
  constructor(hook: string, answer: () => unknown, mode?: TransformMode) {
    super("stage", { mode: mode ?? "passthrough" });
    Object.defineProperty(this, hook, { value: answer });
  }
}

const around = (stage: Element): Pipeline => new Pipeline().link(new Numbers("numbers", 2), stage, new NullSink());

async function refused(pipeline: Pipeline, name: string): Promise<void> {
  await expect(pipeline.run()).rejects.toMatchObject({ code: "ERR_INVALID_ARG_TYPE", details: { name } });
  expect(pipeline.failedIn).toBe("stage");
  expectHome(pipeline);
}

/** A source that asks what is behind it. */
class Asking extends Numbers {
  override next(): StreamFormat | undefined {
    this.out.peerCaps();
    return super.next();
  }
}

describe("an answer of the wrong kind fails the run, which names the stage and its hook:", () => {
  for (const hook of ["acceptedCaps", "inputsFor"]) {
    test.each(WRONG)(`${hook}() that answers %s`, async (_, answer) => {
      const pipeline = new Pipeline().link(new Asking("asking", 2), new Stage(hook, answer), new NullSink());
      await refused(pipeline, `what ${hook}() of "stage" answered`);
    });
  }

  test.each(["acceptedCaps", "inputsFor"])(
    "%s() that answers a promise: what it rejects with is the error",
    async (hook) => {
      const stage = new Stage(hook, () => Promise.reject(new Error("later")));
      const pipeline = new Pipeline().link(new Asking("asking", 2), stage, new NullSink());
      await expect(pipeline.run()).rejects.toThrow("later");
      expect(pipeline.failedIn).toBe("stage");
    },
  );

  test.each(WRONG.slice(0, 4))("outputFor() that answers %s, before configure() sees it", async (_, answer) => {
    let configured = 0;
    class Counts extends Stage {
      override configure(): void {
        configured++;
      }
    }
    await refused(around(new Counts("outputFor", answer)), 'what outputFor() of "stage" answered');
    expect(configured).toBe(0);
  });

  test.each([
    ["copy", "transform"],
    ["in-place", "transformInPlace"],
  ] as const)("configure() that answers %s where there is no %s()", async (mode, hook) => {
    const stage = new Stage("configure", () => mode);
    const pipeline = around(stage);
    await refused(pipeline, `${hook}() of "stage"`);
    // At the format: no buffer has come, and the mode is as it was.
    expect([stage.in.buffers, stage.mode]).toEqual([0, "passthrough"]);
  });

  test("configure() that answers a mode that there is not", async () => {
    await expect(around(new Stage("configure", () => "fast")).run()).rejects.toMatchObject({
      code: "ERR_INVALID_ARG_VALUE",
      details: { name: 'what configure() of "stage" answered' },
    });
  });

  test.each([
    ["copy", "transform", undefined],
    ["in-place", "transformInPlace", 5],
    ["passthrough", "inspect", null],
  ] as const)("a stage in mode %s whose %s() is %s", async (mode, hook, value) => {
    const stage = new Stage("unused", () => undefined, mode);
    Object.defineProperty(stage, hook, { value });
    await refused(around(stage), `${hook}() of "stage"`);
    expect(stage.in.buffers).toBe(0);
  });

  test("a mode whose hook is not there is nothing to a stage with a chain() of its own", async () => {
    class Own extends Transform {
      override chain(buffer: MediaBuffer): void | Promise<void> {
        return this.out.push(buffer);
      }
      override proposeAllocation(): boolean {
        return false;
      }
    }
    const source = new Numbers("numbers", 1);
    await new Pipeline().link(source, new Own("own"), new NullSink()).run();
    expect(source.made).toBe(1);
  });

  test.each(WRONG.slice(1, 4))("next() that answers %s, also behind a good format", async (_, answer) => {
    for (const good of [0, 2]) {
      class Wrong extends Source {
        made = 0;
        next(): StreamFormat | undefined {
          return this.made++ <= good - 1 ? BLOCK : (answer() as never);
        }
        override fill(): void {}
      }
      await refused(new Pipeline().link(new Wrong("stage"), new NullSink()), 'what next() of "stage" answered');
    }
  });

  test.each(WRONG.slice(1, 4))("create() that answers %s", async (_, answer) => {
    class Wrong extends Source {
      next(): StreamFormat {
        return BLOCK;
      }
      override create(): MediaBuffer {
        return answer() as never;
      }
    }
    await refused(new Pipeline().link(new Wrong("stage"), new NullSink()), 'what create() of "stage" answered');
  });

  test("a source that has neither fill() nor create()", async () => {
    class Empty extends Source {
      next(): StreamFormat {
        return BLOCK;
      }
    }
    await refused(new Pipeline().link(new Empty("stage"), new NullSink()), 'fill() of "stage"');
  });

  test("agree() with what are no caps", async () => {
    class Agrees extends Numbers {
      override next(): StreamFormat | undefined {
        this.agree({} as never);
        return undefined;
      }
    }
    await expect(new Pipeline().link(new Agrees("stage", 1), new NullSink()).run()).rejects.toMatchObject({
      code: "ERR_INVALID_ARG_TYPE",
      details: { name: "mine" },
    });
  });

  test.each([null, {}, "out"])(
    "freeOutput() and freeInput() that answer %s, and the pipeline is as it was",
    (answer) => {
      class Pads extends Numbers {
        override freeOutput(): OutputPad {
          return answer as never;
        }
      }
      class Takes extends NullSink {
        override freeInput(): InputPad {
          return answer as never;
        }
      }
      const pipeline = new Pipeline();
      expect(code(() => pipeline.link(new Pads("stage", 1), new NullSink()))).toBe("ERR_INVALID_ARG_TYPE");
      expect(code(() => pipeline.link(new Numbers("numbers", 1), new Takes()))).toBe("ERR_INVALID_ARG_TYPE");
      expect(pipeline.elements).toEqual([]);
    },
  );

  test.each([
    ["a number", 5],
    ["a list", [1]],
    ["a promise", Promise.resolve({})],
  ])("the merger of a meta that answers %s", async (what, answer) => {
    const api = `test.hook-answers.${what}`;
    registerMetaMerger(api, () => answer as never);
    const pipeline = new Pipeline();
    const tee = new Tee();
    pipeline.link(new Numbers("numbers", 1), tee);
    for (const name of ["a", "b"]) {
      const propose = (query: { addMeta(api: string, params: object): void }): boolean => {
        query.addMeta(api, { from: name });
        return true;
      };
      pipeline.link(tee, new Collector(name, { propose: propose as never }));
    }
    await expect(pipeline.run()).rejects.toMatchObject({
      code: "ERR_INVALID_ARG_TYPE",
      details: { name: `what the merger of meta "${api}" answered` },
    });
  });
});
