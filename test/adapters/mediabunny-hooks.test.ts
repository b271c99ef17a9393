/**
 * The bounds that keep a damaged file from sending its reader in a circle: the numbers of its index, and the reads of
 * its source.
 */
import * as mediabunny from "mediabunny";
import { BufferSource } from "mediabunny";
import { describe, expect, it } from "vitest";
import {
  boundReads,
  missingBounds,
  passOverDamage,
  warnOfMissingBounds,
} from "../../src/adapters/mediabunny/mediabunny-hooks.ts";
import { sampleTablePatches } from "../../src/adapters/mediabunny/sample-tables.ts";

const MANY = 0xffffffff;

function box(type: string, ...content: (number | Buffer)[]): Buffer {
  const parts = content.map((part) => {
    if (typeof part !== "number") return part;
    const word = Buffer.alloc(4);
    word.writeUInt32BE(part);
    return word;
  });
  const bytes = Buffer.concat([Buffer.alloc(8), ...parts]);
  bytes.writeUInt32BE(bytes.length, 0);
  bytes.write(type, 4, "latin1");
  return bytes;
}

/** A `moov` with one track that has these tables. */
function index(...tables: Buffer[]): Buffer {
  return box("moov", box("trak", box("mdia", box("minf", box("stbl", ...tables)))));
}

const sizes = box("stsz", 0, 0, 3, 100, 100, 100);
const times = box("stts", 0, 1, 3, 1);
const offsets = box("ctts", 0, 2, 1, 0, 2, 1);
const chunks = box("stsc", 0, 1, 1, 3, 1);
const places = box("stco", 0, 1, 40);

/** What stands where after the patches, as numbers. */
function patched(moov: Buffer, fileSize = 1000): number[] {
  return sampleTablePatches(moov, 5000, fileSize).map(({ at, bytes }) => {
    expect(at).toBeGreaterThanOrEqual(5000);
    expect(at + bytes.length).toBeLessThanOrEqual(5000 + moov.length);
    return Buffer.from(bytes).readUInt32BE();
  });
}

describe("the methods of mediabunny that bounds are hooked into", () => {
  const without = (owner: "FilePathSource" | "CustomSource" | "VideoSampleSink", method: string): typeof mediabunny => {
    const { prototype } = { ...mediabunny }[owner];
    const methods = Object.create(prototype, { [method]: { value: undefined } });
    return { ...mediabunny, [owner]: { prototype: methods } } as unknown as typeof mediabunny;
  };

  it("are all there in the installed version, and nothing is said", () => {
    expect(missingBounds(mediabunny)).toEqual([]);
  });

  it.each([
    ["FilePathSource", "_read", /^FilePathSource\._read: a damaged file that sends its reader in a circle/],
    ["CustomSource", "_read", /^CustomSource\._read: a damaged file that sends its reader in a circle/],
    ["VideoSampleSink", "_createDecoder", /^VideoSampleSink\._createDecoder: a damaged packet ends the film/],
    ["VideoSampleSink", "_createPacketSink", /^VideoSampleSink\._createPacketSink: .* waited for without end/],
  ] as const)("%s.%s: the bound that a version without it lacks is named", (owner, method, text) => {
    expect(missingBounds(without(owner, method))).toEqual([expect.stringMatching(text)]);
  });

  it("a class that is missing is named as its methods are", () => {
    const { CustomSource: _, ...rest } = mediabunny;
    expect(missingBounds(rest as typeof mediabunny)).toEqual([expect.stringContaining("CustomSource._read")]);
  });

  it("a version that lacks one is told of by a warning of the process, which names it", async () => {
    const warned = new Promise<NodeJS.ErrnoException>((resolve) => process.once("warning", resolve));
    warnOfMissingBounds(without("VideoSampleSink", "_createDecoder"));
    const { code, message } = await warned;
    expect(code).toBe("MILLPOND_MISSING_BOUND");
    expect(message).toMatch(/installed version of mediabunny .* Missing: VideoSampleSink\._createDecoder: /);
  });
});

describe("a decoder that refuses packets", () => {
  class FFmpegError extends Error {}
  type Decoder = { decode(packet: { timestamp: number }): Promise<void>; flush(): Promise<void> };
  type Sink = {
    _createDecoder(): Promise<{ customDecoder: Decoder; getDecodeQueueSize(): number }>;
    _createPacketSink(): { packets(): AsyncGenerator<number, void, unknown> };
  };

  async function damaged(decoder: Decoder): Promise<{ told: unknown[]; decoder: Decoder; sink: Sink }> {
    const told: unknown[] = [];
    const sink: Sink = {
      _createDecoder: async () => ({ customDecoder: decoder, getDecodeQueueSize: () => 0 }),
      _createPacketSink: () => ({
        packets: async function* () {
          for (let packet = 0; packet < 100; packet++) yield packet;
        },
      }),
    };
    passOverDamage(sink as unknown as mediabunny.VideoSampleSink, {
      onRefusal: (seconds) => told.push(seconds),
      onFailure: (error) => told.push((error as Error).message),
    });
    return { told, decoder: (await sink._createDecoder()).customDecoder, sink };
  }

  it("no call of it rejects, also when all are refused: the eighth in a row is passed over, the ninth ends it", async () => {
    let calls = 0;
    const refuse = async (): Promise<void> => {
      calls++;
      throw new FFmpegError("refused");
    };
    const { told, decoder, sink } = await damaged({ decode: refuse, flush: refuse });
    const packets = sink._createPacketSink().packets();
    let given = 0;
    for await (const packet of packets) {
      given++;
      await decoder.decode({ timestamp: packet });
    }
    await decoder.decode({ timestamp: 100 });
    expect(told).toEqual([0, 1, 2, 3, 4, 5, 6, 7, "refused"]);
    expect({ given, calls }).toEqual({ given: 9, calls: 9 });
    await decoder.flush();
    expect(calls).toBe(10);
  });

  it("an error of another kind, or of flush(), ends it at once, without a rejection", async () => {
    const fail = async (): Promise<void> => {
      throw new Error("bug");
    };
    const first = await damaged({ decode: fail, flush: fail });
    await first.decoder.decode({ timestamp: 0 });
    expect(first.told).toEqual(["bug"]);
    const second = await damaged({ decode: async () => {}, flush: fail });
    await second.decoder.decode({ timestamp: 0 });
    await second.decoder.flush();
    expect(second.told).toEqual(["bug"]);
  });
});

