// Pictures decoded and encoded by fast-png, which makes its arrays itself.
import { decode, encode } from "fast-png";

const data = new Uint8Array(640 * 360 * 3).map((_, i) => (i * 7) % 251);
let png = encode({ width: 640, height: 360, channels: 3, data });
for (let n = 0; n < 60; n++) png = encode(decode(png));
