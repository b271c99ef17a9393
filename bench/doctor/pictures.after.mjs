// The same into the slots of a pool, as the doctor says.

import { registerMediabunnyServer } from "@mediabunny/server";
import { ALL_FORMATS, FilePathSource, Input, VideoSampleSink } from "mediabunny";
import { BufferPool } from "../../dist/index.js";
import { clip } from "./paths.mjs";
import { detect } from "./work.mjs";

registerMediabunnyServer();
const pool = BufferPool.create({ name: "pictures", size: 1_382_400, max: 4 });
for (let pass = 0; pass < 4; pass++) {
  const input = new Input({ source: new FilePathSource(clip), formats: ALL_FORMATS });
  const sink = new VideoSampleSink(await input.getPrimaryVideoTrack());
  for await (const sample of sink.samples()) {
    const picture = await pool.acquire();
    const { bytes } = picture;
    await sample.copyTo(bytes);
    sample.close();
    detect(bytes);
    picture.release();
  }
}
process.exit();