describe("the tables of an index", () => {
  it("are left alone when they agree", () => {
    expect(patched(index(sizes, times, offsets, chunks, places))).toEqual([]);
  });

  it.each([
    ["samples of one duration", box("stts", 0, 1, MANY, 1), [3]],
    ["samples of the second duration", box("stts", 0, 2, 2, 1, MANY, 1), [1]],
    ["samples of one offset", box("ctts", 0, 1, MANY, 0), [3]],
    ["samples in a chunk", box("stsc", 0, 1, 1, MANY, 1), [3]],
    ["the first chunk of a run", box("stsc", 0, 1, MANY, 3, 1), [2]],
  ])("%s: no more than the samples or chunks that are listed", (_, table, expected) => {
    expect(patched(index(sizes, places, table))).toEqual(expected);
  });

  it("are limited whichever of them comes first", () => {
    expect(patched(index(box("stts", 0, 1, MANY, 1), sizes))).toEqual([3]);
  });

  it("list no more samples than they have room for", () => {
    expect(patched(index(box("stsz", 0, 0, MANY, 100, 100)))).toEqual([2]);
    expect(patched(index(box("stz2", 0, 8, MANY, 0x01010101)))).toEqual([4]);
    // Samples of no bits need no room: a reader would go on without end.
    expect(patched(index(box("stz2", 0, 0, MANY)))).toEqual([0]);
  });

  it("have no more samples of one size than the file has room for", () => {
    expect(patched(index(box("stsz", 0, 100, MANY), box("stts", 0, 1, MANY, 1)), 1000)).toEqual([10]);
  });

  it("announce no more entries than they have room for: what follows would be read as entries", () => {
    expect(patched(index(sizes, box("stts", 0, 17, 3, 1), offsets, places))).toEqual([1]);
    expect(patched(index(sizes, times, box("stco", 0, MANY, 40)))).toEqual([1]);
  });

  it("list no samples where their sizes are missing", () => {
    expect(patched(index(times))).toEqual([0]);
  });

  it("of a fragment have no more samples than they list, or than a run of equal ones has", () => {
    const fragment = (flags: number, ...words: number[]): Buffer =>
      box("moof", box("traf", box("trun", flags, ...words)));
    expect(patched(fragment(0x200, 2, 100, 100))).toEqual([]);
    expect(patched(fragment(0x200, MANY, 100, 100))).toEqual([2]);
    expect(patched(fragment(0, MANY))).toEqual([1 << 20]);
  });

  it("of every length and nesting, cut anywhere, are walked to an end", () => {
    const whole = index(sizes, times, offsets, chunks, places);
    for (let length = 0; length <= whole.length; length++) patched(whole.subarray(0, length));
    for (let at = 0; at + 4 <= whole.length; at++) {
      for (const value of [0, 1, 8, MANY]) {
        const bytes = Buffer.from(whole);
        bytes.writeUInt32BE(value, at);
        patched(bytes);
      }
    }
  });
});

describe("the reads of a source", () => {
  type Readable = { _read(start: number, end: number, ...rest: number[]): unknown };
  const bounded = (size: number): Readable =>
    boundReads(new BufferSource(new Uint8Array(size)), "a.webm", size) as unknown as Readable;

  it("give the bytes that are asked for, and go through mediabunny's own reader", () => {
    expect(bounded(100)._read(0, 10, 0, 0)).not.toBeNull();
  });

  it("of the same bytes 1,000 times in a row find the end of the file; others go on", () => {
    const source = bounded(100);
    for (let i = 0; i < 1001; i++) expect(source._read(92, 100, 0, 0)).not.toBeNull();
    expect(source._read(92, 100, 0, 0)).toBeNull();
    expect(source._read(0, 8, 0, 0)).not.toBeNull();
    expect(source._read(92, 100, 0, 0)).not.toBeNull();
  });

  it("end with ERR_BAD_DATA after more than all packets can need, and stay ended", () => {
    const source = bounded(800);
    for (let i = 0; i < 1e6 + 100; i++) source._read(i % 2, 10, 0, 0);
    for (let i = 0; i < 3; i++) {
      expect(() => source._read(i, 10, 0, 0)).toThrow(
        expect.objectContaining({ code: "ERR_BAD_DATA", message: expect.stringContaining("a.webm is damaged") }),
      );
    }
  });
});
