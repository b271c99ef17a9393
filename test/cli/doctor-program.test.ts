/**
 * `millpond doctor app.js` on programs whose buffers are known by count: what it counts, by place, in threads and
 * forks; that the program behaves as it does by itself; and how each of its ends is reported.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { parseCommand } from "../../src/cli/args.ts";
import { LIMITS } from "../../src/cli/doctor/advise.ts";
import type { ObservedSite } from "../../src/cli/doctor/profile.ts";
import { type Diagnosis, examine } from "../../src/cli/doctor/program.ts";
import { type Exit, exitOf, run } from "../helpers/child.ts";
import { FULL, isFullLength, REPEATED, times } from "../helpers/effort.ts";
import { MAIN, millpond, ROOT, scratchFolder } from "./command.ts";

const PROGRAMS = join(ROOT, "test/cli/doctor-programs");
const scratch = scratchFolder();
afterAll(scratch.remove);
let files = 0;

const program = (name: string): string => join(PROGRAMS, name);

/** A program of these lines, in a file of its own. */
function written(code: string, name = `program-${files++}.mjs`): string {
  const path = join(scratch.path, name);
  writeFileSync(path, code);
  return path;
}

async function examined(...args: string[]): Promise<Diagnosis & { readonly exit: Exit }> {
  const report = join(scratch.path, `report-${files++}.json`);
  const exit = await millpond(["doctor", "--json", report, ...args]);
  return { exit, ...(JSON.parse(readFileSync(report, "utf8")) as Diagnosis) };
}

function sitesOf({ profile }: Diagnosis): Map<string, ObservedSite> {
  return new Map(profile!.sites.map((site) => [site.place.function, site]));
}

