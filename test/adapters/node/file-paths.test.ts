/** Two names of one file, also where the file is not there yet. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { assertPathsApart, followLinks } from "../../../src/adapters/node/file-paths.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "millpond-paths-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const writes = (...names: string[]): Promise<void> =>
  assertPathsApart(
    [],
    names.map((name, i) => ({ path: join(folder, name), by: `"${i}"` })),
  );

it.each([
  [false, "is not there yet"],
  [true, "is there"],
])("refuses a file and a link to it (%s), through other links and folders too, when the file %s", async (isThere) => {
  mkdirSync(join(folder, "sub"));
  symlinkSync("sub", join(folder, "same"));
  symlinkSync("same/o.y4m", join(folder, "far.json"));
  symlinkSync("far.json", join(folder, "l.json"));
  if (isThere) writeFileSync(join(folder, "sub/o.y4m"), "");
  for (const [one, other] of [
    ["sub/o.y4m", "l.json"],
    ["l.json", "sub/o.y4m"],
    ["far.json", "l.json"],
    ["same/o.y4m", "l.json"],
  ] as const) {
    await expect(writes(one, other)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_VALUE" });
  }
  await expect(writes("l.json", "sub/p.y4m", "o.y4m")).resolves.toBeUndefined();
});

it("tells links that lead in a circle apart: nothing can be opened by them", async () => {
  symlinkSync("b", join(folder, "a"));
  symlinkSync("a", join(folder, "b"));
  await expect(writes("a", "b")).resolves.toBeUndefined();
  await expect(writes("a", "a")).rejects.toMatchObject({ code: "ERR_INVALID_ARG_VALUE" });
});

it("goes up from where a link leads, as the system does, also behind another link", async () => {
  mkdirSync(join(folder, "far/deep"), { recursive: true });
  symlinkSync("far/deep", join(folder, "sub"));
  symlinkSync("sub/../t.y4m", join(folder, "l.y4m"));
  writeFileSync(join(folder, "far/in.y4m"), "");
  expect(await followLinks(`${folder}/sub/../in.y4m`)).toBe(join(folder, "far/in.y4m"));
  expect(await followLinks(`${folder}/sub/../new.y4m`)).toBe(join(folder, "far/new.y4m"));
  expect(await followLinks(`${folder}/l.y4m`)).toBe(join(folder, "far/t.y4m"));
});

it("follows links in the place of folders that are not there yet, at any depth", async () => {
  symlinkSync("o", join(folder, "p"));
  symlinkSync("p/q/r", join(folder, "deep"));
  const end = join(folder, "o/q/r/x/frames.json");
  for (const name of ["o/q/r/x/frames.json", "p/q/r/x/frames.json", "deep/x/frames.json"]) {
    expect(await followLinks(`${folder}/${name}`)).toBe(end);
    await expect(writes("o/q/r/x/frames.json", name)).rejects.toMatchObject({ code: "ERR_INVALID_ARG_VALUE" });
  }
  const missing = Array.from({ length: 100 }, (_, i) => `d${i}`).join("/");
  expect(await followLinks(`${folder}/${missing}/o`)).toBe(join(folder, missing, "o"));
});

it("ends where links lead to folders in themselves that are not there", async () => {
  symlinkSync("absent/../a/x", join(folder, "a"));
  await expect(followLinks(join(folder, "a"))).rejects.toMatchObject({ code: "ELOOP" });
  await expect(followLinks(join(folder, "a/b"))).rejects.toMatchObject({ code: "ELOOP" });
  await expect(writes("a", "b")).resolves.toBeUndefined();
});
