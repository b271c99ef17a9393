/** Metas: the rules, what survives what (reference table 5.6), the built-in ones, and their bytes. */
import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { AudioInfo } from "../../../src/media/audio/info.ts";
import { CopyFlags } from "../../../src/media/buffer/flags.ts";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import { MediaBufferList } from "../../../src/media/buffer/media-buffer-list.ts";
import {
  addCustomMeta,
  findReferenceTimestamp,
  ParentBufferMeta,
  ReferenceTimestampMeta,
  RegionOfInterestMeta,
  registerCustomMeta,
} from "../../../src/media/meta/built-in.ts";
import { AudioMeta, VideoMeta } from "../../../src/media/meta/layout-metas.ts";
import {
  compareMetaAge,
  findMetaType,
  type Meta,
  MetaFlags,
  type MetaType,
  registerMeta,
  TAG_MEMORY,
  TAG_MEMORY_REFERENCE,
} from "../../../src/media/meta/meta.ts";
import { deserializeMeta, deserializeMetas, serializeMeta, serializeMetas } from "../../../src/media/meta/serialize.ts";
import { VideoInfo } from "../../../src/media/video/info.ts";
import { SystemAllocator } from "../../../src/memory/allocator.ts";
import { BufferPool } from "../../../src/pools/buffer/buffer-pool.ts";
import { lateErrors } from "../../helpers/late-errors.ts";
import { code } from "../../pools/buffer/pools.ts";

const four = (): MediaBuffer => MediaBuffer.allocate(4);

function kind(api: string, tags: string[], carried: boolean) {
  const freed: number[] = [];
  const type = registerMeta<{ n: number }, number>({
    api,
    tags,
    init: (meta, n) => {
      meta.n = n;
      return n >= 0;
    },
    free: (meta) => void freed.push(meta.n),
    ...(carried && {
      transform: (target: MediaBuffer, meta: Meta & { n: number }): boolean =>
        target.addMeta(type, meta.n) !== undefined,
    }),
  });
  return { type, freed };
}

const plain = kind("test-plain", [], true);
const layout = kind("test-layout", [TAG_MEMORY], true);
const reference = kind("test-reference", [TAG_MEMORY_REFERENCE], true);
const silent = kind("test-silent", [], false);

const loaded = (): MediaBuffer => {
  const buffer = four();
  for (const { type } of [plain, layout, reference, silent]) buffer.addMeta(type, 1);
  return buffer;
};
const apis = (buffer: MediaBuffer): string[] => buffer.metas().map((meta) => meta.api.replace("test-", ""));

describe("what survives what (reference table 5.6)", () => {
  it("a shallow copy with META takes every meta that has a transform", () =>
    expect(apis(loaded().copy())).toEqual(["plain", "layout", "reference"]));
  it("a shallow copy of a region leaves those behind that are bound to the memory layout", () =>
    expect(apis(loaded().copyRange(0, 2))).toEqual(["plain", "reference"]));
  it("a copy without MEMORY, or with MERGE, leaves those behind that are bound to the layout", () => {
    expect(apis(loaded().copy({ flags: CopyFlags.META }))).toEqual(["plain", "reference"]);
    expect(apis(loaded().copy({ flags: CopyFlags.ALL | CopyFlags.MERGE }))).toEqual(["plain", "reference"]);
  });
  it("a deep copy also leaves those behind that are bound to the very memory", () =>
    expect(apis(loaded().copy({ deep: true }))).toEqual(["plain", "layout"]));
  it("append() keeps the first buffer's and frees the second's", () => {
    const buffer = four();
    const other = loaded();
    plain.freed.length = 0;
    buffer.addMeta(silent.type, 2);
    buffer.append(other);
    expect([apis(buffer), plain.freed]).toEqual([["silent"], [1]]);
  });
  it("makeWritable() that copies takes what a shallow copy takes", () =>
    expect(apis(loaded().retain().makeWritable())).toEqual(["plain", "layout", "reference"]));
  it("a pool that recycles keeps POOLED ones and drops all others, even LOCKED ones", () => {
    const pool = new BufferPool();
    pool.configure({ size: 4, max: 1 });
    pool.activate();
    const buffer = pool.tryAcquire()!;
    buffer.addMeta(plain.type, 1)!.flags |= MetaFlags.LOCKED;
    buffer.addMeta(plain.type, 2)!.flags |= MetaFlags.POOLED;
    buffer.release();
    expect(
      pool
        .tryAcquire()!
        .metas()
        .map((meta) => (meta as unknown as { n: number }).n),
    ).toEqual([2]);
  });
  it("a transform that throws loses that one meta, and the copy succeeds", () => {
    const bad = registerMeta({
      api: "test-throwing",
      transform: () => {
        throw new Error("no");
      },
    });
    const buffer = loaded();
    buffer.addMeta(bad);
    expect(apis(buffer.copy())).toEqual(["plain", "layout", "reference"]);
  });
});