describe("what the doctor counts", REPEATED, () => {
  it("every large buffer, by the place that made it, and nothing else", async () => {
    const big = join(scratch.path, "big");
    writeFileSync(big, new Uint8Array(100_000));
    const found = await examined(program("counts.mjs"), big);
    const lines = JSON.parse(found.exit.stdout) as Record<string, number>;
    const sites = sitesOf(found);
    const names = Object.keys(lines).filter((name) => !["readText", "views", "small", "subclass"].includes(name));
    const kept = names.map((name) => {
      const site = sites.get(name);
      return [
        name,
        site && [basename(site.place.file), site.place.line, site.api, site.count, site.bytes / site.count],
      ];
    });
    const apis = {
      typed: "new Float32Array",
      block: "new ArrayBuffer",
      shared: "new SharedArrayBuffer",
      alloc: "Buffer.alloc",
      unsafe: "Buffer.allocUnsafe",
      slow: "Buffer.allocUnsafeSlow",
      from: "Buffer.from",
      concat: "Buffer.concat",
      ofArray: "new Uint8Array",
      sliced: "ArrayBuffer.slice",
      copied: "TypedArray.slice",
      readSync: "fs.readFileSync",
      readBack: "fs.readFile",
      readPromise: "fs.promises.readFile",
      clone: "structuredClone",
      post: "postMessage",
      move: "new ArrayBuffer",
    };
    const order = [
      "typed",
      "block",
      "shared",
      "alloc",
      "unsafe",
      "slow",
      "from",
      "concat",
      "ofArray",
      "sliced",
      "copied",
    ];
    order.push(
      "readSync",
      "readBack",
      "readPromise",
      "readText",
      "clone",
      "subclass",
      "views",
      "small",
      "post",
      "move",
    );
    expect(Object.fromEntries(kept)).toEqual(
      Object.fromEntries(
        Object.entries(apis).map(([name, api]) => [
          name,
          ["counts.mjs", lines[name], api, order.indexOf(name) + 1, name === "concat" ? 200_000 : 100_000],
        ]),
      ),
    );
    expect(sites.get("Frame")).toMatchObject({ api: "new Uint8Array", count: order.indexOf("subclass") + 1 });
    expect(sites.get("concat")!.parts).toBe(2 * sites.get("concat")!.count);
    // These, the one at the top level, and no more.
    expect(sites.size).toBe(Object.keys(apis).length + 2);
    expect(found.advice!.pools).toEqual([]);
  });

  it("a threshold leaves smaller ones out", async () => {
    const code =
      "for (let n = 0; n < 5; n++) { new Uint8Array(99_999); new Uint8Array(100_000); new Uint16Array(50_000); }";
    const { profile } = await examined("--threshold", "100000", written(code));
    expect(profile!.sites.map(({ api, count }) => [api, count])).toEqual([
      ["new Uint8Array", 5],
      ["new Uint16Array", 5],
    ]);
  });

  it("in workers and forks too, and all but the last second of a worker that is terminated", async () => {
    const found = await examined(program("threads.mjs"));
    const sites = sitesOf(found);
    expect(["inWorker", "inFork", "inVain"].map((name) => sites.get(name)?.count)).toEqual([20, 30, 10]);
    expect(found.profile).toMatchObject({ processes: 2, threads: 4, isComplete: false });
    expect(found.advice!.notes.join()).toContain("its last second may be missing");
  });

  it("by the package, and the program's line that called it", async () => {
    const folder = join(scratch.path, "node_modules/@some/frames");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "package.json"), '{"name":"@some/frames","type":"module","exports":"./index.js"}');
    writeFileSync(join(folder, "index.js"), "export function make() { return new Uint8Array(100_000); }\n");
    const code =
      'import { make } from "@some/frames";\nfunction caller() {\n  make();\n}\nfor (let n = 0; n < 40; n++) caller();\n';
    const { profile } = await examined(written(code));
    expect(profile!.sites).toMatchObject([
      { package: "@some/frames", count: 40, place: { function: "make" }, caller: { function: "caller", line: 3 } },
    ]);
  });

  it.each([
    [1, "place"],
    [0, "thread"],
  ])("how many are in use at a time (turns of the event loop: %i)", async (turns, from) => {
    const found = await examined(program("stream.mjs"), "400", "3", "0", String(turns));
    const site = sitesOf(found).get("decode")!;
    // Three in hand, and the one that is made.
    expect(site).toMatchObject({ count: 400, inUse: 4, inUseFrom: from });
    expect(site.keptShare).toBeLessThan(0.02);
  });

  // The fast lane has one of the two ways to look at what is in use: both are above.
  for (const [turns, tag] of [[1, {}] as const, [0, FULL] as const]) {
    it(`that some stay in use for good (turns of the event loop: ${turns})`, tag, async () => {
      const found = await examined(program("stream.mjs"), "400", "3", "10", String(turns));
      expect(sitesOf(found).get("decode")!.keptShare).toBeGreaterThan(0.05);
      expect(found.advice!.pools).toEqual([]);
    });
  }

  it("what is posted, and the programs whose output is read", async () => {
    const code = `
      import { execFileSync, spawn } from "node:child_process";
      import { once } from "node:events";
      import { MessageChannel } from "node:worker_threads";
      const { port1, port2 } = new MessageChannel();
      function moved() { return new ArrayBuffer(100_000); }
      function copied() { return Buffer.alloc(100_000); }
      for (let n = 0; n < 20; n++) { const one = moved(); port1.postMessage({ one }, [one]); }
      for (let n = 0; n < 30; n++) { const one = copied(); port1.postMessage([[one]], { transfer: [] }); }
      port1.close();
      await once(spawn(process.execPath, ["-e", ""]), "close");
      await once(spawn(process.execPath, ["-e", ""], { stdio: "ignore" }), "close");`;
    const found = await examined(written(code));
    const sites = sitesOf(found);
    expect(sites.get("moved")).toMatchObject({ count: 20, transferred: 20, cloned: 0 });
    expect(sites.get("copied")).toMatchObject({ count: 30, transferred: 0, cloned: 30 });
    expect(found.profile!.sites.find(({ api }) => api === "postMessage")).toMatchObject({ count: 30, bytes: 3e6 });
    expect(found.profile!.programs).toEqual([basename(process.execPath)]);
  });

  it.skipIf(process.platform !== "linux")(
    "memory that grows with the buffers, and that the engine does not know of",
    async () => {
      const { profile, advice } = await examined(join(ROOT, "bench/doctor/native.before.mjs"), String(times(250, 500)));
      expect(profile!.unknownBytes / profile!.grownBy).toBeGreaterThan(LIMITS.unknownShare);
      expect(advice!.refused.map(({ reason }) => reason)).toEqual(["native"]);
    },
  );

  it("a file once, however it is read, and Node's own buffer for it not at all", async () => {
    const big = join(scratch.path, "once");
    writeFileSync(big, new Uint8Array(100_000));
    const code = `import fs from "node:fs";
      const [,, file] = process.argv;
      const handle = await fs.promises.open(file);
      for (let n = 0; n < 10; n++) {
        await fs.promises.readFile(file);
        await new Promise((resolve) => fs.readFile(file, resolve));
        fs.readFileSync(file);
        await fs.promises.readFile(file, "latin1");
        await handle.read({ buffer: Buffer.alloc(10), position: 0 });
        await fs.promises.readFile(handle, "latin1");
      }
      await handle.close();`;
    const { profile } = await examined(written(code), big);
    expect(profile).toMatchObject({ count: 30, bytes: 3_000_000 });
    expect(profile!.sites.map(({ api, count }) => [api, count])).toEqual([
      ["fs.promises.readFile", 10],
      ["fs.readFile", 10],
      ["fs.readFileSync", 10],
    ]);
    const byHandle = `import fs from "node:fs";
      for (let n = 0; n < 40; n++) {
        const handle = await fs.promises.open(process.argv[2]);
        await handle.readFile();
        await handle.close();
      }`;
    const found = await examined(written(byHandle), big);
    expect([found.profile!.count, found.advice!.verdict]).toEqual([0, "none"]);
  });

  it("of very many buffers one in sixteen, for the rest", async () => {
    const count = times(60_000, 150_000);
    const code = `function often() { return new Uint8Array(1024); } for (let n = 0; n < ${count}; n++) often();`;
    const { profile } = await examined("--threshold", "1024", written(code));
    expect(profile).toMatchObject({ count, isEstimate: true });
    const [site] = profile!.sites;
    expect(site!.place.function).toBe("often");
    expect(Math.abs(site!.count - count)).toBeLessThan(count / 30);
  });

  it("holds no memory for small buffers, nor for places", async () => {
    const code = `
      const makers = Array.from({ length: 2000 }, (_, n) => new Function("return new Uint8Array(65536) //# sourceURL=maker" + n));
      for (const make of makers) make();
      for (let n = 0; n < ${times(200_000, 2_000_000)}; n++) new Uint8Array(8);`;
    const { profile } = await examined(written(code));
    expect(profile!.count).toBe(2000);
    expect(profile!.sites.length).toBeLessThanOrEqual(500);
  });
});

