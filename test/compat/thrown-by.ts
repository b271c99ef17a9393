/** How a front door failed. */
import { expect } from "vitest";
import { isMillpondError, type MillpondError } from "../../src/util/errors.ts";

/** What `fn` throws: a MillpondError, with a status, and its code once in its message. */
export function thrownBy(fn: () => unknown): MillpondError & { status: number; hresult: number } {
  try {
    fn();
  } catch (error) {
    if (!isMillpondError(error)) throw error;
    expect(error.message.split(`[${error.code}]`)).toHaveLength(2);
    expect(error.message.match(/\[[A-Z_]+\]/g)).toHaveLength(1);
    return error as MillpondError & { status: number; hresult: number };
  }
  throw new Error("nothing was thrown");
}
