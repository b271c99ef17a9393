// Shares its realm with other files: nothing that it changes outlives it.
import { describe, expect, it } from "vitest";
import {
  closedError,
  corruptedError,
  detachedError,
  foreignError,
  fullError,
  inUseError,
  overError,
  type PoolWords,
  starvedError,
  takenBackError,
} from "../../../src/pools/common/lease-errors.ts";
import { ERROR_CODES } from "../../../src/util/errors.ts";

const POOL: PoolWords = { kind: "page pool", name: "frames", unit: "block" };

const holdersOf = (count: number) => ({
  list: Array.from({ length: count }, (_, slot) => ({ slot, held: slot * 1.4 })),
  show: ({ slot, held }: { slot: number; held: number }) => ({ lease: `slot ${slot}`, age: held }),
});

describe("the errors of every pool", () => {
  it.each([
    [closedError(POOL, "allocate from"), "ERR_POOL_DEAD", /cannot allocate from page pool "frames": .*make a new one/],
    [takenBackError(POOL, "lease 3", "map"), "ERR_POOL_DEAD", /cannot map lease 3: .*closed by force.*its blocks back/],
    [
      inUseError(POOL, "close", holdersOf(2), "Release them"),
      "ERR_IN_USE",
      /2 blocks are leased; held: slot 0.*Release them/,
    ],
    [
      fullError(POOL, "a block", "max 2", holdersOf(1), "Ask for less"),
      "ERR_POOL_FULL",
      /no room for a block within max 2/,
    ],
    [starvedError(POOL, "no block came", 9.6, holdersOf(1), "Wait"), "ERR_STARVED", /no block came within 10 ms; held/],
    [
      overError(POOL, "lease 3", "release", "slot 1 is on lease 4 now"),
      "ERR_DOUBLE_RELEASE",
      /already released; slot 1 is on/,
    ],
    [overError(POOL, "lease 3", "map"), "ERR_USE_AFTER_RELEASE", /cannot map lease 3: it was released; use it before/],
    [
      foreignError(POOL, "memory #3", "Release it there"),
      "ERR_FOREIGN_RELEASE",
      /memory #3 is not of page pool "frames"; R/,
    ],
    [detachedError(POOL, "lease 3"), "ERR_DETACHED", /lease 3 came back without its bytes.*makes a new block/],
    [corruptedError(POOL, "a list has a cycle"), "ERR_CORRUPTED", /page pool "frames": a list has a cycle; .*millpond/],
  ] as const)("%s", (error, code, text) => {
    expect([error.code, error.details?.pool]).toEqual([code, "frames"]);
    expect(error.message).toMatch(text);
    expect(Object.keys(ERROR_CODES)).toContain(code);
  });

  it("a message names eight holders and says how many more there are; the details have all", () => {
    const error = inUseError(POOL, "close", holdersOf(11), "Release them");
    expect(error.message).toMatch(/slot 7 for 10 ms, and 3 more\. Release them/);
    expect(error.message).not.toMatch(/slot 8/);
    expect(error.details?.holders).toHaveLength(11);
    expect(inUseError(POOL, "close", holdersOf(8), "Release them").message).not.toMatch(/more/);
  });

  it("a holder is shown with all that is known of it, and with no more", () => {
    const full = {
      lease: "slot 0",
      age: 2.5,
      tag: "encoder",
      note: "released",
      site: "at f (a.ts:1:2)\nat g (a.ts:3:4)",
    };
    const show = (holder: { readonly lease: string }) => holder;
    expect(inUseError(POOL, "close", { list: [full], show }, "Wait").message).toContain(
      '1 block is leased; held: slot 0 for 3 ms by "encoder" (released), taken at f (a.ts:1:2). Wait',
    );
    expect(inUseError(POOL, "close", { list: [{ lease: "slot 0" }], show }, "Wait").message).toContain(
      "held: slot 0. Wait",
    );
    expect(starvedError(POOL, "no block came", 0, { list: [], show }, "Wait", "all are idle").message).toContain(
      "no block came within 0 ms: all are idle; nobody holds any. Wait",
    );
  });
});