describe("a program under the doctor", REPEATED, () => {
  it.each(["identity.cjs"])("sees functions, classes and errors as they are (%s)", async (name) => {
    const plain = await run([process.execPath, program(name), "a", "b"]);
    const { exit } = await examined(program(name), "a", "b");
    expect(plain.code).toBe(0);
    expect(exit.stdout).toBe(plain.stdout);
  });

  it("has its streams, arguments, environment and exit code", async () => {
    const code = `
      process.stdin.on("data", (text) => process.stdout.write(text)).on("end", () => {
        console.error(process.argv.slice(2).join());
        console.log(Object.keys(process.env).filter((name) => name.startsWith("MILLPOND_DOCTOR")).length);
        process.exitCode = 7;
      });`;
    const exit = await millpond(["doctor", written(code), "--json", "-x"], { stdin: Buffer.from("in\n") });
    expect([exit.code, exit.stdout]).toEqual([7, "in\n0\n"]);
    expect(exit.stderr).toMatch(/^--json,-x\n/);
    expect(exit.stderr).toContain("ended with exit code 7");
  });

  for (const [code, expected, tag] of [
    ["process.exit(3)", 3, {}],
    ["throw new Error('boom')", 1, {}],
    ["process.on('uncaughtException', () => process.exit(9)); setTimeout(() => { throw 1 })", 9, FULL],
    ["process.removeAllListeners('exit')", 0, {}],
    ["await new Promise(() => {})", 13, FULL],
  ] as const) {
    it(`may end by ${code}`, tag, async () => {
      const { exit, ending } = await examined(written(code));
      expect([exit.code, ending.code]).toEqual([expected, expected]);
    });
  }

  const CHANGES = [
    "globalThis.ArrayBuffer = class extends ArrayBuffer {}; globalThis.Buffer = { alloc: () => 1 }",
    "Error.prepareStackTrace = () => { throw new Error('mine') }",
    "Error.stackTraceLimit = 0",
    "Error.stackTraceLimit = 'x'; Object.defineProperty(Error, 'stackTraceLimit', { writable: false })",
    "Object.freeze(Error)",
    "Map.prototype.get = Map.prototype.set = WeakMap.prototype.get = () => { throw 1 }",
    "performance.now = process.memoryUsage = Date.now = () => { throw 1 }",
    "Object.prototype.get = () => 1; Array.prototype.slice = undefined",
  ];
  // The fast lane has all of them in one program.
  for (const [code, tag] of [[CHANGES.join(";\n"), {}] as const, ...CHANGES.map((one) => [one, FULL] as const)]) {
    const name = tag === FULL ? code : "all of what is changed below, at once";
    it(`may change what the doctor could lean on: ${name}`, tag, async () => {
      const body = `${code};\nfor (let n = 0; n < 100; n++) new ArrayBuffer(100_000);\nprocess.stdout.write("done");`;
      const { exit } = await examined(written(body));
      expect([exit.code, exit.stdout]).toEqual([0, "done"]);
    });
  }

  it("is not called by the doctor, whatever it puts in the places of built-in classes and of Node's functions", async () => {
    const found = await examined(program("poison.mjs"));
    expect([found.exit.code, found.exit.stdout, found.exit.stderr]).toEqual([0, "{}\n", ""]);
    const sites = sitesOf(found);
    // Shared memory that a source stands for is nothing that was made there.
    expect(["made", "joined", "shared"].map((name) => sites.get(name)?.count)).toEqual([422, 1, undefined]);
    expect(found.profile!.samples).toBeGreaterThan(1);
    expect(found.profile!.isComplete).toBe(true);
  });

  it("has options of Node of its own, which the doctor does not run, and keeps its gc; the folder may be relative", async () => {
    const base = join(scratch.path, "relative");
    for (const name of ["t", "other", "t/millpond-doctor-4194305-old", "t/millpond-doctor-4194305-new"]) {
      mkdirSync(join(base, name), { recursive: true });
    }
    // Of a doctor that was killed; no process has such a number.
    utimesSync(join(base, "t/millpond-doctor-4194305-old"), 1, 1);
    const odd = written("globalThis.Uint8Array = class extends Uint8Array {};", "odd.cjs");
    const said = written("console.log('before the program');", "said.cjs");
    const code = `
      import { runInNewContext } from "node:vm";
      process.chdir("other");
      // The doctor looks after 256 MB.
      for (let n = 0; n < 320; n++) new Uint16Array(1 << 19);
      console.log(runInNewContext("typeof gc"), process.env.NODE_OPTIONS.includes("said.cjs"));`;
    const args = ["doctor", `--node-options=--expose-gc --require ${said}`, written(code)];
    const exit = await run([process.execPath, MAIN, ...args], {
      cwd: base,
      env: { ...process.env, TMPDIR: "./t", NODE_OPTIONS: `--require ${odd}` },
    });
    expect([exit.code, exit.stdout]).toEqual([0, "before the program\nfunction true\n"]);
    expect(exit.stderr).toMatch(/large buffers +320 of/);
    expect(readdirSync(join(base, "t"))).toEqual(["millpond-doctor-4194305-new"]);
    expect(readdirSync(join(base, "other"))).toEqual([]);
  });

  it("gets every signal that the doctor gets and that can be caught", async () => {
    const signals = ["SIGUSR2", "SIGALRM", "SIGUSR1", "SIGPIPE", "SIGCONT", "SIGWINCH", "SIGTERM"] as const;
    const code = `
      const timer = setInterval(() => {}, 1000);
      for (const signal of ${JSON.stringify(signals)}) process.on(signal, () => {
        console.log(signal);
        if (signal === "SIGTERM") clearInterval(timer);
      });
      console.log("up");`;
    const child = spawn(process.execPath, [MAIN, "doctor", written(code)], { stdio: ["ignore", "pipe", "pipe"] });
    const ended = exitOf(child);
    let lines = 0;
    child.stdout!.on("data", (text: string) => {
      // The next one when the one before has come.
      for (const _ of text.matchAll(/\n/g)) if (lines < signals.length) child.kill(signals[lines++]!);
    });
    const { code: exitCode, stdout } = await ended;
    expect([exitCode, stdout.trim().split("\n")]).toEqual([0, ["up", ...signals]]);
  });

  it("gets no other standard input by a signal: a pipe that it reads stays a blocking one", async () => {
    const path = written(`import fs from "node:fs";
      const timer = setInterval(() => {}, 1000);
      process.on("SIGWINCH", () => {
        const flags = /^flags:\\s*(\\d+)/m.exec(fs.readFileSync("/proc/self/fdinfo/0", "latin1"))[1];
        console.log((parseInt(flags, 8) & fs.constants.O_NONBLOCK) === 0 ? "blocks" : "does not");
        clearInterval(timer);
      });
      console.log("up");`);
    const pipe = join(scratch.path, "stdin");
    execFileSync("mkfifo", [pipe]);
    const stdin = openSync(pipe, "r+");
    const child = spawn(process.execPath, [MAIN, "doctor", path], { stdio: [stdin, "pipe", "ignore"] });
    closeSync(stdin);
    let stdout = "";
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      if (text.includes("up")) child.kill("SIGWINCH");
    });
    await once(child, "close");
    expect(stdout).toBe("up\nblocks\n");
  });

  it("has its exit code also where nobody reads standard error", async () => {
    const path = written("process.stdin.resume().on('end', () => process.exit(5));");
    const child = spawn(process.execPath, [MAIN, "doctor", path], { stdio: ["pipe", "ignore", "pipe"] });
    child.stderr.destroy();
    child.stdin.end();
    const [ending] = await once(child, "close");
    expect(ending).toBe(5);
  });

  it("has its exit code also where the report cannot be written, which is then on standard error", async () => {
    const exit = await millpond(["doctor", "--json=/dev/full", written("process.exitCode = 7;")]);
    expect(exit.code).toBe(7);
    expect(exit.stderr).toContain("/dev/full");
    expect(JSON.parse(exit.stderr.slice(exit.stderr.indexOf("{")))).toMatchObject({ ending: { code: 7 } });
  });

  it("runs with frozen intrinsics, and with long messages", async () => {
    const code = `
      import { MessageChannel } from "node:worker_threads";
      const { port1 } = new MessageChannel();
      const trap = {};
      port1.postMessage(Array.from({ length: 200_000 }, (_, n) => n));
      Object.defineProperty(trap, "x", { get: () => console.log("read"), enumerable: true });
      port1.postMessage(trap);
      try { port1.postMessage(new Proxy({}, { ownKeys() { console.log("keys"); return []; } })); } catch (error) { console.log(error.name); }
      port1.close();
      new Uint8Array(100_000);
      console.log("done");`;
    const file = written(code);
    const plain = await run([process.execPath, file]);
    expect((await examined(file)).exit.stdout).toBe(plain.stdout);
    const frozen = { env: { ...process.env, NODE_OPTIONS: "--frozen-intrinsics --no-warnings" } };
    const exit = await run([process.execPath, MAIN, "doctor", file], frozen);
    expect([exit.code, exit.stdout]).toEqual([0, plain.stdout]);
  });

  it("leaves nothing behind, but what a process that outlives it needs", async () => {
    const folder = join(scratch.path, "tmp");
    mkdirSync(folder);
    const env = { ...process.env, TMPDIR: folder };
    const report = join(scratch.path, "left.json");
    await run([process.execPath, MAIN, "doctor", `--json=${report}`, written("new Uint8Array(1e5)")], { env });
    expect(readdirSync(folder)).toEqual([]);
    const code = `
      import { fork } from "node:child_process";
      // Its first profile is written when it is 100 ms old, before this timer.
      if (process.argv[2] === "on") setTimeout(() => { process.send("up"); setInterval(() => {}, 1000); }, 500);
      else {
        const child = fork(new URL(import.meta.url), ["on"], { detached: true, stdio: ["ignore", "ignore", "ignore", "ipc"] });
        child.once("message", () => { child.disconnect(); child.unref(); console.log(child.pid); });
      }`;
    const exit = await run([process.execPath, MAIN, "doctor", `--json=${report}`, written(code)], { env });
    const pid = Number(exit.stdout);
    try {
      expect(readdirSync(folder)).toHaveLength(1);
    } finally {
      process.kill(pid);
    }
  });

  it("is stopped by a signal to the doctor, and reported on: in a loop that lets nothing else run", async () => {
    const code = "for (;;) new Uint8Array(100_000);";
    const report = join(scratch.path, "loop.json");
    const folder = join(scratch.path, "loop");
    mkdirSync(folder);
    const child = spawn(process.execPath, [MAIN, "doctor", `--json=${report}`, written(code)], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, TMPDIR: folder },
    });
    const ended = exitOf(child);
    // What is known is written by the loop itself, which lets no timer run.
    const isWritten = (): boolean =>
      readdirSync(folder, { recursive: true, encoding: "utf8" }).some((name) => /\d\.json$/.test(name));
    while (!isWritten()) await new Promise((resolve) => setTimeout(resolve, 10));
    child.kill("SIGINT");
    expect((await ended).code).toBe(130);
    const { ending, profile } = JSON.parse(readFileSync(report, "utf8")) as Diagnosis;
    expect(ending).toEqual({ code: null, signal: "SIGINT" });
    expect(profile!.count).toBeGreaterThan(0);
    expect(profile!.isComplete).toBe(false);
  });

  it("has left nothing behind when its report is written: a signal may end the doctor then", async () => {
    const folder = join(scratch.path, "late");
    mkdirSync(folder);
    const report = join(scratch.path, "late.fifo");
    execFileSync("mkfifo", [report]);
    const child = spawn(process.execPath, [MAIN, "doctor", `--json=${report}`, written("console.log('up')")], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, TMPDIR: folder },
    });
    const ended = exitOf(child);
    await once(child.stdout!, "data");
    // Nobody reads the report, so that it is being written until the signal.
    while (readdirSync(folder).length > 0) await new Promise((resolve) => setTimeout(resolve, 20));
    const again = setInterval(() => child.kill("SIGINT"), 50);
    expect(await ended).toMatchObject({ code: null, signal: "SIGINT" });
    clearInterval(again);
    expect(readdirSync(folder)).toEqual([]);
  });

  it("that ends on a signal in its own way has its own exit code", async () => {
    const code = "process.on('SIGTERM', () => process.exit(5)); setInterval(() => {}, 1000); console.log('up');";
    const report = join(scratch.path, "term.json");
    const child = spawn(process.execPath, [MAIN, "doctor", `--json=${report}`, written(code)], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const ended = exitOf(child);
    await once(child.stdout!, "data");
    child.kill("SIGTERM");
    expect((await ended).code).toBe(5);
    expect(JSON.parse(readFileSync(report, "utf8"))).toMatchObject({
      ending: { code: 5, signal: null },
      profile: { isComplete: true },
    });
  });

  it("may have any name, and be a folder", async () => {
    const odd = written("process.stdout.write('odd')", "an odd #1 name 100% \u00fc.js");
    expect((await examined(odd)).exit.stdout).toBe("odd");
    expect((await examined(odd.replace(/\.js$/, ""))).exit.stdout).toBe("odd");
    mkdirSync(join(scratch.path, "folder"));
    written("process.stdout.write('index')", "folder/index.js");
    expect((await examined(join(scratch.path, "folder"))).exit.stdout).toBe("index");
  });

  it("that is not there is said so", async () => {
    const exit = await millpond(["doctor", join(scratch.path, "nothing.js")]);
    expect(exit.code).toBe(1);
    expect(exit.stderr).toContain("there is no file");
    expect(exit.stderr).not.toContain("at Module");
  });
});

