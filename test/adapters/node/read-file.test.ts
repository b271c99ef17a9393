// Shares its realm with other files: nothing that it changes outlives it.
import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readFile } from "../../../src/adapters/node/read-file.ts";
import { type MediaBuffer, PagePool } from "../../../src/index.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { mkfifo, openDescriptors, openedSince } from "../../helpers/descriptors.ts";

const content = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) & 255);
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "millpond-file-"));
  writeFileSync(file("whole"), content);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string): string {
  return join(folder, name);
}

/** The buffer has these bytes in one run; gives them back, and sees that the pool got them. */
function expectBytes(buffer: MediaBuffer, expected: Uint8Array, pages: PagePool): void {
  expect(buffer.size).toBe(expected.length);
  expect(Buffer.compare(buffer.bytes, expected)).toBe(0);
  buffer.release();
  expect(pages.stats().live).toBe(0);
}

/** A handle that calls `before` with the number of each read. */
function watched(handle: FileHandle, before: (count: number) => unknown): FileHandle {
  let count = 0;
  const read = async (view: Uint8Array, offset: number, length: number, position: number): Promise<unknown> => {
    await before(++count);
    return await handle.read(view, offset, length, position);
  };
  return { fd: handle.fd, stat: handle.stat.bind(handle), read } as unknown as FileHandle;
}

