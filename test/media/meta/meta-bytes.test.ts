// Shares its realm with other files: nothing that it changes outlives it.
/** Serialized metas come back as what was written, or are not written at all. */
import { expect, test } from "vitest";
import { MediaBuffer } from "../../../src/media/buffer/media-buffer.ts";
import {
  addCustomMeta,
  ReferenceTimestampMeta,
  RegionOfInterestMeta,
  registerCustomMeta,
} from "../../../src/media/meta/built-in.ts";
import { VideoMeta } from "../../../src/media/meta/layout-metas.ts";
import { registerMeta } from "../../../src/media/meta/meta.ts";
import { deserializeMeta, serializeMeta, serializeMetas } from "../../../src/media/meta/serialize.ts";
import { MillpondError } from "../../../src/util/errors.ts";

registerCustomMeta("test.exact");

function written(value: unknown): Uint8Array {
  const buffer = MediaBuffer.allocate(8);
  return serializeMeta(addCustomMeta(buffer, "test.exact", { value })!)!;
}

function cameBack(value: unknown): unknown {
  const target = MediaBuffer.allocate(8);
  const { meta } = deserializeMeta(target, written(value));
  return (meta as unknown as { get(key: string): unknown }).get("value");
}

const cyclic: { self?: unknown } = {};
cyclic.self = cyclic;

test.each([
  ["bytes", Uint8Array.of(1, 2, 255)],
  ["no bytes", new Uint8Array(0)],
  ["many bytes", new Uint8Array(70_000).map((_, i) => i)],
  ["NaN", Number.NaN],
  ["Infinity", Number.POSITIVE_INFINITY],
  ["-Infinity", Number.NEGATIVE_INFINITY],
  ["-0", -0],
  ["undefined", undefined],
  ["null", null],
  ["a bigint", -(2n ** 70n)],
  ["a text with half a surrogate", "\ud800x"],
  ["nested data", { a: [1, { b: undefined }, [Number.NaN, 5n]], c: Uint8Array.of(7) }],
  ["a key called __proto__", JSON.parse('{"__proto__": {"x": 1}, "y": 2}')],
  ["a key called toJSON", { toJSON: "data" }],
])("%s comes back as it was", (_, value) => {
  expect(cameBack(value)).toStrictEqual(value);
  expect(Object.is(cameBack(value), value)).toBe(typeof value !== "object" || value === null);
});

test("a key called __proto__ is a key, not a prototype", () => {
  const back = cameBack(JSON.parse('{"__proto__": {"x": 1}}')) as object;
  expect(Object.keys(back)).toEqual(["__proto__"]);
  expect(Object.getPrototypeOf(back)).toBe(Object.prototype);
});

test.each([
  ["a Map", new Map([[1, 2]]), "ERR_INVALID_ARG_TYPE"],
  ["a Set", new Set([1]), "ERR_INVALID_ARG_TYPE"],
  ["a Date", new Date(0), "ERR_INVALID_ARG_TYPE"],
  ["an instance of a class", new (class Thing {})(), "ERR_INVALID_ARG_TYPE"],
  ["an object with its own toJSON", { toJSON: () => 1 }, "ERR_INVALID_ARG_TYPE"],
  ["other numbers' bytes", new Float32Array(2), "ERR_INVALID_ARG_TYPE"],
  ["an ArrayBuffer", new ArrayBuffer(2), "ERR_INVALID_ARG_TYPE"],
  ["a function", () => 1, "ERR_INVALID_ARG_TYPE"],
  ["a symbol", Symbol("x"), "ERR_INVALID_ARG_TYPE"],
  ["a list with a hole", Object.assign([], { length: 2, 1: 1 }), "ERR_INVALID_ARG_VALUE"],
  ["a list with a key of its own", Object.assign([1], { extra: 1 }), "ERR_INVALID_ARG_VALUE"],
  ["a symbol as a key", { [Symbol("x")]: 1 }, "ERR_INVALID_ARG_VALUE"],
  ["data that contains itself", cyclic, "ERR_INVALID_ARG_VALUE"],
  ["a key that is a tag", { $big: "1" }, "ERR_INVALID_ARG_VALUE"],
  ["a list of 2^32 - 1 holes", Object.assign([], { length: 2 ** 32 - 1 }), "ERR_INVALID_ARG_VALUE"],
])("%s is refused, and the message says where it is", (_, value, code) => {
  expect(() => written({ deep: [value] })).toThrow(
    expect.objectContaining({ code, message: expect.stringContaining("test.exact.value.deep[0]") as string }) as Error,
  );
});

test("lists that share lists end in an error, not in a day", () => {
  let data: unknown[] = [];
  for (let depth = 0; depth < 60; depth++) data = [data, data];
  expect(() => written(data)).toThrow(expect.objectContaining({ code: "ERR_INVALID_ARG_VALUE" }) as Error);
});

test("bytes that were transferred away are refused", () => {
  const bytes = new Uint8Array(8);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  expect(() => written(bytes)).toThrow(expect.objectContaining({ code: "ERR_DETACHED" }) as Error);
});

test("one meta that cannot be written refuses the whole list", () => {
  const buffer = MediaBuffer.allocate(8);
  addCustomMeta(buffer, "test.exact", { good: 1 });
  buffer.addMeta(RegionOfInterestMeta, { roiType: "face", params: { map: new Map() } });
  expect(() => serializeMetas(buffer)).toThrow(/region-of-interest\.params\.map/);
});

test("a serialize hook that returns no bytes is named", () => {
  const type = registerMeta<object, undefined>({ api: "test.no-bytes", serialize: () => 8 as never });
  const buffer = MediaBuffer.allocate(8);
  expect(() => serializeMeta(buffer.addMeta(type, undefined)!)).toThrow(
    /serialize\(\) of the meta type "test.no-bytes"/,
  );
});

test.each(['{"$value":"no such"}', '{"$big":"x"}', '{"$bytes":"*"}', "[", ""])(
  "the payload %j adds no meta",
  (payload) => {
    const target = MediaBuffer.allocate(8);
    const record = written(1);
    const head = record.subarray(0, 8 + "test.exact".length + 2);
    const forged = new Uint8Array([...head, ...new TextEncoder().encode(payload)]);
    new DataView(forged.buffer).setUint32(0, forged.length, true);
    expect(deserializeMeta(target, forged)).toEqual({ consumed: forged.length, meta: undefined });
  },
);

test("a payload with the wrong types adds no meta and throws nothing", () => {
  const source = MediaBuffer.allocate(8);
  const meta = source.addMeta(RegionOfInterestMeta, { roiType: "face" })!;
  Object.assign(meta, { x: "left" });
  const target = MediaBuffer.allocate(8);
  expect(deserializeMeta(target, serializeMeta(meta)!).meta).toBeUndefined();
  expect(target.metas()).toEqual([]);
});

test.each([
  ["VideoMeta", VideoMeta],
  ["RegionOfInterestMeta", RegionOfInterestMeta],
  ["ReferenceTimestampMeta", ReferenceTimestampMeta],
])("addMeta(%s) refuses null and numbers with the library's error", (_, type) => {
  const buffer = MediaBuffer.allocate(8);
  for (const params of [null, 8, "x"]) {
    expect(() => buffer.addMeta(type as never, params as never)).toThrow(MillpondError);
    expect(buffer.metas()).toEqual([]);
  }
});
