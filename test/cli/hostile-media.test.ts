// Shares its realm with other files: nothing that it changes outlives it.
/**
 * What the command does with pipes that take their time, with damage in the middle of files, and with modules as files.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, constants, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { FULL } from "../helpers/effort.ts";
import { untilListening } from "./command.ts";
import { hold, hostileRuns } from "./hostile.ts";

const FRAMES = 60;
const files = new Map<string, Buffer>();
for (const name of ["a.mp4", "a.webm", "a.y4m"]) {
  const sink = name === "a.y4m" ? "y4msink" : "encode";
  await hold({
    name,
    args: ["run", `pattern width=64 height=48 frames=${FRAMES} ! ${sink} ${name}`, "--quiet"],
    code: 0,
    check: (_, folder) => {
      files.set(name, readFileSync(join(folder, name)));
      if (name !== "a.mp4" || spawnSync("ffmpeg", ["-version"], { stdio: "ignore" }).status !== 0) return;
      const copy = ["-v", "error", "-y", "-i", join(folder, name), "-c", "copy", "-bsf:v", "h264_mp4toannexb"];
      execFileSync("ffmpeg", [...copy, join(folder, "a.ts")]);
      files.set("a.ts", readFileSync(join(folder, "a.ts")));
    },
  });
}
const y4m = files.get("a.y4m")!;

function pipe(folder: string): void {
  execFileSync("mkfifo", [join(folder, "pipe")]);
}

/** Resolves when the command has the pipe open for reading: until then it cannot be opened for writing. */
async function reader(folder: string): Promise<number> {
  for (;;) {
    try {
      return openSync(join(folder, "pipe"), constants.O_WRONLY | constants.O_NONBLOCK);
    } catch {
      await new Promise((later) => setTimeout(later, 10));
    }
  }
}

describe("a pipe as a file", () => {
  // In the fast lane each way to read it once: it is filled for the second and the third.
  for (const [way, args] of [
    ["run", "pipe"],
    ["run", "rawvideo pipe ! null"],
    ["run", "file pipe ! decode ! null"],
  ].entries()) {
    hostileRuns([
      {
        isMore: way !== 0,
        name: `that nobody fills is left at a signal, at once: ${args[1]}`,
        args: [...args, "--patience", "0.1"],
        code: 143,
        message: /^millpond: terminated$/,
        arrange: pipe,
        during: async (child, folder) => {
          const fd = await reader(folder);
          child.kill("SIGTERM");
          child.once("exit", () => closeSync(fd));
        },
      },
      {
        isMore: way === 0,
        name: `that brings Y4M is read: ${args[1]}`,
        args: [...args, "--json"],
        code: 0,
        arrange: pipe,
        during: async (_, folder) => {
          const fd = await reader(folder);
          writeFileSync(join(folder, "a.y4m"), y4m);
          spawnSync("sh", ["-c", "cat a.y4m > pipe"], { cwd: folder });
          closeSync(fd);
        },
      },
    ]);
  }
  hostileRuns([
    {
      name: "that brings a video file is told to bring raw video",
      args: ["run", "pipe"],
      code: 1,
      message: /pipe is a pipe, which can bring raw video only: /,
      arrange: pipe,
      during: async (_, folder) => {
        const fd = await reader(folder);
        writeFileSync(fd, files.get("a.mp4")!.subarray(0, 2000));
        closeSync(fd);
      },
    },
    {
      name: "that nobody empties does not keep a run that was told to end",
      args: ["run", "rawvideo - ! rawsink pipe"],
      code: 143,
      message: /^millpond: terminated$/,
      arrange: pipe,
      stdin: y4m,
      during: async (child, folder) => {
        const fd = openSync(join(folder, "pipe"), constants.O_RDONLY | constants.O_NONBLOCK);
        // The pipe is full when it has taken as much as it holds.
        const isFull = (): boolean => {
          const probe = openSync(join(folder, "pipe"), constants.O_WRONLY | constants.O_NONBLOCK);
          try {
            writeFileSync(probe, Buffer.alloc(4096));
            return false;
          } catch {
            return true;
          } finally {
            closeSync(probe);
          }
        };
        await untilListening(child);
        while (!isFull()) await new Promise((later) => setTimeout(later, 20));
        child.kill("SIGTERM");
        child.once("exit", () => closeSync(fd));
      },
    },
  ]);
});

