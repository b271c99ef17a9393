/**
 * Pixel formats as data: the planes of each, how they are subsampled, and how many bytes a sample takes. The names are
 * those of WebCodecs, plus GRAY8 for monochrome Y4M.
 */
import { word } from "../../util/validate.ts";

/** The pixel formats, by their WebCodecs names, plus "GRAY8". */
export type VideoPixelFormat =
  | `I4${"20" | "22" | "44"}${"" | "A"}${"" | "P10" | "P12"}`
  | "NV12"
  | "RGBA"
  | "RGBX"
  | "BGRA"
  | "BGRX"
  | "GRAY8";

/** One plane of a pixel format. */
export interface PlaneFormat {
  /** Picture columns that one column of the plane covers: 1 or 2. */
  readonly subX: number;
  /** Picture rows that one row of the plane covers: 1 or 2. */
  readonly subY: number;
  /** Bytes that one column takes: all components, 2 bytes each above 8 bits. */
  readonly sampleBytes: number;
  /** What one column holds, in order of the bytes: "Y", "U", "V", "A", "R", "G", "B", "X". */
  readonly components: string;
}

/** A pixel format. */
export interface VideoFormat {
  /** Its name. */
  readonly name: VideoPixelFormat;
  /** Significant bits of a component: 8, 10 or 12. */
  readonly bits: number;
  /** Its planes, in order. */
  readonly planes: readonly PlaneFormat[];
}

const formats: ReadonlyMap<string, VideoFormat> = /* @__PURE__ */ allFormats();

function plane(components: string, subX = 1, subY = 1, componentBytes = 1): PlaneFormat {
  return Object.freeze({ subX, subY, sampleBytes: components.length * componentBytes, components });
}

function allFormats(): Map<string, VideoFormat> {
  const all = new Map<string, VideoFormat>();
  const add = (name: string, bits: number, planes: readonly PlaneFormat[]): void => {
    all.set(name, Object.freeze({ name: name as VideoPixelFormat, bits, planes: Object.freeze(planes) }));
  };
  for (const [family, subX, subY] of [
    ["I420", 2, 2],
    ["I422", 2, 1],
    ["I444", 1, 1],
  ] as const) {
    for (const alpha of ["", "A"]) {
      for (const bits of [8, 10, 12]) {
        const bytes = bits > 8 ? 2 : 1;
        const color = [plane("Y", 1, 1, bytes), plane("U", subX, subY, bytes), plane("V", subX, subY, bytes)];
        if (alpha !== "") color.push(plane("A", 1, 1, bytes));
        add(`${family}${alpha}${bits > 8 ? `P${bits}` : ""}`, bits, color);
      }
    }
  }
  add("NV12", 8, [plane("Y"), plane("UV", 2, 2)]);
  for (const packed of ["RGBA", "RGBX", "BGRA", "BGRX"]) add(packed, 8, [plane(packed)]);
  add("GRAY8", 8, [plane("Y")]);
  return all;
}

/** The format of that name, or undefined. O(1). */
export function findVideoFormat(name: string): VideoFormat | undefined {
  return formats.get(word("name", name));
}

/** Whether a format's pixels are red, green and blue in one plane: neither Y with U and V nor gray. O(1). */
export function isRgb(format: VideoPixelFormat): boolean {
  return format.startsWith("RGB") || format.startsWith("BGR");
}

/** Every format name. */
export function videoFormatNames(): VideoPixelFormat[] {
  return [...formats.values()].map((format) => format.name);
}
