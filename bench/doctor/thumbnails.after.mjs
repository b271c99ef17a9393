// The same with a pool.
import sharp from "sharp";
import { BufferPool } from "../../dist/index.js";

const raw = { width: 1920, height: 1080, channels: 3 };
const pool = BufferPool.create({ name: "thumbnail", size: 6_220_800, max: 6 });
async function thumbnail(n) {
  const frame = await pool.acquire();
  try {
    frame.bytes.fill(n);
    return await sharp(frame.bytes, { raw }).resize(320, 180).jpeg().toBuffer();
  } finally {
    frame.release();
  }
}
for (let n = 0; n < 240; n += 3) await Promise.all([thumbnail(n), thumbnail(n + 1), thumbnail(n + 2)]);
