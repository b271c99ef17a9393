/**
 * Thumbnails by sharp, in raw pixels: sharp reads a frame where it lies, in its slot, from a thread of its own, and what
 * it makes goes into a slot of a second pool. The frame's lease ends when sharp's promise has settled, not before.
 *
 *   npx node examples/sharp-thumbnails.ts        needs: npm install sharp
 */
import sharp from "sharp";
import { BufferPool, type MediaBuffer } from "../src/index.ts";

const FRAME = { width: 1280, height: 720, channels: 3 } as const;
const SMALL = { width: 160, height: 90 };
const FRAMES = 24;

const frames = BufferPool.create({ name: "frames", size: FRAME.width * FRAME.height * 3, max: 3 });
const thumbnails = BufferPool.create({ name: "thumbnails", size: SMALL.width * SMALL.height * 3, max: FRAMES });

/** Takes the frame over, and gives its thumbnail. */
async function thumbnailOf(frame: MediaBuffer): Promise<MediaBuffer> {
  const small = await thumbnails.acquire();
  try {
    // No copy on the way in. What comes out is sharp's own memory, small here, and copied once.
    small.fill(0, await sharp(frame.bytes, { raw: FRAME }).resize(SMALL.width, SMALL.height).raw().toBuffer());
    return small;
  } catch (error) {
    small.release();
    throw error;
  } finally {
    frame.release();
  }
}

const made: Promise<MediaBuffer>[] = [];
for (let n = 0; n < FRAMES; n++) {
  const frame = await frames.acquire(); // waits while sharp has three
  frame.bytes.fill(10 * n); // stands for a decoder
  made.push(thumbnailOf(frame));
}

let wrong = 0;
for (const [n, thumbnail] of (await Promise.all(made)).entries()) {
  if (thumbnail.bytes.some((value) => value !== 10 * n)) wrong++;
  thumbnail.release();
}
const { misses } = frames.stats();
console.log(`${FRAMES} frames of 2.8 MB through ${misses} slots; ${wrong} thumbnails with another frame's color`);
console.log(`leases left: ${frames.outstanding + thumbnails.outstanding}`);
if (wrong + frames.outstanding + thumbnails.outstanding > 0) process.exitCode = 1;
