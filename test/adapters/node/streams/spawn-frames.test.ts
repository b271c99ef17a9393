import { execFileSync, spawn } from "node:child_process";
import { getEventListeners, once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import * as fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  type FrameProcess,
  type SpawnFramesOptions,
  spawnFrames,
} from "../../../../src/adapters/node/streams/spawn-frames.ts";
import { SharedAllocator } from "../../../../src/allocators/shared.ts";
import { WasmAllocator } from "../../../../src/allocators/wasm.ts";
import type { MediaBuffer } from "../../../../src/media/buffer/media-buffer.ts";
import { VideoInfo } from "../../../../src/media/video/info.ts";
import { BufferPool } from "../../../../src/pools/buffer/buffer-pool.ts";
import { isMillpondError, type MillpondError } from "../../../../src/util/errors.ts";
import { run } from "../../../helpers/child.ts";
import { codeOf } from "../../../helpers/code-of.ts";
import { isFullLength, REPEATED, seedOf, times } from "../../../helpers/effort.ts";

const GRAY = { format: "gray", width: 10, height: 10 } as const;
const NODE = process.execPath;

// A folder of its own, so that what is left over can be seen.
let folder = "";
const before = process.env.TMPDIR;
const { platform } = process;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "frames-test-"));
  mkdirSync(join(folder, "tmp"));
});
beforeEach(withSockets);
afterAll(() => {
  setPlatform(platform);
  if (before === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = before;
  rmSync(folder, { recursive: true, force: true });
});

function setPlatform(value: string): void {
  Object.defineProperty(process, "platform", { value, configurable: true, enumerable: true, writable: false });
}

/** The platform's own way to make sockets. */
function withSockets(): void {
  setPlatform(platform);
  process.env.TMPDIR = join(folder, "tmp");
}

/** Sockets that are files, as on systems without names that are none. */
function withSocketFiles(): void {
  setPlatform("freebsd");
  process.env.TMPDIR = join(folder, "tmp");
}

/** A folder that is not there: no socket can be made in it. */
function withoutSockets(): void {
  setPlatform("freebsd");
  process.env.TMPDIR = join(folder, "nothing");
}

function script(text: string): string[] {
  return ["-e", text];
}

/** Writes frames of `size` bytes, each filled with its number, and says on stderr how many have gone out. */
function writer(size: number, count: number, end = ""): string[] {
  return script(`
    const fs = require("node:fs");
    const put = (bytes) => { for (let at = 0; at < bytes.length; ) at += fs.writeSync(1, bytes, at); };
    for (let i = 0; i < ${count}; i++) { put(Buffer.alloc(${size}, (i % 255) + 1)); fs.writeSync(2, String.fromCharCode(65 + i)); }
    ${end}`);
}

async function untilTrue(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const descriptors = (): number => readdirSync("/proc/self/fd").length;
const HAS_PROC = process.platform === "linux";

async function numbersOf(video: AsyncIterable<MediaBuffer>): Promise<number[]> {
  const numbers: number[] = [];
  for await (const frame of video) {
    const [number] = frame.bytes;
    expect(Buffer.compare(frame.bytes, Buffer.alloc(frame.bytes.length, number))).toBe(0);
    numbers.push(number!);
    frame.release();
  }
  return numbers;
}

async function failureOf(video: FrameProcess): Promise<MillpondError> {
  try {
    for await (const frame of video) frame.release();
  } catch (error) {
    if (isMillpondError(error)) return error;
    throw error;
  }
  throw new Error("the loop ended without an error");
}

/** Each case by sockets and by a pipe; in the fast lane by one of them in turn. */
function* byTransport<Case>(cases: readonly Case[]): Generator<readonly [withSockets: boolean, one: Case]> {
  for (const withSockets of [true, false]) {
    for (const [nth, one] of cases.entries()) {
      if (isFullLength || withSockets === (nth % 2 === 0)) yield [withSockets, one];
    }
  }
}

describe("frames of a program", () => {
  it("land in the slots byte for byte, by sockets and by a pipe, packed and padded, in a pool of either kind", async () => {
    const info = VideoInfo.of({ format: "I420", width: 130, height: 66, strideAlign: 64 });
    const file = join(folder, "raw");
    const sent = Buffer.from(Uint8Array.from({ length: info.payload * 7 }, (_, i) => (i * 31 + (i >> 8)) & 255));
    writeFileSync(file, sent);
    const y4m = join(folder, "y4m");
    writeFileSync(
      y4m,
      Buffer.concat([
        Buffer.from("YUV4MPEG2 W130 H66 F25:1 Ip C420jpeg\n"),
        ...Array.from({ length: 7 }, (_, i) => [
          Buffer.from(i % 2 === 0 ? "FRAME\n" : "FRAME Ixyz\n"),
          sent.subarray(i * info.payload, (i + 1) * info.payload),
        ]).flat(),
      ]),
    );
    for (const isPadded of [false, true]) {
      for (const isY4m of [false, true]) {
        for (const allocator of [undefined, new SharedAllocator(), new WasmAllocator()]) {
          for (const transport of ["socketpair", "pipe"] as const) {
            if (transport === "pipe") withoutSockets();
            else withSockets();
            const pool = BufferPool.create({
              size: info.size,
              max: 3,
              ...(isPadded ? { format: info } : {}),
              ...(allocator === undefined ? {} : { allocator }),
            });
            const what = isY4m || isPadded ? {} : { format: "yuv420p", width: 130, height: 66 };
            const video = spawnFrames("cat", [isY4m ? y4m : file], { pool, ...what });
            let index = 0;
            for await (const frame of video) {
              const { planes } = isPadded ? info : VideoInfo.of({ format: "I420", width: 130, height: 66 });
              const packed = Buffer.concat(
                planes.flatMap(({ offset, stride, rowBytes, height }) =>
                  Array.from({ length: height }, (_, row) =>
                    frame.bytes.slice(offset + row * stride, offset + row * stride + rowBytes),
                  ),
                ),
              );
              const name = `${transport}, padded ${isPadded}, y4m ${isY4m}, frame ${index}`;
              expect(packed.equals(sent.subarray(index * info.payload, (index + 1) * info.payload)), name).toBe(true);
              expect(frame.pts).toBe(isY4m ? BigInt(index) * 40_000_000n : undefined);
              frame.release();
              index++;
            }
            expect(index).toBe(7);
            expect(video.transport).toBe(transport);
            expect([video.exitCode, video.signalCode]).toEqual([0, null]);
            expect(pool.outstanding).toBe(0);
          }
        }
      }
    }
    expect(readdirSync(join(folder, "tmp"))).toEqual([]);
  });

  it("are whole in whatever pieces the program writes them, however slow the loop is", REPEATED, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          width: fc.integer({ min: 1, max: 700 }),
          height: fc.integer({ min: 1, max: 300 }),
          strideAlign: fc.constantFrom(1, 1, 64, 4096),
          isY4m: fc.boolean(),
          pieces: fc.array(fc.integer({ min: 1, max: 300_000 }), { minLength: 1, maxLength: 5 }),
          max: fc.integer({ min: 1, max: 3 }),
          ahead: fc.constantFrom(0, 1),
          turns: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 5 }),
          hasSockets: fc.constantFrom(true, true, true, false),
        }),
        async ({ width, height, strideAlign, isY4m, pieces, max, ahead, turns, hasSockets }) => {
          if (hasSockets) withSockets();
          else withoutSockets();
          const info = VideoInfo.of({ format: "I420", width, height, strideAlign });
          const count = Math.max(3, Math.min(50, Math.floor(1_000_000 / info.payload)));
          const program = script(`
            const fs = require("node:fs");
            const all = Buffer.concat([${isY4m} ? Buffer.from("YUV4MPEG2 W${width} H${height} C420\\n") : Buffer.alloc(0),
              ...Array.from({ length: ${count} }, (_, i) => [Buffer.from(${isY4m} ? "FRAME\\n" : ""),
                Buffer.from(Uint8Array.from({ length: ${info.payload} }, (_, k) => (k * 7 + (k >> 9) + i) & 255))]).flat()]);
            const pieces = ${JSON.stringify(pieces)};
            for (let at = 0, i = 0; at < all.length; i++)
              at += fs.writeSync(1, all, at, Math.min(pieces[i % pieces.length], all.length - at));`);
          const pool = BufferPool.create({ size: info.size, max, format: info });
          let index = 0;
          for await (const frame of spawnFrames(NODE, program, { pool, ahead })) {
            let at = 0;
            let isRight = true;
            for (const { offset, stride, rowBytes, height: rows } of info.planes) {
              for (let row = 0; row < rows; row++) {
                for (let x = 0; x < rowBytes; x++, at++) {
                  if (frame.bytes[offset + row * stride + x] !== ((at * 7 + (at >> 9) + index) & 255)) isRight = false;
                }
              }
            }
            expect(isRight).toBe(true);
            for (let turn = turns[index % turns.length]!; turn > 0; turn--) await new Promise(setImmediate);
            frame.release();
            index++;
          }
          expect(index).toBe(count);
          expect(pool.outstanding).toBe(0);
        },
      ),
      { numRuns: times(5, 150), seed: seedOf("frames of a program") },
    );
  });

  it("have byte for byte the frames that ffmpeg writes", async (context) => {
    try {
      execFileSync("ffmpeg", ["-version"], { stdio: "ignore" });
    } catch {
      context.skip("no ffmpeg here");
    }
    const source = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25", "-frames:v", "20"];
    const raw = execFileSync("ffmpeg", [...source, "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"], {
      maxBuffer: 1 << 26,
    });
    const video = spawnFrames("ffmpeg", [...source, "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "pipe:1"], {
      count: 3,
    });
    let index = 0;
    for await (const frame of video) {
      expect(Buffer.compare(frame.bytes, raw.subarray(index * 86_400, (index + 1) * 86_400))).toBe(0);
      expect(frame.pts).toBe(BigInt(index) * 40_000_000n);
      frame.release();
      index++;
    }
    expect(index).toBe(20);
    expect(video.layout).toMatchObject({ format: "I420", width: 320, height: 180 });
    expect(video.stderr).toBe("");
  });

  it("wait for slots: the program is not ahead of them by more than a frame and the sockets", async () => {
    // Larger than what sockets hold, which differs between systems.
    const size = 4_000_000;
    const video = spawnFrames(NODE, writer(size, 8), { count: 2, format: "gray", width: 2000, height: 2000 });
    const first = (await video.next()).value!;
    const second = (await video.next()).value!;
    const third = video.next();
    await untilTrue(() => video.pool!.stats().waiting === 1);
    for (let turn = 0; turn < 50; turn++) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      expect(video.stderr.length).toBeLessThanOrEqual(3);
    }
    expect(video.pool!.stats()).toMatchObject({ outstanding: 2, waiting: 1 });
    first.release();
    (await third).value!.release();
    second.release();
    expect(await numbersOf(video)).toEqual([4, 5, 6, 7, 8]);
    expect(video.stderr).toBe("ABCDEFGH");
  });

  it("read one frame ahead into a free slot, and wait for no slot before they are asked for", async () => {
    for (const ahead of [0, 1]) {
      const pool = BufferPool.create({ size: 100, max: 3 });
      const video = spawnFrames(NODE, writer(100, 3), { pool, ...GRAY, ahead });
      const first = (await video.next()).value!;
      if (ahead === 1) await untilTrue(() => pool.outstanding === 2);
      else for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
      expect(pool.outstanding).toBe(1 + ahead);
      first.release();
      expect(await numbersOf(video)).toEqual([2, 3]);
      expect(pool.outstanding).toBe(0);
    }
    const pool = BufferPool.create({ size: 100, max: 1 });
    const video = spawnFrames(NODE, writer(100, 3), { pool, ...GRAY, ahead: 1 });
    const first = (await video.next()).value!;
    await untilTrue(() => video.stderr === "ABC");
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    // The slot that comes back is for who waits, not for a frame that nobody asked for.
    const mine = pool.acquire();
    first.release();
    expect((await mine).isLive).toBe(true);
    (await mine).release();
    expect(await numbersOf(video)).toEqual([2, 3]);
  });

  it("read nothing ahead into a given pool, where the loop may wait for the slot, and one frame into their own", async () => {
    const pool = BufferPool.create({ size: 100, max: 2 });
    const given = spawnFrames(NODE, writer(100, 9), { pool, ...GRAY });
    let count = 0;
    for await (const frame of given) {
      // Long enough for a frame to arrive, had it been read.
      await untilTrue(() => given.stderr.length === 9);
      for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
      const out = pool.tryAcquire();
      expect(out).toBeDefined();
      out?.release();
      frame.release();
      count++;
    }
    expect(count).toBe(9);
    const own = spawnFrames(NODE, writer(100, 2), { count: 2, ...GRAY });
    const first = (await own.next()).value!;
    await untilTrue(() => own.pool!.outstanding === 2);
    first.release();
    expect(await numbersOf(own)).toEqual([2]);
  });

  it(
    "end with the program's exit code, its signal and the end of its stderr, whatever it did before",
    REPEATED,
    async () => {
      const count = 2;
      const cases: [string, string, string[], Partial<SpawnFramesOptions>, string, RegExp, object][] = [
        [
          "exits with 3 after a frame",
          NODE,
          writer(100, 1, 'console.error("\\nno such filter"); process.exit(3)'),
          GRAY,
          "ERR_PROCESS_FAILED",
          /after 1 frame: it ended with exit code 3; its stderr ends with:\nA\nno such filter/,
          { exitCode: 3, signal: null, frames: 1, stderr: "A\nno such filter\n" },
        ],
        [
          "exits with 1 before the first byte",
          "sh",
          ["-c", "echo broken >&2; exit 1"],
          {},
          "ERR_PROCESS_FAILED",
          /after 0 frames: it ended with exit code 1; the stream is empty: not one byte arrived; .*\nbroken/s,
          { exitCode: 1, frames: 0 },
        ],
        [
          "writes nothing and exits with 0",
          "sh",
          ["-c", "exit 0"],
          {},
          "ERR_BAD_DATA",
          /after 0 frames: it ended with exit code 0; the stream is empty: not one byte arrived; it said nothing/,
          { exitCode: 0, stderr: "" },
        ],
        [
          "ends inside a frame",
          "sh",
          ["-c", "head -c 250 /dev/zero"],
          GRAY,
          "ERR_BAD_DATA",
          /after 2 frames: it ended with exit code 0; the stream ends inside frame 3: 50 of its 100 bytes arrived/,
          { exitCode: 0, frames: 2 },
        ],
        [
          "fails inside a frame",
          "sh",
          ["-c", "head -c 250 /dev/zero; exit 9"],
          GRAY,
          "ERR_PROCESS_FAILED",
          /exit code 9; the stream ends inside frame 3: 50 of its 100 bytes arrived/,
          { exitCode: 9, frames: 2 },
        ],
        [
          "is killed by others",
          "sh",
          ["-c", "head -c 100 /dev/zero; kill -9 $$"],
          GRAY,
          "ERR_PROCESS_FAILED",
          /after 1 frame: it was ended by SIGKILL/,
          { exitCode: null, signal: "SIGKILL" },
        ],
        [
          "writes something else and does not end",
          "sh",
          ["-c", "while :; do echo help; done"],
          {},
          "ERR_BAD_DATA",
          /after 0 frames: the stream is not Y4M.*; it was ended for that;/,
          { frames: 0 },
        ],
        [
          "stops to be Y4M and does not end",
          "sh",
          ["-c", "printf 'YUV4MPEG2 W2 H2 F1:1\\nFRAME\\nabcdef'; while :; do echo help; done"],
          {},
          "ERR_BAD_DATA",
          /after 1 frame: after frame 1 there is no FRAME line.*; it was ended for that;/,
          { frames: 1 },
        ],
        [
          "is not there",
          "no-such-program-1",
          [],
          GRAY,
          "ERR_PROCESS_FAILED",
          /was not found \(ENOENT\)/,
          { frames: 0 },
        ],
        [
          "cannot be executed",
          folder,
          [],
          GRAY,
          "ERR_PROCESS_FAILED",
          /cannot be started: .*EACCES/,
          { command: folder, exitCode: null, signal: null },
        ],
      ];
      for (const [hasSockets, [name, command, args, options, code, message, details]] of byTransport(cases)) {
        if (hasSockets) withSockets();
        else withoutSockets();
        const video = spawnFrames(command, args, { count, ...options });
        const error = await failureOf(video);
        expect(error.code, name).toBe(code);
        expect(error.message, name).toMatch(message);
        expect(error.details, name).toMatchObject(details);
        await video.exited;
        expect(await video.next()).toEqual({ done: true, value: undefined });
        expect(video.pool?.outstanding ?? 0).toBe(0);
        if (video.pid !== undefined) expect(isRunning(video.pid)).toBe(false);
      }
    },
  );

  it("keep the last 8 KiB of stderr, and never hold the program up that writes more", async () => {
    const video = spawnFrames(
      NODE,
      script(`const fs = require("node:fs");
        for (let i = 0; i < 300; i++) fs.writeSync(2, "é".repeat(500) + i + "\\n");
        fs.writeSync(1, Buffer.alloc(100, 7));`),
      { count: 1, ...GRAY },
    );
    expect(await numbersOf(video)).toEqual([7]);
    await video.exited;
    expect(Buffer.byteLength(video.stderr)).toBeLessThanOrEqual(8192);
    expect(Buffer.byteLength(video.stderr)).toBeGreaterThan(8180);
    expect(video.stderr).toMatch(/^é/);
    expect(video.stderr).toMatch(/é299\n$/);
  });

  it("leave no process, descriptor, file, listener or slot, whatever ends the loop", REPEATED, async () => {
    const exitListeners = process.listenerCount("exit");
    const cases: [
      string,
      (video: FrameProcess, pool: BufferPool, abort: AbortController) => Promise<unknown>,
      unknown,
    ][] = [
      [
        "break",
        async (video) => {
          for await (const frame of video) {
            frame.release();
            break;
          }
        },
        undefined,
      ],
      [
        "a throw in the loop",
        async (video) => {
          for await (const frame of video) {
            frame.release();
            throw new Error("consumer");
          }
        },
        "consumer",
      ],
      [
        "the signal in the loop",
        async (video, _pool, abort) => {
          for await (const frame of video) {
            frame.release();
            abort.abort(new Error("enough"));
          }
        },
        "enough",
      ],
      [
        "the signal while it waits for a slot",
        async (video, pool, abort) => {
          const all = [await video.next(), await video.next()];
          const third = video.next();
          await untilTrue(() => pool.stats().waiting === 1);
          abort.abort(new Error("enough"));
          for (const { value } of all) value!.release();
          await third;
        },
        "enough",
      ],
      [
        "the signal before it is read",
        async (video, _pool, abort) => {
          abort.abort(new Error("enough"));
          await video.next();
        },
        "enough",
      ],
      [
        "kill() before it runs",
        async (video) => {
          expect(video.kill()).toBe(false);
          expect(await video.next()).toEqual({ done: true, value: undefined });
        },
        undefined,
      ],
      [
        "kill() in the loop",
        async (video) => {
          for await (const frame of video) {
            frame.release();
            expect(video.kill()).toBe(true);
          }
          expect(video.signalCode ?? video.exitCode).not.toBeNull();
        },
        undefined,
      ],
      [
        "kill() of one that nobody reads",
        async (video) => {
          await untilTrue(() => video.pid !== undefined);
          video.kill();
          await video.exited;
        },
        undefined,
      ],
      [
        "return() while it waits",
        async (video, pool) => {
          const all = [await video.next(), await video.next()];
          const third = video.next();
          await untilTrue(() => pool.stats().waiting === 1);
          await video.return();
          for (const { value } of all) value!.release();
          expect(await third).toEqual({ done: true, value: undefined });
        },
        undefined,
      ],
      [
        "Symbol.asyncDispose",
        async (video) => {
          (await video.next()).value!.release();
          await video[Symbol.asyncDispose]();
        },
        undefined,
      ],
      [
        "Symbol.dispose",
        async (video) => {
          (await video.next()).value!.release();
          video[Symbol.dispose]();
          await video.exited;
        },
        undefined,
      ],
      [
        "close() of the pool by force",
        async (video, pool) => {
          await video.next();
          await untilTrue(() => pool.outstanding === 2);
          pool.close({ force: true });
          await video.next();
        },
        /was closed/,
      ],
      [
        "retire() of the pool",
        async (video, pool) => {
          const first = await video.next();
          await untilTrue(() => pool.outstanding === 2);
          pool.retire();
          first.value!.release();
          (await video.next()).value!.release();
          await video.next();
        },
        /retired|closed/,
      ],
      [
        "a frame that does not fit",
        async (_video, pool) => {
          await numbersOf(spawnFrames(NODE, writer(200, 3), { pool, ...GRAY, height: 20 }));
        },
        /takes 200 bytes/,
      ],
    ];
    for (const [hasSockets, [name, way, message]] of byTransport(cases)) {
      if (hasSockets) withSockets();
      else withoutSockets();
      const open = HAS_PROC ? descriptors() : 0;
      const abort = new AbortController();
      const pool = BufferPool.create({ size: 100, max: 2 });
      const args = script(
        "const frame = Buffer.alloc(100, 1); const put = () => process.stdout.write(frame, (error) => error ?? put()); put();",
      );
      const video = spawnFrames(NODE, args, { pool, ...GRAY, signal: abort.signal, ahead: 1 });
      const end = await way(video, pool, abort).then(
        () => undefined,
        (error: Error) => error.message,
      );
      if (name === "a frame that does not fit") await video.return();
      if (message instanceof RegExp) expect(end, name).toMatch(message);
      else expect(end, name).toBe(message);
      const isBusy = video.pid !== undefined && isRunning(video.pid);
      expect(isBusy, `${name}: process`).toBe(false);
      expect(pool.stats(), name).toMatchObject({ outstanding: 0, waiting: 0 });
      expect(getEventListeners(abort.signal, "abort"), name).toHaveLength(0);
      expect(process.listenerCount("exit"), name).toBe(exitListeners);
      expect(readdirSync(join(folder, "tmp")), name).toEqual([]);
      if (HAS_PROC) await untilTrue(() => descriptors() <= open);
    }
  });

  it("end a program that ignores SIGTERM and does not write by SIGKILL", async () => {
    const video = spawnFrames(
      NODE,
      script(`process.on("SIGTERM", () => process.stderr.write("not now"));
        require("node:fs").writeSync(1, Buffer.alloc(150, 1)); setInterval(() => {}, 1000);`),
      { count: 2, ...GRAY, grace: 50 },
    );
    for await (const frame of video) {
      frame.release();
      break;
    }
    expect([video.exitCode, video.signalCode]).toEqual([null, "SIGKILL"]);
    expect(isRunning(video.pid!)).toBe(false);
  });

  it("do not wait for a child of the program that has its stderr", async () => {
    const video = spawnFrames("sh", ["-c", "sleep 60 >/dev/null & echo $! >&2; head -c 100 /dev/zero"], {
      count: 1,
      ...GRAY,
    });
    expect((await numbersOf(video)).length).toBe(1);
    process.kill(Number(video.stderr.trim()), "SIGKILL");
  });

  it("write nothing into bytes that a stale view has sent away", async () => {
    const pool = BufferPool.create({ size: 200_000, max: 1 });
    const old = pool.tryAcquire()!;
    const { buffer } = old.bytes;
    old.release();
    const video = spawnFrames(
      NODE,
      script(`
      const fs = require("node:fs"); const put = () => fs.writeSync(1, Buffer.alloc(100000, 5));
      put(); process.stdin.on("end", () => 0); setTimeout(() => { put(); put(); }, 100); setInterval(() => {}, 1000);`),
      {
        pool,
        format: "gray",
        width: 1000,
        height: 200,
      },
    );
    const next = video.next();
    await untilTrue(() => pool.outstanding === 1);
    const away = new Uint8Array(structuredClone(buffer, { transfer: [buffer as ArrayBuffer] }));
    away.fill(9);
    expect(await codeOf(next)).toBe("ERR_DETACHED");
    expect(new Set(away)).toEqual(new Set([9]));
    await video.exited;
  });

  it("end with a typed error or work, with any number of descriptors left to this process", async (context) => {
    if (process.platform === "win32") context.skip("no limit of descriptors here");
    const module = join(import.meta.dirname, "../../../../src/adapters/node/streams/spawn-frames.ts");
    const text = `
      import { closeSync, openSync } from "node:fs";
      import { spawnFrames } from ${JSON.stringify(module)};
      const run = async () => {
        const video = spawnFrames("head", ["-c", "300", "/dev/zero"], { count: 2, format: "gray", width: 10, height: 10 });
        let count = 0;
        try {
          for await (const frame of video) { count++; frame.release(); }
          return count;
        } catch (error) { return error.code; }
      };
      const answers = [];
      for (let left = 0; left < 12; left++) {
        const taken = [];
        try { for (;;) taken.push(openSync("/dev/null")); } catch {}
        for (let i = 0; i < left; i++) closeSync(taken.pop());
        answers.push(await run());
        for (const descriptor of taken) closeSync(descriptor);
      }
      console.log(JSON.stringify([...new Set(answers)]), await run());`;
    const exit = await run(["sh", "-c", 'ulimit -n 80; exec "$0" "$@"', NODE, "--input-type=module", "-e", text]);
    expect(exit).toMatchObject({ stdout: '["ERR_PROCESS_FAILED",3] 3\n', code: 0 });
    expect(readdirSync(join(folder, "tmp"))).toEqual([]);
  });

  it("do not outlive this process, whether it exits or is killed", async () => {
    const module = join(import.meta.dirname, "../../../../src/adapters/node/streams/spawn-frames.ts");
    for (const end of ["exit", "throw", "kill"]) {
      const text = `
        import { spawnFrames } from ${JSON.stringify(module)};
        const video = spawnFrames(process.execPath, ["-e", ${JSON.stringify(
          'const frame = Buffer.alloc(100); process.on("SIGTERM", () => {}); const put = () => process.stdout.write(frame, (error) => error ?? put()); process.stdout.on("error", () => process.exit()); put();',
        )}], { count: 2, format: "gray", width: 10, height: 10 });
        await video.next();
        process.stdout.write(video.pid + "\\n");
        if (${JSON.stringify(end)} === "exit") process.exit(0);
        if (${JSON.stringify(end)} === "throw") throw new Error("uncaught");
        setInterval(() => {}, 1000);`;
      const parent = spawn(NODE, ["--input-type=module", "-e", text], { stdio: ["ignore", "pipe", "ignore"] });
      const [chunk] = (await once(parent.stdout, "data")) as [Buffer];
      const pid = Number(chunk.toString());
      if (end === "kill") parent.kill("SIGKILL");
      await once(parent, "close");
      await untilTrue(() => !isRunning(pid) || isZombie(pid));
    }
    expect(readdirSync(join(folder, "tmp"))).toEqual([]);
  });

  it("come in order to many calls of next() at once, and to many programs at once", async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning);
    process.on("warning", onWarning);
    const one = spawnFrames(NODE, writer(100, 6), { count: 6, ...GRAY });
    const all = await Promise.all(Array.from({ length: 8 }, () => one.next()));
    expect(all.map(({ value, done }) => (done === true ? "end" : value.bytes[0]))).toEqual([
      1,
      2,
      3,
      4,
      5,
      6,
      "end",
      "end",
    ]);
    for (const { value } of all) value?.release();
    const pool = BufferPool.create({ size: 100, max: 16 });
    const many = Array.from({ length: 16 }, () => spawnFrames("head", ["-c", "300", "/dev/zero"], { pool, ...GRAY }));
    expect(await Promise.all(many.map(numbersOf))).toEqual(many.map(() => [0, 0, 0]));
    expect(pool.outstanding).toBe(0);
    expect(readdirSync(join(folder, "tmp"))).toEqual([]);
    await new Promise(setImmediate);
    process.off("warning", onWarning);
    expect(warnings).toEqual([]);
  });

  it("give the slot back and end the program when a hook of the pool throws, and when a read does", async () => {
    class Failing extends BufferPool {
      fails = false;
      protected override reset(): void {
        if (this.fails) throw new Error("the hook failed");
      }
    }
    const pool = Failing.create({ size: 100, max: 2 });
    const video = spawnFrames(NODE, writer(100, 1000), { pool, ...GRAY });
    (await video.next()).value!.release();
    pool.fails = true;
    await expect(numbersOf(video)).rejects.toThrow("the hook failed");
    pool.fails = false;
    expect(isRunning(video.pid!)).toBe(false);
    await untilTrue(() => pool.outstanding === 0);
    pool.validate();
  });

  it("refuse wrong arguments before anything is started", () => {
    const pool = BufferPool.create({ size: 100, max: 1 });
    const wrong: [unknown[], string][] = [
      [[undefined, [], { pool }], "command must be a string"],
      [["", [], { pool }], "command must be a program"],
      [["a\0b", [], { pool }], "command must be a string without NUL"],
      [["true", "x", { pool }], "args must be a list of strings"],
      [["true", [1], { pool }], "args[0] must be a string"],
      [["true", ["\0"], { pool }], "args[0] must be a string without NUL"],
      [["true", []], "options must be a plain object with pool or count"],
      [["true", [], {}], "one of options.pool and options.count must be given"],
      [["true", [], { pool, count: 1 }], "one of options.pool and options.count must be given"],
      [["true", [], { count: 0 }], "options.count must be a whole number from 1"],
      [["true", [], { pool: {} }], "options.pool must be a BufferPool"],
      [["true", [], { pool, ahead: 2 }], "options.ahead"],
      [["true", [], { pool, grace: -1 }], "options.grace"],
      [["true", [], { pool, cwd: 1 }], "options.cwd must be a string"],
      [["true", [], { pool, env: { A: 1 } }], "options.env.A must be a string"],
      [["true", [], { pool, signal: 1 }], "options.signal must be an AbortSignal"],
      [["true", [], { pool, formt: "gray" }], 'did you mean "format"'],
    ];
    for (const [args, message] of wrong) {
      expect(() => (spawnFrames as (...all: unknown[]) => unknown)(...args), message).toThrow(message);
    }
    expect(pool.outstanding).toBe(0);
  });
});

