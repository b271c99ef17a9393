/**
 * Elements that pass buffers through. CapsFilter takes certain formats only, so that the stages around it settle on one
 * of them (after GStreamer's capsfilter). Identity takes everything, and stands for a stage in tests and measurements.
 */
import { Transform } from "../base/transform.ts";
import { type Caps, checkCaps } from "../caps.ts";

/** Passes only what its caps contain. */
export class CapsFilter extends Transform {
  /** @param caps what may pass. Throws `ERR_INVALID_ARG_TYPE`. */
  constructor(caps: Caps, name?: string) {
    checkCaps("caps", caps);
    super(name, { mode: "passthrough", input: caps, output: caps });
  }

  /** What may pass. */
  override get role(): string {
    return `only ${this.in.caps}`;
  }
}

/** Passes every buffer through. */
export class Identity extends Transform {
  /** @param name for messages */
  constructor(name?: string) {
    super(name, { mode: "passthrough" });
  }
}
