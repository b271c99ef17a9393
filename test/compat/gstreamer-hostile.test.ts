/** GStreamer's front door under programs that lie to it: wrong structs, vfuncs that call back, handles that are kept. */
import { describe, expect, it } from "vitest";
import {
  type AllocationParams,
  Allocator,
  Buffer,
  BufferPool,
  buffer_pool_config_set_video_alignment,
  Meta,
  Query,
  VideoAlignment,
} from "../../src/compat/gstreamer.ts";
import { MillpondError } from "../../src/observe/errors.ts";

function refusal(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return error instanceof MillpondError ? `${error.code}: ${error.message}` : `raw: ${error}`;
  }
  return "accepted";
}

describe("what stands for a struct", () => {
  it("a misspelled field is refused, with a suggestion", () => {
    const misspelled = { allign: 63 } as unknown as AllocationParams;
    expect(refusal(() => Allocator.find(null)!.alloc(8, misspelled))).toMatch(/ERR_INVALID_ARG_VALUE.*"align"/);
    const hooks = { init: () => true, transfrom: () => true };
    expect(refusal(() => Meta.register("HostileAPI", "Hostile", hooks))).toMatch(/ERR_INVALID_ARG_VALUE.*"transform"/);
    expect(Meta.get_info("Hostile")).toBeNull();
  });

  it("undefined is not the null that an argument may be", () => {
    const none = undefined as unknown as null;
    const query = Query.new_allocation(null, true);
    for (const call of [
      () => Allocator.find(null)!.alloc(8, none),
      () => Buffer.new_allocate(none, 8, null),
      () => query.add_allocation_pool(none, 8, 0, 0),
      () => query.add_allocation_meta("HostileAPI", none),
    ]) {
      expect(refusal(call)).toMatch(/^ERR_INVALID_ARG_TYPE/);
    }
    expect([query.get_n_allocation_pools(), query.get_n_allocation_metas()]).toEqual([0, 0]);
  });

  it("a list with 2^32 - 1 holes is refused at once", () => {
    const holes = Object.assign([] as string[], { length: 2 ** 32 - 1 });
    const started = process.cpuUsage();
    expect(refusal(() => Meta.api_type_register("HolesAPI", holes))).toMatch(/^ERR_OUT_OF_RANGE/);
    const config = { ...BufferPool.new().get_config(), options: holes };
    expect(refusal(() => BufferPool.config_add_option(config, "x"))).toMatch(/^ERR_OUT_OF_RANGE/);
    expect(process.cpuUsage(started).user).toBeLessThan(200_000);
  });

  it("a configuration that cannot be written is refused whole, and each of its fields is read once", () => {
    const pool = BufferPool.new();
    const half = Object.defineProperty(pool.get_config(), "max", { get: () => 3, enumerable: true });
    expect(refusal(() => BufferPool.config_set_params(half, "x", 8, 1, 2))).toMatch(
      /^ERR_INVALID_ARG_VALUE.*config\.max/,
    );
    expect([half.caps, half.size]).toEqual([null, undefined]);
    const frozen = Object.freeze(pool.get_config());
    expect(refusal(() => BufferPool.config_add_option(frozen, "x"))).toMatch(/^ERR_INVALID_ARG_VALUE/);
    expect(refusal(() => buffer_pool_config_set_video_alignment(frozen, new VideoAlignment()))).toMatch(
      /^ERR_INVALID_ARG_VALUE/,
    );
    const reads: string[] = [];
    const config = pool.get_config();
    BufferPool.config_set_params(config, "x", 8, 1, 2);
    const watched = new Proxy(config, {
      get(target, key, receiver) {
        reads.push(String(key));
        return Reflect.get(target, key, receiver);
      },
    });
    expect(pool.set_config(watched)).toBe(true);
    expect(reads.toSorted()).toEqual(["allocator", "caps", "max", "min", "options", "params", "size"]);
  });

  it("params of a meta that are none are refused in words, not by the engine", () => {
    const buffer = Buffer.new_allocate(null, 8, null)!;
    for (const impl of ["GstReferenceTimestampMeta", "GstVideoMeta", "GstAudioMeta", "GstVideoRegionOfInterestMeta"]) {
      for (const params of [undefined, null, 8]) {
        expect(refusal(() => buffer.add_meta(Meta.get_info(impl)!, params))).toMatch(/^ERR_INVALID_ARG_TYPE/);
      }
    }
    expect([...buffer.iterate_meta()]).toEqual([]);
  });
});
