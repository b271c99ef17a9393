/** The file that `workers M results=F` writes. */
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { pipelineFromText } from "../../../src/adapters/node/factories.ts";
import { record } from "../../../src/observe/recorder.ts";
import { nextTurn } from "../../../src/pipeline/base/element.ts";
import type { NullSink } from "../../../src/pipeline/elements/null-sink.ts";
import type { Pipeline } from "../../../src/pipeline/pipeline.ts";
import { mkfifo } from "../../helpers/descriptors.ts";
import { Numbers } from "../../pipeline/kit.ts";

const folder = mkdtempSync(join(tmpdir(), "millpond-results-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let number = 0;
function named(suffix: string): string {
  return join(folder, `f${number++}${suffix}`);
}
function moduleOf(text: string): string {
  const file = named(".mjs");
  writeFileSync(file, text);
  return file;
}
function countOf(pipeline: Pipeline, name: string): number {
  return (pipeline.elements.find((element) => element.name === name) as NullSink).count;
}
function linesOf(file: string): { frame: number; result: unknown }[] {
  return readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

describe("results of a workers stage", () => {
  test("have every digit of a BigInt, also of an object of one", async () => {
    const out = named(".jsonl");
    const module = moduleOf(
      "export default ({ index }) => [2n ** 53n - 1n, -(2n ** 53n), 10n ** 400n, { a: [Object(3n)] }, Object(10n ** 20n)][index];",
    );
    await pipelineFromText(
      `pattern width=8 height=8 frames=5 ! workers ${module} n=1 results=${out} ! null`,
    ).pipeline.run();
    expect(linesOf(out).map(({ result }) => result)).toEqual([
      2 ** 53 - 1,
      String(-(2n ** 53n)),
      String(10n ** 400n),
      { a: [3] },
      String(10n ** 20n),
    ]);
  });

  test("are what JSON makes of values that it has no word for", async () => {
    const out = named(".jsonl");
    const module = moduleOf(
      "export default ({ index }) => [undefined, [undefined, NaN, -Infinity], new Map([[1, 2]]), { a: undefined, b: new Set([1]) }, new Uint8Array([7]), new Date(0)][index];",
    );
    await pipelineFromText(
      `pattern width=8 height=8 frames=6 ! workers ${module} n=1 results=${out} ! null`,
    ).pipeline.run();
    expect(readFileSync(out, "utf8").trim().split("\n")).toEqual([
      '{"frame":0}',
      '{"frame":1,"result":[null,null,null]}',
      '{"frame":2,"result":{}}',
      '{"frame":3,"result":{"b":{}}}',
      '{"frame":4,"result":{"0":7}}',
      '{"frame":5,"result":"1970-01-01T00:00:00.000Z"}',
    ]);
  });

  test("go on behind the frames that a seek dropped before a thread had them", async () => {
    const out = named(".jsonl");
    const module = moduleOf("export default ({ bytes }) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);");
    const text = `tee name=t ! workers ${module} n=1 results=${out} name=w ! null name=end  t. ! null name=other`;
    const { pipeline } = pipelineFromText(text);
    // It has no end before the last seek: how far it comes between two of them is the machine's matter.
    const source = new Numbers("src", Infinity);
    pipeline.link(source, pipeline.elements.find(({ name }) => name === "t")!);
    const run = pipeline.run();
    for (let seek = 1; seek <= 20; seek++) {
      // What a seek drops is a copy that has just begun, so the places are many.
      while (countOf(pipeline, "other") < seek * 5) await nextTurn();
      for (let turn = 0; turn < seek % 4; turn++) await nextTurn();
      if (seek === 20) source.count = 60;
      await pipeline.seek(0);
    }
    await run;
    expect(linesOf(out).at(-1)!.result).toBe(59);
  });

  test("that nobody takes hold the frames back", async () => {
    const fifo = named(".fifo");
    mkfifo(fifo);
    const size = 50_000;
    const module = moduleOf(`const text = "x".repeat(${size}); export default () => text;`);
    const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    const { pipeline } = pipelineFromText(
      `pattern width=8 height=8 frames=100 ! workers ${module} n=1 results=${fifo} ! null name=end`,
    );
    let isOver = false;
    const run = pipeline.run().finally(() => {
      isOver = true;
    });
    const bytes = Buffer.alloc(65_536);
    let [read, most] = [0, 0];
    while (!isOver) {
      // The frames go as far as they can before the next bytes are taken.
      for (let turn = 0, last = -1; turn < 200; turn++) {
        await nextTurn();
        const count = countOf(pipeline, "end");
        if (count > last) turn = 0;
        last = count;
      }
      most = Math.max(most, countOf(pipeline, "end") * size - read);
      try {
        read += readSync(reader, bytes);
      } catch (error) {
        expect((error as NodeJS.ErrnoException).code).toBe("EAGAIN");
      }
    }
    await run;
    closeSync(reader);
    // A pipe has 65,536 bytes, as many may wait for it, and a frame more is on its way.
    expect(most).toBeLessThanOrEqual(2 * 65_536 + 4 * size);
    expect(countOf(pipeline, "end")).toBe(100);
  });

  test("are no reason for the threads not to hand in what they recorded", async () => {
    const out = named(".jsonl");
    const module = moduleOf("export default () => 1;");
    const recorder = record({ thread: "here" });
    await pipelineFromText(
      `pattern width=8 height=8 frames=10 ! workers ${module} n=2 name=look results=${out} ! null`,
    ).pipeline.run();
    recorder.stop();
    expect(recorder.recordings().map(({ thread }) => thread)).toEqual(["here", "look 1", "look 2"]);
    expect(linesOf(out)).toHaveLength(10);
  });
});
