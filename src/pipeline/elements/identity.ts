/** Identity: passes every buffer through. It stands for a stage in tests and measurements. */
import { Transform } from "../base/transform.ts";

/** Passes every buffer through. */
export class Identity extends Transform {
  /** @param name for messages */
  constructor(name?: string) {
    super(name, { mode: "passthrough" });
  }
}