describe("rules", () => {
  it("names are registered once, an API has one set of tags, types are found by name", () => {
    expect(code(() => registerMeta({ api: "test-plain" }))).toBe("ERR_ALREADY_REGISTERED");
    expect(code(() => registerMeta({ api: "test-plain", name: "second", tags: ["x"] }))).toBe("ERR_ALREADY_REGISTERED");
    const second = registerMeta({ api: "test-plain", name: "second" });
    expect([
      findMetaType("second"),
      findMetaType("none"),
      second.hasOnlyTags([]),
      layout.type.hasOnlyTags(["x"]),
    ]).toEqual([second, undefined, true, false]);
    for (const bad of [
      null,
      {},
      { api: 3 },
      { api: "" },
      { api: "x", name: 1 },
      { api: "x", tags: [1] },
      { api: "x", version: 256 },
    ]) {
      expect(code(() => registerMeta(bad as never))).toBe("ERR_INVALID_ARG_TYPE");
    }
  });

  it("init() may refuse; a buffer may have several of one API, and the oldest comes first", () => {
    const buffer = four();
    expect(buffer.addMeta(plain.type, -1)).toBeUndefined();
    const [a, b] = [buffer.addMeta(plain.type, 1)!, buffer.addMeta(plain.type, 2)!];
    expect([
      buffer.getMeta(plain.type),
      buffer.getMeta("test-plain"),
      buffer.getMeta("nothing"),
      [b, a].sort(compareMetaAge),
    ]).toEqual([a, a, undefined, [a, b]]);
    expect(buffer.metas("test-plain")).toEqual([a, b]);
  });

  it("removeMeta() answers false for another buffer's, throws for a LOCKED one, and calls free for one at any place in the list", () => {
    const buffer = four();
    const [a, b, c] = [1, 2, 3].map((n) => buffer.addMeta(plain.type, n)!);
    plain.freed.length = 0;
    expect([buffer.removeMeta(b!), buffer.removeMeta(b!), four().removeMeta(a!)]).toEqual([true, false, false]);
    a!.flags |= MetaFlags.LOCKED;
    c!.flags |= MetaFlags.LOCKED;
    expect([code(() => buffer.removeMeta(a!)), code(() => buffer.removeMeta(c!))]).toEqual([
      "ERR_META_LOCKED",
      "ERR_META_LOCKED",
    ]);
    buffer.release();
    expect(plain.freed.sort()).toEqual([1, 2, 3]);
  });

  it("removeMeta() is done when free throws, and so is the end of a parent whose pool's reset() throws: the errors come later", async () => {
    const type = registerMeta({
      api: "test-throws",
      free: () => {
        throw new Error("free");
      },
    });
    class Grumpy extends BufferPool {
      protected override reset(): void {
        throw new Error("reset");
      }
    }
    const pool = new Grumpy({ name: "grumpy" });
    pool.configure({ size: 4, max: 1 });
    pool.activate();
    const buffer = four();
    const meta = buffer.addMeta(type)!;
    const parent = pool.tryAcquire()!;
    const keeper = buffer.addMeta(ParentBufferMeta, parent)!;
    parent.release();
    const removed: boolean[] = [];
    expect(await lateErrors(() => removed.push(buffer.removeMeta(meta), buffer.removeMeta(keeper)))).toEqual([
      "free",
      "reset",
    ]);
    expect([removed, buffer.metas(), pool.outstanding]).toEqual([[true, true], [], 0]);
  });

  it("a shared buffer takes none and gives none; a wrong type is refused", () => {
    const buffer = four();
    const meta = buffer.addMeta(plain.type, 1)!;
    buffer.retain();
    expect([code(() => buffer.addMeta(plain.type, 1)), code(() => buffer.removeMeta(meta))]).toEqual([
      "ERR_NOT_WRITABLE",
      "ERR_NOT_WRITABLE",
    ]);
    buffer.release();
    for (const bad of [null, undefined, "test-plain", {}, 3])
      expect(code(() => buffer.addMeta(bad as never, 1))).toBe("ERR_INVALID_ARG_TYPE");
    expect(buffer.metas()).toEqual([meta]);
  });
});

