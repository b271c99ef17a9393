/** The package as it is published: what it finds by the place of its own files must be found there too. */
import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { rolldown } from "rolldown";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findSystemNode } from "../../scripts/lib/system-node.ts";
import { nativeOps } from "../../src/os/load.ts";
import { FULL } from "../helpers/effort.ts";

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, "..", "..");
// Inside node_modules, so that optional peers are found from there as they are beside an installed millpond.
const CACHE = join(ROOT, "node_modules", ".cache", "millpond-packed");
/** The oldest Node that the package promises to run on, where the machine has it. */
const NODE = findSystemNode()?.path ?? process.execPath;

let folder = "";

beforeAll(() => {
  mkdirSync(CACHE, { recursive: true });
  folder = mkdtempSync(join(CACHE, "app-"));
  execFileSync("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", folder], {
    cwd: ROOT,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const installed = join(folder, "node_modules", "millpond");
  mkdirSync(installed, { recursive: true });
  const tarball = readdirSync(folder).find((file) => file.endsWith(".tgz"))!;
  execFileSync("tar", ["-xzf", join(folder, tarball), "-C", installed, "--strip-components", "1"]);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Writes a module of the application's and runs it; what it prints is one JSON value. */
async function runModule(name: string, text: string): Promise<unknown> {
  const file = join(folder, name);
  writeFileSync(file, text);
  const { stdout } = await run(NODE, [file], { cwd: folder, timeout: 100_000 });
  return JSON.parse(stdout);
}

const HOLDER = `
import { BufferPool, PagePool } from "millpond";
const pool = new BufferPool({ trace: true });
pool.configure({ size: 8, max: 1 });
pool.activate();
const pages = new PagePool({ trace: true });
function culprit() { pool.tryAcquire(); pages.tryAllocate(8); }
culprit();
console.log(JSON.stringify([pool.holders()[0].site, pages.holders()[0].site]));`;

/** A package of somebody else's, which knows nothing of millpond and leaves one array out. */
const USER = `
const pool = require("typedarray-pool");
exports.refuses = (array) => {
  try {
    pool.free(array);
  } catch (error) {
    return error.code;
  }
};
exports.run = () => {
  const array = pool.malloc(100, "float");
  pool.mallocDouble(4);
  pool.freeFloat(array);
  return exports.refuses(array);
};`;

describe("the packed package", FULL, () => {
  it("names the application's line as the holder, from its shared chunks", async () => {
    for (const site of (await runModule("holder.mjs", HOLDER)) as string[]) {
      expect(site.split("\n")[0]).toMatch(/^at culprit .*holder\.mjs:7/);
    }
  });

  it("still shows the application's line where a bundler made one file of both", async () => {
    const bundle = await rolldown({
      input: join(folder, "holder.mjs"),
      cwd: folder,
      platform: "node",
      external: /^node:/,
    });
    const { output } = await bundle.generate({ format: "esm" });
    await bundle.close();
    for (const site of (await runModule("bundle.mjs", output[0].code)) as string[]) expect(site).toContain("culprit");
  });

  it("starts its worker threads, and names the line of the application's module that throws in one", async () => {
    writeFileSync(join(folder, "double.mjs"), "export default (frame) => frame.width * 2;\n");
    writeFileSync(join(folder, "broken.mjs"), "export default () => {\n  throw new Error('no such plane');\n};\n");
    const text = (module: string): string => `
      import { NullSink, PatternSource, Pipeline } from "millpond/pipeline";
      import { WorkersElement } from "millpond/pipeline/node";
      const source = new PatternSource({ format: "I420", width: 16, height: 16, frames: 4 });
      const workers = new WorkersElement(${JSON.stringify(join(folder, module))}, { workers: 2 });
      const told = await new Pipeline().link(source, workers, new NullSink()).run().then(
        ({ sinks }) => Object.values(sinks),
        (error) => error.message,
      );
      console.log(JSON.stringify(told));`;
    expect(await runModule("workers.mjs", text("double.mjs"))).toEqual([4]);
    expect(await runModule("workers.mjs", text("broken.mjs"))).toMatch(/no such plane \(.*broken\.mjs:2:9\)/);
  });

  it.skipIf(!nativeOps().availability.ok)("starts the thread that waits for other processes", async () => {
    expect(
      await runModule(
        "process.mjs",
        `import { ProcessPool } from "millpond/native";
         const pool = ProcessPool.create({ size: 64, count: 1 });
         const slot = pool.tryAcquire();
         const waited = pool.acquire({ timeout: 90_000 });
         setTimeout(() => pool.release(slot), 300);
         const again = await waited;
         pool.release(again);
         const { waits } = pool;
         pool.leave();
         console.log(JSON.stringify({ waits }));`,
      ),
    ).toEqual({ waits: "futex" });
  });

  it("has a command that knows its version and decodes a file in threads", async () => {
    const command = join(folder, "node_modules", "millpond", "dist", "cli.js");
    const { stdout } = await run(NODE, [command, "--version"], { cwd: folder, timeout: 100_000 });
    expect(stdout).toMatch(/^(millpond )?\d+\.\d+\.\d+/);
    const clip = join(ROOT, "assets", "clip.mp4");
    await run(NODE, [command, "run", clip, "--out", "out"], { cwd: folder, timeout: 100_000 });
    expect(readdirSync(join(folder, "out")).length).toBeGreaterThan(0);
  });

  it(
    "takes the place of typedarray-pool by overrides, also in packages that require it, and where it was installed before",
    FULL,
    async () => {
      // Outside the repository, where nothing is found but what npm installed.
      const app = mkdtempSync(join(tmpdir(), "millpond-overrides-"));
      try {
        const npm = (cwd: string, ...args: string[]): unknown =>
          execFileSync("npm", [...args, "--silent", "--offline", "--no-audit", "--no-fund"], { cwd });
        const pack = (manifest: { name: string; dependencies?: object }, code: string): void => {
          const source = join(app, manifest.name);
          mkdirSync(source);
          writeFileSync(join(source, "package.json"), JSON.stringify({ version: "1.2.0", ...manifest }));
          writeFileSync(join(source, "index.js"), code);
          npm(source, "pack", "--pack-destination", app);
          rmSync(source, { recursive: true });
        };
        pack({ name: "typedarray-pool" }, "");
        const original = `file:${join(app, "typedarray-pool-1.2.0.tgz")}`;
        pack({ name: "user", dependencies: { "typedarray-pool": original } }, USER);
        const before = { name: "app", dependencies: { user: "file:user-1.2.0.tgz" } };
        writeFileSync(join(app, "package.json"), JSON.stringify(before));
        npm(app, "install");
        expect(readFileSync(join(app, "node_modules", "typedarray-pool", "index.js"), "utf8")).toBe("");
        const tarball = readdirSync(folder).find((file) => file.endsWith(".tgz"))!;
        writeFileSync(
          join(app, "package.json"),
          JSON.stringify({
            name: "app",
            dependencies: {
              ...before.dependencies,
              millpond: `file:${join(folder, tarball)}`,
              "typedarray-pool": "file:./node_modules/millpond/compat/typedarray-pool",
            },
            overrides: { "typedarray-pool": "$typedarray-pool" },
          }),
        );
        npm(app, "install");
        writeFileSync(
          join(app, "main.mjs"),
          `import user from "user";
         import other, { mallocUint8 } from "typedarray-pool";
         import { free, stats } from "millpond/compat/typedarray-pool";
         const array = mallocUint8(8);
         free(array);
         console.log(JSON.stringify([user.run(), user.refuses(array), other.stats().live, stats().live]));`,
        );
        const told = async (): Promise<unknown> => {
          const { stdout } = await run(NODE, [join(app, "main.mjs")], { cwd: app, timeout: 100_000 });
          return JSON.parse(stdout);
        };
        // The ES module and what is required are two copies of the code, and one pool.
        expect(await told()).toEqual(["ERR_DOUBLE_RELEASE", "ERR_DOUBLE_RELEASE", 1, 1]);
        // From the lock file, as on a build machine.
        npm(app, "ci");
        expect(await told()).toEqual(["ERR_DOUBLE_RELEASE", "ERR_DOUBLE_RELEASE", 1, 1]);
        expect(realpathSync(join(app, "node_modules", "typedarray-pool"))).toBe(
          realpathSync(join(app, "node_modules", "millpond", "compat", "typedarray-pool")),
        );
      } finally {
        rmSync(app, { recursive: true, force: true });
      }
    },
  );
});
