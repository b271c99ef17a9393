/** Which frames a contact sheet asks for. */
import { describe, expect, it, vi } from "vitest";
import { FileSource } from "../../src/adapters/node/file-elements.ts";
import { DecodeElement } from "../../src/adapters/node/frames-element.ts";
import { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import { PLAIN_PRESENTATION } from "../../src/media/video/frame-layout.ts";
import { VideoInfo } from "../../src/media/video/info.ts";
import type { Element } from "../../src/pipeline/base/element.ts";
import { Identity } from "../../src/pipeline/elements/pass-through.ts";
import { PatternSource } from "../../src/pipeline/elements/pattern-source.ts";
import { Queue } from "../../src/pipeline/elements/queue.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { ContactSheet } from "../../src/video/contact-sheet.ts";
import { ContactSheetSink } from "../../src/video/contact-sheet-sink.ts";
import { createMeasures } from "../../src/video/measure.ts";
import { VideoScale } from "../../src/video/scale.ts";
import { drawThumbnail, drawUpright, thumbSize } from "../../src/video/thumbnail.ts";
import { CLIP } from "../cli/command.ts";

const thumbnail = new Uint8Array(3);

/** The frames whose pictures are made, of a stream that has so many. */
function made(sheet: ContactSheet, frames: number): number[] {
  const all: number[] = [];
  for (let frame = 0; frame < frames; frame++) {
    if (!sheet.wants(frame)) continue;
    all.push(frame);
    sheet.offer({ frame, thumbnail, thumbWidth: 1, thumbHeight: 1 }, undefined);
  }
  return all;
}

describe("a contact sheet", () => {
  it("of a stream of known length makes the pictures that it shows and no other, evenly", () => {
    for (let tiles = 1; tiles <= 40; tiles++) {
      for (let frames = 1; frames <= 300; frames++) {
        const pictures = made(new ContactSheet(tiles, frames), frames);
        const count = Math.min(tiles, frames);
        const even = Array.from({ length: count }, (_, i) => Math.floor((i * Math.max(frames, tiles)) / tiles));
        // Twelve thousand times: only what differs is compared at length.
        if (pictures.join() !== even.join()) expect(pictures).toEqual(even);
      }
    }
  });

  it("of a stream of unknown length makes fewer the longer it gets", () => {
    expect(made(new ContactSheet(20), 80).length).toBe(80);
    expect(made(new ContactSheet(20), 100_000).length).toBeLessThan(81 + 40 * Math.log2(100_000 / 80));
  });

  it("has pictures from all over a stream that is shorter or longer than was told", () => {
    expect(made(new ContactSheet(10, 100), 50)).toEqual([0, 10, 20, 30, 40]);
    const longer = new ContactSheet(10, 100);
    expect(made(longer, 100_000).length).toBeLessThan(300);
    expect(longer.draw()).toBeDefined();
  });
});

describe("a contact sheet at the end of a pipeline", () => {
  /** Pictures that were looked at. */
  async function looks(...stages: Element[]): Promise<number> {
    const map = vi.spyOn(MediaBuffer.prototype, "map");
    try {
      const pipeline = new Pipeline();
      stages.slice(1).forEach((stage, i) => void pipeline.link(stages[i]!, stage));
      await pipeline.run();
      // A source maps what it fills for writing.
      return map.mock.calls.filter(([access]) => access === "read").length;
    } finally {
      map.mockRestore();
    }
  }

  it("looks at the frames of a file that it shows, and at no other, also behind other stages", async () => {
    expect(await looks(new FileSource(CLIP), new DecodeElement(), new ContactSheetSink({ tiles: 5 }))).toBe(5);
    const stages = [new FileSource(CLIP), new DecodeElement(), new Queue(), new Identity()];
    // The scaler looks at each frame.
    const scale = new VideoScale({ width: 160 });
    expect(await looks(...stages, scale, new ContactSheetSink({ tiles: 7 }))).toBe(75 + 7);
  });

  it("looks at what it may need where nobody knows how many come", async () => {
    const source = new PatternSource({ format: "I420", width: 64, height: 36, frames: 30 });
    expect(source.expectedBuffers).toBeUndefined();
    expect(await looks(source, new ContactSheetSink({ tiles: 2 }))).toBeGreaterThan(8);
  });
});

describe("a thumbnail", () => {
  it.each([0, 90, 180, 270] as const)(
    "turned by %d degrees is the same out of averages and out of RGBA, mirrored too",
    (rotation) => {
      const layout = VideoInfo.of({ format: "RGBA", width: 14, height: 10 });
      for (const flip of [false, true]) {
        const shown = { ...PLAIN_PRESENTATION, rotation, flip };
        const size = thumbSize(layout, shown);
        const cells = size.columns * size.rows;
        const measures = { ...createMeasures(size.columns, size.rows), isRgb: true };
        const rgba = new Uint8Array(4 * cells).fill(255);
        for (let cell = 0; cell < cells; cell++) {
          measures.first[cell] = rgba[4 * cell] = cell;
          measures.second[cell] = rgba[4 * cell + 1] = 255 - cell;
          measures.third[cell] = rgba[4 * cell + 2] = 2 * cell;
        }
        const [a, b] = [new Uint8Array(3 * cells), new Uint8Array(3 * cells)];
        drawThumbnail(measures, size, layout, shown, a);
        drawUpright(rgba, size, shown, b);
        expect(Buffer.compare(a, b)).toBe(0);
        expect(new Set(a).size).toBeGreaterThan(cells);
      }
    },
  );
});
