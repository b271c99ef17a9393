import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { allocators, BufferPool } from "../../src/index.ts";

function message(run: () => unknown): string {
  try {
    return `no error: ${String(run())}`;
  } catch (error) {
    return (error as Error).message;
  }
}

it("get() gives what find() gives, and throws where that is undefined", () => {
  expect([allocators.get("system"), allocators.get("shared")]).toEqual([
    allocators.find("system"),
    allocators.find("shared"),
  ]);
  expect(message(() => allocators.get("sharde"))).toMatch(
    /^name must be one of system, shared, wasm .*, but it is "sharde" \[ERR_INVALID_ARG_VALUE\]$/,
  );
  expect(message(() => allocators.get("__proto__"))).toContain("ERR_INVALID_ARG_VALUE");
  for (const none of [undefined, null, 5, {}]) {
    expect(message(() => allocators.get(none as never))).toContain("ERR_INVALID_ARG_TYPE");
  }
});

it("get() of a native allocator names the import that is missing, for each that the entry point registers", () => {
  const native = readFileSync(new URL("../../src/native.ts", import.meta.url), "utf8");
  const names = [...native.matchAll(/registerLazily\("(\w+)"/g)].map(([, name]) => name!);
  expect(names.length).toBeGreaterThan(3);
  for (const name of names) {
    expect(allocators.find(name)).toBeUndefined();
    expect(message(() => allocators.get(name))).toMatch(new RegExp(`import "millpond/native" for .*${name}`));
    expect(message(() => BufferPool.create({ size: 8, max: 1, allocator: allocators.get(name) }))).toContain(name);
  }
});

it("an option that is undefined is absent, as every option: a spread of one that may be missing works", () => {
  const maybe: { allocator?: ReturnType<typeof allocators.get> } = {};
  const pool = BufferPool.create({ size: 8, max: 1, allocator: maybe.allocator, zero: undefined, name: undefined });
  expect(pool.config?.allocator).toBe(allocators.default);
});
