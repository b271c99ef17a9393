/** The factories of the stages that compute on pixels. */
import type { VideoPixelFormat } from "../media/video/format.ts";
import { format, height, named, pick, width } from "../pipeline/elements/factories.ts";
import type { ElementFactory } from "../pipeline/text.ts";
import { VideoScale } from "./scale.ts";

const portable = { kind: "boolean", help: "true: computed in JavaScript, the same on every machine" } as const;

/** The words for the stages of `millpond/video`. */
export const VIDEO_ELEMENTS: readonly ElementFactory[] = [
  {
    word: "scale",
    help: "changes the size, and the format where one is given or needed",
    properties: { width, height, format, portable },
    create: (p, name) =>
      new VideoScale({
        ...named(name),
        ...pick<number>(p, "width"),
        ...pick<number>(p, "height"),
        ...pick<VideoPixelFormat>(p, "format"),
        ...pick<boolean>(p, "portable"),
      }),
  },
  {
    word: "convert",
    help: "changes the pixel format to the one given, or to one that the next stages take",
    properties: { format, portable },
    positional: ["format"],
    create: (p, name) =>
      new VideoScale({
        ...named(name),
        ...pick<VideoPixelFormat>(p, "format"),
        ...pick<boolean>(p, "portable"),
      }),
  },
];
