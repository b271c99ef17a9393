// Files that the programs read: the clip of this repository, and some that are made once.
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const clip = fileURLToPath(new URL("../../assets/clip.mp4", import.meta.url));

/** Twelve files of 3 to 8.5 MB. */
export function photos() {
  const folder = join(tmpdir(), "millpond-doctor-study");
  mkdirSync(folder, { recursive: true });
  return Array.from({ length: 12 }, (_, n) => {
    const path = join(folder, `photo-${n}`);
    if (!existsSync(path)) writeFileSync(path, Buffer.alloc(3_000_000 + 500_000 * n, n + 1));
    return path;
  });
}
