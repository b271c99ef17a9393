/**
 * Who computes the pixels of a VideoScale: what an adapter offers, once it is loaded, and this package's own code else.
 */
import { expect, it } from "vitest";
import { NullSink } from "../../src/pipeline/elements/null-sink.ts";
import { PatternSource } from "../../src/pipeline/elements/pattern-source.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { ContactSheetSink } from "../../src/video/contact-sheet-sink.ts";
import { type ConverterMaker, offerConverters, portableConverter } from "../../src/video/picture-converter.ts";
import { VideoScale } from "../../src/video/scale.ts";

const scale = new VideoScale({ width: 32 });
const source = new PatternSource({ format: "I420", width: 64, height: 36, frames: 3 });
const pipeline = new Pipeline().link(source, scale, new NullSink());

function play(signal?: AbortSignal): Promise<unknown> {
  return pipeline.run(signal === undefined ? {} : { signal });
}

it("is the library that was offered, closed at the end of the run, or nobody's code but ours", async () => {
  // Nothing is offered.
  await play();
  expect(scale.role).toMatch(/by millpond$/);

  // Not installed: asked for once, and again only when it is offered again.
  let loads = 0;
  offerConverters(async () => void loads++ as undefined);
  await play();
  await play();
  expect([loads, scale.role]).toEqual([1, expect.stringMatching(/by millpond$/)]);

  // It is loaded while the run ends: what comes late is closed, and no other run takes it.
  const events: string[] = [];
  let number = 0;
  const maker: ConverterMaker = (from, to, shown) => {
    const id = ++number;
    events.push(`made ${id}`);
    const own = portableConverter(from, to, shown);
    return { ...own, by: `library ${id}`, close: () => void events.push(`closed ${id}`) };
  };
  let finish: (maker: ConverterMaker) => void = () => {};
  let asked: () => void = () => {};
  const isAsked = new Promise<void>((resolve) => {
    asked = resolve;
  });
  offerConverters(
    () =>
      new Promise((resolve) => {
        finish = resolve;
        asked();
      }),
  );
  const abort = new AbortController();
  const ended = play(abort.signal).catch((error: unknown) => error);
  await isAsked;
  abort.abort(new Error("enough"));
  finish(maker);
  expect(String(await ended)).toMatch(/enough/);
  expect(events).toEqual(["made 1", "closed 1"]);

  await play();
  expect(scale.role).toMatch(/by library 2$/);
  expect(events).toEqual(["made 1", "closed 1", "made 2", "closed 2"]);

  // The one that is there stays.
  offerConverters(async () => {
    throw new Error("never asked");
  });
  await play();
  expect(scale.role).toMatch(/by library 3$/);
  expect(events.slice(4)).toEqual(["made 3", "closed 3"]);

  // A contact sheet asks too: one converter for its format, closed at the end.
  let drawn = 0;
  const sheet = new ContactSheetSink({ tiles: 2, onSheet: () => void drawn++ });
  const frames = new PatternSource({ format: "I420", width: 64, height: 36, frames: 3 });
  await new Pipeline().link(frames, sheet).run();
  expect([drawn, events.slice(6)]).toEqual([1, ["made 4", "closed 4"]]);
});