describe("the file of the report", () => {
  const ask = (json: string, file: string): Promise<number> =>
    examine({ program: file, args: [], threshold: 65_536, json, nodeOptions: undefined });
  const code = "throw new Error('it ran');";

  it("is not the program, under any name", async () => {
    const file = written(code, "itself.mjs");
    const [link, hard] = [join(scratch.path, "link.json"), join(scratch.path, "hard.json")];
    symlinkSync(file, link);
    linkSync(file, hard);
    for (const json of [file, link, hard, join(scratch.path, "./nothing/../itself.mjs")]) {
      await expect(ask(json, file), json).rejects.toThrow(/would write .*, which Node reads/);
    }
    const plain = written(code, "plain.js");
    await expect(ask(plain, plain.slice(0, -3))).rejects.toThrow("which Node reads");
    mkdirSync(join(scratch.path, "app"));
    await expect(ask(written(code, "app/index.js"), join(scratch.path, "app"))).rejects.toThrow("which Node reads");
    expect(readFileSync(file, "utf8")).toBe(code);
  });

  it(
    "may be a stream of the doctor, which keeps what is there, and none that is not the user's",
    REPEATED,
    async () => {
      const path = written("console.log('from the program'); process.exitCode = 5;");
      const onto = async (name: string, stream: 1 | 2 | 3) => {
        const file = join(scratch.path, `stream-${files++}`);
        writeFileSync(file, "older\n");
        const to = openSync(file, "a");
        const stdio = ["ignore", "ignore", "ignore", "ignore"] as (number | "ignore")[];
        stdio[stream] = to;
        const child = spawn(process.execPath, [MAIN, "doctor", `--json=${name}`, path], { stdio });
        closeSync(to);
        const [ending] = await once(child, "close");
        return [ending, readFileSync(file, "utf8").replace(/\{.*\}/s, "report")];
      };
      expect(await onto("/dev/stdout", 1)).toEqual([5, "older\nfrom the program\nreport\n"]);
      if (isFullLength) expect(await onto("/dev/../dev/stderr", 2)).toEqual([5, "older\nreport\n"]);
      expect(await onto("/proc/self/fd/3", 3)).toEqual([5, "older\nreport\n"]);
      const link = join(scratch.path, "to-stdin");
      symlinkSync("/dev/stdin", link);
      for (const name of [link, "/dev/fd/99999"]) {
        expect(await millpond(["doctor", `--json=${name}`, path])).toMatchObject({ code: 1, stdout: "" });
      }
      // Which of them this process has for itself differs; each is asked for at full length.
      for (let n = 3; n < times(4, 24); n++) {
        const exit = await run([process.execPath, MAIN, "doctor", `--json=/dev/fd/${n}`, path]);
        expect([1, 5], `descriptor ${n}: ${exit.stderr}`).toContain(exit.code);
      }
    },
  );

  it("is neither what the program reads nor what it writes", async () => {
    const file = written(code, "streamed.mjs");
    for (const at of [0, 1]) {
      const descriptor = openSync(file, "r+");
      const streams: ("ignore" | "pipe" | number)[] = ["ignore", "pipe", "pipe"];
      streams[at] = descriptor;
      const exit = await run([process.execPath, MAIN, "doctor", `--json=${file}`, "-"], { stdio: streams });
      closeSync(descriptor);
      expect([exit.code, readFileSync(file, "utf8")]).toEqual([1, code]);
      expect(exit.stderr.replaceAll(/\s+/g, " ")).toMatch(/would (both )?write/);
    }
  });

  it("is known to be writable before the program runs, and a folder to have a program", async () => {
    const file = written(code);
    await expect(ask(join(scratch.path, "no/such/folder.json"), file)).rejects.toThrow(/folder\.json: its folder/);
    await expect(ask(scratch.path, file)).rejects.toThrow("is a folder");
    mkdirSync(join(scratch.path, "empty"));
    const report = join(scratch.path, "of-empty.json");
    await expect(ask(report, join(scratch.path, "empty"))).rejects.toThrow("a folder without a program");
    // What was tried is not left there.
    expect(readdirSync(scratch.path).filter((name) => /folder\.json|of-empty|\.part/.test(name))).toEqual([]);
  });
});

