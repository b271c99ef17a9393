/** Whose line a report names: the application's, whatever its folders are called. */
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { callerOf, rootsOf } from "../../src/util/stack.ts";

const run = promisify(execFile);
const SRC = fileURLToPath(new URL("../../src/", import.meta.url));

const stackOf = (...places: string[]): Error => {
  const error = new Error("acquired");
  error.stack = ["Error: acquired", ...places.map((place) => `    at ${place}`)].join("\n");
  return error;
};

describe("the caller in a report", () => {
  const roots = rootsOf("file:///app/node_modules/millpond/dist/util/stack.js");
  const own = "BufferPool.acquire (file:///app/node_modules/millpond/dist/pools/buffer/lending.js:10:5)";

  it("is the application's own frame in folders called media, pools and memory", () => {
    for (const mine of ["media/pools/memory/player.ts", "src/media/a.js", "pools/lending.js", "util/stack.js"]) {
      const frame = `play (file:///app/${mine}:3:1)`;
      expect(callerOf(stackOf(own, own, frame), roots).split("\n")[0]).toBe(`at ${frame}`);
      expect(callerOf(stackOf(own, `async ${frame}`), roots).split("\n")[0]).toBe(`at async ${frame}`);
    }
  });

  it("is known by the library's URL however the engine writes it", () => {
    const mine = "play (file:///app/main.js:3:1)";
    for (const place of [
      "file:///app/node_modules/millpond/dist/compat/cork.js:1:1",
      "async Pipeline.run (file:///app/node_modules/millpond/dist/pipeline/run.js:1:1)",
      "new X (/app/node_modules/millpond/dist/index.js:1:1)",
    ]) {
      expect(callerOf(stackOf(place, mine), roots)).toBe(`at ${mine}`);
    }
    const firefox = new Error("acquired");
    firefox.stack = "acquire@https://x.org/lib/millpond/pools/lending.js:1:1\nplay@https://x.org/main.js:2:2";
    expect(callerOf(firefox, rootsOf("https://x.org/lib/millpond/util/stack.js?v=3"))).toBe(
      "play@https://x.org/main.js:2:2",
    );
    const windows = rootsOf("file:///C:/My%20App/dist/util/stack.js");
    expect(callerOf(stackOf("a (C:\\My App\\dist\\pools\\x.js:1:1)", "b (C:\\My App\\m.js:1:1)"), windows)).toBe(
      "at b (C:\\My App\\m.js:1:1)",
    );
    expect(callerOf(stackOf("a (file:///C:/My%20App/dist/pools/x.js:1:1)", "b (x.js:1:1)"), windows)).toBe(
      "at b (x.js:1:1)",
    );
  });

  it("is known in the built package, whose chunks lie in one folder", () => {
    const built = rootsOf("file:///app/node_modules/millpond/dist/_stack.js");
    const mine = "play (file:///app/main.js:3:1)";
    const chunk = "BufferPool.acquire (file:///app/node_modules/millpond/dist/_buffer-pool.js:10:5)";
    expect(callerOf(stackOf(chunk, mine), built)).toBe(`at ${mine}`);
  });

  it("is not searched for in a bundle or where nothing is known: all frames are shown", () => {
    for (const self of [undefined, "file:///app/bundle.js", "", "blob:null/123"]) {
      expect(rootsOf(self)).toEqual([]);
    }
    expect(callerOf(stackOf("a (file:///app/bundle.js:1:1)"), [])).toBe("at a (file:///app/bundle.js:1:1)");
  });

  it("is the whole stack when every frame is the library's, and empty without a stack", () => {
    expect(callerOf(stackOf(own), roots)).toBe(`at ${own}`);
    const bare = new Error("acquired");
    Object.defineProperty(bare, "stack", { value: undefined });
    expect(callerOf(bare, roots)).toBe("");
  });

  it("is right in a program of its own in media/pools/memory, from the sources and from a copy elsewhere", async () => {
    const folder = await mkdtemp(join(tmpdir(), "millpond-caller-"));
    try {
      const mine = join(folder, "media", "pools", "memory");
      await mkdir(mine, { recursive: true });
      const copy = join(folder, "library");
      await cp(SRC, copy, { recursive: true });
      for (const root of [SRC, copy]) {
        const pools = JSON.stringify(pathToFileURL(join(root, "pools", "buffer", "buffer-pool.ts")).href);
        const pages = JSON.stringify(pathToFileURL(join(root, "pools", "page", "page-pool.ts")).href);
        const file = join(mine, "player.mjs");
        await writeFile(
          file,
          `import { BufferPool } from ${pools};
           import { PagePool } from ${pages};
           const pool = new BufferPool({ trace: true });
           pool.configure({ size: 8, max: 1 });
           pool.activate();
           const pages = PagePool.create({ trace: true });
           function culprit() { pool.tryAcquire(); pages.tryAllocate(8); }
           culprit();
           console.log(JSON.stringify([pool.holders()[0].site, pages.holders()[0].site]));`,
        );
        const { stdout } = await run(process.execPath, [file], { timeout: 100_000 });
        for (const site of JSON.parse(stdout) as string[]) expect(site.split("\n")[0]).toContain("culprit");
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
