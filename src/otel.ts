/** millpond/otel: metrics of pools for OpenTelemetry. */
export { type InstrumentOptions, instrument } from "./adapters/otel.ts";
