// As pictures.before, by somebody who forgot close(): the decoder's frames go when the collector finds them.

import { registerMediabunnyServer } from "@mediabunny/server";
import { ALL_FORMATS, FilePathSource, Input, VideoSampleSink } from "mediabunny";
import { clip } from "./paths.mjs";
import { detect } from "./work.mjs";

registerMediabunnyServer();
for (let pass = 0; pass < 4; pass++) {
  const input = new Input({ source: new FilePathSource(clip), formats: ALL_FORMATS });
  const sink = new VideoSampleSink(await input.getPrimaryVideoTrack());
  for await (const sample of sink.samples()) {
    const bytes = new Uint8Array(sample.allocationSize());
    await sample.copyTo(bytes);
    detect(bytes);
  }
}
process.exit();
