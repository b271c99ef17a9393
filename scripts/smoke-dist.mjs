// The built package, imported by its name as a user does, doing a small real job on whatever Node runs this file.
// Plain asserts and no test runner: vitest needs a newer Node than the library does.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
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

console.log(`smoke: dist does its job on Node ${process.version}`);
