/** The user's realtime preference: MILLPOND_REALTIME, its words, and what a pool with lock "preference" makes of it. */
import { spawnSync } from "node:child_process";
import { afterEach, describe, expect, it } from "vitest";
import { SystemAllocator } from "../../../src/memory/allocator.ts";
import type { PinningAllocator, StepResult } from "../../../src/memory/pinning.ts";
import type { Region } from "../../../src/memory/region.ts";
import {
  describeRealtimePreference,
  parseRealtimePreference,
  RealtimeFlags,
  realtimePreference,
  realtimeWords,
  setRealtimePreference,
} from "../../../src/pools/realtime/preference.ts";
import { RealtimePool } from "../../../src/pools/realtime/realtime-pool.ts";
import { code } from "../buffer/pools.ts";

const before = realtimePreference();
afterEach(() => setRealtimePreference(before));

/** An allocator that can lock, and counts what is locked. */
class Locking extends SystemAllocator implements PinningAllocator {
  locked = 0;
  lockRegion({ size }: Region): StepResult {
    this.locked += size;
    return { ok: true, bytes: size };
  }
  unlockRegion({ size }: Region): StepResult {
    this.locked -= size;
    return { ok: true, bytes: size };
  }
}

describe("MILLPOND_REALTIME", () => {
  it.each([
    [undefined, 1, undefined],
    ["", 1, undefined],
    ["none", 0, undefined],
    ["allocator", 1, undefined],
    ["audio,video", 6, undefined],
    ["Allocator, AUDIO ,video", 7, undefined],
    ["any", 0xffff, undefined],
    ["alocator", 1, "alocator"],
    ["audio,,video", 1, "audio,,video"],
    ["toString", 1, "toString"],
  ])("%j is the flags %i, and what is not understood is told", (value, flags, ignored) => {
    expect(parseRealtimePreference(value)).toMatchObject({ flags, ignored });
  });

  it.each([
    ["none", [0, 0]],
    ["audio,video", [6, 6]],
    [undefined, [1, 1]],
  ])("is read once, at the first look: %j", (value, expected) => {
    const file = new URL("../../../src/pools/realtime/preference.ts", import.meta.url).href;
    const program = `const { realtimePreference } = await import(${JSON.stringify(file)});
      const first = realtimePreference();
      process.env.MILLPOND_REALTIME = "any";
      console.log(JSON.stringify([first, realtimePreference()]));`;
    const { MILLPOND_REALTIME: _, ...rest } = process.env;
    const env = value === undefined ? rest : { ...rest, MILLPOND_REALTIME: value };
    const run = spawnSync(process.execPath, ["--input-type=module", "-e", program], { env, encoding: "utf8" });
    expect(JSON.parse(run.stdout)).toEqual(expected);
  });

  it("is overridden by setRealtimePreference(), which refuses wrong flags and changes nothing then", () => {
    setRealtimePreference(RealtimeFlags.AUDIO);
    expect(describeRealtimePreference()).toMatchObject({ flags: 2, from: "setRealtimePreference" });
    for (const bad of [-1, 0x10000, 1.5, Number.NaN])
      expect(code(() => setRealtimePreference(bad))).toBe("ERR_OUT_OF_RANGE");
    expect(code(() => setRealtimePreference("audio" as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(realtimePreference()).toBe(2);
  });

  it("is told in reports in words of its own", () => {
    expect([0, 1, 6, 0xffff, 8].map(realtimeWords)).toEqual(["none", "allocator", "audio, video", "any", "none"]);
  });
});

describe('a pool with lock "preference"', () => {
  it("is locked if the ALLOCATOR flag is on when it is made, and unlocked at its end", () => {
    const source = new Locking("locking");
    setRealtimePreference(RealtimeFlags.ALLOCATOR);
    const pool = RealtimePool.create({ totalSize: 4096, lock: "preference", source });
    setRealtimePreference(0);
    expect([pool.locked, pool.lockReason, source.locked > 0]).toEqual([true, undefined, true]);
    pool.close();
    expect(source.locked).toBe(0);
  });

  it("is not locked, and says so, if the flag is off: a status, not an error", () => {
    const source = new Locking("locking");
    setRealtimePreference(RealtimeFlags.AUDIO | RealtimeFlags.VIDEO);
    const pool = RealtimePool.create({ totalSize: 4096, lock: "preference", source });
    expect([pool.locked, source.locked]).toEqual([false, 0]);
    expect(pool.lockReason).toMatch(/^disabled: .*MILLPOND_REALTIME=allocator/);
    pool.close();
  });

  it("that was asked to be locked and cannot be says why", () => {
    setRealtimePreference(RealtimeFlags.ANYKIND);
    const pool = RealtimePool.create({ totalSize: 4096, lock: "preference", source: new SystemAllocator("plain") });
    expect(pool.locked).toBe(false);
    expect(pool.lockReason).toMatch(/^unsupported: /);
    pool.close();
  });
});
