// The built package, imported by its name as a user does, doing a small real job on whatever Node runs this file.
// Plain asserts and no test runner: vitest needs a newer Node than the library does.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const fail = (message) => {
  console.error(`smoke: ${message}`);
  process.exit(1);
};

if (!existsSync(fileURLToPath(new URL("../dist/index.js", import.meta.url)))) {
  fail("dist/index.js is not there: run npm run build, and see that src/index.ts exists");
}

const hadDispose = "dispose" in Symbol;
let millpond;
try {
  millpond = await import("millpond");
} catch (error) {
  fail(`import "millpond" failed on Node ${process.version}: ${error.stack}`);
}
assert.equal("dispose" in Symbol, hadDispose, "the import patched Symbol.dispose in globally");

const { BufferPool } = millpond;
assert.equal(typeof BufferPool, "function", `dist exports no BufferPool, only: ${Object.keys(millpond).join(", ")}`);

const pool = new BufferPool();
pool.configure({ size: 64 * 1024, min: 1, max: 2 });
pool.activate();

const first = pool.tryAcquire();
const second = await pool.acquire();
assert.equal(pool.outstanding, 2);
await assert.rejects(pool.acquire({ timeout: 5 }), { code: "ERR_STARVED" });

const mapping = first.map("write");
assert.equal(mapping.bytes.length, 64 * 1024);
mapping.bytes[0] = 42;
mapping.unmap();

first.release();
assert.throws(() => first.release(), { code: "ERR_DOUBLE_RELEASE" });
second.release();
assert.equal(pool.outstanding, 0);
if (hadDispose) assert.equal(typeof first[Symbol.dispose], "function");
pool.deactivate();

// One small job for each other pool, and for each entry point that a bare install can load.
const { PagePool, RealtimePool, SlabPool, VideoInfo, allocators, struct } = millpond;
const { SharedPool } = await import("millpond/shared");
const { TlsfArena } = await import("millpond/arena");

const pages = PagePool.create({ maxBytes: 1 << 20 });
const block = pages.allocator.allocate(100_000);
block.release();
assert.throws(() => block.release(), { code: "ERR_DOUBLE_RELEASE" });
assert.deepEqual([pages.stats().idle, pages.stats().live], [1, 0]);
pages.close();

const Packet = struct({ sequence: "u32", time: "f64" });
const slab = SlabPool.create({ struct: Packet });
const pointer = slab.alloc();
Packet.cursor(slab).at(pointer).sequence = 7;
assert.equal(Packet.cursor(slab).at(pointer).sequence, 7);
slab.free(pointer);
assert.throws(() => slab.free(pointer), { code: "ERR_DOUBLE_RELEASE" });
slab.close();

const realtime = RealtimePool.create({ totalSize: 1 << 16, name: "smoke" });
const samples = realtime.alloc(512);
realtime.free(samples);
assert.throws(() => realtime.free(samples), { code: "ERR_DOUBLE_RELEASE" });
realtime.close();
TlsfArena.create({ source: new ArrayBuffer(1 << 16) }).validate();

const shared = SharedPool.create({ size: 4096, count: 4 });
const other = SharedPool.attach(structuredClone(shared.handle));
const slot = shared.tryAcquire();
other.retain(slot);
shared.release(slot);
other.release(slot);
assert.throws(() => other.release(slot), { code: "ERR_DOUBLE_RELEASE" });
assert.equal(shared.stats().held, 0);
assert.equal(shared.acquireSync(10).index >= 0, true);
shared.close({ force: true });
assert.equal(allocators.find("wasm").allocate(10).size, 10);

const { Pipeline, PatternSource, NullSink } = await import("millpond/pipeline");
const { VideoScale } = await import("millpond/video");
const pipeline = new Pipeline().link(
  new PatternSource({ format: "I420", width: 64, height: 32, frames: 10 }),
  new VideoScale({ width: 32 }),
  new NullSink(),
);
assert.deepEqual(Object.values((await pipeline.run()).sinks), [10]);
assert.equal(VideoInfo.of({ format: "I420", width: 2, height: 2 }).size, 6);

const { readInto, toReadable } = await import("millpond/web-streams");
const blocks = BufferPool.create({ size: 1024, max: 1 });
const round = await new Response(
  toReadable(readInto(new Blob([new Uint8Array(5000).fill(7)]).stream(), blocks)),
).arrayBuffer();
assert.deepEqual([round.byteLength, new Uint8Array(round).every((byte) => byte === 7)], [5000, true]);
assert.deepEqual([blocks.outstanding, blocks.stats().misses, blocks.stats().discards], [0, 1, {}]);
blocks.close();

// What is decoded by packages that a bare install has not loads without them, and says what is missing.
const { copyFrame } = await import("millpond/webcodecs");
await assert.rejects(copyFrame({ format: "I420" }, blocks), { code: "ERR_INVALID_ARG_TYPE" });
assert.equal(typeof (await import("millpond/mediabunny")).pooledSamples, "function");

for (const door of ["coremedia", "cork", "directshow", "gstreamer", "realtime"]) {
  assert.notEqual(Object.keys(await import(`millpond/compat/${door}`)).length, 0);
}
const { pageOps } = await import("millpond/native");
assert.match(pageOps().name, /^(koffi|none)$/);

// Frames out of one program, changed in their slots, into another.
const { frameWriter, spawnFrames } = await import("millpond/node");
const copy = 'process.stdin.on("data", (chunk) => process.stdout.write(chunk))';
const reader = spawn(process.execPath, ["-e", copy], { stdio: ["pipe", "pipe", "inherit"] });
const writer = frameWriter(reader.stdin);
const chunks = [];
reader.stdout.on("data", (chunk) => chunks.push(chunk));
const closed = new Promise((resolve) => reader.on("close", resolve));
const write = "process.stdout.write(Buffer.alloc(300_000, 1))";
const gray = { format: "gray", width: 1000, height: 100 };
const source = spawnFrames(process.execPath, ["-e", write], { count: 2, ...gray });
for await (const frame of source) {
  frame.bytes.fill(7);
  await writer.write(frame);
}
await writer.end();
await closed;
assert.deepEqual([Buffer.concat(chunks).equals(Buffer.alloc(300_000, 7)), writer.written], [true, 3]);
assert.deepEqual([source.exitCode, source.pool.outstanding], [0, 0]);
for await (const frame of spawnFrames(process.execPath, ["-e", `setInterval(() => ${write}, 5)`], {
  count: 2,
  ...gray,
})) {
  frame.release();
  break;
}

// Until libuv 1.49 a look at memory ends a process that has closed one of these: the doctor does not look then.
const cli = fileURLToPath(new URL("../dist/cli.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "millpond-smoke-"));
try {
  const made = "for (let i = 0; i < 400; i++) new Uint8Array(100_000);";
  for (const fd of [0, 1, 2]) {
    const program = join(folder, `closes-${fd}.cjs`);
    writeFileSync(program, `require("node:fs").closeSync(${fd}); ${made} process.exitCode = 5;`);
    const { status } = spawnSync(process.execPath, [cli, "doctor", `--json=${join(folder, "report")}`, program]);
    assert.equal(status, 5, `the doctor's program that closed ${fd} ended with ${status}`);
  }
} finally {
  rmSync(folder, { recursive: true });
}

console.log(`smoke: dist does its job on Node ${process.version}`);
