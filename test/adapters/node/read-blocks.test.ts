// Shares its realm with other files: nothing that it changes outlives it.
import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readBlocks } from "../../../src/adapters/node/read-blocks.ts";
import { BufferPool, RealtimePool } from "../../../src/index.ts";
import { codeOf } from "../../helpers/code-of.ts";
import { mkfifo, openDescriptors, openedSince } from "../../helpers/descriptors.ts";
import { watchedSignal } from "../../helpers/watched-signal.ts";

const SIZE = 1000;
let folder: string;
let content: Uint8Array;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "millpond-blocks-"));
  content = Uint8Array.from({ length: 4 * SIZE + 123 }, (_, i) => (i * 31 + (i >> 8)) & 255);
  writeFileSync(file("whole"), content);
  writeFileSync(file("exact"), content.subarray(0, 3 * SIZE));
  writeFileSync(file("empty"), "");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string): string {
  return join(folder, name);
}

function poolOf(max = 4, size = SIZE): BufferPool {
  return BufferPool.create({ name: "blocks", size, max });
}

/** What a loop over blocks got, and that it is what the file has there. */
async function readAll(blocks: AsyncIterable<import("../../../src/index.ts").MediaBuffer>): Promise<number[]> {
  const sizes: number[] = [];
  for await (const block of blocks) {
    const from = Number(block.offset);
    expect(Number(block.offsetEnd) - from).toBe(block.size);
    expect(Buffer.compare(block.bytes, content.subarray(from, from + block.size))).toBe(0);
    sizes.push(block.size);
    block.release();
  }
  return sizes;
}

function expectHome(pool: BufferPool): void {
  expect(pool.outstanding).toBe(0);
  pool.validate();
  pool.close();
}

