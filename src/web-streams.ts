/** millpond/web-streams: streams of the platform into pooled buffers, and leases out as a stream. */
export { type ReadIntoOptions, readInto, type ToReadableOptions, toReadable } from "./adapters/web-streams.ts";
