/**
 * ContactSheetSink: pictures from all over the stream on one sheet, drawn at the end. Only frames that may come onto
 * the sheet are looked at: those that do where a stage upstream knows how many come (a video file), the fewer the
 * longer the stream gets where none does.
 */

import type { MediaBuffer } from "../media/buffer/media-buffer.ts";
import { findVideoFormat, videoFormatNames } from "../media/video/format.ts";
import { type FrameLayout, PLAIN_PRESENTATION, type Presentation } from "../media/video/frame-layout.ts";
import { checkName } from "../pipeline/base/element.ts";
import { Sink } from "../pipeline/base/sink.ts";
import { Caps } from "../pipeline/caps.ts";
import type { StreamFormat, VideoStream } from "../pipeline/stream-format.ts";
import { callback, readOptions, wholeNumber } from "../util/validate.ts";
import { ContactSheet } from "./contact-sheet.ts";
import { canMeasure, createMeasures, type Measures, measureFrame } from "./measure.ts";
import { drawThumbnail, type ThumbSize, thumbSize } from "./thumbnail.ts";

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
  readonly measures: Measures;
  readonly rgb: Uint8Array;
}

/** Chooses pictures while they pass; keeps thumbnails of its own, and no buffer. */
export class ContactSheetSink extends Sink {
  readonly #onSheet: ContactSheetSinkOptions["onSheet"];
  readonly #tiles: number;
  #sheet: ContactSheet;
  #prepared: Prepared | undefined;
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
  override configure(format: StreamFormat): void {
    const { info, presentation } = format as VideoStream;
    const full: Presentation = { ...PLAIN_PRESENTATION, ...presentation };
    const size = thumbSize(info, full);
    const measures = createMeasures(size.columns, size.rows);
    // The stages upstream have started, and know what comes.
    if (this.#frame === 0) this.#sheet = new ContactSheet(this.#tiles, this.expectedBuffers);
    this.#prepared = {
      layout: info,
      presentation: full,
      size,
      measures,
      rgb: new Uint8Array(3 * size.width * size.height),
    };
  }

  /** Draws a thumbnail of those pictures that may come onto the sheet. */
  override render(buffer: MediaBuffer): void {
    const frame = this.#frame++;
    if (!this.#sheet.wants(frame)) return;
    const { layout, presentation, size, measures, rgb } = this.#prepared!;
    const source = buffer.map("read");
    try {
      measureFrame(source.bytes, layout, size.columns, size.rows, measures);
    } finally {
      source.unmap();
    }
    drawThumbnail(measures, size, layout, presentation, rgb);
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