describe.concurrent("standard input that pauses for longer than the patience", () => {
  for (const args of [
    ["run", "-"],
    ["run", "rawvideo - ! null"],
  ]) {
    hostileRuns([
      {
        isMore: args[1] !== "-",
        name: `is waited for, also in the middle of a frame: ${args[1]}`,
        args: [...args, "--patience", "3", "--quiet"],
        code: 0,
        stdin: Readable.from(
          (async function* () {
            yield y4m.subarray(0, 7000);
            await new Promise((later) => setTimeout(later, 4000));
            yield y4m.subarray(7000);
          })(),
        ),
      },
    ]);
  }
});

describe("a module of workers", () => {
  const arrange = (folder: string): void => writeFileSync(join(folder, "w.mjs"), "export default () => 1;\n");
  const base = "pattern frames=2 ! workers ./w.mjs";
  hostileRuns([
    {
      name: "is not overwritten by its results",
      args: ["run", `${base} results=w.mjs ! null`],
      code: 1,
      message: /would write w\.mjs, the same file as .*w\.mjs, which "workers" reads/,
      arrange,
    },
    {
      name: "is not overwritten by the picture of the graph",
      args: ["run", `${base} ! null`, "--graph", "w.mjs"],
      code: 1,
      message: /--graph would write w\.mjs/,
      arrange,
    },
    {
      name: "that is not there is named, and no file of ours",
      args: ["run", "pattern frames=2 ! workers ./absent.mjs ! null"],
      code: 1,
      message: /cannot use .*absent\.mjs: there is no such file/,
    },
    {
      name: "that returns what contains itself is told so",
      args: ["run", "pattern frames=2 ! workers ./cyclic.mjs results=r.jsonl ! null"],
      code: 1,
      message: /returned for frame \d cannot be written as JSON: it contains itself/,
      arrange: (folder) =>
        writeFileSync(join(folder, "cyclic.mjs"), "const a = {}; a.a = a; export default () => a;\n"),
    },
  ]);
});

describe("damage in the middle of a file", () => {
  const damages: Readonly<Record<string, (bytes: Buffer, at: number) => Buffer>> = {
    overwritten: (bytes, at) => Buffer.concat([bytes.subarray(0, at), Buffer.alloc(400), bytes.subarray(at + 400)]),
    "cut out": (bytes, at) => Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 400)]),
  };
  const cases = [
    ["a.mp4", "overwritten", /damaged: .*could not be decoded/],
    ["a.webm", "overwritten", /damaged: .*its structure breaks off at byte \d+/],
    ["a.webm", "cut out", /its structure breaks off|is cut short/],
    ["a.ts", "overwritten", /damaged: \d+ bytes from byte \d+ on do not belong to any whole packet/],
    ["a.ts", "cut out", /damaged: \d+ bytes from byte \d+ on do not belong to any whole packet/],
  ] as const;
  for (const [nth, [name, damage, message]] of cases.entries()) {
    // Each container and each damage in the fast lane.
    const tag = nth === 2 || nth === 3 ? FULL : {};
    const title = `${name}, ${damage}: what is whole is read, and the run exits with 2`;
    it.skipIf(!files.has(name))(title, tag, async () => {
      const whole = files.get(name)!;
      await hold({
        name,
        args: ["run", name, "--workers", "1", "--json"],
        code: 2,
        message,
        arrange: (folder) => writeFileSync(join(folder, name), damages[damage]!(whole, Math.floor(whole.length / 2))),
        check: ({ stdout }) => {
          const { measures, complete } = JSON.parse(stdout.toString());
          expect(complete).toBe(false);
          expect(measures.frames).toBeGreaterThan(FRAMES / 4);
          expect(measures.frames).toBeLessThanOrEqual(FRAMES);
        },
      });
    });
  }
  it.skipIf(!files.has("a.ts"))("a transport stream that ends inside a packet is partial", async () => {
    const whole = files.get("a.ts")!;
    await hold({
      name: "a.ts",
      args: ["run", "a.ts", "--workers", "1"],
      code: 2,
      message: /damaged: 72 bytes/,
      arrange: (folder) =>
        writeFileSync(join(folder, "a.ts"), whole.subarray(0, 188 * Math.floor(whole.length / 376) + 72)),
    });
  });
});

describe("a name with what a terminal takes for commands", () => {
  hostileRuns([
    {
      name: "shows in a message without them",
      args: ["run", "a\u001b[31mb.mp4"],
      code: 1,
      message: /a\ufffd\[31mb\.mp4: there is no such file/,
    },
  ]);
});
