/** The token of a server on a port. In a file of its own, because `node:crypto` takes 2 ms that sockets do not need. */
import { Buffer } from "node:buffer";
import { randomBytes, timingSafeEqual } from "node:crypto";

/** A token that cannot be guessed, and the check of one that takes as long for any. */
export function makeToken(): { readonly token: string; readonly isToken: (given: string) => boolean } {
  const token = randomBytes(24).toString("base64url");
  const right = Buffer.from(token);
  return {
    token,
    isToken(given) {
      const bytes = Buffer.from(given);
      // Its length is no secret.
      return bytes.length === right.length && timingSafeEqual(bytes, right);
    },
  };
}
