/** Small films, encoded in this process, for tests that decode a whole film and look at every frame of it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EncodeSink } from "../../src/adapters/node/media-sinks.ts";
import { PatternSource } from "../../src/pipeline/elements/pattern-source.ts";
import { Pipeline } from "../../src/pipeline/pipeline.ts";
import { CLIP } from "../cli/command.ts";
import { isFullLength } from "../helpers/effort.ts";

/** A film, with what is known of it. */
export interface Film {
  readonly path: string;
  readonly frames: number;
  readonly width: number;
  readonly height: number;
  readonly remove: () => void;
}

/** The shipped clip at full length; in the fast lane a film of a sixteenth of its pixels and a third of its frames. */
export async function film(): Promise<Film> {
  if (isFullLength) return { path: CLIP, frames: 75, width: 1280, height: 720, remove: () => {} };
  const folder = mkdtempSync(join(tmpdir(), "millpond-film-"));
  const path = join(folder, "film.mp4");
  const [width, height, frames] = [320, 180, 25];
  await new Pipeline().link(new PatternSource({ width, height, frames }), new EncodeSink(path)).run();
  return { path, frames, width, height, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
