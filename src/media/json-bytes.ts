/** JSON as bytes, with bigints; for the payloads of serialized metas, which are small and read by strangers. */

/** UTF-8 JSON; a bigint becomes `{"$big": "123"}`. */
export function encodeJson(value: unknown): Uint8Array {
  const text = JSON.stringify(value, (_key, field: unknown) =>
    typeof field === "bigint" ? { $big: String(field) } : field,
  );
  return new TextEncoder().encode(text);
}

/** The reverse; undefined for anything that is no JSON. */
export function decodeJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes), (_key, field: unknown) => {
      const big = (field as { $big?: unknown } | null)?.$big;
      return typeof big === "string" ? BigInt(big) : field;
    });
  } catch {
    return undefined;
  }
}
