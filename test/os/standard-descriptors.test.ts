/** Programs close their standard descriptors: what reads memory must know, because libuv may not. */
import { spawnSync } from "node:child_process";
import { expect, it } from "vitest";
import { areStandardDescriptorsOpen } from "../../src/os/standard-descriptors.ts";

const FILE = new URL("../../src/os/standard-descriptors.ts", import.meta.url).href;

it.runIf(process.platform === "linux").each([0, 1, 2])("a closed descriptor %i is told from an open one", (fd) => {
  const code = `
    import { closeSync } from "node:fs";
    const { areStandardDescriptorsOpen } = await import(${JSON.stringify(FILE)});
    const before = areStandardDescriptorsOpen();
    closeSync(${fd});
    process.exit(before && !areStandardDescriptorsOpen() ? 7 : 8);`;
  expect(spawnSync(process.execPath, ["--input-type=module", "-e", code]).status).toBe(7);
});

it("they are open in a process that has closed none", () => {
  expect(areStandardDescriptorsOpen()).toBe(true);
});
