import type { SiteProfile } from "../../src/adapters/node/profile/profile.ts";

type Buffers = Pick<
  SiteProfile,
  "api" | "place" | "count" | "bytes" | "sizes" | "otherSizes" | "largest" | "parts" | "transferred" | "cloned"
>;

/** What a place of app.js has made: so many buffers of one size, of which none was posted. */
export function buffersOf(name: string, line: number, count: number, size: number): Buffers {
  return {
    api: "new Uint8Array",
    place: { function: name, file: "/app.js", line, column: 1 },
    count,
    bytes: count * size,
    sizes: [[size, count]],
    otherSizes: 0,
    largest: size,
    parts: 0,
    transferred: 0,
    cloned: 0,
  };
}