function isZombie(pid: number): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true;
  }
}

it.skipIf(process.platform === "win32")(
  "the folder of the sockets is gone when the process exits right after the call",
  async () => {
    const tmp = join(folder, "tmp");
    withSocketFiles();
    const listeners = process.listeners("exit");
    const program = spawnFrames("true", [], { count: 1 });
    const added = process.listeners("exit").filter((listener) => !listeners.includes(listener));
    expect([readdirSync(tmp).length, added.length]).toEqual([1, 1]);
    added[0]!.call(process, 0);
    expect(readdirSync(tmp)).toEqual([]);
    await program.return();
  },
);

/** The names of our sockets that are no files, as the system tells everybody. */
function socketNames(): string[] {
  return [...readFileSync("/proc/net/unix", "utf8").matchAll(/@(millpond-\S+)/g)].map(([, name]) => `\0${name}`);
}

describe.skipIf(process.platform !== "linux")("the sockets of a program on Linux", () => {
  const tmp = (): string[] => readdirSync(join(folder, "tmp"));

  it("leave no folder when a worker is terminated while they are made", async () => {
    const module = join(import.meta.dirname, "../../../../src/adapters/node/streams/spawn-frames.ts");
    const text = `
      import { spawnFrames } from ${JSON.stringify(module)};
      import { parentPort } from "node:worker_threads";
      spawnFrames("true", [], { count: 1 });
      parentPort.postMessage("");
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);`;
    const worker = new Worker(
      new URL(`data:text/javascript,${encodeURIComponent(text.replace(module, `file://${module}`))}`),
    );
    await once(worker, "message");
    expect(tmp()).toEqual([]);
    await worker.terminate();
    expect(tmp()).toEqual([]);
  });

  it("belong to this process, whoever else connects to their name, and first", async () => {
    for (const count of [1, 3, 40]) {
      const known = socketNames();
      const program = spawnFrames("sh", ["-c", "printf aaaaaabbbbbb"], {
        count: 2,
        format: "GRAY8",
        width: 2,
        height: 3,
      });
      const mine = socketNames().filter((name) => !known.includes(name));
      expect(mine).toHaveLength(1);
      const heard: Buffer[] = [];
      const ends = Array.from({ length: count }, (_, i) => {
        const stranger = connect(mine[0]!);
        stranger.on("error", () => {});
        stranger.on("data", (bytes) => heard.push(bytes));
        // Nothing, a wrong secret, one byte by one, and one that is too long.
        if (i % 3 === 1) stranger.write(Buffer.alloc(16));
        if (i % 3 === 2) for (let k = 0; k < 17; k++) stranger.write("x");
        return new Promise((resolve) => stranger.once("close", resolve));
      });
      const got: (number | undefined)[] = [];
      for await (const frame of program) {
        got.push(frame.bytes[0]);
        frame.release();
      }
      expect(got).toEqual([0x61, 0x62]);
      expect(program.transport).toBe("socketpair");
      // Each was closed by the other side.
      await Promise.all(ends);
      expect(heard).toEqual([]);
      expect(socketNames().filter((name) => mine.includes(name))).toEqual([]);
      expect(tmp()).toEqual([]);
    }
  });

  it("are made in a folder where the name cannot be had, and the folder is gone", async () => {
    withSocketFiles();
    const program = spawnFrames("sh", ["-c", "printf aaaaaa"], { count: 2, format: "GRAY8", width: 2, height: 3 });
    expect(tmp()).toHaveLength(1);
    (await program.next()).value!.release();
    expect([program.transport, tmp()]).toEqual(["socketpair", []]);
    await program.return();
  });
});

it.each(["socketpair", "pipe"])(
  "a child of the program that holds its output (%s) does not keep the loop",
  async (how) => {
    if (how === "pipe") withoutSockets();
    try {
      const format = { format: "GRAY8", width: 2, height: 3 } as const;
      const program = spawnFrames("sh", ["-c", "printf aaaaaa; sleep 1000 & echo $! >&2"], { count: 2, ...format });
      let count = 0;
      for await (const frame of program) {
        count++;
        frame.release();
      }
      expect(count).toBe(1);
      // It is still there.
      process.kill(Number(program.stderr), "SIGKILL");
    } finally {
      withSockets();
    }
  },
);
