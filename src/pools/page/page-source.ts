/** Getting whole pages from wherever a page pool draws from, and giving them back. */
import { isRevocable, opaqueRegion, Region, revokeViews, zeroBytes } from "../../memory/region.ts";
import { MillpondError } from "../../util/errors.ts";
import type { PageConfig } from "./options.ts";
import { PageBlock, type PageClass } from "./page-block.ts";

/**
 * Makes a block of the class over a memory of the source, zeroed as the policy wants it.
 * Throws `ERR_UNSUPPORTED` when bytes without an address would have to be zeroed or revoked, and what the source throws;
 * nothing is kept then.
 */
export function obtainBlock(config: PageConfig, cls: PageClass): PageBlock {
  const { source, zero, name } = config;
  const memory = source.allocate(cls.bytes, { align: cls.align });
  const { region: pages, offset } = memory;
  if (!pages.isPlain) {
    if (zero === "acquire" || zero === "release" || config.mustRevoke) {
      memory.release();
      const wish = config.mustRevoke ? "revoke: false" : 'zero: "never" or "fresh"';
      throw new MillpondError(
        "ERR_UNSUPPORTED",
        `page pool "${name}" cannot reach the bytes of "${source.name}" (${source.memoryType}) by address; choose ${wish}`,
      );
    }
    return new PageBlock(cls, memory, opaqueRegion(cls.bytes, undefined));
  }
  const whole = pages.bytes;
  const bytes = whole.length === cls.bytes ? whole : whole.subarray(offset, offset + cls.bytes);
  const region = new Region(bytes);
  if (config.mustRevoke && !isRevocable(region)) {
    memory.release();
    throw new MillpondError(
      "ERR_UNSUPPORTED",
      `page pool "${name}" cannot revoke views of "${source.name}" (${source.memoryType}): its memory is shared, or a part of a larger buffer; use revoke: false`,
    );
  }
  if (zero !== "never" && !source.zeroInitialized) zeroBytes(bytes);
  return new PageBlock(cls, memory, region);
}

/** Kills every view of a block that was handed out, if its memory allows it. O(1). */
export function revokeBlock(block: PageBlock): void {
  const { region } = block;
  if (!isRevocable(region)) return;
  revokeViews(region);
  // A revocable region is the whole ArrayBuffer, so the source's view of it is the same and died with the others.
  block.memory.region.bytes = region.bytes;
}

/** True when somebody transferred the bytes away. */
export function isLost(block: PageBlock): boolean {
  return block.region.isDetached;
}
