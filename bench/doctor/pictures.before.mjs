// Pictures of a film, decoded by mediabunny, each in a new array for a model.

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
    sample.close();
    detect(bytes);
  }
}
process.exit();
