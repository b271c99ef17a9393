/**
 * COMMON_ELEMENTS: how the stages that run everywhere are made from text. `name=value` sets a property, see text.ts.
 */
import { type VideoPixelFormat, videoFormatNames } from "../../media/video/format.ts";
import { Caps } from "../caps.ts";
import type { Fraction } from "../stream-format.ts";
import type { ElementFactory, Properties, PropertySpec } from "../text.ts";
import { Funnel } from "./funnel.ts";
import { NullSink } from "./null-sink.ts";
import { CapsFilter, Identity } from "./pass-through.ts";
import { PatternSource } from "./pattern-source.ts";
import { Queue } from "./queue.ts";
import { Tee } from "./tee.ts";

// A frame of this width and height is 1.5 GiB of I420; a larger number is a mistake in typing.
/** @internal A property of elements that make or change pictures. */
export const width = { kind: "whole", help: "columns", min: 1, max: 32_768 } as const;
/** @internal A property of elements that make or change pictures. */
export const height = { kind: "whole", help: "rows", min: 1, max: 32_768 } as const;
/** @internal A property of elements that make or change pictures. */
export const format: PropertySpec = {
  kind: "string",
  help: "pixel format, like I420, NV12, RGBA",
  oneOf: videoFormatNames(),
} as const;
const fps = { kind: "rate", help: "frames a second, like 25 or 30000/1001" } as const;

/** @internal What a property is, when it is there. */
export function pick<T>(properties: Properties, key: string, as: string = key): Record<string, T> {
  const value = properties[key];
  return value === undefined ? {} : { [as]: value as T };
}

/** The factories for the stages of `millpond/pipeline`. */
export const COMMON_ELEMENTS: readonly ElementFactory[] = [
  {
    word: "pattern",
    help: "moving test pictures",
    properties: { width, height, format, fps, frames: { kind: "whole", help: "how many; default: endless", min: 1 } },
    create: (p, name) =>
      new PatternSource({
        ...named(name),
        ...pick<number>(p, "width"),
        ...pick<number>(p, "height"),
        ...pick<number>(p, "frames"),
        ...pick<VideoPixelFormat>(p, "format"),
        ...pick<Fraction>(p, "fps", "frameRate"),
      }),
  },
  {
    word: "caps",
    help: "passes only pictures like these, so that the stages around it agree on them",
    properties: { format, width, height, fps },
    create: (p, name) =>
      new CapsFilter(
        Caps.video({
          ...pick<string>(p, "format"),
          ...pick<number>(p, "width"),
          ...pick<number>(p, "height"),
          ...pick<Fraction>(p, "fps", "frameRate"),
        }),
        name,
      ),
  },
  {
    word: "queue",
    help: "lets the stages before it and after it run at the same time",
    properties: {
      max: { kind: "whole", help: "buffers in line; default 4", min: 1, max: 4096 },
      maxBytes: { kind: "whole", help: "bytes in line", min: 1 },
      maxTime: { kind: "number", help: "milliseconds of media in line", min: 0.001 },
      full: {
        kind: "string",
        help: "wait, drop-new or drop-old; default wait",
        oneOf: ["wait", "drop-new", "drop-old"],
      },
    },
    create: (p, name) =>
      new Queue({
        ...named(name),
        ...pick<number>(p, "max"),
        ...pick<number>(p, "maxBytes"),
        ...pick<number>(p, "maxTime"),
        ...pick<"wait">(p, "full"),
      }),
  },
  {
    word: "tee",
    help: "gives one stream to several chains; the others begin with its name and a dot",
    create: (_, name) => new Tee(name),
  },
  {
    word: "funnel",
    help: "joins several streams; the others end with its name and a dot",
    create: (_, name) => new Funnel(name),
  },
  { word: "identity", help: "does nothing", create: (_, name) => new Identity(name) },
  {
    word: "null",
    help: "takes every buffer and does nothing with it",
    properties: {
      limit: { kind: "whole", help: "ends the stream after so many buffers", min: 1 },
      retainedBuffers: {
        kind: "whole",
        help: "keeps so many buffers, as a stage may that needs the last few",
        max: 4096,
      },
    },
    create: (p, name) =>
      new NullSink({ ...named(name), ...pick<number>(p, "limit"), ...pick<number>(p, "retainedBuffers") }),
  },
];

/** @internal The option of an element that was given a name. */
export function named(name: string | undefined): { name?: string } {
  return name === undefined ? {} : { name };
}