describe("readBlocks", () => {
  it("hands out a file in order, the last block as large as what is left", async () => {
    for (const ahead of [1, 2, 3, 64]) {
      const pool = poolOf();
      expect(await readAll(readBlocks(file("whole"), pool, { ahead }))).toEqual([SIZE, SIZE, SIZE, SIZE, 123]);
      expectHome(pool);
    }
  });

  it("ends behind the last byte of a file of whole blocks, and hands out nothing of an empty one", async () => {
    const pool = poolOf();
    expect(await readAll(readBlocks(file("exact"), pool))).toEqual([SIZE, SIZE, SIZE]);
    expect(await readAll(readBlocks(file("empty"), pool))).toEqual([]);
    expectHome(pool);
  });

  it("reads from start to before end, also beyond the file", async () => {
    const pool = poolOf();
    expect(await readAll(readBlocks(file("whole"), pool, { start: 10, end: 1500 }))).toEqual([SIZE, 490]);
    expect(await readAll(readBlocks(file("whole"), pool, { start: 4 * SIZE, end: 1e9 }))).toEqual([123]);
    expect(await readAll(readBlocks(file("whole"), pool, { start: 1e9 }))).toEqual([]);
    expect(await readAll(readBlocks(file("whole"), pool, { start: 7, end: 7 }))).toEqual([]);
    expectHome(pool);
  });

  it("takes a path, a URL and a FileHandle, which stays open and where it is", async () => {
    const pool = poolOf();
    expect(await readAll(readBlocks(pathToFileURL(file("exact")), pool))).toHaveLength(3);
    const handle = await open(file("whole"));
    try {
      expect(await readAll(readBlocks(handle, pool))).toHaveLength(5);
      const { bytesRead, buffer } = await handle.read(new Uint8Array(10), 0, 10, null);
      expect([bytesRead, [...buffer]]).toEqual([10, [...content.subarray(0, 10)]]);
    } finally {
      await handle.close();
    }
    expectHome(pool);
  });

  it("has at most ahead reads beyond the loop's block, and no more than free slots", async () => {
    for (const [max, ahead, most] of [
      [8, 1, 2],
      [8, 3, 4],
      [2, 5, 2],
      [1, 5, 1],
    ] as const) {
      const pool = poolOf(max, 100);
      for await (const block of readBlocks(file("whole"), pool, { ahead })) {
        expect(pool.outstanding).toBeLessThanOrEqual(most);
        await new Promise((resolve) => setImmediate(resolve));
        block.release();
      }
      expect(pool.stats().highWater).toBe(most);
      expectHome(pool);
    }
  });

  it("waits for a slot in the pool's line and goes on when one comes back", async () => {
    const pool = poolOf(1);
    const held = pool.tryAcquire()!;
    const blocks = readBlocks(file("whole"), pool);
    const next = blocks.next();
    while (pool.stats().waiting === 0) await new Promise((resolve) => setImmediate(resolve));
    held.release();
    const { value } = await next;
    expect(value?.offset).toBe(0n);
    value?.release();
    await blocks.return?.();
    expectHome(pool);
  });

  it("lets two loops go on that hold a block each, in a pool of any size from two", async () => {
    for (const max of [2, 3, 4, 5]) {
      for (const ahead of [1, 2, 5]) {
        const pool = poolOf(max);
        const [a, b] = [readBlocks(file("whole"), pool, { ahead }), readBlocks(file("whole"), pool, { ahead })];
        let count = 0;
        for (;;) {
          const x = await a.next();
          // By then what can be read ahead is.
          for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
          const y = await b.next();
          if (x.done === true || y.done === true) break;
          const from = count++ * SIZE;
          for (const { value } of [x, y]) {
            expect([value.offset, Buffer.compare(value.bytes, content.subarray(from, from + value.size))]).toEqual([
              BigInt(from),
              0,
            ]);
            value.release();
          }
        }
        expect(count).toBe(5);
        expectHome(pool);
      }
    }
  });

  it("gives up the last block that was read ahead for each wait in the pool, and reads it again", async () => {
    for (const isRead of [true, false]) {
      const pool = poolOf(4);
      const blocks = readBlocks(file("whole"), pool, { ahead: 3 });
      const first = (await blocks.next()).value!;
      expect(pool.outstanding).toBe(4);
      // The reads have ended, or are still under way.
      if (isRead) for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
      const others = await Promise.all([pool.acquire(), pool.acquire()]);
      expect([pool.outstanding, pool.stats().waiting]).toEqual([4, 0]);
      for (const other of others) other.bytes.fill(255);
      for (const lease of [...others, first]) lease.release();
      expect(await readAll(blocks)).toEqual([SIZE, SIZE, SIZE, 123]);
      expectHome(pool);
    }
  });

  it("does not give up the block that its loop waits for, and has all back when it ends with a read given up", async () => {
    const before = openDescriptors();
    const pool = poolOf(2);
    const blocks = readBlocks(file("whole"), pool);
    const next = blocks.next();
    while (pool.outstanding < 2) await new Promise((resolve) => setImmediate(resolve));
    const [other, late] = [pool.acquire(), codeOf(pool.acquire())];
    (await next).value!.release();
    (await other).release();
    await blocks.return?.();
    expect(pool.stats().waiting).toBe(0);
    expect(await late).toBe("ok");
    expect(openedSince(before)).toEqual([]);
    pool.close({ force: true });
  });

  it("reads to the end that it finds when the file grows meanwhile", async () => {
    writeFileSync(file("grows"), content.subarray(0, 1500));
    const pool = poolOf(1);
    const sizes: number[] = [];
    for await (const block of readBlocks(file("grows"), pool)) {
      sizes.push(block.size);
      expect(Buffer.compare(block.bytes, content.subarray(Number(block.offset), Number(block.offsetEnd)))).toBe(0);
      if (sizes.length === 1) appendFileSync(file("grows"), content.subarray(1500, 2700));
      block.release();
    }
    expect(sizes).toEqual([SIZE, SIZE, 700]);
    expectHome(pool);
  });

  it("ends early, without a gap, when the file shrinks meanwhile", async () => {
    writeFileSync(file("shrinks"), content);
    const pool = poolOf(1);
    const sizes: number[] = [];
    for await (const block of readBlocks(file("shrinks"), pool)) {
      sizes.push(block.size);
      if (sizes.length === 1) truncateSync(file("shrinks"), 1200);
      block.release();
    }
    expect(sizes).toEqual([SIZE, 200]);
    expectHome(pool);
  });

  it("ends with a short block when the file is as long again, whatever was read behind it", async () => {
    for (const ahead of [2, 3, 4]) {
      for (const isEmpty of [false, true]) {
        const handle = await open(file("whole"));
        const read = handle.read.bind(handle) as (
          bytes: Uint8Array,
          offset: number,
          length: number,
          position: number,
        ) => Promise<{ bytesRead: number; buffer: Uint8Array }>;
        const end = isEmpty ? SIZE : SIZE + 700;
        // The file is cut while its second block is read, and only then.
        handle.read = ((bytes: Uint8Array, offset: number, length: number, position: number) => {
          const isCut = position >= SIZE && position < 2 * SIZE;
          const there = isCut ? Math.min(length, end - position) : length;
          return there === 0 ? Promise.resolve({ bytesRead: 0, buffer: bytes }) : read(bytes, offset, there, position);
        }) as never;
        const pool = poolOf(5);
        expect(await readAll(readBlocks(handle, pool, { ahead }))).toEqual(isEmpty ? [SIZE] : [SIZE, 700]);
        expectHome(pool);
        await handle.close();
      }
    }
  });

  it.skipIf(process.platform !== "linux")("reads files whose size the system does not tell", async () => {
    const pool = poolOf(2, 64);
    let text = "";
    for await (const block of readBlocks("/proc/self/status", pool)) {
      text += Buffer.from(block.bytes).toString();
      block.release();
    }
    expect(text).toMatch(/^Name:[\s\S]*nonvoluntary_ctxt_switches:\s+\d+\n$/);
    expectHome(pool);
  });

  it("rejects with the system's error for what is missing or a folder, and opens nothing before the first next()", async () => {
    const before = openDescriptors();
    const pool = poolOf();
    readBlocks(file("missing"), pool);
    await expect(readBlocks(file("missing"), pool).next()).rejects.toMatchObject({ code: "ENOENT" });
    await expect(readBlocks(folder, pool).next()).rejects.toMatchObject({ code: "EISDIR" });
    expect(openedSince(before)).toEqual([]);
    expectHome(pool);
  });

  it.skipIf(process.platform === "win32")("refuses a pipe without waiting for its writer", async () => {
    const before = openDescriptors();
    mkfifo(file("pipe"));
    const pool = poolOf();
    expect(await codeOf(readBlocks(file("pipe"), pool).next())).toBe("ERR_UNSUPPORTED");
    expect(openedSince(before)).toEqual([]);
    expectHome(pool);
  });

  it("gives leases and descriptor back on break, on throw and on return()", async () => {
    const before = openDescriptors();
    const pool = poolOf();
    for await (const block of readBlocks(file("whole"), pool, { ahead: 3 })) {
      block.release();
      break;
    }
    expect(pool.outstanding).toBe(0);
    await expect(async () => {
      for await (const block of readBlocks(file("whole"), pool, { ahead: 3 })) {
        block.release();
        throw new Error("the loop's own");
      }
    }).rejects.toThrow("the loop's own");
    const blocks = readBlocks(file("whole"), pool);
    await blocks.return?.();
    expect(await blocks.next()).toEqual({ done: true, value: undefined });
    expect(openedSince(before)).toEqual([]);
    expectHome(pool);
  });

  it("ends a next() that waits for a slot when return() is called", async () => {
    const before = openDescriptors();
    const pool = poolOf(1);
    const held = pool.tryAcquire()!;
    const blocks = readBlocks(file("whole"), pool);
    const next = blocks.next();
    while (pool.stats().waiting === 0) await new Promise((resolve) => setImmediate(resolve));
    await blocks.return?.();
    expect(await next).toEqual({ done: true, value: undefined });
    held.release();
    expect(openedSince(before)).toEqual([]);
    expectHome(pool);
  });

  it("serves several next() at once in order", async () => {
    const pool = poolOf(8);
    const blocks = readBlocks(file("whole"), pool);
    const all = await Promise.all(Array.from({ length: 7 }, () => blocks.next()));
    expect(all.map(({ value }) => value?.offset)).toEqual([0n, 1000n, 2000n, 3000n, 4000n, undefined, undefined]);
    for (const { value } of all) value?.release();
    expectHome(pool);
  });

  it("throws the signal's reason, aborted before, while it waits, and while the loop works", async () => {
    const before = openDescriptors();
    const pool = poolOf(3);
    const reason = new Error("enough");
    await expect(readBlocks(file("whole"), pool, { signal: AbortSignal.abort(reason) }).next()).rejects.toBe(reason);

    const held = [pool.tryAcquire()!, pool.tryAcquire()!, pool.tryAcquire()!];
    const waiting = new AbortController();
    const next = readBlocks(file("whole"), pool, { signal: waiting.signal }).next();
    while (pool.stats().waiting === 0) await new Promise((resolve) => setImmediate(resolve));
    waiting.abort(reason);
    await expect(next).rejects.toBe(reason);
    for (const lease of held) lease.release();

    const working = new AbortController();
    const blocks = readBlocks(file("whole"), pool, { signal: working.signal });
    const { value } = await blocks.next();
    working.abort(reason);
    // Nobody asks again: what was read ahead comes back all the same.
    while (pool.outstanding > 1) await new Promise((resolve) => setImmediate(resolve));
    while (openDescriptors().length > before.length) await new Promise((resolve) => setImmediate(resolve));
    await expect(blocks.next()).rejects.toBe(reason);
    expect(await blocks.next()).toEqual({ done: true, value: undefined });
    value?.release();
    expectHome(pool);
  });

  it("does not let a pool that is closed by force have bytes that a read still writes", async () => {
    const pool = BufferPool.create({ size: SIZE, max: 2, revoke: true });
    const handle = await open(file("whole"));
    let bytes: Uint8Array | undefined;
    let finish = (): void => {};
    const slow = slowReads(handle, (view) => {
      bytes = view;
      return new Promise<void>((resolve) => {
        finish = resolve;
      });
    });
    const next = readBlocks(slow, pool, { ahead: 1 }).next();
    while (bytes === undefined) await new Promise((resolve) => setImmediate(resolve));
    pool.close({ force: true });
    expect(bytes.length).toBe(SIZE);
    finish();
    expect(await codeOf(next)).toBe("ERR_POOL_DEAD");
    await handle.close();
    expect(pool.outstanding).toBe(0);
  });

  it("says so when a stale view of a slot was transferred away while the system read", async () => {
    const pool = poolOf(1);
    const lease = pool.tryAcquire()!;
    const stale = lease.bytes;
    lease.release();
    const handle = await open(file("whole"));
    const read = async (view: Uint8Array): Promise<unknown> => {
      const result = await handle.read(view, 0, 10, 0);
      structuredClone(stale.buffer, { transfer: [stale.buffer as ArrayBuffer] });
      return result;
    };
    const blocks = readBlocks({ ...shape(handle), read } as unknown as FileHandle, pool);
    expect(await codeOf(blocks.next())).toBe("ERR_DETACHED");
    expect(await blocks.next()).toEqual({ done: true, value: undefined });
    await handle.close();
    expectHome(pool);
  });

  it("throws what the pool refuses with, and a read's own error, with everything given back", async () => {
    const before = openDescriptors();
    const pool = poolOf();
    pool.setFlushing(true);
    expect(await codeOf(readBlocks(file("whole"), pool).next())).toBe("ERR_FLUSHING");
    pool.setFlushing(false);
    const handle = await open(file("whole"));
    let count = 0;
    const failing = slowReads(handle, async () => {
      if (++count === 2) throw new Error("a bad sector");
    });
    const sizes: number[] = [];
    await expect(async () => {
      for await (const block of readBlocks(failing, pool, { ahead: 4 })) {
        sizes.push(block.size);
        block.release();
      }
    }).rejects.toThrow("a bad sector");
    expect(sizes).toEqual([SIZE]);
    await handle.close();
    expect(openedSince(before)).toEqual([]);
    expectHome(pool);
  });

  it("makes whole blocks of short reads", async () => {
    const pool = poolOf();
    const handle = await open(file("whole"));
    const short = {
      ...shape(handle),
      read: (b: Uint8Array, o: number, n: number, p: number) => handle.read(b, o, Math.min(n, 77), p),
    };
    expect(await readAll(readBlocks(short as unknown as FileHandle, pool))).toEqual([SIZE, SIZE, SIZE, SIZE, 123]);
    await handle.close();
    expectHome(pool);
  });

  it("refuses bad arguments at once, by name", () => {
    const pool = poolOf();
    const bad = (call: () => unknown): unknown => {
      try {
        call();
      } catch (error) {
        return [(error as { code: string }).code, (error as Error).message.split(" ")[0]];
      }
      return "ok";
    };
    expect(bad(() => readBlocks(7 as never, pool))).toEqual(["ERR_INVALID_ARG_TYPE", "file"]);
    expect(bad(() => readBlocks("a\0b", pool))).toEqual(["ERR_INVALID_ARG_VALUE", "file"]);
    expect(bad(() => readBlocks(new URL("http://x.invalid/"), pool))).toEqual(["ERR_INVALID_ARG_VALUE", "file"]);
    expect(bad(() => readBlocks("x", {} as never))).toEqual(["ERR_INVALID_ARG_TYPE", "pool"]);
    expect(bad(() => readBlocks("x", pool, { start: -1 }))).toEqual(["ERR_OUT_OF_RANGE", "options.start"]);
    expect(bad(() => readBlocks("x", pool, { start: 5, end: 4 }))).toEqual(["ERR_OUT_OF_RANGE", "options.end"]);
    expect(bad(() => readBlocks("x", pool, { ahead: 0 }))).toEqual(["ERR_OUT_OF_RANGE", "options.ahead"]);
    expect(bad(() => readBlocks("x", pool, { strat: 1 } as never))).toEqual(["ERR_INVALID_ARG_VALUE", "options.strat"]);
    expect(bad(() => readBlocks("x", pool, { signal: 1 as never }))).toEqual([
      "ERR_INVALID_ARG_TYPE",
      "options.signal",
    ]);
    expect(pool.stats().acquires).toBe(0);
  });

  it("closes its file when the pool and the memory under it are closed by force while it reads", async () => {
    const before = openDescriptors();
    for (const order of ["pool", "arena", "pool arena", "arena pool"]) {
      for (const end of ["next", "return"] as const) {
        const arena = RealtimePool.create({ totalSize: 64 * SIZE, lock: "off" });
        const pool = BufferPool.create({ size: SIZE, max: 4, allocator: arena.allocator });
        const blocks = readBlocks(file("whole"), pool, { ahead: 2 });
        const first = await blocks.next();
        expect(first.done).toBe(false);
        const going = codeOf(blocks[end]!());
        for (const name of order.split(" ")) (name === "pool" ? pool : arena).close({ force: true });
        const heard = [await going, await codeOf(blocks.return!())];
        expect(heard.every((code) => code === "ok" || code === "ERR_POOL_DEAD")).toBe(true);
        expect(openedSince(before)).toEqual([]);
        arena.close({ force: true });
        pool.close({ force: true });
      }
    }
  });

  it("leaves no listener at the signal", async () => {
    const pool = poolOf();
    const { signal, listeners } = watchedSignal();
    await readAll(readBlocks(file("whole"), pool, { signal }));
    for await (const block of readBlocks(file("whole"), pool, { signal })) {
      block.release();
      break;
    }
    expect(listeners()).toBe(0);
    expectHome(pool);
  });
});

/** What readBlocks() asks of a FileHandle. */
function shape(handle: FileHandle): Pick<FileHandle, "fd" | "stat" | "read"> {
  return { fd: handle.fd, stat: handle.stat.bind(handle), read: handle.read.bind(handle) };
}

/** A handle each of whose reads waits for `before`. */
function slowReads(handle: FileHandle, before: (view: Uint8Array) => Promise<void>): FileHandle {
  const read = async (view: Uint8Array, offset: number, length: number, position: number): Promise<unknown> => {
    await before(view);
    return await handle.read(view, offset, length, position);
  };
  return { ...shape(handle), read } as unknown as FileHandle;
}