describe("the built-in ones", () => {
  const info = VideoInfo.of({ format: "I420", width: 2, height: 2 });

  it("VideoMeta and AudioMeta ride on whole copies, and fall with the layout", () => {
    const buffer = MediaBuffer.allocate(6);
    buffer.addMeta(VideoMeta, info);
    buffer.addMeta(AudioMeta, AudioInfo.of({ format: "s16", sampleRate: 48_000, channels: 1, frames: 3 }));
    expect([
      buffer.copy().getMeta(VideoMeta)?.info,
      buffer.copy({ deep: true }).metas().length,
      buffer.copyRange(0, 3).metas().length,
    ]).toEqual([info, 2, 0]);
  });

  it("a buffer has several regions of interest, and copies of parts take them too", () => {
    const buffer = four();
    buffer.addMeta(RegionOfInterestMeta, { roiType: "face", id: 1, x: 5, width: 10 });
    buffer.addMeta(RegionOfInterestMeta, { roiType: "eye", id: 2, parentId: 1, params: { open: true } });
    expect(buffer.copyRange(1, 2).metas("region-of-interest")).toMatchObject([
      { roiType: "face", parentId: -1, x: 5, height: 0 },
      { roiType: "eye", parentId: 1, params: { open: true } },
    ]);
  });

  it("a reference timestamp is found by a part of its reference, and copied once", () => {
    const buffer = four();
    buffer.addMeta(ReferenceTimestampMeta, { reference: { clock: "ntp", host: "a" }, timestamp: 5n });
    buffer.addMeta(ReferenceTimestampMeta, { reference: "ptp", timestamp: 6n, duration: 1n });
    expect(findReferenceTimestamp(buffer, { clock: "ntp" })?.timestamp).toBe(5n);
    expect([
      findReferenceTimestamp(buffer, "ptp")?.timestamp,
      findReferenceTimestamp(buffer)?.timestamp,
      findReferenceTimestamp(buffer, { clock: "ptp" }),
    ]).toEqual([6n, 5n, undefined]);
    const copy = buffer.copy();
    copy.copyFrom(buffer, CopyFlags.META);
    expect(copy.metas("reference-timestamp")).toHaveLength(2);
    expect(code(() => buffer.addMeta(ReferenceTimestampMeta, { timestamp: 5 as never }))).toBe("ERR_INVALID_ARG_TYPE");
  });

  it("a parent is kept until the last child goes; a copy of a copy points to the original, a deep copy to nothing", () => {
    const parent = four();
    const child = four();
    child.addMeta(ParentBufferMeta, parent);
    const grandchild = child.copy().copy();
    expect([grandchild.getMeta(ParentBufferMeta)?.buffer, child.copy({ deep: true }).metas().length]).toEqual([
      parent,
      0,
    ]);
    parent.release();
    expect(parent.isLive).toBe(true);
    const pool = new BufferPool();
    pool.configure({ size: 4, max: 1 });
    pool.activate();
    const pooled = pool.tryAcquire()!;
    const holder = four();
    holder.addMeta(ParentBufferMeta, pooled);
    pooled.release();
    expect(pool.free).toBe(0);
    holder.release();
    expect(pool.free).toBe(1);
  });

  it("a custom meta has values by name, changes while its buffer may, and goes along with copies only", () => {
    const type = registerCustomMeta("test-custom", ["video"]);
    const buffer = four();
    const meta = addCustomMeta(buffer, "test-custom", { gain: 3 })!;
    meta.set("pan", 1);
    expect([
      meta.get("gain"),
      meta.entries(),
      type.api,
      addCustomMeta(buffer, "nobody"),
      addCustomMeta(buffer, "test-plain"),
    ]).toEqual([
      3,
      [
        ["gain", 3],
        ["pan", 1],
      ],
      "test-customAPI",
      undefined,
      undefined,
    ]);
    buffer.retain();
    expect(code(() => meta.set("pan", 2))).toBe("ERR_NOT_WRITABLE");
    buffer.release();
    const copied = buffer.copyRange(0, 1).getMeta(type)!;
    copied.set("gain", 9);
    expect([copied.get("pan"), meta.get("gain")]).toEqual([1, 3]);
    expect(type.spec.transform?.(four(), meta, buffer, "video-scale", { partial: false, offset: 0, size: 4 })).toBe(
      false,
    );
    const own = registerCustomMeta("test-custom-own", [], () => true);
    expect(own.spec.transform?.(four(), meta, buffer, "video-scale", { partial: false, offset: 0, size: 4 })).toBe(
      true,
    );
  });
});

