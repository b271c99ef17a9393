/** Pictures as PNG, through fast-png, an optional peer that is loaded when it is first needed. */
import { MillpondError } from "../../util/errors.ts";

/** The package. Rejects with `ERR_UNSUPPORTED` when it is absent. */
export function loadPng(): Promise<typeof import("fast-png")> {
  return import("fast-png").catch((cause: unknown) => {
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      'the contact sheet is encoded with fast-png, which is optional and not installed: "npm install fast-png", or leave the contact sheet out',
      { missing: "fast-png" },
      { cause },
    );
  });
}

/** Encodes RGB pixels. Rejects with `ERR_UNSUPPORTED` when fast-png is absent. */
export async function encodePng(picture: { width: number; height: number; rgb: Uint8Array }): Promise<Uint8Array> {
  const { encode } = await loadPng();
  return encode({ width: picture.width, height: picture.height, data: picture.rgb, channels: 3 });
}