describe("the report", REPEATED, () => {
  it("says where a pool would help, and the lines to write", async () => {
    const frames = times(800, 1500);
    const { stderr } = await millpond(["doctor", program("stream.mjs"), `${frames}`, "3", "0", "1"]);
    const text = stderr.replaceAll(/\s+/g, " ");
    const place = "decode (test/cli/doctor-programs/stream.mjs:10)";
    expect(text).toContain(`7 x 1.0 MB at ${place} would serve 99 % of ${frames.toLocaleString("en-US")} allocations`);
    expect(text).toContain('BufferPool.create({ name: "decode", size: 1_000_000, max: 7 });');
  });

  it("says that no pool would help a program without large buffers", async () => {
    const { stderr } = await millpond(["doctor", written("console.log(1)")]);
    expect(stderr).toContain("A pool would not help this program.");
    expect(stderr).toContain("It made no buffer of 66 kB or more.");
  });
});

describe("its arguments", () => {
  const options = { program: "app.js", args: [], threshold: 65_536, json: false };

  it.each([
    [["app.js"], {}],
    [["app.js", "--json", "--threshold", "1"], { args: ["--json", "--threshold", "1"] }],
    [["--json", "app.js"], { json: true }],
    [["--json", "r.json", "app.js"], { json: "r.json" }],
    [["--json=r.txt", "app.js", "r.json"], { json: "r.txt", args: ["r.json"] }],
    [["--threshold", "100k", "app.js"], { threshold: 102_400 }],
    [["--threshold=2M", "--", "-app.js", "--"], { program: "-app.js", threshold: 2_097_152, args: ["--"] }],
    [["--node-options=--import=./a.mjs", "app.js"], { nodeOptions: "--import=./a.mjs" }],
    [["--node-options", "--import ./a.mjs", "app.js"], { nodeOptions: "--import ./a.mjs" }],
    [["-"], { program: "-" }],
  ])("%j name the program, what it gets and what is told", (args, expected) => {
    expect(parseCommand(["doctor", ...args])).toEqual({ kind: "program", options: { ...options, ...expected } });
  });

  it.each([
    [["--jsno", "app.js"], 'not "--jsno"'],
    [["--threshold", "many", "app.js"], "--threshold is a number of bytes"],
    [["--threshold"], "--threshold is a number of bytes"],
    [["--threshold", "10", "app.js"], "from 1024"],
    [["--threshold", "100k"], "which program?"],
    [["--json=r.json"], "with --json FILE needs one"],
    [["--json", "--json", "app.js"], "--json is given twice"],
    [["--threshold=1M", "--threshold", "2M", "app.js"], "--threshold is given twice"],
    [["--node-options"], "needs a text"],
    [["--json=", "app.js"], "needs the name of a file"],
    [["--inspect", "app.js"], "--node-options"],
    [[""], "empty"],
  ])("%j are refused, and the message says why", (args, message) => {
    expect(() => parseCommand(["doctor", ...args])).toThrow(message);
  });
});