describe("as bytes", () => {
  it("every built-in meta with bytes comes back equal, record after record", () => {
    const buffer = MediaBuffer.allocate(6);
    buffer.addMeta(VideoMeta, VideoInfo.of({ format: "I420", width: 2, height: 2, strideAlign: 16 }));
    buffer.addMeta(AudioMeta, AudioInfo.of({ format: "f32", sampleRate: 44_100, channels: 2, frames: 7 }));
    buffer.addMeta(RegionOfInterestMeta, { roiType: "face", id: 7, params: { a: [1] } });
    buffer.addMeta(ReferenceTimestampMeta, { reference: { c: "ntp" }, timestamp: 2n ** 60n, duration: 1n });
    buffer.addMeta(plain.type, 1);
    const bytes = serializeMetas(buffer);
    const back = four();
    expect(deserializeMetas(back, bytes)).toBe(bytes.length);
    expect(back.metas().map((meta) => meta.api)).toEqual([
      "video",
      "audio",
      "region-of-interest",
      "reference-timestamp",
    ]);
    expect(back.getMeta(VideoMeta)?.info.equals(buffer.getMeta(VideoMeta)!.info)).toBe(true);
    expect(back.getMeta(AudioMeta)?.info.equals(buffer.getMeta(AudioMeta)!.info)).toBe(true);
    expect(back.getMeta(ReferenceTimestampMeta)).toMatchObject({
      timestamp: 2n ** 60n,
      duration: 1n,
      reference: { c: "ntp" },
    });
  });

  it("an unknown name or a refused payload is skipped whole; an unusable header is 0; names may be long (Q8)", () => {
    const long: MetaType<object, void> = registerMeta<object, void>({
      api: "x".repeat(300),
      version: 3,
      serialize: () => new Uint8Array([7]),
      deserialize: (payload, buffer, version) => (payload[0] === 7 && version === 3 ? buffer.addMeta(long) : undefined),
    });
    const buffer = four();
    const record = serializeMeta(buffer.addMeta(long)!)!;
    expect(record.length).toBe(8 + 300 + 2 + 1);
    expect(deserializeMeta(four(), record)).toMatchObject({ consumed: record.length, meta: { api: "x".repeat(300) } });
    const refused = record.slice();
    refused[refused.length - 1] = 8;
    expect(deserializeMeta(four(), refused)).toEqual({ consumed: record.length, meta: undefined });
    const unknown = record.slice();
    unknown[8] = 0x79;
    expect(deserializeMeta(four(), unknown)).toEqual({ consumed: record.length, meta: undefined });
    for (let cut = 0; cut < record.length; cut++)
      expect(deserializeMeta(four(), record.subarray(0, cut)).consumed).toBe(0);
    const noNul = record.slice();
    noNul[308] = 1;
    expect(deserializeMeta(four(), noNul).consumed).toBe(0);
    expect(serializeMeta(buffer.addMeta(plain.type, 1)!)).toBeUndefined();
  });

  it("payloads from strangers add nothing and throw nothing", () => {
    for (const type of [VideoMeta, AudioMeta, RegionOfInterestMeta, ReferenceTimestampMeta]) {
      for (const payload of [
        "",
        "{",
        "null",
        "3",
        "[]",
        '{"format":"I420"}',
        '{"timestamp":5}',
        '{"width":-1,"format":"I420","height":2}',
      ]) {
        expect(type.spec.deserialize?.(new TextEncoder().encode(payload), four(), 0)).toBeUndefined();
      }
    }
  });
});

describe("buffer lists", () => {
  it("own their buffers, copy the list and not the bytes, and copy a shared buffer before it is changed", () => {
    const allocator = new SystemAllocator("list");
    const list = new MediaBufferList([1, 2, 3].map((size) => MediaBuffer.allocate(size, { allocator })));
    expect([list.length, list.size, list.at(1).size]).toEqual([3, 6, 2]);
    list.retain();
    expect([code(() => list.insert(four())), code(() => list.remove(0)), code(() => list.writableAt(0))]).toEqual(
      Array(3).fill("ERR_NOT_WRITABLE"),
    );
    const own = list.makeWritable();
    expect([own === list, own.at(0) === list.at(0), own.at(0).isWritable]).toEqual([false, true, false]);
    const mine = own.writableAt(0);
    expect([mine === list.at(0), mine.isWritable]).toEqual([false, true]);
    own.remove(1, 2);
    own.insert(MediaBuffer.allocate(9, { allocator }), 0);
    expect([...own].map((buffer) => buffer.size)).toEqual([9, 1]);
    own.release();
    list.release();
    expect([code(() => list.release()), code(() => list.at(0)), allocator.stats().liveMemories]).toEqual([
      "ERR_DOUBLE_RELEASE",
      "ERR_USE_AFTER_RELEASE",
      0,
    ]);
    expect([
      code(() => new MediaBufferList([3 as never])),
      code(() => new MediaBufferList().at(0)),
      code(() => new MediaBufferList([four()]).remove(0, 2)),
    ]).toEqual(["ERR_INVALID_ARG_TYPE", "ERR_OUT_OF_RANGE", "ERR_OUT_OF_RANGE"]);
  });
});

it("the custom allocator of the guide runs", () => {
  const script = new URL("../../../examples/custom-allocator.ts", import.meta.url).pathname;
  expect(execFileSync(process.execPath, [script], { encoding: "utf8" }).trim()).toBe(
    "four buffers of one ArrayBuffer, at 192, 128, 64, 0",
  );
});
