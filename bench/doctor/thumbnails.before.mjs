// Thumbnails by sharp, of frames in new buffers.
import sharp from "sharp";

const raw = { width: 1920, height: 1080, channels: 3 };
async function thumbnail(n) {
  const frame = new Uint8Array(1920 * 1080 * 3);
  frame.fill(n); // stands for a decoder
  return sharp(frame, { raw }).resize(320, 180).jpeg().toBuffer();
}
for (let n = 0; n < 240; n += 3) await Promise.all([thumbnail(n), thumbnail(n + 1), thumbnail(n + 2)]);
