/**
 * Byte streams whose sources are not what the standard's examples are: Node's own over files, branches, sources that
 * close without an answer, that answer with another buffer, or that give a little at a time.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readInto } from "../../src/adapters/web-streams.ts";
import type { MediaBuffer } from "../../src/media/buffer/media-buffer.ts";
import type { BufferPool } from "../../src/pools/buffer/buffer-pool.ts";
import { lateRejections } from "../helpers/late-errors.ts";
import { openPool } from "../pools/buffer/pools.ts";

/** Bytes that tell their place. */
function pattern(length: number, from = 0): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => ((from + i) * 2_654_435_761) >>> 24);
}

/** Reads to the end; each lease is released when so many more are held. */
async function all(stream: ReadableStream, pool: BufferPool, options = {}, keep = 0): Promise<Buffer> {
  const read: Uint8Array[] = [];
  const held: MediaBuffer[] = [];
  for await (const buffer of readInto(stream, pool, options)) {
    read.push(buffer.bytes.slice());
    held.push(buffer);
    // In a later turn: the loop finds every slot out until then.
    if (held.length > keep) setImmediate(() => held.shift()!.release());
  }
  for (let turns = 0; turns < 3; turns++) await new Promise((resolve) => setImmediate(resolve));
  for (const buffer of held) buffer.release();
  pool.validate();
  expect(pool.outstanding).toBe(0);
  return Buffer.concat(read);
}

describe("readInto over Node's stream of a file", () => {
  const folder = mkdtempSync(join(tmpdir(), "millpond-web-streams-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  async function opened(length: number): Promise<FileHandle> {
    const path = join(folder, "file");
    writeFileSync(path, pattern(length));
    return await open(path);
  }
  const streamOf = (file: FileHandle, options = {}): ReadableStream =>
    file.readableWebStream({ type: "bytes", ...options } as never) as unknown as ReadableStream;

  it("gives every byte of files of any length, into slots of any size, and the handle closes", async () => {
    const late = await lateRejections(async () => {
      for (const length of [0, 1, 1221, 4096, 5000, 65_536]) {
        for (const config of [
          { size: 1000 },
          { size: 4096 },
          { size: 4096, prefix: 16 },
          { size: 100_000 },
          { size: 4096, padding: 8 },
        ]) {
          for (const keep of [0, 1]) {
            const file = await opened(length);
            const pool = openPool({ max: 2, ...config });
            expect((await all(streamOf(file), pool, {}, keep)).equals(pattern(length))).toBe(true);
            await file.close();
          }
        }
      }
    });
    expect(late).toEqual([]);
  });

  it("gives every byte of a handle that closes itself, and of a branch", async () => {
    const file = await opened(5000);
    expect(
      (await all(streamOf(file, { autoClose: true }), openPool({ size: 4096, max: 2 }))).equals(pattern(5000)),
    ).toBe(true);
    await file.close();
    const second = await opened(5000);
    const [branch] = streamOf(second).tee();
    expect((await all(branch, openPool({ size: 4096, max: 2 }))).equals(pattern(5000))).toBe(true);
    await second.close();
  });
});

it("readInto() gives a source only views from byte 0 on, and never bytes that are filled", async () => {
  for (const config of [{}, { prefix: 24 }]) {
    let given = 0;
    const offsets = new Set<number>();
    const stream = new ReadableStream({
      type: "bytes",
      pull(controller) {
        const request = controller.byobRequest!;
        const { buffer, byteOffset, byteLength } = request.view!;
        offsets.add(byteOffset);
        // Whatever is there before is overwritten: nobody may miss it.
        new Uint8Array(buffer).fill(0xee);
        const part = pattern(Math.min(7, byteLength, 1000 - given), given);
        if (part.length === 0) controller.close();
        new Uint8Array(buffer, byteOffset).set(part);
        given += part.length;
        request.respond(part.length);
      },
    });
    expect((await all(stream, openPool({ size: 64, max: 2, ...config }))).equals(pattern(1000))).toBe(true);
    expect([...offsets]).toEqual([0]);
  }
});

it("readInto() keeps the bytes of a slot when the source answers with other buffers of the same length", async () => {
  for (const size of [64, 100, 1000]) {
    let given = 0;
    const stream = new ReadableStream({
      type: "bytes",
      pull(controller) {
        const request = controller.byobRequest!;
        const view = request.view!;
        const part = pattern(Math.min(30, view.byteLength, 300 - given), given);
        if (part.length === 0) {
          controller.close();
          request.respond(0);
          return;
        }
        const other = new Uint8Array(new ArrayBuffer(view.buffer.byteLength)).fill(0xee);
        other.set(part, view.byteOffset);
        given += part.length;
        request.respondWithNewView(other.subarray(view.byteOffset, view.byteOffset + part.length));
      },
    });
    const pool = openPool({ size, max: 2 });
    expect((await all(stream, pool)).equals(pattern(300))).toBe(true);
    expect(pool.stats().discards).toEqual({});
  }
});

describe("readInto over a source that closes under a read and does not answer it", () => {
  /** Bytes that are pushed when somebody waits for them, and then the end; no read is ever answered by the source. */
  function pushed(parts: readonly number[]): ReadableStream {
    let at = 0;
    return new ReadableStream({
      type: "bytes",
      start(controller) {
        let next = 0;
        const step = (): void => {
          const length = parts[next++];
          if (length === undefined) {
            controller.close();
            return;
          }
          controller.enqueue(pattern(length, at));
          at += length;
          setTimeout(step, 2);
        };
        setTimeout(step, 2);
      },
    });
  }

  const plain = (stream: ReadableStream): ReadableStream => stream;
  const ways: Record<string, (stream: ReadableStream) => ReadableStream> = {
    "the stream itself": plain,
    "a branch of it, the other one unread": (stream) => stream.tee()[0],
    "the other branch": (stream) => stream.tee()[1],
    "a branch of a branch": (stream) => stream.tee()[1].tee()[0],
    "the body of a response": (stream) => new Response(stream).body!,
    "the body of its clone": (stream) => new Response(stream).clone().body!,
  };

  it.each(Object.entries(ways))("ends with every byte: %s", async (_, way) => {
    for (const parts of [[], [500], [64], [500, 500], [10, 10, 10]]) {
      const total = parts.reduce((sum, length) => sum + length, 0);
      for (const options of [{}, { min: 1 }]) {
        for (const size of [64, 500, 4096]) {
          expect((await all(way(pushed(parts)), openPool({ size, max: 2 }), options)).equals(pattern(total))).toBe(
            true,
          );
        }
      }
    }
  });

  it("ends with every byte where it is pulled, and answers reads until then", async () => {
    for (const way of Object.values(ways)) {
      let pulls = 0;
      const stream = new ReadableStream({
        type: "bytes",
        async pull(controller) {
          await Promise.resolve();
          if (pulls === 3) {
            controller.close();
            return;
          }
          const request = controller.byobRequest;
          const part = pattern(Math.min(100, request?.view?.byteLength ?? 100), 0);
          pulls++;
          if (request === null) controller.enqueue(part);
          else {
            new Uint8Array(request.view!.buffer, request.view!.byteOffset).set(part);
            request.respond(part.length);
          }
        },
      });
      const part = pattern(100);
      expect((await all(way(stream), openPool({ size: 1000, max: 2 }))).equals(Buffer.concat([part, part, part]))).toBe(
        true,
      );
    }
  });
});
