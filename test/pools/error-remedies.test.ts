// Shares its realm with other files: nothing that it changes outlives it.
/** What an error advises is what mends the call: texts of mistakes that newcomers make. */
import { describe, expect, it } from "vitest";
import { AudioInfo, BufferPool, PagePool, RealtimePool, SlabPool, VideoInfo } from "../../src/index.ts";
import { receiveLane, SharedPool, TransferPool } from "../../src/shared.ts";

const told = (run: () => unknown): string => {
  try {
    return `no error: ${String(run())}`;
  } catch (error) {
    return (error as Error).message;
  }
};
const shared = (): SharedPool => SharedPool.create({ size: 8, count: 2 });

describe("an option by the name that another pool, or another library, has for it", () => {
  it.each([
    ["max", () => BufferPool.create({ size: 8, count: 2 } as never)],
    ["max", () => BufferPool.create({ size: 8, maxBuffers: 2 } as never)],
    ["count", () => SharedPool.create({ size: 8, max: 2 } as never)],
    ["max", () => PagePool.create({ maxBuffers: 2 } as never)],
    ["maxBytes", () => BufferPool.create({ size: 8, max: 2, maxByte: 9 } as never)],
    ["channels", () => AudioInfo.of({ format: "f32", sampleRate: 48_000, numberOfChannels: 2, frames: 4 } as never)],
  ] as const)("is answered with %s", (meant, run) => {
    expect(told(run)).toContain(`did you mean "${meant}"?`);
  });

  it("is answered with the list where it means nothing here, whatever the object's prototype has", () => {
    expect(told(() => VideoInfo.of({ format: "I420", width: 4, height: 4, numberOfChannels: 2 } as never))).toContain(
      "the options are",
    );
    expect(told(() => BufferPool.create({ size: 8, max: 2, constructor: 5 } as never))).toContain("the options are");
  });
});

describe("bytes where there are none", () => {
  it("of a lease are asked for at its pool", () => {
    for (const pool of [shared(), TransferPool.create({ size: 8, count: 1 })]) {
      const lease = pool.tryAcquire() as unknown as { bytes: Uint8Array };
      expect(told(() => lease.bytes)).toMatch(/take pool.bytes\(lease\).*ERR_UNSUPPORTED/);
    }
  });

  it("of a memory are asked for at a mapping, and neither is seen by who lists it", () => {
    const memory = PagePool.create().allocate(10);
    expect(told(() => (memory as unknown as { bytes: Uint8Array }).bytes)).toMatch(
      /^memory #\d+.* has no bytes; map\(\) it .*ERR_UNSUPPORTED/,
    );
    expect(Object.keys(memory)).not.toContain("bytes");
    expect({ ...shared().tryAcquire() }).not.toHaveProperty("bytes");
  });
});

it("what is given in the place of a handle is answered with where the handle is", () => {
  const pool = shared();
  expect(told(() => SharedPool.attach(pool as never))).toContain("(pool.handle), but it is an object of SharedPool");
  expect(told(() => SharedPool.attach({} as never))).toContain("(pool.handle)");
  expect(told(() => SharedPool.attach(JSON.parse(JSON.stringify(pool.handle)) as never))).toContain(
    "JSON has none: pass { memory }",
  );
});

it("a worker in the place of its own parentPort is answered with both calls", async () => {
  const failure = await receiveLane({ terminate() {} } as never).catch((error: unknown) => error as Error);
  expect((failure as Error).message).toContain("in the worker; its maker calls pool.connect(worker)");
});

it("what another pool handed out is named as what it is", async () => {
  const pool = shared();
  const buffer = await BufferPool.create({ size: 8, max: 1 }).acquire();
  expect(told(() => pool.bytes(buffer as never))).toContain('an object of MediaBuffer is not of shared pool "shared"');
  expect(told(() => pool.bytes(shared().tryAcquire()!))).toMatch(/^a lease of pool \d+ is not of shared pool "shared"/);
});

it("a setter and a list call of a stale, or a shared, buffer make one sentence with what they were called on", async () => {
  const pool = BufferPool.create({ name: "frames", size: 8, max: 2 });
  const memory = PagePool.create().allocate(4);
  const frame = await pool.acquire();
  frame.retain();
  expect(told(() => (frame.pts = 1n))).toContain("so nobody may set pts of it; makeWritable()");
  expect(told(() => frame.append(memory))).toContain("so nobody may change the memories of it;");
  expect(told(() => frame.map("write"))).toContain("so nobody may write to it;");
  frame.release();
  frame.release();
  expect(told(() => (frame.pts = 1n))).toMatch(/^cannot set pts of lease \d+ of slot 0 of pool "frames"/);
  expect(told(() => frame.append(memory))).toMatch(/^cannot change the memories of lease \d+ of slot 0/);
});

it("options that are none, a format of ffmpeg's, and a size that is missing are answered with what is wanted", () => {
  expect(told(() => VideoInfo.of("I420" as never))).toContain('options must be a plain object, but it is "I420"');
  expect(told(() => VideoInfo.of({ format: "yuv420p" as never, width: 4, height: 4 }))).toContain(
    "(I420 is ffmpeg's yuv420p)",
  );
  expect(told(() => SlabPool.create({} as never))).toContain("options.elementSize must be a number, or options.struct");
});

it("a realtime pool that is too small never tells of more free bytes than it was made with", () => {
  const pool = RealtimePool.create({ totalSize: 4096, name: "x" });
  expect(told(() => pool.alloc(8192))).toContain("more than the whole pool (4096 bytes free, the largest 4096)");
});