describe("readFile", () => {
  it("reads a whole file into one block, by path, URL and FileHandle, and the next one into the same block", async () => {
    const before = openDescriptors();
    const pages = PagePool.create();
    expectBytes(await readFile(file("whole"), pages), content, pages);
    expectBytes(await readFile(pathToFileURL(file("whole")), pages), content, pages);
    const handle = await open(file("whole"));
    expectBytes(await readFile(handle, pages), content, pages);
    await handle.close();
    expect(pages.stats().misses).toBe(1);
    expect(openedSince(before)).toEqual([]);
  });

  it("reads files of every length around a page and around nothing", async () => {
    const pages = PagePool.create({ pageSize: 512 });
    for (const length of [0, 1, 511, 512, 513, 65_535, 65_536, 65_537]) {
      writeFileSync(file("length"), content.subarray(0, length));
      expectBytes(await readFile(file("length"), pages), content.subarray(0, length), pages);
    }
  });

  it.skipIf(process.platform !== "linux")("reads files that say they are empty, or longer than they are", async () => {
    const pages = PagePool.create();
    for (const path of ["/proc/self/status", "/proc/kallsyms", "/sys/kernel/mm/transparent_hugepage/enabled"]) {
      const buffer = await readFile(path, pages).catch((error: NodeJS.ErrnoException) => error.code);
      // Not every machine has the last two, or lets them be read.
      if (typeof buffer === "string" && path !== "/proc/self/status") continue;
      expect((buffer as MediaBuffer).size).toBeGreaterThan(10);
      (buffer as MediaBuffer).release();
    }
    expect(pages.stats().live).toBe(0);
  });

  it("reads a file that grows to the end that it finds, and one that shrinks as long as it was", async () => {
    const pages = PagePool.create();
    writeFileSync(file("grows"), content.subarray(0, 1000));
    const growing = await open(file("grows"));
    const grown = await readFile(
      watched(growing, (count) => count === 1 && appendFileSync(file("grows"), content.subarray(1000))),
      pages,
    );
    expectBytes(grown, content, pages);
    await growing.close();
    writeFileSync(file("shrinks"), content);
    const shrinking = await open(file("shrinks"));
    const shrunk = await readFile(
      watched(shrinking, (count) => count === 1 && truncateSync(file("shrinks"), 999)),
      pages,
    );
    expectBytes(shrunk, content.subarray(0, 999), pages);
    await shrinking.close();
  });

  it("takes exactly maxBytes and refuses one byte more, by size and by what is there", async () => {
    const pages = PagePool.create();
    expectBytes(await readFile(file("whole"), pages, { maxBytes: content.length }), content, pages);
    await expect(readFile(file("whole"), pages, { maxBytes: content.length - 1 })).rejects.toMatchObject({
      code: "ERR_TOO_LARGE",
      details: { size: content.length, maxBytes: content.length - 1 },
    });
    writeFileSync(file("grows"), content.subarray(0, 1000));
    const handle = await open(file("grows"));
    const grow = (count: number): unknown => count === 1 && appendFileSync(file("grows"), content.subarray(1000, 1002));
    expect(await codeOf(readFile(watched(handle, grow), pages, { maxBytes: 1001 }))).toBe("ERR_TOO_LARGE");
    await handle.close();
    writeFileSync(file("empty"), "");
    expectBytes(await readFile(file("empty"), pages, { maxBytes: 0 }), content.subarray(0, 0), pages);
    expect(pages.stats().live).toBe(0);
  });

  it("waits for pages while the pool is full, and rejects when they can never fit", async () => {
    const pages = PagePool.create({ maxBytes: 2 ** 19 });
    const held = pages.allocate(2 ** 19);
    const reading = readFile(file("whole"), pages);
    while (pages.stats().waiting === 0) await new Promise((resolve) => setImmediate(resolve));
    held.release();
    expectBytes(await reading, content, pages);
    const small = PagePool.create({ maxBytes: 2 ** 17 });
    const before = openDescriptors();
    expect(await codeOf(readFile(file("whole"), small))).toBe("ERR_POOL_FULL");
    expect(openedSince(before)).toEqual([]);
  });

  it("throws the signal's reason before, while it waits for pages, and between reads", async () => {
    const before = openDescriptors();
    const reason = new Error("enough");
    const pages = PagePool.create({ maxBytes: 2 ** 19 });
    await expect(readFile(file("whole"), pages, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);

    const held = pages.allocate(2 ** 19);
    const waiting = new AbortController();
    const reading = readFile(file("whole"), pages, { signal: waiting.signal });
    while (pages.stats().waiting === 0) await new Promise((resolve) => setImmediate(resolve));
    waiting.abort(reason);
    await expect(reading).rejects.toBe(reason);
    held.release();

    const handle = await open(file("whole"));
    const between = new AbortController();
    const abort = (count: number): unknown => count === 1 && between.abort(reason);
    await expect(readFile(watched(handle, abort), pages, { signal: between.signal })).rejects.toBe(reason);
    await handle.close();
    expect(pages.stats().live).toBe(0);
    expect(openedSince(before)).toEqual([]);
  });

  it("rejects with the system's error, and refuses pipes and bad arguments", async () => {
    const before = openDescriptors();
    const pages = PagePool.create();
    await expect(readFile(file("missing"), pages)).rejects.toMatchObject({ code: "ENOENT" });
    await expect(readFile(folder, pages)).rejects.toMatchObject({ code: "EISDIR" });
    if (process.platform !== "win32") {
      mkfifo(file("pipe"));
      expect(await codeOf(readFile(file("pipe"), pages))).toBe("ERR_UNSUPPORTED");
    }
    expect(await codeOf(readFile(5 as never, pages))).toBe("ERR_INVALID_ARG_TYPE");
    expect(await codeOf(readFile("", pages))).toBe("ERR_INVALID_ARG_VALUE");
    expect(await codeOf(readFile(file("whole"), {} as never))).toBe("ERR_INVALID_ARG_TYPE");
    expect(await codeOf(readFile(file("whole"), pages, { maxBytes: -1 }))).toBe("ERR_OUT_OF_RANGE");
    expect(await codeOf(readFile(file("whole"), pages, { maxByte: 1 } as never))).toBe("ERR_INVALID_ARG_VALUE");
    expect(pages.stats().allocations).toBe(0);
    expect(openedSince(before)).toEqual([]);
  });

  it("leaves what it has read with the caller when the pool is closed by force, and gives up when it is so meanwhile", async () => {
    const pages = PagePool.create({ revoke: true });
    const handle = await open(file("whole"));
    const buffer = await readFile(
      watched(handle, (count) => count === 1 && pages.close({ force: true })),
      pages,
    ).catch((error: unknown) => error);
    await handle.close();
    // A block that a buffer holds stays with it: the read went on into memory that is still its own.
    expect(Buffer.compare((buffer as MediaBuffer).bytes, content)).toBe(0);
    (buffer as MediaBuffer).release();
    expect(await codeOf(readFile(file("whole"), pages))).toBe("ERR_POOL_DEAD");
  });
});
