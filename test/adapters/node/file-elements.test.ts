/** Files and frames as stages, where what they read from cannot be closed. */
import { mkdtempSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { FileSource } from "../../../src/adapters/node/file-elements.ts";
import { FramesElement } from "../../../src/adapters/node/frames-element.ts";
import { ChunkReader } from "../../../src/adapters/raw-video/chunk-reader.ts";
import { VideoInfo } from "../../../src/media/video/info.ts";
import { NullSink } from "../../../src/pipeline/elements/null-sink.ts";
import { Pipeline } from "../../../src/pipeline/pipeline.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { mkfifo } from "../../helpers/descriptors.ts";
import { lateRejections } from "../../helpers/late-errors.ts";
import { expectHome, turns } from "../../pipeline/kit.ts";

const folder = mkdtempSync(join(tmpdir(), "millpond-files-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const { close } = ChunkReader.prototype;
afterEach(() => {
  ChunkReader.prototype.close = close;
});

describe.skipIf(process.platform === "win32")("a pipe that cannot be closed", () => {
  it.each(["has enough", "aborts"])("fails the run of a sink that %s, and leaves no rejection behind", async (why) => {
    const path = join(folder, `${why.replace(" ", "-")}.pipe`);
    mkfifo(path);
    const writer = await open(path, "r+");
    await writer.write(new Uint8Array(64));
    // Not by a spy, which looks at the promises that it passes on, so that none counts as unhandled.
    ChunkReader.prototype.close = async function (this: ChunkReader) {
      await close.call(this);
      throw new Error("it cannot be closed");
    };
    const abort = new AbortController();
    const sink = new NullSink(why === "has enough" ? { limit: 1 } : {});
    const render = sink.render.bind(sink);
    sink.render = (buffer) => {
      render(buffer);
      if (why === "aborts") abort.abort(new Error("aborted"));
    };
    const pipeline = new Pipeline().link(new FileSource(path, { blockSize: 64 }), sink);
    let ended: string | undefined;
    const late = await lateRejections(async () => {
      ended = await codeOf(pipeline.run({ signal: abort.signal }));
    });
    expect(late).toEqual([]);
    expect(ended).toBe(why === "aborts" ? "Error: aborted" : "Error: it cannot be closed");
    expectHome(pipeline);
    await writer.close();
  });
});

describe("a reader of a stream whose destroy() throws", () => {
  it("is closed with that error, and the read that waits sees the end", async () => {
    const stream = new Readable({ read: () => {} });
    const reader = new ChunkReader(stream);
    let filled: number | undefined;
    void reader.fill(new Uint8Array(8), 0, 8).then((count) => {
      filled = count;
    });
    await turns(2);
    const destroy = stream.destroy.bind(stream);
    stream.destroy = () => {
      throw new Error("of destroy()");
    };
    expect(await codeOf(reader.close())).toBe("Error: of destroy()");
    await turns(2);
    expect(filled).toBe(0);
    destroy();
  });
});

describe("frames of which one cannot be closed", () => {
  it.each(["a run that ends", "a seek"])("are closed with their source at %s", async (when) => {
    const layout = VideoInfo.of({ format: "GRAY8", width: 4, height: 4 });
    let closes = 0;
    let isFrameOpen = false;
    const frame = {
      layout,
      presentation: { rotation: 0, flip: false, pixelAspect: 1, matrix: undefined, fullRange: false },
      pts: 0n,
      duration: undefined,
      copyTo: async () => true,
      close: () => {
        isFrameOpen = false;
        throw new Error("of the frame");
      },
    };
    const frames = {
      shortfall: undefined,
      concealed: 0,
      starvedMs: 0,
      next: async () => {
        isFrameOpen = true;
        return frame;
      },
      close: async () => {
        closes++;
      },
    };
    const element = new FramesElement(async () => ({ frames }) as never, "frames");
    const pipeline = new Pipeline().link(element, new NullSink());
    if (when === "a seek") {
      element.attach({ signal: new AbortController().signal, stopping: false } as never);
      await element.start();
      await element.next();
      expect(() => element.onFlush()).toThrow("of the frame");
      await element.stop();
      element.attach(null);
    } else expect(await codeOf(pipeline.negotiate())).toBe("Error: of the frame");
    expect({ closes, isFrameOpen }).toEqual({ closes: 1, isFrameOpen: false });
  });
});
