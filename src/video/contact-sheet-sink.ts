/**
 * ContactSheetSink: pictures from all over the stream on one sheet, drawn at the end. Only frames that may come onto
 * the sheet are looked at: those that do where a stage upstream knows how many come (a video file), the fewer the
 * longer the stream gets where none does.
 */

import type { MediaBuffer } from "../media/buffer/media-buffer.ts";
import { findVideoFormat, videoFormatNames } from "../media/video/format.ts";
import { type FrameLayout, PLAIN_PRESENTATION, type Presentation } from "../media/video/frame-layout.ts";
import { VideoInfo } from "../media/video/info.ts";
import { checkName } from "../pipeline/base/element.ts";
import type { Maybe } from "../pipeline/base/pad.ts";
import { Sink } from "../pipeline/base/sink.ts";
import { Caps } from "../pipeline/caps.ts";
import type { StreamFormat, VideoStream } from "../pipeline/stream-format.ts";
import { callback, readOptions, wholeNumber } from "../util/validate.ts";
import { ContactSheet } from "./contact-sheet.ts";
import { canMeasure, createMeasures, type Measures, measureFrame } from "./measure.ts";
import { libraryConverter, type PictureConverter } from "./picture-converter.ts";
import { drawThumbnail, drawUpright, type ThumbSize, thumbSize } from "./thumbnail.ts";

/** How a {@link ContactSheetSink} is made. */
export interface ContactSheetSinkOptions {
  /** For messages. */
  name?: string;
  /** Most pictures on the sheet; default 20. */
  tiles?: number;
  /** Called at the end with the sheet: width, height and RGB bytes. Not called for an empty stream. */
  onSheet?: (sheet: { width: number; height: number; rgb: Uint8Array }) => void | Promise<void>;
}

/** The present format, with what is reused from picture to picture. */
interface Prepared {
  readonly layout: FrameLayout;
  readonly presentation: Presentation;
  readonly size: ThumbSize;
  /** The picture as RGBA before it is turned, by a library; undefined: out of the measures. */
  readonly scaled: { readonly converter: PictureConverter; readonly rgba: Uint8Array } | undefined;
  readonly measures: Measures;
  readonly rgb: Uint8Array;
}

/** Chooses pictures while they pass; keeps thumbnails of its own, and no buffer. */
export class ContactSheetSink extends Sink {
  readonly #onSheet: ContactSheetSinkOptions["onSheet"];
  readonly #tiles: number;
  #sheet: ContactSheet;
  #prepared: Prepared | undefined;
  /** Counts the formats, so that a converter that comes late is not taken for another one. */
  #plan = 0;
  #frame = 0;

  /** Throws `ERR_INVALID_ARG_*`, `ERR_OUT_OF_RANGE`. */
  constructor(options: ContactSheetSinkOptions = {}) {
    const { name, tiles = 20, onSheet } = readOptions("options", options, ["name", "tiles", "onSheet"]);
    super(
      checkName("options.name", name),
      Caps.video({ format: videoFormatNames().filter((name) => canMeasure(name) && findVideoFormat(name)) }),
    );
    this.#onSheet = callback("options.onSheet", onSheet);
    this.#tiles = wholeNumber("options.tiles", tiles, 1, 400);
    this.#sheet = new ContactSheet(this.#tiles);
  }

  /** An empty sheet. */
  override start(): void {
    this.#sheet = new ContactSheet(this.#tiles);
    this.#frame = 0;
  }

  /** Prepares thumbnails of that format. */
  override async configure(format: StreamFormat): Promise<void> {
    this.#close();
    const plan = this.#plan;
    const { info, presentation } = format as VideoStream;
    const full: Presentation = { ...PLAIN_PRESENTATION, ...presentation };
    const size = thumbSize(info, full);
    // The stages upstream have started, and know what comes.
    if (this.#frame === 0) this.#sheet = new ContactSheet(this.#tiles, this.expectedBuffers);
    const small = VideoInfo.of({ format: "RGBA", width: size.columns, height: size.rows });
    const converter = await libraryConverter(info, small, full);
    if (plan !== this.#plan) {
      // The run has ended meanwhile.
      converter?.close();
      return;
    }
    this.#prepared = {
      layout: info,
      presentation: full,
      size,
      scaled: converter && { converter, rgba: new Uint8Array(small.size) },
      measures: createMeasures(size.columns, size.rows),
      rgb: new Uint8Array(3 * size.width * size.height),
    };
  }

  #close(): void {
    this.#plan++;
    this.#prepared?.scaled?.converter.close();
    this.#prepared = undefined;
  }

  /** Gives back what it computed with. */
  override stop(): Maybe<void> {
    this.#close();
    return super.stop();
  }

  /** Draws a thumbnail of those pictures that may come onto the sheet. */
  override render(buffer: MediaBuffer): void {
    const frame = this.#frame++;
    if (!this.#sheet.wants(frame)) return;
    const { layout, presentation, size, scaled, measures, rgb } = this.#prepared!;
    const source = buffer.map("read");
    try {
      if (scaled === undefined) {
        measureFrame(source.bytes, layout, size.columns, size.rows, measures, "picture");
        drawThumbnail(measures, size, layout, presentation, rgb);
      } else {
        scaled.converter.run(source.bytes, scaled.rgba);
        drawUpright(scaled.rgba, size, presentation, rgb);
      }
    } finally {
      source.unmap();
    }
    const time = buffer.pts === undefined ? undefined : Number(buffer.pts) / 1e9;
    this.#sheet.offer({ frame, thumbnail: rgb, thumbWidth: size.width, thumbHeight: size.height }, time);
  }

  /** Draws the sheet. */
  override async finish(): Promise<void> {
    const picture = this.#sheet.draw();
    if (picture !== undefined) await this.#onSheet?.(picture);
  }

  /** `up to 20 pictures`. */
  override get role(): string {
    return `up to ${this.#tiles} pictures on a sheet`;
  }
}
