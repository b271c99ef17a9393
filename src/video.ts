/** `millpond/video`: the stages of a pipeline that compute on pixels. */
export { ContactSheetSink, type ContactSheetSinkOptions } from "./video/contact-sheet-sink.ts";
export { FrameConverter } from "./video/convert.ts";
export { VIDEO_ELEMENTS } from "./video/factories.ts";
export { VideoScale, type VideoScaleOptions } from "./video/scale.ts";
